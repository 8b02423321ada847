use csi::{Ppdu, SampleFormat};
use num_complex::Complex32;

use super::*;

fn frames(seconds: u32, moving: impl Fn(f32) -> bool) -> Vec<Frame> {
    let subcarriers: Box<[i16]> = (-32..32).collect();
    let valid = subcarriers
        .iter()
        .map(|k| *k != 0 && k.abs() <= 26)
        .collect();
    let layout = std::sync::Arc::new(csi::Layout {
        name: "esp32-lltf64-asc",
        subcarriers,
        valid,
    });
    let mut state = 7_u64;
    let mut noise = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / 16_777_216.0 - 0.5) * 3.0
    };
    (0..seconds * 100)
        .map(|index| {
            let time = index as f32 / 100.0;
            let sway = |k: usize| {
                if moving(time) {
                    8.0 * (7.0 * time + k as f32 / 7.0).cos()
                } else {
                    0.0
                }
            };
            Frame {
                sequence: u64::from(index),
                counted: true,
                device_time_us: None,
                // Not 0: the recording's own time.
                receive_time_us: 1_700_000_000_123_456 + i64::from(index) * 10_000,
                rssi_dbm: vec![-50],
                noise_floor_dbm: None,
                agc: None,
                frequency_mhz: None,
                channel: None,
                bandwidth_mhz: Some(20),
                ppdu: Ppdu::Ht,
                antennas: 1,
                transmit_streams: 1,
                layout: std::sync::Arc::clone(&layout),
                samples: (0..64)
                    .map(|k| {
                        Complex32::new((30.0 + sway(k) + noise()).round(), (12.0 + noise()).round())
                    })
                    .collect(),
                format: SampleFormat::Ci8,
                scale: None,
                raw_size: 148,
                transmitter: None,
                simulated: false,
                chain: None,
            }
        })
        .collect()
}

fn analysed(frames: Vec<Frame>) -> (Vec<Combined>, Summary) {
    let settings = Settings::default();
    let mut summary = Summary::new(&settings);
    let mut feed = Feed::new(settings);
    let mut windows = Vec::new();
    for frame in frames {
        summary.frame(feed.seconds(&frame));
        feed.push(frame, None, &mut windows);
    }
    feed.finish(&mut windows);
    windows.iter().for_each(|window| summary.window(window));
    (windows, summary)
}

#[test]
fn windows_begin_at_zero_and_tell_motion_from_stillness() {
    let (windows, summary) = analysed(frames(20, |time| (8.0..16.0).contains(&time)));
    let states: Vec<_> = windows
        .iter()
        .map(|window| {
            (
                window.end_us / 500_000,
                signal::outputs::state_name(&window.deciding),
            )
        })
        .collect();
    assert_eq!(states[0], (4, "still"));
    assert_eq!(states.last(), Some(&(40, "still")));
    for (half_seconds, state) in states {
        match half_seconds {
            ..=16 | 37.. => assert_eq!(state, "still", "{half_seconds}"),
            19..=32 => assert_eq!(state, "motion", "{half_seconds}"),
            _ => {}
        }
    }
    let mut out = Vec::new();
    Lines::new(&mut out, true, false)
        .summary(&summary, 3)
        .unwrap();
    let last: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let total: f64 = last["summary"]["seconds"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(serde_json::Value::as_f64)
        .sum();
    assert_eq!(total, 20.0);
    assert_eq!(last["summary"]["frames"], 2000);
    assert_eq!(last["summary"]["malformed"], 3);
    assert!(
        (6.0..=8.0).contains(&last["summary"]["first_motion_s"].as_f64().unwrap()),
        "{last}"
    );
}

#[test]
fn a_line_holds_what_was_measured_and_nothing_else() {
    let (windows, _) = analysed(frames(4, |_| true));
    let mut out = Vec::new();
    Lines::new(&mut out, true, true)
        .window(&windows[0])
        .unwrap();
    let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        (&line["start_s"], &line["end_s"], &line["state"]),
        (&0.0.into(), &2.0.into(), &"motion".into()),
        "{line}"
    );
    assert!(line["motion_score"].as_f64().unwrap() > 0.3, "{line}");
    assert_eq!(line["frames"], 200);
    assert_eq!(
        line["features"].as_array().unwrap().len(),
        dsp::activity::NAMES.len()
    );

    let same: Vec<_> = frames(4, |_| true)
        .iter()
        .map(|frame| Frame {
            samples: frames(1, |_| true)[0].samples.clone(),
            ..frame.clone()
        })
        .collect();
    let (windows, _) = analysed(same);
    let mut out = Vec::new();
    Lines::new(&mut out, true, true)
        .window(&windows[0])
        .unwrap();
    let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        (&line["state"], &line["reason"]),
        (&"unknown".into(), &"identical_frames".into()),
        "{line}"
    );
    assert!(
        line.get("motion_score").is_none() && line.get("features").is_none(),
        "{line}"
    );
}
