//! Sums in lanes.
//!
//! The compiler may not reorder additions of floats, so in a plain `sum()` each waits for the one before. Here [`LANES`] partial
//! sums stand side by side, which become vector instructions of whatever width the target has, and are added at the end. Their
//! order does not depend on the target: the same values give the same sum everywhere.

use std::ops::{Add, AddAssign};

/// Partial sums side by side: four registers of SSE2 for `f32`, eight for `f64`.
const LANES: usize = 16;

/// The sum of `of(value)`.
pub fn sum<V: Copy, S: Sum>(values: &[V], of: impl Fn(V) -> S) -> S {
    let mut lanes = [S::default(); LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += of(*value);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += of(*value);
    }
    total(lanes)
}

/// The sum of `of(one, other)` over pairs of values; the longer slice is cut.
pub fn sum_pairs<V: Copy, W: Copy, S: Sum>(one: &[V], other: &[W], of: impl Fn(V, W) -> S) -> S {
    let mut lanes = [S::default(); LANES];
    let length = one.len().min(other.len());
    let (one, other) = (one.get(..length), other.get(..length));
    let (one, one_rest) = one.unwrap_or_default().as_chunks::<LANES>();
    let (other, other_rest) = other.unwrap_or_default().as_chunks::<LANES>();
    for (one, other) in one.iter().zip(other) {
        for ((lane, one), other) in lanes.iter_mut().zip(one).zip(other) {
            *lane += of(*one, *other);
        }
    }
    for ((lane, one), other) in lanes.iter_mut().zip(one_rest).zip(other_rest) {
        *lane += of(*one, *other);
    }
    total(lanes)
}

/// What can be summed.
pub trait Sum: Copy + Default + AddAssign + Add<Output = Self> {}
impl<S: Copy + Default + AddAssign + Add<Output = S>> Sum for S {}

/// The sum of all lanes, in halves.
fn total<S: Sum>(mut lanes: [S; LANES]) -> S {
    let mut rest: &mut [S] = &mut lanes;
    while rest.len() > 1 {
        let (low, high) = rest.split_at_mut(rest.len() / 2);
        for (low, high) in low.iter_mut().zip(high) {
            *low += *high;
        }
        rest = low;
    }
    rest.first().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn are_the_sums(values in prop::collection::vec(-100_i32..100, 0..70), others in prop::collection::vec(-100_i32..100, 0..70)) {
            let plain: i32 = values.iter().map(|x| x * x).sum();
            prop_assert_eq!(sum(&values, |x| x * x), plain);
            let plain: i32 = values.iter().zip(&others).map(|(a, b)| (a - b) * b).sum();
            prop_assert_eq!(sum_pairs(&values, &others, |a, b| (a - b) * b), plain);
        }
    }
}
