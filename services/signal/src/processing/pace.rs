//! How large chunks are, and how fast a run is.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Frames of the first chunk.
pub const FIRST: usize = 256;
/// Frames of the smallest chunk.
pub const FEWEST: usize = 16;
/// Frames of the largest chunk.
pub const MOST: usize = 65_536;
/// A chunk is at most so many times the one before, and at least one in so many.
const STEP: f64 = 2.0;
/// Chunks that the rate is taken over.
const LATEST: usize = 8;

/// What a chunk is to keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Seconds that it should take.
    pub seconds: f64,
    /// Bytes of samples that it may have in memory.
    pub bytes: u64,
}

/// Frames of the next chunk, after one of `frames` frames and `bytes` bytes that took `seconds`.
#[must_use]
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
pub fn next_chunk(target: Target, frames: usize, bytes: u64, seconds: f64) -> usize {
    if frames == 0 {
        return FIRST;
    }
    let count = frames as f64;
    let by_time = if seconds > 0.0 {
        count * target.seconds / seconds
    } else {
        count * STEP
    };
    let stepped = by_time.clamp(count / STEP, count * STEP);
    // Of memory nothing is to be tried out.
    let by_memory = if bytes > 0 {
        target.bytes as f64 * count / bytes as f64
    } else {
        stepped
    };
    (stepped.min(by_memory) as usize).clamp(FEWEST, MOST)
}

/// Frames and seconds of the latest chunks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    latest: VecDeque<(u64, f64)>,
}

impl Rate {
    /// Notes a chunk.
    pub fn note(&mut self, frames: u64, seconds: f64) {
        self.latest.push_back((frames, seconds));
        while self.latest.len() > LATEST {
            self.latest.pop_front();
        }
    }

    /// Frames per second over the latest chunks; absent before the first.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn frames_per_second(&self) -> Option<f64> {
        let frames: u64 = self.latest.iter().map(|(frames, _)| frames).sum();
        let seconds: f64 = self.latest.iter().map(|(_, seconds)| seconds).sum();
        (frames > 0 && seconds > 0.0).then(|| frames as f64 / seconds)
    }

    /// Seconds that `left` frames will take at that rate.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn eta_seconds(&self, left: u64) -> Option<f64> {
        Some(left as f64 / self.frames_per_second()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TARGET: Target = Target {
        seconds: 0.5,
        bytes: 1 << 20,
    };

    #[test]
    fn chunks_grow_towards_the_time_and_shrink_from_it() {
        assert_eq!(next_chunk(TARGET, 0, 0, 0.0), FIRST);
        assert_eq!(next_chunk(TARGET, 256, 1000, 0.001), 512);
        assert_eq!(next_chunk(TARGET, 1000, 1000, 0.4), 1250);
        assert_eq!(next_chunk(TARGET, 1000, 1000, 10.0), 500);
        // 100 frames took the whole memory: 2 s of time do not matter.
        assert_eq!(next_chunk(TARGET, 100, 2 << 20, 0.001), 50);
        assert_eq!(next_chunk(TARGET, 16, 16 << 20, 9.0), FEWEST);
    }

    #[test]
    fn the_rate_is_of_the_latest_chunks() {
        let mut rate = Rate::default();
        assert_eq!(
            (rate.frames_per_second(), rate.eta_seconds(5)),
            (None, None)
        );
        rate.note(1_000_000, 1.0);
        for _ in 0..8 {
            rate.note(100, 1.0);
        }
        assert_eq!(rate.frames_per_second(), Some(100.0));
        assert_eq!(rate.eta_seconds(50), Some(0.5));
    }

    proptest! {
        #[test]
        fn chunks_stay_within_bounds(frames in 0_usize..1 << 20, bytes in any::<u64>(), seconds in any::<f64>()) {
            let next = next_chunk(TARGET, frames, bytes, seconds);
            prop_assert!((FEWEST..=MOST).contains(&next));
        }

        /// With a constant cost per frame the size settles where a chunk takes the target.
        #[test]
        fn settles(cost_us in 10_u32..10_000) {
            let cost = f64::from(cost_us) / 1e6;
            let mut frames = FIRST;
            for _ in 0..16 {
                frames = next_chunk(Target { bytes: u64::MAX, ..TARGET }, frames, 1, frames as f64 * cost);
            }
            let ideal = (0.5 / cost).clamp(FEWEST as f64, MOST as f64);
            prop_assert!((frames as f64 - ideal).abs() <= 0.1 * ideal + 1.0, "{} {}", frames, ideal);
        }
    }
}
