//! Presence through the whole pipeline, in simulated rooms where the truth is exact.

use csi::Frame;
use proto::signal::v1::{PresenceState, SignalWindow};
use signal::calibration::Calibrated;
use signal::{Input, Pipeline, Settings, What};
use simulator::{Body, Breathing, Scenario, Walking};
use uuid::Uuid;

use crate::source;

fn empty(seconds: f64) -> Scenario {
    Scenario {
        duration_s: seconds,
        ..Scenario::preset("empty").unwrap()
    }
}

fn with(seconds: f64, body: Body) -> Scenario {
    let mut scenario = empty(seconds);
    scenario.bodies.push(body);
    scenario
}

fn sitting(displacement_mm: f64) -> Body {
    Body::Breathing(Breathing {
        displacement_mm,
        ..Breathing::default()
    })
}

fn calibrated() -> Calibrated {
    source::calibration(&source::simulated(&empty(60.0), 1), 0.2)
}

fn run(
    inputs: &[Input],
    calibration: Option<Calibrated>,
) -> (Vec<SignalWindow>, Vec<events::EventEnvelope>) {
    run_with(Settings::default(), inputs, calibration)
}

fn run_with(
    settings: Settings,
    inputs: &[Input],
    calibration: Option<Calibrated>,
) -> (Vec<SignalWindow>, Vec<events::EventEnvelope>) {
    let mut pipeline = Pipeline::new(settings, "signal/test");
    pipeline.calibrate("node-1", calibration);
    let outputs: Vec<_> = inputs
        .iter()
        .flat_map(|input| pipeline.push(input))
        .collect();
    (source::windows(&outputs), source::events(&outputs))
}

/// Each state once, with its reason and the second at which it was entered.
fn course(
    frames: Vec<Frame>,
    calibration: Option<Calibrated>,
) -> Vec<(i64, PresenceState, String)> {
    let (windows, events) = run(&source::inputs(frames), calibration);
    let mut course: Vec<(i64, PresenceState, String)> = Vec::new();
    for window in &windows {
        let now = (window.presence(), window.presence_reason.clone());
        if course
            .last()
            .is_none_or(|(_, state, reason)| (*state, reason) != (now.0, &now.1))
        {
            course.push((window.window_end_us / 1_000_000, now.0, now.1));
        }
    }
    // The events say the same.
    for event in events
        .iter()
        .filter(|event| event.event_type == "signal.signal_processed")
    {
        let present = event.metadata.extra["presence"] == "present";
        assert_eq!(event.payload["human_detected"], present, "{event:?}");
        assert_eq!(
            event.payload["presence_confidence"].as_f64().unwrap() > 0.0,
            present,
            "{event:?}"
        );
    }
    course
}

fn reasons(course: &[(i64, PresenceState, String)]) -> Vec<(PresenceState, &str)> {
    course
        .iter()
        .map(|(_, state, reason)| (*state, reason.as_str()))
        .collect()
}

const UNKNOWN: PresenceState = PresenceState::Unknown;
const EMPTY: PresenceState = PresenceState::Empty;
const PRESENT: PresenceState = PresenceState::Present;

#[test]
fn an_empty_room_is_empty_where_it_was_calibrated_and_unknown_elsewhere() {
    let frames = source::simulated(&empty(110.0), 51);
    let plain = course(frames.clone(), None);
    assert_eq!(reasons(&plain), [(UNKNOWN, "not_calibrated")]);
    let course = course(frames, Some(calibrated()));
    assert_eq!(
        reasons(&course),
        [
            (UNKNOWN, "breathing_not_looked_for"),
            (UNKNOWN, "settling"),
            (EMPTY, "")
        ]
    );
    // 30 s to look for breathing, and a minute.
    assert!((90..=100).contains(&course[2].0), "{course:?}");
}

#[test]
fn a_calibration_of_windows_of_another_length_gives_the_distance_alone_and_is_named_for_it() {
    let settings = Settings {
        window_s: 4.0,
        ..Settings::default()
    };
    let threshold = settings.threshold;
    let inputs = source::inputs(source::simulated(&empty(20.0), 51));
    let (windows, events) = run_with(settings, &inputs, Some(calibrated()));
    let processed = events
        .iter()
        .rfind(|event| event.event_type == "signal.signal_processed")
        .unwrap();
    let extra = &processed.metadata.extra;
    assert_eq!(extra["calibration_id"], Uuid::from_u128(7).to_string());
    assert_eq!(extra["motion_threshold"].as_f64(), Some(threshold));
    let window = windows.last().unwrap();
    assert!(window.window_end_us - window.window_start_us > 3_900_000);
}

#[test]
fn one_who_breathes_is_present_and_one_who_holds_the_breath_is_not_nobody() {
    let breathing = source::simulated(&with(100.0, sitting(8.0)), 3);
    for calibration in [None, Some(calibrated())] {
        let course = course(breathing.clone(), calibration);
        assert_eq!(course.len(), 2, "{course:?}");
        assert_eq!((course[1].1, course[1].2.as_str()), (PRESENT, "breathing"));
        assert!(course[1].0 <= 36, "{course:?}");
    }
    let still = source::simulated(&with(200.0, sitting(0.0)), 4);
    let course = course(still, Some(calibrated()));
    assert!(
        course.iter().all(|(_, state, _)| *state != EMPTY),
        "{course:?}"
    );
    assert_eq!(
        reasons(&course).last(),
        Some(&(UNKNOWN, "baseline_unclear"))
    );
}

#[test]
fn one_who_leaves_is_held_and_then_gone() {
    let walk = Body::Walking(Walking {
        stop_s: Some(20.0),
        ..Walking::default()
    });
    let frames = source::simulated(&with(120.0, walk), 5);
    let plain = course(frames.clone(), None);
    assert_eq!(
        reasons(&plain),
        [(PRESENT, "motion"), (UNKNOWN, "not_calibrated")]
    );
    assert!((65..=68).contains(&plain[1].0), "{plain:?}");
    let course = course(frames, Some(calibrated()));
    assert_eq!(
        reasons(&course),
        [(PRESENT, "motion"), (UNKNOWN, "settling"), (EMPTY, "")]
    );
    assert!((112..=120).contains(&course[2].0), "{course:?}");
}

#[test]
fn another_channel_or_layout_is_another_room() {
    let mut frames = source::simulated(&empty(20.0), 6);
    frames
        .iter_mut()
        .skip(1000)
        .for_each(|frame| frame.channel = Some(13));
    let course = course(frames, Some(calibrated()));
    assert_eq!(
        reasons(&course),
        [
            (UNKNOWN, "breathing_not_looked_for"),
            (UNKNOWN, "channel_changed")
        ]
    );
    let other = source::room(10.0, 1, source::still);
    let (windows, _) = run(&source::inputs(other), Some(calibrated()));
    assert!(
        windows
            .iter()
            .all(|window| window.presence_reason == "other_layout"),
        "{windows:?}"
    );
}

#[test]
fn a_takeover_goes_on_as_it_was_though_its_history_of_breathing_is_gone() {
    let inputs = source::inputs(source::simulated(&empty(125.0), 52));
    let (whole, _) = run(&inputs, Some(calibrated()));
    let mut before = Pipeline::new(Settings::default(), "signal/test");
    before.calibrate("node-1", Some(calibrated()));
    let crash = 10_500;
    inputs[..crash]
        .iter()
        .for_each(|input| drop(before.push(input)));
    let (kept, checkpoint) = (before.kept(), before.checkpoint());
    let text = serde_json::to_string(&kept).unwrap();
    let mut after = Pipeline::new(Settings::default(), "signal/test");
    after.calibrate("node-1", Some(calibrated()));
    after.resume(serde_json::from_str(&text).unwrap());
    let mut compared = 0;
    for input in inputs
        .iter()
        .filter(|input| input.stream_sequence > checkpoint)
    {
        for output in after.push(input) {
            let What::Window(window) = output.what else {
                continue;
            };
            let same = whole
                .iter()
                .find(|other| other.window_end_us == window.window_end_us)
                .unwrap();
            assert_eq!(
                (window.presence(), &window.presence_reason),
                (same.presence(), &same.presence_reason)
            );
            assert_eq!(window.presence(), EMPTY);
            assert_eq!(window.motion_score, same.motion_score);
            compared += 1;
        }
    }
    assert!(compared > 30, "{compared}");
    let link = &after.zones().all()["lab"].evidence["node-1"][0];
    assert_eq!(link.breath.rate.unwrap_err().code(), "too_short");
    assert!(link.breath.window_s < 30.0);
}

/// Two devices; the second one stops while it moves. Its last word must not stand.
#[test]
fn a_dead_link_neither_moves_for_ever_nor_counts_as_empty() {
    let quiet = source::inputs(source::room(20.0, 1, source::still));
    let mut dying = source::inputs(source::room(8.0, 2, source::body));
    for input in &mut dying {
        input.published.device = "node-2".to_owned();
        input.published.last_of_run = false;
    }
    let mut inputs: Vec<Input> = quiet.into_iter().chain(dying).collect();
    inputs.sort_by_key(|input| input.frame.receive_time_us);
    for (index, input) in inputs.iter_mut().enumerate() {
        input.stream_sequence = index as u64 + 1;
    }
    let mut pipeline = Pipeline::new(Settings::default(), "signal/test");
    let mut states = Vec::new();
    for input in &inputs {
        for output in pipeline.push(input) {
            if let What::Zone {
                zone,
                changed: true,
            } = output.what
            {
                let zone = &pipeline.zones().all()[&zone];
                states.push((zone.state.as_str(), zone.presence.state.as_str()));
            }
        }
    }
    assert_eq!(
        states,
        [
            ("unknown", "unknown"),
            ("still", "unknown"),
            ("motion", "present"),
            ("still", "present")
        ]
    );
    let zone = &pipeline.zones().all()["lab"];
    assert_eq!(zone.evidence["node-2"][0].reason, "link_silent");
}
