//! Which subcarriers are worth listening to, and how much each weighs.
//!
//! A subcarrier that a movement reaches changes coherently from frame to frame; the others hold noise. With `phi` its
//! autocorrelation at the first lag, the share of signal in its variance, the signal-to-noise ratio is `phi / (1 - phi)`, and
//! combining with weights in that proportion maximises the ratio of the sum (D. G. Brennan, "Linear diversity combining
//! techniques", Proc. IRE 47 (1959); on CSI: F. Zhang et al., SMARS, IEEE Trans. Mobile Computing 20 (2021)).

use crate::autocorrelation::Series;

/// `phi` above which nothing weighs more: rounding, not certainty.
pub const MOST_PHI: f64 = 0.98;
/// Variance of normalised power below which a subcarrier does not change.
const STILL: f64 = 1e-11;

/// Weights of one window; keeps its memory from one to the next.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    means: Vec<f64>,
    variances: Vec<f64>,
    covariances: Vec<f64>,
    weights: Vec<f32>,
    order: Vec<usize>,
}

impl Selector {
    /// The weight of each subcarrier of `series`: `phi / (1 - phi)` over their sum, without unit. Neighbouring rows more than
    /// `longest_us` apart are no pair. All zeros where nothing changes coherently; no weight is negative.
    ///
    /// `phi[k] = mean of d[t] d[t-1] / mean of d[t]^2`, `d` the deviation from the window's mean.
    pub fn weigh(&mut self, series: Series<'_>, longest_us: f64) -> &[f32] {
        let width = series.width;
        for sums in [&mut self.means, &mut self.variances, &mut self.covariances] {
            sums.clear();
            sums.resize(width, 0.0);
        }
        let rows = series.iter().len().max(1) as f64;
        for row in series.iter() {
            for (sum, value) in self.means.iter_mut().zip(row) {
                *sum += f64::from(*value);
            }
        }
        self.means.iter_mut().for_each(|mean| *mean /= rows);
        let mut pairs = 0.0;
        let mut previous: Option<(&[f32], i64)> = None;
        for (row, time) in series.iter().zip(series.times_us) {
            for ((sum, value), mean) in self.variances.iter_mut().zip(row).zip(&self.means) {
                let deviation = f64::from(*value) - mean;
                *sum += deviation * deviation;
            }
            if let Some((before, at)) = previous
                && time.saturating_sub(at) as f64 <= longest_us
            {
                pairs += 1.0;
                let sums = self.covariances.iter_mut().zip(&self.means);
                for (((sum, mean), value), before) in sums.zip(row).zip(before) {
                    *sum += (f64::from(*value) - mean) * (f64::from(*before) - mean);
                }
            }
            previous = Some((row, *time));
        }
        self.weights.clear();
        let sums = self.covariances.iter().zip(&self.variances);
        self.weights.extend(sums.map(|(covariance, variance)| {
            if pairs < 1.0 || *variance <= STILL * rows {
                return 0.0;
            }
            let phi = (covariance / pairs) / (variance / rows);
            let phi = phi.clamp(0.0, MOST_PHI);
            (phi / (1.0 - phi)) as f32
        }));
        let sum: f32 = self.weights.iter().sum();
        if sum > 0.0 {
            self.weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        &self.weights
    }

    /// The weights of the latest [`weigh`](Self::weigh).
    #[must_use]
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The `count` subcarriers of the largest weights of the latest [`weigh`](Self::weigh), heaviest first (of equal ones the
    /// lower); fewer where fewer weigh anything.
    pub fn best(&mut self, count: usize) -> &[usize] {
        let weight = |place: &usize| self.weights.get(*place).copied().unwrap_or_default();
        self.order.clear();
        self.order
            .extend((0..self.weights.len()).filter(|place| weight(place) > 0.0));
        self.order
            .sort_unstable_by(|a, b| weight(b).total_cmp(&weight(a)).then(a.cmp(b)));
        self.order.truncate(count);
        &self.order
    }
}

/// The weighted sum of a row, for example of normalised power with MRC weights: one stream out of many.
#[must_use]
pub fn combine(row: &[f32], weights: &[f32]) -> f32 {
    row.iter().zip(weights).map(|(x, weight)| x * weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(noise: f32) -> (Vec<i64>, Vec<f32>) {
        let mut state = 9_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
        };
        // Subcarrier 0 moves a lot, 1 a little, 2 not at all, 3 is constant.
        let row = |t: i64| {
            let wave = (t as f32 / 9.0).sin();
            [
                wave + noise * random(),
                0.2 * wave + noise * random(),
                noise * random(),
                1.0,
            ]
        };
        (
            (0..300).map(|t| t * 10_000).collect(),
            (0..300).flat_map(row).collect(),
        )
    }

    fn series<'a>(times_us: &'a [i64], rows: &'a [f32]) -> Series<'a> {
        Series {
            times_us,
            rows,
            width: 4,
        }
    }

    #[test]
    fn what_moves_weighs() {
        let (times, rows) = rows(0.5);
        let mut selector = Selector::default();
        let weights = selector.weigh(series(&times, &rows), 25_000.0);
        assert!(
            weights[0] > 3.0 * weights[1] && weights[1] > 2.0 * weights[2],
            "{weights:?}"
        );
        assert_eq!(weights[3], 0.0);
        assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(selector.best(2), [0, 1]);
    }

    #[test]
    fn silence_and_single_rows_weigh_nothing() {
        let mut selector = Selector::default();
        let times: Vec<i64> = (0..50).map(|t| t * 10_000).collect();
        assert_eq!(
            selector.weigh(series(&times, &[1.0; 200]), 25_000.0),
            [0.0; 4]
        );
        assert!(selector.best(4).is_empty());
        assert_eq!(
            selector.weigh(series(&times[..1], &[1.0; 4]), 25_000.0),
            [0.0; 4]
        );
        assert_eq!(combine(&[1.0, 2.0], &[0.25, 0.75]), 1.75);
    }

    proptest! {
        #[test]
        fn does_not_see_scale_or_offset(scale in 0.01_f32..100.0, offset in -10.0_f32..10.0) {
            let (times, rows) = rows(0.5);
            let other: Vec<f32> = rows.iter().map(|x| scale * (x + offset)).collect();
            let (mut one, mut two) = (Selector::default(), Selector::default());
            let pairs = one.weigh(series(&times, &rows), 25_000.0).iter().zip(two.weigh(series(&times, &other), 25_000.0));
            for (place, (a, b)) in pairs.enumerate().take(3) {
                prop_assert!((a - b).abs() < 1e-3, "{place}: {a} {b}");
            }
        }
    }
}
