//! RuView's log: one JSON object for each packet of an ADR-018 node.
//!
//! Of the lines, those of type `raw_csi` hold CSI: `timestamp` (seconds since the Unix epoch), `node_id`, `iq_hex` (the
//! buffer: imaginary part first), `subcarriers`. Others are passed over. The log keeps neither sequence number, frequency,
//! flags nor noise floor, and its `rssi` is 0 or 1, which is no measurement: all of these are absent.

use serde::Deserialize;

use super::{adr018, excerpt};
use crate::Frame;

/// Longest line that is looked at, in bytes.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Why a line is no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too long to be one line.
    #[error("a line of {found} bytes: expected at most 65536")]
    LineTooLong {
        /// Bytes.
        found: usize,
    },
    /// Not the expected JSON.
    #[error("expected a JSON object of a RuView log, found {found:?} ({problem})")]
    Json {
        /// How the line begins.
        found: String,
        /// What the JSON parser says.
        problem: String,
    },
    /// The buffer is no hexadecimal text of the announced length.
    #[error(
        "iq_hex: expected {expected} hexadecimal digits for {subcarriers} subcarriers, found {found}"
    )]
    Buffer {
        /// Digits for the announced subcarriers.
        expected: usize,
        /// Announced subcarriers.
        subcarriers: u16,
        /// What is there.
        found: String,
    },
    /// The time is no time.
    #[error("timestamp: expected seconds since 1970, found {found}")]
    Time {
        /// What is there.
        found: String,
    },
    /// The counts are absurd.
    #[error(transparent)]
    Counts(#[from] adr018::Error),
}

impl Error {
    /// A stable name for counting.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::LineTooLong { .. } => "line_too_long",
            Self::Json { .. } => "not_json",
            Self::Buffer { .. } => "bad_buffer",
            Self::Time { .. } => "bad_time",
            Self::Counts(error) => error.code(),
        }
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type", default)]
    kind: Option<&'a str>,
    timestamp: f64,
    node_id: u8,
    #[serde(default)]
    iq_hex: Option<&'a str>,
    #[serde(default)]
    subcarriers: Option<u16>,
}

/// Decodes one line: the node and its frame, or `None` for a line that holds no CSI. `sequence` is its number in the stream.
///
/// # Errors
/// Where the line is damaged.
pub fn decode(line: &[u8], sequence: u64) -> Result<Option<(u8, Frame)>, Error> {
    if line.len() > MAX_LINE_BYTES {
        return Err(Error::LineTooLong { found: line.len() });
    }
    let text = line.trim_ascii();
    if text.is_empty() {
        return Ok(None);
    }
    let json = |error: serde_json::Error| Error::Json {
        found: excerpt(text),
        problem: error.to_string(),
    };
    let line: Line<'_> = serde_json::from_slice(text).map_err(json)?;
    let (Some(hex), Some(subcarriers), Some("raw_csi")) =
        (line.iq_hex, line.subcarriers, line.kind)
    else {
        return Ok(None);
    };
    let expected = 4 * usize::from(subcarriers);
    let bad_buffer = |found: String| Error::Buffer {
        expected,
        subcarriers,
        found,
    };
    if hex.len() != expected {
        return Err(bad_buffer(format!("{} digits", hex.len())));
    }
    let mut buffer = vec![0_u8; expected / 2];
    hex::decode_to_slice(hex, &mut buffer).map_err(|error| bad_buffer(error.to_string()))?;
    let micros = (line.timestamp * 1e6).round();
    if !(0.0..=9.0e17).contains(&micros) {
        return Err(Error::Time {
            found: line.timestamp.to_string(),
        });
    }
    // In range: the conversion is exact to the microsecond.
    #[allow(clippy::cast_possible_truncation)]
    let frame = adr018::frame_of_buffer(&buffer, sequence, micros as i64)?;
    Ok(Some((line.node_id, frame)))
}
