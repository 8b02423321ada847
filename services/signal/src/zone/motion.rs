//! Motion that a zone shows although no link of it does by itself: when it is to be announced, and what of a zone's links is
//! kept over a restart for that.
//!
//! The links of one axis of time (all live ones, or those of one replay) are put together by [`fusion`], apart from those of
//! others: an event says where its data came from. Where a link is in motion by itself, its device announces that; what then
//! goes on by fusion alone is the same motion. And where fusion announced it first, a link that follows announces no onset of
//! its own until that motion is over.

use events::DataSource;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Evidence, Zone};
use crate::config::{Settings, micros};
use crate::detector::LinkState;
use crate::device::Closed;
use crate::fusion::{self, Word};
use crate::link::LinkKey;
use crate::onset::{MotionNews, Onset};

/// Axes of time whose motion is followed at once; the one that began first makes room.
const MOST_AXES: usize = 16;

/// Motion of the links of one axis of time together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ZoneMotion {
    axis: (DataSource, Option<Uuid>),
    onset: Onset,
    /// It was announced of the zone, not of one of its links.
    of_zone: bool,
    /// The links together were in motion at the latest window.
    moving: bool,
}

/// Motion by fusion alone, to be announced.
#[derive(Clone, Debug, PartialEq)]
pub struct Fused {
    /// What of it.
    pub news: MotionNews,
    /// The chance of motion by all links together, 0 to 1.
    pub chance: f64,
    /// The links that it comes from, the one with the largest part first.
    pub parts: Vec<Part>,
}

/// What a link gave to motion by fusion.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its device.
    pub device: String,
    /// Which of the device's links.
    pub link: LinkKey,
    /// What it says.
    pub word: Word,
    /// End of the window that says so, microseconds.
    pub end_us: i64,
    /// The calibration that the threshold comes from.
    pub calibration: Option<Uuid>,
}

/// What a link said last, kept over a restart until its next window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptWord {
    pub(super) device: String,
    link: LinkKey,
    pub(super) word: Word,
    moves: bool,
    pub(super) start_us: i64,
    pub(super) end_us: i64,
    calibration: Option<Uuid>,
    pub(super) axis: (DataSource, Option<Uuid>),
}

impl KeptWord {
    fn of(device: &str, evidence: &Evidence) -> Option<Self> {
        Some(Self {
            device: device.to_owned(),
            link: evidence.key.clone(),
            word: evidence.word()?,
            moves: evidence.state == LinkState::Motion,
            start_us: evidence.start_us,
            end_us: evidence.end_us,
            // Motion takes the threshold of it, not the distance.
            calibration: evidence
                .calibration
                .filter(|_| evidence.limit.learnt.is_some()),
            axis: evidence.axis,
        })
    }

    fn part(&self) -> Part {
        Part {
            device: self.device.clone(),
            link: self.link.clone(),
            word: self.word,
            end_us: self.end_us,
            calibration: self.calibration,
        }
    }
}

impl Zone {
    /// What the links say, to be kept. One device's windows come together: nothing of it is needed.
    pub(super) fn kept_words(&self) -> Vec<KeptWord> {
        let said = self.evidence.iter().flat_map(|(device, links)| {
            let of = |link| KeptWord::of(device, link);
            links.iter().filter_map(of)
        });
        let words: Vec<_> = said.chain(self.carried.iter().cloned()).collect();
        let first = words.first().map(|word| word.device.clone());
        if words
            .iter()
            .all(|word| Some(&word.device) == first.as_ref())
        {
            return Vec::new();
        }
        words
    }

    /// Windows of one device, which end together, are in the evidence: finds whether there is motion to be announced of the
    /// zone, and takes back the onset of a link whose motion was announced of the zone.
    pub(super) fn announce(
        &mut self,
        settings: &Settings,
        device: &str,
        axis: (DataSource, Option<Uuid>),
        windows: &mut [Closed],
    ) {
        let Some(end_us) = windows.first().map(|window| window.end_us) else {
            return;
        };
        let (rearm, hop) = (micros(settings.rearm_s), settings.hop_us());
        let place = self.motions.iter().position(|motion| motion.axis == axis);
        // The windows of one device may be a little behind those of another.
        let near = |onset: &Onset| {
            onset.goes_on(rearm, hop, end_us)
                || onset.latest_us.saturating_sub(end_us) <= rearm + hop && end_us < onset.latest_us
        };
        let before = place
            .and_then(|place| self.motions.get(place).cloned())
            .filter(|motion| near(&motion.onset));
        let moving = before.as_ref().is_some_and(|motion| motion.moving);
        let together = fusion::decide(moving, self.words(Some(axis)));
        let moves = together.is_some_and(|(moves, _)| moves);
        let by_itself = self.link_moves(axis);
        if !moves && !by_itself {
            if let Some(motion) = place.and_then(|place| self.motions.get_mut(place)) {
                motion.moving = false;
            }
            return;
        }
        let mut onset = before.as_ref().map(|motion| motion.onset);
        let mut of_zone = before.as_ref().is_some_and(|motion| motion.of_zone);
        if by_itself {
            let latest = onset.map_or(end_us, |onset| onset.latest_us.max(end_us));
            let known = onset.get_or_insert(Onset::at(end_us));
            known.latest_us = latest;
            for window in windows.iter_mut() {
                if of_zone && window.news == Some(MotionNews::Onset) {
                    window.news = None;
                }
                if window.news.is_some() {
                    known.announced_us = end_us;
                }
            }
        } else {
            // Said with a window that was judged: its event is the cause.
            let said = windows.iter().enumerate().filter_map(|(place, window)| {
                let statistic = window.evaluation.verdict.statistic?;
                Some((place, statistic / window.evaluation.verdict.threshold))
            });
            let said = said.max_by(|a, b| a.1.total_cmp(&b.1));
            let (Some((said, _)), Some((_, chance))) = (said, together) else {
                return;
            };
            let late = onset.map_or(end_us, |onset| onset.latest_us.max(end_us));
            let news = Onset::note(&mut onset, settings, late);
            of_zone |= news == Some(MotionNews::Onset);
            if let (Some(news), Some(window)) = (news, windows.get_mut(said)) {
                let parts = self.parts(device, axis);
                window.fused = Some(Box::new(Fused {
                    news,
                    chance,
                    parts,
                }));
            }
        }
        let Some(onset) = onset else { return };
        let motion = ZoneMotion {
            axis,
            onset,
            of_zone,
            moving: moves,
        };
        match place.and_then(|place| self.motions.get_mut(place)) {
            Some(known) => *known = motion,
            None => {
                if self.motions.len() >= MOST_AXES {
                    self.motions.remove(0);
                }
                self.motions.push(motion);
            }
        }
    }

    /// Whether any link of the axis is in motion by itself.
    fn link_moves(&self, axis: (DataSource, Option<Uuid>)) -> bool {
        let now = self.evidence.values().flatten();
        now.filter(|link| link.axis == axis)
            .any(|link| link.state == LinkState::Motion)
            || self
                .carried
                .iter()
                .any(|word| word.axis == axis && word.moves)
    }

    /// The links of the axis that give anything to the zone's motion, the largest part first; of equal ones those of `device`.
    fn parts(&self, device: &str, axis: (DataSource, Option<Uuid>)) -> Vec<Part> {
        let words = self.evidence.iter().flat_map(|(device, links)| {
            let of = |link| KeptWord::of(device, link);
            links.iter().filter_map(of)
        });
        let words = words.chain(self.carried.iter().cloned());
        let parts = words.filter(|word| word.axis == axis && word.word.chance() > 0.0);
        let mut parts: Vec<Part> = parts.map(|word| word.part()).collect();
        parts.sort_by(|a, b| {
            let chances = b.word.chance().total_cmp(&a.word.chance());
            let own = |part: &Part| part.device != device;
            chances
                .then_with(|| own(a).cmp(&own(b)))
                .then_with(|| (&a.device, &a.link).cmp(&(&b.device, &b.link)))
        });
        parts
    }
}
