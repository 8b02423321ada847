//! The activity in a zone over time: links averaged, changes debounced. Pure: time is the windows' own.
//!
//! The state follows from the windows in their order alone, and needs only those since the open candidate began (or, while
//! nothing is open, the latest of each link): [`Tracker::needed_from`] says where a reader has to begin after a crash.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

/// The activity while nothing is known.
pub const UNKNOWN: &str = "unknown";
/// A clock that jumps back this far was set, and is followed.
const CLOCK_SET_US: i64 = 600_000_000;
/// Windows remembered for [`Tracker::needed_from`].
const MAX_RECENT: usize = 8192;
/// Least weight of a link, so that a zone of bad links still has an average.
const LEAST_WEIGHT: f32 = 0.01;

/// Times in microseconds of the input.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// For which another activity must last.
    pub debounce_us: i64,
    /// For which nothing usable may come before the activity is unknown.
    pub unknown_after_us: i64,
    /// After which a link's latest window no longer counts.
    pub link_stale_us: i64,
}

/// One window of one link, as the model sees it.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Id of the window.
    pub id: Uuid,
    /// Where it lies in the stream.
    pub sequence: u64,
    /// The link.
    pub device: &'a str,
    /// End of the window.
    pub end_us: i64,
    /// Quality, 0 to 1: its weight.
    pub quality: f32,
    /// Probability of each class; none where nothing could be inferred.
    pub belief: Option<&'a [f32]>,
}

/// Another activity, that lasted.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When it was certain: the newest window's end.
    pub at_us: i64,
    /// What it was.
    pub previous: String,
    /// What it is.
    pub activity: String,
    /// Probability of the class, averaged over the links; 0 where the new activity is unknown, since nothing speaks for it.
    pub confidence: f32,
    /// How long the previous one lasted.
    pub previous_us: i64,
}

/// What was concluded and stored before a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct Concluded {
    /// The activity.
    pub activity: String,
    /// Since when.
    pub since_us: i64,
    /// Window that led to it.
    pub cause: Option<Uuid>,
}

#[derive(Clone, Debug)]
struct Link {
    end_us: i64,
    quality: f32,
    belief: Option<Vec<f32>>,
}

#[derive(Clone, Debug)]
struct Candidate {
    activity: Arc<str>,
    since_us: i64,
}

/// The activity of one zone in one session.
#[derive(Clone, Debug)]
pub struct Tracker {
    settings: Settings,
    classes: Arc<[Arc<str>]>,
    links: BTreeMap<String, Link>,
    activity: String,
    since_us: Option<i64>,
    /// Something was concluded in this session.
    concluded: bool,
    candidate: Option<Candidate>,
    now_us: Option<i64>,
    /// Sequence of each window, and the time then.
    recent: VecDeque<(u64, i64)>,
    /// The stored conclusion that windows read again have not reached yet.
    behind: Option<Concluded>,
}

impl Tracker {
    /// A tracker for a model with these classes. `stored` is the session's last stored conclusion: windows up to the one that
    /// led to it may be read again, and change nothing.
    #[must_use]
    pub fn new(settings: Settings, classes: Arc<[Arc<str>]>, stored: Option<Concluded>) -> Self {
        Self {
            settings,
            classes,
            links: BTreeMap::new(),
            activity: stored
                .as_ref()
                .map_or_else(|| UNKNOWN.to_owned(), |stored| stored.activity.clone()),
            since_us: stored.as_ref().map(|stored| stored.since_us),
            concluded: stored.is_some(),
            candidate: None,
            now_us: None,
            recent: VecDeque::new(),
            behind: stored,
        }
    }

    /// The activity now.
    #[must_use]
    pub fn activity(&self) -> &str {
        &self.activity
    }

    /// End of the newest window.
    #[must_use]
    pub fn now_us(&self) -> Option<i64> {
        self.now_us
    }

    /// Takes a window; a change where the debounce time has passed with it.
    pub fn observe(&mut self, observation: &Observation) -> Option<Change> {
        let now = self.advance(observation.end_us);
        self.recent.push_back((observation.sequence, now));
        if self.recent.len() > MAX_RECENT {
            self.recent.pop_front();
        }
        self.take(observation, now);
        let since = *self.since_us.get_or_insert(now);
        if self.is_behind(observation, now) {
            return None;
        }
        let (activity, confidence) = self.decide();
        if *activity == *self.activity {
            self.candidate = None;
            return None;
        }
        let lasts_since = match &self.candidate {
            Some(candidate) if candidate.activity == activity => candidate.since_us,
            _ => {
                self.candidate = Some(Candidate {
                    activity: Arc::clone(&activity),
                    since_us: now,
                });
                now
            }
        };
        let needed = if &*activity == UNKNOWN {
            self.settings.unknown_after_us
        } else {
            self.settings.debounce_us
        };
        if now.saturating_sub(lasts_since) < needed {
            return None;
        }
        self.candidate = None;
        self.concluded = true;
        self.since_us = Some(now);
        let previous = std::mem::replace(&mut self.activity, activity.to_string());
        Some(Change {
            at_us: now,
            previous,
            activity: activity.to_string(),
            confidence,
            previous_us: now.saturating_sub(since),
        })
    }

    /// First sequence that a reader must begin with to come to this state again; none before the first window, and after
    /// [`forget_sequences`](Self::forget_sequences).
    pub fn needed_from(&mut self) -> Option<u64> {
        // Until something is stored, how long it was unknown follows from the first window alone.
        if self.concluded {
            let from = self
                .candidate
                .as_ref()
                .map(|candidate| candidate.since_us)
                .or(self.now_us)?;
            let horizon = from.saturating_sub(self.settings.link_stale_us);
            while self.recent.len() > 1
                && self.recent.front().is_some_and(|(_, time)| *time < horizon)
            {
                self.recent.pop_front();
            }
        }
        self.recent.front().map(|(sequence, _)| *sequence)
    }

    /// Sequence of the newest window.
    #[must_use]
    pub fn newest_sequence(&self) -> Option<u64> {
        self.recent.back().map(|(sequence, _)| *sequence)
    }

    /// The stream was made anew: what was read from the old one cannot be read again.
    pub fn forget_sequences(&mut self) {
        self.recent.clear();
    }

    fn advance(&mut self, end_us: i64) -> i64 {
        let now = match self.now_us {
            Some(now) if end_us < now.saturating_sub(CLOCK_SET_US) => {
                self.links.clear();
                self.candidate = None;
                self.recent.clear();
                self.since_us = None;
                end_us
            }
            Some(now) => now.max(end_us),
            None => end_us,
        };
        self.now_us = Some(now);
        now
    }

    fn take(&mut self, observation: &Observation, now: i64) {
        let newest = self.links.get(observation.device).map(|link| link.end_us);
        if newest.is_none_or(|newest| newest <= observation.end_us) {
            let link = Link {
                end_us: observation.end_us,
                quality: observation.quality,
                belief: observation.belief.map(<[f32]>::to_vec),
            };
            self.links.insert(observation.device.to_owned(), link);
        }
        let stale = now.saturating_sub(self.settings.link_stale_us);
        self.links.retain(|_, link| link.end_us >= stale);
    }

    /// Whether this window came before the stored conclusion, or is the one that led to it.
    fn is_behind(&mut self, observation: &Observation, now: i64) -> bool {
        let Some(stored) = &self.behind else {
            return false;
        };
        let cause = stored.cause == Some(observation.id);
        let clock_set = now < stored.since_us.saturating_sub(CLOCK_SET_US);
        if cause || now > stored.since_us || clock_set {
            if clock_set {
                self.since_us = Some(now);
            }
            self.behind = None;
        }
        cause || self.behind.is_some()
    }

    /// The likeliest class over the links, and its probability.
    fn decide(&self) -> (Arc<str>, f32) {
        let mut sums = vec![0.0_f32; self.classes.len()];
        let mut weights = 0.0;
        for link in self.links.values() {
            let Some(belief) = &link.belief else { continue };
            let quality = if link.quality.is_finite() {
                link.quality
            } else {
                0.0
            };
            let weight = quality.clamp(LEAST_WEIGHT, 1.0);
            for (sum, probability) in sums.iter_mut().zip(belief) {
                *sum += weight * probability;
            }
            weights += weight;
        }
        let best = self
            .classes
            .iter()
            .zip(sums)
            .max_by(|(_, a), (_, b)| a.total_cmp(b));
        match best {
            Some((class, sum)) if weights > 0.0 => {
                (Arc::clone(class), (sum / weights).clamp(0.0, 1.0))
            }
            _ => (Arc::from(UNKNOWN), 0.0),
        }
    }
}

#[cfg(test)]
mod tests;
