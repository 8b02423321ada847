//! First-lag autocorrelation of power: the motion statistic of `WiDetect`.
//!
//! F. Zhang, C. Wu, B. Wang, H.-Q. Lai, Y. Han, K. J. R. Liu, "`WiDetect`: Robust Motion Detection with a Statistical
//! Electromagnetic Model", Proc. ACM IMWUT 3 (2019). Scattering off a moving body makes the power of a subcarrier a process
//! that is correlated over the few milliseconds between two frames; noise of the receiver is not. For `K` subcarriers and
//! `T` frames of pure noise the mean autocorrelation has mean 0 and a variance of about `1 / (T K')`, where `K'` is the
//! number of subcarriers that fluctuate independently.
//!
//! A window is evaluated whole: there are no running sums that could drift, and a window has the same value whether or not
//! anything was seen before it.

mod sums;

use crate::hampel::median;
use crate::lanes;
use crate::motion::LEAST_FLUCTUATION;
use sums::{Counted, Sums};

/// Rows of normalised power with their times.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// Time of each row, microseconds, ascending.
    pub times_us: &'a [i64],
    /// `times_us.len()` rows of `width` values, without unit, mean 1.
    pub rows: &'a [f32],
    /// Subcarriers of a row.
    pub width: usize,
}

impl<'a> Series<'a> {
    /// The rows in order.
    pub fn iter(&self) -> std::slice::ChunksExact<'a, f32> {
        self.rows.chunks_exact(self.width.max(1))
    }
}

/// Which part of the series a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Left out.
    Out,
    /// Counted, against the mean of all rows of this part.
    First,
    /// Counted, against the mean of all rows of this part; no pair is made across parts.
    Second,
}

/// What the series says about correlation from frame to frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FirstLag {
    /// Mean over subcarriers of `c[k] / v[k]`: -1 to about 1, near 0 for noise.
    pub phi: f64,
    /// Mean over subcarriers of the variance `v[k]`.
    pub variance: f64,
    /// Mean over subcarriers of the covariance of neighbouring frames `c[k]`.
    pub covariance: f64,
    /// Mean over pairs of subcarriers [`APART`] columns apart of their correlation `n[k] / sqrt(v[k] v[k + 2])`: -1 to 1, near
    /// 0 for noise. What a body does to one subcarrier it does to those beside it, however long the time between frames;
    /// noise of the receiver is each subcarrier's own.
    pub neighbour: f64,
    /// Pairs of neighbouring frames that it rests on.
    pub pairs: usize,
    /// Subcarriers that it rests on.
    pub subcarriers: usize,
}

/// The mean square change of normalised power from one frame to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Changes {
    /// Its median over the pairs of neighbouring frames.
    pub typical: f64,
    /// Its mean.
    pub mean: f64,
}

impl Changes {
    /// How evenly the change is spread over time: near 1 for noise and for a moving body, near 0 where it sits in few jumps. 0 where
    /// nothing changes.
    #[must_use]
    pub fn evenness(self) -> f64 {
        if self.mean > 0.0 {
            self.typical / self.mean
        } else {
            0.0
        }
    }
}

/// Columns between two subcarriers whose correlation is taken. Neighbours themselves share a little noise where the receiver
/// smooths over frequency. A few pairs lie across the seam between two gain blocks; they say nothing, and only dilute.
pub const APART: usize = 2;
/// Most that is taken off the covariance of subcarriers beside one another: the rounding of a slowly turning sample is coherent
/// in time, but not over frequency, where the phase is another.
const LEAST_SHARED: f64 = LEAST_FLUCTUATION * LEAST_FLUCTUATION;
/// Mean normalised power below which a subcarrier is dead or in a null: its changes are receiver noise.
const NULL: f64 = 0.02;
/// Variance below which a subcarrier of normalised power does not change at all: the rounding of `f32`.
const STILL: f64 = 1e-11;

/// Sums of one window; keeps its memory from one window to the next.
#[derive(Clone, Debug, Default)]
pub struct Autocorrelation {
    sums: Sums,
    differences: Vec<f32>,
}

impl Autocorrelation {
    /// Computes the first-lag autocorrelation over the rows that `part` counts.
    ///
    /// Two rows are a pair where both belong to the same part, stand next to each other, and lie at most `longest_us` apart:
    /// after a lost frame there is no first lag. Where `against` is given, `c[k]` is divided by those variances instead of
    /// the series' own, so that the result is a share of them. `floor` is taken off each positive `c[k]`: coherence that
    /// rounding alone can make. (Off `n[k]` no more than 0.01 squared.) Absent where no subcarrier changes or no pair is left.
    pub fn first_lag(
        &mut self,
        series: Series<'_>,
        part: impl Fn(usize) -> Part,
        longest_us: f64,
        floor: f64,
        against: Option<&[f64]>,
    ) -> Option<FirstLag> {
        let (counts, pairs) = self.count(series, part, longest_us);
        self.sums.take(series, counts);
        let [first, second] = &self.sums.means;
        let rows = counts[0] + counts[1];
        if pairs == 0 || rows == 0 {
            return None;
        }
        let mut result = FirstLag {
            pairs,
            ..FirstLag::default()
        };
        let share = counts[0] as f64 / rows as f64;
        let mean = |means: &[f64], index: usize| means.get(index).copied().unwrap_or_default();
        let sums = self.sums.variance.iter_mut();
        let sums = sums.zip(&mut self.sums.covariance);
        for (index, (variance, covariance)) in sums.enumerate() {
            *variance /= rows as f64;
            *covariance /= pairs as f64;
            if *covariance > 0.0 {
                *covariance = (*covariance - floor).max(0.0);
            }
            let level = share * mean(first, index) + (1.0 - share) * mean(second, index);
            let reference = against
                .and_then(|v| v.get(index))
                .copied()
                .unwrap_or(*variance);
            if level < NULL || reference <= STILL {
                continue;
            }
            result.subcarriers += 1;
            result.phi += *covariance / reference;
            result.variance += *variance;
            result.covariance += *covariance;
        }
        if result.subcarriers == 0 {
            return None;
        }
        let count = result.subcarriers as f64;
        result.phi /= count;
        result.variance /= count;
        result.covariance /= count;
        result.neighbour = self.neighbours(rows, share, floor.min(LEAST_SHARED), against);
        Some(result)
    }

    /// Mean correlation of subcarriers [`APART`] columns apart, where both change and neither is in a null.
    fn neighbours(&self, rows: usize, share: f64, floor: f64, against: Option<&[f64]>) -> f64 {
        let [first, second] = &self.sums.means;
        let reference = against.unwrap_or(&self.sums.variance);
        let usable = |index: usize| {
            let of = |values: &[f64]| values.get(index).copied().unwrap_or_default();
            let level = share * of(first) + (1.0 - share) * of(second);
            let variance = of(reference);
            (level >= NULL && variance > STILL).then_some(variance)
        };
        let (mut sum, mut count) = (0.0, 0_u32);
        for (index, total) in self.sums.neighbour.iter().enumerate() {
            if let (Some(one), Some(other)) = (usable(index), usable(index + APART)) {
                let mut covariance = total / rows as f64;
                if covariance > 0.0 {
                    covariance = (covariance - floor).max(0.0);
                }
                sum += covariance / (one * other).sqrt();
                count += 1;
            }
        }
        sum / f64::from(count.max(1))
    }

    /// The variance of each subcarrier in the latest [`first_lag`](Self::first_lag).
    #[must_use]
    pub fn variances(&self) -> &[f64] {
        &self.sums.variance
    }

    /// Lists the rows that count; gives how many of each part, and how many pairs.
    fn count(
        &mut self,
        series: Series<'_>,
        part: impl Fn(usize) -> Part,
        longest_us: f64,
    ) -> ([usize; 2], usize) {
        self.sums.counted.clear();
        let (mut counts, mut pairs) = ([0, 0], 0);
        let mut previous: Option<(Part, i64)> = None;
        for (index, (_, time)) in series.iter().zip(series.times_us).enumerate() {
            let of = part(index);
            let [first, second] = &mut counts;
            match of {
                Part::Out => {
                    previous = None;
                    continue;
                }
                Part::First => *first += 1,
                Part::Second => *second += 1,
            }
            let paired = previous.is_some_and(|(same, at)| {
                same == of && time.saturating_sub(at) as f64 <= longest_us
            });
            pairs += usize::from(paired);
            self.sums.counted.push(Counted {
                index,
                second: of == Part::Second,
                paired,
            });
            previous = Some((of, *time));
        }
        (counts, pairs)
    }

    /// The mean of each subcarrier over the rows of [`Part::First`] in the latest [`first_lag`](Self::first_lag).
    pub(crate) fn means(&self) -> &[f64] {
        let [first, _] = &self.sums.means;
        first
    }

    /// How much changes from frame to frame: `d[t] = mean over k of (x[t,k] - x[t-1,k])^2` over pairs of neighbouring frames.
    pub fn changes(&mut self, series: Series<'_>, longest_us: f64) -> Changes {
        self.differences.clear();
        let rows = series.iter().zip(series.times_us);
        for ((before, at), (row, time)) in rows.clone().zip(rows.skip(1)) {
            if (time.saturating_sub(*at)) as f64 <= longest_us {
                self.differences.push(distance(before, row));
            }
        }
        if self.differences.is_empty() {
            return Changes::default();
        }
        let mean = self.differences.iter().map(|d| f64::from(*d)).sum::<f64>()
            / self.differences.len() as f64;
        Changes {
            typical: f64::from(median(&mut self.differences)),
            mean,
        }
    }
}

/// Mean square difference of two rows.
pub(crate) fn distance(one: &[f32], other: &[f32]) -> f32 {
    lanes::sum_pairs(one, other, |a: f32, b: f32| (a - b) * (a - b)) / one.len().max(1) as f32
}

#[cfg(test)]
mod tests;
