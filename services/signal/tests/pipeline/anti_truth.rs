//! What is not motion, and must never be taken for it.

use csi::Frame;
use num_complex::Complex32;
use proto::signal::v1::{LinkState, PresenceState, SignalWindow};
use signal::{Output, What};

use crate::source::{self, Noise, body, room, still};

/// Pushes the frames and holds that nothing of it is motion: no window, no event, no zone. Gives the windows.
fn no_motion(frames: Vec<Frame>) -> Vec<SignalWindow> {
    judged(&source::run(&source::inputs(frames)))
}

fn judged(outputs: &[Output]) -> Vec<SignalWindow> {
    for event in source::events(outputs) {
        assert_ne!(event.event_type, "pose.motion_detected", "{event:?}");
        assert_ne!(
            event.payload.get("human_detected"),
            Some(&true.into()),
            "{event:?}"
        );
    }
    let windows = source::windows(outputs);
    assert!(!windows.is_empty());
    for window in &windows {
        assert_ne!(window.state(), LinkState::Motion, "{window:?}");
        assert_eq!(window.presence(), PresenceState::Unknown, "{window:?}");
        assert_eq!(window.breaths_per_minute, None, "{window:?}");
    }
    windows
}

/// The same for 75 s, which is long enough for breathing, with and without an empty room to hold it against: nobody is
/// present, nobody breathes. Gives how often the calibrated room was said to be empty.
fn nobody(what: &str, frames: Vec<Frame>) -> usize {
    let mut empty = 0;
    for calibrated in [false, true] {
        let mut pipeline = signal::Pipeline::new(signal::Settings::default(), "signal/test");
        if calibrated {
            let learnt = source::calibration(&room(20.0, 77, still), 0.2);
            pipeline.calibrate("node-1", Some(learnt));
        }
        let inputs = source::inputs(frames.clone());
        let outputs: Vec<Output> = inputs
            .iter()
            .flat_map(|input| pipeline.push(input))
            .collect();
        for event in source::events(&outputs) {
            assert_ne!(
                event.event_type, "pose.motion_detected",
                "{what}: {event:?}"
            );
            assert_ne!(
                event.payload.get("human_detected"),
                Some(&true.into()),
                "{what}: {event:?}"
            );
            assert_eq!(
                event.metadata.extra.get("breaths_per_minute"),
                None,
                "{what}"
            );
        }
        for window in source::windows(&outputs) {
            assert_ne!(
                window.presence(),
                PresenceState::Present,
                "{what}: {window:?}"
            );
            assert_eq!(window.breaths_per_minute, None, "{what}: {window:?}");
            assert!(
                calibrated || window.presence() == PresenceState::Unknown,
                "{what}"
            );
            empty += usize::from(window.presence() == PresenceState::Empty);
        }
    }
    empty
}

fn minute(seed: u64, change: impl Fn(f64, usize) -> f64) -> Vec<Frame> {
    room(75.0, seed, change)
}

#[test]
fn a_minute_of_one_frame_of_zeros_and_of_a_constant_is_nobody_and_no_empty_room() {
    let mut frames = minute(2, still);
    let constant = frames[7].samples.clone();
    frames
        .iter_mut()
        .for_each(|frame| frame.samples.clone_from(&constant));
    assert_eq!(nobody("identical", frames.clone()), 0);
    frames
        .iter_mut()
        .for_each(|frame| frame.samples.fill(Complex32::default()));
    assert_eq!(nobody("zeros", frames.clone()), 0);
    let mut noise = Noise::new(5);
    for frame in &mut frames {
        let rounded = |s: &Complex32| Complex32::new(s.re + f32::from(noise.uniform() < 0.2), s.im);
        frame.samples = constant.iter().map(rounded).collect();
    }
    nobody("constant", frames);
}

#[test]
fn a_minute_of_shuffled_lost_and_foreign_frames_is_nobody_and_no_empty_room() {
    let mut shuffled = minute(4, body);
    let mut samples: Vec<_> = shuffled.iter().map(|frame| frame.samples.clone()).collect();
    Noise::new(8).shuffle(&mut samples);
    let pairs = shuffled.iter_mut().zip(samples);
    pairs.for_each(|(frame, samples)| frame.samples = samples);
    assert_eq!(nobody("shuffled", shuffled), 0);
    let mut noise = Noise::new(21);
    let mut lost = minute(3, still);
    lost.retain(|_| noise.uniform() >= 0.45);
    assert_eq!(nobody("lost", lost), 0);
    let mut foreign = minute(9, still);
    let other = minute(10, |_, k| 1.0 + 0.8 * (k as f64 / 5.0).sin());
    for (frame, other) in foreign.iter_mut().zip(other) {
        if noise.uniform() < 0.3 {
            frame.samples = other.samples;
        }
    }
    nobody("foreign", foreign);
}

#[test]
fn a_minute_with_a_gain_step_a_reboot_and_fans_is_nobody() {
    let mut stepped = minute(5, still);
    let halved =
        |s: &mut Complex32| *s = Complex32::new((s.re * 0.5).round(), (s.im * 0.5).round());
    stepped
        .iter_mut()
        .skip(3_420)
        .for_each(|frame| frame.samples.iter_mut().for_each(halved));
    nobody("gain step", stepped);
    let mut rebooted = minute(7, still);
    rebooted.drain(3_500..3_580);
    for (index, frame) in rebooted.iter_mut().skip(3_500).enumerate() {
        frame.sequence = index as u64;
    }
    nobody("reboot", rebooted);
    for frequency in [2.2, 4.0, 9.5, 23.0] {
        let fan = |t: f64, k: usize| {
            1.0 + 0.15 * (std::f64::consts::TAU * frequency * t + k as f64 / 9.0).cos()
        };
        nobody("fan", minute(8, fan));
    }
}

fn all(windows: &[SignalWindow], state: LinkState, reason: &str) {
    for window in windows {
        assert_eq!(
            (window.state(), window.reason.as_str()),
            (state, reason),
            "{window:?}"
        );
    }
}

#[test]
fn a_body_is_motion() {
    let outputs = source::run(&source::inputs(room(8.0, 1, body)));
    let windows = source::windows(&outputs);
    assert!(windows.len() > 10);
    assert!(
        windows
            .iter()
            .all(|window| window.state() == LinkState::Motion),
        "{windows:?}"
    );
    let motions = source::events(&outputs)
        .into_iter()
        .filter(|e| e.event_type == "pose.motion_detected")
        .count();
    assert_eq!(motions, 1);
}

#[test]
fn a_still_room() {
    for seed in 1..6 {
        all(&no_motion(room(10.0, seed, still)), LinkState::Still, "");
    }
}

#[test]
fn four_hundred_identical_frames() {
    let frames = room(4.0, 2, body);
    let same = frames.iter().map(|frame| Frame {
        samples: frames[7].samples.clone(),
        ..frame.clone()
    });
    all(
        &no_motion(same.collect()),
        LinkState::Unknown,
        "identical_frames",
    );
}

#[test]
fn one_datagram_four_hundred_times() {
    let frames = room(4.0, 2, body);
    let same = frames.iter().map(|frame| Frame {
        receive_time_us: frame.receive_time_us,
        ..frames[0].clone()
    });
    let windows = no_motion(same.collect());
    all(&windows, LinkState::Unknown, "identical_frames");
}

#[test]
fn zeros() {
    let mut frames = room(4.0, 3, body);
    frames
        .iter_mut()
        .for_each(|frame| frame.samples.fill(Complex32::default()));
    all(&no_motion(frames), LinkState::Unknown, "no_energy");
}

#[test]
fn a_constant_with_rounding_noise_alone() {
    let mut noise = Noise::new(5);
    let mut frames = room(6.0, 3, still);
    let constant = frames[0].clone();
    for frame in &mut frames {
        let jitter = |noise: &mut Noise| if noise.uniform() < 0.2 { 1.0 } else { 0.0 };
        frame.samples = constant
            .samples
            .iter()
            .map(|s| Complex32::new(s.re + jitter(&mut noise), s.im + jitter(&mut noise)))
            .collect();
    }
    for window in no_motion(frames) {
        assert_eq!(window.state(), LinkState::Still, "{window:?}");
    }
}

#[test]
fn a_constant_whose_phase_turns_slowly() {
    let mut frames = room(6.0, 3, still);
    for (index, frame) in frames.iter_mut().enumerate() {
        let turned = |k: usize| Complex32::from_polar(9.0, index as f32 * 0.003 + k as f32);
        let valid = frame.layout.valid.clone();
        frame.samples = (0..64)
            .map(|k| {
                if valid[k] {
                    turned(k)
                } else {
                    Complex32::default()
                }
            })
            .collect();
        frame
            .samples
            .iter_mut()
            .for_each(|s| *s = Complex32::new(s.re.round(), s.im.round()));
    }
    no_motion(frames);
}

#[test]
fn shuffled_content_under_rising_sequence_numbers() {
    let mut frames = room(8.0, 4, body);
    let mut samples: Vec<_> = frames.iter().map(|frame| frame.samples.clone()).collect();
    Noise::new(8).shuffle(&mut samples);
    frames
        .iter_mut()
        .zip(samples)
        .for_each(|(frame, samples)| frame.samples = samples);
    all(&no_motion(frames), LinkState::Still, "uncorrelated");
}

#[test]
fn shuffled_sequence_numbers_under_rising_times() {
    let mut frames = room(8.0, 4, body);
    let times: Vec<_> = frames.iter().map(|frame| frame.receive_time_us).collect();
    Noise::new(9).shuffle(&mut frames);
    frames
        .iter_mut()
        .zip(times)
        .for_each(|(frame, time)| frame.receive_time_us = time);
    all(&no_motion(frames), LinkState::Unknown, "out_of_order");
}

#[test]
fn shuffled_frames_with_their_times() {
    let mut frames = room(8.0, 4, body);
    Noise::new(10).shuffle(&mut frames);
    all(&no_motion(frames), LinkState::Unknown, "out_of_order");
}

#[test]
fn a_shuffled_recording_of_motion() {
    let recording = recordings::require_or_skip!("espectre-movement-c3-20260329-130321");
    let mut frames = source::recorded(&recording);
    let moving = source::windows(&source::run(&source::inputs(frames.clone())));
    assert!(
        moving
            .iter()
            .all(|window| window.state() == LinkState::Motion)
    );
    let mut samples: Vec<_> = frames.iter().map(|frame| frame.samples.clone()).collect();
    Noise::new(11).shuffle(&mut samples);
    frames
        .iter_mut()
        .zip(samples)
        .for_each(|(frame, samples)| frame.samples = samples);
    all(&no_motion(frames), LinkState::Still, "uncorrelated");
}

#[test]
fn one_gain_step() {
    let mut frames = room(8.0, 5, still);
    for frame in frames.iter_mut().skip(420) {
        frame
            .samples
            .iter_mut()
            .for_each(|s| *s = Complex32::new((s.re * 0.5).round(), (s.im * 0.5).round()));
    }
    for window in no_motion(frames) {
        assert_eq!(window.state(), LinkState::Still, "{window:?}");
    }
}

#[test]
fn one_step_of_the_channel_itself() {
    let windows = no_motion(room(8.0, 6, |t, k| {
        if t < 4.2 {
            1.0
        } else {
            1.0 + 0.3 * (k as f64 / 8.0).sin()
        }
    }));
    assert!(
        windows.iter().any(|window| window.reason == "step"),
        "{windows:?}"
    );
}

#[test]
fn a_device_that_reboots() {
    let mut frames = room(10.0, 7, still);
    // After 5 s nothing for 0.8 s, then the device counts from 0 with another gain.
    frames.drain(500..580);
    for (index, frame) in frames.iter_mut().skip(500).enumerate() {
        frame.sequence = index as u64;
        frame
            .samples
            .iter_mut()
            .for_each(|s| *s = Complex32::new((s.re * 0.8).round(), (s.im * 0.8).round()));
    }
    let windows = no_motion(frames);
    assert!(
        windows
            .iter()
            .filter(|window| window.state() == LinkState::Still)
            .count()
            > 8,
        "{windows:?}"
    );
}

#[test]
fn a_clock_that_begins_again() {
    let mut frames = room(10.0, 7, still);
    for frame in frames.iter_mut().skip(500) {
        frame.sequence -= 500;
        frame.receive_time_us -= 5_000_000;
    }
    no_motion(frames);
}

#[test]
fn a_window_with_forty_percent_of_its_frames_missing() {
    for (change, seed) in [(still as fn(f64, usize) -> f64, 1), (body, 2)] {
        let mut noise = Noise::new(20 + seed);
        let mut frames = room(8.0, seed, change);
        frames.retain(|_| noise.uniform() >= 0.45);
        let windows = no_motion(frames);
        assert!(
            windows
                .iter()
                .filter(|window| window.reason == "frames_missing")
                .count()
                * 2
                > windows.len(),
            "{windows:?}"
        );
        assert!(
            windows
                .iter()
                .all(|window| window.frames_missed.unwrap_or_default() > 40)
        );
    }
}

#[test]
fn lost_frames_of_a_source_that_does_not_count() {
    let mut noise = Noise::new(31);
    let mut frames = room(8.0, 3, still);
    frames.retain(|_| noise.uniform() >= 0.4);
    frames
        .iter_mut()
        .enumerate()
        .for_each(|(index, frame)| frame.sequence = index as u64);
    for window in no_motion(frames) {
        assert_eq!(window.state(), LinkState::Still, "{window:?}");
    }
}

#[test]
fn a_fan() {
    for frequency in [2.2, 4.0, 9.5, 23.0] {
        let fan = |t: f64, k: usize| {
            1.0 + 0.15 * (std::f64::consts::TAU * frequency * t + k as f64 / 9.0).cos()
        };
        let windows = no_motion(room(8.0, 8, fan));
        assert!(
            windows
                .iter()
                .all(|window| window.state() == LinkState::Still),
            "{frequency}: {windows:?}"
        );
    }
}

#[test]
fn another_transmitter_in_between() {
    // Its frames carry another address: they are another link, and never mixed in.
    let mut frames = room(8.0, 9, still);
    let mut noise = Noise::new(41);
    let other = room(8.0, 10, |_, k| 1.0 + 0.8 * (k as f64 / 5.0).sin());
    for (frame, other) in frames.iter_mut().zip(other) {
        let mine = noise.uniform() < 0.7;
        frame.transmitter = Some(if mine {
            [2, 0, 0, 0, 0, 1]
        } else {
            [2, 0, 0, 0, 0, 2]
        });
        if !mine {
            frame.samples = other.samples;
        }
    }
    let windows = no_motion(frames);
    assert!(
        windows
            .iter()
            .filter(|window| window.state() == LinkState::Still)
            .count()
            > 10,
        "{windows:?}"
    );
}

#[test]
fn another_transmitter_in_between_that_does_not_say_so() {
    for longest in [1, 3, 8] {
        let mut frames = room(8.0, 9, still);
        let mut noise = Noise::new(50 + longest);
        let other = room(8.0, 10, |_, k| 1.0 + 0.8 * (k as f64 / 5.0).sin());
        let mut left = 0_u64;
        for (frame, other) in frames.iter_mut().zip(other) {
            if left == 0 && noise.uniform() < 0.3 / longest as f64 {
                left = 1 + (noise.uniform() * longest as f64) as u64;
            }
            if left > 0 {
                left -= 1;
                frame.samples = other.samples;
            }
        }
        no_motion(frames);
    }
}

#[test]
fn layouts_that_alternate_are_two_links() {
    let mut frames = room(8.0, 9, still);
    let half = std::sync::Arc::new(csi::Layout {
        name: "esp32-other",
        subcarriers: (-32..32).collect(),
        valid: (-32..32_i16).map(|k| k != 0 && k.abs() <= 26).collect(),
    });
    frames.iter_mut().step_by(2).for_each(|frame| {
        frame.layout = std::sync::Arc::clone(&half);
        frame.samples.rotate_left(32);
    });
    let outputs = source::run(&source::inputs(frames));
    let windows = judged(&outputs);
    // Two windows end at each hop: one of each layout, each with half of the frames.
    assert!(
        windows.iter().all(|window| window.frames_seen <= 101),
        "{windows:?}"
    );
    assert!(windows.len() > 20, "{}", windows.len());
}

#[test]
fn numbers_that_are_none_fail_with_a_word_and_go_no_further() {
    let mut frames = room(6.0, 12, still);
    for frame in frames.iter_mut().step_by(7) {
        frame.samples[3] = Complex32::new(f32::NAN, 0.0);
    }
    let outputs = source::run(&source::inputs(frames));
    let windows = judged(&outputs);
    assert!(
        windows
            .iter()
            .all(|window| window.state() == LinkState::Still),
        "{windows:?}"
    );
    let failures: Vec<_> = source::events(&outputs)
        .into_iter()
        .filter(|e| e.event_type == "signal.signal_processing_failed")
        .collect();
    assert_eq!(failures.len(), 1, "one in ten seconds: {failures:?}");
    assert_eq!(failures[0].payload["error_code"], "not_finite");
}

#[test]
fn the_zone_is_unknown_until_there_is_a_window_and_after_the_input_ends() {
    let mut pipeline = signal::Pipeline::new(signal::Settings::default(), "signal/test");
    let inputs = source::inputs(room(6.0, 3, body));
    let mut states = Vec::new();
    for input in &inputs {
        for output in pipeline.push(input) {
            if let What::Zone {
                zone,
                changed: true,
            } = output.what
            {
                states.push(pipeline.zones().all()[&zone].state.as_str());
            }
        }
    }
    assert_eq!(states, ["unknown", "motion"]);
    assert!(pipeline.tick(1_000_000, 5_000_000).is_empty());
    assert!(pipeline.tick(5_900_000, 5_000_000).is_empty());
    assert_eq!(pipeline.tick(6_000_000, 5_000_000).len(), 1);
    let zone = &pipeline.zones().all()["lab"];
    assert_eq!(
        (zone.state.as_str(), zone.reason.as_str()),
        ("unknown", "no_input")
    );
}
