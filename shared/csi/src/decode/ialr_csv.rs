//! The amplitude recordings of github.com/IALR/csi-motion-detection: a header line, then one row for each frame.
//!
//! Columns: session_id, host_unix_us (time of reception), timestamp_us (device clock), label, esp_label, settling, rssi,
//! num_subcarriers, amp_0, amp_1 and so on. The firmware drops the phase: samples are amplitudes in the real parts.

use std::sync::Arc;

use num_complex::Complex32;

use super::excerpt;
use crate::layout::{self, Fields, Order};
use crate::{Frame, Layout, Ppdu, SampleFormat};

/// How the header line begins.
pub const HEADER: &str =
    "session_id,host_unix_us,timestamp_us,label,esp_label,settling,rssi,num_subcarriers,amp_0";
/// Longest line that is looked at, in bytes.
const MAX_LINE_BYTES: usize = 16 * 1024;
/// Columns before the amplitudes.
const BEFORE: usize = 8;

/// Why a line is no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too long to be one line.
    #[error("a line of {found} bytes: expected at most 16384")]
    LineTooLong {
        /// Bytes.
        found: usize,
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
    /// Another number of amplitudes than announced.
    #[error("expected {expected} amplitudes as num_subcarriers says, found {found}")]
    Count {
        /// What `num_subcarriers` says.
        expected: usize,
        /// Fields after it.
        found: usize,
    },
}

impl Error {
    /// A stable name for counting.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::LineTooLong { .. } => "line_too_long",
            Self::Field { .. } => "bad_field",
            Self::Count { .. } => "amplitude_count",
        }
    }
}

fn field<'a>(fields: &mut impl Iterator<Item = &'a [u8]>) -> &'a [u8] {
    fields.next().unwrap_or_default().trim_ascii()
}

fn number<T: std::str::FromStr>(
    text: &[u8],
    (column, name): (usize, &'static str),
    expected: &'static str,
) -> Result<T, Error> {
    let value = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    value.ok_or_else(|| Error::Field {
        column,
        name,
        expected,
        found: excerpt(text),
    })
}

/// Decodes one line; `None` for a blank or a header line. `sequence` is the number of the frame in the stream.
///
/// # Errors
/// Where the line is damaged.
pub fn decode(line: &[u8], sequence: u64) -> Result<Option<Frame>, Error> {
    if line.len() > MAX_LINE_BYTES {
        return Err(Error::LineTooLong { found: line.len() });
    }
    let text = line.trim_ascii();
    if text.is_empty() || text.starts_with(b"session_id,") {
        return Ok(None);
    }
    let mut fields = text.split(|byte| *byte == b',');
    let _session = field(&mut fields);
    let receive_time_us = number(field(&mut fields), (2, "host_unix_us"), "microseconds")?;
    let device_time_us = number(field(&mut fields), (3, "timestamp_us"), "microseconds")?;
    let _labels = [field(&mut fields), field(&mut fields), field(&mut fields)];
    let rssi: i8 = number(
        field(&mut fields),
        (7, "rssi"),
        "an integer of -128 to 127 dBm",
    )?;
    let expected: u16 = number(
        field(&mut fields),
        (8, "num_subcarriers"),
        "a number of subcarriers",
    )?;
    let mut samples: Vec<Complex32> = Vec::with_capacity(text.len() / 2 / BEFORE);
    for amplitude in fields {
        let column = BEFORE + samples.len() + 1;
        let amplitude: u16 = number(
            amplitude.trim_ascii(),
            (column, "amplitude"),
            "an amplitude of 0 to 65535",
        )?;
        samples.push(Complex32::new(f32::from(amplitude), 0.0));
    }
    let (expected, found) = (usize::from(expected), samples.len());
    let Some((layout, fields)) = layout_of(found).filter(|_| found == expected) else {
        return Err(Error::Count { expected, found });
    };
    Ok(Some(Frame {
        sequence,
        counted: false,
        device_time_us: Some(device_time_us),
        receive_time_us,
        rssi_dbm: vec![rssi],
        noise_floor_dbm: None,
        agc: None,
        frequency_mhz: None,
        channel: None,
        bandwidth_mhz: fields.map(Fields::bandwidth_mhz),
        ppdu: if fields.is_some_and(Fields::has_ht) {
            Ppdu::Ht
        } else {
            Ppdu::Unknown
        },
        antennas: 1,
        transmit_streams: 1,
        layout,
        samples,
        format: SampleFormat::Af32,
        scale: None,
        raw_size: u32::try_from(text.len()).unwrap_or(u32::MAX),
        transmitter: None,
        simulated: false,
        chain: None,
    }))
}

fn layout_of(amplitudes: usize) -> Option<(Arc<Layout>, Option<Fields>)> {
    let fields = match amplitudes {
        64 => Fields::Legacy,
        128 => Fields::LegacyHt20,
        _ => return layout::positions(amplitudes, false).map(|layout| (layout, None)),
    };
    Some((layout::esp32(fields, Order::Fft, false), Some(fields)))
}
