//! `CSI_DATA` lines of Espressif's and of the ESP32-CSI-Tool's firmware.
//!
//! Three sets of columns, told apart by the number of fields before the list of samples:
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
//! Time: `local_timestamp` is the device's 32-bit microsecond clock, unwrapped by [`DeviceClock`]. `real_timestamp` counts
//! as wall time only where `real_time_set` is 1; otherwise it counts from boot too, later and less exactly than
//! `local_timestamp`, and in some firmware without leading zeros, and is not used.

mod line;
mod write;

use std::sync::Arc;

use num_complex::Complex32;

use super::clock::DeviceClock;
use crate::frame::frequency_of;
use crate::layout::{self, Fields, Order};
use crate::{Frame, Layout, Ppdu, SampleFormat};

use line::{Columns, Row};
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
    #[error("expected 24, 14 or 25 fields before the list of samples, found {found}")]
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
    #[error("value {position} of the list: expected -128 to 127, found {found:?}")]
    Value {
        /// Place in the list, from 1.
        position: usize,
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
        "{found} values in the list: expected {announced} as `len` says, or a known layout (128, 256, 384, 612)"
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

/// Decodes the lines of one device, one after another.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    clock: DeviceClock,
    /// Frames so far: the sequence number where the device does not count.
    frames: u64,
    simulated: bool,
    values: Vec<i8>,
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
        if text.is_empty() || text.starts_with(b"type,") || line::is_log(text) {
            return Ok(None);
        }
        if text.starts_with(b"#") {
            self.simulated |= text.starts_with(SIMULATED_LINE.as_bytes());
            return Ok(None);
        }
        let row = Row::parse(text, &mut self.values)?;
        let (layout, fields) = layout_of(&row, &self.values)?;
        let mut samples: Vec<Complex32> = Vec::with_capacity(self.values.len() / 2);
        samples.extend(self.values.chunks_exact(2).map(|pair| {
            let [im, re] = [pair.first(), pair.last()]
                .map(|value| value.map_or(0.0, |value| f32::from(*value)));
            Complex32::new(re, im)
        }));
        let device_time_us = self.clock.unwrap(row.local_timestamp_us);
        let own_time = row
            .real_time_us
            .unwrap_or_else(|| i64::try_from(device_time_us).unwrap_or(i64::MAX));
        let frame = Frame {
            sequence: row.id.unwrap_or(self.frames),
            counted: row.id.is_some(),
            device_time_us: Some(device_time_us),
            receive_time_us: receive_time_us.unwrap_or(own_time),
            rssi_dbm: vec![row.rssi_dbm],
            noise_floor_dbm: Some(row.noise_floor_dbm),
            agc: row.agc,
            frequency_mhz: frequency_of(row.channel),
            channel: Some(row.channel),
            bandwidth_mhz: row.bandwidth.map(|wide| if wide { 40 } else { 20 }),
            ppdu: match row.sig_mode {
                Some(0) => Ppdu::NonHt,
                Some(1) => Ppdu::Ht,
                Some(3) => Ppdu::Vht,
                None if fields.is_some_and(Fields::has_ht) => Ppdu::Ht,
                _ => Ppdu::Unknown,
            },
            antennas: 1,
            transmit_streams: 1,
            layout,
            samples,
            format: SampleFormat::Ci8,
            scale: None,
            raw_size: u32::try_from(text.len()).unwrap_or(u32::MAX),
            transmitter: Some(row.mac),
            simulated: self.simulated,
            chain: None,
        };
        self.frames += 1;
        Ok(Some(frame))
    }
}

fn layout_of(row: &Row, values: &[i8]) -> Result<(Arc<Layout>, Option<Fields>), Error> {
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
    let fields = match found {
        128 if row.columns == Columns::EspCsiShort => {
            let zero = |position: usize| {
                values
                    .get(2 * position..2 * position + 2)
                    .is_some_and(|pair| pair == [0, 0])
            };
            let fields = layout::ascending_by_zeros(zero);
            if fields.is_some() {
                order = Order::Ascending;
            }
            fields.unwrap_or(Fields::Legacy)
        }
        128 => Fields::Legacy,
        256 => Fields::LegacyHt20,
        384 if wide && row.stbc != Some(true) => Fields::LegacyHt40,
        384 => Fields::LegacyHt20Stbc,
        612 => Fields::LegacyHt40Stbc,
        _ if found == row.len && found > 0 => {
            let unknown = layout::positions(found / 2, row.first_word_invalid);
            return unknown
                .map(|layout| (layout, None))
                .ok_or(Error::ValueCount {
                    found,
                    announced: row.len,
                });
        }
        _ => {
            return Err(Error::ValueCount {
                found,
                announced: row.len,
            });
        }
    };
    Ok((
        layout::esp32(fields, order, row.first_word_invalid),
        Some(fields),
    ))
}

#[cfg(test)]
mod tests;
