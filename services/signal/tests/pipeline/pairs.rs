//! What lies between antennas that share a clock, on recordings of one, of three, and of amplitudes alone.

use proto::signal::v1::SignalWindow;
use recordings::require_or_skip;

use crate::source;

fn windows(recording: &recordings::Recording) -> Vec<SignalWindow> {
    let inputs = source::inputs(source::recorded(recording));
    let windows = source::windows(&source::run(&inputs));
    let earned: Vec<SignalWindow> = windows
        .into_iter()
        .filter(|window| !window.features.is_empty())
        .collect();
    assert!(earned.len() > 10, "{}", earned.len());
    earned
}

#[test]
fn three_antennas_on_one_clock_have_a_course_and_a_profile_of_three_pairs() {
    let fall = require_or_skip!("csi-har-rooma-fall-down-s1-01");
    let windows = windows(&fall);
    let names: Vec<&str> = dsp::activity::pairs::names().collect();
    for window in &windows {
        assert_eq!(window.pair_schema, "activity-pairs/1");
        assert_eq!(window.course_schema, "activity-course/3");
        assert_eq!(window.pair_course.len(), names.len(), "{window:?}");
        assert_eq!(window.pair_profile.len(), 60, "{window:?}");
        // A mean of products of unit power.
        let lengths = window.pair_profile.chunks(20).map(|pair| {
            let (re, im) = pair.split_at(10);
            let square = |(re, im): (&f32, &f32)| re * re + im * im;
            re.iter().zip(im).map(square).fold(0.0, f32::max)
        });
        for length in lengths {
            assert!(length > 0.01 && length < 10.0, "{length}: {window:?}");
        }
        let level = window.level_dbm.unwrap();
        assert!((-90.0..-10.0).contains(&level), "{level}");
    }
    // The fall is where the antennas' phase changes most: more than in the quarter of the windows that change least.
    let mut changes: Vec<f32> = windows.iter().map(|window| window.pair_course[1]).collect();
    changes.sort_by(f32::total_cmp);
    let (low, high) = (changes[changes.len() / 4], changes[changes.len() - 1]);
    assert!(high > 1.5 * low, "{low} to {high}");
}

fn without_pairs(window: &SignalWindow) {
    assert!(window.pair_course.is_empty() && window.pair_profile.is_empty());
    assert_eq!(window.pair_schema, "");
    assert!(!window.course.is_empty() && window.course_schema == "activity-course/3");
}

#[test]
fn one_antenna_has_none() {
    let moving = require_or_skip!("espectre-movement-c6-20260310-230434");
    for window in windows(&moving) {
        without_pairs(&window);
        // These recordings have no RSSI: unknown, not 0.
        assert_eq!(window.level_dbm, None);
    }
}

#[test]
fn amplitudes_without_phase_have_none() {
    let moving = require_or_skip!("ialr-part-1-moving");
    for window in windows(&moving) {
        without_pairs(&window);
        let level = window.level_dbm.unwrap();
        assert!((-100.0..-10.0).contains(&level), "{level}");
    }
}
