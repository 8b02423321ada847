//! How much the features of the service say about activities: multinomial logistic regression on them, trained on other
//! subjects or sessions than it is tried on.

use std::collections::BTreeSet;

use crate::measure::{LEAST_SESSIONS, Random, interval};
use crate::sets::{Set, Take};

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
    /// What plain Python gave on the same question, in words.
    pub beside: &'static str,
}

/// Whether a probe is tried in the place that it was trained in: only there does the channel's own shape say anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Known,
    New,
}

/// Strength of the penalty on squared weights.
const PENALTY: f64 = 5e-2;
/// Steps of the descent.
const STEPS: usize = 600;

/// The probes of a set's takes.
#[must_use]
pub fn measure(set: Set, takes: &[Take]) -> Vec<Outcome> {
    let whole = |class: &dyn Fn(&Take) -> String,
                 fold: &dyn Fn(&Take) -> String,
                 place: Place|
     -> Vec<Sample> {
        let sample = |take: &Take| {
            Some(Sample {
                features: of_recording(take, place)?,
                class: class(take),
                fold: fold(take),
            })
        };
        takes.iter().filter_map(sample).collect()
    };
    let activity = |take: &Take| take.entry.label().unwrap_or_default().to_owned();
    let still = |take: &Take| if take.still() { "still" } else { "moving" }.to_owned();
    let falls = |take: &Take| {
        let fall = take
            .entry
            .label()
            .is_some_and(|label| label.starts_with("fall"));
        if fall { "fall" } else { "other" }.to_owned()
    };
    let session = |take: &Take| take.session.clone();
    let room = |take: &Take| take.entry.room.clone().unwrap_or_default();
    match set {
        Set::CsiHar => vec![
            outcome(
                (
                    "probe.csi_har.still",
                    "csi-har: still or moving, leave subject out",
                ),
                &whole(&still, &session, Place::Known),
                "LR 98.3 %",
            ),
            outcome(
                (
                    "probe.csi_har.subject",
                    "csi-har: 11 activities, leave subject out",
                ),
                &whole(&activity, &session, Place::Known),
                "ET 72.5 %",
            ),
            outcome(
                ("probe.csi_har.room", "csi-har: 11 activities, other room"),
                &whole(&activity, &room, Place::New),
                "ET 58.5 %",
            ),
            outcome(
                (
                    "probe.csi_har.fall",
                    "csi-har: fall or not, leave subject out",
                ),
                &whole(&falls, &session, Place::Known),
                "LR recall 79 %, false positives 6.5 %: balanced 86.3 %",
            ),
        ],
        Set::Fition => vec![
            outcome(
                (
                    "probe.fition.user",
                    "fition: 6 activities, leave user out (another room)",
                ),
                &whole(&activity, &session, Place::New),
                "ET 31.1 %",
            ),
            outcome(
                ("probe.fition.fall", "fition: fall or not, leave user out"),
                &whole(&falls, &session, Place::New),
                "LR recall 46 %, false positives 27 %: balanced 59.5 %",
            ),
        ],
        Set::Thu4n => {
            let windows = |class: &dyn Fn(&Take) -> String| {
                let mut samples = Vec::new();
                for take in takes {
                    for window in &take.windows {
                        if take.truth(window).is_some() && !window.features.is_empty() {
                            samples.push(Sample {
                                features: of_window(window),
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
                    &windows(&still),
                    "ET 93.5 % (balanced 89.1 %)",
                ),
                outcome(
                    ("probe.thu4n.exercise", "thu4n: 7 exercises, 2 s, other day"),
                    &windows(&activity),
                    "ET 45.9 %",
                ),
            ]
        }
        _ => Vec::new(),
    }
}

fn of_window(window: &crate::path::Window) -> Vec<f64> {
    let score = window.score.unwrap_or_default();
    // Sizes span decades: their logarithm; shares stay as they are.
    let feature = |(place, value): (usize, &f32)| {
        let value = f64::from(*value);
        if place < 8 {
            (value.max(0.0) + 1e-4).ln()
        } else {
            value
        }
    };
    let mut features: Vec<f64> = window.features.iter().enumerate().map(feature).collect();
    features.push(score);
    // Of the course the bands and the step span decades, too.
    let course = |(name, value): (&&str, &f32)| {
        let value = f64::from(*value);
        match *name {
            band if band.starts_with("band") => (value.max(0.0) + 1e-3).ln(),
            "step" => (value.max(0.0) + 1e-4).ln(),
            _ => value,
        }
    };
    features.extend(
        dsp::activity::course::NAMES
            .iter()
            .zip(&window.course)
            .map(course),
    );
    features
}

/// Of each feature the lowest, the middle and the highest value over the recording's windows, and how much of the time it
/// is in its upper half; then, in a known place, the mean profile of the channel.
fn of_recording(take: &Take, place: Place) -> Option<Vec<f64>> {
    let rows: Vec<Vec<f64>> = take
        .windows
        .iter()
        .filter(|window| !window.features.is_empty())
        .map(of_window)
        .collect();
    let width = rows.first()?.len();
    let mut features = Vec::with_capacity(4 * width);
    for place in 0..width {
        let mut column: Vec<f64> = rows
            .iter()
            .filter_map(|row| row.get(place).copied())
            .collect();
        column.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (share * (column.len() - 1) as f64).round() as usize;
            column.get(index).copied().unwrap_or_default()
        };
        let middle = (at(0.0) + at(1.0)) / 2.0;
        let above = column.iter().filter(|value| **value > middle).count();
        features.extend([
            at(0.1),
            at(0.5),
            at(1.0),
            above as f64 / column.len() as f64,
        ]);
    }
    if place == Place::New {
        return Some(features);
    }
    let profiles = || {
        let windows = take.windows.iter();
        windows
            .map(|window| &window.profile)
            .filter(|profile| !profile.is_empty())
    };
    let count = profiles().count().max(1) as f64;
    for band in 0..profiles().map(Vec::len).min().unwrap_or(0) {
        let column = profiles().filter_map(|profile| profile.get(band));
        features.push(column.map(|value| f64::from(*value)).sum::<f64>() / count);
    }
    Some(features)
}

fn outcome(
    (key, title): (&'static str, &'static str),
    samples: &[Sample],
    beside: &'static str,
) -> Outcome {
    let classes: BTreeSet<&str> = samples.iter().map(|sample| sample.class.as_str()).collect();
    let classes: Vec<&str> = classes.into_iter().collect();
    let folds: BTreeSet<&str> = samples.iter().map(|sample| sample.fold.as_str()).collect();
    // Of each fold: right and all, class by class.
    let mut tallies: Vec<Vec<(f64, f64)>> = Vec::new();
    for fold in &folds {
        let (own, others): (Vec<&Sample>, Vec<&Sample>) =
            samples.iter().partition(|sample| sample.fold == *fold);
        let model = Model::fit(&others, &classes);
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

/// Multinomial logistic regression on standardised features; classes weigh alike.
struct Model {
    mean: Vec<f64>,
    scale: Vec<f64>,
    /// One row for each class: weights, then the bias.
    weights: Vec<Vec<f64>>,
}

impl Model {
    fn fit(samples: &[&Sample], classes: &[&str]) -> Self {
        let width = samples.first().map_or(0, |sample| sample.features.len());
        let count = samples.len().max(1) as f64;
        let (mut mean, mut scale) = (vec![0.0; width], vec![0.0; width]);
        for sample in samples {
            mean.iter_mut()
                .zip(&sample.features)
                .for_each(|(m, x)| *m += x / count);
        }
        for sample in samples {
            for ((s, m), x) in scale.iter_mut().zip(&mean).zip(&sample.features) {
                *s += (x - m).powi(2) / count;
            }
        }
        scale
            .iter_mut()
            .for_each(|s| *s = if *s > 1e-18 { s.sqrt().recip() } else { 0.0 });
        let mut model = Self {
            mean,
            scale,
            weights: vec![vec![0.0; width + 1]; classes.len()],
        };
        let rows: Vec<Vec<f64>> = samples
            .iter()
            .map(|sample| model.standardise(&sample.features))
            .collect();
        let of: Vec<usize> = samples
            .iter()
            .map(|sample| {
                classes
                    .iter()
                    .position(|class| *class == sample.class)
                    .unwrap_or_default()
            })
            .collect();
        let mut counts = vec![0.0; classes.len()];
        for place in &of {
            if let Some(count) = counts.get_mut(*place) {
                *count += 1.0;
            }
        }
        let present = counts.iter().filter(|count| **count > 0.0).count().max(1) as f64;
        // Nesterov's accelerated descent; the step suits the largest curvature of standardised features.
        let step = 4.0 / (width as f64 + 1.0);
        let mut ahead = model.weights.clone();
        for round in 0..STEPS {
            let mut gradient = vec![vec![0.0; width + 1]; classes.len()];
            for (row, place) in rows.iter().zip(&of) {
                let weight = 1.0 / (present * counts.get(*place).copied().unwrap_or(1.0));
                let shares = softmax(&ahead, row);
                for (class, (gradient, share)) in gradient.iter_mut().zip(shares).enumerate() {
                    let error = weight * (share - f64::from(u8::from(class == *place)));
                    gradient
                        .iter_mut()
                        .zip(row)
                        .for_each(|(g, x)| *g += error * x);
                }
            }
            let momentum = round as f64 / (round as f64 + 3.0);
            for ((weights, ahead), gradient) in
                model.weights.iter_mut().zip(&mut ahead).zip(&gradient)
            {
                for (place, ((w, a), g)) in weights
                    .iter_mut()
                    .zip(ahead.iter_mut())
                    .zip(gradient)
                    .enumerate()
                {
                    let penalty = if place < width { PENALTY * *a } else { 0.0 };
                    let new = *a - step * (g + penalty);
                    *a = new + momentum * (new - *w);
                    *w = new;
                }
            }
        }
        model
    }

    fn standardise(&self, features: &[f64]) -> Vec<f64> {
        let scaled = features
            .iter()
            .zip(&self.mean)
            .zip(&self.scale)
            .map(|((x, m), s)| (x - m) * s);
        scaled.chain([1.0]).collect()
    }

    fn class(&self, features: &[f64]) -> usize {
        let shares = softmax(&self.weights, &self.standardise(features));
        let best = shares.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map_or(0, |(place, _)| place)
    }
}

fn softmax(weights: &[Vec<f64>], row: &[f64]) -> Vec<f64> {
    let mut scores: Vec<f64> = weights
        .iter()
        .map(|w| w.iter().zip(row).map(|(w, x)| w * x).sum())
        .collect();
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores
        .iter_mut()
        .for_each(|score| *score = (*score - highest).exp());
    let sum: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
    scores
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
}
