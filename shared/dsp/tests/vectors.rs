//! The stages against what NumPy gives for the same input (`data/generate.py`).

// A test may panic: that is how it fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use dsp::autocorrelation::{Autocorrelation, Part, Series};
use dsp::clock::{RegularClock, nominal_period_us};
use dsp::gain::GainBlocks;
use dsp::hampel::{Scratch, hampel};
use dsp::level::LevelMeter;
use dsp::motion::{Lasting, Motion, MotionMeter, is_fast};
use num_complex::Complex32;
use serde_json::Value;

struct Vectors(Value);

impl Vectors {
    fn read() -> Self {
        Self(serde_json::from_str(include_str!("data/vectors.json")).unwrap())
    }
    fn number(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap()
    }
    fn list(&self, name: &str) -> Vec<f64> {
        self.0[name]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect()
    }
    fn rows(&self) -> (Vec<i64>, Vec<f32>, Vec<f32>) {
        let width = self.number("width") as usize;
        let samples: Vec<_> = self
            .list("re")
            .iter()
            .zip(self.list("im"))
            .map(|(re, im)| Complex32::new(*re as f32, im as f32))
            .collect();
        let subcarriers: Vec<i16> = (0..width as i16).collect();
        let blocks = GainBlocks::new(&subcarriers, &vec![true; width], 1);
        let (mut rows, mut gains, mut row) = (Vec::new(), Vec::new(), Vec::new());
        for frame in samples.chunks_exact(width) {
            gains.push(blocks.normalise(frame, &mut row).unwrap().log_rms);
            rows.extend_from_slice(&row);
        }
        (
            self.list("times_us").iter().map(|t| *t as i64).collect(),
            rows,
            gains,
        )
    }
}

fn close(found: impl IntoIterator<Item = f64>, expected: &[f64], tolerance: f64) {
    let found: Vec<f64> = found.into_iter().collect();
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance,
            "{index}: {found} instead of {expected}"
        );
    }
}

#[test]
fn gain() {
    let vectors = Vectors::read();
    let (_, rows, gains) = vectors.rows();
    close(
        gains.into_iter().map(f64::from),
        &vectors.list("log_rms"),
        2e-6,
    );
    close(
        rows[..6].iter().map(|v| f64::from(*v)),
        &vectors.list("first_row"),
        2e-6,
    );
}

#[test]
fn first_lag_autocorrelation() {
    let vectors = Vectors::read();
    let (times_us, rows, _) = vectors.rows();
    let series = Series {
        times_us: &times_us,
        rows: &rows,
        width: 6,
    };
    let period = nominal_period_us(&times_us, &mut Vec::new()).unwrap();
    assert_eq!(period, vectors.number("period_us"));
    let mut sums = Autocorrelation::default();
    let lag = sums
        .first_lag(series, |_| Part::First, 2.5 * period, 0.0, None)
        .unwrap();
    close(
        [lag.phi, lag.variance, lag.covariance, lag.neighbour],
        &[
            vectors.number("phi"),
            vectors.number("variance"),
            vectors.number("covariance"),
            vectors.number("neighbour"),
        ],
        1e-6,
    );
    assert_eq!(lag.pairs, 58);
    close(
        [sums.changes(series, 2.5 * period).evenness()],
        &[vectors.number("evenness")],
        1e-5,
    );
}

#[test]
fn regular_clock() {
    let vectors = Vectors::read();
    let (times_us, rows, _) = vectors.rows();
    let mut clock = RegularClock::default();
    clock.lay(&times_us, 10_000.0, 30);
    let column = clock
        .column(&rows, 6, 2)
        .map(|value| f64::from(value.unwrap()));
    close(column, &vectors.list("regular"), 1e-5);
}

#[test]
fn outliers() {
    let vectors = Vectors::read();
    let mut values: Vec<f32> = vectors.list("spiky").iter().map(|v| *v as f32).collect();
    let replaced = hampel(&mut values, 3, 3.0, &mut Scratch::default());
    assert!(replaced > 2, "{replaced}");
    close(
        values.into_iter().map(f64::from),
        &vectors.list("hampel"),
        1e-6,
    );
}

#[test]
fn levels_of_windows_as_in_numpy() {
    let cases: Value = serde_json::from_str(include_str!("data/level.json")).unwrap();
    let mut meter = LevelMeter::default();
    for case in cases.as_array().unwrap() {
        let list = |name: &str| -> Vec<i64> {
            let values = case[name].as_array().unwrap().iter();
            values.map(|value| value.as_i64().unwrap()).collect()
        };
        let levels: Vec<f32> = list("levels_db")
            .iter()
            .map(|level| *level as f32)
            .collect();
        let level = meter.measure(&list("times_us"), &levels, 10_000.0).unwrap();
        let of = |name: &str| case[name].as_f64().unwrap();
        close([level.coherent_db2], &[of("coherent_db2")], 1e-5);
        close([level.variance_db2], &[of("variance_db2")], 1e-5);
        close([level.pairs as f64], &[of("pairs")], 0.0);
        close([level.evidence()], &[of("evidence")], 1e-5);
    }
}

fn numbers(of: &Value) -> Vec<f64> {
    let values = of.as_array().unwrap().iter();
    values.map(|value| value.as_f64().unwrap()).collect()
}

/// The motion of a window of `data/motion.json`.
fn motion_of(window: &Value, rounding: f64) -> Motion {
    let times = window["times_us"].as_array().unwrap().iter();
    let times_us: Vec<i64> = times.map(|time| time.as_i64().unwrap()).collect();
    let rows: Vec<f32> = numbers(&window["rows"]).iter().map(|x| *x as f32).collect();
    let series = Series {
        times_us: &times_us,
        rows: &rows,
        width: rows.len() / times_us.len(),
    };
    MotionMeter::default().measure(series, rounding).unwrap()
}

#[test]
fn motion_of_windows_as_in_numpy() {
    let vectors: Value = serde_json::from_str(include_str!("data/motion.json")).unwrap();
    for window in vectors["rounded"].as_array().unwrap() {
        let motion = motion_of(window, window["rounding"].as_f64().unwrap());
        let phi = window["phi"].as_f64().unwrap();
        close([motion.autocorrelation], &[phi], 1e-5);
    }
    let window = &vectors["bursts"];
    let motion = motion_of(window, 0.0);
    let of = |name: &str| window[name].as_f64().unwrap();
    assert!(of("followed") < dsp::motion::FOLLOWED && !is_fast(motion.period_us));
    close([motion.period_us], &[of("period_us")], 0.0);
    close([motion.neighbour], &[of("neighbour")], 1e-5);
    close([motion.statistic], &[of("statistic")], 1e-6);
    let (own, judged) = (&vectors["lasting"]["own"], &vectors["lasting"]["judged"]);
    let mut lasting = Lasting::default();
    for (place, (own, judged)) in numbers(own).iter().zip(numbers(judged)).enumerate() {
        let window = Motion {
            statistic: *own,
            period_us: 1e4,
            ..motion
        };
        let end_us = 500_000 * (place as i64 + 1);
        close([lasting.judge(&window, end_us, 500_000)], &[judged], 1e-12);
    }
}
