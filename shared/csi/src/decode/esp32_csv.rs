//! `CSI_DATA` lines of Espressif's and of the ESP32-CSI-Tool's firmware.
//!
//! A header line, which names RSSI and the list, says which column holds what from there on: in any order, with columns that
//! are not known here passed over, before the list or behind it. What has no column is absent. Lines that do not fit the
//! header, and those of a stream without one, are of three sets, told apart by the number of fields before the list:
//!
//! - 25 columns (esp-csi): type, id, mac, rssi, rate, sig_mode, mcs, bandwidth, smoothing, not_sounding, aggregation, stbc,
//!   fec_coding, sgi, noise_floor, ampdu_cnt, channel, secondary_channel, local_timestamp, ant, sig_len, rx_state, len,
//!   first_word, data.
//! - 15 columns (esp-csi on C5 and C6): type, id, mac, rssi, rate, noise_floor, fft_gain, agc_gain, channel,
//!   local_timestamp, sig_len, rx_state, len, first_word, data.
//! - 26 columns (ESP32-CSI-Tool): type, role, mac, rssi, rate, sig_mode, mcs, bandwidth, smoothing, not_sounding,
//!   aggregation, stbc, fec_coding, sgi, noise_floor, ampdu_cnt, channel, secondary_channel, local_timestamp, ant, sig_len,
//!   rx_state, real_time_set, real_timestamp, len, data.
//!
//! The list holds signed bytes, imaginary part first, in square brackets, separated by blanks or by commas (then quoted).
//! `len` is what the hardware held; fewer or more may be listed, and the list decides. The ESP32-CSI-Tool does not say
//! whether the first word is valid, so it is taken as invalid.
//!
//! Layouts by number of values: see [`Fields`]. C5 and C6 firmware does not say what kind of packet it was; their order is
//! told by the zeros in a buffer, and where these leave it open the layout is `positions`. With 12-bit precision (the rule of
//! newer C5 firmware for the legacy field) 106 values hold the low byte and the upper four bits of each part, told by odd
//! values that are all 0 to 15; or the firmware prints 52 numbers.
//!
//! Time: `local_timestamp` is the device's 32-bit microsecond clock, unwrapped by [`DeviceClock`]. `real_timestamp` counts
//! as wall time only where `real_time_set` is 1; otherwise it counts from boot too, later and less exactly than
//! `local_timestamp`, and in some firmware without leading zeros, and is not used.

mod columns;
mod line;
mod write;

use std::sync::Arc;

use num_complex::Complex32;

use super::clock::DeviceClock;
use super::excerpt;
use crate::frame::frequency_of;
use crate::layout::{self, Fields, Order};
use crate::{Frame, Layout, Ppdu, SampleFormat};

use columns::{Columns, Name};
use line::{Row, Split};
pub use write::{SIMULATED_LINE, write_line};

/// Longest line that is looked at, in bytes. The longest real one, 612 values, has about 3,200.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// Why a line is no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too long to be one line.
    #[error("a line of {found} bytes: expected at most {MAX_LINE_BYTES}")]
    LineTooLong {
        /// Bytes.
        found: usize,
    },
    /// Neither `CSI_DATA`, nor a header, a comment or a log line of the firmware.
    #[error("expected a line that begins with CSI_DATA, found {found:?}")]
    NotCsiData {
        /// How the line begins.
        found: String,
    },
    /// Not one of the known sets of columns.
    #[error(
        "expected 24, 14 or 25 fields before the list of samples, or what the header says; found {found}"
    )]
    FieldCount {
        /// Fields before the list.
        found: usize,
    },
    /// There is no list: the line was cut off before it.
    #[error("expected a list of samples in brackets, found {fields} fields and none")]
    NoList {
        /// Fields.
        fields: usize,
    },
    /// A field is not what its column holds.
    #[error("field {column} ({name}): expected {expected}, found {found:?}")]
    Field {
        /// Number of the column, from 1.
        column: usize,
        /// Its name.
        name: &'static str,
        /// What it holds.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// The list has no end: the line was cut off.
    #[error("the list of samples is cut off after {values} values: expected a closing bracket")]
    Truncated {
        /// Values before the end.
        values: usize,
    },
    /// Something stands behind the list: two lines have run together.
    #[error("expected the end of the line after the list of samples, found {found:?}")]
    RunTogether {
        /// What stands there.
        found: String,
    },
    /// A value is no signed byte.
    #[error("value {position} of the list: expected {min} to {max}, found {found:?}")]
    Value {
        /// Place in the list, from 1.
        position: usize,
        /// The smallest that is there.
        min: i16,
        /// The largest.
        max: i16,
        /// What stands there.
        found: String,
    },
    /// A pair is incomplete.
    #[error("an odd number of values in the list: {found}")]
    OddValues {
        /// Values.
        found: usize,
    },
    /// Neither a number that the hardware delivers, nor the one that `len` announces.
    #[error(
        "{found} values in the list: expected {announced} as `len` says, or a known layout (128, 256, 376, 380, 384, 612)"
    )]
    ValueCount {
        /// Values.
        found: usize,
        /// What `len` says.
        announced: usize,
    },
}

impl Error {
    /// A stable name for counting.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::LineTooLong { .. } => "line_too_long",
            Self::NotCsiData { .. } => "not_csi_data",
            Self::FieldCount { .. } => "field_count",
            Self::NoList { .. } => "no_list",
            Self::Field { .. } => "bad_field",
            Self::Truncated { .. } => "truncated",
            Self::RunTogether { .. } => "lines_run_together",
            Self::Value { .. } => "bad_value",
            Self::OddValues { .. } => "odd_values",
            Self::ValueCount { .. } => "value_count",
        }
    }
}

/// Whether a line names columns: RSSI, the list of samples, and others.
#[must_use]
pub fn is_header(line: &[u8]) -> bool {
    Columns::header(line.trim_ascii()).is_some()
}

/// Decodes the lines of one device, one after another.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    clock: DeviceClock,
    /// Frames so far: the sequence number where the device does not count.
    frames: u64,
    simulated: bool,
    header: Option<Columns>,
    values: Vec<i16>,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the stream said of itself that it is simulated.
    #[must_use]
    pub fn simulated(&self) -> bool {
        self.simulated
    }

    /// How often the device was seen to start again.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.clock.restarts()
    }

    /// Decodes one line, with or without its end. `receive_time_us` is the time of reception in microseconds since the Unix
    /// epoch, for a line that comes in now; a recording has its own.
    ///
    /// Blank lines, header lines, comments (`#`) and log lines of the firmware (`I (312) wifi: ...`) are `None`.
    ///
    /// # Errors
    /// Where the line is damaged. The decoder goes on with the next one as if this had not been there.
    pub fn line(
        &mut self,
        line: &[u8],
        receive_time_us: Option<i64>,
    ) -> Result<Option<Frame>, Error> {
        if line.len() > MAX_LINE_BYTES {
            return Err(Error::LineTooLong { found: line.len() });
        }
        let text = line.trim_ascii();
        if text.is_empty() || line::is_log(text) {
            return Ok(None);
        }
        if text.starts_with(b"#") {
            self.simulated |= text.starts_with(SIMULATED_LINE.as_bytes());
            return Ok(None);
        }
        if let Some(header) = Columns::header(text) {
            self.header = Some(header);
            return Ok(None);
        }
        if text.starts_with(b"type,") {
            return Ok(None);
        }
        let split = split(self.header.as_ref(), text)?;
        let row = split.row()?;
        let twelve_bits = row.newer_chip && row.len == 52;
        let range = if twelve_bits {
            (-2048, 2047)
        } else {
            (-128, 127)
        };
        split.list(range, &mut self.values)?;
        if row.newer_chip && self.values.len() == 106 {
            join_twelve_bits(&mut self.values);
        }
        let (layout, fields) = layout_of(&row, &self.values)?;
        let mut samples: Vec<Complex32> = Vec::with_capacity(self.values.len() / 2);
        samples.extend(self.values.chunks_exact(2).map(|pair| {
            let [im, re] = [pair.first(), pair.last()]
                .map(|value| value.map_or(0.0, |value| f32::from(*value)));
            Complex32::new(re, im)
        }));
        let device_time_us = row
            .local_timestamp_us
            .map(|reading| self.clock.unwrap(reading));
        let own_time = row.real_time_us.unwrap_or_else(|| {
            let device = device_time_us.unwrap_or_default();
            i64::try_from(device).unwrap_or(i64::MAX)
        });
        let certain = fields.filter(|fields| fields.has_ht() || fields.has_he());
        let frame = Frame {
            sequence: row.id.unwrap_or(self.frames),
            counted: row.id.is_some(),
            device_time_us,
            receive_time_us: receive_time_us.unwrap_or(own_time),
            rssi_dbm: row.rssi_dbm.into_iter().collect(),
            noise_floor_dbm: row.noise_floor_dbm,
            agc: row.agc,
            frequency_mhz: row.channel.and_then(frequency_of),
            channel: row.channel,
            bandwidth_mhz: match row.bandwidth {
                Some(wide) => Some(if wide { 40 } else { 20 }),
                None if row.newer_chip => certain.map(Fields::bandwidth_mhz),
                None => None,
            },
            ppdu: match row.sig_mode {
                Some(0) => Ppdu::NonHt,
                Some(1) => Ppdu::Ht,
                Some(3) => Ppdu::Vht,
                None if fields.is_some_and(Fields::has_he) => Ppdu::He,
                None if fields.is_some_and(Fields::has_ht) => Ppdu::Ht,
                _ => Ppdu::Unknown,
            },
            antennas: 1,
            transmit_streams: 1,
            scale: None,
            layout,
            samples,
            format: if fields == Some(Fields::Legacy26) {
                SampleFormat::Ci16
            } else {
                SampleFormat::Ci8
            },
            raw_size: u32::try_from(text.len()).unwrap_or(u32::MAX),
            transmitter: row.mac,
            simulated: self.simulated,
            chain: None,
        };
        self.frames += 1;
        Ok(Some(frame))
    }

    /// What a line says beyond what a frame holds, by the names that the reference decodings of public recordings use.
    #[must_use]
    pub fn fields(&self, line: &[u8]) -> serde_json::Map<String, serde_json::Value> {
        let Ok(split) = split(self.header.as_ref(), line.trim_ascii()) else {
            return serde_json::Map::new();
        };
        let value = |(name, key): (Name, &str)| {
            let text = std::str::from_utf8(split.get(name)?).ok()?.trim();
            let number = serde_json::from_str::<serde_json::Number>(text);
            let value = number.map_or_else(|_| text.into(), serde_json::Value::Number);
            Some((key.to_owned(), value))
        };
        FIELDS.into_iter().filter_map(value).collect()
    }
}

/// Takes a line of data apart.
fn split<'a>(header: Option<&'a Columns>, text: &'a [u8]) -> Result<Split<'a>, Error> {
    let kind = header.and_then(|header| header.place(Name::Type));
    // With a header the kind may stand elsewhere, or nowhere.
    let first = header.is_none() || kind == Some(0);
    let not_csi_data = || Error::NotCsiData {
        found: excerpt(text),
    };
    if first && !text.starts_with(b"CSI_DATA,") {
        return Err(not_csi_data());
    }
    if !first && !text.starts_with(b"CSI_DATA,") && memchr::memchr(b'[', text).is_none() {
        return Err(not_csi_data());
    }
    let split = Split::new(text, header)?;
    match split.get(Name::Type) {
        None | Some(b"CSI_DATA") => Ok(split),
        Some(_) => Err(not_csi_data()),
    }
}

/// Columns, and how the reference decodings call them.
const FIELDS: [(Name, &str); 16] = [
    (Name::Role, "role"),
    (Name::Id, "id"),
    (Name::Mac, "mac"),
    (Name::Rssi, "rssi"),
    (Name::Rate, "rate"),
    (Name::SigMode, "sig_mode"),
    (Name::Mcs, "mcs"),
    (Name::Bandwidth, "bandwidth"),
    (Name::Stbc, "stbc"),
    (Name::NoiseFloor, "noise_floor"),
    (Name::SecondaryChannel, "secondary_channel"),
    (Name::LocalTimestamp, "local_timestamp_us"),
    (Name::SigLen, "sig_len"),
    (Name::RealTimestamp, "real_timestamp"),
    (Name::Len, "len_field"),
    (Name::FirstWord, "first_word_invalid"),
];

/// Joins the halves of 12-bit numbers, where the values are such: the odd ones are upper halves, 0 to 15 without a sign, which
/// no list of signed bytes is for long. The two values behind the 26 pairs are nothing.
fn join_twelve_bits(values: &mut Vec<i16>) {
    let upper = || values.iter().skip(1).step_by(2).take(52);
    if !upper().all(|value| (0..16).contains(value)) || !upper().any(|value| *value > 7) {
        return;
    }
    let joined = values.chunks_exact(2).take(52).map(|halves| {
        let [low, high] = [halves.first(), halves.last()].map(|half| half.copied().unwrap_or(0));
        // The sign is bit 11.
        (high << 12) >> 4 | (low & 0xFF)
    });
    *values = joined.collect();
}

fn layout_of(row: &Row, values: &[i16]) -> Result<(Arc<Layout>, Option<Fields>), Error> {
    let found = values.len();
    if !found.is_multiple_of(2) {
        return Err(Error::OddValues { found });
    }
    let ascending = row.secondary_channel.is_some_and(|channel| channel != 0);
    let mut order = if ascending {
        Order::Ascending
    } else {
        Order::Fft
    };
    let wide = row.bandwidth == Some(true);
    let stbc = row.stbc == Some(true);
    let zero = |position: usize| {
        values
            .get(2 * position..2 * position + 2)
            .is_some_and(|pair| pair == [0, 0])
    };
    let unknown = || {
        let unknown = layout::positions(found / 2, row.first_word_invalid);
        let unknown = unknown.filter(|_| found == row.len || row.len == 0);
        unknown
            .map(|layout| (layout, None))
            .ok_or(Error::ValueCount {
                found,
                announced: row.len,
            })
    };
    let fields = match found {
        52 if row.newer_chip => {
            order = Order::Ascending;
            Fields::Legacy26
        }
        128 if row.newer_chip => match layout::ascending_by_zeros(zero) {
            Some(fields) => {
                order = Order::Ascending;
                fields
            }
            None => Fields::Legacy,
        },
        _ if row.newer_chip => match layout::by_zeros(found / 2, zero) {
            Some((fields, by_zeros)) => {
                order = by_zeros;
                fields
            }
            None => return unknown(),
        },
        128 => Fields::Legacy,
        // Where the legacy field is turned off.
        256 if wide && row.len == 256 => Fields::Ht40,
        // A part of what the hardware held, which ends within a field.
        256 if wide => return unknown(),
        256 => Fields::LegacyHt20,
        376 => Fields::LegacyHt20StbcAbove,
        380 => Fields::LegacyHt20StbcBelow,
        384 if wide && !stbc => Fields::LegacyHt40,
        384 => Fields::LegacyHt20Stbc,
        612 => Fields::LegacyHt40Stbc,
        _ => return unknown(),
    };
    if fields == Fields::Ht40 && !row.newer_chip {
        order = Order::Fft;
    }
    Ok((
        layout::esp32(fields, order, row.first_word_invalid),
        Some(fields),
    ))
}

#[cfg(test)]
mod tests;
