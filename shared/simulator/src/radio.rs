//! What a receiver makes of the channel: phase, delay, gain, noise, numbers of 8 bits.

use std::sync::Arc;

use csi::layout::{Fields, Order, esp32};
use num_complex::{Complex32, Complex64};

use crate::channel::HT20_SPACING_HZ;
use crate::random::Random;
use crate::scenario::{Layout, Radio, Scenario};

/// Widest occupied subcarrier of the HT long training field at 20 MHz; the legacy field ends at 26.
pub(crate) const HALF_WIDTH: u8 = 28;
const LEGACY_HALF_WIDTH: i16 = 26;

/// Thermal noise of 20 MHz at 290 K, in dBm.
const THERMAL_DBM: f64 = -174.0 + 73.0103;

/// The bytes that an ESP32 leaves in the first word, as (imaginary, real) pairs: parts of the packet header.
const FIRST_WORD: [(f32, f32); 2] = [(84.0, -64.0), (4.0, 0.0)];

/// What was measured on one packet.
pub(crate) struct Measured {
    pub samples: Vec<Complex32>,
    pub rssi_dbm: f64,
    pub noise_floor_dbm: Option<f64>,
    pub gain_db: f64,
    /// Absent without noise.
    pub snr_db: Option<f64>,
    pub clipped: u32,
}

/// One receiver's radio. Its gain has a memory; all else is drawn per packet.
pub(crate) struct RadioState {
    radio: Radio,
    power_dbm: f64,
    layout: Arc<csi::Layout>,
    /// For each sample: its subcarrier, where it carries an estimate, and whether it is of the legacy field.
    places: Vec<Option<(i16, bool)>>,
    random: Random,
    gain_db: Option<f64>,
    turned: Vec<Complex64>,
}

impl RadioState {
    pub(crate) fn new(scenario: &Scenario, random: Random) -> Self {
        let radio = scenario.radio.clone();
        let layout = layout_of(&radio);
        let places = layout
            .subcarriers
            .iter()
            .enumerate()
            .map(|(index, &subcarrier)| {
                let legacy = index < 64;
                let widest = if legacy {
                    LEGACY_HALF_WIDTH
                } else {
                    i16::from(HALF_WIDTH)
                };
                (subcarrier != 0 && subcarrier.abs() <= widest).then_some((subcarrier, legacy))
            })
            .collect();
        Self {
            power_dbm: scenario.transmitter.power_dbm,
            radio,
            layout,
            places,
            random,
            gain_db: None,
            turned: Vec::new(),
        }
    }

    pub(crate) fn layout(&self) -> &Arc<csi::Layout> {
        &self.layout
    }

    /// Measures the channel (`response`, subcarriers from `-HALF_WIDTH`) on the packet at `time_s`.
    pub(crate) fn measure(&mut self, response: &[Complex64], time_s: f64) -> Measured {
        // Power over the occupied subcarriers of the legacy field, which the receiver sets its gain by.
        let occupied = 2.0 * f64::from(LEGACY_HALF_WIDTH);
        let centre = usize::from(HALF_WIDTH);
        let power = response
            .iter()
            .enumerate()
            .filter(|(index, _)| (1..=26).contains(&index.abs_diff(centre)))
            .map(|(_, bin)| bin.norm_sqr())
            .sum::<f64>()
            / occupied;
        let received_dbm = self.power_dbm + decibel(power);
        let noise_floor_dbm = self
            .radio
            .noise_figure_db
            .map(|figure| THERMAL_DBM + figure);
        let thermal = noise_floor_dbm.map_or(0.0, |floor| ratio(floor - self.power_dbm));
        let own = self
            .radio
            .snr_limit_db
            .map_or(0.0, |limit| power * ratio(-limit));
        let noise = thermal + own;
        let gain_db = self.gain(power);
        self.turn(response, time_s);
        let (samples, clipped) = self.sample(ratio(gain_db).sqrt(), noise.sqrt());
        Measured {
            samples,
            rssi_dbm: decibel(ratio(received_dbm) + noise_floor_dbm.map_or(0.0, ratio)),
            noise_floor_dbm,
            gain_db,
            snr_db: (noise > 0.0).then(|| decibel(power / noise)),
            clipped,
        }
    }

    /// The gain control: steps, with half a step of hysteresis, and a slip now and then.
    fn gain(&mut self, power: f64) -> f64 {
        let wanted = 2.0 * decibel(self.radio.target_rms) - decibel(power);
        let step = self.radio.gain_step_db;
        if step <= 0.0 {
            return *self.gain_db.get_or_insert(wanted);
        }
        let held = match self.gain_db {
            Some(held) if (held - wanted).abs() <= step => held,
            _ => (wanted / step).round() * step,
        };
        self.gain_db = Some(held);
        if self.random.chance(self.radio.gain_slip) {
            held + if self.random.chance(0.5) { step } else { -step }
        } else {
            held
        }
    }

    /// Common phase and slope of this packet.
    fn turn(&mut self, response: &[Complex64], time_s: f64) {
        let mut phase = std::f64::consts::TAU * (self.radio.carrier_offset_hz * time_s).fract();
        if self.radio.random_phase {
            phase += std::f64::consts::TAU * self.random.uniform();
        }
        let delay_s = 1e-9
            * (self.radio.detection_delay_ns
                + self.radio.detection_jitter_ns * self.random.normal());
        let slope = -std::f64::consts::TAU * HT20_SPACING_HZ * delay_s;
        let mut phasor = Complex64::cis(phase - slope * f64::from(HALF_WIDTH));
        let step = Complex64::cis(slope);
        self.turned.clear();
        self.turned.extend(response.iter().map(|bin| {
            let turned = bin * phasor;
            phasor *= step;
            turned
        }));
    }

    fn sample(&mut self, gain: f64, noise: f64) -> (Vec<Complex32>, u32) {
        let mut clipped = 0;
        let (random, turned, quantise) = (&mut self.random, &self.turned, self.radio.quantise);
        let mut samples: Vec<Complex32> = self
            .places
            .iter()
            .map(|place| {
                let Some((subcarrier, legacy)) = *place else {
                    return Complex32::ZERO;
                };
                let index = usize::try_from(subcarrier + i16::from(HALF_WIDTH)).unwrap_or(0);
                let bin = turned.get(index).copied().unwrap_or_default();
                // The legacy field is sent twice and averaged, the HT field once.
                let noise = if legacy {
                    noise * std::f64::consts::FRAC_1_SQRT_2
                } else {
                    noise
                };
                let value = (bin + random.complex_normal() * noise) * gain;
                if quantise {
                    Complex32::new(
                        eight_bits(value.re, &mut clipped),
                        eight_bits(value.im, &mut clipped),
                    )
                } else {
                    Complex32::new(value.re as f32, value.im as f32)
                }
            })
            .collect();
        if self.radio.spoiled_first_word {
            for (sample, (im, re)) in samples.iter_mut().zip(FIRST_WORD) {
                *sample = Complex32::new(re, im);
            }
        }
        (samples, clipped)
    }
}

fn layout_of(radio: &Radio) -> Arc<csi::Layout> {
    let fields = match radio.layout {
        Layout::Lltf64 => Fields::Legacy,
        Layout::Lltf64Ht64 => Fields::LegacyHt20,
    };
    esp32(fields, Order::Fft, radio.spoiled_first_word)
}

fn eight_bits(value: f64, clipped: &mut u32) -> f32 {
    let rounded = value.round();
    let held = rounded.clamp(-128.0, 127.0);
    if held != rounded {
        *clipped += 1;
    }
    held as f32
}

fn decibel(ratio: f64) -> f64 {
    10.0 * ratio.log10()
}

fn ratio(decibel: f64) -> f64 {
    10.0_f64.powf(decibel / 10.0)
}
