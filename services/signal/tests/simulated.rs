//! The pipeline on simulated rooms, where the truth is exact.

// A test may panic: that is how it fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use csi::wire::Published;
use events::DataSource;
use proto::signal::v1::LinkState;
use signal::{Input, Pipeline, Settings, What};
use simulator::{Body, Layout, Radio, Scenario, Simulation};
use uuid::Uuid;

/// End of each window in seconds, and what the link says.
fn states(scenario: &Scenario, seed: u64) -> Vec<(f64, LinkState)> {
    let mut pipeline = Pipeline::new(Settings::default(), "signal/test");
    let frames = Simulation::new(scenario, seed, 0).expect("a valid scenario");
    let mut states = Vec::new();
    for (index, simulated) in frames.enumerate() {
        let input = Input {
            stream_sequence: index as u64 + 1,
            published: Published {
                frame_id: Uuid::from_u128(index as u128 + 1),
                device: "node-1".to_owned(),
                zone: "room".to_owned(),
                source: DataSource::Simulated,
                run_id: None,
                announced: true,
                sampled_one_in: 1,
                ingest_time_us: simulated.frame.receive_time_us,
                last_of_run: false,
            },
            frame: simulated.frame,
            trace: None,
        };
        for output in pipeline.push(&input) {
            if let What::Window(window) = output.what {
                states.push((window.window_end_us as f64 / 1e6, window.state()));
            }
        }
    }
    states
}

fn share(states: &[(f64, LinkState)], wanted: LinkState) -> f64 {
    let found = states.iter().filter(|(_, state)| *state == wanted).count();
    found as f64 / states.len() as f64
}

#[test]
fn a_walk_is_motion_from_where_it_begins_and_an_empty_room_is_still() {
    let scenario = Scenario::preset("quiet-then-walk").expect("a preset");
    for seed in 1..=3 {
        let states = states(&scenario, seed);
        // The first windows are not full; those over the start of the walk may be either.
        let (quiet, walk): (Vec<_>, Vec<_>) = states
            .into_iter()
            .filter(|(end_s, _)| *end_s > 2.0 && !(30.0..32.0).contains(end_s))
            .partition(|(end_s, _)| *end_s < 30.0);
        assert!(
            quiet.len() > 50 && walk.len() > 50,
            "{} and {} windows",
            quiet.len(),
            walk.len()
        );
        assert_eq!(
            share(&quiet, LinkState::Still),
            1.0,
            "seed {seed}: {quiet:?}"
        );
        assert!(
            share(&walk, LinkState::Motion) > 0.95,
            "seed {seed}: {walk:?}"
        );
    }
}

#[test]
fn an_empty_room_stays_still_whatever_the_radio_does() {
    let empty = Scenario::preset("empty").expect("a preset");
    for (what, radio) in [
        (
            "restless gain",
            Radio {
                gain_slip: 0.3,
                gain_step_db: 3.0,
                ..Radio::default()
            },
        ),
        (
            "no noise",
            Radio {
                snr_limit_db: None,
                noise_figure_db: None,
                ..Radio::default()
            },
        ),
        (
            "much noise",
            Radio {
                snr_limit_db: Some(10.0),
                ..Radio::default()
            },
        ),
        (
            "late detection",
            Radio {
                detection_jitter_ns: 100.0,
                ..Radio::default()
            },
        ),
        (
            "both fields",
            Radio {
                layout: Layout::Lltf64Ht64,
                ..Radio::default()
            },
        ),
    ] {
        let scenario = Scenario {
            radio,
            duration_s: 30.0,
            ..empty.clone()
        };
        let states = states(&scenario, 1);
        assert!(states.len() > 40, "{what}: {} windows", states.len());
        assert_eq!(share(&states, LinkState::Motion), 0.0, "{what}: {states:?}");
    }
}

/// Not at every place: where all subcarriers fade together, dividing by each frame's RMS takes the fading away.
#[test]
fn a_walk_is_motion_at_other_rates_and_speeds() {
    for (rate_hz, speed_m_s) in [(50.0, 1.0), (200.0, 1.0), (100.0, 0.4), (100.0, 2.0)] {
        let mut scenario = Scenario::preset("walk").expect("a preset");
        scenario.duration_s = 30.0;
        scenario.rate_hz = rate_hz;
        for body in &mut scenario.bodies {
            if let Body::Walking(walking) = body {
                walking.speed_m_s = speed_m_s;
            }
        }
        let states = states(&scenario, 2);
        assert!(states.len() > 40, "{} windows", states.len());
        // The first windows are not full.
        let motion = share(&states[4..], LinkState::Motion);
        assert!(motion > 0.9, "{rate_hz} Hz, {speed_m_s} m/s: {states:?}");
    }
}
