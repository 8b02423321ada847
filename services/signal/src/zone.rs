//! What is known of each zone: motion, still, or unknown, whether anybody is there, since when, and on what evidence.
//!
//! How the links are put together is in [`crate::fusion`] and [`crate::presence`].
//!
//! The latest word of each link counts until it is two windows old: a link that fell silent is unknown, and says so. (Devices
//! whose frames come from different replays have no common time; their words count until they are given up.)

mod motion;

use std::collections::BTreeMap;

use events::DataSource;
use serde::{Deserialize, Serialize};

use uuid::Uuid;

pub use self::motion::{Fused, KeptWord, Part, ZoneMotion};
use crate::baseline::NoDistance;
use crate::breathing::{Absent, Breath};
use crate::config::Settings;
use crate::detector::{LinkState, Reason};
use crate::device::Closed;
use crate::false_alarms::Limit;
use crate::fusion::{self, Word};
use crate::link::LinkKey;
use crate::presence::{Presence, Rules, State, Voice};

/// What one link contributed last.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// Which link.
    pub key: LinkKey,
    /// What it says.
    pub state: LinkState,
    /// The motion statistic, where it was measured.
    pub statistic: Option<f64>,
    /// The threshold that it was held against.
    pub threshold: f64,
    /// Frames of the link in the window, usable or not.
    pub frames_seen: usize,
    /// Frames of the device that were lost in the window.
    pub frames_missed: Option<usize>,
    /// Frames per second.
    pub frame_rate_hz: f64,
    /// How much of what a window needs was there, 0 to 1.
    pub quality: f32,
    /// Beginning of the window, microseconds.
    pub start_us: i64,
    /// Its end.
    pub end_us: i64,
    /// Why.
    pub reason: &'static str,
    /// The calibration that the threshold or the distance from the empty room comes from.
    pub calibration: Option<Uuid>,
    /// The threshold, and what is known of it.
    pub limit: Limit,
    /// What is known of breathing.
    pub breath: Breath,
    /// Distance from the empty room.
    pub distance: Result<f64, NoDistance>,
    /// Where the frames come from, and the run that they belong to: one axis of time.
    pub axis: (DataSource, Option<Uuid>),
}

/// A link that nothing came of any more.
pub const LINK_SILENT: &str = "link_silent";

impl Evidence {
    /// Nothing came any more: what it said counts no longer.
    fn fall_silent(&mut self) {
        self.state = LinkState::Unknown;
        self.statistic = None;
        self.reason = LINK_SILENT;
        self.breath = Breath::NONE;
        if self.distance.is_ok() {
            self.distance = Err(NoDistance::NoFrames);
        }
    }

    /// What it says of motion, where it can.
    fn word(&self) -> Option<Word> {
        (self.state != LinkState::Unknown).then_some(Word {
            statistic: self.statistic?,
            threshold: self.threshold,
            noise: self.limit.noise,
            quality: f64::from(self.quality),
        })
    }

    /// Length of the window, seconds.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn window_s(&self) -> f64 {
        (self.end_us - self.start_us) as f64 * 1e-6
    }

    /// Whether the device's calibration holds something of this link.
    fn calibrated(&self) -> bool {
        !matches!(
            self.distance,
            Err(NoDistance::NotCalibrated | NoDistance::OtherLayout)
        )
    }

    fn voice(&self, device_calibrated: bool) -> Voice {
        Voice {
            state: self.state,
            reason: self.reason,
            breath: self.breath.rate.ok().map(|rate| rate.peak),
            quiet: self.breath.quiet(),
            young: matches!(self.breath.rate, Err(Absent::TooShort)),
            distance: self.distance.ok(),
            disturbed: [Reason::Bursts, Reason::Uncorrelated]
                .iter()
                .any(|reason| reason.code() == self.reason),
            no_distance: self.distance.err().map_or("", NoDistance::code),
            needed: self.calibrated() || !device_calibrated,
        }
    }
}

/// The state of one zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// Motion, still, or unknown.
    pub state: LinkState,
    /// When it entered this state, in the time of the input.
    pub since_us: i64,
    /// Time of the latest input that it rests on.
    pub as_of_us: i64,
    /// Why it is unknown; empty otherwise.
    pub reason: String,
    /// Whether anybody is there.
    pub presence: Presence,
    /// The latest word of each link, by device.
    pub evidence: BTreeMap<String, Vec<Evidence>>,
    /// Where the latest input came from.
    pub source: DataSource,
    /// Words of links that were kept over a restart, each until the next window of its device.
    carried: Vec<KeptWord>,
    /// Motion by axis of time.
    motions: Vec<ZoneMotion>,
    /// Wall time of the latest input, by the ticks; absent until a tick saw it.
    touched_us: Option<i64>,
}

/// What is kept of a zone over a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptZone {
    /// Its name.
    pub zone: String,
    /// `motion`, `still` or `unknown`.
    pub state: String,
    /// When it entered the state.
    pub since_us: i64,
    /// Time of the latest input.
    pub as_of_us: i64,
    /// Where it came from.
    pub source: DataSource,
    /// Whether anybody is there.
    #[serde(default)]
    pub presence: Presence,
    /// What its links said last.
    #[serde(default)]
    pub words: Vec<KeptWord>,
    /// Motion by axis of time.
    #[serde(default)]
    pub motions: Vec<ZoneMotion>,
}

impl Zone {
    fn new(source: DataSource, time_us: i64) -> Self {
        Self {
            state: LinkState::Unknown,
            since_us: time_us,
            as_of_us: time_us,
            reason: "no_window".to_owned(),
            presence: Presence::new(time_us),
            evidence: BTreeMap::new(),
            source,
            carried: Vec::new(),
            motions: Vec::new(),
            touched_us: None,
        }
    }

    /// The chance of motion by all links together ([`crate::fusion`]), 0 to 1; absent while unknown.
    #[must_use]
    pub fn score(&self) -> Option<f64> {
        if self.state == LinkState::Unknown {
            return None;
        }
        self.fused().map(|(chance, _)| chance)
    }

    fn fused(&self) -> Option<(f64, usize)> {
        fusion::fused(self.words(None))
    }

    /// What the links say of motion; those of one axis of time where it is given.
    fn words(
        &self,
        axis: Option<(DataSource, Option<Uuid>)>,
    ) -> impl Iterator<Item = Word> + Clone + '_ {
        let wanted = move |of| axis.is_none_or(|axis| axis == of);
        let now = self.evidence.values().flatten();
        let now = now.filter(move |link| wanted(link.axis));
        let carried = self.carried.iter().filter(move |word| wanted(word.axis));
        now.filter_map(Evidence::word)
            .chain(carried.map(|word| word.word))
    }

    /// Motion where the links together say so; unknown where none can say; still otherwise.
    fn decide(&self) -> (LinkState, String) {
        let moving = self.state == LinkState::Motion;
        match fusion::decide(moving, self.words(None)) {
            Some((true, _)) => (LinkState::Motion, String::new()),
            Some((false, _)) => (LinkState::Still, String::new()),
            None => {
                let all = self.evidence.values().flatten();
                let most = all.max_by_key(|evidence| evidence.frames_seen);
                let reason = most.map_or("no_window", |evidence| evidence.reason);
                (LinkState::Unknown, reason.to_owned())
            }
        }
    }

    /// The breathing rate of the link that shows it most clearly, breaths per minute.
    #[must_use]
    pub fn breaths_per_minute(&self) -> Option<f64> {
        let rates = self.evidence.values().flatten();
        let rates = rates.filter_map(|evidence| evidence.breath.rate.ok());
        let clearest = rates.max_by(|a, b| a.snr_db.total_cmp(&b.snr_db));
        clearest.map(|rate| rate.bpm)
    }

    /// Concludes from the evidence. Gives whether anything changed.
    fn conclude(&mut self, rules: &Rules) -> bool {
        let (state, reason) = self.decide();
        let changed = self.enter(state, reason, self.as_of_us);
        let voices = self.evidence.values().flat_map(|links| {
            let calibrated = links.iter().any(Evidence::calibrated);
            links.iter().map(move |link| link.voice(calibrated))
        });
        // What a mask covers has no voice.
        let voices = voices.filter(|voice| voice.reason != Reason::Masked.code());
        let statistics = self.evidence.values().flatten();
        let strongest = statistics
            .filter_map(|evidence| evidence.statistic)
            .max_by(f64::total_cmp);
        let motion = strongest.filter(|_| self.state == LinkState::Motion);
        self.presence.step(rules, self.as_of_us, motion, voices) | changed
    }

    fn enter(&mut self, state: LinkState, reason: String, time_us: i64) -> bool {
        self.reason = reason;
        if self.state == state {
            return false;
        }
        self.state = state;
        self.since_us = time_us;
        true
    }
}

/// All zones that frames were seen in.
#[derive(Debug, Default)]
pub struct Zones {
    zones: BTreeMap<String, Zone>,
    rules: Rules,
}

impl Zones {
    /// None yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            zones: BTreeMap::new(),
            rules,
        }
    }

    /// The zones by name.
    #[must_use]
    pub fn all(&self) -> &BTreeMap<String, Zone> {
        &self.zones
    }

    /// Presence in a zone.
    #[must_use]
    pub fn presence(&self, zone: &str) -> State {
        let known = self.zones.get(zone);
        known.map_or(State::Unknown, |known| known.presence.state)
    }

    /// A frame came: the zone is known from now on. Gives true where it was not before.
    pub fn touch(&mut self, zone: &str, source: DataSource, time_us: i64) -> bool {
        match self.zones.get_mut(zone) {
            Some(known) => {
                known.touched_us = None;
                known.source = source;
                false
            }
            None => {
                self.zones
                    .insert(zone.to_owned(), Zone::new(source, time_us));
                true
            }
        }
    }

    /// Windows of one device that end together were closed. Gives whether the zone's state, or presence in it, changed, and
    /// says in each of them what is known of presence now, and in one of them what is to be announced of the zone.
    pub fn update(
        &mut self,
        settings: &Settings,
        zone: &str,
        device: &str,
        axis: (DataSource, Option<Uuid>),
        windows: &mut [Closed],
    ) -> bool {
        let (Some(known), Some(first)) = (self.zones.get_mut(zone), windows.first()) else {
            return false;
        };
        let (end_us, old_us) = (first.end_us, 2 * (first.end_us - first.start_us));
        let evidence = windows.iter().map(|window| evidence_of(window, axis));
        let mut evidence: Vec<Evidence> = evidence.collect();
        // A calibrated link of the device that is no longer heard is missed.
        let before = known.evidence.remove(device).unwrap_or_default();
        for mut missed in before {
            let gone = evidence.iter().all(|link| link.key != missed.key);
            let wanted = missed.calibration.is_some()
                && evidence
                    .iter()
                    .any(|link| link.calibration == missed.calibration);
            if gone && wanted && missed.calibrated() {
                missed.fall_silent();
                evidence.push(missed);
            }
        }
        known.evidence.insert(device.to_owned(), evidence);
        known.carried.retain(|word| {
            word.device != device && (word.axis != axis || end_us - word.end_us <= old_us)
        });
        for link in known.evidence.values_mut().flatten() {
            if link.axis == axis && end_us - link.end_us > old_us {
                link.fall_silent();
            }
        }
        known.as_of_us = end_us;
        let changed = known.conclude(&self.rules);
        known.announce(settings, device, axis, windows);
        for window in windows {
            window.presence.clone_from(&known.presence);
            window.zone_state = known.state;
        }
        changed
    }

    /// Nothing came of a device for so long that it is given up. Gives whether the zone's state changed.
    pub fn silence(&mut self, zone: &str, device: &str) -> bool {
        let Some(known) = self.zones.get_mut(zone) else {
            return false;
        };
        known.carried.retain(|word| word.device != device);
        let Some(links) = known.evidence.get_mut(device) else {
            return false;
        };
        if links.iter().all(|link| link.reason == LINK_SILENT) {
            return false;
        }
        links.iter_mut().for_each(Evidence::fall_silent);
        known.conclude(&self.rules)
    }

    /// A device's input is over, or begins on another time axis: its evidence no longer counts for what comes.
    pub fn forget_device(&mut self, zone: &str, device: &str) {
        if let Some(known) = self.zones.get_mut(zone) {
            known.evidence.remove(device);
            known.carried.retain(|word| word.device != device);
        }
    }

    /// Wall time passed: zones without input for `stale_us` become unknown. Gives the names of those that changed.
    pub fn tick(&mut self, now_us: i64, stale_us: i64) -> Vec<String> {
        let mut changed = Vec::new();
        for (name, zone) in &mut self.zones {
            let touched = *zone.touched_us.get_or_insert(now_us);
            if now_us.saturating_sub(touched) >= stale_us {
                zone.evidence.clear();
                zone.carried.clear();
                let forgotten = zone.presence.silence("no_input");
                if zone.enter(LinkState::Unknown, "no_input".to_owned(), zone.as_of_us) | forgotten
                {
                    changed.push(name.clone());
                }
            }
        }
        changed
    }

    /// What is to be kept.
    #[must_use]
    pub fn kept(&self) -> Vec<KeptZone> {
        let keep = |(name, zone): (&String, &Zone)| KeptZone {
            zone: name.clone(),
            state: zone.state.as_str().to_owned(),
            since_us: zone.since_us,
            as_of_us: zone.as_of_us,
            source: zone.source,
            presence: zone.presence.clone(),
            words: zone.kept_words(),
            motions: zone.motions.clone(),
        };
        self.zones.iter().map(keep).collect()
    }

    /// Takes up what was kept. The rest of the evidence comes with the next windows.
    pub fn resume(&mut self, kept: &[KeptZone]) {
        for kept in kept {
            let zone = self
                .zones
                .entry(kept.zone.clone())
                .or_insert_with(|| Zone::new(kept.source, kept.as_of_us));
            zone.state = match kept.state.as_str() {
                "motion" => LinkState::Motion,
                "still" => LinkState::Still,
                _ => LinkState::Unknown,
            };
            if zone.state != LinkState::Unknown {
                zone.reason.clear();
            }
            zone.since_us = kept.since_us;
            zone.as_of_us = kept.as_of_us;
            zone.presence.clone_from(&kept.presence);
            zone.motions.clone_from(&kept.motions);
            // Frames that were read again made windows of parts: what was said before the restart counts.
            zone.evidence.clear();
            zone.carried.clone_from(&kept.words);
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn evidence_of(window: &Closed, axis: (DataSource, Option<Uuid>)) -> Evidence {
    let evaluation = &window.evaluation;
    Evidence {
        key: window.key.clone(),
        state: evaluation.verdict.state,
        statistic: evaluation.verdict.statistic,
        threshold: evaluation.verdict.threshold,
        frames_seen: evaluation.counts.received(),
        frames_missed: evaluation.counts.missed,
        frame_rate_hz: evaluation.counts.received() as f64 * 1e6
            / evaluation.counts.window_us.max(1) as f64,
        quality: evaluation.quality,
        start_us: window.start_us,
        end_us: window.end_us,
        reason: evaluation
            .verdict
            .reason
            .map_or("", crate::detector::Reason::code),
        calibration: window.calibration,
        limit: window.limit,
        breath: evaluation.breath,
        distance: evaluation.distance,
        axis,
    }
}
