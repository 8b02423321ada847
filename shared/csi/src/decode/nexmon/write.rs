//! The writer, for tests and for seeds of the fuzzers.

use num_complex::Complex32;

use super::{Chanspec, Chip, Header, MAGIC, TRAILER_BYTES};

/// Why samples do not fit a datagram.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Another number than the chanspec has.
    #[error("{found} samples do not fit chanspec {chanspec:#06x}")]
    Count {
        /// Samples.
        found: usize,
        /// The chanspec.
        chanspec: u16,
    },
    /// The chip's format cannot hold the value.
    #[error("sample {position} cannot be written as a number of {chip}")]
    Sample {
        /// Its place.
        position: usize,
        /// The chip.
        chip: Chip,
    },
}

/// Writes one datagram, with the four bytes at the end that some firmware adds where `trailer` is set.
///
/// Packed floats hold a sample exactly where its magnitudes share no more bits than the format has; what is read back is
/// scaled so that the largest magnitude of the frame has bit 10 as its highest.
///
/// # Errors
/// Where the number of samples is not that of the chanspec, or a sample does not fit.
pub fn encode(
    header: &Header,
    samples: &[Complex32],
    chip: Chip,
    trailer: bool,
) -> Result<Vec<u8>, EncodeError> {
    let found = samples.len();
    let chanspec = header.chanspec;
    if Chanspec::read(chanspec).map(|channel| channel.bins()) != Some(found) {
        return Err(EncodeError::Count { found, chanspec });
    }
    let mut datagram = MAGIC.to_le_bytes().to_vec();
    datagram.extend([header.rssi.cast_unsigned(), header.frame_control]);
    datagram.extend(header.transmitter);
    for word in [
        header.sequence_control,
        header.core_stream,
        chanspec,
        header.chip_version,
    ] {
        datagram.extend(word.to_le_bytes());
    }
    for (position, sample) in samples.iter().enumerate() {
        let bin = integer(sample.re)
            .zip(integer(sample.im))
            .and_then(|(re, im)| match chip.packing() {
                Some(packing) => packing.pack(re, im),
                None => {
                    let ([r0, r1], [i0, i1]) = (re.to_le_bytes(), im.to_le_bytes());
                    Some([r0, r1, i0, i1])
                }
            });
        datagram.extend(bin.ok_or(EncodeError::Sample { position, chip })?);
    }
    if trailer {
        datagram.extend([0; TRAILER_BYTES]);
    }
    Ok(datagram)
}

/// A value as an i16, where it is one.
fn integer(value: f32) -> Option<i16> {
    let whole = value.fract() == 0.0 && (-32768.0..=32767.0).contains(&value);
    // In range and whole: the conversion is exact.
    #[allow(clippy::cast_possible_truncation)]
    whole.then_some(value as i16)
}
