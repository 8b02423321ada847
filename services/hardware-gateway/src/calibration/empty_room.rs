//! The baseline of an empty room, of one link.
//!
//! Windows of [`WINDOW_US`] end at every multiple of [`HOP_US`], as `signal` cuts them, and each has its motion statistic
//! ([`dsp::motion`]). The first 70 % are learnt from, the rest is held out: the threshold is the 99.5 % quantile of the
//! statistic, or four robust standard deviations above its median, whichever is more, within [`LOWEST`] and [`HIGHEST`]. The
//! held-out windows that overlap neither the learnt ones nor each other are the trials of the false-alarm rate.

use csi::SampleFormat;
use dsp::autocorrelation::Series;
use dsp::circular::Circular;
use dsp::clock::nominal_period_us;
use dsp::gain::GainBlocks;
use dsp::motion::{Lasting, METHOD, MotionMeter, THRESHOLD};
use dsp::periodic;
use dsp::phase::{Line, Phases, Sanitizer};
use dsp::robust::{median_and_spread, quantile, rate_bound};
use proto::gateway::v1 as pb;

use super::collect::LinkFrames;
use super::{Measured, Refusal};

/// Length of a window, microseconds.
pub const WINDOW_US: i64 = 2_000_000;
/// Windows end at multiples of it.
pub const HOP_US: i64 = 500_000;
/// Threshold without calibration, and the one that an empty room is held against.
pub const UNCALIBRATED: f64 = THRESHOLD;
/// Share of the windows above it that is taken for somebody moving.
pub const MOVING: f64 = 0.1;
/// Least and largest threshold that a calibration gives.
pub const LOWEST: f64 = 0.1;
/// See [`LOWEST`].
pub const HIGHEST: f64 = 0.6;
const LEAST_FRAMES: usize = 32;
const LEAST_RATE_HZ: f64 = 20.0;
const LEAST_WINDOWS: usize = 12;
/// Trials below which a rate of false alarms is not given, only its bound.
const LEAST_TRIALS: usize = 20;
const LEARNT: f64 = 0.7;

struct Rows {
    receive_us: Vec<i64>,
    sample_us: Vec<i64>,
    values: Vec<f32>,
    inverse_power: Vec<f32>,
    levels_dbm: Vec<f32>,
    width: usize,
}

/// Measures the baseline of one link.
///
/// # Errors
/// Where somebody moves or breathes, or there is too little to say so.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
pub fn measure(link: &LinkFrames) -> Result<Measured, Refusal> {
    let blocks = GainBlocks::new(
        &link.layout.subcarriers,
        &link.layout.valid,
        usize::from(link.antennas),
    );
    let rows = rows(link, &blocks);
    let statistics = statistics(link, &rows);
    if statistics.len() < LEAST_WINDOWS {
        return Err(Refusal::new(
            "too_few_windows",
            format!(
                "{} windows of 2 s with at least {LEAST_FRAMES} frames at {LEAST_RATE_HZ} Hz; {LEAST_WINDOWS} are needed: measure longer, or raise the frame rate",
                statistics.len()
            ),
        ));
    }
    let above = |threshold: f64, of: &[f64]| of.iter().filter(|s| **s >= threshold).count();
    let moving = above(UNCALIBRATED, &statistics);
    if moving as f64 > MOVING * statistics.len() as f64 {
        return Err(Refusal::new(
            "motion",
            format!(
                "something moved: the motion statistic was above {UNCALIBRATED} in {moving} of {} windows; calibrate with nobody in the room, doors closed and fans off",
                statistics.len()
            ),
        ));
    }
    let series = Series {
        times_us: &rows.receive_us,
        rows: &rows.values,
        width: rows.width,
    };
    let line = periodic::strongest_line(series);
    if let Some(line) = line.filter(|line| line.periodic) {
        return Err(Refusal::new(
            "breathing",
            format!(
                "something periodic at {:.2} Hz, as of somebody breathing, {:.0} times above the spectrum's median; calibrate with nobody in the room",
                line.frequency_hz, line.snr
            ),
        ));
    }

    let split = (LEARNT * statistics.len() as f64) as usize;
    let (learnt, rest) = statistics.split_at_checked(split).unwrap_or_default();
    let overlap = (WINDOW_US / HOP_US) as usize;
    let held_out = rest.get(overlap - 1..).unwrap_or_default();
    let q = |q| quantile(&mut learnt.to_vec(), q).unwrap_or_default();
    let (median, spread) = median_and_spread(&mut learnt.to_vec()).unwrap_or_default();
    let threshold = q(0.995).max(median + 4.0 * spread).clamp(LOWEST, HIGHEST);
    let trials: Vec<f64> = held_out.iter().copied().step_by(overlap).collect();
    let alarms = above(threshold, &trials);
    let silent = |threshold: f64| {
        (!held_out.is_empty())
            .then(|| 1.0 - above(threshold, held_out) as f64 / held_out.len() as f64)
    };
    let (amplitude, amplitude_spread) = amplitudes(&rows);
    let (phase, phase_spread) = phases(link, &blocks);
    let room = pb::EmptyRoom {
        amplitude,
        amplitude_spread,
        phase,
        phase_spread,
        motion_quantiles: [0.5, 0.9, 0.99, 1.0].map(q).to_vec(),
        motion_threshold: threshold,
        window_seconds: WINDOW_US as f64 / 1e6,
        windows: statistics.len() as u32,
        held_out_windows: held_out.len() as u32,
        held_out_trials: trials.len() as u32,
        false_alarms: alarms as u32,
        false_alarm_rate: (trials.len() >= LEAST_TRIALS)
            .then(|| alarms as f64 / trials.len() as f64),
        false_alarm_bound: rate_bound(alarms, trials.len(), 0.95),
        breathing_snr: line.map(|line| line.snr),
        motion_method: METHOD.to_owned(),
    };
    Ok(Measured {
        result: pb::link_calibration::Result::EmptyRoom(room),
        quality_before: silent(UNCALIBRATED),
        quality_after: silent(threshold),
    })
}

/// The motion statistic of the newest window of a link, as [`measure`] and `signal` have it; absent where it has too few frames.
#[must_use]
pub fn newest(link: &LinkFrames) -> Option<f64> {
    let blocks = GainBlocks::new(
        &link.layout.subcarriers,
        &link.layout.valid,
        usize::from(link.antennas),
    );
    statistics(link, &rows(link, &blocks)).pop()
}

fn rows(link: &LinkFrames, blocks: &GainBlocks) -> Rows {
    let mut rows = Rows {
        receive_us: Vec::new(),
        sample_us: Vec::new(),
        values: Vec::new(),
        inverse_power: Vec::new(),
        levels_dbm: Vec::new(),
        width: blocks.width(),
    };
    let mut row = Vec::new();
    let times = link.receive_us.iter().zip(&link.sample_us);
    let marks = times.zip(&link.levels_dbm);
    for (samples, ((receive, sample), level)) in link.frames().zip(marks) {
        if let Ok(gain) = blocks.normalise(samples, &mut row) {
            rows.receive_us.push(*receive);
            rows.sample_us.push(*sample);
            rows.values.extend_from_slice(&row);
            rows.inverse_power.push(gain.inverse_power);
            rows.levels_dbm.push(*level);
        }
    }
    rows
}

/// The motion statistic of each window that has enough frames, oldest first.
#[allow(clippy::cast_precision_loss)]
fn statistics(link: &LinkFrames, rows: &Rows) -> Vec<f64> {
    let (Some(first), Some(last)) = (rows.receive_us.first(), rows.receive_us.last()) else {
        return Vec::new();
    };
    let mut meter = MotionMeter::default();
    let mut lasting = Lasting::default();
    let mut intervals = Vec::new();
    let mut statistics = Vec::new();
    let mut begin = first.div_euclid(HOP_US) * HOP_US + HOP_US;
    while begin + WINDOW_US <= *last {
        let from = rows.receive_us.partition_point(|t| *t < begin);
        let to = rows.receive_us.partition_point(|t| *t < begin + WINDOW_US);
        begin += HOP_US;
        let (Some(times_us), Some(values), Some(inverse), Some(levels)) = (
            rows.sample_us.get(from..to),
            rows.values.get(from * rows.width..to * rows.width),
            rows.inverse_power.get(from..to),
            rows.levels_dbm.get(from..to),
        ) else {
            continue;
        };
        let fast = nominal_period_us(times_us, &mut intervals)
            .is_some_and(|period| 1e6 / period >= 0.98 * LEAST_RATE_HZ);
        if times_us.len() < LEAST_FRAMES || !fast {
            continue;
        }
        let rounding = match link.format {
            SampleFormat::Cf32 => 0.0,
            _ => {
                let sum: f64 = inverse.iter().map(|p| f64::from(*p)).sum();
                sum / (3.0 * inverse.len().max(1) as f64)
            }
        };
        let series = Series {
            times_us,
            rows: values,
            width: rows.width,
        };
        let motion = meter.measure_with_level(series, rounding, levels);
        let end_us = begin - HOP_US + WINDOW_US;
        statistics.extend(motion.map(|motion| lasting.judge(&motion, end_us, HOP_US)));
    }
    statistics
}

/// Median and spread of gain-normalised amplitude of each valid sample.
#[allow(clippy::cast_possible_truncation)]
fn amplitudes(rows: &Rows) -> (Vec<f32>, Vec<f32>) {
    let mut column = Vec::new();
    (0..rows.width)
        .map(|k| {
            column.clear();
            let values = rows.values.iter().skip(k).step_by(rows.width.max(1));
            column.extend(values.map(|power| f64::from(*power).sqrt()));
            let (median, spread) = median_and_spread(&mut column).unwrap_or_default();
            (median as f32, spread as f32)
        })
        .unzip()
}

/// Circular mean and spread of the phase of each valid sample, each field's line taken off, in the order of `blocks`. Empty
/// for amplitudes without phase.
#[allow(clippy::cast_possible_truncation)]
fn phases(link: &LinkFrames, blocks: &GainBlocks) -> (Vec<f32>, Vec<f32>) {
    if link.format == SampleFormat::Af32 {
        return (Vec::new(), Vec::new());
    }
    let antennas = usize::from(link.antennas);
    let sanitizer = Sanitizer::new(&link.layout.subcarriers, &link.layout.valid, antennas);
    let mut phases = Phases::default();
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); sanitizer.places().len()];
    for samples in link.frames() {
        if sanitizer
            .sanitize(samples, Line::Each, &mut phases)
            .is_err()
        {
            continue;
        }
        let known = phases.radians.iter().zip(&phases.known);
        for (column, (radians, known)) in columns.iter_mut().zip(known) {
            if *known {
                column.push(f64::from(*radians));
            }
        }
    }
    let by_place: std::collections::HashMap<usize, (f32, f32)> = sanitizer
        .places()
        .iter()
        .zip(&mut columns)
        .map(|(place, column)| {
            let mut circle = Circular::default();
            column.iter().for_each(|angle| circle.add(*angle));
            let mean = circle.mean().unwrap_or_default();
            column
                .iter_mut()
                .for_each(|angle| *angle = wrapped(*angle - mean));
            let (median, spread) = median_and_spread(column).unwrap_or_default();
            (*place, (wrapped(mean + median) as f32, spread as f32))
        })
        .collect();
    let at = |place: &usize| by_place.get(place).copied().unwrap_or_default();
    blocks.places().iter().map(at).unzip()
}

/// The angle within -pi to pi.
pub(super) fn wrapped(angle: f64) -> f64 {
    let (sine, cosine) = angle.sin_cos();
    sine.atan2(cosine)
}
