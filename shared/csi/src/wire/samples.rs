//! Samples as bytes.

use num_complex::Complex32;

use crate::SampleFormat;

pub(super) fn bytes_of_one(format: SampleFormat) -> usize {
    match format {
        SampleFormat::Ci8 => 2,
        SampleFormat::Ci16 | SampleFormat::Af32 => 4,
        SampleFormat::Cf32 => 8,
    }
}

/// The nearest whole number (of two as near, the even one) that eight bits hold; 0 of what is no number.
///
/// Beyond 1.5 * 2^23 the last bits of an f32 are a whole number. `as` does not come out in vector instructions, this does: half the time.
#[allow(clippy::cast_possible_truncation)]
fn byte(part: f32) -> u8 {
    const WHOLE: f32 = 12_582_912.0;
    let number = if part.is_nan() { 0.0 } else { part };
    (number.clamp(-128.0, 127.0) + WHOLE).to_bits() as u8
}

// `as` from f32 to an integer truncates and saturates, as `encode` says.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn pack(samples: &[Complex32], format: SampleFormat, out: &mut Vec<u8>) {
    match format {
        SampleFormat::Ci8 => {
            let begin = out.len();
            out.resize(begin + samples.len() * 2, 0);
            let (pairs, _) = out.split_at_mut(begin).1.as_chunks_mut::<2>();
            for (pair, sample) in pairs.iter_mut().zip(samples) {
                *pair = [sample.re, sample.im].map(byte);
            }
        }
        SampleFormat::Ci16 => {
            let pair =
                |sample: &Complex32| [sample.re, sample.im].map(|part| (part as i16).to_le_bytes());
            out.extend(samples.iter().flat_map(pair).flatten());
        }
        SampleFormat::Cf32 => {
            let pair = |sample: &Complex32| [sample.re, sample.im].map(f32::to_le_bytes);
            out.extend(samples.iter().flat_map(pair).flatten());
        }
        SampleFormat::Af32 => out.extend(samples.iter().flat_map(|sample| sample.re.to_le_bytes())),
    }
}

/// Reads what [`pack`] writes. A last part of a sample is left out.
pub(super) fn unpack(bytes: &[u8], format: SampleFormat) -> Vec<Complex32> {
    let complex = |[re, im]: [f32; 2]| Complex32::new(re, im);
    match format {
        SampleFormat::Ci8 => {
            let (pairs, _) = bytes.as_chunks::<2>();
            pairs
                .iter()
                .map(|pair| complex(pair.map(|part| f32::from(part.cast_signed()))))
                .collect()
        }
        SampleFormat::Ci16 => {
            let (pairs, _) = bytes.as_chunks::<4>();
            let number = |bytes| f32::from(i16::from_le_bytes(bytes));
            pairs
                .iter()
                .map(|[r0, r1, i0, i1]| complex([[*r0, *r1], [*i0, *i1]].map(number)))
                .collect()
        }
        SampleFormat::Cf32 => {
            let (pairs, _) = bytes.as_chunks::<8>();
            let read = |[r0, r1, r2, r3, i0, i1, i2, i3]: &[u8; 8]| {
                [[*r0, *r1, *r2, *r3], [*i0, *i1, *i2, *i3]].map(f32::from_le_bytes)
            };
            pairs.iter().map(read).map(complex).collect()
        }
        SampleFormat::Af32 => {
            let (amplitudes, _) = bytes.as_chunks::<4>();
            amplitudes
                .iter()
                .map(|amplitude| complex([f32::from_le_bytes(*amplitude), 0.0]))
                .collect()
        }
    }
}
