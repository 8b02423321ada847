//! No stage allocates per frame, or per window, once it is warm: counted by a counting allocator.

// A test may panic: that is how it fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use dsp::activity::pairs::Pairs;
use dsp::activity::{Extractor, MAX_CELLS, Work};
use dsp::autocorrelation::{Autocorrelation, Part, Series};
use dsp::breathing::Breathing;
use dsp::butterworth::{self, Filter};
use dsp::cusum::{Cusum, Drift};
use dsp::doppler::{Doppler, Shape};
use dsp::gain::GainBlocks;
use dsp::hampel::{Scratch, hampel};
use dsp::motion::MotionMeter;
use dsp::pca::{CARM, Pca};
use dsp::phase::{Line, Phases, Sanitizer, conjugate_product, ratio};
use dsp::select::Selector;
use dsp::speed::SpeedMeter;
use dsp::split::Split;
use num_complex::Complex32;

const ANTENNAS: usize = 2;
const SUBCARRIERS: usize = 56;
const WIDTH: usize = ANTENNAS * SUBCARRIERS;
const FRAMES: usize = 300;
const PERIOD_US: i64 = 10_000;

/// Runs `step` until it is warm, then counts what it allocates.
fn check(name: &str, warm: usize, mut step: impl FnMut(usize)) {
    (0..warm).for_each(&mut step);
    let counted = allocation_counter::measure(|| (warm..2 * warm).for_each(&mut step));
    assert_eq!(counted.count_total, 0, "{name}: {counted:?}");
}

fn frames() -> Vec<Vec<Complex32>> {
    let mut state = 1_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    let sample = |t: usize, k: usize| {
        let sway = 8.0 * (0.07 * t as f32 + k as f32 / 9.0).cos();
        Complex32::from_polar(30.0 + sway + noise(), k as f32 / 20.0 + 0.1 * noise())
    };
    let mut sample = sample;
    (0..FRAMES)
        .map(|t| (0..WIDTH).map(|k| sample(t, k)).collect())
        .collect()
}

#[test]
fn no_stage_allocates_when_warm() {
    let frames = frames();
    let subcarriers: Vec<i16> = (0..SUBCARRIERS as i16).collect();
    let valid = vec![true; SUBCARRIERS];
    let blocks = GainBlocks::new(&subcarriers, &valid, ANTENNAS);
    let frame = |t: usize| &frames[t % FRAMES];
    let (mut rows, mut row) = (Vec::new(), Vec::new());
    for frame in &frames {
        blocks.normalise(frame, &mut row).unwrap();
        rows.extend_from_slice(&row);
    }
    let row_at = |t: usize| &rows[t % FRAMES * WIDTH..(t % FRAMES + 1) * WIDTH];
    let times_us: Vec<i64> = (0..FRAMES as i64).map(|t| t * PERIOD_US).collect();
    let series = Series {
        times_us: &times_us,
        rows: &rows,
        width: WIDTH,
    };
    let time = |t: usize| t as i64 * PERIOD_US;

    check("gain", 10, |t| {
        blocks.normalise(frame(t), &mut row).unwrap();
    });
    let sanitizer = Sanitizer::new(&subcarriers, &valid, ANTENNAS);
    let mut phases = Phases::default();
    check("phase", 10, |t| {
        sanitizer
            .sanitize(frame(t), Line::SharedSlope, &mut phases)
            .unwrap();
    });
    let (mut quotient, mut product) = (Vec::new(), Vec::new());
    check("ratio and product", 10, |t| {
        let (one, other) = frame(t).split_at(SUBCARRIERS);
        ratio(one, other, &mut quotient).unwrap();
        conjugate_product(one, other, &mut product).unwrap();
    });
    let mut scratch = Scratch::default();
    let mut filter = Filter::new(butterworth::motion(100.0).unwrap(), WIDTH);
    check("hampel and butterworth", 10, |t| {
        row.copy_from_slice(row_at(t));
        hampel(&mut row, 3, 3.0, &mut scratch);
        filter.push(&mut row);
    });
    let (mut pca, mut projected) = (Pca::new(WIDTH, 100.0), Vec::new());
    check("pca", 20, |t| {
        pca.push(row_at(t));
        pca.decompose();
        pca.project(row_at(t), CARM, &mut projected);
    });
    let mut doppler = Doppler::new(WIDTH, Shape::at(100.0)).unwrap();
    check("doppler", 200, |t| {
        doppler.push(time(t), row_at(t));
    });
    let (mut cusum, mut drift) = (Cusum::new(0.5, 5.0), Drift::new(10.0, 0.01));
    check("cusum and drift", 100, |t| {
        cusum.push(row_at(t)[0]);
        drift.push(row_at(t)[0], 0.01);
    });
    let mut selector = Selector::default();
    check("select", 2, |_| {
        selector.weigh(series, 25_000.0);
        selector.best(10);
    });
    let mut sums = Autocorrelation::default();
    check("autocorrelation", 2, |_| {
        sums.first_lag(series, |_| Part::First, 25_000.0, 0.0, None)
            .unwrap();
    });
    let mut motion = MotionMeter::default();
    check("motion", 2, |_| {
        motion.measure(series, 1e-4).unwrap();
    });
    let wandering = |t: &i64| (4.0 * (*t as f64 / 1e6).sin()).round() as f32;
    let levels: Vec<f32> = series.times_us.iter().map(wandering).collect();
    check("motion with level", 2, |_| {
        let motion = motion.measure_with_level(series, 1e-4, &levels).unwrap();
        assert!(motion.level.is_some());
    });
    // The same frames in bursts of ten.
    let bunched = |(place, _): (usize, &i64)| (place / 10) as i64 * 100_000 + (place % 10) as i64;
    let times_us: Vec<i64> = series.times_us.iter().enumerate().map(bunched).collect();
    let bursts = Series {
        times_us: &times_us,
        ..series
    };
    check("motion of bursts", 2, |_| {
        let motion = motion.measure_with_level(bursts, 1e-4, &levels).unwrap();
        assert_eq!(motion.period_us, 100_000.0);
    });
    let mut speed = SpeedMeter::default();
    check("speed", 2, |_| {
        let _ = speed.measure(series, 0.0577);
    });
    let mut extractor = Extractor::new(&subcarriers, ANTENNAS);
    let (mut powers, mut features) = (Vec::new(), Vec::new());
    check("activity", 400, |t| {
        powers.clear();
        powers.extend(frame(t).iter().map(Complex32::norm_sqr));
        extractor.push(time(t), &powers, &valid);
        if t % 100 == 99 {
            let _ = extractor.window(time(t) - 2_000_000, time(t), &mut features);
        }
    });
    let mut pairs = Pairs::new(&blocks, ANTENNAS, [(0, 1)], MAX_CELLS);
    let (mut split, mut product) = (Split::default(), Split::default());
    let mut work = Work::default();
    let (mut course, mut profile) = (Vec::new(), Vec::new());
    check("pairs", 400, |t| {
        blocks.split(frame(t), &mut split).unwrap();
        assert!(pairs.push(time(t), &split, &mut product));
        if t % 100 == 99 {
            let bounds = (time(t) - 2_000_000, time(t));
            let _ = pairs.window_in(&mut work, bounds.0, bounds.1, &mut course, &mut profile);
        }
    });
    assert!(!course.is_empty());
    let mut breathing = Breathing::new(&blocks, ANTENNAS, &[(0, 1)]);
    check("breathing", 7000, |t| {
        breathing.push(time(t), row_at(t), frame(t));
        if t % 1000 == 999 {
            let _ = breathing.estimate(time(t), 60.0, true);
        }
    });
}
