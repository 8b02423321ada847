//! Protobuf's wire format, as far as one flat message needs it.
//!
//! Written out by hand because the message is the hottest there is: without the message struct between, a frame costs no
//! allocation but the ones that it keeps. What is written is byte for byte what prost writes; tests hold the two together.
//! Format: <https://protobuf.dev/programming-guides/encoding/>.

/// Writes fields. What has its default value is left out, as proto3 wants it.
pub(super) struct Writer {
    out: Vec<u8>,
}

const VARINT: u8 = 0;
const LENGTH: u8 = 2;
const FIXED32: u8 = 5;

impl Writer {
    /// Writes into the memory of `used`, whose content goes.
    pub(super) fn over(mut used: Vec<u8>) -> Self {
        used.clear();
        Self { out: used }
    }

    /// Makes room for so many bytes more.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    fn varint(&mut self, value: u64) {
        push_varint(&mut self.out, value);
    }

    fn tag(&mut self, field: u32, kind: u8) {
        self.varint(u64::from(field << 3 | u32::from(kind)));
    }

    pub(super) fn uint(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.optional_uint(field, Some(value));
        }
    }

    pub(super) fn optional_uint(&mut self, field: u32, value: Option<u64>) {
        if let Some(value) = value {
            self.tag(field, VARINT);
            self.varint(value);
        }
    }

    pub(super) fn optional_float(&mut self, field: u32, value: Option<f32>) {
        if let Some(value) = value {
            self.tag(field, FIXED32);
            self.out.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.tag(field, LENGTH);
            self.varint(value.len() as u64);
            self.out.extend_from_slice(value);
        }
    }

    /// A field of `length` bytes that `write` appends.
    pub(super) fn written(&mut self, field: u32, length: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if length > 0 {
            self.tag(field, LENGTH);
            self.varint(length as u64);
            write(&mut self.out);
        }
    }

    /// Fields that were written before.
    pub(super) fn fields(&mut self, written: &[u8]) {
        self.out.extend_from_slice(written);
    }

    pub(super) fn packed_sint(&mut self, field: u32, values: impl Iterator<Item = i32> + Clone) {
        let length: usize = values
            .clone()
            .map(|value| varint_length(zigzag(value)))
            .sum();
        if length > 0 {
            self.tag(field, LENGTH);
            self.varint(length as u64);
            for value in values {
                self.varint(u64::from(zigzag(value)));
            }
        }
    }
}

/// Appends a number, seven bits to a byte, the lowest first.
pub(super) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Signed numbers with small ones small: 0, -1, 1, -2 become 0, 1, 2, 3.
pub(super) fn zigzag(value: i32) -> u32 {
    (value << 1 ^ value >> 31).cast_unsigned()
}

pub(super) fn unzigzag(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

fn varint_length(value: u32) -> usize {
    (38 - value.leading_zeros() as usize) / 7 + usize::from(value == 0)
}

/// A field as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// A fixed-width number of four bytes.
    Fixed32([u8; 4]),
    /// One of eight bytes: the message has none, so the field is not ours.
    Fixed64,
}

/// Where the bytes are no message, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at offset {offset}: {problem}")]
pub struct NotProtobuf {
    /// Where.
    pub offset: usize,
    /// Why.
    pub problem: &'static str,
}

/// Reads the fields of a message, one after another.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self {
            rest: message,
            length: message.len(),
        }
    }

    fn error(&self, problem: &'static str) -> NotProtobuf {
        NotProtobuf {
            offset: self.length - self.rest.len(),
            problem,
        }
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], NotProtobuf> {
        let (taken, rest) = self
            .rest
            .split_at_checked(bytes)
            .ok_or_else(|| self.error("cut off in a field"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next field: its number and value; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, NotProtobuf> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = u32::try_from(tag >> 3)
            .ok()
            .filter(|field| (1..1 << 29).contains(field));
        let field = field.ok_or_else(|| self.error("no field has this number"))?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed64)?,
            2 => {
                let length = usize::try_from(self.varint()?)
                    .map_err(|_| self.error("cut off in a field"))?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                let bytes = self.take(4)?;
                Value::Fixed32(bytes.first_chunk().copied().unwrap_or_default())
            }
            _ => return Err(self.error("no such type of field")),
        };
        Ok(Some((field, value)))
    }

    /// One number. Also reads the elements of a packed field.
    pub(super) fn varint(&mut self) -> Result<u64, NotProtobuf> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            let part = u64::from(byte & 0x7F);
            // The tenth byte has room for one bit.
            if index == 9 && part > 1 {
                break;
            }
            value |= part << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(self.error("no end of a number"))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{Fields, unzigzag, varint_length, zigzag};

    #[test]
    fn numbers_have_their_lengths() {
        for value in [
            0,
            1,
            127,
            128,
            16_383,
            16_384,
            2_097_151,
            2_097_152,
            268_435_455,
            268_435_456,
            u32::MAX,
        ] {
            let mut writer = super::Writer::over(Vec::new());
            writer.varint(u64::from(value));
            assert_eq!(varint_length(value), writer.out.len(), "{value}");
            assert_eq!(Fields::new(&writer.out).varint(), Ok(u64::from(value)));
        }
        for value in [0, -1, 1, i32::MIN, i32::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    #[test]
    fn what_has_no_end_is_refused() {
        for bytes in [
            &[0x80_u8; 9][..],
            &[0xFF; 11],
            &[0x0A, 5, 1],
            &[0x09, 1],
            &[0x0B],
            &[0x02],
        ] {
            assert!(Fields::new(bytes).next().is_err(), "{bytes:?}");
        }
        assert_eq!(
            Fields::new(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]).varint(),
            Ok(u64::MAX)
        );
    }
}
