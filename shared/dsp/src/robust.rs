//! Location and spread that a few wild values do not move, and what a number of trials says about a rate.
//!
//! P. J. Rousseeuw and C. Croux, "Alternatives to the median absolute deviation", J. Amer. Stat. Assoc. 88 (1993);
//! C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934).

/// Scales the median absolute deviation to the standard deviation of a normal distribution.
const NORMAL: f64 = 1.4826;

/// The quantile `q` (0 to 1) of finite values, linear between neighbours. Reorders `values`; absent where there are none.
pub fn quantile(values: &mut [f64], q: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let (_, lower, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let lower = *lower;
    let upper = above.iter().copied().min_by(f64::total_cmp);
    Some(upper.map_or(lower, |upper| {
        lower + (place - below as f64) * (upper - lower)
    }))
}

/// Median, and 1.4826 times the median absolute deviation from it. Reorders and overwrites `values`; absent where there are
/// none.
pub fn median_and_spread(values: &mut [f64]) -> Option<(f64, f64)> {
    let median = quantile(values, 0.5)?;
    values
        .iter_mut()
        .for_each(|value| *value = (*value - median).abs());
    Some((median, NORMAL * quantile(values, 0.5)?))
}

/// The largest rate at which `events` or fewer in `trials` independent trials still have a probability of 1 - `confidence`
/// (the one-sided bound of Clopper and Pearson). 1 without trials.
#[must_use]
pub fn rate_bound(events: usize, trials: usize, confidence: f64) -> f64 {
    if trials == 0 || events >= trials {
        return 1.0;
    }
    let rest = 1.0 - confidence.clamp(0.0, 1.0);
    let (mut low, mut high) = (events as f64 / trials as f64, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if at_most(events, trials, middle) > rest {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Probability of `events` or fewer in `trials` at `rate`, which lies within 0 and 1.
fn at_most(events: usize, trials: usize, rate: f64) -> f64 {
    let (hit, miss) = (rate.max(1e-300).ln(), (1.0 - rate).max(1e-300).ln());
    let mut choose = 0.0;
    let mut sum = 0.0;
    for k in 0..=events {
        if k > 0 {
            choose += ((trials - k + 1) as f64 / k as f64).ln();
        }
        sum += (choose + k as f64 * hit + (trials - k) as f64 * miss).exp();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wild_value_does_not_move_them() {
        let mut values = [1.0, 2.0, 3.0, 4.0, 1e9];
        assert_eq!(median_and_spread(&mut values), Some((3.0, 1.4826)));
        assert_eq!(quantile(&mut [4.0, 1.0, 3.0, 2.0], 0.5), Some(2.5));
        assert_eq!(quantile(&mut [4.0, 1.0, 3.0, 2.0], 1.0), Some(4.0));
        assert_eq!(median_and_spread(&mut []), None);
    }

    #[test]
    fn bounds_as_in_the_tables() {
        // The rule of three, and Clopper and Pearson's table.
        assert!((rate_bound(0, 100, 0.95) - 0.029_513).abs() < 1e-5);
        assert!((rate_bound(1, 10, 0.95) - 0.394_163).abs() < 1e-5);
        assert_eq!(rate_bound(0, 0, 0.95), 1.0);
    }
}
