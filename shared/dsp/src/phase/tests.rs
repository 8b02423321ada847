use super::*;
use proptest::prelude::*;

const INTEL: [i16; 30] = [
    -28, -26, -24, -22, -20, -18, -16, -14, -12, -10, -8, -6, -4, -2, -1, 1, 3, 5, 7, 9, 11, 13,
    15, 17, 19, 21, 23, 25, 27, 28,
];

fn frame(subcarriers: &[i16], of: impl Fn(f64) -> (f64, f64)) -> Vec<Complex32> {
    let sample = |k: &i16| {
        let (amplitude, phase) = of(f64::from(*k));
        Complex32::from_polar(amplitude as f32, phase as f32)
    };
    subcarriers.iter().map(sample).collect()
}

fn sanitized(subcarriers: &[i16], antennas: usize, samples: &[Complex32], line: Line) -> Phases {
    let mut out = Phases::default();
    Sanitizer::new(subcarriers, &vec![true; subcarriers.len()], antennas)
        .sanitize(samples, line, &mut out)
        .unwrap();
    out
}

#[test]
fn a_line_leaves_nothing_even_where_it_turns_past_pi_between_wide_neighbours() {
    // 1.7 rad per index: 3.4 rad between the Intel 5300's usual neighbours, which plain unwrapping takes for -2.9.
    for slope in [-1.7, -0.3, 0.0, 0.9, 1.7] {
        let samples = frame(&INTEL, |k| (10.0, 0.4 + slope * k));
        let left = sanitized(&INTEL, 1, &samples, Line::Each);
        let most = left
            .radians
            .iter()
            .fold(0.0_f32, |most, r| most.max(r.abs()));
        assert!(most < 1e-4, "{slope}: {most}");
    }
}

#[test]
fn the_order_of_the_buffer_does_not_matter() {
    let fft: Vec<i16> = (1..27).chain(-26..0).collect();
    let shape = |k: f64| (1.0 + 0.2 * (k / 5.0).cos(), 0.5 * (k / 8.0).sin() + 0.2 * k);
    let in_fft_order = sanitized(&fft, 1, &frame(&fft, shape), Line::Each);
    let mut ascending = fft;
    ascending.sort_unstable();
    let in_order = sanitized(&ascending, 1, &frame(&ascending, shape), Line::Each);
    for (one, other) in in_fft_order.radians.iter().zip(&in_order.radians) {
        assert!((one - other).abs() < 1e-5);
    }
}

#[test]
fn a_null_is_unknown_and_does_not_spoil_the_others() {
    let clean = frame(&INTEL, |k| (5.0, 0.1 * k));
    let mut faded = clean.clone();
    faded[11] = Complex32::new(-0.1, 0.07);
    let left = sanitized(&INTEL, 1, &faded, Line::Each);
    assert!(!left.known[11] && left.known.iter().filter(|k| **k).count() == 29);
    assert!(left.radians.iter().all(|r| r.abs() < 1e-4), "{left:?}");
    let mut out = Vec::new();
    ratio(&clean, &faded, &mut out).unwrap();
    assert!(out[11].is_none() && out.iter().flatten().count() == 29);
}

#[test]
fn antennas_keep_what_they_differ_by_under_a_shared_slope() {
    let mut samples = frame(&INTEL, |k| (3.0, 0.2 + 0.3 * k));
    samples.extend(frame(&INTEL, |k| (2.0, 1.4 + 0.3 * k)));
    let left = sanitized(&INTEL, 2, &samples, Line::SharedSlope);
    for (place, radians) in left.radians.iter().enumerate() {
        let expected = if place < 30 { 0.0 } else { 1.2 };
        assert!((radians - expected).abs() < 1e-4, "{place}: {radians}");
    }
}

#[test]
fn silence_and_nonsense_have_no_phase() {
    let sanitizer = Sanitizer::new(&INTEL, &[true; 30], 1);
    let mut out = Phases::default();
    let mut of = |samples: &[Complex32]| sanitizer.sanitize(samples, Line::Each, &mut out);
    assert_eq!(of(&[Complex32::default(); 30]), Err(PhaseError::NoEnergy));
    assert_eq!(
        of(&[Complex32::new(f32::NAN, 0.0); 30]),
        Err(PhaseError::NotFinite)
    );
    assert_eq!(
        of(&[Complex32::new(1.0, 0.0); 3]),
        Err(PhaseError::Dimensions {
            expected: 30,
            found: 3
        })
    );
    let (zero, one) = ([Complex32::default(); 4], [Complex32::new(1.0, 0.0); 4]);
    assert_eq!(
        ratio(&one, &zero, &mut Vec::new()),
        Err(PhaseError::NoEnergy)
    );
    assert_eq!(
        conjugate_product(&zero, &one, &mut Vec::new()),
        Err(PhaseError::NoEnergy)
    );
    assert!(ratio(&one, &one[..2], &mut Vec::new()).is_err());
}

proptest! {
    /// Neither a gain nor the receiver's line changes what is left; two antennas keep their difference.
    #[test]
    fn does_not_see_gain_offset_or_delay(
        gain in 0.01_f32..100.0, offset in -9.0_f64..9.0, slope in -0.8_f64..0.8, seed in 0.0_f64..6.0,
    ) {
        let shape = |a: f64| move |k: f64| (1.0 + 0.3 * (k / 4.0 + seed).cos(), a + 0.4 * (k / 9.0 + a + seed).sin());
        let mut plain = frame(&INTEL, shape(0.3));
        plain.extend(frame(&INTEL, shape(2.3)));
        let turned: Vec<Complex32> = plain.iter().zip(INTEL.iter().cycle())
            .map(|(h, k)| h * Complex32::from_polar(gain, (offset + slope * f64::from(*k)) as f32))
            .collect();
        for line in [Line::Each, Line::SharedSlope] {
            let (one, other) = (sanitized(&INTEL, 2, &plain, line), sanitized(&INTEL, 2, &turned, line));
            for (a, b) in one.radians.iter().zip(&other.radians) {
                prop_assert!(wrap(f64::from(a - b)).abs() < 1e-3, "{line:?}: {a} {b}");
            }
        }
        let (mut one, mut other) = (Vec::new(), Vec::new());
        ratio(&plain[..30], &plain[30..], &mut one).unwrap();
        ratio(&turned[..30], &turned[30..], &mut other).unwrap();
        for (a, b) in one.iter().flatten().zip(other.iter().flatten()) {
            prop_assert!((a - b).norm() < 1e-4 * a.norm().max(1.0));
        }
        let (mut one, mut other) = (Vec::new(), Vec::new());
        conjugate_product(&plain[..30], &plain[30..], &mut one).unwrap();
        conjugate_product(&turned[..30], &turned[30..], &mut other).unwrap();
        for (a, b) in one.iter().zip(&other) {
            prop_assert!((a - b).norm() < 1e-4);
        }
    }
}
