//! Coherent change of the received power over one window, from the RSSI of its frames.
//!
//! Normalised rows hold the shape of the channel over frequency and nothing of its level: gain goes with it, and so does what a
//! body does to all subcarriers alike. The RSSI is the level before the gain, in steps of 1 dB, averaged over the whole band: where a
//! subcarrier fluctuates by 15 % from frame to frame, the level still moves by less than half a decibel. As in
//! [`crate::autocorrelation`] only what is coherent from frame to frame counts, in dB squared:
//!
//! - A level that flips between two neighbouring values has a variance of at most [`FLIPS_DB2`], in whatever order: up to that
//!   it is rounding, and is no evidence. Nor is what white noise of its variance reaches by chance: [`BY_CHANCE`] standard
//!   deviations of its covariance, each `variance / sqrt(pairs)` (M. S. Bartlett, J. R. Stat. Soc. Suppl. 8, 1946).
//! - Deviations beyond [`CLIP`] robust standard deviations of the median (1.5 dB at least) are cut there: few frames sent with
//!   another power say little.
//! - Where one change between two plateaus explains more than [`STEP`](crate::motion::STEP) of the variance (the sender's power, a
//!   device's filter), only what is coherent within them counts; where one steady tone explains more than
//!   [`TONE`](crate::motion::TONE) of what is coherent (a fan), it is taken off.
//!
//! A sender may change its power as it likes, and as smoothly as a body: the level is no evidence by itself. [`crate::motion`]
//! counts it only where the shape changes as well.

use crate::autocorrelation::Series;
use crate::hampel::median;
use crate::motion::{Explanation, LONGEST_LAG, LOWEST_TONE_HZ, STEP, TONE};
use crate::tone::ToneFinder;

/// Largest variance, dB squared, of a level that flips between two values 1 dB apart.
pub const FLIPS_DB2: f64 = 0.25;
/// Coherent variance beyond rounding and chance, dB squared, that is worth one half.
pub const HALF_DB2: f64 = 0.25;
/// Standard deviations of the covariance of white noise that are no evidence.
pub const BY_CHANCE: f64 = 2.0;
/// Robust standard deviations that a deviation counts for at most.
pub const CLIP: f64 = 3.0;
/// Deviations of up to so many decibels are never cut.
const LEAST_CLIP_DB: f64 = 1.5;
/// Standard deviations in a median absolute deviation.
const OF_MAD: f64 = 1.4826;

/// What the level of a window says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Level {
    /// Covariance of neighbouring frames, dB squared, less what a step or a tone explains.
    pub coherent_db2: f64,
    /// Variance, dB squared, of deviations cut at [`CLIP`].
    pub variance_db2: f64,
    /// Pairs of neighbouring frames that the covariance rests on.
    pub pairs: usize,
    /// What explained a part of the covariance away.
    pub explanation: Option<Explanation>,
}

impl Level {
    /// The evidence of motion in it: 0 for rounding and chance, one half at [`HALF_DB2`] beyond them, towards 1 for large changes.
    #[must_use]
    pub fn evidence(&self) -> f64 {
        let chance = BY_CHANCE * self.variance_db2 / (self.pairs.max(1) as f64).sqrt();
        let beyond = (self.coherent_db2 - chance.max(FLIPS_DB2)).max(0.0);
        beyond / (beyond + HALF_DB2)
    }
}

/// Evaluates the levels of windows; keeps its memory from one to the next.
#[derive(Debug, Default)]
pub struct LevelMeter {
    order: Vec<f32>,
    deviations: Vec<f32>,
    levelled: Vec<f32>,
    tones: ToneFinder,
}

impl LevelMeter {
    /// What `levels_db` (one for each of `times_us`, microseconds, ascending; dB against anything) say, of frames that come every
    /// `period_us`. Absent where they are not as many as the times, not finite, or fewer than two.
    pub fn measure(
        &mut self,
        times_us: &[i64],
        levels_db: &[f32],
        period_us: f64,
    ) -> Option<Level> {
        if levels_db.len() != times_us.len()
            || levels_db.len() < 2
            || levels_db.iter().any(|level| !level.is_finite())
        {
            return None;
        }
        self.centre(levels_db);
        let count = self.deviations.len() as f64;
        let variance = squares(&self.deviations) / count;
        if variance <= 0.0 {
            return Some(Level::default());
        }
        let longest = LONGEST_LAG * period_us;
        let (covariance, pairs) = lag(times_us, &self.deviations, longest, None);
        let mut level = Level {
            coherent_db2: covariance,
            variance_db2: variance,
            pairs,
            explanation: None,
        };
        if let Some(place) = step(&self.deviations, STEP * variance) {
            self.level(place);
            let (besides, _) = lag(times_us, &self.levelled, longest, Some(place));
            level.explain(Explanation::Step, besides);
        }
        if level.coherent_db2 > FLIPS_DB2 {
            let series = Series {
                times_us,
                rows: &self.deviations,
                width: 1,
            };
            let tone = if self.tones.analyse(series, period_us) {
                self.tones.strongest(LOWEST_TONE_HZ)
            } else {
                None
            };
            if let Some(tone) =
                tone.filter(|tone| tone.share * variance >= TONE * level.coherent_db2)
            {
                let besides = level.coherent_db2 - tone.autocorrelation * variance;
                level.explain(Explanation::SteadyTone, besides);
            }
        }
        Some(level)
    }

    /// Deviations from the median, cut, and then from their mean.
    fn centre(&mut self, levels_db: &[f32]) {
        self.order.clear();
        self.order.extend_from_slice(levels_db);
        let middle = median(&mut self.order);
        self.order.clear();
        let distances = levels_db.iter().map(|level| (level - middle).abs());
        self.order.extend(distances);
        let spread = OF_MAD * f64::from(median(&mut self.order));
        let limit = (CLIP * spread).max(LEAST_CLIP_DB) as f32;
        self.deviations.clear();
        let cut = levels_db
            .iter()
            .map(|level| (level - middle).clamp(-limit, limit));
        self.deviations.extend(cut);
        let mean = mean(&self.deviations);
        self.deviations.iter_mut().for_each(|value| *value -= mean);
    }

    /// Takes the means of the two sides of `place` off.
    fn level(&mut self, place: usize) {
        self.levelled.clear();
        self.levelled.extend_from_slice(&self.deviations);
        let (left, right) = self.levelled.split_at_mut(place.min(self.deviations.len()));
        for side in [left, right] {
            let mean = mean(side);
            side.iter_mut().for_each(|value| *value -= mean);
        }
    }
}

impl Level {
    fn explain(&mut self, explanation: Explanation, besides: f64) {
        if besides < self.coherent_db2 {
            self.coherent_db2 = besides;
            self.explanation = Some(explanation);
        }
    }
}

fn mean(values: &[f32]) -> f32 {
    let sum: f64 = values.iter().map(|value| f64::from(*value)).sum();
    (sum / values.len().max(1) as f64) as f32
}

fn squares(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum()
}

/// Mean product of neighbours at most `longest_us` apart, and how many pairs of them there are; none across `seam`.
fn lag(times_us: &[i64], values: &[f32], longest_us: f64, seam: Option<usize>) -> (f64, usize) {
    let (mut sum, mut count) = (0.0, 0_usize);
    let pairs = times_us.windows(2).zip(values.windows(2)).enumerate();
    for (index, (times, pair)) in pairs {
        let ([at, next], [value, after]) = (times, pair) else {
            continue;
        };
        if next.saturating_sub(*at) as f64 <= longest_us && seam != Some(index + 1) {
            sum += f64::from(*value) * f64::from(*after);
            count += 1;
        }
    }
    (sum / count.max(1) as f64, count)
}

/// The place that the second plateau begins at, where the best one makes more than `least` of variance between its sides.
fn step(deviations: &[f32], least: f64) -> Option<usize> {
    let rows = deviations.len();
    let (mut sum, mut best, mut place) = (0.0, least, None);
    for (index, value) in deviations.iter().enumerate() {
        if index > 0 {
            let between = sum * sum / (index as f64 * (rows - index) as f64);
            if between > best {
                (best, place) = (between, Some(index));
            }
        }
        sum += f64::from(*value);
    }
    place
}

#[cfg(test)]
mod tests;
