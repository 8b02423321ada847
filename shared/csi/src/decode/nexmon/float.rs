//! The packed floats of BCM4358 and 4366c0: real and imaginary part with a common exponent in one word.
//!
//! From the top: sign of the real part, its magnitude, sign of the imaginary part, its magnitude, and the signed exponent.
//! A frame is unpacked to integers such that its largest magnitude has bit 10 as its highest; smaller values lose what
//! falls below 1. This is what `unpack_float_acphy` of the Nexmon project does, and csiread and CSIKit after it.

use num_complex::Complex32;

/// Highest bit of the largest magnitude of a frame.
const HIGHEST_BIT: i32 = 10;

/// Widths of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// Bits of a signed magnitude.
    pub mantissa: u32,
    /// Bits of the exponent.
    pub exponent: u32,
}

/// One word, taken apart.
#[derive(Clone, Copy)]
struct Word {
    re: u32,
    im: u32,
    negative_re: bool,
    negative_im: bool,
    exponent: i32,
}

impl Packing {
    /// 23 bits.
    pub const BCM4358: Self = Self {
        mantissa: 9,
        exponent: 5,
    };
    /// 30 bits.
    pub const BCM4366C0: Self = Self {
        mantissa: 12,
        exponent: 6,
    };

    fn read(self, bin: [u8; 4]) -> Word {
        let Self { mantissa, exponent } = self;
        let word = u32::from_le_bytes(bin);
        let magnitude = (1 << (mantissa - 1)) - 1;
        let bit = |at: u32| word >> at & 1 == 1;
        let unused = 32 - exponent;
        Word {
            re: word >> (exponent + mantissa) & magnitude,
            im: word >> exponent & magnitude,
            negative_re: bit(exponent + 2 * mantissa - 1),
            negative_im: bit(exponent + mantissa - 1),
            // The shift back is arithmetic: it brings the sign along.
            exponent: (word << unused).cast_signed() >> unused,
        }
    }

    /// Appends the samples of a frame.
    pub fn unpack(self, bins: &[[u8; 4]], samples: &mut Vec<Complex32>) {
        let highest = |word: Word| {
            let bit = (word.re | word.im).checked_ilog2()?;
            Some(word.exponent + bit.cast_signed())
        };
        let largest = bins.iter().filter_map(|bin| highest(self.read(*bin))).max();
        let shift = HIGHEST_BIT - largest.unwrap_or(HIGHEST_BIT);
        samples.extend(bins.iter().map(|bin| {
            let word = self.read(*bin);
            let by = word.exponent + shift;
            let part = |magnitude: u32, negative| {
                // No result has more than 11 bits, by what `shift` is.
                let shifted = match by {
                    _ if magnitude == 0 => 0,
                    0.. => magnitude.checked_shl(by.unsigned_abs()).unwrap_or(0),
                    _ => magnitude.checked_shr(by.unsigned_abs()).unwrap_or(0),
                };
                #[allow(clippy::cast_precision_loss)]
                let value = shifted as f32;
                if negative && shifted > 0 {
                    -value
                } else {
                    value
                }
            };
            Complex32::new(
                part(word.re, word.negative_re),
                part(word.im, word.negative_im),
            )
        }));
    }

    /// Packs a sample exactly; `None` where the magnitudes need more bits than the format has.
    #[must_use]
    pub fn pack(self, re: i16, im: i16) -> Option<[u8; 4]> {
        let Self { mantissa, exponent } = self;
        let (a, b) = (u32::from(re.unsigned_abs()), u32::from(im.unsigned_abs()));
        let room = mantissa - 1;
        let bits = (a | b).checked_ilog2().map_or(0, |bit| bit + 1);
        let shift = bits.saturating_sub(room);
        let lost = (a | b) & ((1 << shift) - 1);
        if lost != 0 || shift >= 1 << (exponent - 1) {
            return None;
        }
        let word = u32::from(re < 0) << (exponent + 2 * mantissa - 1)
            | (a >> shift) << (exponent + mantissa)
            | u32::from(im < 0) << (exponent + mantissa - 1)
            | (b >> shift) << exponent
            | shift;
        Some(word.to_le_bytes())
    }
}
