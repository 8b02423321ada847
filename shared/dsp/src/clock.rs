//! Time: the period at which frames really come, and a regular clock laid over them.

/// Gaps of more than so many periods are not bridged.
pub const LONGEST_BRIDGE: f64 = 3.0;

/// The median interval between neighbouring times, in microseconds; absent with fewer than two times or where it is zero.
///
/// The median is what the source does when nothing is lost, while the mean counts losses in. `scratch` is overwritten.
#[must_use]
pub fn nominal_period_us(times_us: &[i64], scratch: &mut Vec<i64>) -> Option<f64> {
    scratch.clear();
    scratch.extend(
        times_us
            .iter()
            .zip(times_us.get(1..)?)
            .map(|(a, b)| b.saturating_sub(*a)),
    );
    if scratch.is_empty() {
        return None;
    }
    let middle = scratch.len() / 2;
    let (_, median, _) = scratch.select_nth_unstable(middle);
    (*median > 0).then_some(*median as f64)
}

/// The longest interval between neighbouring times, in microseconds; the spans from `start_us` to the first time and from
/// the last time to `end_us` count as well.
#[must_use]
pub fn longest_gap_us(times_us: &[i64], start_us: i64, end_us: i64) -> i64 {
    let mut previous = start_us;
    let mut longest = 0;
    for time in times_us.iter().copied().chain([end_us]) {
        longest = longest.max(time.saturating_sub(previous));
        previous = time;
    }
    longest
}

/// A regular clock over irregular times: each tick knows the samples on both sides and how far it lies between them.
#[derive(Clone, Debug, Default)]
pub struct RegularClock {
    /// For each tick: the sample before it, and the weight of the sample after it (0 to 1); None inside a gap.
    ticks: Vec<Option<(usize, f32)>>,
}

impl RegularClock {
    /// Lays ticks of `period_us` from the first to the last of `times_us` (ascending), `most` at most. A tick in a gap of
    /// more than [`LONGEST_BRIDGE`] periods is invalid: nothing is invented there.
    pub fn lay(&mut self, times_us: &[i64], period_us: f64, most: usize) {
        self.ticks.clear();
        let (Some(first), Some(last)) = (times_us.first(), times_us.last()) else {
            return;
        };
        if !period_us.is_finite() || period_us <= 0.0 {
            return;
        }
        let span = (last - first) as f64;
        let count = ((span / period_us + 1e-9).floor() as usize)
            .saturating_add(1)
            .min(most);
        let mut left = 0;
        for tick in 0..count {
            let time = tick as f64 * period_us;
            let at = |index: usize| times_us.get(index).map(|t| (*t - *first) as f64);
            while at(left + 1).is_some_and(|next| next <= time) {
                left += 1;
            }
            let (Some(before), after) = (at(left), at(left + 1)) else {
                break;
            };
            self.ticks.push(match after {
                None => Some((left, 0.0)),
                Some(after) if after - before > LONGEST_BRIDGE * period_us => {
                    (time == before).then_some((left, 0.0))
                }
                Some(after) => Some((left, ((time - before) / (after - before)) as f32)),
            });
        }
    }

    /// Number of ticks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ticks.len()
    }

    /// Whether there is no tick.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ticks.is_empty()
    }

    /// Ticks that rest on measured neighbours.
    #[must_use]
    pub fn valid(&self) -> usize {
        self.ticks.iter().flatten().count()
    }

    /// Interpolates column `column` of `rows` (one row of `width` values per time) linearly onto the ticks. An invalid tick
    /// is `None`.
    pub fn column<'a>(
        &'a self,
        rows: &'a [f32],
        width: usize,
        column: usize,
    ) -> impl Iterator<Item = Option<f32>> + 'a {
        self.ticks.iter().map(move |tick| {
            let (left, weight) = (*tick)?;
            let before = *rows.get(left * width + column)?;
            match rows.get((left + 1) * width + column) {
                Some(after) if weight > 0.0 => Some(before + weight * (after - before)),
                _ => Some(before),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_period_is_the_median_interval() {
        let mut scratch = Vec::new();
        assert_eq!(
            nominal_period_us(&[0, 10, 20, 30, 100, 110], &mut scratch),
            Some(10.0)
        );
        assert_eq!(nominal_period_us(&[0], &mut scratch), None);
        assert_eq!(nominal_period_us(&[7, 7, 7], &mut scratch), None);
    }

    #[test]
    fn the_edges_of_the_window_are_gaps_too() {
        assert_eq!(longest_gap_us(&[40, 50, 60], 0, 100), 40);
        assert_eq!(longest_gap_us(&[], 0, 100), 100);
        assert_eq!(longest_gap_us(&[10, 70], 0, 80), 60);
    }

    #[test]
    fn interpolates_and_invents_nothing_in_gaps() {
        let mut clock = RegularClock::default();
        let times = [0, 10, 15, 20, 100, 110];
        let rows: Vec<f32> = [0.0, 1.0, 1.5, 2.0, 10.0, 11.0].into();
        clock.lay(&times, 10.0, 1000);
        let values: Vec<_> = clock.column(&rows, 1, 0).collect();
        assert_eq!(clock.len(), 12);
        assert_eq!(clock.valid(), 5);
        assert_eq!(values[..3], [Some(0.0), Some(1.0), Some(2.0)]);
        assert!(values[3..10].iter().all(Option::is_none), "{values:?}");
        assert_eq!(values[10..], [Some(10.0), Some(11.0)]);
    }

    #[test]
    fn is_bounded_and_survives_nonsense() {
        let mut clock = RegularClock::default();
        clock.lay(&[0, i64::from(u32::MAX)], 1.0, 100);
        assert_eq!(clock.len(), 100);
        clock.lay(&[], 1.0, 100);
        assert!(clock.is_empty());
        clock.lay(&[0, 1], f64::NAN, 100);
        assert!(clock.is_empty());
    }
}
