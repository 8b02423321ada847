//! How much the features of the service say about activities: multinomial logistic regression on them, trained on other
//! subjects or sessions than it is tried on.

use std::collections::{BTreeMap, BTreeSet};

use crate::measure::{LEAST_SESSIONS, Random, interval};
use crate::path::Window;
use crate::sets::{Set, Take};

mod model;
mod recording;

use model::Model;
use recording::{There, of_recording};

/// One thing to be classed.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Features.
    pub features: Vec<f64>,
    /// What it is.
    pub class: String,
    /// What is held out together.
    pub fold: String,
}

/// What a probe gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Key in the figures.
    pub key: &'static str,
    /// Name in the tables.
    pub title: &'static str,
    /// Samples, classes, folds.
    pub sizes: (usize, usize, usize),
    /// Accuracy over all held-out samples.
    pub accuracy: f64,
    /// Mean recall of the classes.
    pub balanced: f64,
    /// 95 % interval of the accuracy, folds resampled.
    pub interval: Option<(f64, f64)>,
    /// Accuracy of the most frequent class.
    pub chance: f64,
    /// What plain Python gave on the same question with more recordings to learn from, in words.
    pub beside: &'static str,
}

impl Outcome {
    /// The best accuracy and the best balanced accuracy of the plain baselines on the same recordings and folds, each of whichever
    /// did best; what `tests/accuracy/baselines/plain.py` wrote.
    #[must_use]
    pub fn plain(&self) -> Option<(f64, f64)> {
        plain(self.key)
    }
}

fn plain(key: &str) -> Option<(f64, f64)> {
    type Baselines = BTreeMap<String, BTreeMap<String, BTreeMap<String, f64>>>;
    // A test reads all of it: a row without a figure has none in the file.
    let baselines: Baselines = serde_json::from_str(BASELINES).ok()?;
    let models = baselines.get(key)?;
    let best = |of: &str| {
        let values = models.values().filter_map(|model| model.get(of).copied());
        values.max_by(f64::total_cmp)
    };
    Some((best("accuracy")?, best("balanced")?))
}

const BASELINES: &str = include_str!("../baselines/activities.json");

/// Whether a probe is tried in the place that it was trained in: only there does the channel's own shape say anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Known,
    New,
}

/// What a probe is told of a window's course. Shares of components and the step tell one movement from another in one place, and
/// movement from noise anywhere; which movement it is in another place, or on another day, the lags tell alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Course {
    Whole,
    Lags,
    /// The lags, and no feature beside them.
    LagsAlone,
}

/// The first features are sizes: their logarithm is taken.
const SIZES: usize = 8;

/// The cases of recordings that all have what is `there`.
fn cases(
    takes: &[Take],
    class: fn(&Take) -> String,
    fold: fn(&Take) -> String,
    place: Place,
    there: There,
) -> Vec<Sample> {
    let sample = |take: &Take| {
        Some(Sample {
            features: of_recording(take, place, there)?,
            class: class(take),
            fold: fold(take),
        })
    };
    takes.iter().filter_map(sample).collect()
}

fn activity(take: &Take) -> String {
    take.entry.label().unwrap_or_default().to_owned()
}

fn still(take: &Take) -> String {
    if take.still() { "still" } else { "moving" }.to_owned()
}

fn falls(take: &Take) -> String {
    let fall = take
        .entry
        .label()
        .is_some_and(|label| label.starts_with("fall"));
    if fall { "fall" } else { "other" }.to_owned()
}

fn session(take: &Take) -> String {
    take.session.clone()
}

fn room(take: &Take) -> String {
    take.entry.room.clone().unwrap_or_default()
}

/// Key and title of a row.
type Names = (&'static str, &'static str);

/// Key and title of each probe of subjects that nobody looked at.
pub struct Unseen {
    /// Still or moving, where there is anything still.
    still: Option<Names>,
    subject: Names,
    room: Names,
    fall: Names,
}

/// Those of [`Set::CsiHarUnseen`].
pub const UNSEEN: Unseen = Unseen {
    still: Some((
        "probe.csi_har_unseen.still",
        "**unseen** subjects of csi-har: still or moving",
    )),
    subject: (
        "probe.csi_har_unseen.subject",
        "**unseen** subjects: 11 activities",
    ),
    room: (
        "probe.csi_har_unseen.room",
        "**unseen** subjects and the other room: 11 activities",
    ),
    fall: (
        "probe.csi_har_unseen.fall",
        "**unseen** subjects: fall or not",
    ),
};

/// Those of [`Set::CsiHarUnseenMore`].
pub const UNSEEN_MORE: Unseen = Unseen {
    still: None,
    subject: (
        "probe.csi_har_unseen_more.subject",
        "**unseen** subjects, other trials: 9 activities of the 11",
    ),
    room: (
        "probe.csi_har_unseen_more.room",
        "**unseen** subjects, other trials, and the other room: 9 activities of the 11",
    ),
    fall: (
        "probe.csi_har_unseen_more.fall",
        "**unseen** subjects, other trials: fall or not",
    ),
};

/// The probes of csi-har on the subjects that nobody looked at: learnt from the others, in the same rooms and across rooms.
#[must_use]
pub fn unseen(seen: &[Take], unseen: &[Take], names: &Unseen) -> Vec<Outcome> {
    let there = There::of(seen.iter().chain(unseen));
    let of =
        |class, fold, place| [unseen, seen].map(|takes| cases(takes, class, fold, place, there));
    let once = |names, class: fn(&Take) -> String| {
        let [own, others] = of(class, session, Place::Known);
        tried(
            names,
            &[(own.iter().collect(), others.iter().collect())],
            "",
        )
    };
    let [own, others] = of(activity, room, Place::New);
    let rooms: BTreeSet<&str> = own.iter().map(|sample| sample.fold.as_str()).collect();
    let across = |room: &&str| -> (Vec<&Sample>, Vec<&Sample>) {
        let own = own.iter().filter(|sample| sample.fold == **room);
        let others = others.iter().filter(|sample| sample.fold != **room);
        (own.collect(), others.collect())
    };
    let across: Vec<_> = rooms.iter().map(across).collect();
    let mut outcomes: Vec<Outcome> = names
        .still
        .into_iter()
        .map(|names| once(names, still))
        .collect();
    outcomes.push(once(names.subject, activity));
    outcomes.push(tried(names.room, &across, ""));
    outcomes.push(once(names.fall, falls));
    outcomes
}

/// The probes of a set's takes.
#[must_use]
pub fn measure(set: Set, takes: &[Take]) -> Vec<Outcome> {
    let there = There::of(takes.iter());
    let whole = |class, fold, place| cases(takes, class, fold, place, there);
    match set {
        Set::CsiHar => vec![
            outcome(
                (
                    "probe.csi_har.still",
                    "csi-har: still or moving, leave subject out",
                ),
                &whole(still, session, Place::Known),
                "LR 98.3 %",
            ),
            outcome(
                (
                    "probe.csi_har.subject",
                    "csi-har: 11 activities, leave subject out",
                ),
                &whole(activity, session, Place::Known),
                "ET 72.5 %",
            ),
            outcome(
                ("probe.csi_har.room", "csi-har: 11 activities, other room"),
                &whole(activity, room, Place::New),
                "ET 58.5 %",
            ),
            outcome(
                (
                    "probe.csi_har.fall",
                    "csi-har: fall or not, leave subject out",
                ),
                &whole(falls, session, Place::Known),
                "LR recall 79 %, false positives 6.5 %: balanced 86.3 %",
            ),
        ],
        Set::Fition => vec![
            outcome(
                (
                    "probe.fition.user",
                    "fition: 6 activities, leave user out (another room)",
                ),
                &whole(activity, session, Place::New),
                "ET 31.1 %",
            ),
            outcome(
                ("probe.fition.fall", "fition: fall or not, leave user out"),
                &whole(falls, session, Place::New),
                "LR recall 46 %, false positives 27 %: balanced 59.5 %",
            ),
        ],
        Set::Thu4n => {
            let windows = |class: fn(&Take) -> String, course: Course| {
                let mut samples = Vec::new();
                for take in takes {
                    for window in &take.windows {
                        if take.truth(window).is_some() && !window.features.is_empty() {
                            samples.push(Sample {
                                features: of_window(window, course),
                                class: class(take),
                                fold: take.session.clone(),
                            });
                        }
                    }
                }
                samples
            };
            vec![
                outcome(
                    (
                        "probe.thu4n.active",
                        "thu4n: none or exercise, 2 s, other day",
                    ),
                    &windows(still, Course::Whole),
                    "ET 93.5 % (balanced 89.1 %)",
                ),
                outcome(
                    ("probe.thu4n.exercise", "thu4n: 7 exercises, 2 s, other day"),
                    &windows(activity, Course::Lags),
                    "ET 45.9 %",
                ),
            ]
        }
        _ => Vec::new(),
    }
}

/// The features of a window; of its course the whole, or what does not belong to the place.
fn of_window(window: &Window, course: Course) -> Vec<f64> {
    let feature = |(place, value): (usize, &f32)| match f64::from(*value) {
        value if place < SIZES => logarithm(value, 1e-4),
        value => value,
    };
    let mut features: Vec<f64> = Vec::new();
    if course != Course::LagsAlone {
        features.extend(window.features.iter().enumerate().map(feature));
        features.push(window.score.unwrap_or_default());
    }
    let named = dsp::activity::course::NAMES.iter().zip(&window.course);
    let told = named.filter(|(name, _)| course == Course::Whole || name.starts_with("lag"));
    features.extend(told.map(|(name, value)| of_course(name, *value)));
    features
}

/// What a window says of the antennas that share a clock.
fn of_pairs(window: &Window) -> Vec<f64> {
    let named = dsp::activity::pairs::names().zip(&window.pairs.0);
    named.map(|(name, value)| of_course(name, *value)).collect()
}

/// A value of a course as the probes are told it. Sizes span decades: their logarithm; shares stay as they are.
fn of_course(name: &str, value: f32) -> f64 {
    match (name, f64::from(value)) {
        (band, value) if band.starts_with("band") => logarithm(value, 1e-3),
        ("step" | "std" | "diff", value) => logarithm(value, 1e-4),
        (_, value) => value,
    }
}

fn logarithm(value: f64, least: f64) -> f64 {
    (value.max(0.0) + least).ln()
}

fn outcome(
    (key, title): (&'static str, &'static str),
    samples: &[Sample],
    beside: &'static str,
) -> Outcome {
    let folds: BTreeSet<&str> = samples.iter().map(|sample| sample.fold.as_str()).collect();
    let apart = |fold: &&str| -> (Vec<&Sample>, Vec<&Sample>) {
        samples.iter().partition(|sample| sample.fold == **fold)
    };
    tried(
        (key, title),
        &folds.iter().map(apart).collect::<Vec<_>>(),
        beside,
    )
}

/// Tries the first samples of each pair on a model of the second.
fn tried(
    (key, title): (&'static str, &'static str),
    folds: &[(Vec<&Sample>, Vec<&Sample>)],
    beside: &'static str,
) -> Outcome {
    let samples: Vec<&Sample> = folds
        .iter()
        .flat_map(|(own, _)| own.iter().copied())
        .collect();
    let classes: BTreeSet<&str> = samples.iter().map(|sample| sample.class.as_str()).collect();
    let classes: Vec<&str> = classes.into_iter().collect();
    // Of each fold: right and all, class by class.
    let mut tallies: Vec<Vec<(f64, f64)>> = Vec::new();
    for (own, others) in folds {
        let model = Model::fit(others, &classes);
        let mut tally = vec![(0.0, 0.0); classes.len()];
        for sample in own {
            let said = model.class(&sample.features);
            for (place, (right, all)) in tally.iter_mut().enumerate() {
                if classes.get(place) == Some(&sample.class.as_str()) {
                    *all += 1.0;
                    *right += f64::from(u8::from(said == place));
                }
            }
        }
        tallies.push(tally);
    }
    let sum = |of: &[&Vec<(f64, f64)>]| {
        let all: f64 = of
            .iter()
            .flat_map(|tally| tally.iter())
            .map(|(_, all)| all)
            .sum();
        let right: f64 = of
            .iter()
            .flat_map(|tally| tally.iter())
            .map(|(right, _)| right)
            .sum();
        right / all.max(1.0)
    };
    let everything: Vec<&Vec<(f64, f64)>> = tallies.iter().collect();
    let mut recalls = Vec::new();
    let mut most = 0.0_f64;
    for place in 0..classes.len() {
        let of_class = tallies.iter().filter_map(|tally| tally.get(place));
        let (right, all) =
            of_class.fold((0.0, 0.0), |sum, (right, all)| (sum.0 + right, sum.1 + all));
        recalls.push(right / all);
        most = most.max(all);
    }
    let mut random = Random::new(5);
    let resampled = (0..1000).map(|_| {
        let drawn: Vec<_> = (0..tallies.len())
            .filter_map(|_| tallies.get(random.below(tallies.len())))
            .collect();
        sum(&drawn)
    });
    let resampled: Vec<f64> = resampled.collect();
    Outcome {
        key,
        title,
        sizes: (samples.len(), classes.len(), folds.len()),
        accuracy: sum(&everything),
        balanced: recalls.iter().sum::<f64>() / recalls.len().max(1) as f64,
        interval: (folds.len() >= LEAST_SESSIONS)
            .then(|| interval(resampled))
            .flatten(),
        chance: most / samples.len().max(1) as f64,
        beside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(apart: f64) -> Vec<Sample> {
        let mut random = Random::new(3);
        let mut noise = move || random.below(1000) as f64 / 1000.0;
        (0..300)
            .map(|i| {
                let class = i % 3;
                let x = f64::from(u8::from(class == 0)) * apart + noise();
                let y = f64::from(u8::from(class == 1)) * apart + noise();
                Sample {
                    features: vec![x, y, noise()],
                    class: class.to_string(),
                    fold: (i / 60).to_string(),
                }
            })
            .collect()
    }

    #[test]
    fn three_classes_apart_are_told_apart_in_folds_never_seen() {
        let outcome = outcome(("k", "t"), &samples(2.0), "");
        assert_eq!(outcome.sizes, (300, 3, 5));
        assert!(outcome.accuracy > 0.97, "{outcome:?}");
        assert!(outcome.interval.is_some());
    }

    #[test]
    fn three_classes_alike_are_not() {
        let outcome = outcome(("k", "t"), &samples(0.0), "");
        assert!((outcome.accuracy - 0.33).abs() < 0.12, "{outcome:?}");
    }

    #[test]
    fn the_plain_baselines_can_be_read() {
        let all: BTreeMap<String, serde_json::Value> = serde_json::from_str(BASELINES).unwrap();
        assert_eq!(all.len(), 15);
        for key in all.keys() {
            let (accuracy, balanced) = plain(key).unwrap_or_else(|| panic!("{key}"));
            assert!((0.0..=1.0).contains(&accuracy), "{key}: {accuracy}");
            assert!((0.0..=1.0).contains(&balanced), "{key}: {balanced}");
        }
    }
}
