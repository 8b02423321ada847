use csi::SampleFormat;

use super::{frames, ideal};
use crate::{Layout, Radio, Receiver, Scenario, Traffic};

/// Standard deviation of the samples of one subcarrier, both parts, over the root of their mean square.
fn scatter(scenario: &Scenario, index: usize) -> f64 {
    let values: Vec<_> = frames(scenario, 5)
        .iter()
        .map(|simulated| simulated.frame.samples[index])
        .collect();
    let count = values.len() as f32;
    let mean = values.iter().sum::<num_complex::Complex32>() / count;
    let variance = values
        .iter()
        .map(|value| (value - mean).norm_sqr())
        .sum::<f32>()
        / count;
    f64::from((variance / mean.norm_sqr()).sqrt())
}

#[test]
fn noise_has_the_power_that_was_asked_for() {
    let noisy = |limit| Scenario {
        duration_s: 20.0,
        radio: Radio {
            snr_limit_db: Some(limit),
            layout: Layout::Lltf64Ht64,
            ..Radio::ideal()
        },
        room: crate::Room {
            order: 0,
            scatter_order: 0,
            ..crate::Room::default()
        },
        bodies: Vec::new(),
        ..ideal("empty")
    };
    // The legacy field is averaged over two symbols: 3 dB better than the HT field.
    for (limit, index, expected) in [
        (20.0, 70, 0.1),
        (20.0, 10, 0.1 / 2.0_f64.sqrt()),
        (40.0, 70, 0.01),
    ] {
        let measured = scatter(&noisy(limit), index);
        assert!(
            (measured / expected - 1.0).abs() < 0.05,
            "{measured} is not {expected} at {limit} dB, sample {index}"
        );
    }
}

#[test]
fn rssi_and_noise_floor_follow_from_the_physics() {
    let at = |metres: f64| {
        let scenario = Scenario {
            duration_s: 0.1,
            room: crate::Room {
                size_m: [100.0, 100.0, 100.0],
                order: 0,
                scatter_order: 0,
                ..crate::Room::default()
            },
            transmitter: crate::Transmitter {
                position_m: [1.0, 1.0, 1.0],
                ..crate::Transmitter::default()
            },
            receivers: vec![Receiver {
                node: 1,
                position_m: [1.0 + metres, 1.0, 1.0],
            }],
            ..Scenario::default()
        };
        let frames = frames(&scenario, 1);
        let frame = &frames.first().expect("a frame").frame;
        (frame.rssi_dbm.clone(), frame.noise_floor_dbm)
    };
    // 15 dBm less the path loss of Friis: 40.2 dB at a metre, 20 dB more at ten.
    assert_eq!(at(1.0), (vec![-25], Some(-94)));
    assert_eq!(at(10.0), (vec![-45], Some(-94)));
}

#[test]
fn gain_moves_in_steps_and_all_samples_together() {
    let scenario = Scenario {
        duration_s: 10.0,
        radio: Radio {
            gain_step_db: 1.5,
            gain_slip: 0.2,
            ..Radio::ideal()
        },
        ..ideal("empty")
    };
    let frames = frames(&scenario, 7);
    let first = frames.first().expect("frames");
    let mut slips = 0_u32;
    for simulated in &frames {
        let steps = simulated.gain_db / 1.5;
        assert!(
            (steps - steps.round()).abs() < 1e-9,
            "{} dB",
            simulated.gain_db
        );
        let factor = 10.0_f64.powf((simulated.gain_db - first.gain_db) / 20.0) as f32;
        slips += u32::from((factor - 1.0).abs() > 0.01);
        for (sample, reference) in simulated.frame.samples.iter().zip(&first.frame.samples) {
            assert!((sample - reference * factor).norm() < 1e-3);
        }
    }
    assert!((100..=900).contains(&slips), "{slips} of 1000");
}

#[test]
fn samples_are_whole_and_clip_at_eight_bits() {
    let loud = Scenario {
        duration_s: 1.0,
        radio: Radio {
            target_rms: 120.0,
            gain_step_db: 0.0,
            ..Radio::default()
        },
        ..Scenario::preset("walk").expect("a preset")
    };
    let frames = frames(&loud, 1);
    assert!(
        frames
            .iter()
            .map(|simulated| simulated.clipped)
            .sum::<u32>()
            > 0
    );
    for simulated in &frames {
        assert_eq!(simulated.frame.format, SampleFormat::Ci8);
        assert!(simulated.frame.simulated);
        for part in simulated
            .frame
            .samples
            .iter()
            .flat_map(|sample| [sample.re, sample.im])
        {
            assert!(
                part.fract() == 0.0 && (-128.0..=127.0).contains(&part),
                "{part}"
            );
        }
    }
}

#[test]
fn samples_lie_in_fft_order_with_nulls_where_the_standard_has_them() {
    for (layout, count, nulls) in [
        (Layout::Lltf64, 64, vec![0, 27, 32, 37]),
        (Layout::Lltf64Ht64, 128, vec![0, 27, 37, 64, 93, 96, 99]),
    ] {
        let scenario = Scenario {
            duration_s: 0.1,
            radio: Radio {
                layout,
                ..Radio::ideal()
            },
            traffic: Traffic::ideal(),
            ..ideal("empty")
        };
        let frames = frames(&scenario, 1);
        let samples = &frames.first().expect("a frame").frame.samples;
        assert_eq!(samples.len(), count);
        for (index, sample) in samples.iter().enumerate() {
            let k = index % 64;
            let widest = if index < 64 { 26 } else { 28 };
            let null = k == 0 || (k > widest && k < 64 - widest);
            assert_eq!(sample.norm() == 0.0, null, "sample {index}");
        }
        assert!(nulls.iter().all(|&index| samples[index].norm() == 0.0));
    }
}
