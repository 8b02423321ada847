//! Doppler spectra: how fast path lengths change.
//!
//! A body that moves changes the length of the paths over it; a path that grows by `v` metres a second turns against the
//! static ones `f = v / lambda` times a second, and so does the power of the sum of all (W. Wang et al., CARM, ACM `MobiCom`
//! 2015). The spectrum is the short-time Fourier transform of a few streams (principal components, or normalised power of some
//! subcarriers), with a Hann window of 0.25 to 0.5 s every 50 ms. Power has no sign of `f`: towards and away look alike.

use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{RealFftPlanner, RealToComplex};

use crate::clock::LONGEST_BRIDGE;

/// Speed of light, metres a second.
const LIGHT: f64 = 299_792_458.0;
/// Samples of a window at most.
pub const LONGEST_WINDOW: usize = 1024;

/// Shape of the transform.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Samples a second of the regular clock that frames are put on.
    pub rate_hz: f64,
    /// Length of the Hann window, seconds.
    pub window_s: f64,
    /// Seconds from one spectrum to the next.
    pub hop_s: f64,
}

impl Shape {
    /// A window of 0.5 s and a hop of 50 ms.
    #[must_use]
    pub fn at(rate_hz: f64) -> Self {
        Self {
            rate_hz,
            window_s: 0.5,
            hop_s: 0.05,
        }
    }
}

/// Why there is no such transform.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "{samples} samples in a window of {window_s} s at {rate_hz} Hz; 8 to {LONGEST_WINDOW} are possible"
)]
pub struct ShapeError {
    /// Samples that the window would hold.
    pub samples: usize,
    /// Length asked for.
    pub window_s: f64,
    /// Rate asked for.
    pub rate_hz: f64,
}

/// The speed at which a path's length changes, metres a second, at a Doppler frequency and a carrier in Hz.
#[must_use]
pub fn path_speed(frequency_hz: f64, carrier_hz: f64) -> f64 {
    frequency_hz * LIGHT / carrier_hz
}

/// Short-time Fourier transform of `width` streams. Nothing is allocated after `new`.
pub struct Doppler {
    width: usize,
    shape: Shape,
    window: Vec<f32>,
    hop: usize,
    plan: Arc<dyn RealToComplex<f32>>,
    /// Ring of the last `window.len()` ticks, stream after stream.
    ring: Vec<f32>,
    next: usize,
    filled: usize,
    since: usize,
    /// The last frame, and the time of the next tick.
    previous: Vec<f32>,
    previous_us: Option<i64>,
    tick_us: f64,
    input: Vec<f32>,
    output: Vec<Complex32>,
    scratch: Vec<Complex32>,
    power: Vec<f32>,
    scale: f32,
}

impl std::fmt::Debug for Doppler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Doppler");
        out.field("width", &self.width).field("shape", &self.shape);
        out.finish_non_exhaustive()
    }
}

/// What a [`Doppler`] rests on: enough to go on as if it had never stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The last ticks, stream after stream, in a ring.
    pub ring: Vec<f32>,
    /// Place of the next tick in the ring.
    pub next: usize,
    /// Ticks in the ring.
    pub filled: usize,
    /// Ticks since the latest spectrum.
    pub since: usize,
    /// The last row.
    pub previous: Vec<f32>,
    /// Its time, microseconds.
    pub previous_us: Option<i64>,
    /// Time of the next tick after it, microseconds.
    pub tick_us: f64,
}

impl Doppler {
    /// # Errors
    /// Where the window does not fit.
    pub fn new(width: usize, shape: Shape) -> Result<Self, ShapeError> {
        let samples = (shape.window_s * shape.rate_hz).round() as usize;
        if !(8..=LONGEST_WINDOW).contains(&samples) || !shape.rate_hz.is_finite() {
            return Err(ShapeError {
                samples,
                window_s: shape.window_s,
                rate_hz: shape.rate_hz,
            });
        }
        let plan = RealFftPlanner::new().plan_fft_forward(samples.next_power_of_two());
        let turn = std::f64::consts::TAU / samples as f64;
        let window: Vec<f32> = (0..samples)
            .map(|n| (0.5 - 0.5 * (turn * n as f64).cos()) as f32)
            .collect();
        let sum: f32 = window.iter().sum();
        Ok(Self {
            width,
            shape,
            hop: ((shape.hop_s * shape.rate_hz).round() as usize).max(1),
            ring: vec![0.0; samples * width],
            next: 0,
            filled: 0,
            since: 0,
            previous: vec![0.0; width],
            previous_us: None,
            tick_us: 0.0,
            input: vec![0.0; plan.len()],
            output: vec![Complex32::default(); plan.complex_len()],
            scratch: vec![Complex32::default(); plan.get_scratch_len()],
            power: vec![0.0; plan.complex_len()],
            scale: 2.0 / (sum * sum * width.max(1) as f32),
            window,
            plan,
        })
    }

    /// Takes a frame. Gives whether a new spectrum is there.
    ///
    /// Ticks are interpolated linearly between neighbouring frames. After a gap of more than [`LONGEST_BRIDGE`] ticks, or a
    /// step back in time, the window begins anew: no spectrum reaches across. A row of another width, or with a value that is
    /// not finite, does not count.
    pub fn push(&mut self, time_us: i64, row: &[f32]) -> bool {
        if row.len() != self.width || row.iter().any(|x| !x.is_finite()) {
            return false;
        }
        let period = 1e6 / self.shape.rate_hz;
        let mut fresh = false;
        match self.previous_us {
            Some(before)
                if time_us > before
                    && (time_us - before) as f64 <= (LONGEST_BRIDGE * period).max(1.0) =>
            {
                let span = (time_us - before) as f64;
                // Times count from the previous frame, so that they stay exact over years.
                while self.tick_us <= span {
                    let weight = (self.tick_us / span) as f32;
                    fresh |= self.tick(row, weight);
                    self.tick_us += period;
                }
                self.tick_us -= span;
            }
            Some(before) if time_us == before => return false,
            _ => {
                self.filled = 0;
                self.since = 0;
                self.tick_us = period;
                self.put(row, 1.0);
            }
        }
        self.previous.copy_from_slice(row);
        self.previous_us = Some(time_us);
        fresh
    }

    /// What is to be kept, but for the latest spectrum; see [`resume`](Self::resume).
    #[must_use]
    pub fn state(&self) -> State {
        State {
            ring: self.ring.clone(),
            next: self.next,
            filled: self.filled,
            since: self.since,
            previous: self.previous.clone(),
            previous_us: self.previous_us,
            tick_us: self.tick_us,
        }
    }

    /// Takes up what [`state`](Self::state) of one of the same width and shape gave. Gives whether it fits; what does not is
    /// not taken.
    pub fn resume(&mut self, state: State) -> bool {
        let samples = self.window.len();
        let fits = state.ring.len() == self.ring.len()
            && state.previous.len() == self.width
            && state.next < samples
            && state.filled <= samples
            && state.tick_us.is_finite();
        if fits {
            self.ring = state.ring;
            self.next = state.next;
            self.filled = state.filled;
            self.since = state.since;
            self.previous = state.previous;
            self.previous_us = state.previous_us;
            self.tick_us = state.tick_us;
        }
        fits
    }

    fn put(&mut self, row: &[f32], weight: f32) {
        let samples = self.window.len();
        let streams = self.ring.chunks_exact_mut(samples);
        for ((stream, before), value) in streams.zip(&self.previous).zip(row) {
            if let Some(place) = stream.get_mut(self.next) {
                // With a weight of 1 nothing of an earlier frame is left, whatever it was.
                *place = if weight < 1.0 {
                    before + weight * (value - before)
                } else {
                    *value
                };
            }
        }
        self.next = (self.next + 1) % samples;
        self.filled = (self.filled + 1).min(samples);
    }

    fn tick(&mut self, row: &[f32], weight: f32) -> bool {
        self.put(row, weight);
        self.since += 1;
        if self.filled < self.window.len() || self.since < self.hop {
            return false;
        }
        self.since = 0;
        self.transform();
        true
    }

    fn transform(&mut self) {
        let samples = self.window.len();
        self.power.fill(0.0);
        for stream in self.ring.chunks_exact(samples) {
            let mean = stream.iter().sum::<f32>() / samples as f32;
            let (newer, older) = stream.split_at_checked(self.next).unwrap_or((stream, &[]));
            let ordered = older.iter().chain(newer);
            for ((out, x), window) in self.input.iter_mut().zip(ordered).zip(&self.window) {
                *out = (x - mean) * window;
            }
            if let Some(padding) = self.input.get_mut(samples..) {
                padding.fill(0.0);
            }
            let done = self.plan.process_with_scratch(
                &mut self.input,
                &mut self.output,
                &mut self.scratch,
            );
            if done.is_ok() {
                for (sum, bin) in self.power.iter_mut().zip(&self.output) {
                    *sum += self.scale * bin.norm_sqr();
                }
            }
        }
    }

    /// The latest spectrum from 0 Hz to half the rate, mean over the streams: a sinusoid of amplitude `A` at a bin's middle
    /// gives `A^2 / 2` there (one-sided, in the squared unit of the rows; `scipy.signal.spectrogram(scaling="spectrum")`).
    /// All zeros before the first.
    #[must_use]
    pub fn power(&self) -> &[f32] {
        &self.power
    }

    /// Distance of two bins, Hz.
    #[must_use]
    pub fn bin_hz(&self) -> f64 {
        self.shape.rate_hz / self.input.len() as f64
    }

    /// The frequency below which `share` of the power above `lowest_hz` lies: about 0.5 for the trunk and 0.95 for the limbs
    /// in CARM. Absent where there is no power.
    #[must_use]
    pub fn percentile_hz(&self, share: f32, lowest_hz: f64) -> Option<f64> {
        let first = (lowest_hz / self.bin_hz()).ceil().max(0.0) as usize;
        let bins = self.power.get(first..)?;
        let total: f32 = bins.iter().sum();
        if total <= 0.0 {
            return None;
        }
        let mut sum = 0.0;
        let place = bins.iter().position(|power| {
            sum += power;
            sum >= share * total
        });
        Some((first + place.unwrap_or(bins.len() - 1)) as f64 * self.bin_hz())
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;
    use proptest::prelude::*;

    fn run(
        doppler: &mut Doppler,
        from_us: i64,
        seconds: f64,
        value: impl Fn(f64) -> [f32; 2],
    ) -> usize {
        let frames = (seconds * 100.0) as i64;
        let at = |t: i64| from_us + t * 10_000 + (t % 3) * 700;
        (0..frames)
            .filter(|t| doppler.push(at(*t), &value(at(*t) as f64 / 1e6)))
            .count()
    }

    fn wave(hz: f64) -> impl Fn(f64) -> [f32; 2] {
        move |t| {
            [
                (TAU * hz * t).sin() as f32,
                3.0 + (TAU * hz * t).cos() as f32,
            ]
        }
    }

    #[test]
    fn a_tone_stands_at_its_frequency_and_speed() {
        let mut doppler = Doppler::new(2, Shape::at(100.0)).unwrap();
        let spectra = run(&mut doppler, 0, 3.0, wave(12.5));
        assert!((48..=52).contains(&spectra), "{spectra}");
        let median = doppler.percentile_hz(0.5, 2.0).unwrap();
        assert!((median - 12.5).abs() < 1.0, "{median}");
        assert!(
            (doppler.power()[8] - 0.5).abs() < 0.03,
            "{:?}",
            doppler.power()
        );
        // 12.5 Hz at 5.2 GHz: 0.72 m/s of path length.
        assert!((path_speed(12.5, 5.2e9) - 0.7207).abs() < 1e-3);
    }

    #[test]
    fn silence_has_no_power_and_nothing_reaches_across_a_gap() {
        let mut doppler = Doppler::new(2, Shape::at(100.0)).unwrap();
        assert!(run(&mut doppler, 0, 2.0, |_| [1.0, -7.0]) > 0);
        assert!(doppler.power().iter().all(|power| *power < 1e-9));
        assert_eq!(
            doppler
                .percentile_hz(0.5, 0.0)
                .filter(|_| doppler.power().iter().sum::<f32>() > 1e-9),
            None
        );
        assert!(run(&mut doppler, 3_000_000, 0.49, wave(9.0)) == 0);
        assert!(!doppler.push(4_000_000, &[f32::NAN, 0.0]) && !doppler.push(4_000_000, &[0.0]));
    }

    #[test]
    fn impossible_windows_are_refused() {
        for rate in [1.0, 1e6, f64::NAN] {
            assert!(Doppler::new(1, Shape::at(rate)).is_err(), "{rate}");
        }
    }

    proptest! {
        #[test]
        fn power_goes_with_the_square_of_the_scale(scale in 0.01_f32..100.0, offset in -10.0_f32..10.0) {
            let (mut one, mut other) = (Doppler::new(2, Shape::at(100.0)).unwrap(), Doppler::new(2, Shape::at(100.0)).unwrap());
            run(&mut one, 0, 1.0, wave(9.0));
            run(&mut other, 0, 1.0, |t| wave(9.0)(t).map(|x| scale * (x + offset)));
            for (a, b) in one.power().iter().zip(other.power()) {
                prop_assert!((a - b / (scale * scale)).abs() < 1e-3);
            }
        }
    }
}
