//! Several links in one zone, masks, and thresholds in terms of false alarms.

use std::io::Write as _;

use csi::Frame;
use proto::signal::v1::{LinkState, PresenceState};
use signal::masks::{Mask, Masks};
use signal::{Input, Pipeline, Settings, What};
use simulator::Scenario;

use crate::source::{self, together};

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Of each update of the zone: whether it is in motion, whether any link is, and the score.
fn updates(inputs: &[Input]) -> Vec<(bool, bool, f64)> {
    let mut pipeline = Pipeline::new(Settings::default(), "signal/test");
    let mut updates = Vec::new();
    for input in inputs {
        for output in pipeline.push(input) {
            if let What::Zone { zone, .. } = output.what {
                let zone = &pipeline.zones().all()[&zone];
                let Some(score) = zone.score() else { continue };
                let mut links = zone.evidence.values().flatten();
                let any = links.any(|link| link.state.as_str() == "motion");
                updates.push((zone.state.as_str() == "motion", any, score));
            }
        }
    }
    updates
}

#[test]
fn eight_links_in_an_empty_room_stay_still() {
    for seed in 1..4 {
        let scenario = Scenario {
            duration_s: 20.0,
            ..Scenario::preset("empty")
                .unwrap()
                .with_receivers(8, 1)
                .unwrap()
        };
        let simulation = simulator::Simulation::new(&scenario, seed, 0).unwrap();
        let mut devices: std::collections::BTreeMap<u8, Vec<Frame>> = Default::default();
        for simulated in simulation {
            devices
                .entry(simulated.node)
                .or_default()
                .push(simulated.frame);
        }
        let updates = updates(&together(devices.into_values().collect()));
        let highest = updates.iter().map(|update| update.2).fold(0.0, f64::max);
        say(&format!(
            "{} updates of 8 links, highest score {highest:.3}",
            updates.len()
        ));
        assert!(
            updates.len() > 250 && updates.iter().all(|update| !update.0),
            "{highest}"
        );
    }
}

/// Nine quiet recordings of five chips as nine links of one room, and the same with one in which somebody moves.
#[test]
fn real_links_at_their_noise_do_not_add_up_and_one_that_moves_is_enough() {
    let quiet = [
        "c3-20260329-130303",
        "c3-20260329-130411",
        "c5-20260310-233856",
        "c5-20260329-124440",
        "c6-20260310-230414",
        "c6-20260310-234819",
        "esp32-20260214-183059",
        "esp32-20260310-232100",
        "s3-20260329-125557",
    ];
    let mut devices = Vec::new();
    for name in quiet {
        devices.push(source::recorded(&recordings::require_or_skip!(&format!(
            "espectre-baseline-{name}"
        ))));
    }
    let still = updates(&together(devices.clone()));
    let highest = still.iter().map(|update| update.2).fold(0.0, f64::max);
    say(&format!(
        "{} updates of nine quiet links, highest score {highest:.3}",
        still.len()
    ));
    assert!(
        still.len() > 100 && still.iter().all(|update| !update.0),
        "{highest}"
    );
    let moving = recordings::require_or_skip!("espectre-movement-c5-20260329-124504");
    devices.push(source::recorded(&moving));
    let moved = updates(&together(devices));
    let with_it: Vec<_> = moved.iter().filter(|update| update.1).collect();
    assert!(with_it.len() > 100 && with_it.iter().all(|update| update.0));
}

fn masked(mask: Mask, inputs: &[Input]) -> Vec<proto::signal::v1::SignalWindow> {
    let mut pipeline =
        Pipeline::new(Settings::default(), "signal/test").masked(Masks::read(&[mask]).unwrap());
    let learnt = source::calibration(&source::room(20.0, 77, source::still), 0.2);
    pipeline.calibrate("node-1", Some(learnt));
    let outputs: Vec<_> = inputs
        .iter()
        .flat_map(|input| pipeline.push(input))
        .collect();
    let failures = source::events(&outputs);
    assert!(
        failures
            .iter()
            .all(|event| event.event_type != "signal.signal_processing_failed")
    );
    source::windows(&outputs)
}

fn mask() -> Mask {
    Mask {
        zone: Some("lab".to_owned()),
        ..Mask::default()
    }
}

#[test]
fn a_masked_link_says_that_it_is_and_nothing_else() {
    let inputs = source::inputs(source::room(8.0, 1, source::body));
    let windows = masked(mask(), &inputs);
    assert!(windows.len() > 10);
    for window in &windows {
        assert_eq!(
            (window.state(), window.reason.as_str()),
            (LinkState::Unknown, "masked")
        );
        assert_eq!(window.presence(), PresenceState::Unknown, "{window:?}");
        assert!(window.motion_score.is_none() && window.baseline_distance.is_none());
    }
    let other = Mask {
        transmitter: Some("02:00:00:00:00:01".to_owned()),
        ..mask()
    };
    assert!(
        masked(other, &inputs)
            .iter()
            .all(|window| window.state() == LinkState::Motion)
    );
}

#[test]
fn a_time_of_day_is_masked_and_no_other() {
    // The room's time begins at 00:16:40 UTC.
    let mut frames = source::room(8.0, 1, source::body);
    frames
        .iter_mut()
        .for_each(|frame| frame.receive_time_us += 16_000_000);
    let times = Mask {
        from: Some("00:17".to_owned()),
        to: Some("00:18".to_owned()),
        ..mask()
    };
    let windows = masked(times, &source::inputs(frames));
    let (before, after): (Vec<_>, Vec<_>) = windows
        .iter()
        .partition(|window| window.window_end_us < 1_020_000_000);
    assert!(
        before.len() > 3
            && before
                .iter()
                .all(|window| window.state() == LinkState::Motion)
    );
    assert!(after.len() > 3 && after.iter().all(|window| window.reason == "masked"));
}

#[test]
fn masked_subcarriers_are_left_out_and_the_calibration_still_fits() {
    // Something moves, and shows in a part of the subcarriers alone.
    let spoilt = |t: f64, k: usize| {
        if (1..=20).contains(&k) {
            source::body(3.0 * t, 3 * k)
        } else {
            1.0
        }
    };
    let inputs = source::inputs(source::room(8.0, 1, spoilt));
    let without = Mask {
        subcarriers: (1..=20).collect(),
        ..mask()
    };
    let score = |windows: &[proto::signal::v1::SignalWindow]| {
        windows
            .iter()
            .filter_map(|window| window.motion_score)
            .fold(0.0, f32::max)
    };
    let (plain, windows) = (
        source::windows(&source::run(&inputs)),
        masked(without, &inputs),
    );
    assert!(score(&plain) > 0.2, "{}", score(&plain));
    assert!(score(&windows) < 0.1, "{}", score(&windows));
    assert!(
        windows
            .iter()
            .all(|window| window.baseline_distance.is_some_and(|d| d < 0.8)),
        "{windows:?}"
    );
}

#[test]
fn a_rate_of_false_alarms_is_kept_and_named() {
    // A room with something slow and faint in it: its statistic is not that of noise alone.
    let empty = |seconds: f64, seed: u64| {
        let mut noise = source::Noise::new(seed + 400);
        let mut walk = [0.0_f64; 2];
        let faint: Vec<[f64; 2]> = (0..(seconds * 100.0) as usize)
            .map(|_| {
                walk = walk.map(|value| 0.97 * value + 0.243 * noise.normal());
                walk
            })
            .collect();
        source::room(seconds, seed, |t, k| {
            let [a, b] = faint[(t * 100.0).round() as usize];
            let (sine, cosine) = (k as f64 / 6.0).sin_cos();
            1.0 + 0.013 * (a * cosine + b * sine)
        })
    };
    let learnt = empty(60.0, 1);
    let scores = source::windows(&source::run(&source::inputs(learnt.clone())));
    let mut scores: Vec<f64> = scores
        .iter()
        .filter_map(|w| w.motion_score.map(f64::from))
        .collect();
    let quantiles = [0.5, 0.9, 0.99, 1.0].map(|q| dsp::robust::quantile(&mut scores, q).unwrap());
    let settings = Settings {
        // One window in a hundred: so often that a few minutes show it.
        false_alarms_per_week: Some(10_000.0),
        ..Settings::default()
    };
    let mut pipeline = Pipeline::new(settings, "signal/test");
    let calibrated = source::calibrated_with(&learnt, 0.2, &quantiles);
    pipeline.calibrate("node-1", Some(calibrated));
    let inputs = source::inputs(empty(240.0, 2));
    let outputs: Vec<_> = inputs
        .iter()
        .flat_map(|input| pipeline.push(input))
        .collect();
    let windows = source::windows(&outputs);
    let alarms = windows
        .iter()
        .filter(|w| w.state() == LinkState::Motion)
        .count();
    say(&format!(
        "quantiles {quantiles:?}: threshold {}, {alarms} of {} windows",
        windows[0].motion_threshold,
        windows.len()
    ));
    // It was neither the floor nor the ceiling that held, and the rate asked for is 0.8 % of the windows.
    assert!((0.101..0.59).contains(&windows[0].motion_threshold));
    assert!(alarms as f64 <= 0.03 * windows.len() as f64, "{alarms}");
    let processed = source::events(&outputs);
    let event = processed
        .iter()
        .find(|e| e.event_type == "signal.signal_processed")
        .unwrap();
    let method = event.metadata.method.clone().unwrap();
    assert!(method.ends_with(" from=false_alarms"), "{method}");
    assert!(
        event.metadata.extra["false_alarms_per_week"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    // Without a calibration the threshold stands, and the rate is not known.
    pipeline.calibrate("node-1", None);
    let plain: Vec<_> = inputs[..800]
        .iter()
        .flat_map(|input| {
            let mut later = input.clone();
            later.stream_sequence += 1_000_000;
            later.published.run_id = None;
            pipeline.push(&later)
        })
        .collect();
    let event = source::events(&plain)
        .into_iter()
        .find(|e| e.event_type == "signal.signal_processed")
        .unwrap();
    assert!(
        event
            .metadata
            .method
            .unwrap()
            .ends_with("threshold=0.2 from=settings")
    );
    assert_eq!(event.metadata.extra.get("false_alarms_per_week"), None);
}
