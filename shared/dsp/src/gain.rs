//! Gain normalisation: what the receiver's automatic gain control did is divided out of a frame, and kept apart.
//!
//! A receiver multiplies a whole frame by a gain that jumps from frame to frame. Within one *gain block*, an antenna and
//! within it one training field, that factor is common to all subcarriers, so dividing by the block's root mean square
//! removes it exactly; what is left is the shape of the channel over frequency. (An ESP32 amplifies the HT training field
//! apart from the legacy one, hence blocks.) A fading that hits all subcarriers alike goes with it; its logarithm stays
//! readable in [`Gain::log_rms`].

use num_complex::Complex32;

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
        if samples.len() != self.samples {
            return Err(GainError::Dimensions {
                expected: self.samples,
                found: samples.len(),
            });
        }
        row.clear();
        row.extend(
            self.selected
                .iter()
                .filter_map(|place| samples.get(*place))
                .map(Complex32::norm_sqr),
        );
        let mut begin = 0;
        let mut total = 0.0_f64;
        let mut inverse = 0.0_f64;
        let mut live = 0_u32;
        for end in &self.ends {
            let Some(block) = row.get_mut(begin..*end) else {
                break;
            };
            begin = *end;
            let sum: f64 = block.iter().map(|power| f64::from(*power)).sum();
            total += sum;
            if sum > 0.0 && sum.is_finite() {
                let mean = sum / block.len() as f64;
                let scale = (1.0 / mean) as f32;
                block.iter_mut().for_each(|power| *power *= scale);
                inverse += 1.0 / mean;
                live += 1;
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

    proptest! {
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
