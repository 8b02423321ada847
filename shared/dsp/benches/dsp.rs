//! CPU time of each stage and of the whole per-frame path, for 1x64, 3x30, 4x64 and 4x256 samples.

// A benchmark may panic: it runs on inputs of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use dsp::activity::pairs::Pairs;
use dsp::activity::{Extractor, MAX_CELLS, Work};
use dsp::autocorrelation::{Autocorrelation, Part, Series};
use dsp::breathing::Breathing;
use dsp::butterworth::{self, Filter};
use dsp::clock::RegularClock;
use dsp::cusum::{Cusum, Drift};
use dsp::doppler::{Doppler, Shape};
use dsp::gain::GainBlocks;
use dsp::hampel::{Scratch, hampel};
use dsp::motion::MotionMeter;
use dsp::mover::SteadyFinder;
use dsp::pca::Pca;
use dsp::phase::{Line, Phases, Sanitizer, conjugate_product, ratio};
use dsp::select::Selector;
use dsp::speed::SpeedMeter;
use dsp::split::Split;
use dsp::tone::ToneFinder;
use num_complex::Complex32;

const FRAMES: usize = 200;
const PERIOD_US: i64 = 10_000;
/// Windows are evaluated every half second: so many frames share the cost of one.
const FRAMES_PER_HOP: usize = 50;
/// Streams that the Doppler spectrum is made of.
const STREAMS: usize = 16;

struct Room {
    antennas: usize,
    subcarriers: Vec<i16>,
    valid: Vec<bool>,
    frames: Vec<Vec<Complex32>>,
}

impl Room {
    /// Frames of a room; `moving` changes the shape, so that everything is looked at.
    fn new(antennas: usize, count: i16, moving: bool) -> Self {
        let subcarriers: Vec<i16> = (-count / 2..count - count / 2).collect();
        let mut state = 1_u64;
        let mut noise = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as f32 / 16_777_216.0 - 0.5
        };
        let frames = (0..FRAMES)
            .map(|t| {
                let time = t as f32 / 100.0;
                (0..antennas * subcarriers.len())
                    .map(|k| {
                        let sway = if moving {
                            8.0 * (7.0 * time + k as f32 / 9.0).cos()
                        } else {
                            0.0
                        };
                        Complex32::new(
                            (30.0 + sway + 2.0 * noise()).round(),
                            (10.0 + 2.0 * noise()).round(),
                        )
                    })
                    .collect()
            })
            .collect();
        Self {
            antennas,
            valid: vec![true; subcarriers.len()],
            subcarriers,
            frames,
        }
    }

    fn rows(&self) -> (Vec<i64>, Vec<f32>, usize) {
        let blocks = GainBlocks::new(&self.subcarriers, &self.valid, self.antennas);
        let mut rows = Vec::new();
        let mut row = Vec::new();
        for frame in &self.frames {
            blocks.normalise(frame, &mut row).unwrap();
            rows.extend_from_slice(&row);
        }
        (
            (0..FRAMES as i64).map(|t| t * PERIOD_US).collect(),
            rows,
            blocks.width(),
        )
    }
}

fn stages(criterion: &mut Criterion) {
    for (antennas, subcarriers) in [(1, 64), (3, 30), (4, 64), (4, 256)] {
        let name = format!("{antennas}x{subcarriers}");
        let room = Room::new(antennas, subcarriers, true);
        let (times_us, rows, width) = room.rows();
        let series = Series {
            times_us: &times_us,
            rows: &rows,
            width,
        };
        let blocks = GainBlocks::new(&room.subcarriers, &room.valid, antennas);
        let mut row = Vec::new();
        criterion.bench_function(&format!("gain, per frame/{name}"), |b| {
            b.iter(|| blocks.normalise(black_box(&room.frames[7]), &mut row));
        });
        let mut sums = Autocorrelation::default();
        criterion.bench_function(&format!("first lag, per window of 200/{name}"), |b| {
            b.iter(|| sums.first_lag(black_box(series), |_| Part::First, 25_000.0, 1e-4, None));
        });
        let mut meter = MotionMeter::default();
        criterion.bench_function(&format!("motion, per window of 200/{name}"), |b| {
            b.iter(|| meter.measure(black_box(series), 1e-4));
        });
        let mut scratch = Scratch::default();
        criterion.bench_function(&format!("hampel, one row/{name}"), |b| {
            b.iter(|| {
                row.copy_from_slice(&rows[..width]);
                hampel(black_box(&mut row), 3, 3.0, &mut scratch)
            });
        });
        let mut extractor = Extractor::new(&room.subcarriers, antennas);
        let mut features = Vec::new();
        let (mut split, mut scales, mut packed) = (Split::default(), Vec::new(), Vec::new());
        more_stages(criterion, &name, &room, series, &blocks);
        stages_of_the_live_path(criterion, &name, &room, series, &blocks);
        stages_of_recordings(criterion, &name, &room, series);
        let mut dopplers = Doppler::new(STREAMS, Shape::at(100.0)).unwrap();
        let mut breathing = Breathing::new(&blocks, antennas, &[]);
        let mut clock_us = 0;
        let mut streams = Vec::new();
        // One hop of 50 frames: a fiftieth is what one frame costs on average, windows included.
        criterion.bench_function(
            &format!("whole path, per hop of {FRAMES_PER_HOP} frames/{name}"),
            |b| {
                b.iter(|| {
                    for (frame, time) in room.frames[..FRAMES_PER_HOP].iter().zip(&times_us) {
                        let _ = blocks.split(black_box(frame), &mut split);
                        let _ = blocks.normalise_split(&split, &mut row, &mut scales);
                        blocks.pack(&split, &mut row, &mut scales, &mut packed);
                        extractor.push(*time, split.power(), &room.valid);
                        streams.clear();
                        streams.extend(row.iter().step_by(width.div_ceil(STREAMS)).take(STREAMS));
                        streams.resize(STREAMS, 0.0);
                        // These two need a time that goes on.
                        clock_us += PERIOD_US;
                        dopplers.push(clock_us, &streams);
                        breathing.push(clock_us, &row, &[]);
                    }
                    let _ = extractor.window(0, 500_000, &mut features);
                    meter.measure(black_box(series), 1e-4)
                });
            },
        );
    }
}

/// The stages that are not in every path.
fn more_stages(
    criterion: &mut Criterion,
    name: &str,
    room: &Room,
    series: Series<'_>,
    blocks: &GainBlocks,
) {
    let width = series.width;
    let frame = &room.frames[7];
    let sanitizer = Sanitizer::new(&room.subcarriers, &room.valid, room.antennas);
    let mut phases = Phases::default();
    criterion.bench_function(&format!("phase, shared slope, per frame/{name}"), |b| {
        b.iter(|| sanitizer.sanitize(black_box(frame), Line::SharedSlope, &mut phases));
    });
    let each = room.subcarriers.len();
    let mut product = Vec::new();
    criterion.bench_function(&format!("conjugate product, one pair/{name}"), |b| {
        b.iter(|| {
            conjugate_product(
                black_box(&frame[..each]),
                &frame[frame.len() - each..],
                &mut product,
            )
        });
    });
    let mut filter = Filter::new(butterworth::motion(100.0).unwrap(), width);
    let mut row = series.rows[..width].to_vec();
    criterion.bench_function(&format!("butterworth, order 4, per row/{name}"), |b| {
        b.iter(|| {
            row.copy_from_slice(&series.rows[..width]);
            filter.push(black_box(&mut row));
        });
    });
    let mut pca = Pca::new(width, 200.0);
    let mut turn = 0;
    criterion.bench_function(&format!("pca, per row/{name}"), |b| {
        b.iter(|| {
            turn = (turn + 1) % FRAMES;
            pca.push(black_box(&series.rows[turn * width..(turn + 1) * width]))
        });
    });
    criterion.bench_function(&format!("pca, decomposition/{name}"), |b| {
        b.iter(|| pca.decompose())
    });
    let mut doppler = Doppler::new(STREAMS, Shape::at(100.0)).unwrap();
    let mut clock_us = 0;
    criterion.bench_function(
        &format!("doppler of {STREAMS} streams, per frame/{name}"),
        |b| {
            b.iter(|| {
                clock_us += PERIOD_US;
                turn = (turn + 1) % FRAMES;
                doppler.push(
                    clock_us,
                    black_box(&series.rows[turn * width..turn * width + STREAMS]),
                )
            });
        },
    );
    let mut selector = Selector::default();
    criterion.bench_function(&format!("select, per window of 200/{name}"), |b| {
        b.iter(|| selector.weigh(black_box(series), 25_000.0).len());
    });
    let mut speed = SpeedMeter::default();
    criterion.bench_function(&format!("speed, per window of 200/{name}"), |b| {
        b.iter(|| speed.measure(black_box(series), 0.0577));
    });
    let pairs: Vec<(usize, usize)> = (1..room.antennas).map(|other| (0, other)).collect();
    let mut breathing = Breathing::new(blocks, room.antennas, &pairs);
    criterion.bench_function(&format!("breathing, per frame/{name}"), |b| {
        b.iter(|| {
            clock_us += PERIOD_US;
            turn = (turn + 1) % FRAMES;
            breathing.push(
                clock_us,
                &series.rows[turn * width..(turn + 1) * width],
                black_box(&room.frames[turn]),
            )
        });
    });
    for _ in 0..6000 {
        clock_us += PERIOD_US;
        turn = (turn + 1) % FRAMES;
        breathing.push(
            clock_us,
            &series.rows[turn * width..(turn + 1) * width],
            &room.frames[turn],
        );
    }
    criterion.bench_function(&format!("breathing, per window of 60 s/{name}"), |b| {
        b.iter(|| breathing.estimate(black_box(clock_us), 60.0, true));
    });
}

/// The rest of what the service does with a frame, and with a window.
fn stages_of_the_live_path(
    criterion: &mut Criterion,
    name: &str,
    room: &Room,
    series: Series<'_>,
    blocks: &GainBlocks,
) {
    let frame = &room.frames[7];
    let mut split = Split::default();
    criterion.bench_function(&format!("split, per frame/{name}"), |b| {
        b.iter(|| blocks.split(black_box(frame), &mut split));
    });
    let (mut row, mut scales, mut packed) = (Vec::new(), Vec::new(), Vec::new());
    criterion.bench_function(&format!("gain of a split frame, packed/{name}"), |b| {
        b.iter(|| {
            let gain = blocks.normalise_split(black_box(&split), &mut row, &mut scales);
            blocks.pack(&split, &mut row, &mut scales, &mut packed);
            gain
        });
    });
    let mut rows = Vec::new();
    criterion.bench_function(&format!("unpack, one row/{name}"), |b| {
        b.iter(|| {
            rows.clear();
            blocks.unpack(black_box(&packed), &scales, &mut rows);
        });
    });
    let mut extractor = Extractor::new(&room.subcarriers, room.antennas);
    let powers: Vec<f32> = frame.iter().map(Complex32::norm_sqr).collect();
    let mut clock_us = 0;
    criterion.bench_function(&format!("activity, per frame/{name}"), |b| {
        b.iter(|| {
            clock_us += PERIOD_US;
            extractor.push(clock_us, black_box(&powers), &room.valid)
        });
    });
    let mut extractor = Extractor::new(&room.subcarriers, room.antennas);
    for (frame, time) in room.frames.iter().zip(series.times_us) {
        let powers: Vec<f32> = frame.iter().map(Complex32::norm_sqr).collect();
        extractor.push(*time, &powers, &room.valid);
    }
    let mut features = Vec::new();
    criterion.bench_function(&format!("activity, per window of 200/{name}"), |b| {
        b.iter(|| extractor.window(0, black_box(2_000_000), &mut features));
    });
    let (mut work, mut course, mut profile) = (Work::default(), Vec::new(), Vec::new());
    let found = extractor.window_in(&mut work, 0, 2_000_000, &mut features);
    criterion.bench_function(&format!("course, per window of 200/{name}"), |b| {
        b.iter(|| {
            extractor.course_in(&mut work, &mut course, &mut profile);
            black_box(found)
        });
    });
    let shared = dsp::breathing::pairs(room.antennas, 1);
    let mut pairs = Pairs::new(blocks, room.antennas, shared, MAX_CELLS);
    let (mut split, mut product) = (Split::default(), Split::default());
    for (frame, time) in room.frames.iter().zip(series.times_us) {
        if blocks.split(frame, &mut split).is_ok() {
            pairs.push(*time, &split, &mut product);
        }
    }
    criterion.bench_function(&format!("pairs, per window of 200/{name}"), |b| {
        b.iter(|| {
            pairs.window_in(
                &mut work,
                0,
                black_box(2_000_000),
                &mut course,
                &mut profile,
            )
        });
    });
    let mut clock_us = 0;
    criterion.bench_function(&format!("pairs, per frame/{name}"), |b| {
        b.iter(|| {
            clock_us += PERIOD_US;
            pairs.push(clock_us, black_box(&split), &mut product)
        });
    });
    let mut tones = ToneFinder::default();
    criterion.bench_function(&format!("tone, per window of 200/{name}"), |b| {
        b.iter(|| tones.analyse(black_box(series), PERIOD_US as f64));
    });
    let mut breathing = Breathing::new(blocks, room.antennas, &[]);
    for turn in 0..5000 {
        let place = turn % FRAMES * series.width;
        let row = &series.rows[place..place + series.width];
        breathing.push(turn as i64 * PERIOD_US, row, &[]);
    }
    let mut finder = SteadyFinder::default();
    let end_us = 5000 * PERIOD_US;
    criterion.bench_function(&format!("steady mover, searched in 45 s/{name}"), |b| {
        b.iter(|| breathing.steady(black_box(end_us), None, &mut finder));
    });
    criterion.bench_function(&format!("steady mover, known, in 45 s/{name}"), |b| {
        b.iter(|| breathing.steady(black_box(end_us), Some(1.1), &mut finder));
    });
}

/// What pipelines over recordings and calibrations add.
fn stages_of_recordings(criterion: &mut Criterion, name: &str, room: &Room, series: Series<'_>) {
    let frame = &room.frames[7];
    let each = room.subcarriers.len();
    let mut quotient = Vec::new();
    criterion.bench_function(&format!("csi ratio, one pair/{name}"), |b| {
        b.iter(|| {
            let (one, other) = (&frame[..each], &frame[frame.len() - each..]);
            ratio(black_box(one), other, &mut quotient)
        });
    });
    let mut clock = RegularClock::default();
    criterion.bench_function(&format!("regular clock, per window of 200/{name}"), |b| {
        b.iter(|| {
            clock.lay(black_box(series.times_us), PERIOD_US as f64, 2048);
            let columns = 0..series.width;
            let ticks = columns.flat_map(|k| clock.column(series.rows, series.width, k));
            ticks.flatten().sum::<f32>()
        });
    });
    let (mut cusum, mut drift) = (Cusum::new(0.5, 5.0), Drift::new(10.0, 0.01));
    criterion.bench_function(&format!("cusum and drift, one row/{name}"), |b| {
        b.iter(|| {
            for value in black_box(&series.rows[..series.width]) {
                drift.push(*value, 0.01);
                cusum.push(*value);
            }
        });
    });
}

criterion_group!(benches, stages);
criterion_main!(benches);
