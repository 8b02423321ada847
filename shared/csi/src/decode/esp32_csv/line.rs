//! One line into its fields.

use super::Error;
use crate::decode::excerpt;

/// Which set of columns a line has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Columns {
    /// 25 columns.
    EspCsi,
    /// 15 columns, of C5 and C6.
    EspCsiShort,
    /// 26 columns.
    CsiTool,
}

/// The fields that a frame is made of.
#[derive(Debug)]
pub(super) struct Row {
    pub columns: Columns,
    pub id: Option<u64>,
    pub mac: [u8; 6],
    pub rssi_dbm: i8,
    pub sig_mode: Option<u8>,
    /// 40 MHz.
    pub bandwidth: Option<bool>,
    pub stbc: Option<bool>,
    pub noise_floor_dbm: i8,
    pub agc: Option<u8>,
    pub channel: u8,
    pub secondary_channel: Option<u8>,
    pub local_timestamp_us: u32,
    /// Wall time, where the device had one.
    pub real_time_us: Option<i64>,
    /// Number of values that the hardware held.
    pub len: usize,
    pub first_word_invalid: bool,
}

/// Most fields before the list in any set of columns, and one more to notice the excess.
const MOST_FIELDS: usize = 26;

struct Split<'a> {
    fields: [&'a [u8]; MOST_FIELDS],
}

impl<'a> Split<'a> {
    fn get(&self, column: usize) -> &'a [u8] {
        self.fields.get(column).copied().unwrap_or_default()
    }

    fn error(&self, (column, name): (usize, &'static str), expected: &'static str) -> Error {
        Error::Field {
            column: column + 1,
            name,
            expected,
            found: excerpt(self.get(column)),
        }
    }

    fn integer(
        &self,
        at: (usize, &'static str),
        min: i64,
        max: i64,
        expected: &'static str,
    ) -> Result<i64, Error> {
        let value = std::str::from_utf8(self.get(at.0))
            .ok()
            .and_then(|text| text.trim().parse::<i64>().ok());
        value
            .filter(|value| (min..=max).contains(value))
            .ok_or_else(|| self.error(at, expected))
    }

    fn byte(&self, at: (usize, &'static str), expected: &'static str) -> Result<u8, Error> {
        let value = self.integer(at, 0, 255, expected)?;
        u8::try_from(value).map_err(|_| self.error(at, expected))
    }

    fn dbm(&self, at: (usize, &'static str)) -> Result<i8, Error> {
        let expected = "an integer of -128 to 127 dBm";
        let value = self.integer(at, -128, 127, expected)?;
        i8::try_from(value).map_err(|_| self.error(at, expected))
    }

    fn switch(&self, at: (usize, &'static str)) -> Result<bool, Error> {
        Ok(self.integer(at, 0, 1, "0 or 1")? == 1)
    }

    fn clock(&self, at: (usize, &'static str)) -> Result<u32, Error> {
        let expected = "32-bit microseconds";
        // Some firmware prints the unsigned clock as signed.
        let value = self.integer(at, i64::from(i32::MIN), i64::from(u32::MAX), expected)?;
        u32::try_from(value & i64::from(u32::MAX)).map_err(|_| self.error(at, expected))
    }

    fn mac(&self, at: (usize, &'static str)) -> Result<[u8; 6], Error> {
        let mut mac = [0_u8; 6];
        let mut parts = self.get(at.0).trim_ascii().split(|byte| *byte == b':');
        let good = mac.iter_mut().all(|byte| {
            let part = parts
                .next()
                .filter(|part| part.len() == 2)
                .and_then(|part| std::str::from_utf8(part).ok());
            // `from_str_radix` would take a sign.
            let part = part.filter(|part| part.bytes().all(|digit| digit.is_ascii_hexdigit()));
            part.and_then(|part| u8::from_str_radix(part, 16).ok())
                .is_some_and(|value| {
                    *byte = value;
                    true
                })
        });
        if good && parts.next().is_none() {
            Ok(mac)
        } else {
            Err(self.error(at, "a MAC address"))
        }
    }

    fn seconds(&self, at: (usize, &'static str)) -> Result<i64, Error> {
        let error = || self.error(at, "seconds with a decimal point");
        let text = std::str::from_utf8(self.get(at.0))
            .map_err(|_| error())?
            .trim();
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 12 || part.len() > 9 || !digits(whole) || !digits(part)
        {
            return Err(error());
        }
        let micros = format!("{part:0<6}")
            .get(..6)
            .and_then(|part| part.parse::<i64>().ok())
            .ok_or_else(error)?;
        Ok(whole.parse::<i64>().map_err(|_| error())? * 1_000_000 + micros)
    }
}

impl Row {
    /// Reads the fields of a line, and its list into `values`.
    pub(super) fn parse(text: &[u8], values: &mut Vec<i8>) -> Result<Self, Error> {
        if !text.starts_with(b"CSI_DATA,") {
            return Err(Error::NotCsiData {
                found: excerpt(text),
            });
        }
        let Some(opening) = memchr::memchr(b'[', text) else {
            return Err(Error::NoList {
                fields: text.split(|byte| *byte == b',').count(),
            });
        };
        let (before, list) = text.split_at(opening);
        let before = before.strip_suffix(b"\"").unwrap_or(before);
        let before = before.strip_suffix(b",").unwrap_or(before);
        let mut split = Split {
            fields: [&[]; MOST_FIELDS],
        };
        let mut found = 0;
        for field in before.split(|byte| *byte == b',') {
            if let Some(place) = split.fields.get_mut(found) {
                *place = field;
            }
            found += 1;
        }
        let row = match found {
            24 => Self::esp_csi(&split),
            14 => Self::esp_csi_short(&split),
            25 => Self::csi_tool(&split),
            _ => return Err(Error::FieldCount { found }),
        }?;
        read_list(list, values)?;
        Ok(row)
    }

    fn esp_csi(split: &Split<'_>) -> Result<Self, Error> {
        Ok(Self {
            columns: Columns::EspCsi,
            id: Some(Self::id(split)?),
            first_word_invalid: split.switch((23, "first_word"))?,
            len: Self::len(split, 22)?,
            real_time_us: None,
            ..Self::long(split)?
        })
    }

    fn csi_tool(split: &Split<'_>) -> Result<Self, Error> {
        let wall = split.switch((22, "real_time_set"))?;
        let real = split.seconds((23, "real_timestamp"))?;
        Ok(Self {
            columns: Columns::CsiTool,
            real_time_us: wall.then_some(real),
            len: Self::len(split, 24)?,
            ..Self::long(split)?
        })
    }

    /// Columns 3 to 22, which both long sets share; without what follows them.
    fn long(split: &Split<'_>) -> Result<Self, Error> {
        Ok(Self {
            columns: Columns::CsiTool,
            id: None,
            mac: split.mac((2, "mac"))?,
            rssi_dbm: split.dbm((3, "rssi"))?,
            sig_mode: Some(split.byte((5, "sig_mode"), "0, 1 or 3")?),
            bandwidth: Some(split.switch((7, "bandwidth"))?),
            stbc: Some(split.byte((11, "stbc"), "0 to 255")? != 0),
            noise_floor_dbm: split.dbm((14, "noise_floor"))?,
            agc: None,
            channel: split.byte((16, "channel"), "a channel number")?,
            secondary_channel: Some(split.byte((17, "secondary_channel"), "0, 1 or 2")?),
            local_timestamp_us: split.clock((18, "local_timestamp"))?,
            real_time_us: None,
            len: 0,
            first_word_invalid: true,
        })
    }

    fn esp_csi_short(split: &Split<'_>) -> Result<Self, Error> {
        Ok(Self {
            columns: Columns::EspCsiShort,
            id: Some(Self::id(split)?),
            mac: split.mac((2, "mac"))?,
            rssi_dbm: split.dbm((3, "rssi"))?,
            sig_mode: None,
            bandwidth: None,
            stbc: None,
            noise_floor_dbm: split.dbm((5, "noise_floor"))?,
            agc: Some(split.byte((7, "agc_gain"), "0 to 255")?),
            channel: split.byte((8, "channel"), "a channel number")?,
            secondary_channel: None,
            local_timestamp_us: split.clock((9, "local_timestamp"))?,
            real_time_us: None,
            len: Self::len(split, 12)?,
            first_word_invalid: split.switch((13, "first_word"))?,
        })
    }

    fn id(split: &Split<'_>) -> Result<u64, Error> {
        let expected = "a running number";
        let id = split.integer((1, "id"), 0, i64::from(u32::MAX), expected)?;
        u64::try_from(id).map_err(|_| split.error((1, "id"), expected))
    }

    fn len(split: &Split<'_>, column: usize) -> Result<usize, Error> {
        let expected = "a number of bytes";
        let len = split.integer((column, "len"), 0, i64::from(u16::MAX), expected)?;
        usize::try_from(len).map_err(|_| split.error((column, "len"), expected))
    }
}

/// Reads `[1 -2 3 ]`, `[1,-2,3]` or `[1,-2,3]"`.
fn read_list(list: &[u8], values: &mut Vec<i8>) -> Result<(), Error> {
    values.clear();
    let Some(body) = list.strip_prefix(b"[") else {
        return Err(Error::Truncated { values: 0 });
    };
    let closing = memchr::memchr(b']', body);
    let (body, behind) = body.split_at(closing.unwrap_or(body.len()));
    for word in body
        .split(|byte| matches!(byte, b' ' | b','))
        .filter(|word| !word.is_empty())
    {
        match signed_byte(word) {
            Some(value) => values.push(value),
            // A cut through the last number: the cut is the fault, not the number.
            None if closing.is_none() && body.ends_with(word) && word == b"-" => break,
            None => {
                return Err(Error::Value {
                    position: values.len() + 1,
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
    if behind.is_empty() {
        Ok(())
    } else {
        Err(Error::RunTogether {
            found: excerpt(behind),
        })
    }
}

fn signed_byte(word: &[u8]) -> Option<i8> {
    let (negative, digits) = match word.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    if digits.is_empty() || digits.len() > 3 {
        return None;
    }
    let mut value = 0_i16;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i16::from(digit - b'0');
    }
    i8::try_from(if negative { -value } else { value }).ok()
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
