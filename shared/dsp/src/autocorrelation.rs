//! First-lag autocorrelation of power: the motion statistic of `WiDetect`.
//!
//! F. Zhang, C. Wu, B. Wang, H.-Q. Lai, Y. Han, K. J. R. Liu, "`WiDetect`: Robust Motion Detection with a Statistical
//! Electromagnetic Model", Proc. ACM IMWUT 3 (2019). Scattering off a moving body makes the power of a subcarrier a process
//! that is correlated over the few milliseconds between two frames; noise of the receiver is not. For `K` subcarriers and
//! `T` frames of pure noise the mean autocorrelation has mean 0 and a variance of about `1 / (T K')`, where `K'` is the
//! number of subcarriers that fluctuate independently.
//!
//! A window is evaluated whole, in one pass over contiguous rows with sums in `f64`: there are no running sums that could
//! drift, and a window has the same value whether or not anything was seen before it.

use crate::hampel::median;
use crate::motion::LEAST_FLUCTUATION;

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
    means: [Vec<f64>; 2],
    variance: Vec<f64>,
    covariance: Vec<f64>,
    neighbour: Vec<f64>,
    /// Deviations from the mean of the row at hand and of the one before.
    deviations: [Vec<f64>; 2],
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
        let width = series.width;
        let counts = self.means(series, &part);
        self.variance.clear();
        self.variance.resize(width, 0.0);
        self.covariance.clear();
        self.covariance.resize(width, 0.0);
        self.neighbour.clear();
        self.neighbour.resize(width.saturating_sub(APART), 0.0);
        let [first, second] = &self.means;
        let [own, before] = &mut self.deviations;
        let mut pairs = 0_usize;
        let mut previous: Option<(Part, i64)> = None;
        for (index, (row, time)) in series.iter().zip(series.times_us).enumerate() {
            let of = part(index);
            let mean = match of {
                Part::Out => {
                    previous = None;
                    continue;
                }
                Part::First => first,
                Part::Second => second,
            };
            own.clear();
            own.extend(
                row.iter()
                    .zip(mean)
                    .map(|(value, mean)| f64::from(*value) - mean),
            );
            for (sum, own) in self.variance.iter_mut().zip(&*own) {
                *sum += own * own;
            }
            for ((sum, own), beside) in self
                .neighbour
                .iter_mut()
                .zip(&*own)
                .zip(own.iter().skip(APART))
            {
                *sum += own * beside;
            }
            if let Some((same, at)) = previous
                && same == of
                && (time.saturating_sub(at)) as f64 <= longest_us
            {
                pairs += 1;
                for ((sum, own), before) in self.covariance.iter_mut().zip(&*own).zip(&*before) {
                    *sum += own * before;
                }
            }
            std::mem::swap(own, before);
            previous = Some((of, *time));
        }
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
        for (index, (variance, covariance)) in self
            .variance
            .iter_mut()
            .zip(&mut self.covariance)
            .enumerate()
        {
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
        let [first, second] = &self.means;
        let reference = against.unwrap_or(&self.variance);
        let usable = |index: usize| {
            let of = |values: &[f64]| values.get(index).copied().unwrap_or_default();
            let level = share * of(first) + (1.0 - share) * of(second);
            let variance = of(reference);
            (level >= NULL && variance > STILL).then_some(variance)
        };
        let (mut sum, mut count) = (0.0, 0_u32);
        for (index, total) in self.neighbour.iter().enumerate() {
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
        &self.variance
    }

    fn means(&mut self, series: Series<'_>, part: &impl Fn(usize) -> Part) -> [usize; 2] {
        let [first, second] = &mut self.means;
        for means in [&mut *first, &mut *second] {
            means.clear();
            means.resize(series.width, 0.0);
        }
        let mut counts = [0_usize; 2];
        let [of_first, of_second] = &mut counts;
        for (index, row) in series.iter().enumerate() {
            let sums = match part(index) {
                Part::Out => continue,
                Part::First => {
                    *of_first += 1;
                    &mut *first
                }
                Part::Second => {
                    *of_second += 1;
                    &mut *second
                }
            };
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += f64::from(*value));
        }
        for (means, count) in [(first, *of_first), (second, *of_second)] {
            if count > 0 {
                means.iter_mut().for_each(|mean| *mean /= count as f64);
            }
        }
        counts
    }

    /// How evenly the change is spread over time: the median over pairs of neighbouring frames of
    /// `d[t] = mean over k of (x[t,k] - x[t-1,k])^2`, divided by its mean. Near 1 for noise and for a moving body, near 0
    /// where the change sits in few jumps. 0 where nothing changes.
    pub fn evenness(&mut self, series: Series<'_>, longest_us: f64) -> f64 {
        self.differences.clear();
        let rows = series.iter().zip(series.times_us);
        for ((before, at), (row, time)) in rows.clone().zip(rows.skip(1)) {
            if (time.saturating_sub(*at)) as f64 <= longest_us {
                self.differences.push(distance(before, row));
            }
        }
        if self.differences.is_empty() {
            return 0.0;
        }
        let mean = self.differences.iter().map(|d| f64::from(*d)).sum::<f64>()
            / self.differences.len() as f64;
        if mean > 0.0 {
            f64::from(median(&mut self.differences)) / mean
        } else {
            0.0
        }
    }
}

/// Mean square difference of two rows.
pub(crate) fn distance(one: &[f32], other: &[f32]) -> f32 {
    let sum: f32 = one.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum();
    sum / one.len().max(1) as f32
}

#[cfg(test)]
mod tests;
