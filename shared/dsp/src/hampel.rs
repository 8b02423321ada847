//! The Hampel filter: outliers are replaced by the median of their neighbours.
//!
//! R. K. Pearson, "Outliers in process modeling and identification", IEEE Trans. Control Systems Technology 10 (2002).

/// Scales the median absolute deviation to the standard deviation of a normal distribution.
const NORMAL: f32 = 1.4826;

/// Replaces outliers in `values` by the local median, in place, and gives their number.
///
/// `x[t]` is an outlier where `abs(x[t] - median) > k * 1.4826 * median(abs(x - median))` over the `2 * half + 1` values
/// around it; at the ends the window is cut, not padded. `k` is usually 3 to 5 and `half` 2 to 5. Where more than half of a
/// window is one value, its deviation is zero and any other value in it is an outlier: that is the filter's definition.
/// `scratch` is overwritten.
pub fn hampel(values: &mut [f32], half: usize, k: f32, scratch: &mut Scratch) -> usize {
    scratch.original.clear();
    scratch.original.extend_from_slice(values);
    let mut replaced = 0;
    for (index, value) in values.iter_mut().enumerate() {
        let begin = index.saturating_sub(half);
        let end = (index + half + 1).min(scratch.original.len());
        let Some(around) = scratch.original.get(begin..end) else {
            continue;
        };
        scratch.window.clear();
        scratch.window.extend_from_slice(around);
        let middle = median(&mut scratch.window);
        scratch
            .window
            .iter_mut()
            .for_each(|x| *x = (*x - middle).abs());
        let deviation = NORMAL * median(&mut scratch.window);
        if (*value - middle).abs() > k * deviation {
            *value = middle;
            replaced += 1;
        }
    }
    replaced
}

/// Reusable memory of [`hampel`].
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    original: Vec<f32>,
    window: Vec<f32>,
}

/// The median; of an even number of values the mean of the middle two. Reorders `values`; 0 where there are none.
pub(crate) fn median(values: &mut [f32]) -> f32 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    let even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f32::total_cmp);
    if even {
        let lower = below
            .iter()
            .copied()
            .max_by(f32::total_cmp)
            .unwrap_or(*upper);
        0.5 * (lower + *upper)
    } else {
        *upper
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn replaces_a_spike_and_nothing_else() {
        let mut values = [1.0, 1.1, 0.9, 9.0, 1.0, 1.1, 0.9, 1.0];
        let replaced = hampel(&mut values, 3, 3.0, &mut Scratch::default());
        assert_eq!(replaced, 1);
        assert_eq!(values[3], 1.0);
        assert_eq!(values[1], 1.1);
    }

    #[test]
    fn medians() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut []), 0.0);
    }

    proptest! {
        #[test]
        fn scale_and_offset_go_through(values in prop::collection::vec(-10.0_f32..10.0, 1..60), scale in 0.25_f32..4.0) {
            let mut plain = values.clone();
            let mut scaled: Vec<f32> = values.iter().map(|v| v * scale).collect();
            hampel(&mut plain, 3, 3.0, &mut Scratch::default());
            hampel(&mut scaled, 3, 3.0, &mut Scratch::default());
            let differing = plain.iter().zip(&scaled).filter(|(a, b)| (*a * scale - *b).abs() > 1e-3).count();
            // A value on the very threshold may fall on either side of it by rounding.
            prop_assert!(differing <= 1);
        }

        #[test]
        fn silence_stays_silent(level in -5.0_f32..5.0, count in 0_usize..50) {
            let mut values = vec![level; count];
            prop_assert_eq!(hampel(&mut values, 5, 3.0, &mut Scratch::default()), 0);
            prop_assert!(values.iter().all(|v| *v == level));
        }
    }
}
