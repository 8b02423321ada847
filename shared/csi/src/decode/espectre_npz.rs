//! The recordings of github.com/francescopace/espectre: NumPy `.npz` archives of 20 MHz HT frames.
//!
//! Read from the archive: `csi_data` (i8, frames x 128, imaginary part first), `chip`, `collected_at` (local time without a
//! zone, taken as UTC) and `duration_ms`. There is no time for each frame: they are taken as evenly spaced over
//! `duration_ms` from `collected_at`. Each row is the HT field alone: in FFT order from the ESP32, C3 and S3, ascending from
//! the C5 and C6; the ESP32's first word holds no measurement. What the archive does not say is absent.

use std::io::{Cursor, Read};
use std::sync::Arc;

use bytes::Bytes;
use num_complex::Complex32;

use super::push_pairs;
use crate::layout::{self, Fields, Order};
use crate::{Frame, Layout, Ppdu, SampleFormat};

/// Bytes of one frame.
const ROW: usize = 128;
/// Longest text that is read from the archive, in bytes of UTF-32.
const MAX_TEXT: u64 = 1024;

/// Why an archive is no recording.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No zip archive, or a damaged one.
    #[error("array {array}: the archive cannot be read")]
    Archive {
        /// Which array was being read.
        array: &'static str,
        /// What is wrong.
        source: std::io::Error,
    },
    /// An array is missing.
    #[error("array {array}: not in the archive")]
    Missing {
        /// Which.
        array: &'static str,
    },
    /// An array holds something else.
    #[error("array {array}: expected {expected}, found {found}")]
    Array {
        /// Which.
        array: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

/// A recording, unpacked.
#[derive(Debug)]
pub struct Recording {
    rows: Vec<u8>,
    layout: Arc<Layout>,
    start_us: i64,
    duration_us: f64,
}

type Archive = zip::ZipArchive<Cursor<Bytes>>;

/// One array of the archive.
fn array<'a>(
    archive: &'a mut Archive,
    array: &'static str,
) -> Result<npyz::NpyFile<impl Read + 'a>, Error> {
    let file = archive
        .by_name(&format!("{array}.npy"))
        .map_err(|_| Error::Missing { array })?;
    npyz::NpyFile::new(file).map_err(|source| Error::Archive { array, source })
}

impl Recording {
    /// Unpacks an archive. `max_bytes` bounds what it may unpack to.
    ///
    /// # Errors
    /// Where it is no such archive, or larger than `max_bytes`.
    pub fn open(archive: Bytes, max_bytes: u64) -> Result<Self, Error> {
        let failed = |source| Error::Archive {
            array: "csi_data",
            source,
        };
        let mut archive =
            zip::ZipArchive::new(Cursor::new(archive)).map_err(|error| failed(error.into()))?;
        let rows = rows(&mut archive, max_bytes)?;
        let chip = text(&mut archive, "chip")?.to_ascii_lowercase();
        let collected_at = text(&mut archive, "collected_at")?;
        let start = collected_at
            .parse::<chrono::NaiveDateTime>()
            .map_err(|_| Error::Array {
                array: "collected_at",
                expected: "a date and time",
                found: collected_at,
            })?;
        let duration_ms = duration(&mut archive)?;
        let (fields, order, first_word_invalid) = match chip.as_str() {
            "c5" | "c6" => (Fields::Ht20, Order::Ascending, false),
            "c3" | "s3" => (Fields::Ht20, Order::Fft, false),
            "esp32" => (Fields::Ht20, Order::Fft, true),
            _ => {
                return Err(Error::Array {
                    array: "chip",
                    expected: "esp32, c3, c5, c6 or s3",
                    found: chip,
                });
            }
        };
        Ok(Self {
            rows,
            layout: layout::esp32(fields, order, first_word_invalid),
            start_us: start.and_utc().timestamp_micros(),
            duration_us: duration_ms * 1000.0,
        })
    }

    /// Number of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len() / ROW
    }

    /// Whether there is no frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.len() < ROW
    }

    /// One frame; `None` behind the last.
    #[must_use]
    // Frames and microseconds of a recording are far below 2^52.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    pub fn frame(&self, index: usize) -> Option<Frame> {
        let row = self.rows.get(index.checked_mul(ROW)?..)?.get(..ROW)?;
        let mut samples: Vec<Complex32> = Vec::with_capacity(ROW / 2);
        push_pairs(row, &mut samples);
        let since_start = index as f64 * self.duration_us / self.len() as f64;
        Some(Frame {
            sequence: index as u64,
            counted: false,
            device_time_us: None,
            receive_time_us: self.start_us + since_start.round() as i64,
            rssi_dbm: Vec::new(),
            noise_floor_dbm: None,
            agc: None,
            frequency_mhz: None,
            channel: None,
            bandwidth_mhz: Some(20),
            ppdu: Ppdu::Ht,
            antennas: 1,
            transmit_streams: 1,
            layout: Arc::clone(&self.layout),
            samples,
            format: SampleFormat::Ci8,
            scale: None,
            raw_size: ROW as u32,
            transmitter: None,
            simulated: false,
            chain: None,
        })
    }
}

fn rows(archive: &mut Archive, max_bytes: u64) -> Result<Vec<u8>, Error> {
    let name = "csi_data";
    let failed = |source| Error::Archive {
        array: name,
        source,
    };
    let file = array(archive, name)?;
    let shape = file.shape().to_vec();
    let other = |expected, found: String| Error::Array {
        array: name,
        expected,
        found,
    };
    let [frames, 128] = shape[..] else {
        return Err(other("frames x 128", format!("{shape:?}")));
    };
    if file.dtype().descr() != "'|i1'" || file.order() != npyz::Order::C {
        return Err(other("8-bit integers in C order", file.dtype().descr()));
    }
    let bytes = frames
        .checked_mul(ROW as u64)
        .filter(|bytes| *bytes <= max_bytes);
    let bytes = bytes.ok_or_else(|| {
        other(
            "fewer frames than the limit on size allows",
            frames.to_string(),
        )
    })?;
    // Grows as it is read: the header alone makes no allocation.
    let mut rows = Vec::new();
    for value in file
        .data::<i8>()
        .map_err(|error| other("8-bit integers", error.to_string()))?
    {
        rows.push(value.map_err(failed)?.cast_unsigned());
    }
    if rows.len() as u64 == bytes {
        Ok(rows)
    } else {
        Err(other(
            "as many values as its shape says",
            rows.len().to_string(),
        ))
    }
}

/// A scalar of NumPy's fixed-width text, which is UTF-32 and of which npyz gives no strings.
fn text(archive: &mut Archive, array: &'static str) -> Result<String, Error> {
    let file = archive.by_name(&format!("{array}.npy"));
    let file = file.map_err(|_| Error::Missing { array })?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Archive { array, source })?;
    let other = |found: &str| Error::Array {
        array,
        expected: "a NumPy text of version 1",
        found: found.to_owned(),
    };
    let rest = bytes
        .strip_prefix(b"\x93NUMPY\x01\x00")
        .ok_or_else(|| other("another version"))?;
    let (length, rest) = rest.split_first_chunk().ok_or_else(|| other("no header"))?;
    let (header, data) = rest
        .split_at_checked(u16::from_le_bytes(*length).into())
        .ok_or_else(|| other("half a header"))?;
    if memchr::memmem::find(header, b"'<U").is_none() {
        return Err(other(&String::from_utf8_lossy(header)));
    }
    let (characters, _) = data.as_chunks::<4>();
    let characters = characters
        .iter()
        .map(|bytes| char::from_u32(u32::from_le_bytes(*bytes)).unwrap_or('\u{fffd}'));
    Ok(characters
        .take_while(|character| *character != '\0')
        .collect())
}

fn duration(archive: &mut Archive) -> Result<f64, Error> {
    let name = "duration_ms";
    let failed = |source| Error::Archive {
        array: name,
        source,
    };
    let file = array(archive, name)?;
    let other = |found: String| Error::Array {
        array: name,
        expected: "one positive number of milliseconds",
        found,
    };
    let descr = file.dtype().descr();
    let mut values = file.data::<f64>().map_err(|_| other(descr))?;
    let value = values.next().transpose().map_err(failed)?;
    value
        .filter(|value| value.is_finite() && *value > 0.0 && *value < 1e12)
        .ok_or_else(|| other(format!("{value:?}")))
}
