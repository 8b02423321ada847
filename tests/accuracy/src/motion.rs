//! Motion: the service beside the naive baselines.

use std::collections::BTreeMap;

use proto::signal::v1::{LinkState, PresenceState};

use crate::measure::{
    Case, Estimate, auc, balanced, best_threshold, estimate, leave_session_out, recall_at, said,
};
use crate::path::Window;
use crate::sets::{Set, Take};

/// Seconds between the ends of two windows.
pub const HOP_S: f64 = 0.5;
/// Seconds of a long recording that make one case where cases are recordings.
const SEGMENT_S: f64 = 15.0;
/// Seconds without motion after which the next motion is another alarm: the service's own.
const REARM_S: f64 = 3.0;

/// What is held against the labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// The service's statistic, and its own decision.
    Service,
    /// Autocorrelation of power with nothing explained away.
    Autocorrelation,
    /// Variance of amplitude.
    Amplitude,
    /// Variance of RSSI.
    Rssi,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Service,
        Self::Autocorrelation,
        Self::Amplitude,
        Self::Rssi,
    ];

    /// In tables.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Autocorrelation => "plain autocorrelation",
            Self::Amplitude => "amplitude variance",
            Self::Rssi => "RSSI variance",
        }
    }

    /// In keys of figures.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Autocorrelation => "autocorrelation",
            Self::Amplitude => "amplitude",
            Self::Rssi => "rssi",
        }
    }

    fn score(self, window: &Window) -> Option<f64> {
        match self {
            Self::Service => window.score,
            Self::Autocorrelation => window.naive.autocorrelation,
            Self::Amplitude => window.naive.amplitude,
            Self::Rssi => window.naive.rssi,
        }
    }
}

/// A window, or a recording, with everything that is said about it.
#[derive(Clone, Debug)]
pub struct Scored {
    /// Something moves.
    pub truth: bool,
    /// What cannot be split.
    pub session: String,
    /// Chip.
    pub chip: String,
    /// Said to be motion by the service; absent where it says unknown.
    pub said: Option<bool>,
    scores: [Option<f64>; 4],
}

/// What was measured of one method on one group of cases.
#[derive(Clone, Debug)]
pub struct Row {
    /// Method.
    pub method: Method,
    /// Area under the ROC curve.
    pub auc: Option<Estimate>,
    /// Recall at 1 % of false positives.
    pub recall_at_1: Option<Estimate>,
    /// Recall at the operating point: the service's own, of a baseline the best threshold of the other sessions.
    pub recall: Option<Estimate>,
    /// False positives there.
    pub false_positives: Option<Estimate>,
    /// Balanced accuracy there.
    pub balanced: Option<Estimate>,
}

/// What was measured on one group of cases: a set, a chip of it, or several sets.
#[derive(Clone, Debug)]
pub struct Group {
    /// Key in the figures.
    pub key: String,
    /// Name in the tables.
    pub title: String,
    /// Cases without and with motion.
    pub cases: (usize, usize),
    /// Share of them that the service calls unknown.
    pub unknown: f64,
    /// Sessions.
    pub sessions: usize,
    /// A row for each method that has scores.
    pub rows: Vec<Row>,
    /// Balanced accuracy of the service with the best threshold of the other sessions.
    pub refitted: Option<Estimate>,
}

/// Alarms while nothing moved.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Alarms {
    /// How many.
    pub count: usize,
    /// Hours of time without motion that were judged.
    pub hours: f64,
}

/// What is said of presence, without calibration: windows said to have somebody in them, and all, by what is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// An empty room.
    pub empty: (usize, usize),
    /// Somebody who keeps still.
    pub still: (usize, usize),
    /// Somebody who moves.
    pub moving: (usize, usize),
}

impl Presence {
    /// Share of the windows of an empty room.
    #[must_use]
    pub fn of_empty(&self) -> Option<f64> {
        share(self.empty)
    }

    /// Share of the windows of somebody who keeps still.
    #[must_use]
    pub fn of_still(&self) -> Option<f64> {
        share(self.still)
    }

    /// Share of the windows of somebody who moves.
    #[must_use]
    pub fn of_moving(&self) -> Option<f64> {
        share(self.moving)
    }
}

fn share((said, all): (usize, usize)) -> Option<f64> {
    (all > 0).then(|| said as f64 / all as f64)
}

/// What is said of presence in these takes. A quiet room that nobody says is empty counts nowhere.
#[must_use]
pub fn presence(takes: &[Take]) -> Presence {
    let mut presence = Presence::default();
    for take in takes {
        for window in &take.windows {
            let Some(truth) = take.truth(window) else {
                continue;
            };
            let tally = match (truth, take.entry.label()) {
                (true, _) => &mut presence.moving,
                (false, Some("empty")) => &mut presence.empty,
                (false, Some("lying" | "sitting" | "still" | "no_activity")) => &mut presence.still,
                (false, _) => continue,
            };
            tally.0 += usize::from(window.presence == PresenceState::Present);
            tally.1 += 1;
        }
    }
    presence
}

/// The cases of a set's takes.
#[must_use]
pub fn scored(set: Set, takes: &[Take]) -> Vec<Scored> {
    let mut all = Vec::new();
    for take in takes {
        if set.by_recording() {
            let segment = |window: &Window| {
                if take.length_s >= 2.0 * SEGMENT_S {
                    (window.start_s / SEGMENT_S).floor() as i64
                } else {
                    0
                }
            };
            for windows in take.windows.chunk_by(|a, b| segment(a) == segment(b)) {
                all.push(of_windows(take, windows, !take.still()));
            }
        } else {
            for window in &take.windows {
                if let Some(truth) = take.truth(window) {
                    all.push(of_windows(take, std::slice::from_ref(window), truth));
                }
            }
        }
    }
    all
}

/// The strongest word of these windows.
fn of_windows(take: &Take, windows: &[Window], truth: bool) -> Scored {
    let strongest = |method: Method| {
        windows
            .iter()
            .filter_map(|window| method.score(window))
            .max_by(f64::total_cmp)
    };
    let known = windows.iter().any(|w| w.state != LinkState::Unknown);
    Scored {
        truth,
        session: take.session.clone(),
        chip: take.chip().to_owned(),
        said: known.then(|| windows.iter().any(|w| w.state == LinkState::Motion)),
        scores: Method::ALL.map(strongest),
    }
}

/// Measures a group of cases.
#[must_use]
pub fn group(key: &str, title: &str, scored: &[Scored]) -> Group {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for case in scored {
        let next = names.len();
        names.entry(&case.session).or_insert(next);
    }
    let of = |method: Method, place: usize| -> Vec<Case> {
        let case = |scored: &Scored| {
            let said = match method {
                Method::Service => scored.said?,
                _ => false,
            };
            Some(Case {
                truth: scored.truth,
                score: scored.scores.get(place).copied().flatten()?,
                said,
                session: names.get(scored.session.as_str()).copied()?,
            })
        };
        scored.iter().filter_map(case).collect()
    };
    let mut rows = Vec::new();
    let mut refitted = None;
    for (place, method) in Method::ALL.into_iter().enumerate() {
        let cases = of(method, place);
        if cases.is_empty() {
            continue;
        }
        let judged = leave_session_out(&cases);
        let at_work = if method == Method::Service {
            refitted = estimate(&judged, balanced);
            cases.clone()
        } else {
            judged
        };
        rows.push(Row {
            method,
            auc: estimate(&cases, auc),
            recall_at_1: estimate(&cases, |cases| recall_at(cases, 0.01)),
            recall: estimate(&at_work, |cases| said(cases, true)),
            false_positives: estimate(&at_work, |cases| said(cases, false)),
            balanced: estimate(&at_work, balanced),
        });
    }
    let moving = scored.iter().filter(|case| case.truth).count();
    let unknown = scored.iter().filter(|case| case.said.is_none()).count();
    Group {
        key: key.to_owned(),
        title: title.to_owned(),
        cases: (scored.len() - moving, moving),
        unknown: unknown as f64 / scored.len().max(1) as f64,
        sessions: names.len(),
        rows,
        refitted,
    }
}

/// Alarms in the time that the labels call free of motion. Windows of motion that follow within 3 s are one alarm.
#[must_use]
pub fn alarms(takes: &[Take]) -> Alarms {
    let mut alarms = Alarms::default();
    for take in takes {
        let mut latest: Option<f64> = None;
        for window in &take.windows {
            if window.state == LinkState::Unknown || take.truth(window) != Some(false) {
                continue;
            }
            alarms.hours += HOP_S / 3600.0;
            if window.state == LinkState::Motion {
                if latest.is_none_or(|at| window.end_s - at > REARM_S) {
                    alarms.count += 1;
                }
                latest = Some(window.end_s);
            }
        }
    }
    alarms
}

/// Seconds from the beginning of motion, where a label says when that was, to the end of the first window of motion;
/// `None` for a recording in which none was found.
#[must_use]
pub fn delays(takes: &[Take]) -> Vec<Option<f64>> {
    let mut delays = Vec::new();
    for take in takes {
        let begins = take
            .entry
            .labels
            .iter()
            .find(|label| label.label == "motion");
        let Some(begin) = begins.map(|label| label.from_s.unwrap_or(0.0)) else {
            continue;
        };
        let first = take
            .windows
            .iter()
            .find(|window| window.end_s > begin && window.state == LinkState::Motion);
        delays.push(first.map(|window| window.end_s - begin));
    }
    delays
}

/// Recall and false positives of `these` at the best threshold of `others`.
#[must_use]
pub fn at_threshold_of(others: &[Scored], these: &[Scored]) -> Option<(f64, f64, f64)> {
    let case = |scored: &Scored| {
        Some(Case {
            truth: scored.truth,
            score: scored.scores.first().copied().flatten()?,
            said: false,
            session: 0,
        })
    };
    let others: Vec<Case> = others.iter().filter_map(case).collect();
    let threshold = best_threshold(&others.iter().collect::<Vec<_>>())?;
    let these: Vec<Case> = these
        .iter()
        .filter_map(case)
        .map(|case| Case {
            said: case.score >= threshold,
            ..case
        })
        .collect();
    let these: Vec<&Case> = these.iter().collect();
    Some((threshold, said(&these, true)?, said(&these, false)?))
}
