//! The level of frames (RSSI) is heard together with the shape of the channel, and never by itself.

use csi::Frame;
use proto::signal::v1::LinkState;

use crate::source::{self, room, still};

/// As smooth as a body's, by several decibels.
fn swings(frames: &mut [Frame]) {
    for (place, frame) in frames.iter_mut().enumerate() {
        let t = place as f64 / 100.0;
        let level = 4.0 * (4.1 * t + (1.3 * t).sin()).sin() + 2.0 * (2.9 * t).cos();
        frame.rssi_dbm = vec![(-60.0 + level).round() as i8];
    }
}

/// A movement that the shape hardly shows.
fn weak(size: f64) -> impl Fn(f64, usize) -> f64 {
    move |t, k| {
        let way = 14.0 * (1.1 * t).sin() + 6.0 * (2.7 * t + 1.0).sin();
        1.0 + size * (way + k as f64 / 6.0).cos()
    }
}

#[test]
fn a_level_that_swings_in_an_empty_room_is_no_motion() {
    for seed in 1..6 {
        let mut frames = room(20.0, seed, still);
        swings(&mut frames);
        for window in source::windows(&source::run(&source::inputs(frames))) {
            assert_eq!(window.state(), LinkState::Still, "{window:?}");
        }
    }
}

#[test]
fn with_a_weak_shape_it_is_motion_and_the_events_say_why() {
    let mut helped = 0;
    for step in 0..8 {
        let frames = room(12.0, 7, weak(0.018 + 0.002 * f64::from(step)));
        let mut heard = frames.clone();
        swings(&mut heard);
        let (alone, together) = (
            source::run(&source::inputs(frames)),
            source::run(&source::inputs(heard)),
        );
        for (alone, together) in source::windows(&alone)
            .iter()
            .zip(source::windows(&together))
        {
            assert!(together.window_score >= together.shape_score);
            assert_eq!(alone.window_score, alone.shape_score);
            if alone.state() == LinkState::Still && together.state() == LinkState::Motion {
                helped += 1;
                assert!(together.shape_score.unwrap() < 0.2, "{together:?}");
                assert!(together.level_change_db.unwrap() > 0.5, "{together:?}");
            }
        }
        for event in source::events(&together) {
            let extra = &event.metadata.extra;
            let by = extra.get("by").and_then(|by| by.as_str());
            let below = extra
                .get("shape_score")
                .is_some_and(|shape| shape.as_f64() < extra["motion_threshold"].as_f64());
            assert_eq!(by == Some("level"), below, "{event:?}");
        }
    }
    assert!(helped > 4, "{helped}");
}

#[test]
fn one_frame_without_a_level_leaves_the_window_as_it_was() {
    let frames = room(3.9, 7, weak(0.026));
    let mut heard = frames.clone();
    swings(&mut heard);
    for frame in heard.iter_mut().step_by(40) {
        frame.rssi_dbm.clear();
    }
    let scores = |frames| -> Vec<Option<f32>> {
        let windows = source::windows(&source::run(&source::inputs(frames)));
        windows.iter().map(|window| window.motion_score).collect()
    };
    assert_eq!(scores(frames), scores(heard));
}
