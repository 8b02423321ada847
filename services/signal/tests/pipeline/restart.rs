//! The same frames give the same outputs: twice, in any portions, and over a crash at any place.

use proptest::prelude::*;
use signal::{Input, Output, Pipeline, Settings, What};

use crate::source::{self, Noise, body, room, still};

/// Frames with everything in them: stillness, motion, a loss, late and repeated frames, zeros, two layouts.
pub fn eventful() -> Vec<Input> {
    let mut frames = room(24.0, 3, |t, k| match t {
        5.0..7.5 | 12.5..22.0 => body(t, k),
        _ => still(t, k),
    });
    let mut noise = Noise::new(3);
    for index in [150, 151, 900] {
        frames[index]
            .samples
            .fill(num_complex::Complex32::default());
    }
    let other = std::sync::Arc::new(csi::Layout {
        name: "another",
        ..source::layout().as_ref().clone()
    });
    for frame in frames.iter_mut().filter(|_| noise.uniform() < 0.3) {
        frame.layout = std::sync::Arc::clone(&other);
    }
    frames.swap(400, 402);
    frames.drain(1500..1540);
    let twice = frames[700].clone();
    frames.insert(701, twice);
    source::inputs(frames)
}

/// Outputs in a form that can be compared: what would be published.
fn published(outputs: &[Output]) -> Vec<String> {
    let line = |output: &Output| match &output.what {
        What::Event(event) => Some(format!(
            "{} {} {}",
            event.event_type, event.id, event.payload
        )),
        What::Window(window) => Some(format!("{window:?}")),
        What::Zone { .. } => None,
    };
    outputs.iter().filter_map(line).collect()
}

#[test]
fn twice_the_same() {
    let inputs = eventful();
    let once = published(&source::run(&inputs));
    assert!(once.len() > 2000, "{}", once.len());
    assert_eq!(once, published(&source::run(&inputs)));
}

#[test]
fn motion_is_announced_once_per_onset_and_then_at_the_refresh_interval() {
    let outputs = source::run(&eventful());
    let motions: Vec<_> = source::events(&outputs)
        .into_iter()
        .filter(|e| e.event_type == "pose.motion_detected")
        .collect();
    let kinds: Vec<_> = motions
        .iter()
        .map(|event| event.metadata.extra["motion"].as_str().unwrap())
        .collect();
    // 5 to 7.5 s, and 12.5 to 22 s (windows that touch it end at up to 24 s): refreshed after 10 s.
    assert_eq!(kinds, ["onset", "onset", "refresh"], "{motions:?}");
    for event in &motions {
        assert_eq!(event.payload["event_id"], event.id.to_string());
        assert_eq!(event.payload["person_count"], 0);
        assert!(event.payload.get("velocity_estimate").is_none());
        assert_eq!(event.correlation_id, Some(source::RUN));
        assert_eq!(event.metadata.data_source, Some(events::DataSource::Replay));
        assert!(
            event
                .metadata
                .method
                .as_ref()
                .unwrap()
                .starts_with("power-autocorrelation/4")
        );
    }
}

#[test]
fn ids_follow_from_frames_and_are_all_different() {
    let outputs = source::run(&eventful());
    let ids: Vec<_> = source::events(&outputs)
        .iter()
        .map(|event| event.id)
        .collect();
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
}

/// Runs with a crash: before the input `crash` is taken the process is gone. What was kept and checkpointed is that of
/// `saved` inputs; what lay between is published twice, with the same ids.
fn with_crash(inputs: &[Input], saved: usize, crash: usize) -> Vec<String> {
    let mut before = Pipeline::new(Settings::default(), "signal/test");
    let mut lines = Vec::new();
    let mut state = (before.kept(), before.checkpoint());
    for (index, input) in inputs[..crash].iter().enumerate() {
        lines.extend(published(&before.push(input)));
        if index + 1 == saved {
            let text = serde_json::to_string(&before.kept()).unwrap();
            state = (serde_json::from_str(&text).unwrap(), before.checkpoint());
        }
    }
    let (kept, checkpoint) = state;
    let mut after = Pipeline::new(Settings::default(), "signal/test");
    after.resume(kept);
    for input in inputs
        .iter()
        .filter(|input| input.stream_sequence > checkpoint)
    {
        for line in published(&after.push(input)) {
            // The server stores an id once.
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

#[test]
fn what_is_needed_is_bounded_by_the_window() {
    let inputs = eventful();
    let mut pipeline = Pipeline::new(Settings::default(), "signal/test");
    for input in &inputs {
        pipeline.push(input);
        assert!(pipeline.checkpoint() <= input.stream_sequence);
        assert!(
            pipeline.checkpoint() + 260 >= input.stream_sequence,
            "{}",
            pipeline.checkpoint()
        );
    }
    assert_eq!(
        pipeline.checkpoint(),
        inputs.last().unwrap().stream_sequence
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_crash_loses_and_doubles_nothing(crash in 1_usize..2300, lag in 0_usize..150) {
        let inputs = eventful();
        let whole = published(&source::run(&inputs));
        let crashed = with_crash(&inputs, crash.saturating_sub(lag), crash);
        prop_assert_eq!(crashed.len(), whole.len());
        for (index, (one, other)) in crashed.iter().zip(&whole).enumerate() {
            prop_assert_eq!(one, other, "output {}", index);
        }
    }
}
