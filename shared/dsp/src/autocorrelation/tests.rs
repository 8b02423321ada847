use super::*;
use proptest::prelude::*;

fn walk(count: usize, width: usize, step: f32, seed: u64) -> (Vec<i64>, Vec<f32>) {
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    let mut row = vec![1.0_f32; width];
    let mut rows = Vec::new();
    for _ in 0..count {
        row.iter_mut()
            .for_each(|x| *x = 1.0 + (1.0 - step) * (*x - 1.0) + 0.1 * random());
        rows.extend_from_slice(&row);
    }
    ((0..count as i64).map(|t| t * 10_000).collect(), rows)
}

fn phi(times_us: &[i64], rows: &[f32], width: usize) -> Option<FirstLag> {
    let series = Series {
        times_us,
        rows,
        width,
    };
    Autocorrelation::default().first_lag(series, |_| Part::First, 25_000.0, 0.0, None)
}

#[test]
fn white_noise_is_near_zero_and_a_first_order_process_at_its_coefficient() {
    let (times, rows) = walk(400, 40, 1.0, 7);
    assert!(phi(&times, &rows, 40).unwrap().phi.abs() < 0.03);
    let (times, rows) = walk(2000, 40, 0.2, 7);
    assert!((phi(&times, &rows, 40).unwrap().phi - 0.8).abs() < 0.03);
}

#[test]
fn constant_rows_have_no_autocorrelation() {
    let rows = vec![1.0; 100 * 8];
    let times: Vec<i64> = (0..100).map(|t| t * 10_000).collect();
    assert_eq!(phi(&times, &rows, 8), None);
}

#[test]
fn a_lost_frame_makes_no_pair() {
    let (mut times, rows) = walk(100, 4, 0.2, 3);
    times[50..].iter_mut().for_each(|t| *t += 30_000);
    assert_eq!(phi(&times, &rows, 4).unwrap().pairs, 98);
}

#[test]
fn parts_have_their_own_means_and_no_pair_between_them() {
    let (times_us, mut rows) = walk(200, 8, 1.0, 5);
    rows[100 * 8..].iter_mut().for_each(|x| *x += 0.5);
    let series = Series {
        times_us: &times_us,
        rows: &rows,
        width: 8,
    };
    assert!(phi(&times_us, &rows, 8).unwrap().phi > 0.9);
    let part = |index| {
        if index < 100 {
            Part::First
        } else {
            Part::Second
        }
    };
    let lag = Autocorrelation::default()
        .first_lag(series, part, 25_000.0, 0.0, None)
        .unwrap();
    assert!(lag.phi.abs() < 0.1, "{lag:?}");
    assert_eq!(lag.pairs, 198);
}

#[test]
fn evenness_tells_jumps_from_noise() {
    let (times_us, mut rows) = walk(200, 8, 1.0, 9);
    let evenness = |rows: &[f32]| {
        let series = Series {
            times_us: &times_us,
            rows,
            width: 8,
        };
        Autocorrelation::default()
            .changes(series, 25_000.0)
            .evenness()
    };
    let even = evenness(&rows);
    assert!(even > 0.7, "{even}");
    for index in [20, 21, 60, 110, 111, 112] {
        rows[index * 8..(index + 1) * 8]
            .iter_mut()
            .for_each(|x| *x += 2.0);
    }
    let uneven = evenness(&rows);
    assert!(uneven < 0.1, "{uneven}");
}

proptest! {
    #[test]
    fn does_not_see_the_scale(seed in 1_u64..1000, scale in 0.5_f32..4.0) {
        let (times, rows) = walk(80, 6, 0.3, seed);
        let scaled: Vec<f32> = rows.iter().map(|x| x * scale).collect();
        let one = phi(&times, &rows, 6).unwrap();
        let other = phi(&times, &scaled, 6).unwrap();
        prop_assert!((one.phi - other.phi).abs() < 1e-3);
    }

    #[test]
    fn lies_between_the_bounds_of_a_correlation(rows in prop::collection::vec(0.0_f32..3.0, 60)) {
        let times: Vec<i64> = (0..20).map(|t| t * 10_000).collect();
        if let Some(lag) = phi(&times, &rows, 3) {
            // Pairs are one fewer than rows: the estimate may pass 1 by their ratio.
            prop_assert!(lag.phi.abs() <= 20.0 / 19.0 + 1e-9, "{lag:?}");
        }
    }
}
