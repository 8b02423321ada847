//! Compressed CSI: run lengths of a buffer XOR the one before it.
//!
//! The packets have no sequence number, and a node sends none where compression would not help but takes that buffer for
//! the one before all the same. So whether the frame before is the right one cannot be seen from a packet: a
//! [`Decompressor`] believes it only from a whole frame (`0xC5110001`) on, until its owner says that something was lost or a
//! packet does not fit. Then it waits for the next whole frame.

use super::Compressed;

/// Why a compressed frame cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// No whole frame since the beginning or since the last loss.
    #[error("compressed CSI without the frame before it: waiting for a whole one")]
    NoReference,
    /// Of another length than the frame before.
    #[error("compressed CSI of {found} bytes after a frame of {expected}: waiting for a whole one")]
    OtherLength {
        /// Bytes of the frame before.
        expected: usize,
        /// Bytes of this one.
        found: usize,
    },
    /// The runs are longer or shorter than the buffer.
    #[error(
        "compressed CSI unpacks to {found} bytes: expected {expected}; waiting for a whole frame"
    )]
    Runs {
        /// Bytes that the header announces.
        expected: usize,
        /// Bytes that the runs make, counted until they exceed it.
        found: usize,
    },
}

/// The frames of one node, one after another.
#[derive(Clone, Debug, Default)]
pub struct Decompressor {
    /// The newest buffer; empty while there is none to believe in.
    before: Vec<u8>,
    next: Vec<u8>,
}

impl Decompressor {
    /// Takes the buffer of a whole frame (the bytes behind its header) as the one before the next.
    pub fn whole(&mut self, buffer: &[u8]) {
        self.before.clear();
        self.before.extend_from_slice(buffer);
    }

    /// Something was lost: what follows is not believed until a whole frame comes.
    pub fn lost(&mut self) {
        self.before.clear();
    }

    /// Whether a compressed frame can be unpacked.
    #[must_use]
    pub fn ready(&self) -> bool {
        !self.before.is_empty()
    }

    /// Unpacks the next frame: its buffer, pairs of signed bytes with the imaginary part first.
    ///
    /// # Errors
    /// Where the frame before is unknown, or the packet does not fit it, which is taken for a loss.
    pub fn unpack(&mut self, packet: &Compressed) -> Result<&[u8], DecompressError> {
        if !self.ready() {
            return Err(DecompressError::NoReference);
        }
        let (expected, found) = (self.before.len(), usize::from(packet.original));
        if found != expected {
            self.lost();
            return Err(DecompressError::OtherLength { expected, found });
        }
        self.next.clear();
        for [value, run] in &packet.runs {
            let length = self.next.len() + usize::from(*run);
            if length > expected {
                self.lost();
                let found = length;
                return Err(DecompressError::Runs { expected, found });
            }
            self.next.resize(length, *value);
        }
        let found = self.next.len();
        if found != expected {
            self.lost();
            return Err(DecompressError::Runs { expected, found });
        }
        for (byte, difference) in self.before.iter_mut().zip(&self.next) {
            *byte ^= difference;
        }
        Ok(&self.before)
    }
}

/// Compresses a buffer as a node does: `None` where the lengths differ, and a node would send nothing.
#[must_use]
pub fn compress(channel: u8, before: &[u8], buffer: &[u8]) -> Option<Compressed> {
    let original = u16::try_from(buffer.len()).ok()?;
    if before.len() != buffer.len() {
        return None;
    }
    let mut runs: Vec<[u8; 2]> = Vec::new();
    for difference in before.iter().zip(buffer).map(|(a, b)| a ^ b) {
        match runs.last_mut() {
            Some([value, run]) if *value == difference && *run < u8::MAX => *run += 1,
            _ => runs.push([difference, 1]),
        }
    }
    Some(Compressed {
        channel,
        original,
        runs,
    })
}
