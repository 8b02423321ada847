//! Gain normalisation: what the receiver's automatic gain control did is divided out of a frame, and kept apart.
//!
//! A receiver multiplies a whole frame by a gain that jumps from frame to frame. Within one *gain block*, an antenna and
//! within it one training field, that factor is common to all subcarriers, so dividing by the block's root mean square
//! removes it exactly; what is left is the shape of the channel over frequency. (An ESP32 amplifies the HT training field
//! apart from the legacy one, hence blocks.) A fading that hits all subcarriers alike goes with it; its logarithm stays
//! readable in [`Gain::log_rms`].

use std::ops::Range;

use num_complex::Complex32;

use crate::lanes;
use crate::split::Split;

/// Largest whole number of a packed row.
const MOST_PACKED: f32 = 65_535.0;
/// 2^23: a number up to that, added to it, is rounded to a whole one, which stands in the low bits.
const WHOLE: f32 = 8_388_608.0;

/// Why a frame cannot be normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GainError {
    /// The frame has another number of samples than the layout.
    #[error("{found} samples; the layout has {expected}")]
    Dimensions {
        /// Samples of the layout.
        expected: usize,
        /// Samples of the frame.
        found: usize,
    },
    /// A sample is infinite or not a number.
    #[error("sample {index} is not finite")]
    NotFinite {
        /// Place of the first such sample among the valid ones.
        index: usize,
    },
    /// Every valid subcarrier is zero.
    #[error("all {subcarriers} valid samples are zero")]
    NoEnergy {
        /// Valid samples looked at.
        subcarriers: usize,
    },
}

/// The gain that was divided out of one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// Natural logarithm of the RMS amplitude over all valid samples, in the logarithm of the samples' unit.
    pub log_rms: f32,
    /// Mean over the blocks of 1 / (mean power of the block). Rounding samples to a step `q` adds a variance of
    /// `q^2 / 3` times this to normalised power.
    pub inverse_power: f32,
}

/// Which samples of a layout are valid, and which of them share a gain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GainBlocks {
    samples: usize,
    /// Places of the valid samples, block by block.
    selected: Vec<usize>,
    /// End of each block in `selected`.
    ends: Vec<usize>,
    /// The same places as ranges of neighbours.
    runs: Vec<Range<usize>>,
}

impl GainBlocks {
    /// Blocks of frames with `antennas` times `subcarriers` samples, antenna-major. `subcarriers` and `valid` describe one
    /// antenna; an index that was seen before begins another training field.
    #[must_use]
    pub fn new(subcarriers: &[i16], valid: &[bool], antennas: usize) -> Self {
        let mut selected = Vec::new();
        let mut ends = Vec::new();
        for antenna in 0..antennas {
            let mut seen = std::collections::BTreeSet::new();
            for (position, (index, valid)) in subcarriers.iter().zip(valid).enumerate() {
                if !seen.insert(*index) {
                    ends.push(selected.len());
                    seen.clear();
                    seen.insert(*index);
                }
                if *valid {
                    selected.push(antenna * subcarriers.len() + position);
                }
            }
            ends.push(selected.len());
        }
        ends.dedup();
        ends.retain(|end| *end > 0);
        Self {
            samples: subcarriers.len() * antennas,
            runs: runs(&selected),
            selected,
            ends,
        }
    }

    /// Valid samples of a frame: the length of a normalised row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.selected.len()
    }

    /// Places of the valid samples in a frame, in the order of a row.
    #[must_use]
    pub fn places(&self) -> &[usize] {
        &self.selected
    }

    /// End of each block in a row.
    #[must_use]
    pub fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// Samples of a frame.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Writes the power `abs(H)^2` of each valid sample, divided by the mean power of its block, into `row` (cleared first;
    /// [`width`](Self::width) values, without unit, mean 1 in each block that has power, 0 in one that has none).
    ///
    /// # Errors
    /// Where the frame has another size, holds a value that is not finite, or is zero throughout; `row` is then of no use.
    pub fn normalise(&self, samples: &[Complex32], row: &mut Vec<f32>) -> Result<Gain, GainError> {
        self.fits(samples)?;
        row.clear();
        for run in &self.runs {
            let run = samples.get(run.clone()).unwrap_or_default();
            row.extend(run.iter().map(Complex32::norm_sqr));
        }
        self.divide(row, |_| ())
    }

    /// Lays the valid samples of a frame out as a structure of arrays, in the order of a row.
    ///
    /// # Errors
    /// Where the frame has another size.
    pub fn split(&self, samples: &[Complex32], split: &mut Split) -> Result<(), GainError> {
        self.fits(samples)?;
        split.clear();
        for run in &self.runs {
            split.extend(samples.get(run.clone()).unwrap_or_default());
        }
        Ok(())
    }

    /// As [`normalise`](Self::normalise), of a frame that is [`split`](Self::split) already; what the powers of each block were
    /// multiplied by goes into `scales` (cleared first; 0 for a block without power).
    ///
    /// # Errors
    /// As there.
    pub fn normalise_split(
        &self,
        split: &Split,
        row: &mut Vec<f32>,
        scales: &mut Vec<f32>,
    ) -> Result<Gain, GainError> {
        row.clear();
        row.extend_from_slice(split.power());
        scales.clear();
        self.divide(row, |scale| scales.push(scale))
    }

    /// Packs a row into 16 bits a value (`packed`, cleared first): a value times the unit of its block. `row` and `scales` are
    /// what [`normalise_split`](Self::normalise_split) made of `split`; `scales` become the units, and `row` what the packed
    /// values are ([`unpack`](Self::unpack)).
    ///
    /// Powers that are whole numbers up to 65,535, as those of samples of 8 bits are, are packed as they are: nothing changes. The
    /// others are rounded to 1/65,535 of the largest of their block, which changes a value by half of that, and the rounding of `f32`, at most.
    pub fn pack(&self, split: &Split, row: &mut [f32], scales: &mut [f32], packed: &mut Vec<u16>) {
        packed.clear();
        let mut begin = 0;
        for (end, unit) in self.ends.iter().zip(scales) {
            let block = begin..*end;
            begin = *end;
            let (Some(powers), Some(row)) = (split.power().get(block.clone()), row.get_mut(block))
            else {
                continue;
            };
            let whole = |p: f32| u32::from(p <= MOST_PACKED) & u32::from((p + WHOLE) - WHOLE == p);
            if lanes::sum(powers, whole) as usize == powers.len() {
                packed.extend(powers.iter().map(|power| low_bits(power + WHOLE)));
                continue;
            }
            let most = row.iter().copied().fold(0.0, f32::max);
            *unit = most / MOST_PACKED;
            let inverse = if most > 0.0 { MOST_PACKED / most } else { 0.0 };
            for value in row {
                let number = low_bits(*value * inverse + WHOLE);
                packed.push(number);
                *value = f32::from(number) * *unit;
            }
        }
    }

    /// Appends the row that [`pack`](Self::pack) packed into `packed`, with one of `units` for each block.
    pub fn unpack(&self, packed: &[u16], units: &[f32], rows: &mut Vec<f32>) {
        let mut begin = 0;
        for (end, unit) in self.ends.iter().zip(units) {
            let block = packed.get(begin..*end).unwrap_or_default();
            begin = *end;
            rows.extend(block.iter().map(|number| f32::from(*number) * unit));
        }
    }

    fn fits(&self, samples: &[Complex32]) -> Result<(), GainError> {
        if samples.len() == self.samples {
            return Ok(());
        }
        Err(GainError::Dimensions {
            expected: self.samples,
            found: samples.len(),
        })
    }

    /// Divides powers by the mean of their block, and tells `scaled` what each block is multiplied by.
    fn divide(&self, row: &mut [f32], mut scaled: impl FnMut(f32)) -> Result<Gain, GainError> {
        let mut begin = 0;
        let mut total = 0.0_f64;
        let mut inverse = 0.0_f64;
        let mut live = 0_u32;
        for end in &self.ends {
            let Some(block) = row.get_mut(begin..*end) else {
                break;
            };
            begin = *end;
            let sum: f64 = lanes::sum(block, f64::from);
            total += sum;
            if sum > 0.0 && sum.is_finite() {
                let mean = sum / block.len() as f64;
                let scale = (1.0 / mean) as f32;
                block.iter_mut().for_each(|power| *power *= scale);
                inverse += 1.0 / mean;
                live += 1;
                scaled(scale);
            } else {
                scaled(0.0);
            }
        }
        if !total.is_finite() {
            let index = row
                .iter()
                .position(|power| !power.is_finite())
                .unwrap_or_default();
            return Err(GainError::NotFinite { index });
        }
        if live == 0 {
            return Err(GainError::NoEnergy {
                subcarriers: row.len(),
            });
        }
        Ok(Gain {
            log_rms: (0.5 * (total / row.len() as f64).ln()) as f32,
            inverse_power: (inverse / f64::from(live)) as f32,
        })
    }
}

fn low_bits(number: f32) -> u16 {
    (number.to_bits() & 0xffff) as u16
}

/// Ascending places as ranges of neighbours.
fn runs(places: &[usize]) -> Vec<Range<usize>> {
    let chunks = places.chunk_by(|one, next| one + 1 == *next);
    let ends = chunks.filter_map(|run| Some((*run.first()?, *run.last()?)));
    ends.map(|(first, last)| first..last + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(amplitudes: &[f32]) -> Vec<Complex32> {
        amplitudes
            .iter()
            .map(|a| Complex32::new(0.6 * a, -0.8 * a))
            .collect()
    }

    #[test]
    fn divides_by_the_mean_power_of_the_valid_samples() {
        let blocks = GainBlocks::new(&[-1, 0, 1], &[true, false, true], 1);
        let mut row = Vec::new();
        let gain = blocks
            .normalise(&frame(&[1.0, 50.0, 3.0]), &mut row)
            .unwrap();
        assert!(
            (row[0] - 0.2).abs() < 1e-6 && (row[1] - 1.8).abs() < 1e-6,
            "{row:?}"
        );
        assert!((gain.log_rms - 0.5 * 5.0_f32.ln()).abs() < 1e-6);
        assert!((gain.inverse_power - 0.2).abs() < 1e-6);
    }

    #[test]
    fn each_training_field_and_antenna_has_its_own_gain() {
        let blocks = GainBlocks::new(&[0, 1, 0, 1], &[true; 4], 2);
        let (mut one, mut other) = (Vec::new(), Vec::new());
        blocks
            .normalise(&frame(&[1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]), &mut one)
            .unwrap();
        blocks
            .normalise(
                &frame(&[1.0, 2.0, 3.0, 6.0, 5.0, 10.0, 7.0, 14.0]),
                &mut other,
            )
            .unwrap();
        for (a, b) in one.iter().zip(&other) {
            assert!((a - b).abs() < 1e-6, "{one:?} {other:?}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_normalise() {
        let blocks = GainBlocks::new(&[0, 1], &[true; 2], 1);
        let mut row = Vec::new();
        assert_eq!(
            blocks.normalise(&frame(&[0.0, 0.0]), &mut row),
            Err(GainError::NoEnergy { subcarriers: 2 })
        );
        assert_eq!(
            blocks.normalise(&frame(&[1.0, f32::NAN]), &mut row),
            Err(GainError::NotFinite { index: 1 })
        );
        assert_eq!(
            blocks.normalise(&frame(&[1.0]), &mut row),
            Err(GainError::Dimensions {
                expected: 2,
                found: 1
            })
        );
    }

    fn packed(amplitudes: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let subcarriers: Vec<i16> = (0..amplitudes.len() as i16 / 2).collect();
        let blocks = GainBlocks::new(&subcarriers, &vec![true; subcarriers.len()], 2);
        let (mut split, mut row, mut scales) = (Split::default(), Vec::new(), Vec::new());
        let samples: Vec<_> = amplitudes
            .iter()
            .map(|a| Complex32::new(*a, -2.0 * a))
            .collect();
        blocks.split(&samples, &mut split).unwrap();
        let gain = blocks
            .normalise_split(&split, &mut row, &mut scales)
            .unwrap();
        let (exact, mut numbers, mut unpacked) = (row.clone(), Vec::new(), Vec::new());
        let mut plain = Vec::new();
        assert_eq!(blocks.normalise(&samples, &mut plain), Ok(gain));
        assert_eq!(plain, exact);
        blocks.pack(&split, &mut row, &mut scales, &mut numbers);
        blocks.unpack(&numbers, &scales, &mut unpacked);
        (exact, row, unpacked)
    }

    #[test]
    fn a_block_without_power_is_packed() {
        let (exact, row, unpacked) = packed(&[0.0, 0.0, 0.5, 1.7]);
        assert_eq!((&row[..2], &unpacked[..2]), (&[0.0; 2][..], &[0.0; 2][..]));
        assert!((row[3] - exact[3]).abs() < 1e-6, "{row:?} {exact:?}");
    }

    proptest! {
        #[test]
        fn samples_of_8_bits_are_packed_without_loss(amplitudes in prop::collection::vec(-64_i8..63, 64)) {
            let amplitudes: Vec<f32> = amplitudes.iter().map(|a| f32::from(*a)).collect();
            prop_assume!(amplitudes.iter().any(|a| *a != 0.0));
            let (exact, row, unpacked) = packed(&amplitudes);
            prop_assert_eq!(&exact, &row);
            prop_assert_eq!(&exact, &unpacked);
        }

        #[test]
        fn others_are_rounded_to_16_bits_of_the_largest(amplitudes in prop::collection::vec(0.01_f32..4000.0, 64)) {
            let (exact, row, unpacked) = packed(&amplitudes);
            prop_assert_eq!(&row, &unpacked);
            for (exact, row) in exact.chunks(32).zip(row.chunks(32)) {
                let most = exact.iter().copied().fold(0.0, f32::max);
                for (exact, row) in exact.iter().zip(row) {
                    prop_assert!((exact - row).abs() <= 0.51 * most / MOST_PACKED, "{} {}", exact, row);
                }
            }
        }

        #[test]
        fn does_not_see_the_gain(amplitudes in prop::collection::vec(0.1_f32..100.0, 8), gain in 0.01_f32..100.0) {
            let blocks = GainBlocks::new(&[0, 1, 2, 3, 4, 5, 6, 7], &[true; 8], 1);
            let louder: Vec<f32> = amplitudes.iter().map(|a| a * gain).collect();
            let (mut one, mut other) = (Vec::new(), Vec::new());
            let first = blocks.normalise(&frame(&amplitudes), &mut one).unwrap();
            let second = blocks.normalise(&frame(&louder), &mut other).unwrap();
            for (a, b) in one.iter().zip(&other) {
                prop_assert!((a - b).abs() <= 1e-4 * a.abs().max(1.0));
            }
            prop_assert!((second.log_rms - first.log_rms - gain.ln()).abs() < 1e-3);
        }
    }
}
