//! Frames that come in bursts.

use super::*;

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
