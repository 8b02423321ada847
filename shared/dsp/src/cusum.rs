//! When a level changed, and where it drifts to.
//!
//! [`Cusum`] is the two-sided cumulative sum of E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954). [`Drift`]
//! follows a level by steps of bounded size, which outliers cannot pull: the stochastic approximation of the median of H.
//! Robbins, S. Monro, "A stochastic approximation method", Ann. Math. Stat. 22 (1951), in proportion to the spread.

/// Which way a level went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Up.
    Up,
    /// Down.
    Down,
}

/// Watches for a change of mean.
///
/// With `z` the deviation from the reference in units of its standard deviation, `U' = max(0, U + z - slack)` and `D' =
/// max(0, D - z - slack)`; a change is where one of them exceeds `limit`. A slack of half the change (in deviations) finds it
/// fastest. In white noise a slack of 0.5 and a limit of 5 alarm once in 465 values on average, a limit of 8 once in 10,000.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cusum {
    slack: f32,
    limit: f32,
    up: f32,
    down: f32,
    /// Values since `up` and `down` were last 0.
    since_up: u32,
    since_down: u32,
}

impl Cusum {
    /// Starts at 0. Both parameters are in standard deviations.
    #[must_use]
    pub fn new(slack: f32, limit: f32) -> Self {
        Self {
            slack: slack.max(0.0),
            limit: limit.max(0.0),
            up: 0.0,
            down: 0.0,
            since_up: 0,
            since_down: 0,
        }
    }

    /// Takes a value in units of the reference's deviation, and gives the change that it completes, with the number of
    /// values since it began. Both sums then start anew. A value that is not finite does not count.
    pub fn push(&mut self, z: f32) -> Option<(Change, u32)> {
        if !z.is_finite() {
            return None;
        }
        (self.up, self.since_up) = grown(self.up + z - self.slack, self.since_up);
        (self.down, self.since_down) = grown(self.down - z - self.slack, self.since_down);
        let found = if self.up > self.limit {
            Some((Change::Up, self.since_up))
        } else if self.down > self.limit {
            Some((Change::Down, self.since_down))
        } else {
            None
        };
        if found.is_some() {
            *self = Self::new(self.slack, self.limit);
        }
        found
    }

    /// What it remembers: both sums, and the values since each began.
    #[must_use]
    pub fn state(&self) -> (f32, f32, u32, u32) {
        (self.up, self.down, self.since_up, self.since_down)
    }

    /// Goes on from what [`state`](Self::state) of one with the same parameters gave.
    pub fn resume(&mut self, (up, down, since_up, since_down): (f32, f32, u32, u32)) {
        (self.up, self.down) = (up, down);
        (self.since_up, self.since_down) = (since_up, since_down);
    }

    /// The sums for a rise and for a fall, in deviations.
    #[must_use]
    pub fn sums(&self) -> (f32, f32) {
        (self.up, self.down)
    }
}

fn grown(sum: f32, since: u32) -> (f32, u32) {
    if sum > 0.0 {
        (sum, since.saturating_add(1))
    } else {
        (0.0, 0)
    }
}

/// Follows a slow level and the spread about it.
///
/// Per value `x` after `dt` seconds, with `a = min(1, dt / time_constant)`: `level += a * clamp(x - level, -3 s, 3 s)` and `s
/// += a * (clamp(1.2533 * abs(x - level), 0, 3 s + floor) - s)`, where 1.2533 times the mean absolute deviation is the standard
/// deviation of a normal distribution. The first value is the level; until a time constant has passed the mean is plain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    time_constant_s: f32,
    floor: f32,
    level: Option<f32>,
    spread: f32,
    values: f32,
}

impl Drift {
    /// Follows within `time_constant_s` seconds. `floor` is the least spread that is believed, in the values' unit.
    #[must_use]
    pub fn new(time_constant_s: f32, floor: f32) -> Self {
        Self {
            time_constant_s: time_constant_s.max(f32::MIN_POSITIVE),
            floor: floor.max(f32::MIN_POSITIVE),
            level: None,
            spread: 0.0,
            values: 0.0,
        }
    }

    /// Takes the value measured `elapsed_s` seconds after the last one. One that is not finite does not count.
    pub fn push(&mut self, value: f32, elapsed_s: f32) {
        if !value.is_finite() {
            return;
        }
        let Some(level) = self.level else {
            self.level = Some(value);
            self.values = 1.0;
            return;
        };
        self.values += 1.0;
        let follow = (elapsed_s.max(0.0) / self.time_constant_s)
            .max(self.values.recip())
            .min(1.0);
        let deviation = value - level;
        let reach = 3.0 * self.spread.max(self.floor);
        self.level = Some(level + follow * deviation.clamp(-reach, reach));
        let distance = (1.2533 * deviation.abs()).min(reach + self.floor);
        self.spread += follow * (distance - self.spread);
    }

    /// What it remembers: the level, the spread about it, and the values that it rests on.
    #[must_use]
    pub fn state(&self) -> (Option<f32>, f32, f32) {
        (self.level, self.spread, self.values)
    }

    /// Goes on from what [`state`](Self::state) of one with the same parameters gave.
    pub fn resume(&mut self, (level, spread, values): (Option<f32>, f32, f32)) {
        (self.level, self.spread, self.values) = (level, spread, values);
    }

    /// The level, in the values' unit; absent before the first value.
    #[must_use]
    pub fn level(&self) -> Option<f32> {
        self.level
    }

    /// Standard deviation about the level, at least the floor.
    #[must_use]
    pub fn spread(&self) -> f32 {
        self.spread.max(self.floor)
    }

    /// The deviation of a value from the level in units of the spread; absent before the first value.
    #[must_use]
    pub fn z(&self, value: f32) -> Option<f32> {
        self.level.map(|level| (value - level) / self.spread())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(seed: u64) -> impl FnMut() -> f32 {
        let mut state = seed | 1;
        move || {
            // Twelve uniform numbers are nearly normal.
            let mut sum = -6.0;
            for _ in 0..12 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                sum += (state >> 40) as f32 / (1_u64 << 24) as f32;
            }
            sum
        }
    }

    #[test]
    fn a_shift_is_found_soon_with_its_direction_and_beginning() {
        for (shift, expected) in [(1.5, Change::Up), (-1.5, Change::Down)] {
            let (mut cusum, mut noise) = (Cusum::new(0.5, 8.0), noise(3));
            for _ in 0..200 {
                assert_eq!(cusum.push(noise()), None);
            }
            let found = (1..60).find_map(|t| cusum.push(noise() + shift).map(|found| (t, found)));
            let (after, (change, since)) = found.unwrap();
            assert_eq!(change, expected);
            assert!(after < 25 && since.abs_diff(after) <= 6, "{after} {since}");
        }
    }

    #[test]
    fn noise_alarms_as_seldom_as_the_tables_say() {
        let (mut cusum, mut noise) = (Cusum::new(0.5, 5.0), noise(11));
        let alarms = (0..465_000)
            .filter(|_| cusum.push(noise()).is_some())
            .count();
        // Two sides at one in 930 each.
        assert!((700..1400).contains(&alarms), "{alarms}");
    }

    #[test]
    fn silence_and_nonsense_change_nothing() {
        let mut cusum = Cusum::new(0.5, 5.0);
        for _ in 0..1000 {
            assert_eq!(cusum.push(0.0), None);
            assert_eq!(cusum.push(f32::NAN), None);
        }
        assert_eq!(cusum.sums(), (0.0, 0.0));
        let mut drift = Drift::new(10.0, 0.1);
        assert_eq!(drift.z(1.0), None);
        drift.push(f32::INFINITY, 1.0);
        assert_eq!(drift.level(), None);
        (0..100).for_each(|_| drift.push(2.0, 1.0));
        assert_eq!((drift.level(), drift.spread()), (Some(2.0), 0.1));
    }

    #[test]
    fn a_drift_is_followed_and_bursts_are_not() {
        let (mut drift, mut noise) = (Drift::new(60.0, 0.01), noise(5));
        for t in 0..6000 {
            let burst = if t % 10 == 0 { 50.0 } else { 0.0 };
            drift.push(0.001 * t as f32 + noise() + burst, 0.1);
        }
        assert!((drift.level().unwrap() - 5.7).abs() < 1.2, "{drift:?}");
        assert!((0.8..3.0).contains(&drift.spread()), "{drift:?}");
    }

    proptest! {
        #[test]
        fn drift_does_not_see_scale_or_offset(scale in 0.01_f32..100.0, offset in -100.0_f32..100.0) {
            let mut noise = noise(17);
            let (mut one, mut other) = (Drift::new(20.0, 0.01), Drift::new(20.0, 0.01 * scale));
            for _ in 0..500 {
                let x = noise();
                one.push(x, 0.5);
                other.push(scale * x + offset, 0.5);
            }
            let (a, b) = (one.z(1.0).unwrap(), other.z(scale + offset).unwrap());
            prop_assert!((a - b).abs() < 0.02 + 1e-4 * offset.abs() / scale, "{a} {b}");
        }
    }
}
