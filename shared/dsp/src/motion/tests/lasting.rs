//! What lasts counts for two windows.

use super::*;

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
