use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

const COUNT: usize = 200;

fn times() -> Vec<i64> {
    (0..COUNT as i64).map(|t| t * 10_000).collect()
}

/// Levels in whole decibels, as receivers report them, of what is given by second and place.
fn measure(level: impl Fn(f64, usize) -> f64) -> Level {
    let times = times();
    let levels: Vec<f32> = times
        .iter()
        .enumerate()
        .map(|(place, time)| level(*time as f64 / 1e6, place).round() as f32)
        .collect();
    LevelMeter::default()
        .measure(&times, &levels, 10_000.0)
        .unwrap()
}

/// Deterministic, uniform from -0.5 to 0.5.
fn noise(place: usize) -> f64 {
    let mut bits = (place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits ^= bits >> 29;
    bits = bits.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits ^= bits >> 32;
    bits as f64 / u64::MAX as f64 - 0.5
}

fn body(t: f64) -> f64 {
    -60.0 + 2.0 * (4.1 * t + (1.3 * t).sin()).sin() + 1.5 * (2.3 * t * t).cos()
}

#[test]
fn a_body_is_evidence_and_the_offset_is_none() {
    let level = measure(|t, _| body(t));
    assert!(level.evidence() > 0.8, "{level:?}");
    assert_eq!(level.explanation, None);
    assert_eq!(measure(|t, _| body(t) - 31.0), level);
}

#[test]
fn rounding_is_none_in_whatever_order() {
    assert_eq!(measure(|_, _| -60.0).evidence(), 0.0);
    for period in [1, 2, 3, 7, 20, 40, 67, 100, 150] {
        let flips = measure(|_, place| {
            if place / period % 2 == 0 {
                -60.0
            } else {
                -61.0
            }
        });
        assert_eq!(flips.evidence(), 0.0, "{period}: {flips:?}");
    }
    let random = measure(|_, place| -60.5 + 0.9 * noise(place));
    assert_eq!(random.evidence(), 0.0, "{random:?}");
    let drift = measure(|t, place| -60.0 + 0.4 * t + 0.3 * noise(place));
    assert_eq!(drift.evidence(), 0.0, "{drift:?}");
}

#[test]
fn noise_without_coherence_is_none() {
    let by_chance = (0..40).filter(|seed| {
        let level = measure(|_, place| -60.0 + 8.0 * noise(place + 1000 * seed));
        assert!(level.variance_db2 > 4.0, "{level:?}");
        level.evidence() > 0.0
    });
    // One in forty goes beyond two standard deviations.
    assert!(by_chance.count() <= 3);
}

#[test]
fn a_step_of_power_is_explained() {
    for at in [20, 77, 100, 180] {
        let level = measure(|_, place| -60.0 - if place < at { 0.0 } else { 6.0 } + noise(place));
        assert_eq!(level.evidence(), 0.0, "{at}: {level:?}");
    }
}

#[test]
fn runs_of_frames_with_other_power_are_cut() {
    let level = measure(|_, place| if place % 50 < 5 { -70.0 } else { -60.0 });
    assert!(level.coherent_db2 < FLIPS_DB2, "{level:?}");
}

#[test]
fn a_fan_is_a_tone() {
    for frequency in [2.0, 3.7, 8.0] {
        let level = measure(|t, _| -60.0 + 3.0 * (TAU * frequency * t).sin());
        assert_eq!(
            level.explanation,
            Some(Explanation::SteadyTone),
            "{level:?}"
        );
        assert!(level.evidence() < 0.2, "{frequency}: {level:?}");
    }
}

#[test]
fn what_is_no_level_gives_nothing() {
    let mut meter = LevelMeter::default();
    let times = times();
    assert_eq!(meter.measure(&times, &[], 10_000.0), None);
    assert_eq!(meter.measure(&times, &[-60.0; COUNT - 1], 10_000.0), None);
    assert_eq!(meter.measure(&times, &[f32::NAN; COUNT], 10_000.0), None);
    assert_eq!(meter.measure(&[], &[], 10_000.0), None);
    assert_eq!(meter.measure(&times[..1], &[-60.0], 10_000.0), None);
}

proptest! {
    #[test]
    fn neither_offset_nor_sign_matters_and_the_evidence_is_a_share(
        levels in prop::collection::vec(-90_i8..-20, 2..300),
        offset in -30_i8..30,
    ) {
        let times: Vec<i64> = (0..levels.len() as i64).map(|t| t * 10_000).collect();
        let of = |change: &dyn Fn(f32) -> f32| {
            let levels: Vec<f32> = levels.iter().map(|level| change(f32::from(*level))).collect();
            LevelMeter::default().measure(&times, &levels, 10_000.0).unwrap()
        };
        let as_it_is = of(&|level| level);
        let moved = of(&|level| level + f32::from(offset));
        let turned = of(&|level| -level);
        prop_assert!((0.0..=1.0).contains(&as_it_is.evidence()));
        for other in [moved, turned] {
            prop_assert!((other.coherent_db2 - as_it_is.coherent_db2).abs() < 1e-2, "{as_it_is:?} {other:?}");
            prop_assert!((other.variance_db2 - as_it_is.variance_db2).abs() < 1e-2);
        }
    }

    #[test]
    fn two_neighbouring_values_are_no_evidence_in_whatever_order(
        flips in prop::collection::vec(any::<bool>(), 2..300),
        low in -90_i8..-20,
    ) {
        let times: Vec<i64> = (0..flips.len() as i64).map(|t| t * 10_000).collect();
        let levels: Vec<f32> = flips.iter().map(|up| f32::from(low) + f32::from(u8::from(*up))).collect();
        let level = LevelMeter::default().measure(&times, &levels, 10_000.0).unwrap();
        prop_assert_eq!(level.evidence(), 0.0);
    }
}
