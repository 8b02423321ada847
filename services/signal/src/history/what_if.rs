//! What other thresholds would have made of the past: the zone's own decision, hop by hop, by the code that decides live.
//!
//! Each link is held against its threshold, or its level of release, and the words of all are put together by [`fusion`] with
//! the hysteresis of the zone, device after device as their windows come; motion that pauses for less than the time to arm again is
//! one ([`Onset`]). What the past does not hold: which of two devices closed its window of the same end first (here in the order of
//! their names), and the last digits of statistics and qualities.

use std::collections::BTreeMap;

use proto::signal::v1::{LinkState, WindowHistory};

use super::{Hop, STRETCH_US, hops};
use crate::config::Settings;
use crate::fusion::{self, Word};
use crate::onset::{MotionNews, Onset};
use crate::thresholds::Thresholds;

const HOUR_US: f64 = 3.6e9;
/// Hours of a week.
const WEEK_H: f64 = 168.0;
/// The highest threshold that is tried, and the step of those that are tried first, which is the lowest: hundredths.
const HIGHEST: u32 = 100;
const COARSE: u32 = 5;

/// Motion of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Motion {
    /// How often it began.
    pub alarms: u32,
    /// How long it was seen, microseconds.
    pub duration_us: i64,
    onset: Option<Onset>,
}

/// What became of a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// At least one link could be judged, microseconds.
    pub observed_us: i64,
    /// Windows came, and none could be judged, microseconds.
    pub unknown_us: i64,
    /// What was decided then.
    pub recorded: Motion,
    /// What the setting makes of it.
    pub with: Motion,
}

/// A stretch of one link, without the words that name it.
#[derive(Debug)]
struct Stretch {
    link: usize,
    history: WindowHistory,
}

/// One hop of a link, with what holds for its stretch.
#[derive(Clone, Copy, Debug)]
struct Said {
    link: usize,
    hop: Hop,
    noise: Option<f64>,
    learnt: Option<f64>,
}

/// When a link was last heard.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// End of the latest window that counts, microseconds.
    latest_us: Option<i64>,
    /// End of the window at hand, where there is one.
    now_us: i64,
}

/// The past of a zone, ready to be judged as often as wanted.
#[derive(Debug, Default)]
pub struct Past {
    /// By time.
    stretches: Vec<Stretch>,
    /// Device of each link, in the order of their names.
    devices: Vec<usize>,
    start_us: i64,
    end_us: i64,
    hop_us: i64,
}

impl Past {
    /// The hops of the stretches from `start_us` to before `end_us`.
    #[must_use]
    pub fn new(stretches: Vec<WindowHistory>, start_us: i64, end_us: i64) -> Self {
        let mut names: BTreeMap<(String, String), usize> = BTreeMap::new();
        for stretch in &stretches {
            names.insert((stretch.device.clone(), stretch.link.clone()), 0);
        }
        let (mut devices, mut before) = (Vec::with_capacity(names.len()), None);
        for (place, ((device, _), number)) in names.iter_mut().enumerate() {
            *number = place;
            let same = before == Some(device);
            let last = devices.last().copied().unwrap_or_default();
            devices.push(if same || before.is_none() {
                last
            } else {
                last + 1
            });
            before = Some(device);
        }
        let mut past = Self {
            devices,
            start_us,
            end_us,
            ..Self::default()
        };
        for mut history in stretches {
            let name = (
                std::mem::take(&mut history.device),
                std::mem::take(&mut history.link),
            );
            history.zone = String::new();
            past.hop_us = past.hop_us.max(history.hop_us);
            if let Some(link) = names.get(&name).copied() {
                past.stretches.push(Stretch { link, history });
            }
        }
        past.stretches
            .sort_by_key(|stretch| (stretch.history.first_end_us, stretch.link));
        past
    }

    /// Links that anything is known of.
    #[must_use]
    pub fn links(&self) -> usize {
        self.devices.len()
    }

    /// What these settings of the zone make of it.
    #[must_use]
    pub fn with(&self, settings: &Settings) -> Outcome {
        self.judged(std::slice::from_ref(settings))
            .pop()
            .unwrap_or_default()
    }

    /// The lowest threshold of the zone that keeps to at most `per_week` alarms, as do those above it: 0.05, 0.1, ... 1 are tried
    /// first, then hundredths below the lowest of them. Absent where nothing was observed, or none does.
    #[must_use]
    pub fn threshold_for(&self, per_week: f64, default: &Settings) -> Option<f64> {
        let coarse: Vec<u32> = (1..=HIGHEST / COARSE).map(|step| step * COARSE).collect();
        let found = self.lowest(&coarse, per_week, default)?;
        let fine: Vec<u32> = (found - COARSE + 1..found)
            .filter(|part| *part >= COARSE)
            .collect();
        let found = self.lowest(&fine, per_week, default).unwrap_or(found);
        Some(f64::from(found) / f64::from(HIGHEST))
    }

    /// The lowest of these thresholds, in hundredths and rising, that keeps to the rate with all above it.
    fn lowest(&self, tried: &[u32], per_week: f64, default: &Settings) -> Option<u32> {
        let settings = tried.iter().filter_map(|part| {
            let thresholds = Thresholds {
                motion: Some(f64::from(*part) / f64::from(HIGHEST)),
                updated: None,
            };
            thresholds.settings(default)
        });
        let outcomes = self.judged(&settings.collect::<Vec<_>>());
        let keeps = |outcome: &Outcome| {
            let weeks = hours(outcome.observed_us) / WEEK_H;
            weeks > 0.0 && f64::from(outcome.with.alarms) <= per_week * weeks
        };
        let from_the_top = tried.iter().zip(&outcomes).rev();
        let keeping = from_the_top.take_while(|(_, outcome)| keeps(outcome));
        keeping.last().map(|(part, _)| *part)
    }

    /// What each of these settings makes of it, in one pass.
    fn judged(&self, settings: &[Settings]) -> Vec<Outcome> {
        let links = self.links();
        let mut judges: Vec<Judge> = settings
            .iter()
            .map(|with| Judge::new(with, links))
            .collect();
        let Some(first) = settings.first() else {
            return Vec::new();
        };
        let old_us = 2 * first.hops() * first.hop_us();
        let mut seen = Outcome::default();
        let mut heard: Vec<Heard> = vec![Heard::default(); links];
        let mut minute: Vec<Said> = Vec::new();
        let minute_of = |stretch: &Stretch| stretch.history.first_end_us.div_euclid(STRETCH_US);
        for stretches in self.stretches.chunk_by(|a, b| minute_of(a) == minute_of(b)) {
            minute.clear();
            for Stretch { link, history } in stretches {
                let within = |hop: &Hop| (self.start_us..self.end_us).contains(&hop.end_us);
                minute.extend(hops(history).filter(within).map(|hop| Said {
                    link: *link,
                    hop,
                    noise: history.noise.map(f64::from),
                    learnt: history.learnt_threshold.map(f64::from),
                }));
            }
            minute.sort_by_key(|said| (said.hop.end_us, said.link));
            // A stretch that was written again after a crash, or is in hand too, says the same twice.
            minute.dedup_by_key(|said| (said.hop.end_us, said.link));
            for together in minute.chunk_by(|a, b| a.hop.end_us == b.hop.end_us) {
                self.hop(together, old_us, &mut heard, &mut seen, &mut judges, first);
            }
        }
        let with = |judge: Judge<'_>| Outcome {
            with: judge.motion,
            ..seen
        };
        judges.into_iter().map(with).collect()
    }

    /// The windows that end at one time.
    fn hop(
        &self,
        together: &[Said],
        old_us: i64,
        heard: &mut [Heard],
        seen: &mut Outcome,
        judges: &mut [Judge<'_>],
        settings: &Settings,
    ) {
        let Some(end_us) = together.first().map(|said| said.hop.end_us) else {
            return;
        };
        let device_of = |link: usize| self.devices.get(link).copied().unwrap_or_default();
        for judge in judges.iter_mut() {
            judge.moved = false;
        }
        for windows in together.chunk_by(|a, b| device_of(a.link) == device_of(b.link)) {
            let device = windows.first().map(|said| device_of(said.link));
            for said in windows {
                if let Some(heard) = heard.get_mut(said.link) {
                    heard.now_us = end_us;
                }
            }
            for (link, heard) in heard.iter_mut().enumerate() {
                // What the device no longer speaks of, and what was not heard for long, counts no more.
                let gone = heard.now_us != end_us && Some(device_of(link)) == device;
                if heard
                    .latest_us
                    .is_some_and(|latest| gone || end_us - latest > old_us)
                {
                    heard.latest_us = None;
                    judges.iter_mut().for_each(|judge| judge.forget(link));
                }
            }
            for said in windows {
                if let Some(heard) = heard.get_mut(said.link) {
                    heard.latest_us = Some(end_us);
                }
                judges.iter_mut().for_each(|judge| judge.hear(said));
            }
            judges.iter_mut().for_each(|judge| judge.decide(end_us));
        }
        let known = |said: &Said| said.hop.state != LinkState::Unknown;
        let lasted = if together.iter().any(known) {
            &mut seen.observed_us
        } else {
            &mut seen.unknown_us
        };
        *lasted += self.hop_us;
        let moved = |said: &Said| match said.hop.zone {
            LinkState::Unspecified => said.hop.state == LinkState::Motion,
            zone => zone == LinkState::Motion,
        };
        if together.iter().any(moved) {
            seen.recorded.begin_or_go_on(settings, end_us);
            seen.recorded.duration_us += self.hop_us;
        }
        for judge in judges.iter_mut().filter(|judge| judge.moved) {
            judge.motion.duration_us += self.hop_us;
        }
    }
}

impl Motion {
    fn begin_or_go_on(&mut self, settings: &Settings, end_us: i64) {
        let news = Onset::note(&mut self.onset, settings, end_us);
        self.alarms += u32::from(news == Some(MotionNews::Onset));
    }
}

/// What one choice of settings makes of what the links say.
struct Judge<'a> {
    settings: &'a Settings,
    /// Level of release of a link, as a share of its threshold.
    release: f64,
    words: Vec<Option<Word>>,
    /// Links in motion by themselves.
    moving: Vec<bool>,
    /// Links whose words are more than noise, and how many they are.
    loud: Vec<bool>,
    louds: usize,
    /// The zone is in motion.
    zone: bool,
    /// It was, after any of the windows of this hop.
    moved: bool,
    motion: Motion,
}

impl<'a> Judge<'a> {
    fn new(settings: &'a Settings, links: usize) -> Self {
        Self {
            settings,
            release: settings.release / settings.threshold,
            words: vec![None; links],
            moving: vec![false; links],
            loud: vec![false; links],
            louds: 0,
            zone: false,
            moved: false,
            motion: Motion::default(),
        }
    }

    /// Nothing is heard of the link any more: its next window is its first.
    fn forget(&mut self, link: usize) {
        self.say(link, None);
        if let Some(moving) = self.moving.get_mut(link) {
            *moving = false;
        }
    }

    fn say(&mut self, link: usize, new: Option<Word>) {
        let (Some(word), Some(loud)) = (self.words.get_mut(link), self.loud.get_mut(link)) else {
            return;
        };
        let now = new.is_some_and(|word| word.chance() > 0.0);
        self.louds = self.louds + usize::from(now) - usize::from(*loud);
        (*word, *loud) = (new, now);
    }

    fn hear(&mut self, said: &Said) {
        let Some(moving) = self.moving.get_mut(said.link) else {
            return;
        };
        let bar = match said.learnt.filter(|_| !self.settings.threshold_is_chosen) {
            Some(learnt) if *moving => self.release * learnt,
            Some(learnt) => learnt,
            None => self.settings.bar(*moving),
        };
        let known = said.hop.state != LinkState::Unknown;
        let score = said.hop.score.filter(|_| known);
        *moving = score.is_some_and(|score| score >= bar);
        let new = score.map(|statistic| Word {
            statistic,
            threshold: bar,
            noise: said.noise,
            quality: said.hop.quality,
        });
        self.say(said.link, new);
    }

    fn decide(&mut self, end_us: i64) {
        // Noise alone is no motion, however many links hear it.
        self.zone = self.louds > 0
            && fusion::decide(self.zone, self.words.iter().flatten().copied())
                .is_some_and(|(moves, _)| moves);
        if self.zone {
            self.moved = true;
            self.motion.begin_or_go_on(self.settings, end_us);
        }
    }
}

/// Microseconds as hours.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn hours(micros: i64) -> f64 {
    micros as f64 / HOUR_US
}

/// Upper end of the one-sided 95 % interval of the rate of alarms in a week, where `alarms` came in `observed_us`: Byar's
/// approximation of the Poisson interval (Breslow and Day, Statistical Methods in Cancer Research II, 1987). Absent where
/// nothing was observed.
#[must_use]
pub fn per_week_at_most(alarms: u32, observed_us: i64) -> Option<f64> {
    let weeks = hours(observed_us) / WEEK_H;
    let n = f64::from(alarms) + 1.0;
    let most = n * (1.0 - 1.0 / (9.0 * n) + 1.645 / (3.0 * n.sqrt())).powi(3);
    (weeks > 0.0).then(|| most / weeks)
}

#[cfg(test)]
mod tests {
    use proto::signal::v1::SignalWindow;

    use super::*;
    use crate::history::Recorder;

    const HOP: i64 = 500_000;
    fn setting(threshold: f64, rearm_s: f64) -> Settings {
        Settings {
            threshold,
            release: 0.75 * threshold,
            rearm_s,
            ..Settings::default()
        }
    }

    /// A link that scored this in each hop, with what the default setting would have said.
    fn past(link: &str, scores: &[Option<f32>]) -> Vec<WindowHistory> {
        let mut recorder = Recorder::new(HOP);
        let mut stretches = Vec::new();
        let mut moving = false;
        for (score, place) in scores.iter().zip(1_i64..) {
            moving = score.is_some_and(|score| score >= if moving { 0.15 } else { 0.2 });
            let state = match score {
                None => LinkState::Unknown,
                Some(_) if moving => LinkState::Motion,
                Some(_) => LinkState::Still,
            };
            stretches.extend(recorder.push(&SignalWindow {
                zone: "lab".into(),
                device: "node-1".into(),
                link: link.into(),
                window_end_us: place * HOP,
                motion_score: *score,
                quality: 1.0,
                state: state.into(),
                ..SignalWindow::default()
            }));
        }
        stretches.extend(recorder.flush());
        stretches
    }

    fn bumps(heights: &[f32]) -> Vec<Option<f32>> {
        let bump = |height: &f32| [vec![Some(0.01); 30], vec![Some(*height); 4]].concat();
        heights.iter().flat_map(bump).collect()
    }

    #[test]
    fn it_counts_what_the_setting_of_then_counted() {
        let past = Past::new(past("a", &bumps(&[0.3, 0.5, 0.22, 0.9])), 0, i64::MAX);
        let outcome = past.with(&setting(0.2, 3.0));
        assert_eq!(outcome.recorded, outcome.with);
        assert_eq!(
            (outcome.with.alarms, outcome.with.duration_us),
            (4, 16 * HOP)
        );
        assert_eq!((outcome.observed_us, outcome.unknown_us), (136 * HOP, 0));
        let stricter = setting(0.4, 3.0);
        assert_eq!(past.with(&stricter).with.alarms, 2);
        assert_eq!(past.with(&stricter).recorded.alarms, 4);
        // Motion that pauses for less than the time to arm again is one.
        let patient = setting(0.2, 20.0);
        assert_eq!(past.with(&patient).with.alarms, 1);
    }

    #[test]
    fn links_add_up_to_their_zone_and_unknown_is_no_observation() {
        let mut stretches = past("a", &bumps(&[0.3, 0.1]));
        stretches.extend(past("b", &[vec![None; 34], bumps(&[0.3])].concat()));
        let past = Past::new(stretches.clone(), 0, i64::MAX);
        let outcome = past.with(&setting(0.2, 3.0));
        assert_eq!((past.links(), outcome.with.alarms), (2, 2));
        assert_eq!((outcome.observed_us, outcome.unknown_us), (68 * HOP, 0));
        let unknown = Past::new(self::past("b", &[None; 10]), 0, i64::MAX);
        let unknown = unknown.with(&setting(0.2, 3.0));
        assert_eq!((unknown.observed_us, unknown.unknown_us), (0, 10 * HOP));
        // Only what lies in the span counts.
        assert_eq!(
            Past::new(stretches, 0, 20 * HOP)
                .with(&setting(0.2, 3.0))
                .with
                .alarms,
            0
        );
    }

    #[test]
    fn links_that_are_each_below_the_threshold_add_up() {
        let stretches = || ["a", "b", "c"].map(|link| past(link, &bumps(&[0.17])));
        let three = Past::new(stretches().concat(), 0, i64::MAX);
        let outcome = three.with(&setting(0.2, 3.0));
        assert_eq!(
            (outcome.with.alarms, outcome.with.duration_us),
            (1, 4 * HOP)
        );
        // Of what was kept before the zone's own state was, the links' is all that is known.
        assert_eq!(outcome.recorded.alarms, 0);
        let two = Past::new(stretches()[..2].concat(), 0, i64::MAX);
        assert_eq!(two.with(&setting(0.2, 3.0)).with.alarms, 0);
        // A link that hears badly counts less among others.
        let mut bad = stretches().concat();
        for stretch in &mut bad {
            stretch.qualities = vec![40; stretch.states.len()].into();
        }
        let bad = Past::new(bad, 0, i64::MAX);
        assert_eq!(bad.with(&setting(0.2, 3.0)).with.alarms, 0);
    }

    #[test]
    fn a_calibration_leads_to_each_link_s_threshold_unless_the_zone_has_its_own() {
        let mut learnt = past("a", &bumps(&[0.15, 0.3]));
        for stretch in &mut learnt {
            (stretch.learnt_threshold, stretch.noise) = (Some(0.12), Some(0.05));
        }
        let past = Past::new(learnt, 0, i64::MAX);
        assert_eq!(past.with(&setting(0.2, 3.0)).with.alarms, 2);
        let chosen = Settings {
            threshold_is_chosen: true,
            ..setting(0.2, 3.0)
        };
        assert_eq!(past.with(&chosen).with.alarms, 1);
    }

    #[test]
    fn a_rate_leads_to_the_lowest_threshold_that_keeps_to_it() {
        let past = Past::new(past("a", &bumps(&[0.305, 0.5, 0.22, 0.905])), 0, i64::MAX);
        let week = WEEK_H * HOUR_US / (136.0 * HOP as f64);
        let default = Settings::default();
        assert_eq!(past.threshold_for(2.0 * week, &default), Some(0.31));
        assert_eq!(past.threshold_for(0.0, &default), Some(0.91));
        assert_eq!(past.threshold_for(9.0 * week, &default), Some(0.05));
        assert_eq!(Past::default().threshold_for(1.0, &default), None);
    }

    #[test]
    fn few_hours_support_no_small_rate() {
        // The rule of three: none in a week leaves up to 3 a week.
        let week = (WEEK_H * HOUR_US) as i64;
        assert!((per_week_at_most(0, week).unwrap() - 3.0).abs() < 0.05);
        assert!((per_week_at_most(0, week / 168).unwrap() - 504.0).abs() < 9.0);
        assert!((per_week_at_most(10, week).unwrap() - 16.96).abs() < 0.05);
        assert_eq!(per_week_at_most(0, 0), None);
    }
}
