//! Slow fans and pendulums: named, no motion after a while, and no cover for a person.

use proto::signal::v1::{LinkState, PresenceState, SignalWindow};
use signal::{Pipeline, Settings, What};
use simulator::{Body, Breathing, Scenario, Walking};

use crate::source;

/// Something that swings 1.1 times a second.
fn swinging() -> Body {
    Body::Breathing(Breathing {
        displacement_mm: 20.0,
        rate_per_min: 66.0,
        cross_section_m2: 1.0,
        ..Breathing::default()
    })
}

fn walking(start_s: f64) -> Body {
    Body::Walking(Walking {
        start_s,
        ..Walking::default()
    })
}

fn windows(seconds: f64, bodies: Vec<Body>, seed: u64) -> Vec<SignalWindow> {
    let mut scenario = Scenario {
        duration_s: seconds,
        ..Scenario::preset("empty").unwrap()
    };
    scenario.bodies.extend(bodies);
    let inputs = source::inputs(source::simulated(&scenario, seed));
    source::windows(&source::run(&inputs))
}

fn second(window: &SignalWindow) -> f64 {
    window.window_end_us as f64 / 1e6
}

#[test]
fn a_slow_fan_is_named_and_a_person_beside_it_is_seen() {
    let windows = windows(90.0, vec![swinging(), walking(75.0)], 1);
    let states = |from: f64, to: f64| {
        let within = windows
            .iter()
            .filter(move |w| second(w) > from && second(w) <= to);
        within
            .map(|w| (w.state(), w.reason.as_str()))
            .collect::<Vec<_>>()
    };
    // It moves, and nobody can know better.
    let before = states(0.0, 44.0);
    assert!(
        before.iter().all(|state| *state == (LinkState::Motion, "")),
        "{before:?}"
    );
    let learnt = states(51.0, 75.0);
    assert!(learnt.len() > 40);
    assert!(
        learnt
            .iter()
            .all(|state| *state == (LinkState::Still, "periodic_mover")),
        "{learnt:?}"
    );
    let with_person = states(77.0, 90.0);
    let seen = with_person
        .iter()
        .filter(|state| state.0 == LinkState::Motion)
        .count();
    assert!(seen * 10 >= with_person.len() * 9, "{with_person:?}");
    assert!(
        windows
            .iter()
            .all(|w| w.presence() != PresenceState::Empty && w.breaths_per_minute.is_none())
    );
}

#[test]
fn it_is_not_learnt_while_somebody_walks() {
    for seed in 2..4 {
        let windows = windows(70.0, vec![swinging(), walking(0.0)], seed);
        let named = windows
            .iter()
            .filter(|w| w.reason == "periodic_mover")
            .count();
        assert_eq!(named, 0, "seed {seed}");
    }
}

#[test]
fn a_takeover_does_not_make_a_learnt_fan_motion_again() {
    let mut scenario = Scenario {
        duration_s: 75.0,
        ..Scenario::preset("empty").unwrap()
    };
    scenario.bodies.push(swinging());
    let inputs = source::inputs(source::simulated(&scenario, 4));
    let mut before = Pipeline::new(Settings::default(), "signal/test");
    inputs[..6_200]
        .iter()
        .for_each(|input| drop(before.push(input)));
    let text = serde_json::to_string(&before.kept()).unwrap();
    let mut after = Pipeline::new(Settings::default(), "signal/test");
    after.resume(serde_json::from_str(&text).unwrap());
    let mut seen = 0;
    for input in inputs
        .iter()
        .filter(|input| input.stream_sequence > before.checkpoint())
    {
        for output in after.push(input) {
            if let What::Window(window) = output.what {
                assert_eq!(
                    (window.state(), window.reason.as_str()),
                    (LinkState::Still, "periodic_mover")
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

/// People who exercise repeat themselves too, and must not be taken for machines.
#[test]
fn no_recorded_movement_is_taken_for_a_machine() {
    let catalogue = recordings::Catalogue::built_in().unwrap();
    let moving = catalogue.entries().iter().filter(|entry| {
        let of_thu4n = entry.source == "thu4n" && entry.label() != Some("no_activity");
        of_thu4n
            || entry.name == "csi-respiration-4-19-mn1"
            || entry.name.starts_with("espectre-test")
    });
    let mut seen = 0;
    for entry in moving {
        let recording = recordings::require_or_skip!(&entry.name);
        let windows = source::windows(&source::run(&source::inputs(source::recorded(&recording))));
        seen += windows
            .iter()
            .filter(|w| w.state() == LinkState::Motion)
            .count();
        let taken = windows
            .iter()
            .filter(|w| w.reason == "periodic_mover")
            .count();
        assert_eq!(taken, 0, "{}", entry.name);
    }
    assert!(seen > 1000, "{seen}");
}
