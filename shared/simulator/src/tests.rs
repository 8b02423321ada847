//! Properties of the whole: physics, radio, traffic.

mod physics;
mod radio;
mod traffic;

use num_complex::Complex64;
use rustfft::FftPlanner;

use crate::{Radio, Scenario, SimulatedFrame, Simulation, Traffic};

/// All frames of a scenario.
fn frames(scenario: &Scenario, seed: u64) -> Vec<SimulatedFrame> {
    Simulation::new(scenario, seed, 0)
        .expect("a valid scenario")
        .collect()
}

/// A preset with radios and a network that add nothing.
fn ideal(name: &str) -> Scenario {
    Scenario {
        radio: Radio::ideal(),
        traffic: Traffic::ideal(),
        ..Scenario::preset(name).expect("a preset")
    }
}

/// Power spectrum of a series without its mean, Hann window: (Hz, power), negative frequencies included.
fn spectrum(series: &[Complex64], rate_hz: f64) -> Vec<(f64, f64)> {
    let count = series.len();
    let mean = series.iter().sum::<Complex64>() / count as f64;
    let mut bins: Vec<Complex64> = series
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let turn = std::f64::consts::TAU * index as f64 / count as f64;
            (value - mean) * (0.5 - 0.5 * turn.cos())
        })
        .collect();
    FftPlanner::new().plan_fft_forward(count).process(&mut bins);
    bins.iter()
        .enumerate()
        .map(|(index, bin)| {
            let signed = if index > count / 2 {
                index as f64 - count as f64
            } else {
                index as f64
            };
            (signed * rate_hz / count as f64, bin.norm_sqr())
        })
        .collect()
}
