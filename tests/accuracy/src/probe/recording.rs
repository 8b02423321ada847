//! A recording as one case: what its windows say while something moves, when that was, and where the channel went.

use super::{Course, Place, of_window};
use crate::path::Window;
use crate::sets::Take;

/// Places among the features of a window: middle size of deviation and of change, and the change that neighbours share.
const DEVIATION: usize = 1;
const CHANGE: usize = 4;
const SHARED_CHANGE: usize = 7;
/// Parts of the recording that the energies are told of.
const PARTS: usize = 8;
/// Windows before and after that with most change whose change is told.
const AROUND: [isize; 8] = [-10, -6, -4, -2, 2, 4, 6, 10];
/// Added to distances of profiles (logarithms of amplitude) before their own logarithm is taken.
const FLOOR: f64 = 0.01;

/// What is told of a recording, in order:
///
/// 1. the mean of each feature of its windows, each window weighted by how much varies in it: a recording of 15 s of which 3 are
///    a fall is told by these 3;
/// 2. three sizes (logarithms) in each of [`PARTS`] parts of it, less their mean;
/// 3. the change at [`AROUND`] the window with most, less its own;
/// 4. when the change takes place: mean time, spread, skewness, and the share of windows that it is spread over;
/// 5. how far the channel's profile goes: from its beginning (first quarter) to its end (last), at most from either, typically from
///    the beginning, its spread, and what share of the way it stays away;
/// 6. in a known place, the profile itself: at the beginning, on the whole, at the end, and its spread.
///
/// `None` where no window has features.
pub(super) fn of_recording(take: &Take, place: Place) -> Option<Vec<f64>> {
    let windows: Vec<&Window> = take
        .windows
        .iter()
        .filter(|window| !window.features.is_empty())
        .collect();
    let course = match place {
        Place::Known => Course::Whole,
        Place::New => Course::Lags,
    };
    let rows: Vec<Vec<f64>> = windows
        .iter()
        .map(|window| of_window(window, course))
        .collect();
    rows.first()?;
    let raw = |window: &&Window| {
        let deviation = window.features.get(DEVIATION);
        deviation.copied().map_or(0.0, f64::from).max(0.0) + 1e-9
    };
    let weights: Vec<f64> = windows.iter().map(raw).collect();
    let mut features = weighted_mean(&rows, &weights);
    features.extend(parts(&rows));
    let change: Vec<f64> = column(&rows, CHANGE);
    features.extend(around_the_peak(&change));
    features.extend(moments(&change));
    let profiles: Vec<Vec<f64>> = windows
        .iter()
        .map(|window| window.profile.iter().copied().map(f64::from).collect())
        .collect();
    let quarter = (profiles.len() / 4).max(1);
    let begin = mean(profiles.get(..quarter).unwrap_or_default());
    let end = mean(profiles.get(profiles.len() - quarter..).unwrap_or_default());
    let whole = mean(&profiles);
    let spread = spread(&profiles, &whole);
    features.extend(way(&profiles, &begin, &end, &spread));
    if place == Place::Known {
        features.extend([begin, whole, end, spread].concat());
    }
    Some(features)
}

fn column(rows: &[Vec<f64>], place: usize) -> Vec<f64> {
    let value = |row: &Vec<f64>| row.get(place).copied().unwrap_or_default();
    rows.iter().map(value).collect()
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

fn parts(rows: &[Vec<f64>]) -> Vec<f64> {
    let sizes: Vec<Vec<f64>> = rows
        .iter()
        .map(|row| {
            let of_row = [DEVIATION, CHANGE, SHARED_CHANGE].map(|place| row.get(place).copied());
            of_row.map(Option::unwrap_or_default).to_vec()
        })
        .collect();
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

fn around_the_peak(change: &[f64]) -> Vec<f64> {
    let last = change.len().saturating_sub(1);
    // The first of equals.
    let peak = (0..change.len()).rev().max_by(|a, b| {
        let at = |place: usize| change.get(place).copied().unwrap_or_default();
        at(*a).total_cmp(&at(*b))
    });
    let peak = peak.unwrap_or_default();
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

fn way(profiles: &[Vec<f64>], begin: &[f64], end: &[f64], spread: &[f64]) -> [f64; 6] {
    let mut from_begin: Vec<f64> = profiles.iter().map(|p| distance(p, begin)).collect();
    let farthest = from_begin.iter().copied().fold(0.0, f64::max);
    let from_end = profiles
        .iter()
        .map(|p| distance(p, end))
        .fold(0.0, f64::max);
    let middle = dsp::robust::quantile(&mut from_begin, 0.5).unwrap_or_default();
    let changed = distance(begin, end);
    let still = vec![0.0; spread.len()];
    let logs = [
        changed,
        farthest,
        from_end,
        middle,
        distance(spread, &still),
    ];
    let [changed_log, farthest_log, end_log, middle_log, spread_log] =
        logs.map(|x| (x + FLOOR).ln());
    let stays = changed / (farthest.max(from_end) + FLOOR);
    [
        changed_log,
        farthest_log,
        end_log,
        middle_log,
        spread_log,
        stays,
    ]
}
