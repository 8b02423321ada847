//! What rounding makes coherent, and no more, is not counted.

use super::*;

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
