//! One line into its fields.

use super::Error;
use super::columns::{Columns, MOST_COLUMNS, Name};
use crate::decode::excerpt;

/// The fields that a frame is made of. What a line has no column for is absent.
#[derive(Debug)]
pub(super) struct Row {
    pub id: Option<u64>,
    pub mac: Option<[u8; 6]>,
    pub rssi_dbm: Option<i8>,
    pub sig_mode: Option<u8>,
    /// 40 MHz.
    pub bandwidth: Option<bool>,
    pub stbc: Option<bool>,
    pub noise_floor_dbm: Option<i8>,
    pub agc: Option<u8>,
    pub channel: Option<u8>,
    pub secondary_channel: Option<u8>,
    pub local_timestamp_us: Option<u32>,
    /// Wall time, where the device had one.
    pub real_time_us: Option<i64>,
    /// Number of values that the hardware held.
    pub len: usize,
    pub first_word_invalid: bool,
    /// Of a C5 or C6, which say nothing about the kind of packet.
    pub newer_chip: bool,
}

/// A line, taken apart.
pub(super) struct Split<'a> {
    columns: &'a Columns,
    fields: [&'a [u8]; MOST_COLUMNS],
    list: &'a [u8],
}

impl<'a> Split<'a> {
    /// Takes a line apart, by the header of its stream or by how many columns stand before the list.
    pub(super) fn new(text: &'a [u8], header: Option<&'a Columns>) -> Result<Self, Error> {
        let Some(opening) = memchr::memchr(b'[', text) else {
            return Err(Error::NoList {
                fields: text.split(|byte| *byte == b',').count(),
            });
        };
        let (before, list) = text.split_at(opening);
        let before = before
            .strip_suffix(b"\"")
            .unwrap_or(before)
            .trim_ascii_end();
        let found = match before.strip_suffix(b",").unwrap_or(before) {
            [] => 0,
            before => before.split(|byte| *byte == b',').count(),
        };
        let header = header.filter(|header| header.place(Name::Data) == Some(found));
        let columns = match header.or_else(|| Columns::known(found)) {
            Some(columns) => columns,
            None => return Err(Error::FieldCount { found }),
        };
        let mut split = Self {
            columns,
            fields: [&[]; MOST_COLUMNS],
            list,
        };
        split.fill(0, before);
        if columns.behind_list() > 0 {
            let Some(closing) = memchr::memchr(b']', list) else {
                let words = list.split(|byte| matches!(byte, b'[' | b' ' | b','));
                let values = words.filter(|word| !word.is_empty()).count();
                return Err(Error::Truncated { values });
            };
            let (list, behind) = list.split_at(closing + 1);
            let behind = behind.strip_prefix(b"\"").unwrap_or(behind);
            let Some(rest) = behind.strip_prefix(b",") else {
                return Err(Error::FieldCount { found: found + 1 });
            };
            let columns_behind = rest.split(|byte| *byte == b',').count();
            if columns_behind != columns.behind_list() {
                let found = found + 1 + columns_behind;
                return Err(Error::FieldCount { found });
            }
            split.list = list;
            split.fill(found + 1, rest);
        }
        Ok(split)
    }

    fn fill(&mut self, first: usize, text: &'a [u8]) {
        let fields = text.split(|byte| *byte == b',');
        for (place, field) in self.fields.iter_mut().skip(first).zip(fields) {
            *place = field;
        }
    }

    /// What stands in a column; `None` where the line has no such column.
    pub(super) fn get(&self, name: Name) -> Option<&'a [u8]> {
        self.fields.get(self.columns.place(name)?).copied()
    }

    fn error(&self, name: Name, expected: &'static str) -> Error {
        Error::Field {
            column: self.columns.place(name).map_or(0, |place| place + 1),
            name: name.text(),
            expected,
            found: excerpt(self.get(name).unwrap_or_default()),
        }
    }

    /// Reads a column with `read`, which gives `None` for what the column does not hold.
    fn read<T>(
        &self,
        name: Name,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(field) = self.get(name) else {
            return Ok(None);
        };
        let value = std::str::from_utf8(field)
            .ok()
            .and_then(|text| read(text.trim()));
        value.map(Some).ok_or_else(|| self.error(name, expected))
    }

    fn integer(
        &self,
        name: Name,
        (min, max): (i64, i64),
        expected: &'static str,
    ) -> Result<Option<i64>, Error> {
        let within = |value: &i64| (min..=max).contains(value);
        self.read(name, expected, |text| text.parse().ok().filter(within))
    }

    /// An integer of a type that holds every value of the range.
    fn small<T: TryFrom<i64>>(
        &self,
        name: Name,
        range: (i64, i64),
        expected: &'static str,
    ) -> Result<Option<T>, Error> {
        let value = self.integer(name, range, expected)?;
        let value = value.map(T::try_from).transpose();
        value.map_err(|_| self.error(name, expected))
    }

    fn byte(&self, name: Name, expected: &'static str) -> Result<Option<u8>, Error> {
        self.small(name, (0, 255), expected)
    }

    fn dbm(&self, name: Name) -> Result<Option<i8>, Error> {
        self.small(name, (-128, 127), "an integer of -128 to 127 dBm")
    }

    fn switch(&self, name: Name) -> Result<Option<bool>, Error> {
        let value = self.integer(name, (0, 1), "0 or 1")?;
        Ok(value.map(|value| value == 1))
    }

    /// The fields that a frame is made of.
    pub(super) fn row(&self) -> Result<Row, Error> {
        // Some firmware prints the unsigned clock as signed.
        let clock = (i64::from(i32::MIN), i64::from(u32::MAX));
        let clock = self.integer(Name::LocalTimestamp, clock, "32-bit microseconds")?;
        let clock = clock.and_then(|clock| u32::try_from(clock & i64::from(u32::MAX)).ok());
        let wall = self.switch(Name::RealTimeSet)?.unwrap_or_default();
        let real = self.read(Name::RealTimestamp, "seconds with a decimal point", seconds)?;
        Ok(Row {
            id: self.small(Name::Id, (0, i64::from(u32::MAX)), "a running number")?,
            mac: self.read(Name::Mac, "a MAC address", mac)?,
            rssi_dbm: self.dbm(Name::Rssi)?,
            sig_mode: self.byte(Name::SigMode, "0, 1 or 3")?,
            bandwidth: self.switch(Name::Bandwidth)?,
            stbc: self.byte(Name::Stbc, "0 to 255")?.map(|stbc| stbc != 0),
            noise_floor_dbm: self.dbm(Name::NoiseFloor)?,
            agc: self.byte(Name::AgcGain, "0 to 255")?,
            channel: self.byte(Name::Channel, "a channel number")?,
            secondary_channel: self.byte(Name::SecondaryChannel, "0, 1 or 2")?,
            local_timestamp_us: clock,
            real_time_us: real.filter(|_| wall),
            len: self
                .small(Name::Len, (0, i64::from(u16::MAX)), "a number of bytes")?
                .unwrap_or_default(),
            // Firmware that does not say is taken to have spoiled it.
            first_word_invalid: self.switch(Name::FirstWord)?.unwrap_or(true),
            newer_chip: self.get(Name::SigMode).is_none() && self.get(Name::Bandwidth).is_none(),
        })
    }

    /// Reads the list: `[1 -2 3 ]`, `[1,-2,3]` or `[1,-2,3]"`, of integers between `min` and `max`. One number may stand behind
    /// it: the time that a program on the host adds, in a column that nothing names. It is passed over.
    pub(super) fn list(&self, (min, max): (i16, i16), values: &mut Vec<i16>) -> Result<(), Error> {
        values.clear();
        let Some(body) = self.list.strip_prefix(b"[") else {
            return Err(Error::Truncated { values: 0 });
        };
        let closing = memchr::memchr(b']', body);
        let (body, behind) = body.split_at(closing.unwrap_or(body.len()));
        for word in body
            .split(|byte| matches!(byte, b' ' | b',' | b'\t'))
            .filter(|word| !word.is_empty())
        {
            match integer(word).filter(|value| (min..=max).contains(value)) {
                Some(value) => values.push(value),
                // A cut through the last number: the cut is the fault, not the number.
                None if closing.is_none() && body.ends_with(word) && word == b"-" => break,
                None => {
                    return Err(Error::Value {
                        position: values.len() + 1,
                        min,
                        max,
                        found: excerpt(word),
                    });
                }
            }
        }
        if closing.is_none() {
            return Err(Error::Truncated {
                values: values.len(),
            });
        }
        let behind = behind.strip_prefix(b"]").unwrap_or(behind);
        let behind = behind.strip_prefix(b"\"").unwrap_or(behind).trim_ascii();
        if behind.is_empty() || is_one_number(behind) {
            Ok(())
        } else {
            Err(Error::RunTogether {
                found: excerpt(behind),
            })
        }
    }
}

/// Whether this is a comma and one decimal number.
fn is_one_number(behind: &[u8]) -> bool {
    let number = behind.strip_prefix(b",").map(<[u8]>::trim_ascii);
    number.is_some_and(|number| {
        let digit = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
        number.first().is_some_and(u8::is_ascii_digit) && number.iter().all(digit)
    })
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0_u8; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        // `from_str_radix` would take a sign.
        let digits = part.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| digits)?;
    }
    parts.next().is_none().then_some(mac)
}

fn seconds(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 12 || part.len() > 9 || !digits(whole) || !digits(part) {
        return None;
    }
    let micros: i64 = format!("{part:0<6}").get(..6)?.parse().ok()?;
    Some(whole.parse::<i64>().ok()? * 1_000_000 + micros)
}

/// An integer of at most four digits.
fn integer(word: &[u8]) -> Option<i16> {
    let (negative, digits) = match word.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    if digits.is_empty() || digits.len() > 4 {
        return None;
    }
    let mut value = 0_i16;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i16::from(digit - b'0');
    }
    Some(if negative { -value } else { value })
}

/// Whether a line is of the firmware's log: a letter for the severity, a blank, the time in brackets; perhaps coloured.
pub(super) fn is_log(text: &[u8]) -> bool {
    let text = match text.strip_prefix(b"\x1b[") {
        Some(rest) => memchr::memchr(b'm', rest)
            .and_then(|end| rest.get(end + 1..))
            .unwrap_or_default(),
        None => text,
    };
    let [b'E' | b'W' | b'I' | b'D' | b'V', b' ', b'(', rest @ ..] = text else {
        return false;
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && rest.get(digits) == Some(&b')')
}
