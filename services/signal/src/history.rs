//! The past of each link, kept small: a statistic, a quality and two states for each hop, in minutes, on
//! `history.signal.{zone}.{device}`.
//!
//! From it [`what_if`] says what other thresholds would have decided. The minutes in hand are kept in [`in_hand`] every few
//! seconds: a question about the past looks there too, and a crash loses no more than that.

pub mod in_hand;
pub mod what_if;

use std::collections::{BTreeMap, BTreeSet};

use proto::signal::v1::{LinkState, SignalWindow, WindowHistory};
use uuid::Uuid;

/// Length of a stretch, microseconds.
const STRETCH_US: i64 = 60_000_000;
/// A score that was not measured.
const NONE: u16 = u16::MAX;
/// Stretches that are open at once; of further links nothing is kept.
const MOST_OPEN: usize = 65_536;

#[derive(Debug)]
struct Open {
    stretch: WindowHistory,
    /// Ticks since the last window.
    idle: u32,
}

/// Puts windows together into stretches. Time is that of the windows.
#[derive(Debug)]
pub struct Recorder {
    hop_us: i64,
    open: BTreeMap<String, BTreeMap<String, Open>>,
    links: usize,
    /// Zones whose open stretches are others than when they were last asked for.
    changed: BTreeSet<String>,
}

impl Recorder {
    /// For windows that end every `hop_us`.
    #[must_use]
    pub fn new(hop_us: i64) -> Self {
        Self {
            hop_us: hop_us.max(1),
            open: BTreeMap::new(),
            links: 0,
            changed: BTreeSet::new(),
        }
    }

    /// Takes a window, and gives the stretch before it where that is over.
    pub fn push(&mut self, window: &SignalWindow) -> Option<WindowHistory> {
        if !self.changed.contains(&window.zone) {
            self.changed.insert(window.zone.clone());
        }
        let links = match self.open.get_mut(&window.device) {
            Some(links) => links,
            None => self.open.entry(window.device.clone()).or_default(),
        };
        if let Some(open) = links.get_mut(&window.link) {
            open.idle = 0;
            if append(&mut open.stretch, window) {
                return None;
            }
            let next = begin(window, self.hop_us);
            return Some(std::mem::replace(&mut open.stretch, next));
        }
        if self.links < MOST_OPEN {
            let begun = Open {
                stretch: begin(window, self.hop_us),
                idle: 0,
            };
            self.links += 1;
            self.open
                .entry(window.device.clone())
                .or_default()
                .insert(window.link.clone(), begun);
        }
        None
    }

    /// Gives all open stretches up: at the end, or where nothing came for long.
    pub fn flush(&mut self) -> Vec<WindowHistory> {
        self.links = 0;
        let given_up = std::mem::take(&mut self.open)
            .into_values()
            .flat_map(BTreeMap::into_values)
            .map(|open| open.stretch);
        let given_up: Vec<_> = given_up.collect();
        let zones = given_up.iter().map(|stretch| stretch.zone.clone());
        self.changed.extend(zones);
        given_up
    }

    /// The open stretches of each zone where they have changed since they were last asked for; none where nothing is open any
    /// more.
    pub fn in_hand(&mut self) -> BTreeMap<String, Vec<WindowHistory>> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        let mut zones: BTreeMap<_, _> = changed.map(|zone| (zone, Vec::new())).collect();
        for open in self.open.values().flat_map(BTreeMap::values) {
            if let Some(stretches) = zones.get_mut(&open.stretch.zone) {
                stretches.push(open.stretch.clone());
            }
        }
        zones
    }

    /// The zone's open stretches are to be asked for again.
    pub fn mark(&mut self, zone: String) {
        self.changed.insert(zone);
    }

    /// Goes on with stretches that were in hand before a restart.
    pub fn resume(&mut self, stretches: Vec<WindowHistory>) {
        for stretch in stretches {
            let whole = stretch.scores.len() == 2 * stretch.states.len()
                && stretch.qualities.len() == stretch.states.len();
            if !whole || stretch.states.is_empty() || self.links >= MOST_OPEN {
                continue;
            }
            let links = self.open.entry(stretch.device.clone()).or_default();
            let open = Open { stretch, idle: 0 };
            self.links += usize::from(links.insert(open.stretch.link.clone(), open).is_none());
        }
    }

    /// Some time passed: gives up the open stretches that had no window over `patience` ticks.
    pub fn tick(&mut self, patience: u32) -> Vec<WindowHistory> {
        let mut old = Vec::new();
        for links in self.open.values_mut() {
            let gone = links.extract_if(.., |_, open| {
                open.idle = open.idle.saturating_add(1);
                open.idle > patience
            });
            old.extend(gone.map(|(_, open)| open.stretch));
        }
        self.open.retain(|_, links| !links.is_empty());
        let zones = old
            .iter()
            .map(|stretch: &WindowHistory| stretch.zone.clone());
        self.changed.extend(zones);
        self.links = self.links.saturating_sub(old.len());
        old
    }
}

/// Where a stretch is published.
#[must_use]
pub fn subject(stretch: &WindowHistory) -> String {
    format!("history.signal.{}.{}", stretch.zone, stretch.device)
}

/// The same for the same stretch, however often it is made.
#[must_use]
pub fn id(stretch: &WindowHistory) -> Uuid {
    let run = Uuid::from_slice(&stretch.run_id).unwrap_or_default();
    let name = format!(
        "{}/{}/{}/{}/{}",
        stretch.zone,
        stretch.device,
        stretch.link,
        stretch.first_end_us,
        stretch.states.len()
    );
    Uuid::new_v5(&run, name.as_bytes())
}

fn begin(window: &SignalWindow, hop_us: i64) -> WindowHistory {
    WindowHistory {
        zone: window.zone.clone(),
        device: window.device.clone(),
        link: window.link.clone(),
        source: window.source,
        run_id: window.run_id.clone(),
        first_end_us: window.window_end_us,
        hop_us,
        scores: quantised(window.motion_score).to_le_bytes().to_vec().into(),
        states: vec![states(window)].into(),
        qualities: vec![quality(window)].into(),
        noise: window.noise,
        learnt_threshold: window.learnt_threshold,
    }
}

/// Whether the window goes on in the stretch.
fn append(open: &mut WindowHistory, window: &SignalWindow) -> bool {
    let since = window.window_end_us - open.first_end_us;
    let same_minute =
        window.window_end_us.div_euclid(STRETCH_US) == open.first_end_us.div_euclid(STRETCH_US);
    let place = usize::try_from(since / open.hop_us).unwrap_or(usize::MAX);
    let goes_on = same_minute
        && since > 0
        && since % open.hop_us == 0
        && place >= open.states.len()
        && window.run_id == open.run_id
        && window.source == open.source
        && window.zone == open.zone
        && window.noise == open.noise
        && window.learnt_threshold == open.learnt_threshold;
    if !goes_on {
        return false;
    }
    let (mut all, mut scores, mut qualities) = (
        Vec::from(std::mem::take(&mut open.states)),
        Vec::from(std::mem::take(&mut open.scores)),
        Vec::from(std::mem::take(&mut open.qualities)),
    );
    // Hops without a window have none of them.
    all.resize(place, 0);
    scores.resize(2 * place, u8::MAX);
    qualities.resize(place, 0);
    all.push(states(window));
    scores.extend(quantised(window.motion_score).to_le_bytes());
    qualities.push(quality(window));
    (open.states, open.scores, open.qualities) = (all.into(), scores.into(), qualities.into());
    true
}

/// That of the link in the low four bits, that of the zone in the high ones.
fn states(window: &SignalWindow) -> u8 {
    let bits = |state: i32| u8::try_from(state).unwrap_or_default() & 0x0f;
    bits(window.state) | (bits(window.zone_state) << 4)
}

/// 0 to 255 for 0 to 1.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn quality(window: &SignalWindow) -> u8 {
    (window.quality.clamp(0.0, 1.0) * 255.0).round() as u8
}

/// 0 to 65,534 for 0 to 1.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn quantised(score: Option<f32>) -> u16 {
    match score {
        Some(score) if score.is_finite() => (score.clamp(0.0, 1.0) * 65_534.0).round() as u16,
        _ => NONE,
    }
}

/// One hop of a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hop {
    /// End of the window, microseconds.
    pub end_us: i64,
    /// What was decided then.
    pub state: LinkState,
    /// What was decided of the zone then; unspecified in what was written before it was kept.
    pub zone: LinkState,
    /// The motion statistic, where there was one.
    pub score: Option<f64>,
    /// How much of what a window needs was there, 0 to 1; 1 in what was written before it was kept.
    pub quality: f64,
}

/// The hops of a stretch that had a window, oldest first.
pub fn hops(stretch: &WindowHistory) -> impl Iterator<Item = Hop> + '_ {
    let scores = stretch.scores.chunks_exact(2);
    let entries = stretch.states.iter().zip(scores).zip(0_i64..).enumerate();
    entries.filter_map(|(index, ((states, score), place))| {
        let state = |bits: u8| LinkState::try_from(i32::from(bits)).ok();
        let (link, zone) = (state(states & 0x0f)?, state(states >> 4)?);
        let score = <[u8; 2]>::try_from(score).map(u16::from_le_bytes).ok()?;
        let quality = stretch.qualities.get(index).copied();
        (link != LinkState::Unspecified).then(|| Hop {
            end_us: stretch
                .first_end_us
                .saturating_add(place.saturating_mul(stretch.hop_us)),
            state: link,
            zone,
            score: (score != NONE).then(|| f64::from(score) / 65_534.0),
            quality: quality.map_or(1.0, |quality| f64::from(quality) / 255.0),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOP: i64 = 500_000;

    fn window(end_us: i64, score: Option<f32>) -> SignalWindow {
        SignalWindow {
            zone: "lab".into(),
            device: "node-1".into(),
            link: "a".into(),
            window_end_us: end_us,
            motion_score: score,
            quality: 0.8,
            zone_state: LinkState::Motion.into(),
            state: if score.is_some() {
                LinkState::Still
            } else {
                LinkState::Unknown
            }
            .into(),
            ..SignalWindow::default()
        }
    }

    #[test]
    fn a_minute_is_read_as_it_was_written() {
        let mut recorder = Recorder::new(HOP);
        let mut done = Vec::new();
        // 90 s with a hole of 5 s, and a window without a score.
        for hop in (1..=180).filter(|hop| !(40..50).contains(hop)) {
            let score = (hop != 60).then_some(hop as f32 / 200.0);
            done.extend(recorder.push(&window(hop * HOP, score)));
        }
        done.extend(recorder.flush());
        assert_eq!(done.len(), 2);
        let read: Vec<Hop> = done.iter().flat_map(hops).collect();
        assert_eq!(read.len(), 170);
        for found in &read {
            let hop = found.end_us / HOP;
            assert!(!(40..50).contains(&hop));
            assert_eq!((found.zone, found.quality), (LinkState::Motion, 0.8));
            match found.score {
                Some(score) => assert!((score - hop as f64 / 200.0).abs() < 1e-4, "{found:?}"),
                None => assert_eq!((hop, found.state), (60, LinkState::Unknown)),
            }
        }
        assert!(done.iter().all(|stretch| stretch.states.len() <= 120));
        assert!(recorder.flush().is_empty());
    }

    #[test]
    fn another_run_or_a_step_back_is_another_stretch() {
        let mut recorder = Recorder::new(HOP);
        assert_eq!(recorder.push(&window(10 * HOP, Some(0.1))), None);
        let back = recorder.push(&window(9 * HOP, Some(0.1))).unwrap();
        assert_eq!(back.first_end_us, 10 * HOP);
        let other = SignalWindow {
            run_id: vec![1; 16].into(),
            ..window(10 * HOP, Some(0.1))
        };
        let before = recorder.push(&other).unwrap();
        assert_eq!(before.first_end_us, 9 * HOP);
        assert_ne!(id(&back), id(&before));
    }

    #[test]
    fn what_was_in_hand_goes_on_after_a_restart() {
        let mut one = Recorder::new(HOP);
        (1..=30).for_each(|hop| assert_eq!(one.push(&window(hop * HOP, Some(0.1))), None));
        let kept = one.in_hand();
        assert_eq!(kept["lab"].len(), 1);
        assert!(one.in_hand().is_empty(), "nothing has changed since");
        let mut other = Recorder::new(HOP);
        other.resume(kept["lab"].clone());
        // Three hops came after it was kept and before the crash.
        (34..=40).for_each(|hop| assert_eq!(other.push(&window(hop * HOP, Some(0.1))), None));
        let whole = other.flush();
        assert_eq!(whole.iter().flat_map(hops).count(), 37);
        assert_eq!(other.in_hand()["lab"], []);
    }

    #[test]
    fn what_is_silent_is_given_up() {
        let mut recorder = Recorder::new(HOP);
        recorder.push(&window(HOP, Some(0.1)));
        assert!(recorder.tick(1).is_empty());
        recorder.push(&window(2 * HOP, Some(0.1)));
        assert!(recorder.tick(1).is_empty());
        assert_eq!(recorder.tick(1).len(), 1);
        assert!(recorder.flush().is_empty());
    }
}
