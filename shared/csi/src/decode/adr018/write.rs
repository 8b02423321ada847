//! The writer, for the simulator and for tests.

use super::{HEADER_BYTES, MAGIC_CSI, MAX_ANTENNAS, MAX_SUBCARRIERS, flag};
use crate::{Frame, Ppdu};

/// Why a frame does not fit a datagram.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The counts do not fit the header or the samples.
    #[error(
        "{antennas} antennas x {subcarriers} subcarriers with {samples} samples do not fit an ADR-018 datagram"
    )]
    Counts {
        /// Antennas.
        antennas: u8,
        /// Subcarriers of each.
        subcarriers: usize,
        /// Samples.
        samples: usize,
    },
    /// A part of a sample is no 8-bit integer.
    #[error("sample {position} is no pair of 8-bit integers")]
    Sample {
        /// Its place.
        position: usize,
    },
}

/// A value as a signed byte, where it is one.
pub(in crate::decode) fn signed_byte(value: f32) -> Option<i8> {
    let in_range = (-128.0..=127.0).contains(&value) && value.fract() == 0.0;
    // In range and whole: the conversion is exact.
    #[allow(clippy::cast_possible_truncation)]
    in_range.then_some(value as i8)
}

/// Writes a frame as one datagram of `node` to `datagram`, which is emptied first.
///
/// The sequence number is written modulo 2^32, the frequency in MHz (0 where unknown), the first RSSI (0 where there is
/// none), and the noise floor (0 where unknown). Flags follow from bandwidth, layout and `simulated`.
///
/// # Errors
/// Where the counts do not fit, or a sample is no pair of 8-bit integers.
pub fn encode(frame: &Frame, node: u8, datagram: &mut Vec<u8>) -> Result<(), EncodeError> {
    let subcarriers = frame.layout.len();
    let samples = frame.samples.len();
    let counts = EncodeError::Counts {
        antennas: frame.antennas,
        subcarriers,
        samples,
    };
    let count = u16::try_from(subcarriers)
        .ok()
        .filter(|count| (1..=MAX_SUBCARRIERS).contains(count));
    let Some(count) = count.filter(|_| {
        (1..=MAX_ANTENNAS).contains(&frame.antennas)
            && samples == usize::from(frame.antennas) * subcarriers
    }) else {
        return Err(counts);
    };
    datagram.clear();
    datagram.reserve(HEADER_BYTES + 2 * samples);
    datagram.extend(MAGIC_CSI.to_le_bytes());
    datagram.extend([node, frame.antennas]);
    datagram.extend(count.to_le_bytes());
    datagram.extend(frame.frequency_mhz.unwrap_or(0).to_le_bytes());
    // The counter of a device has 32 bits.
    #[allow(clippy::cast_possible_truncation)]
    datagram.extend((frame.sequence as u32).to_le_bytes());
    let rssi = frame.rssi_dbm.first().copied().unwrap_or(0);
    datagram.extend([
        rssi.cast_unsigned(),
        frame.noise_floor_dbm.unwrap_or(0).cast_unsigned(),
    ]);
    datagram.extend([u8::from(frame.ppdu == Ppdu::He), flags(frame)]);
    for (position, sample) in frame.samples.iter().enumerate() {
        let (Some(im), Some(re)) = (signed_byte(sample.im), signed_byte(sample.re)) else {
            return Err(EncodeError::Sample { position });
        };
        datagram.extend([im.cast_unsigned(), re.cast_unsigned()]);
    }
    Ok(())
}

fn flags(frame: &Frame) -> u8 {
    let layout = &frame.layout;
    let wide = frame.bandwidth_mhz == Some(40);
    // Position 0 is DC or guard band in every layout; position 1 is measured in FFT order unless the first word is spoiled.
    let first_word_invalid = match (layout.subcarriers.get(1), layout.valid.get(1)) {
        (Some(1), Some(valid)) => !valid,
        _ => layout.name.ends_with("-w"),
    };
    u8::from(wide) * flag::BANDWIDTH_40
        + u8::from(layout.name.contains("stbc")) * flag::STBC
        + u8::from(first_word_invalid) * flag::FIRST_WORD_INVALID
        + u8::from(frame.simulated) * flag::SIMULATED
}
