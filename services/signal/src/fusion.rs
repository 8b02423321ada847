//! Motion of a zone from the words of its links.
//!
//! Each link gives a chance of motion over its own noise: 0 up to the noise, one half at its threshold, 1 at a statistic of
//! 1; in between a square below the threshold and a line above it. They are put together by noisy-or, `1 - product of (1 -
//! chance)` (J. Pearl, "Probabilistic Reasoning in Intelligent Systems", 1988, 4.3.2), and the zone is in motion from one half
//! on. One link alone thus decides as it does by itself; links at their noise add nothing, however many; several that come
//! near their thresholds at once are motion. A link that hears badly counts less where others can be asked: with less than
//! half of what a window needs it does not decide alone.

use serde::{Deserialize, Serialize};

/// Chance from which a zone is in motion.
pub const MOTION: f64 = 0.5;
/// Where several links add up to motion it stays down to here.
pub const RELEASE: f64 = 0.4;
/// Share of the threshold that is taken for a link's noise where it was not measured. Of 306 quiet windows of five chips and of thu4n,
/// without the one recording with movement, 99 % lie below 0.09, at the threshold of 0.2.
const NOISE: f64 = 0.5;
/// Quality below which a link counts less.
const GOOD: f64 = 0.5;

/// What one link says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Bits", into = "Bits")]
pub struct Word {
    /// Its motion statistic.
    pub statistic: f64,
    /// The threshold, or the level of release, that it was held against.
    pub threshold: f64,
    /// The statistic that the empty room reaches, where it was measured.
    pub noise: Option<f64>,
    /// How much of what a window needs was there, 0 to 1.
    pub quality: f64,
}

/// A [`Word`] as it is written: JSON may lose the last bit of a number, and a restart must not show.
#[derive(Serialize, Deserialize)]
struct Bits {
    statistic: u64,
    threshold: u64,
    noise: Option<u64>,
    quality: u64,
}

impl From<Word> for Bits {
    fn from(word: Word) -> Self {
        Self {
            statistic: word.statistic.to_bits(),
            threshold: word.threshold.to_bits(),
            noise: word.noise.map(f64::to_bits),
            quality: word.quality.to_bits(),
        }
    }
}

impl From<Bits> for Word {
    fn from(bits: Bits) -> Self {
        Self {
            statistic: f64::from_bits(bits.statistic),
            threshold: f64::from_bits(bits.threshold),
            noise: bits.noise.map(f64::from_bits),
            quality: f64::from_bits(bits.quality),
        }
    }
}

impl Word {
    /// The link's own chance of motion, 0 to 1: from one half on it is in motion.
    #[must_use]
    pub fn chance(&self) -> f64 {
        let measured = self.noise.unwrap_or(f64::NEG_INFINITY);
        // Noise above the threshold would take the link's own decision from it.
        let noise = (NOISE * self.threshold)
            .max(measured)
            .min(0.95 * self.threshold);
        if self.statistic >= self.threshold {
            let above = (self.statistic - self.threshold) / (1.0 - self.threshold).max(1e-9);
            return MOTION + (1.0 - MOTION) * above.min(1.0);
        }
        let near = ((self.statistic - noise) / (self.threshold - noise)).max(0.0);
        (MOTION * near * near).min(MOTION - f64::EPSILON)
    }
}

/// The zone's chance of motion, and how many links it comes from; absent without any.
#[must_use]
pub fn fused(words: impl Iterator<Item = Word> + Clone) -> Option<(f64, usize)> {
    let several = words.clone().nth(1).is_some();
    let mut given = 0;
    let none = words
        .map(|word| {
            let heard = if several {
                (word.quality / GOOD).clamp(0.0, 1.0)
            } else {
                1.0
            };
            let chance = word.chance() * heard;
            given += usize::from(chance > 0.0);
            1.0 - chance
        })
        .reduce(|all, one| all * one)?;
    Some((1.0 - none, given))
}

/// Whether the zone is in motion, and the chance of it; absent without any word. `moving`: it was until now, and stays so down
/// to [`RELEASE`] where several links add up.
#[must_use]
pub fn decide(moving: bool, words: impl Iterator<Item = Word> + Clone) -> Option<(bool, f64)> {
    let (chance, given) = fused(words)?;
    let limit = if moving && given > 1 { RELEASE } else { MOTION };
    Some((chance >= limit, chance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn word(statistic: f64) -> Word {
        Word {
            statistic,
            threshold: 0.2,
            noise: None,
            quality: 1.0,
        }
    }

    fn chance(statistics: &[f64]) -> f64 {
        fused(statistics.iter().map(|s| word(*s))).unwrap().0
    }

    #[test]
    fn noise_adds_nothing_and_near_misses_add_up() {
        assert_eq!(chance(&[0.09; 100]), 0.0);
        assert!(chance(&[0.19]) < MOTION);
        assert!(chance(&[0.18, 0.18, 0.18]) >= MOTION);
        assert_eq!(fused(std::iter::empty()), None);
    }

    #[test]
    fn a_link_that_hears_badly_does_not_decide_where_others_can_be_asked() {
        let bad = Word {
            quality: 0.2,
            ..word(0.4)
        };
        let alone = fused([bad].into_iter()).unwrap().0;
        assert!(alone >= MOTION);
        assert!(fused([bad, word(0.01)].into_iter()).unwrap().0 < MOTION);
        assert!(fused([bad, word(0.3)].into_iter()).unwrap().0 >= MOTION);
    }

    proptest! {
        #[test]
        fn one_link_decides_as_by_itself(statistic in -0.2_f64..1.0, threshold in 0.05_f64..0.9, noise in prop::option::of(0.0_f64..1.0)) {
            let one = Word { statistic, threshold, noise, quality: 0.1 };
            prop_assert_eq!(fused([one].into_iter()).unwrap().0 >= MOTION, statistic >= threshold);
        }

        #[test]
        fn another_link_never_takes_motion_away(one in -0.1_f64..1.0, other in -0.1_f64..1.0) {
            prop_assert!(chance(&[one, other]) >= chance(&[one]) - 1e-12);
        }
    }
}
