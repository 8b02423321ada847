use super::{frames, ideal};
use crate::{Radio, Scenario, Simulation, Traffic};

#[test]
fn the_same_seed_gives_the_same_frames_and_another_seed_others() {
    let scenario = Scenario {
        duration_s: 2.0,
        ..Scenario::preset("walk")
            .expect("a preset")
            .with_receivers(3, 10)
            .expect("nodes")
    };
    let all = |seed| -> Vec<_> {
        frames(&scenario, seed)
            .into_iter()
            .map(|simulated| (simulated.node, simulated.frame))
            .collect()
    };
    assert_eq!(all(1), all(1));
    assert_ne!(all(1), all(2));
}

#[test]
fn a_receiver_does_not_depend_on_those_beside_it() {
    let base = Scenario {
        duration_s: 1.0,
        ..Scenario::preset("walk").expect("a preset")
    };
    let many = base.clone().with_receivers(4, 1).expect("nodes");
    let one = Scenario {
        receivers: vec![many.receivers[0].clone()],
        ..many.clone()
    };
    let samples = |scenario: &Scenario| -> Vec<_> {
        frames(scenario, 9)
            .into_iter()
            .filter(|simulated| simulated.node == 1)
            .map(|simulated| (simulated.frame.sequence, simulated.frame.samples))
            .collect()
    };
    assert_eq!(samples(&one), samples(&many));
}

#[test]
fn frames_come_in_the_order_of_reception() {
    let scenario = Scenario {
        duration_s: 3.0,
        ..Scenario::preset("walk")
            .expect("a preset")
            .with_receivers(5, 1)
            .expect("nodes")
    };
    let frames = frames(&scenario, 4);
    assert!(
        frames
            .windows(2)
            .all(|pair| { pair[0].frame.receive_time_us <= pair[1].frame.receive_time_us })
    );
    for node in 1..=5 {
        let one: Vec<_> = frames
            .iter()
            .filter(|simulated| simulated.node == node)
            .collect();
        assert!(one.windows(2).all(|pair| {
            pair[0].frame.sequence < pair[1].frame.sequence
                && pair[0].frame.device_time_us < pair[1].frame.device_time_us
                && pair[0].frame.receive_time_us < pair[1].frame.receive_time_us
        }));
    }
}

#[test]
fn losses_have_the_share_and_the_runs_that_were_asked_for() {
    for (loss, burst) in [(0.05, 1.0), (0.2, 4.0), (0.5, 10.0), (0.8, 1.0)] {
        let scenario = Scenario {
            duration_s: 1_000.0,
            radio: Radio::ideal(),
            traffic: Traffic {
                loss,
                loss_burst: burst,
                ..Traffic::ideal()
            },
            ..Scenario::default()
        };
        let sequences: Vec<u64> = frames(&scenario, 11)
            .iter()
            .map(|simulated| simulated.frame.sequence)
            .collect();
        let lost = 1.0 - sequences.len() as f64 / 100_000.0;
        assert!((lost / loss - 1.0).abs() < 0.1, "{lost} lost, not {loss}");
        let gaps: Vec<f64> = sequences
            .windows(2)
            .map(|pair| (pair[1] - pair[0] - 1) as f64)
            .filter(|gap| *gap > 0.0)
            .collect();
        let run = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let expected = f64::max(burst, 1.0 / (1.0 - loss));
        assert!(
            (run / expected - 1.0).abs() < 0.1,
            "runs of {run}, not {expected}"
        );
    }
}

#[test]
fn jitter_has_the_deviation_that_was_asked_for() {
    let scenario = Scenario {
        duration_s: 200.0,
        traffic: Traffic {
            jitter_ms: 0.8,
            clock_drift_ppm: 20.0,
            ..Traffic::ideal()
        },
        ..ideal("empty")
    };
    let frames = frames(&scenario, 2);
    let errors: Vec<f64> = frames
        .iter()
        .map(|simulated| {
            simulated.truth.time_s - simulated.frame.sequence as f64 / scenario.rate_hz
        })
        .collect();
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    let deviation = (errors
        .iter()
        .map(|error| (error - mean).powi(2))
        .sum::<f64>()
        / errors.len() as f64)
        .sqrt();
    assert!(mean.abs() < 3e-5, "{mean}");
    assert!((deviation / 0.8e-3 - 1.0).abs() < 0.03, "{deviation}");

    let (first, last) = (
        frames.first().expect("frames"),
        frames.last().expect("frames"),
    );
    let elapsed = |us: Option<u64>| us.expect("a device clock") as f64;
    let ran = elapsed(last.frame.device_time_us) - elapsed(first.frame.device_time_us);
    let true_us = (last.truth.time_s - first.truth.time_s) * 1e6;
    assert!(
        (ran / true_us - 1.0 - 20e-6).abs() < 1e-7,
        "the device clock drifts"
    );
}

#[test]
fn a_scenario_reads_back_from_its_toml_and_says_what_is_wrong() {
    for (name, _) in crate::PRESETS {
        let scenario = Scenario::preset(name).expect("a preset");
        let text = toml::to_string(&scenario).expect("TOML");
        assert_eq!(
            Scenario::from_toml(&text).expect("the same"),
            scenario,
            "{name}"
        );
    }
    let check = |text: &str, expected: &str| {
        let error = Scenario::from_toml(text).expect_err(text);
        let all = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        assert!(all.contains(expected), "`{all}` does not say `{expected}`");
    };
    check("rate_hz = -1", "`rate_hz` is -1, and must be 0.1 to 10000");
    check("rate_hz = nan", "`rate_hz` is NaN");
    check("speed = 1", "unknown field `speed`");
    check("receivers = []", "`receivers` is empty");
    check(
        "[transmitter]\nposition_m = [1, 99, 1]",
        "`transmitter.position_m` is [1.0, 99.0, 1.0]",
    );
    check(
        "[[receivers]]\nnode = 1\nposition_m = [1, 1, 1]\n[[receivers]]\nnode = 1\nposition_m = [2, 1, 1]",
        "`receivers[1].node` is 1",
    );
    check(
        "[[bodies]]\nkind = \"walking\"\nspeed_m_s = 40",
        "`bodies[0].speed_m_s` is 40",
    );
    check(
        "[[bodies]]\nkind = \"breathing\"\nrate = 4",
        "unknown field `rate`",
    );
    assert!(
        Scenario::preset("nothing")
            .expect_err("no such")
            .to_string()
            .contains("quiet-then-walk")
    );
    assert!(Scenario::default().with_receivers(10, 250).is_err());
}

#[test]
fn a_simulation_of_a_wrong_scenario_is_refused() {
    let scenario = Scenario {
        rate_hz: 0.0,
        ..Scenario::default()
    };
    assert!(Simulation::new(&scenario, 1, 0).is_err());
}
