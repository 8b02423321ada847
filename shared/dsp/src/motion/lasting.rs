//! Small movement that lasts: a statistic over several windows.

use std::collections::VecDeque;

use super::{Motion, is_fast};

/// Windows that end within so many microseconds count together.
pub const LASTING_US: i64 = 1_500_000;
/// The most windows that are asked for: of a shorter hop fewer microseconds count.
const MOST: usize = 64;

/// The windows of one link that went before, as far as they count for the next.
///
/// The statistic of an empty room leaves its noise for a window now and then; that of an arm that moves all the time does not fall back
/// to it. So the lowest statistic `m` of all windows that end within the last [`LASTING_US`], the newest among them, counts for two
/// windows that say so without sharing a frame, by noisy-or: `1 - (1 - m)^2`, where none of them is missing or could not be judged. With
/// four windows of 0.106 each the fourth has 0.2. Neither a jolt nor movement that is over is drawn out by it, since the lowest counts
/// and the newest is one of them.
///
/// Below [`FAST_HZ`](super::FAST_HZ) there is none: on rooms measured with 10 frames a second it brings false alarms (docs/adr/018).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lasting {
    /// Oldest first; without the newest window of the next call.
    recent: VecDeque<f64>,
    /// End of the last of them, microseconds.
    end_us: i64,
}

impl Lasting {
    /// Windows that go before, of the hops before `end_us`, oldest first.
    #[must_use]
    pub fn of(recent: impl IntoIterator<Item = f64>, end_us: i64) -> Self {
        Self {
            recent: recent.into_iter().collect(),
            end_us,
        }
    }

    /// The statistics that go before, oldest first.
    pub fn recent(&self) -> impl ExactSizeIterator<Item = f64> + '_ {
        self.recent.iter().copied()
    }

    /// End of the last window that goes before, microseconds.
    #[must_use]
    pub fn end_us(&self) -> i64 {
        self.end_us
    }

    /// The statistic that the window which ends at `end_us` is judged by, where a window ends every `hop_us`: its own, or what lasts if
    /// that is more.
    pub fn judge(&mut self, motion: &Motion, end_us: i64, hop_us: i64) -> f64 {
        if !is_fast(motion.period_us) {
            self.recent.clear();
            return motion.statistic;
        }
        if self.end_us.checked_add(hop_us) != Some(end_us) {
            self.recent.clear();
        }
        let before = (LASTING_US / hop_us.max(1)).max(1);
        let before = usize::try_from(before).unwrap_or(MOST).min(MOST);
        while self.recent.len() > before {
            self.recent.pop_front();
        }
        let whole = self.recent.len() == before;
        let lowest = self.recent.iter().copied().fold(motion.statistic, f64::min);
        self.recent.push_back(motion.statistic);
        self.end_us = end_us;
        if whole {
            self.recent.pop_front();
            motion.statistic.max(twice(lowest))
        } else {
            motion.statistic
        }
    }
}

/// What two pieces of evidence of that much are together. What is none stays none.
fn twice(evidence: f64) -> f64 {
    if evidence > 0.0 {
        evidence * (2.0 - evidence.min(1.0))
    } else {
        evidence
    }
}
