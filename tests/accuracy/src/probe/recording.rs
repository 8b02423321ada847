//! A recording as one case: what its windows say while something moves, when that was, and where the channel went.

use super::{Course, Place, of_pairs, of_window};
use crate::path::Window;
use crate::sets::Take;

/// Places among the features of a window: middle size of deviation and of change, and the change that neighbours share.
const DEVIATION: usize = 1;
const CHANGE: usize = 4;
const SHARED_CHANGE: usize = 7;
/// The same among what is told of the pairs of antennas.
const DEVIATION_OF_PAIRS: usize = 0;
const CHANGE_OF_PAIRS: usize = 1;
/// Parts of the recording that the energies are told of.
const PARTS: usize = 8;
/// Windows before and after that with most change whose change is told.
const AROUND: [isize; 8] = [-10, -6, -4, -2, 2, 4, 6, 10];
/// Added to distances of profiles (without unit) before their logarithm is taken.
const FLOOR: f64 = 0.01;

/// What there is of every recording of a probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct There {
    /// Antennas that share a clock.
    pairs: bool,
    /// The level of the frames.
    level: bool,
}

impl There {
    pub(super) fn of<'a>(takes: impl Iterator<Item = &'a Take> + Clone) -> Self {
        let everywhere = |has: fn(&Window) -> bool| {
            let mut takes = takes.clone();
            takes.all(|take| usable(take).any(has) || usable(take).next().is_none())
        };
        Self {
            pairs: everywhere(|window| !window.pairs.0.is_empty()),
            level: everywhere(|window| window.level_dbm.is_some()),
        }
    }
}

fn usable(take: &Take) -> impl Iterator<Item = &Window> {
    let windows = take.windows.iter();
    windows.filter(|window| !window.features.is_empty())
}

/// What is told of a recording, in order. Of the amplitudes:
///
/// 1. the mean of each feature of its windows, each window weighted by how much varies in it: a recording of 15 s of which 3 are
///    a fall is told by these 3; and, but for amplitudes in a new place, the features of the window with most change;
/// 2. three sizes (logarithms) in each of [`PARTS`] parts of it, less their mean;
/// 3. the change at [`AROUND`] the window with most, less its own;
/// 4. when the change takes place: mean time, spread, skewness, and the share of windows that it is spread over;
/// 5. how far the channel's profile goes: from its beginning (first quarter) to its end (last), at most from either, typically from
///    the beginning, its spread, and what share of the way it stays away;
/// 6. in a known place, the profile itself: at the beginning, on the whole, at the end, and its spread.
///
/// Of antennas that share a clock 1, 2, 5 and 6 again. In a new place these stand for the amplitudes, of which only the lags are
/// told then. In a known place the level, too: at the beginning, on the whole, at the end, and its spread.
///
/// `None` where no window has features.
pub(super) fn of_recording(take: &Take, place: Place, there: There) -> Option<Vec<f64>> {
    let windows: Vec<&Window> = usable(take).collect();
    windows.first()?;
    let mut features = if there.pairs && place == Place::New {
        let lags = Series::of(&windows, |window| of_window(window, Course::LagsAlone));
        let all = Series::of(&windows, |window| of_window(window, Course::Lags));
        let mut features = weighted_mean(&lags.rows, &weights_by_amplitude(&windows));
        features.extend(lags.at(peak(&all.column(CHANGE))));
        features
    } else {
        of_amplitudes(&windows, place)
    };
    if there.pairs {
        features.extend(of_antennas(&windows, place)?);
    }
    if there.level && place == Place::Known {
        let levels: Vec<Vec<f64>> = windows
            .iter()
            .filter_map(|window| window.level_dbm)
            .map(|level| vec![f64::from(level)])
            .collect();
        features.extend(Way::of(&levels).profile());
    }
    Some(features)
}

fn of_amplitudes(windows: &[&Window], place: Place) -> Vec<f64> {
    let course = match place {
        Place::Known => Course::Whole,
        Place::New => Course::Lags,
    };
    let series = Series::of(windows, |window| of_window(window, course));
    let change = series.column(CHANGE);
    let mut features = weighted_mean(&series.rows, &weights_by_amplitude(windows));
    if place == Place::Known {
        features.extend(series.at(peak(&change)));
    }
    features.extend(series.parts(&[DEVIATION, CHANGE, SHARED_CHANGE]));
    features.extend(around_the_peak(&change));
    features.extend(moments(&change));
    let profiles = windows.iter().map(|window| numbers(&window.profile));
    let way = Way::of(&profiles.collect::<Vec<_>>());
    features.extend(way.distances());
    if place == Place::Known {
        features.extend(way.profile());
    }
    features
}

/// `None` where no window says anything of them.
fn of_antennas(windows: &[&Window], place: Place) -> Option<Vec<f64>> {
    let windows: Vec<&Window> = windows
        .iter()
        .copied()
        .filter(|window| !window.pairs.0.is_empty())
        .collect();
    windows.first()?;
    let series = Series::of(&windows, of_pairs);
    let weights = weights(&windows, |window| {
        window.pairs.0.get(DEVIATION_OF_PAIRS).copied()
    });
    let mut features = weighted_mean(&series.rows, &weights);
    features.extend(series.at(peak(&series.column(CHANGE_OF_PAIRS))));
    features.extend(series.parts(&[DEVIATION_OF_PAIRS, CHANGE_OF_PAIRS]));
    let profiles = windows.iter().map(|window| numbers(&window.pairs.1));
    let way = Way::of(&profiles.collect::<Vec<_>>());
    features.extend(way.distances());
    if place == Place::Known {
        features.extend(way.profile());
    }
    Some(features)
}

fn numbers(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// How much each window weighs by this size of it.
fn weights(windows: &[&Window], size: impl Fn(&Window) -> Option<f32>) -> Vec<f64> {
    let weight = |window: &&Window| size(window).map_or(0.0, f64::from).max(0.0) + 1e-9;
    windows.iter().map(weight).collect()
}

fn weights_by_amplitude(windows: &[&Window]) -> Vec<f64> {
    weights(windows, |window| window.features.get(DEVIATION).copied())
}

/// What is told of each window of a recording.
struct Series {
    rows: Vec<Vec<f64>>,
}

impl Series {
    fn of(windows: &[&Window], of: impl Fn(&Window) -> Vec<f64>) -> Self {
        Self {
            rows: windows.iter().map(|window| of(window)).collect(),
        }
    }

    fn column(&self, place: usize) -> Vec<f64> {
        let value = |row: &Vec<f64>| row.get(place).copied().unwrap_or_default();
        self.rows.iter().map(value).collect()
    }

    fn at(&self, place: usize) -> Vec<f64> {
        self.rows.get(place).cloned().unwrap_or_default()
    }

    /// These columns in each of [`PARTS`] parts, less their mean.
    fn parts(&self, places: &[usize]) -> Vec<f64> {
        let of_row = |row: &Vec<f64>| {
            let places = places.iter();
            places
                .map(|place| row.get(*place).copied().unwrap_or_default())
                .collect()
        };
        let sizes: Vec<Vec<f64>> = self.rows.iter().map(of_row).collect();
        let whole = mean(&sizes);
        let count = sizes.len();
        let of_part = |part: usize| {
            let begin = part * count / PARTS;
            let end = ((part + 1) * count / PARTS).max(begin + 1);
            let of_part = mean(sizes.get(begin..end).unwrap_or_default());
            of_part
                .into_iter()
                .zip(&whole)
                .map(|(x, m)| x - m)
                .collect::<Vec<f64>>()
        };
        (0..PARTS).flat_map(of_part).collect()
    }
}

fn weighted_mean(rows: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let all: f64 = weights.iter().sum();
    let mut sums = vec![0.0; rows.first().map_or(0, Vec::len)];
    for (row, weight) in rows.iter().zip(weights) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += weight / all * value;
        }
    }
    sums
}

fn mean(rows: &[Vec<f64>]) -> Vec<f64> {
    weighted_mean(rows, &vec![1.0; rows.len()])
}

/// Standard deviation of each column.
fn spread(rows: &[Vec<f64>], mean: &[f64]) -> Vec<f64> {
    let squares = |row: &Vec<f64>| row.iter().zip(mean).map(|(x, m)| (x - m).powi(2)).collect();
    let squares: Vec<Vec<f64>> = rows.iter().map(squares).collect();
    self::mean(&squares).into_iter().map(f64::sqrt).collect()
}

/// Root of the mean square difference.
fn distance(one: &[f64], other: &[f64]) -> f64 {
    let squares: f64 = one.iter().zip(other).map(|(a, b)| (a - b).powi(2)).sum();
    (squares / one.len().max(1) as f64).sqrt()
}

/// The place of the largest, the first of equals.
fn peak(values: &[f64]) -> usize {
    let at = |place: usize| values.get(place).copied().unwrap_or_default();
    let places = (0..values.len()).rev();
    let peak = places.max_by(|a, b| at(*a).total_cmp(&at(*b)));
    peak.unwrap_or_default()
}

fn around_the_peak(change: &[f64]) -> Vec<f64> {
    let last = change.len().saturating_sub(1);
    let peak = peak(change);
    let at = |place: usize| change.get(place).copied().unwrap_or_default();
    AROUND
        .iter()
        .map(|step| at(peak.saturating_add_signed(*step).min(last)) - at(peak))
        .collect()
}

/// Of the energy of change above its tenth percentile over time, in windows: mean, logarithm of the spread, skewness, and the number of windows that it
/// fills (exponential of the entropy) by all.
fn moments(change: &[f64]) -> [f64; 4] {
    let energies: Vec<f64> = change.iter().map(|log| (2.0 * log).exp()).collect();
    let least = dsp::robust::quantile(&mut energies.clone(), 0.1).unwrap_or_default();
    let above: Vec<f64> = energies
        .iter()
        .map(|e| (e - least).max(0.0) + 1e-9)
        .collect();
    let all: f64 = above.iter().sum();
    let moment = |of: &dyn Fn(f64) -> f64| -> f64 {
        let shares = above.iter().enumerate();
        shares.map(|(place, e)| e / all * of(place as f64)).sum()
    };
    let mean = moment(&|place| place);
    let spread = moment(&|place| (place - mean).powi(2)).sqrt();
    let skew = moment(&|place| (place - mean).powi(3)) / (spread.powi(3) + 1e-5);
    let entropy: f64 = above.iter().map(|e| -(e / all) * (e / all).ln()).sum();
    [
        mean,
        (spread + 1.0).ln(),
        skew,
        entropy.exp() / change.len().max(1) as f64,
    ]
}

/// Where a profile goes.
struct Way {
    profiles: Vec<Vec<f64>>,
    /// Its mean in the first quarter of the windows, in the last, and in all.
    begin: Vec<f64>,
    end: Vec<f64>,
    whole: Vec<f64>,
    spread: Vec<f64>,
}

impl Way {
    fn of(profiles: &[Vec<f64>]) -> Self {
        let quarter = (profiles.len() / 4).max(1);
        let last = profiles.len().saturating_sub(quarter);
        let part = |part: Option<&[Vec<f64>]>| mean(part.unwrap_or_default());
        let whole = mean(profiles);
        Self {
            begin: part(profiles.get(..quarter)),
            end: part(profiles.get(last..)),
            spread: spread(profiles, &whole),
            whole,
            profiles: profiles.to_vec(),
        }
    }

    fn distances(&self) -> [f64; 6] {
        let from = |place: &[f64]| -> Vec<f64> {
            let profiles = self.profiles.iter();
            profiles.map(|profile| distance(profile, place)).collect()
        };
        let farthest = |from: &[f64]| from.iter().copied().fold(0.0, f64::max);
        let mut from_begin = from(&self.begin);
        let (from_first, from_last) = (farthest(&from_begin), farthest(&from(&self.end)));
        let middle = dsp::robust::quantile(&mut from_begin, 0.5).unwrap_or_default();
        let changed = distance(&self.begin, &self.end);
        let still = vec![0.0; self.spread.len()];
        let sizes = [
            changed,
            from_first,
            from_last,
            middle,
            distance(&self.spread, &still),
        ];
        let [changed_log, first_log, last_log, middle_log, spread_log] =
            sizes.map(|size| (size + FLOOR).ln());
        let stays = changed / (from_first.max(from_last) + FLOOR);
        [
            changed_log,
            first_log,
            last_log,
            middle_log,
            spread_log,
            stays,
        ]
    }

    fn profile(self) -> Vec<f64> {
        [self.begin, self.whole, self.end, self.spread].concat()
    }
}
