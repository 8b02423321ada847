//! Limits of rate: a token bucket in the time of the input. Pure.

/// Lets through so many per second, and bursts of two seconds' worth.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate_hz: f64,
    tokens: f64,
    newest_us: Option<i64>,
}

/// Length of a burst, in seconds' worth of the rate.
const BURST_S: f64 = 2.0;

impl Bucket {
    /// A full bucket; a rate of 0 lets everything through.
    #[must_use]
    pub fn new(rate_hz: f64) -> Self {
        Self {
            rate_hz,
            tokens: (rate_hz * BURST_S).max(1.0),
            newest_us: None,
        }
    }

    /// Whether something that came at `time_us` may pass. Time that stands still or goes back fills nothing.
    #[allow(clippy::cast_precision_loss)]
    pub fn take(&mut self, time_us: i64) -> bool {
        if self.rate_hz <= 0.0 {
            return true;
        }
        let newest = *self.newest_us.get_or_insert(time_us);
        let elapsed_s = time_us.saturating_sub(newest).max(0) as f64 / 1e6;
        self.newest_us = Some(newest.max(time_us));
        self.tokens =
            (self.tokens + elapsed_s * self.rate_hz).min((self.rate_hz * BURST_S).max(1.0));
        let passes = self.tokens >= 1.0;
        if passes {
            self.tokens -= 1.0;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(bucket: &mut Bucket, times_us: impl Iterator<Item = i64>) -> usize {
        times_us.filter(|time| bucket.take(*time)).count()
    }

    #[test]
    fn a_sender_within_its_rate_loses_nothing() {
        let mut bucket = Bucket::new(100.0);
        assert_eq!(passed(&mut bucket, (0..5_000).map(|k| k * 10_000)), 5_000);
    }

    #[test]
    fn a_flood_gets_the_rate_and_one_burst() {
        let mut bucket = Bucket::new(100.0);
        // 10 s at 1 kHz: two seconds' worth at once, and the rate from then on.
        let passed = passed(&mut bucket, (0..10_000).map(|k| k * 1_000));
        assert!((1_199..=1_201).contains(&passed), "{passed}");
    }

    #[test]
    fn time_that_goes_back_fills_nothing_and_blocks_nobody() {
        let mut bucket = Bucket::new(1.0);
        let times = [10_000_000, 0, 10_000_000, 0, 11_000_000, 12_000_000];
        let passes = times.map(|time| bucket.take(time));
        assert_eq!(passes, [true, true, false, false, true, true]);
        assert!((0..1_000).all(|_| Bucket::new(0.0).take(5)));
    }
}
