mod bursts;
mod lasting;
mod rounding;

use std::f64::consts::TAU;

use super::*;

/// Deterministic noise.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (TAU * self.uniform()).cos()
    }
}

const WIDTH: usize = 52;
const FRAMES: usize = 200;

/// Two seconds at 100 Hz: a static shape with 2 % noise, times `change`.
fn room(seed: u64, change: impl Fn(f64, usize) -> f64) -> (Vec<i64>, Vec<f32>) {
    let mut noise = Noise(seed * 2_654_435_761 + 1);
    let times: Vec<i64> = (0..FRAMES as i64)
        .map(|t| t * 10_000 + (noise.uniform() * 600.0) as i64)
        .collect();
    let mut rows = Vec::new();
    for time in &times {
        for k in 0..WIDTH {
            let shape = 1.0 + 0.4 * (k as f64 / 9.0).cos();
            rows.push(
                (shape * change(*time as f64 / 1e6, k) * (1.0 + 0.04 * noise.normal())) as f32,
            );
        }
    }
    (times, rows)
}

fn measure((times_us, rows): &(Vec<i64>, Vec<f32>)) -> Motion {
    MotionMeter::default()
        .measure(
            Series {
                times_us,
                rows,
                width: WIDTH,
            },
            1e-4,
        )
        .unwrap()
}

fn body(t: f64, k: usize) -> f64 {
    1.0 + 0.25 * (6.0 * t + 2.5 * (1.7 * t).sin() + k as f64 / 6.0).cos()
        + 0.1 * (11.0 * t - k as f64 / 4.0).cos()
}

#[test]
fn an_empty_room_is_near_zero() {
    for seed in 1..20 {
        let motion = measure(&room(seed, |_, _| 1.0));
        assert!(motion.statistic < 0.1, "{motion:?}");
    }
}

#[test]
fn a_moving_body_stands_out_and_nothing_explains_it_away() {
    for seed in 1..20 {
        let motion = measure(&room(seed, body));
        assert!(motion.statistic > 0.6, "{motion:?}");
        assert_eq!(motion.explanation, None, "{motion:?}");
    }
}

#[test]
fn a_shuffled_body_is_noise() {
    let (times, rows) = room(3, body);
    let mut order: Vec<usize> = (0..FRAMES).collect();
    let mut noise = Noise(99);
    order.sort_by_cached_key(|_| (noise.uniform() * 1e9) as u64);
    let shuffled = order
        .iter()
        .flat_map(|i| rows[i * WIDTH..(i + 1) * WIDTH].to_vec())
        .collect();
    let motion = measure(&(times, shuffled));
    assert!(motion.statistic < 0.15, "{motion:?}");
    assert!(motion.fluctuation > 0.1, "{motion:?}");
}

#[test]
fn one_step_is_explained_wherever_it_falls() {
    for at in [0.1, 0.5, 1.0, 1.5, 1.9] {
        let change = |t: f64, k: usize| {
            if t < at {
                1.0
            } else {
                1.0 + 0.3 * (k as f64 / 8.0).sin()
            }
        };
        let motion = measure(&room(5, change));
        assert!(motion.statistic < 0.15, "{at}: {motion:?}");
        assert!(motion.autocorrelation > 0.3, "{at}: {motion:?}");
    }
}

#[test]
fn frames_from_elsewhere_in_between_are_explained() {
    for (share, longest) in [(0.1, 3), (0.3, 6), (0.2, 12)] {
        for seed in 1..12 {
            let (times, mut rows) = room(seed, |_, _| 1.0);
            let mut noise = Noise(seed + 77);
            let mut index = 0;
            while index < FRAMES {
                let run = 1 + (noise.uniform() * longest as f64) as usize;
                if noise.uniform() < share / (longest as f64 / 2.0) {
                    for row in rows.chunks_exact_mut(WIDTH).skip(index).take(run) {
                        row.iter_mut()
                            .enumerate()
                            .for_each(|(k, x)| *x *= 1.0 + 0.6 * (k as f32 / 5.0).cos());
                    }
                    index += run;
                } else {
                    index += 1;
                }
            }
            let motion = measure(&(times, rows));
            assert!(
                motion.statistic < 0.25,
                "{share} {longest} {seed}: {motion:?}"
            );
        }
    }
}

#[test]
fn single_frames_from_elsewhere_hide_no_body() {
    for seed in 1..12 {
        let among = |change: fn(f64, usize) -> f64| {
            let (times, mut rows) = room(seed, change);
            let mut noise = Noise(seed + 55);
            for row in rows.chunks_exact_mut(WIDTH) {
                if noise.uniform() < 0.1 {
                    let turned = noise.uniform() * TAU;
                    row.iter_mut().enumerate().for_each(|(k, x)| {
                        *x *= 1.0 + 0.9 * (k as f64 / 3.0 + turned).cos() as f32
                    });
                }
            }
            measure(&(times, rows))
        };
        let hidden = among(|t, k| 1.0 + 0.5 * (body(t, k) - 1.0));
        assert!(hidden.evenness < EVEN, "{seed}: {hidden:?}");
        assert!(hidden.autocorrelation < 0.25, "{seed}: {hidden:?}");
        assert!(hidden.statistic > 0.5, "{seed}: {hidden:?}");
        assert_eq!(hidden.explanation, None, "{seed}: {hidden:?}");
        let empty = among(|_, _| 1.0);
        assert!(empty.statistic < 0.1, "{seed}: {empty:?}");
        let fan = among(|t, k| 1.0 + 0.2 * (TAU * 3.7 * t + k as f64 / 7.0).cos());
        assert!(fan.autocorrelation > 0.05, "{seed}: {fan:?}");
        assert!(fan.statistic < 0.15, "{seed}: {fan:?}");
    }
}

#[test]
fn a_fan_is_a_tone() {
    for frequency in [2.0, 3.7, 8.0, 17.0, 31.0] {
        let fan = |t: f64, k: usize| 1.0 + 0.2 * (TAU * frequency * t + k as f64 / 7.0).cos();
        let motion = measure(&room(2, fan));
        assert!(motion.statistic < 0.15, "{frequency}: {motion:?}");
        if motion.autocorrelation > 0.3 {
            assert_eq!(
                motion.explanation,
                Some(Explanation::SteadyTone),
                "{frequency}: {motion:?}"
            );
        }
    }
}

#[test]
fn a_body_beside_a_fan_still_counts() {
    let both = |t: f64, k: usize| body(t, k) + 0.1 * (TAU * 9.0 * t).cos();
    let motion = measure(&room(4, both));
    assert!(motion.statistic > 0.4, "{motion:?}");
}

/// Every tenth frame of a longer room: 20 frames, 10 a second.
fn slow(seed: u64, change: impl Fn(f64, usize) -> f64) -> (Vec<i64>, Vec<f32>) {
    let mut noise = Noise(seed * 2_654_435_761 + 1);
    let times: Vec<i64> = (0..20)
        .map(|t| t * 100_000 + (noise.uniform() * 3000.0) as i64)
        .collect();
    let mut rows = Vec::new();
    for time in &times {
        for k in 0..WIDTH {
            let shape = 1.0 + 0.4 * (k as f64 / 9.0).cos();
            let noisy = 1.0 + 0.04 * noise.normal();
            rows.push((shape * change(*time as f64 / 1e6, k) * noisy) as f32);
        }
    }
    (times, rows)
}

#[test]
fn ten_frames_a_second_tell_a_walking_body_from_noise() {
    // A body that is somewhere else in each frame: nothing is left of it in the autocorrelation.
    let walking = |t: f64, k: usize| {
        1.0 + 0.2 * (31.0 * t + 4.0 * (2.9 * t).sin() + k as f64 / 6.0).cos()
            + 0.15 * (47.0 * t - 6.0 * (1.3 * t).cos() - k as f64 / 4.0).cos()
    };
    for seed in 1..20 {
        let motion = measure(&slow(seed, walking));
        assert!(motion.autocorrelation < 0.2, "{motion:?}");
        assert!(motion.statistic > 0.3, "{motion:?}");
        let empty = measure(&slow(seed, |_, _| 1.0));
        assert!(empty.statistic < 0.1, "{empty:?}");
    }
}

#[test]
fn one_step_in_few_frames_is_explained() {
    for at in [0.45, 1.05, 1.55] {
        let change = |t: f64, k: usize| {
            if t < at {
                1.0
            } else {
                1.0 + 0.3 * (k as f64 / 8.0).sin()
            }
        };
        let motion = measure(&slow(5, change));
        assert!(motion.neighbour > 0.5, "{at}: {motion:?}");
        assert!(motion.statistic < 0.15, "{at}: {motion:?}");
        assert_eq!(
            motion.explanation,
            Some(Explanation::Step),
            "{at}: {motion:?}"
        );
    }
}

#[test]
fn a_fan_in_few_frames_is_a_tone() {
    let fan = |t: f64, k: usize| 1.0 + 0.3 * (TAU * 2.5 * t + k as f64 / 7.0).cos();
    let motion = measure(&slow(2, fan));
    assert!(motion.neighbour > 0.5, "{motion:?}");
    assert!(motion.statistic < 0.15, "{motion:?}");
}

#[test]
fn coherent_rounding_is_not_counted() {
    // A constant channel of 6 units whose phase turns slowly: all that changes is the rounding of its parts.
    let times: Vec<i64> = (0..FRAMES as i64).map(|t| t * 10_000).collect();
    let mut rows = Vec::new();
    for t in 0..FRAMES {
        let row: Vec<f64> = (0..WIDTH)
            .map(|k| {
                let phase = 0.004 * t as f64 + k as f64;
                (6.0 * phase.cos()).round().powi(2) + (6.0 * phase.sin()).round().powi(2)
            })
            .collect();
        let mean = row.iter().sum::<f64>() / WIDTH as f64;
        rows.extend(row.iter().map(|power| (power / mean) as f32));
    }
    let rounding = 1.0 / (3.0 * 36.0);
    let motion = MotionMeter::default().measure(
        Series {
            times_us: &times,
            rows: &rows,
            width: WIDTH,
        },
        rounding,
    );
    let motion = motion.unwrap();
    assert!(motion.statistic < 0.25, "{motion:?}");
}

#[test]
fn silence_and_too_little_give_nothing() {
    let times: Vec<i64> = (0..50).map(|t| t * 10_000).collect();
    let rows = vec![1.0; 50 * WIDTH];
    let mut meter = MotionMeter::default();
    assert_eq!(
        meter.measure(
            Series {
                times_us: &times,
                rows: &rows,
                width: WIDTH
            },
            0.0
        ),
        None
    );
    assert_eq!(
        meter.measure(
            Series {
                times_us: &times[..1],
                rows: &rows[..WIDTH],
                width: WIDTH
            },
            0.0
        ),
        None
    );
    assert_eq!(
        meter.measure(
            Series {
                times_us: &[],
                rows: &[],
                width: 0
            },
            0.0
        ),
        None
    );
}

/// As [`measure`], with a level for each frame.
fn heard((times_us, rows): &(Vec<i64>, Vec<f32>), level: impl Fn(f64) -> f64) -> Motion {
    let levels: Vec<f32> = times_us
        .iter()
        .map(|time| level(*time as f64 / 1e6).round() as f32)
        .collect();
    let series = Series {
        times_us,
        rows,
        width: WIDTH,
    };
    MotionMeter::default()
        .measure_with_level(series, 1e-4, &levels)
        .unwrap()
}

/// Smooth changes of 2 dB and more.
fn wandering(t: f64) -> f64 {
    -60.0 + 3.0 * (4.1 * t + (1.3 * t).sin()).sin() + 2.0 * (2.3 * t * t).cos()
}

/// A movement that the shape hardly shows.
fn weak(t: f64, k: usize) -> f64 {
    let way = 14.0 * (1.1 * t).sin() + 6.0 * (2.7 * t + 1.0).sin();
    1.0 + 0.029 * (way + k as f64 / 6.0).cos()
}

#[test]
fn the_level_helps_a_weak_shape_and_says_that_it_did() {
    let mut helped = 0;
    for seed in 1..20 {
        let room = room(seed, weak);
        let alone = measure(&room);
        let together = heard(&room, wandering);
        // Where the level is heard, the shape is explained from a lower statistic on.
        assert!(together.shape <= alone.statistic, "{together:?} {alone:?}");
        assert!(together.statistic >= together.shape);
        helped += usize::from(together.by_level(0.2));
        // Rounding, or none, leaves it as it is.
        assert_eq!(heard(&room, |t| -60.4 - 0.2 * t).statistic, alone.statistic);
    }
    assert!(helped > 0);
}

#[test]
fn the_level_of_an_empty_room_may_do_what_it_likes() {
    for seed in 1..40 {
        let room = room(seed, |_, _| 1.0);
        for level in [
            wandering as fn(f64) -> f64,
            |t| if t < 1.0 { -60.0 } else { -48.0 },
            |t| -60.0 + 6.0 * (TAU * 3.0 * t).sin(),
            |t| {
                if (5.0 * t) as i64 % 2 == 0 {
                    -60.0
                } else {
                    -66.0
                }
            },
        ] {
            let motion = heard(&room, level);
            assert!(motion.statistic < 0.15, "{seed}: {motion:?}");
        }
    }
}

#[test]
fn what_is_explained_away_is_not_brought_back_by_the_level() {
    let step = |t: f64, k: usize| {
        if t < 1.0 {
            1.0
        } else {
            1.0 + 0.3 * (k as f64 / 8.0).sin()
        }
    };
    let fan = |t: f64, k: usize| 1.0 + 0.2 * (TAU * 3.7 * t + k as f64 / 7.0).cos();
    for seed in 1..10 {
        for room in [room(seed, step), room(seed, fan)] {
            let motion = heard(&room, wandering);
            assert!(motion.explanation.is_some(), "{motion:?}");
            assert_eq!(motion.statistic, motion.shape);
        }
    }
}

#[test]
fn levels_of_another_number_are_none() {
    let (times_us, rows) = room(3, weak);
    let series = Series {
        times_us: &times_us,
        rows: &rows,
        width: WIDTH,
    };
    let mut meter = MotionMeter::default();
    let alone = meter.measure(series, 1e-4);
    assert_eq!(
        meter.measure_with_level(series, 1e-4, &[-60.0, -50.0]),
        alone
    );
}

/// A fan's share of the variance is that of `r`, not of a power of it: a walk whose strongest sinusoid explains half of the
/// statistic, and much less of the coherence, is a walk.
#[test]
fn a_walk_in_few_frames_is_no_tone() {
    let walking = |t: f64, k: usize| {
        1.0 + 0.1 * (14.0 * t + 3.0 * (1.9 * t).sin() + k as f64 / 6.0).cos()
            + 0.08 * (23.0 * t - 4.0 * (1.3 * t).cos() - k as f64 / 4.0).cos()
    };
    for seed in 1..20 {
        let motion = measure(&slow(seed, walking));
        assert_ne!(
            motion.explanation,
            Some(Explanation::SteadyTone),
            "{motion:?}"
        );
        assert!(motion.statistic > 0.2, "{motion:?}");
    }
}
