//! Small movement that lasts is motion, and its events say what it rests on.

use csi::Frame;
use proto::signal::v1::{LinkState, SignalWindow};

use crate::source::{self, room, still};

/// Somebody moves an arm from 4 s to 14 s.
fn arm(size: f64, seed: u64) -> Vec<Frame> {
    room(20.0, seed, move |t, k| {
        if (4.0..14.0).contains(&t) {
            1.0 + size * (6.0 * t + 2.5 * (1.7 * t).sin() + k as f64 / 6.0).cos()
        } else {
            still(t, k)
        }
    })
}

fn lasting(window: &SignalWindow) -> bool {
    window.window_score < Some(window.motion_threshold) && window.state() == LinkState::Motion
}

#[test]
fn it_is_motion_and_the_events_say_so() {
    let (mut by_lasting, mut told) = (0, 0);
    for step in 0..8 {
        let frames = arm(0.012 + 0.002 * f64::from(step), 3);
        let begin = frames[0].receive_time_us;
        let outputs = source::run(&source::inputs(frames));
        let windows = source::windows(&outputs);
        for (place, window) in windows.iter().enumerate() {
            assert!(window.motion_score >= window.window_score);
            if !lasting(window) {
                continue;
            }
            by_lasting += 1;
            // Four windows in a row, every one above the noise, and the last of them is one.
            let four = &windows[place - 3..=place];
            let least = four
                .iter()
                .map(|w| w.window_score.unwrap())
                .fold(1.0, f32::min);
            let score = window.motion_score.unwrap();
            assert!((score - least * (2.0 - least)).abs() < 1e-5, "{window:?}");
            let end_s = (window.window_end_us - begin) as f64 / 1e6;
            assert!((5.0..16.0).contains(&end_s), "{end_s}");
        }
        for event in source::events(&outputs) {
            let extra = &event.metadata.extra;
            if extra.get("by").is_some_and(|by| by == "lasting") {
                told += 1;
                let own = extra["window_score"].as_f64().unwrap();
                assert!(
                    own < extra["motion_threshold"].as_f64().unwrap(),
                    "{event:?}"
                );
            }
        }
    }
    assert!(by_lasting > 8 && told > 0, "{by_lasting} {told}");
}

#[test]
fn an_empty_room_has_none() {
    for seed in 1..6 {
        let windows = source::windows(&source::run(&source::inputs(room(30.0, seed, still))));
        for window in windows {
            assert_eq!(window.state(), LinkState::Still, "{window:?}");
        }
    }
}
