use num_complex::Complex32;
use proptest::prelude::*;

use super::*;
use crate::activity::Work;
use crate::breathing;

const WINDOW_US: i64 = 2_000_000;

/// Frames of antennas with `subcarriers` samples each, as a link lays them out.
struct Frames {
    blocks: GainBlocks,
    antennas: usize,
}

impl Frames {
    fn new(antennas: usize, subcarriers: i16) -> Self {
        let indices: Vec<i16> = (0..subcarriers).collect();
        let valid = vec![true; indices.len()];
        Self {
            blocks: GainBlocks::new(&indices, &valid, antennas),
            antennas,
        }
    }

    fn pairs(&self) -> Pairs {
        let pairs = breathing::pairs(self.antennas, 1);
        Pairs::new(&self.blocks, self.antennas, pairs, MAX_CELLS)
    }

    fn push(&self, pairs: &mut Pairs, time_us: i64, samples: &[Complex32]) -> bool {
        let mut split = Split::default();
        self.blocks.split(samples, &mut split).unwrap();
        pairs.push(time_us, &split, &mut Split::default())
    }
}

fn window(pairs: &Pairs) -> (Vec<f32>, Vec<f32>) {
    let (mut course, mut profile) = (Vec::new(), Vec::new());
    pairs
        .window_in(
            &mut Work::default(),
            0,
            WINDOW_US,
            &mut course,
            &mut profile,
        )
        .unwrap();
    (course, profile)
}

/// Two seconds at 20 Hz; `of(frame, antenna, subcarrier)`.
fn said(frames: &Frames, of: impl Fn(usize, usize, usize) -> Complex32) -> (Vec<f32>, Vec<f32>) {
    let mut pairs = frames.pairs();
    let each = frames.blocks.samples() / frames.antennas;
    for frame in 0..40 {
        let samples: Vec<Complex32> = (0..frames.blocks.samples())
            .map(|place| of(frame, place / each, place % each))
            .collect();
        assert!(frames.push(&mut pairs, frame as i64 * 50_000, &samples));
    }
    window(&pairs)
}

/// A static path, and one whose length swings by a few radians, further on each antenna.
fn swing(frame: usize, antenna: usize, subcarrier: usize) -> Complex32 {
    let (frame, antenna, tone) = (frame as f32, antenna as f32, subcarrier as f32 * 0.05);
    let path = 2.0 * (frame * 0.4).sin() * (1.0 + 0.3 * antenna);
    Complex32::from_polar(1.0, antenna + tone) + Complex32::from_polar(0.5, path + 2.0 * tone)
}

fn close(one: &[f32], other: &[f32]) {
    assert_eq!(one.len(), other.len());
    for (place, (one, other)) in one.iter().zip(other).enumerate() {
        assert!((one - other).abs() < 2e-3, "{place}: {one}, {other}");
    }
}

#[test]
fn numpy_agrees() {
    let cases: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/data/pairs.json")).unwrap();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let whole = |key: &str| case[key].as_u64().unwrap() as usize;
        let numbers = |value: &serde_json::Value| -> Vec<f64> {
            let values = value.as_array().unwrap().iter();
            values.map(|value| value.as_f64().unwrap()).collect()
        };
        let frames = Frames::new(whole("antennas"), whole("subcarriers") as i16);
        let pairs = case["pairs"].as_array().unwrap().iter().map(|pair| {
            let pair = numbers(pair);
            (pair[0] as usize, pair[1] as usize)
        });
        let mut pairs = Pairs::new(&frames.blocks, frames.antennas, pairs, MAX_CELLS);
        let parts = |key: &str| case[key].as_array().unwrap().iter().map(numbers);
        let times = numbers(&case["times_us"]);
        for (time, (re, im)) in times.iter().zip(parts("re").zip(parts("im"))) {
            let samples: Vec<Complex32> = re
                .iter()
                .zip(&im)
                .map(|(re, im)| Complex32::new(*re as f32, *im as f32))
                .collect();
            assert!(frames.push(&mut pairs, *time as i64, &samples));
        }
        let (mut course, mut profile) = (Vec::new(), Vec::new());
        let bound = |key: &str| case[key].as_i64().unwrap();
        pairs
            .window_in(
                &mut Work::default(),
                bound("start_us"),
                bound("end_us"),
                &mut course,
                &mut profile,
            )
            .unwrap();
        let expected = [numbers(&case["course"]), numbers(&case["profile"])].concat();
        let found = [course, profile].concat();
        assert_eq!(found.len(), expected.len(), "{}", case["name"]);
        let labels = names().chain(std::iter::repeat("profile"));
        for ((label, found), expected) in labels.zip(found).zip(expected) {
            assert!(
                (f64::from(found) - expected).abs() < 1e-4,
                "{}: {label}: {found}, NumPy {expected}",
                case["name"]
            );
        }
    }
}

#[test]
fn names_and_values_agree_in_number() {
    let (course, profile) = said(&Frames::new(3, 30), swing);
    assert_eq!(course.len(), names().count());
    assert_eq!(profile.len(), 3 * 2 * BANDS);
    let (course, profile) = said(&Frames::new(2, 30), swing);
    assert_eq!(course.len(), names().count());
    assert_eq!(profile.len(), 2 * BANDS);
}

#[test]
fn a_channel_that_rests_has_a_profile_and_no_course() {
    let turned = |frame: usize, antenna: usize, subcarrier: usize| {
        // The common phase and the sampling clock of the receiver go wherever they like.
        let common = frame as f32 * (1.7 + 0.01 * subcarrier as f32);
        swing(0, antenna, subcarrier) * Complex32::from_polar(1.0, common)
    };
    let (course, profile) = said(&Frames::new(2, 30), turned);
    assert!(course[0] < 1e-5 && course[1] < 1e-5, "{course:?}");
    let (_, still) = said(&Frames::new(2, 30), |_, antenna, subcarrier| {
        swing(0, antenna, subcarrier)
    });
    close(&profile, &still);
    assert!(profile.iter().any(|value| value.abs() > 0.3), "{profile:?}");
}

#[test]
fn what_only_the_phase_between_antennas_shows_is_seen() {
    // No amplitude changes at all.
    let (course, _) = said(&Frames::new(2, 30), |frame, antenna, _| {
        Complex32::from_polar(1.0, (frame * antenna) as f32 * 0.1)
    });
    let (std, diff) = (course[0], course[1]);
    assert!(std > 0.5 && diff > 0.1, "{course:?}");
}

#[test]
fn a_frame_with_a_dead_antenna_does_not_count() {
    let frames = Frames::new(2, 30);
    let mut pairs = frames.pairs();
    let dead: Vec<Complex32> = (0..60)
        .map(|place| Complex32::new(if place < 30 { 1.0 } else { 0.0 }, 0.0))
        .collect();
    assert!(!frames.push(&mut pairs, 0, &dead));
    let (mut course, mut profile) = (vec![1.0], vec![1.0]);
    let missing = pairs.window_in(
        &mut Work::default(),
        0,
        WINDOW_US,
        &mut course,
        &mut profile,
    );
    assert!(matches!(
        missing,
        Err(Insufficient::Cells { filled: 0, .. })
    ));
    assert!(course.is_empty() && profile.is_empty());
}

#[test]
fn one_antenna_and_antennas_that_are_not_there_say_nothing() {
    let (course, profile) = {
        let frames = Frames::new(1, 30);
        let mut pairs = frames.pairs();
        assert!(!frames.push(&mut pairs, 0, &[Complex32::ONE; 30]));
        window(&pairs)
    };
    assert!(course.is_empty() && profile.is_empty());
    let frames = Frames::new(2, 30);
    let pairs = Pairs::new(&frames.blocks, 2, [(0, 2), (1, 1)], MAX_CELLS);
    assert_eq!(window(&pairs), (Vec::new(), Vec::new()));
    let pairs = Pairs::new(&frames.blocks, 0, [(0, 1)], MAX_CELLS);
    assert_eq!(window(&pairs), (Vec::new(), Vec::new()));
}

#[test]
fn fewer_subcarriers_than_parts_leave_some_empty() {
    let (course, profile) = said(&Frames::new(2, 3), swing);
    assert!(course.iter().chain(&profile).all(|value| value.is_finite()));
    let filled = profile.iter().filter(|value| **value != 0.0).count();
    assert_eq!(filled, 6);
}

proptest! {
    /// A gain and a phase of each frame, and a gain of each antenna in it, are the receiver's own.
    #[test]
    fn what_the_receiver_does_to_a_frame_does_not_matter(
        own in prop::collection::vec((0.1_f32..10.0, 0.1_f32..10.0, -3.0_f32..3.0), 40),
    ) {
        let frames = Frames::new(2, 20);
        let (course, profile) = said(&frames, |frame, antenna, subcarrier| {
            let (one, other, phase) = own[frame];
            let gain = if antenna == 0 { one } else { other };
            swing(frame, antenna, subcarrier) * Complex32::from_polar(gain, phase)
        });
        let (expected, expected_profile) = said(&frames, swing);
        close(&course, &expected);
        close(&profile, &expected_profile);
    }

    /// Whatever comes, what is said is a number.
    #[test]
    fn never_says_what_is_no_number(
        values in prop::collection::vec((prop::num::f32::ANY, prop::num::f32::ANY), 200),
    ) {
        let frames = Frames::new(2, 5);
        let mut pairs = frames.pairs();
        let mut split = Split::default();
        for (frame, samples) in values.chunks(10).enumerate() {
            let samples: Vec<Complex32> =
                samples.iter().map(|(re, im)| Complex32::new(*re, *im)).collect();
            if frames.blocks.split(&samples, &mut split).is_ok() {
                pairs.push(frame as i64 * 100_000, &split, &mut Split::default());
            }
        }
        let (mut course, mut profile) = (Vec::new(), Vec::new());
        let _ = pairs.window_in(&mut Work::default(), 0, WINDOW_US, &mut course, &mut profile);
        prop_assert!(course.iter().chain(&profile).all(|value| value.is_finite()), "{:?} {:?}", course, profile);
    }
}
