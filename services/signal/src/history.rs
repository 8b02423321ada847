//! The past of each link, kept small: one number and one state for each hop, in minutes, on `history.signal.{zone}.{device}`.
//!
//! From it [`what_if`] says what other thresholds would have decided. A crash loses the minute in hand.

pub mod what_if;

use std::collections::BTreeMap;

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
}

impl Recorder {
    /// For windows that end every `hop_us`.
    #[must_use]
    pub fn new(hop_us: i64) -> Self {
        Self {
            hop_us: hop_us.max(1),
            open: BTreeMap::new(),
            links: 0,
        }
    }

    /// Takes a window, and gives the stretch before it where that is over.
    pub fn push(&mut self, window: &SignalWindow) -> Option<WindowHistory> {
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
        std::mem::take(&mut self.open)
            .into_values()
            .flat_map(BTreeMap::into_values)
            .map(|open| open.stretch)
            .collect()
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
        states: vec![state(window)].into(),
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
        && window.zone == open.zone;
    if !goes_on {
        return false;
    }
    let (mut states, mut scores) = (
        Vec::from(std::mem::take(&mut open.states)),
        Vec::from(std::mem::take(&mut open.scores)),
    );
    // Hops without a window have neither.
    states.resize(place, 0);
    scores.resize(2 * place, u8::MAX);
    states.push(state(window));
    scores.extend(quantised(window.motion_score).to_le_bytes());
    (open.states, open.scores) = (states.into(), scores.into());
    true
}

fn state(window: &SignalWindow) -> u8 {
    u8::try_from(window.state).unwrap_or_default()
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
    /// The motion statistic, where there was one.
    pub score: Option<f64>,
}

/// The hops of a stretch that had a window, oldest first.
pub fn hops(stretch: &WindowHistory) -> impl Iterator<Item = Hop> + '_ {
    let scores = stretch.scores.chunks_exact(2);
    let entries = stretch.states.iter().zip(scores).zip(0_i64..);
    entries.filter_map(|((state, score), place)| {
        let state = LinkState::try_from(i32::from(*state)).ok()?;
        let score = <[u8; 2]>::try_from(score).map(u16::from_le_bytes).ok()?;
        (state != LinkState::Unspecified).then(|| Hop {
            end_us: stretch
                .first_end_us
                .saturating_add(place.saturating_mul(stretch.hop_us)),
            state,
            score: (score != NONE).then(|| f64::from(score) / 65_534.0),
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
