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

/// Rounded samples of a constant channel of `units` whose phase turns by `turn` radians a frame, with receiver noise of `noise` units.
fn rounded(units: f64, noise: f64, turn: f64) -> (Vec<i64>, Vec<f32>, f64) {
    let times: Vec<i64> = (0..FRAMES as i64).map(|t| t * 10_000).collect();
    let mut source = Noise(17);
    let (mut rows, mut inverse) = (Vec::new(), 0.0);
    for t in 0..FRAMES {
        let row: Vec<f64> = (0..WIDTH)
            .map(|k| {
                let phase = turn * t as f64 + 0.37 * k as f64;
                let mut part = |value: f64| (units * value + noise * source.normal()).round();
                part(phase.cos()).powi(2) + part(phase.sin()).powi(2)
            })
            .collect();
        let mean = row.iter().sum::<f64>() / WIDTH as f64;
        inverse += 1.0 / mean;
        rows.extend(row.iter().map(|power| (power / mean) as f32));
    }
    (times, rows, inverse / FRAMES as f64 / 3.0)
}

#[test]
fn rounding_is_no_motion_with_whatever_noise() {
    for units in [4.0, 8.0, 20.0, 60.0] {
        for noise in [0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0] {
            for turn in [0.0005, 0.002, 0.008, 0.03, 0.3] {
                let (times_us, rows, rounding) = rounded(units, noise, turn);
                let series = Series {
                    times_us: &times_us,
                    rows: &rows,
                    width: WIDTH,
                };
                let motion = MotionMeter::default().measure(series, rounding);
                // Rows that are alike to the last bit are no motion either.
                let statistic = motion.map_or(0.0, |motion| motion.statistic);
                let most = if noise > 0.0 { 0.1 } else { THRESHOLD };
                assert!(statistic < most, "{units} {noise} {turn}: {motion:?}");
            }
        }
    }
}

#[test]
fn what_rounding_leaves_coherent_is_bounded_from_above() {
    // Errors of rounding under Gaussian steps of `s` units are correlated by `6 / pi^2 sum 1/k^2 exp(-2 pi^2 k^2 s^2)`; with noise of `a`
    // times the variance of rounding, `s^2 = a / 6`, and half the mean square change is `a + 1 - correlation`, both in that variance.
    for a in (0..300).map(|step| f64::from(step) / 100.0) {
        let terms = (1..400).map(|k| f64::from(k).powi(2));
        let sum: f64 = terms
            .map(|k2| (-TAU * TAU / 2.0 * k2 * a / 6.0).exp() / k2)
            .sum();
        let correlation = 24.0 / (TAU * TAU) * sum;
        let change = 2.0 * (a + 1.0 - correlation);
        let bound = coherent_rounding(1.0, change);
        assert!(bound >= correlation - 0.002, "{a}: {bound} {correlation}");
        assert!(bound <= correlation + 0.14, "{a}: {bound} {correlation}");
    }
    assert_eq!(coherent_rounding(0.0, 1.0), 0.0);
}

#[test]
fn a_small_movement_above_the_noise_is_not_taken_for_rounding() {
    // Of a coherent 1e-3, samples of 20 units would hide 8e-4 if their rounding were coherent. With noise of 0.4 units it is not.
    let quiet = room(8, |_, _| 1.0);
    let moving = room(8, |t, k| {
        1.0 + 0.045 * (6.0 * t + 2.5 * (1.7 * t).sin() + k as f64 / 6.0).cos()
    });
    let statistic = |(times_us, rows): &(Vec<i64>, Vec<f32>)| {
        let series = Series {
            times_us,
            rows,
            width: WIDTH,
        };
        MotionMeter::default()
            .measure(series, 8e-4)
            .unwrap()
            .statistic
    };
    assert!(statistic(&moving) > THRESHOLD, "{}", statistic(&moving));
    assert!(statistic(&quiet) < 0.05, "{}", statistic(&quiet));
}

#[test]
fn small_movement_that_lasts_is_worth_two_windows() {
    let motion = |statistic: f64, period_us: f64| Motion {
        statistic,
        period_us,
        ..measure(&room(1, |_, _| 1.0))
    };
    let twice = |statistic: f64| statistic * (2.0 - statistic);
    let hop = 500_000;
    let all = |statistics: &[f64]| -> Vec<f64> {
        let mut lasting = Lasting::default();
        let ends = (1..).map(|hops| hops * hop);
        let one = |(statistic, end): (&f64, i64)| lasting.judge(&motion(*statistic, 1e4), end, hop);
        statistics.iter().zip(ends).map(one).collect()
    };
    // From the fourth on, and not beyond the first that falls back.
    let small = [0.12, 0.11, 0.13, 0.12, 0.12, 0.01, 0.12, 0.12, 0.12, 0.12];
    let mut expected = small;
    (expected[3], expected[4]) = (twice(0.11), twice(0.11));
    (expected[5], expected[9]) = (twice(0.01), twice(0.12));
    assert_eq!(all(&small), expected);
    assert!(expected[3] > THRESHOLD);
    // A jolt stays what it is, movement that is over is over, and nothing is more than all.
    assert_eq!(all(&[0.0, 0.9, 0.9, 0.9, 0.0]), [0.0, 0.9, 0.9, 0.9, 0.0]);
    assert_eq!(all(&[0.9, 0.9, 0.9, 0.9, -0.1]).pop(), Some(-0.1));
    assert_eq!(all(&[1.0, 1.0, 1.0, 1.0]), [1.0; 4]);
    // A window that is missing, or of few frames, begins anew.
    let mut lasting = Lasting::default();
    for end in [1, 2, 3, 5, 6, 7] {
        assert_eq!(lasting.judge(&motion(0.12, 1e4), end * hop, hop), 0.12);
    }
    assert_eq!(lasting.judge(&motion(0.12, 1e4), 8 * hop, hop), twice(0.12));
    assert_eq!(lasting.judge(&motion(0.12, 1e5), 9 * hop, hop), 0.12);
    assert_eq!(lasting.judge(&motion(0.12, 1e4), 10 * hop, hop), 0.12);
    // Taken up elsewhere it goes on as it would have.
    let mut lasting = Lasting::default();
    for end in 1..4 {
        lasting.judge(&motion(0.12, 1e4), end * hop, hop);
    }
    let mut other = Lasting::of(lasting.recent(), lasting.end_us());
    assert_eq!(other, lasting);
    assert_eq!(other.judge(&motion(0.12, 1e4), 4 * hop, hop), twice(0.12));
    // Of long hops two.
    let mut lasting = Lasting::default();
    assert_eq!(lasting.judge(&motion(0.12, 1e4), 8 * hop, 4 * hop), 0.12);
    let second = lasting.judge(&motion(0.12, 1e4), 12 * hop, 4 * hop);
    assert_eq!(second, twice(0.12));
}

/// Bursts of `each` frames, 0.5 ms apart, every 110 ms: with each its own state of the receiver, which a burst's frames share.
fn in_bursts(each: usize, seed: u64, change: impl Fn(f64, usize) -> f64) -> (Vec<i64>, Vec<f32>) {
    let mut noise = Noise(seed * 77 + 3);
    let (mut times, mut rows) = (Vec::new(), Vec::new());
    for begin in (0..18).map(|burst| burst * 110_000) {
        let state: Vec<f64> = (0..WIDTH).map(|_| 0.08 * noise.normal()).collect();
        for time in (0..each as i64).map(|frame| begin + frame * 500) {
            times.push(time);
            rows.extend(state.iter().enumerate().map(|(k, state)| {
                (change(time as f64 / 1e6, k) * (1.0 + state + 0.04 * noise.normal())) as f32
            }));
        }
    }
    (times, rows)
}

#[test]
fn what_the_frames_of_a_burst_share_is_no_motion() {
    let walk =
        |t: f64, k: usize| 1.0 + 0.3 * (14.0 * t + 3.0 * (1.9 * t).sin() + k as f64 / 6.0).cos();
    for seed in 1..12 {
        for each in [3, 6, 9] {
            let still = measure(&in_bursts(each, seed, |_, _| 1.0));
            assert!(still.statistic < 0.1, "{seed} {each}: {still:?}");
            assert!(!is_fast(still.period_us) && still.pairs == 17, "{still:?}");
            let moving = measure(&in_bursts(each, seed, walk));
            assert!(moving.statistic > THRESHOLD, "{seed} {each}: {moving:?}");
        }
    }
}

#[test]
fn bursts_are_means_of_their_frames() {
    let (times_us, rows) = in_bursts(4, 9, |_, _| 1.0);
    let levels: Vec<f32> = (0..times_us.len()).map(|index| index as f32).collect();
    let mut together = Together::default();
    let series = Series {
        times_us: &times_us,
        rows: &rows,
        width: WIDTH,
    };
    together.take(series, &levels);
    let (means, mean_levels) = together.series(WIDTH);
    assert_eq!((means.times_us.len(), means.rows.len()), (18, 18 * WIDTH));
    assert_eq!(means.times_us[..2], [750, 110_750]);
    assert_eq!(mean_levels[..2], [1.5, 5.5]);
    let expected: f32 = rows.iter().skip(3).step_by(WIDTH).take(4).sum();
    assert!((means.rows[3] - expected / 4.0).abs() < 1e-6);
    // Levels that are not one for each row are none.
    together.take(series, &levels[1..]);
    assert_eq!(together.series(WIDTH).1, &[] as &[f32]);
    // Frames that are far enough apart stay as they are.
    let apart: Vec<i64> = (0..times_us.len() as i64).map(|at| at * 20_000).collect();
    together.take(
        Series {
            times_us: &apart,
            ..series
        },
        &levels,
    );
    assert_eq!(together.series(WIDTH).0.rows, rows);
}

#[test]
fn frames_that_are_followed_most_of_the_time_are_no_bursts() {
    // Pairs 2 ms apart, every 25 ms: all of the time is followed.
    let pairs: Vec<i64> = (0..80)
        .flat_map(|at| [at * 25_000, at * 25_000 + 2_000])
        .collect();
    assert!((followed(&pairs) - 1.0).abs() < 1e-12);
    // Bursts of 4.5 ms every 110 ms.
    let (bursts, _) = in_bursts(10, 1, |_, _| 1.0);
    assert!(followed(&bursts) < 0.05);
    // 100 frames a second of which a second's half is lost.
    let halves: Vec<i64> = (0..200)
        .filter(|at| at % 100 < 50)
        .map(|at| at * 10_000)
        .collect();
    assert!(followed(&halves) > FOLLOWED);
    assert_eq!(followed(&[]), 0.0);
}
