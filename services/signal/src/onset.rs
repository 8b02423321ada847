//! When motion began, and when it is to be announced: once at its beginning, then at most every refresh interval.

use serde::{Deserialize, Serialize};

use crate::config::{Settings, micros};

/// When motion began, and when it was last announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Onset {
    /// End of the window that showed it first, microseconds.
    pub began_us: i64,
    /// End of the window that was last announced.
    pub announced_us: i64,
    /// End of the latest window in motion.
    pub latest_us: i64,
}

/// What is to be said about motion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MotionNews {
    /// It began.
    Onset,
    /// It goes on.
    Refresh,
}

impl MotionNews {
    /// snake_case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Onset => "onset",
            Self::Refresh => "refresh",
        }
    }
}

impl Onset {
    /// Begins with the window that ends at `end_us`, which is announced.
    #[must_use]
    pub fn at(end_us: i64) -> Self {
        Self {
            began_us: end_us,
            announced_us: end_us,
            latest_us: end_us,
        }
    }

    /// Whether motion in a window that ends at `end_us` is the same motion: it paused for no more than `rearm_us` and a hop.
    #[must_use]
    pub fn goes_on(&self, rearm_us: i64, hop_us: i64, end_us: i64) -> bool {
        (0..=rearm_us.saturating_add(hop_us)).contains(&end_us.saturating_sub(self.latest_us))
    }

    /// Motion in the window that ends at `end_us`: what of it is to be announced.
    pub fn note(onset: &mut Option<Self>, settings: &Settings, end_us: i64) -> Option<MotionNews> {
        let (rearm, hop) = (micros(settings.rearm_s), settings.hop_us());
        match onset.as_mut().filter(|one| one.goes_on(rearm, hop, end_us)) {
            Some(onset) => {
                onset.latest_us = end_us;
                if end_us - onset.announced_us < micros(settings.refresh_s) {
                    return None;
                }
                onset.announced_us = end_us;
                Some(MotionNews::Refresh)
            }
            None => {
                *onset = Some(Self::at(end_us));
                Some(MotionNews::Onset)
            }
        }
    }
}
