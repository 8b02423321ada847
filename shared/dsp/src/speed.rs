//! Speed of a moving body from the autocorrelation of power, whichever way it goes.
//!
//! F. Zhang, C. Chen, B. Wang, K. J. R. Liu, "`WiSpeed`: A Statistical Electromagnetic Approach for Device-Free Indoor Speed
//! Estimation", IEEE Internet of Things J. 5 (2018). With scatterers all around, the autocorrelation of a subcarrier's power
//! under a body of speed `v` is, as a function of `x = 2 pi v tau / lambda`, the square of `1.5 (sin x / x - (sin x / x - cos
//! x) / x^2)`: its derivative over the lag has its first local maximum at `v tau = 0.54 lambda`. So the lag of that maximum
//! gives the speed. One strong direct path, or two bodies, break the assumption.

use std::f64::consts::PI;
use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use crate::autocorrelation::Series;
use crate::clock::{RegularClock, nominal_period_us};

/// `v tau / lambda` at the first maximum of the derivative.
pub const WAVELENGTHS: f64 = 0.54;
/// Frames a second that are needed: at 5 GHz a step of one lag is still 0.3 m/s at 1 m/s.
pub const LEAST_RATE_HZ: f64 = 99.0;
/// First-lag autocorrelation below which nothing moves that has a speed.
pub const LEAST_PHI: f64 = 0.3;
/// Height of the maximum, in autocorrelation per lag times the lag, that is more than noise.
pub const LEAST_RISE: f64 = 0.02;
/// Slowest and fastest speed that is looked for, metres a second.
pub const SPEEDS: (f64, f64) = (0.1, 4.0);
/// Ticks of a window at most.
const MOST_TICKS: usize = 4096;
/// Subcarriers looked at.
const MOST_SUBCARRIERS: usize = 32;
/// Lag from which a maximum can be told from the rounding of the lag, in ticks.
const FIRST_LAG: usize = 2;

/// A speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// Metres a second.
    pub metres_per_second: f64,
    /// Lag of the maximum, seconds.
    pub lag_s: f64,
    /// First-lag autocorrelation, weighted as the rest.
    pub phi: f64,
}

/// Why there is no speed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Unknown {
    /// Too few frames a second.
    #[error("{rate_hz:.0} frames a second; 100 are needed")]
    Rate {
        /// Frames a second, by their median interval.
        rate_hz: f64,
    },
    /// The window is too short, or half of it is gaps.
    #[error("too few frames in the window")]
    Frames,
    /// Nothing moves.
    #[error("autocorrelation {phi:.2}: nothing moves")]
    Still {
        /// First-lag autocorrelation.
        phi: f64,
    },
    /// No maximum within the speeds looked for.
    #[error("no speed stands out")]
    NoPeak,
}

/// Measures speeds; keeps plans and memory from one window to the next.
#[derive(Default)]
pub struct SpeedMeter {
    planner: Option<RealFftPlanner<f32>>,
    plans: Option<Plans>,
    clock: RegularClock,
    intervals: Vec<i64>,
    values: Vec<f32>,
    spectrum: Vec<Complex32>,
    scratch: Vec<Complex32>,
    sum: Vec<f64>,
    correlation: Vec<f64>,
    slope: Vec<f64>,
}

#[derive(Clone)]
struct Plans {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
}

impl std::fmt::Debug for SpeedMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("SpeedMeter");
        out.field("lags", &self.correlation.len())
            .finish_non_exhaustive()
    }
}

impl SpeedMeter {
    /// The speed in `series` (normalised power, a second or two) at a carrier of `wavelength_m` metres.
    ///
    /// The series is put on a regular clock of its median interval; of up to 32 subcarriers the unbiased autocorrelations are
    /// averaged with weights `phi / (1 - phi)`, smoothed over three lags, and differenced centrally; the first local maximum
    /// of the difference within [`SPEEDS`] that rises by [`LEAST_RISE`] is refined by a parabola.
    ///
    /// # Errors
    /// Where there is no speed, with the reason.
    pub fn measure(&mut self, series: Series<'_>, wavelength_m: f64) -> Result<Speed, Unknown> {
        let period_us =
            nominal_period_us(series.times_us, &mut self.intervals).ok_or(Unknown::Frames)?;
        let rate_hz = 1e6 / period_us;
        if rate_hz < LEAST_RATE_HZ {
            return Err(Unknown::Rate { rate_hz });
        }
        self.clock.lay(series.times_us, period_us, MOST_TICKS);
        let ticks = self.clock.len();
        if ticks < 64 || self.clock.valid() * 2 < ticks || series.width == 0 {
            return Err(Unknown::Frames);
        }
        let phi = self
            .correlate(series, ticks)
            .ok_or(Unknown::Still { phi: 0.0 })?;
        if phi < LEAST_PHI {
            return Err(Unknown::Still { phi });
        }
        let lag = self
            .first_maximum(ticks, rate_hz, wavelength_m)
            .ok_or(Unknown::NoPeak)?;
        let lag_s = lag / rate_hz;
        Ok(Speed {
            metres_per_second: WAVELENGTHS * wavelength_m / lag_s,
            lag_s,
            phi,
        })
    }

    /// The weighted autocorrelation of the series last measured, by lag in ticks.
    #[must_use]
    pub fn autocorrelation(&self) -> &[f64] {
        &self.correlation
    }

    fn correlate(&mut self, series: Series<'_>, ticks: usize) -> Option<f64> {
        let length = (2 * ticks).next_power_of_two();
        if self
            .plans
            .as_ref()
            .is_none_or(|plans| plans.forward.len() != length)
        {
            let planner = self.planner.get_or_insert_with(RealFftPlanner::new);
            let (forward, inverse) = (
                planner.plan_fft_forward(length),
                planner.plan_fft_inverse(length),
            );
            let scratch = forward.get_scratch_len().max(inverse.get_scratch_len());
            self.values.resize(length, 0.0);
            self.spectrum
                .resize(forward.complex_len(), Complex32::default());
            self.scratch.resize(scratch, Complex32::default());
            self.sum.resize(forward.complex_len(), 0.0);
            self.plans = Some(Plans { forward, inverse });
        }
        let plans = self.plans.clone()?;
        self.sum.fill(0.0);
        let mut weights = 0.0;
        for column in (0..series.width).step_by(series.width.div_ceil(MOST_SUBCARRIERS)) {
            weights += self.add(series, column, &plans).unwrap_or_default();
        }
        if weights <= 0.0 {
            return None;
        }
        for (bin, sum) in self.spectrum.iter_mut().zip(&self.sum) {
            *bin = Complex32::new((sum / weights) as f32, 0.0);
        }
        plans
            .inverse
            .process_with_scratch(&mut self.spectrum, &mut self.values, &mut self.scratch)
            .ok()?;
        self.correlation.clear();
        let lags = self.values.iter().take(ticks / 2).enumerate();
        let unbiased = |lag: usize| ticks as f64 / (ticks - lag) as f64 / length as f64;
        self.correlation
            .extend(lags.map(|(lag, value)| f64::from(*value) * unbiased(lag)));
        self.correlation.get(1).copied()
    }

    /// Adds one subcarrier's periodogram, of variance 1, and gives its weight.
    fn add(&mut self, series: Series<'_>, column: usize, plans: &Plans) -> Option<f64> {
        let valid = self.clock.valid().max(1) as f64;
        let values = || self.clock.column(series.rows, series.width, column);
        let mean = values().flatten().map(f64::from).sum::<f64>() / valid;
        let (mut energy, mut lagged, mut previous) = (0.0, 0.0, 0.0);
        for (out, value) in self.values.iter_mut().zip(values()) {
            let deviation = value.map_or(0.0, |value| f64::from(value) - mean);
            energy += deviation * deviation;
            lagged += deviation * previous;
            previous = deviation;
            *out = deviation as f32;
        }
        let ticks = self.clock.len();
        if energy <= 1e-11 * valid || !energy.is_finite() {
            return None;
        }
        self.values.get_mut(ticks..)?.fill(0.0);
        plans
            .forward
            .process_with_scratch(&mut self.values, &mut self.spectrum, &mut self.scratch)
            .ok()?;
        let phi = (lagged / energy).clamp(0.0, crate::select::MOST_PHI);
        let weight = phi / (1.0 - phi);
        for (sum, bin) in self.sum.iter_mut().zip(&self.spectrum) {
            *sum += weight / energy * f64::from(bin.norm_sqr());
        }
        Some(weight)
    }

    fn first_maximum(&mut self, ticks: usize, rate_hz: f64, wavelength_m: f64) -> Option<f64> {
        let at = |lag: usize| self.correlation.get(lag).copied().unwrap_or_default();
        let smooth = |lag: usize| (at(lag - 1) + at(lag) + at(lag + 1)) / 3.0;
        let lag_of = |speed: f64| WAVELENGTHS * wavelength_m / speed * rate_hz;
        let first = (lag_of(SPEEDS.1).floor() as usize).max(FIRST_LAG + 1);
        let last = (lag_of(SPEEDS.0).ceil() as usize).min((ticks / 2).saturating_sub(4));
        self.slope.clear();
        self.slope.extend(
            (first.saturating_sub(1)..=last + 1)
                .map(|lag| 0.5 * (smooth(lag + 1) - smooth(lag - 1))),
        );
        self.slope
            .windows(3)
            .enumerate()
            .find_map(|(offset, slopes)| {
                let [before, here, after] = *slopes else {
                    return None;
                };
                let lag = first + offset;
                let rises = here * lag as f64 >= LEAST_RISE;
                (here > before && here >= after && rises).then(|| {
                    let bend = before - 2.0 * here + after;
                    lag as f64
                        + if bend < 0.0 {
                            0.5 * (before - after) / bend
                        } else {
                            0.0
                        }
                })
            })
    }
}

/// The autocorrelation that theory expects at `lag_s` seconds for a body of `speed` metres a second.
#[must_use]
pub fn expected_autocorrelation(speed: f64, lag_s: f64, wavelength_m: f64) -> f64 {
    let x = 2.0 * PI * speed * lag_s / wavelength_m;
    if x.abs() < 1e-3 {
        return 1.0;
    }
    let sinc = x.sin() / x;
    (1.5 * (sinc - (sinc - x.cos()) / (x * x))).powi(2)
}

#[cfg(test)]
mod tests;
