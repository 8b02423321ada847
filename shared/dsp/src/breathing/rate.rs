//! The period that streams on a regular clock share.

use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use super::{BAND_HZ, LEAST_PERIODS, PERIODS_S, RATE_HZ, Unknown};
use crate::butterworth::{self, Band};
use crate::lanes;

/// Variance of a stream below which it does not change: the rounding of `f32`.
const STILL: f64 = 1e-10;
/// Largest autocorrelation at the first lag that weighs: one stream is never all.
const MOST_PHI: f64 = 0.98;
/// Of all peaks the first that reaches this share of the highest is the period; the others are its multiples.
const FIRST: f64 = 0.8;
/// Share of the window up to which the autocorrelation is looked at.
const REACH: f64 = 0.8;
/// Share of the first peak that its repetitions must reach.
const REPETITION: f64 = 0.3;
/// Half width of a spectral line, in reciprocal lengths of the window.
const LINE: f64 = 1.2;
/// Upper end of the band in the spectrum, and of what counts as faster movement; what lies above `NOISE_HZ` is noise.
const BAND_END_HZ: f64 = 0.75;
const FASTER_HZ: f64 = 2.5;
const NOISE_HZ: f64 = 3.0;

/// A period, and how it stands out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Period {
    /// Seconds.
    pub period_s: f64,
    /// Unbiased autocorrelation at the first peak.
    pub peak: f64,
    /// Whether the peak repeats at its double, or the window is too short to tell.
    pub repeated: bool,
    /// Power of the rate and its double against the rest of the band, dB.
    pub snr_db: f64,
    /// Power from 0.75 to 2.5 Hz beyond noise and overtones, as a share of that in the band.
    pub excess: f64,
    /// Mean variance of the streams within the band, in their unit squared.
    pub variance: f64,
}

/// Finds periods; keeps plans and memory from one window to the next.
#[derive(Default)]
pub struct RateFinder {
    planner: Option<RealFftPlanner<f32>>,
    forward: Option<Arc<dyn RealToComplex<f32>>>,
    inverse: Option<Arc<dyn ComplexToReal<f32>>>,
    /// Squared gain of the band at each bin.
    gain: Vec<f64>,
    /// For each tick: 1 where it is covered, its time from the middle of those, and what is left of the stream at hand.
    weights: Vec<f64>,
    times: Vec<f64>,
    left: Vec<f64>,
    /// Covered ticks, and the sum of the squares of their times.
    count: f64,
    squares: f64,
    values: Vec<f32>,
    spectrum: Vec<Complex32>,
    scratch: Vec<Complex32>,
    /// Weighted sum of the streams' periodograms.
    sum: Vec<f64>,
    /// Biased autocorrelation of that within the band.
    correlation: Vec<f64>,
}

impl std::fmt::Debug for RateFinder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("RateFinder");
        out.field("bins", &self.gain.len()).finish_non_exhaustive()
    }
}

impl RateFinder {
    /// Looks for a period in `streams`: `covered.len()` values of the first stream at [`RATE_HZ`], then those of the next.
    ///
    /// Each stream loses its least-squares line; ticks that are not `covered` count for nothing. With `P[s]` the periodogram
    /// of stream `s` (zero-padded to twice the length), `G` the power gain of a Butterworth band-pass of order 4 over
    /// [`BAND_HZ`], and `w[s] = phi / (1 - phi)` from its first lag, the sum is `Q = sum w[s] P[s] / (mean of G P[s]) / sum
    /// w[s]` and the autocorrelation the inverse transform of `G Q`. The first of its highest peaks within [`PERIODS_S`] is
    /// the period, refined by a parabola, and by its repetitions: the m-th lies at m periods.
    ///
    /// # Errors
    /// [`Unknown::Silent`] where no stream changes, [`Unknown::NoPeriod`] where there is no peak.
    pub fn find(&mut self, streams: &[f32], covered: &[bool]) -> Result<Period, Unknown> {
        let ticks = covered.len();
        if ticks < 16 {
            return Err(Unknown::Silent);
        }
        self.plan((2 * ticks).next_power_of_two())?;
        self.sum.fill(0.0);
        self.cover(covered);
        let (mut weights, mut variance, mut live) = (0.0, 0.0, 0.0);
        for stream in streams.chunks_exact(ticks) {
            let (weight, within) = self.add(stream).unwrap_or((0.0, 0.0));
            weights += weight;
            if within > 0.0 {
                variance += within;
                live += 1.0;
            }
        }
        if live <= 0.0 {
            return Err(Unknown::Silent);
        }
        if weights <= 0.0 {
            return Err(Unknown::NoPeriod);
        }
        self.sum.iter_mut().for_each(|bin| *bin /= weights);
        self.correlate(ticks)?;
        let mut period = self.period(ticks).ok_or(Unknown::NoPeriod)?;
        self.stand_out(&mut period, ticks);
        period.variance = variance / live;
        Ok(period)
    }

    fn plan(&mut self, length: usize) -> Result<(), Unknown> {
        if self
            .forward
            .as_ref()
            .is_some_and(|plan| plan.len() == length)
        {
            return Ok(());
        }
        let planner = self.planner.get_or_insert_with(RealFftPlanner::new);
        let (forward, inverse) = (
            planner.plan_fft_forward(length),
            planner.plan_fft_inverse(length),
        );
        let bins = forward.complex_len();
        self.values.resize(length, 0.0);
        self.spectrum.resize(bins, Complex32::default());
        let scratch = forward.get_scratch_len().max(inverse.get_scratch_len());
        self.scratch.resize(scratch, Complex32::default());
        self.sum.resize(bins, 0.0);
        self.correlation.reserve(length);
        // The band is within half the rate: that there is no such filter cannot be.
        let band = butterworth::design(4, Band::Pass(BAND_HZ.0, BAND_HZ.1), RATE_HZ);
        let band = band.map_err(|_| Unknown::NoPeriod)?;
        self.gain.clear();
        self.gain.extend((0..bins).map(|bin| {
            let frequency = bin as f64 * RATE_HZ / length as f64;
            butterworth::power_gain(&band, frequency, RATE_HZ)
        }));
        self.forward = Some(forward);
        self.inverse = Some(inverse);
        Ok(())
    }

    /// Takes up which ticks are covered: what the lines of all streams have in common.
    fn cover(&mut self, covered: &[bool]) {
        let weight = |covered: &bool| f64::from(u8::from(*covered));
        self.weights.clear();
        self.weights.extend(covered.iter().map(weight));
        let count = lanes::sum(&self.weights, |weight: f64| weight).max(1.0);
        let weighted = |(tick, weight): (usize, &f64)| tick as f64 * weight;
        let middle = self.weights.iter().enumerate().map(weighted).sum::<f64>() / count;
        let times = self.weights.iter().enumerate();
        self.times.clear();
        self.times
            .extend(times.map(|(tick, weight)| (tick as f64 - middle) * weight));
        self.count = count;
        self.squares = lanes::sum(&self.times, |time: f64| time * time);
    }

    /// Adds a stream's periodogram; gives its weight and its variance within the band.
    fn add(&mut self, stream: &[f32]) -> Option<(f64, f64)> {
        let forward = Arc::clone(self.forward.as_ref()?);
        let ticks = stream.len();
        // The least-squares line.
        let weighed = |x: f32, weight: f64| f64::from(x) * weight;
        let value = lanes::sum_pairs(stream, &self.weights, weighed) / self.count;
        let slope = if self.squares > 0.0 {
            lanes::sum_pairs(stream, &self.times, weighed) / self.squares
        } else {
            0.0
        };
        self.left.clear();
        let ticks_of = self.weights.iter().zip(&self.times);
        self.left.extend(
            stream
                .iter()
                .zip(ticks_of)
                .map(|(x, (weight, time))| (f64::from(*x) - value) * weight - slope * time),
        );
        let energy = lanes::sum(&self.left, |left: f64| left * left);
        let next = self.left.get(1..).unwrap_or_default();
        let lagged = lanes::sum_pairs(&self.left, next, |one: f64, next: f64| one * next);
        if energy <= STILL * ticks as f64 || !energy.is_finite() {
            return None;
        }
        // In units of the stream's own deviation: what follows does not see its scale.
        let scale = (ticks as f64 / energy).sqrt();
        let values = self.values.iter_mut().zip(&self.left);
        values.for_each(|(value, left)| *value = (left * scale) as f32);
        self.values.get_mut(ticks..)?.fill(0.0);
        forward
            .process_with_scratch(&mut self.values, &mut self.spectrum, &mut self.scratch)
            .ok()?;
        let length = forward.len() as f64;
        let banded = |bin: Complex32, gain: f64| gain * f64::from(bin.norm_sqr());
        let within = 2.0 * lanes::sum_pairs(&self.spectrum, &self.gain, banded) / length;
        let phi = (lagged / energy).clamp(0.0, MOST_PHI);
        let weight = phi / (1.0 - phi);
        if within > 0.0 {
            let weight = weight / within;
            for (sum, bin) in self.sum.iter_mut().zip(&self.spectrum) {
                *sum += weight * f64::from(bin.norm_sqr());
            }
        }
        Some((weight, within / ticks as f64 * energy / ticks as f64))
    }

    fn correlate(&mut self, ticks: usize) -> Result<(), Unknown> {
        let inverse = Arc::clone(self.inverse.as_ref().ok_or(Unknown::NoPeriod)?);
        for ((bin, sum), gain) in self.spectrum.iter_mut().zip(&self.sum).zip(&self.gain) {
            *bin = Complex32::new((sum * gain) as f32, 0.0);
        }
        inverse
            .process_with_scratch(&mut self.spectrum, &mut self.values, &mut self.scratch)
            .map_err(|_| Unknown::NoPeriod)?;
        let length = inverse.len() as f64;
        self.correlation.clear();
        let values = self.values.iter().take(ticks);
        self.correlation
            .extend(values.map(|x| f64::from(*x) / length));
        Ok(())
    }

    fn period(&self, ticks: usize) -> Option<Period> {
        let biased = |lag: usize| self.correlation.get(lag).copied().unwrap_or_default();
        let unbiased =
            |lag: usize| biased(lag) * ticks as f64 / (ticks as f64 - lag as f64).max(1.0);
        let shortest = (PERIODS_S.0 * RATE_HZ).ceil() as usize;
        let longest = (PERIODS_S.1 * RATE_HZ).min(ticks as f64 / LEAST_PERIODS) as usize;
        let peaks = || {
            (shortest..=longest).filter(|lag| {
                let at = biased(*lag);
                at > 0.0 && at > biased(lag - 1) && at >= biased(lag + 1)
            })
        };
        let highest = peaks().map(biased).max_by(f64::total_cmp)?;
        let first = peaks().find(|lag| biased(*lag) >= FIRST * highest)?;
        let top = |lag: usize| {
            let (before, at, after) = (unbiased(lag - 1), unbiased(lag), unbiased(lag + 1));
            let bend = before - 2.0 * at + after;
            let shift = if bend < 0.0 {
                0.5 * (before - after) / bend
            } else {
                0.0
            };
            lag as f64 + shift.clamp(-1.0, 1.0)
        };
        let mut period = top(first);
        let (mut repetitions, mut tried) = (1_u32, false);
        loop {
            let next = (f64::from(repetitions + 1) * period).round() as usize;
            let around = ((0.2 * period) as usize).max(2);
            if (next + around) as f64 >= REACH * ticks as f64 {
                break;
            }
            tried = true;
            let near = next.saturating_sub(around).max(1)..=next + around;
            let lag = near.max_by(|a, b| unbiased(*a).total_cmp(&unbiased(*b)))?;
            let at = unbiased(lag);
            let is_peak = at > unbiased(lag - 1) && at >= unbiased(lag + 1);
            if !is_peak || at < REPETITION * unbiased(first) {
                break;
            }
            repetitions += 1;
            period = top(lag) / f64::from(repetitions);
        }
        Some(Period {
            period_s: period / RATE_HZ,
            peak: unbiased(first),
            repeated: repetitions > 1 || !tried,
            snr_db: 0.0,
            excess: 0.0,
            variance: 0.0,
        })
    }

    /// Measures the line and its first overtone against the rest of the band, and what lies above it.
    fn stand_out(&self, period: &mut Period, ticks: usize) {
        let bins = (self.sum.len().max(2) - 1) as f64;
        let half_width = LINE * RATE_HZ / ticks as f64;
        let (mut line, mut rest) = (0.0, 0.0);
        let (mut faster, mut of_faster, mut all_faster) = (0.0, 0.0, 0.0);
        let (mut noise, mut of_noise) = (0.0, 0.0);
        for (bin, power) in self.sum.iter().enumerate() {
            let frequency = bin as f64 * RATE_HZ / (2.0 * bins);
            let near = |times: f64| (frequency - times / period.period_s).abs() < half_width;
            let of_rate = near(1.0) || near(2.0);
            if (BAND_HZ.0..=BAND_END_HZ).contains(&frequency) {
                if of_rate {
                    line += power;
                } else {
                    rest += power;
                }
            } else if frequency > BAND_END_HZ && frequency < FASTER_HZ {
                all_faster += 1.0;
                if !of_rate && !near(3.0) {
                    faster += power;
                    of_faster += 1.0;
                }
            } else if frequency > NOISE_HZ {
                noise += power;
                of_noise += 1.0;
            }
        }
        let band = f64::max(line + rest, f64::MIN_POSITIVE);
        let beyond = faster / f64::max(of_faster, 1.0) - noise / f64::max(of_noise, 1.0);
        period.excess = beyond * all_faster / band;
        period.snr_db = 10.0 * (line / f64::max(rest, 1e-9 * band)).max(1e-9).log10();
    }
}
