//! What other thresholds would have made of the past.

use std::collections::BTreeMap;

use proto::signal::v1::{LinkState, WindowHistory};

use super::{Hop, hops};

const HOUR_US: f64 = 3.6e9;
/// Hours of a week.
const WEEK_H: f64 = 168.0;
/// Thresholds that are tried: 0.05, 0.06, ... 1.
const LOWEST: u32 = 5;

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Motion statistic from which a link is in motion.
    pub threshold: f64,
    /// Down to which it stays there.
    pub release: f64,
    /// Motion after at most so long without it goes on; after more it begins anew. Microseconds.
    pub rearm_us: i64,
}

/// Motion of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Motion {
    /// How often it began.
    pub alarms: u32,
    /// How long it was seen, microseconds.
    pub duration_us: i64,
    latest_us: Option<i64>,
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

/// The past of a zone, ready to be judged as often as wanted.
#[derive(Debug, Default)]
pub struct Past {
    /// All hops of all links, by time; the link's number with each.
    hops: Vec<(Hop, u32)>,
    links: usize,
    hop_us: i64,
    rearm_us: i64,
}

impl Past {
    /// The hops of the stretches from `start_us` to before `end_us`. Motion that pauses for at most `rearm_us` is one.
    #[must_use]
    pub fn new(stretches: &[WindowHistory], start_us: i64, end_us: i64, rearm_us: i64) -> Self {
        let mut numbers: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        let mut past = Self {
            rearm_us,
            ..Self::default()
        };
        for stretch in stretches {
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            let number = *numbers
                .entry((&stretch.device, &stretch.link))
                .or_insert(next);
            past.hop_us = past.hop_us.max(stretch.hop_us);
            let within = hops(stretch).filter(|hop| (start_us..end_us).contains(&hop.end_us));
            past.hops.extend(within.map(|hop| (hop, number)));
        }
        past.links = numbers.len();
        past.hops.sort_by_key(|(hop, link)| (hop.end_us, *link));
        // A stretch that was written again after a crash says the same twice.
        past.hops.dedup_by_key(|(hop, link)| (hop.end_us, *link));
        past
    }

    /// Links that anything is known of.
    #[must_use]
    pub fn links(&self) -> usize {
        self.links
    }

    /// What `setting` makes of it. Links are judged each on its own, as the service does it; the zone moves where one does.
    #[must_use]
    pub fn with(&self, setting: &Setting) -> Outcome {
        let mut outcome = Outcome::default();
        let mut moving = vec![false; self.links];
        for together in self.hops.chunk_by(|(a, _), (b, _)| a.end_us == b.end_us) {
            let Some((first, _)) = together.first() else {
                continue;
            };
            let (mut judged, mut recorded, mut with) = (false, false, false);
            for (hop, link) in together {
                let place = usize::try_from(*link).ok();
                let Some(moving) = place.and_then(|place| moving.get_mut(place)) else {
                    continue;
                };
                let bar = if *moving {
                    setting.release
                } else {
                    setting.threshold
                };
                let known = hop.state != LinkState::Unknown;
                *moving = known && hop.score.is_some_and(|score| score >= bar);
                judged |= known;
                recorded |= hop.state == LinkState::Motion;
                with |= *moving;
            }
            let lasted = if judged {
                &mut outcome.observed_us
            } else {
                &mut outcome.unknown_us
            };
            *lasted += self.hop_us;
            for (moves, motion) in [(recorded, &mut outcome.recorded), (with, &mut outcome.with)] {
                if moves {
                    motion.note(first.end_us, self.hop_us, setting.rearm_us);
                }
            }
        }
        outcome
    }

    /// The lowest threshold that keeps to at most `per_week` alarms, with the release level in `ratio` to it. Absent where
    /// nothing was observed, or none does.
    #[must_use]
    pub fn threshold_for(&self, per_week: f64, ratio: f64) -> Option<f64> {
        let mut found = None;
        for percent in (LOWEST..=100).rev() {
            let threshold = f64::from(percent) / 100.0;
            let outcome = self.with(&Setting {
                threshold,
                release: threshold * ratio,
                rearm_us: self.rearm_us,
            });
            let weeks = hours(outcome.observed_us) / WEEK_H;
            if weeks <= 0.0 || f64::from(outcome.with.alarms) > per_week * weeks {
                break;
            }
            found = Some(threshold);
        }
        found
    }
}

impl Motion {
    fn note(&mut self, end_us: i64, hop_us: i64, rearm_us: i64) {
        let goes_on = self
            .latest_us
            .is_some_and(|latest| end_us.saturating_sub(latest) <= rearm_us + hop_us);
        self.alarms += u32::from(!goes_on);
        self.duration_us += hop_us;
        self.latest_us = Some(end_us);
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
    const SETTING: Setting = Setting {
        threshold: 0.2,
        release: 0.15,
        rearm_us: 3_000_000,
    };

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
        let past = Past::new(
            &past("a", &bumps(&[0.3, 0.5, 0.22, 0.9])),
            0,
            i64::MAX,
            3_000_000,
        );
        let outcome = past.with(&SETTING);
        assert_eq!(outcome.recorded, outcome.with);
        assert_eq!(
            (outcome.with.alarms, outcome.with.duration_us),
            (4, 16 * HOP)
        );
        assert_eq!((outcome.observed_us, outcome.unknown_us), (136 * HOP, 0));
        let stricter = Setting {
            threshold: 0.4,
            release: 0.3,
            ..SETTING
        };
        assert_eq!(past.with(&stricter).with.alarms, 2);
        assert_eq!(past.with(&stricter).recorded.alarms, 4);
        // Motion that pauses for less than the time to arm again is one.
        let patient = Setting {
            rearm_us: 20_000_000,
            ..SETTING
        };
        assert_eq!(past.with(&patient).with.alarms, 1);
    }

    #[test]
    fn links_add_up_to_their_zone_and_unknown_is_no_observation() {
        let mut stretches = past("a", &bumps(&[0.3, 0.1]));
        stretches.extend(past("b", &[vec![None; 34], bumps(&[0.3])].concat()));
        let past = Past::new(&stretches, 0, i64::MAX, 3_000_000);
        let outcome = past.with(&SETTING);
        assert_eq!((past.links(), outcome.with.alarms), (2, 2));
        assert_eq!((outcome.observed_us, outcome.unknown_us), (68 * HOP, 0));
        let unknown = Past::new(&self::past("b", &[None; 10]), 0, i64::MAX, 0).with(&SETTING);
        assert_eq!((unknown.observed_us, unknown.unknown_us), (0, 10 * HOP));
        // Only what lies in the span counts.
        assert_eq!(
            Past::new(&stretches, 0, 20 * HOP, 0)
                .with(&SETTING)
                .with
                .alarms,
            0
        );
    }

    #[test]
    fn a_rate_leads_to_the_lowest_threshold_that_keeps_to_it() {
        let past = Past::new(
            &past("a", &bumps(&[0.305, 0.5, 0.22, 0.905])),
            0,
            i64::MAX,
            3_000_000,
        );
        let week = WEEK_H * HOUR_US / (136.0 * HOP as f64);
        assert_eq!(past.threshold_for(2.0 * week, 0.75), Some(0.31));
        assert_eq!(past.threshold_for(0.0, 0.75), Some(0.91));
        assert_eq!(past.threshold_for(9.0 * week, 0.75), Some(0.05));
        assert_eq!(Past::default().threshold_for(1.0, 0.75), None);
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
