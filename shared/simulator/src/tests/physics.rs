use num_complex::Complex64;
use proptest::prelude::*;

use super::{frames, ideal, spectrum};
use crate::radio::HALF_WIDTH;
use crate::{Body, Breathing, Link, Radio, Room, Scenario, SimulatedFrame, Traffic, Walking};

/// A room without walls.
fn open_air() -> Room {
    Room {
        size_m: [200.0, 200.0, 200.0],
        order: 0,
        scatter_order: 0,
        ..Room::default()
    }
}

fn mean_power(response: &[Complex64]) -> f64 {
    response.iter().map(Complex64::norm_sqr).sum::<f64>() / response.len() as f64
}

#[test]
fn in_the_open_power_falls_with_the_square_of_the_distance() {
    let mut scenario = Scenario {
        room: open_air(),
        ..Scenario::default()
    };
    scenario.transmitter.position_m = [50.0, 50.0, 50.0];
    let power = |metres: f64| {
        let mut link = Link::new(&scenario, [50.0 + metres, 50.0, 50.0], HALF_WIDTH);
        mean_power(link.response_at(0.0))
    };
    // Friis at 1 m and 2,437 MHz: 20 log10(lambda / 4 pi) = -40.18 dB.
    assert!((10.0 * power(1.0).log10() + 40.18).abs() < 0.01);
    assert!((power(1.0) / power(2.0) - 4.0).abs() < 1e-9);
    assert!((power(3.0) / power(30.0) - 100.0).abs() < 1e-9);
}

#[test]
fn walls_and_furniture_make_the_channel_frequency_selective() {
    let flat = Scenario {
        room: open_air(),
        ..Scenario::default()
    };
    let furnished = Scenario::preset("empty").expect("a preset");
    let spread = |scenario: &Scenario| {
        let mut link = Link::new(scenario, [5.4, 2.5, 1.2], HALF_WIDTH);
        let response = link.response_at(0.0).to_vec();
        let mean = response.iter().map(|bin| bin.norm()).sum::<f64>() / response.len() as f64;
        response
            .iter()
            .map(|bin| (bin.norm() - mean).abs())
            .fold(0.0, f64::max)
            / mean
    };
    assert!(spread(&flat) < 1e-9);
    assert!(spread(&furnished) > 0.1);
}

#[test]
fn without_motion_the_amplitude_is_constant() {
    let scenario = Scenario {
        duration_s: 5.0,
        ..ideal("empty")
    };
    let frames = frames(&scenario, 3);
    assert_eq!(frames.len(), 500);
    let first = &frames.first().expect("frames").frame.samples;
    for simulated in &frames {
        assert_eq!(
            &simulated.frame.samples, first,
            "sequence {}",
            simulated.frame.sequence
        );
        assert!(!simulated.truth.motion);
    }
}

#[test]
fn phase_delay_and_offset_leave_the_amplitude_alone() {
    let scenario = Scenario {
        duration_s: 2.0,
        radio: Radio {
            random_phase: true,
            carrier_offset_hz: 300.0,
            detection_delay_ns: 100.0,
            detection_jitter_ns: 50.0,
            ..Radio::ideal()
        },
        ..ideal("empty")
    };
    let frames = frames(&scenario, 3);
    let first = &frames.first().expect("frames").frame.samples;
    let mut phases = 0;
    for simulated in &frames {
        for (sample, reference) in simulated.frame.samples.iter().zip(first) {
            assert!((sample.norm() - reference.norm()).abs() < 1e-4 * reference.norm().max(1.0));
            phases += usize::from((sample - reference).norm() > 0.1);
        }
    }
    assert!(phases > frames.len() * 40, "the phases differ");
}

/// Share of the energy of a walk's channel, static part removed, at more than `limit_hz`.
fn beyond(scenario: &Scenario, limit_hz: f64) -> f64 {
    let rate_hz = 500.0;
    let mut link = Link::new(scenario, [5.4, 2.5, 1.2], HALF_WIDTH);
    let series: Vec<Complex64> = (0..2_000)
        .map(|index| {
            link.response_at(f64::from(index) / rate_hz)
                .first()
                .copied()
                .expect("a bin")
        })
        .collect();
    let bins = spectrum(&series, rate_hz);
    let total: f64 = bins.iter().map(|(_, power)| power).sum();
    assert!(total > 0.0, "the walker shows");
    bins.iter()
        .filter(|(hz, _)| hz.abs() > limit_hz)
        .map(|(_, power)| power)
        .sum::<f64>()
        / total
}

/// The strongest line of the amplitude between 4 and 40 a minute, and the width of a line, both per minute. The spectra of
/// all subcarriers are added: one of them may sit on a blind spot.
fn strongest_per_min(scenario: &Scenario, frames: &[SimulatedFrame]) -> (f64, f64) {
    let mut total = vec![0.0; frames.len()];
    for subcarrier in 2..27 {
        let series: Vec<Complex64> = frames
            .iter()
            .map(|simulated| {
                // Against the gain's steps, over the amplitude of all.
                let samples = &simulated.frame.samples[2..27];
                let all = samples
                    .iter()
                    .map(|sample| sample.norm_sqr())
                    .sum::<f32>()
                    .sqrt();
                Complex64::from(f64::from(simulated.frame.samples[subcarrier].norm() / all))
            })
            .collect();
        for (sum, (_, power)) in total.iter_mut().zip(spectrum(&series, scenario.rate_hz)) {
            *sum += power;
        }
    }
    let per_bin = 60.0 * scenario.rate_hz / frames.len() as f64;
    let strongest = (0..total.len() / 2)
        .filter(|bin| (4.0..40.0).contains(&(*bin as f64 * per_bin)))
        .max_by(|a, b| total[*a].total_cmp(&total[*b]))
        .expect("bins");
    (strongest as f64 * per_bin, per_bin)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A path by way of a body changes its length by 2 v at most, so its Doppler is 2 v / lambda at most.
    #[test]
    fn a_walker_gives_doppler_up_to_twice_the_speed_over_the_wavelength(
        speed in 0.3_f64..2.5,
        x in 1.0_f64..2.0,
        y in 0.5_f64..1.5,
    ) {
        let scenario = Scenario {
            bodies: vec![Body::Walking(Walking {
                path_m: vec![[x, y, 1.1], [x + 3.5, y, 1.1], [x + 3.5, y + 2.5, 1.1]],
                speed_m_s: speed,
                ..Walking::default()
            })],
            ..Scenario::default()
        };
        let highest_hz = 2.0 * speed / Link::new(&scenario, [5.4, 2.5, 1.2], 1).wavelength_m();
        prop_assert!(beyond(&scenario, highest_hz + 1.0) < 2e-3);
        prop_assert!(beyond(&scenario, 0.2 * highest_hz) > 0.05, "and not all of it at rest");
    }

    /// The chest's rate is the strongest line of the amplitude between 4 and 40 a minute, or its double: in a blind spot, where the chest's
    /// path is in phase with all others, the amplitude is the same on both sides of the middle of a breath.
    #[test]
    fn breathing_shows_at_its_rate(rate in 8.0_f64..26.0, x in 1.2_f64..4.8) {
        let scenario = breathing(rate, x);
        let frames = frames(&scenario, 1);
        let (strongest, resolution) = strongest_per_min(&scenario, &frames);
        let is = |times: f64| (strongest - times * rate).abs() <= resolution;
        prop_assert!(is(1.0) || is(2.0), "{strongest} is not {rate}");
        prop_assert!(frames.iter().all(|simulated| simulated.truth.breaths_per_min == Some(rate)));
    }
}

/// Somebody who breathes at `rate` a minute, `x` metres along the room, before an ideal radio.
fn breathing(rate: f64, x: f64) -> Scenario {
    Scenario {
        duration_s: 120.0,
        rate_hz: 10.0,
        bodies: vec![Body::Breathing(Breathing {
            position_m: [x, 3.4, 1.0],
            rate_per_min: rate,
            ..Breathing::default()
        })],
        radio: Radio::ideal(),
        traffic: Traffic::ideal(),
        ..Scenario::default()
    }
}

#[test]
fn a_blind_spot_shows_the_double_of_the_rate_and_beside_it_the_rate_shows() {
    let strongest = |x: f64| {
        let scenario = breathing(8.0, x);
        strongest_per_min(&scenario, &frames(&scenario, 1)).0
    };
    assert_eq!((strongest(4.4363), strongest(4.41)), (16.0, 8.0));
}

#[test]
fn the_truth_of_quiet_then_walk_turns_at_thirty_seconds() {
    let scenario = Scenario::preset("quiet-then-walk").expect("a preset");
    let intervals: Vec<_> = scenario
        .intervals()
        .iter()
        .map(|interval| (interval.start_s, interval.end_s, interval.motion))
        .collect();
    assert_eq!(intervals, [(0.0, 30.0, false), (30.0, 60.0, true)]);
    assert!(!scenario.truth_at(29.999).motion);
    assert_eq!(scenario.truth_at(29.999).people, 0);
    let walking = scenario.truth_at(31.0);
    assert!(walking.motion);
    assert_eq!(
        walking.bodies.first().map(|body| body.position_m),
        Some([2.0, 1.0, 1.1])
    );
}

#[test]
fn breathing_shows_through_the_radio_of_the_preset() {
    let mut scenario = Scenario::preset("breathing").expect("a preset");
    scenario.rate_hz = 20.0;
    scenario.traffic = Traffic::ideal();
    let frames = frames(&scenario, 1);
    let (strongest, resolution) = strongest_per_min(&scenario, &frames);
    // The rate swings by a twentieth.
    assert!(
        (strongest - 15.0).abs() <= 15.0 / 20.0 + resolution,
        "{strongest}"
    );
}
