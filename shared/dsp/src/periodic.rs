//! Whether something periodic in the band of breathing is in a series: a gate, no estimate of a rate.
//!
//! The series is averaged into ticks of [`TICK_US`], each subcarrier's line is taken off, a Hann window laid on, and the
//! periodogram summed over the subcarriers, each scaled to its own variance. A breath is a narrow peak between
//! [`BAND_HZ`], inside the band and not at its lower edge (slow drift rises towards that), [`SNR`] times above the median of
//! the spectrum from 0.1 to 2 Hz and holding [`SHARE`] of the power there.

use crate::autocorrelation::Series;

/// Tick of the averaged series, microseconds.
pub const TICK_US: i64 = 100_000;
/// The band of breathing, Hz.
pub const BAND_HZ: (f64, f64) = (0.1, 0.6);
/// Ratio of the peak to the median of the spectrum.
pub const SNR: f64 = 12.0;
/// Share of the power up to 2 Hz that lies within two bins of the peak.
pub const SHARE: f64 = 0.4;
/// Seconds below which nothing is said: two periods of the slowest breath.
pub const LEAST_S: f64 = 20.0;
const HIGHEST_HZ: f64 = 2.0;
const MOST_SUBCARRIERS: usize = 24;

/// The strongest line in the band.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Its frequency, Hz.
    pub frequency_hz: f64,
    /// Its power over the median of the spectrum.
    pub snr: f64,
    /// Its share of the power up to 2 Hz.
    pub share: f64,
    /// Passes the gate: it is taken for breathing.
    pub periodic: bool,
}

/// The strongest line in the band of breathing; absent where the series is shorter than [`LEAST_S`], has a tick without a
/// frame in every fifth place or more, or does not change.
#[must_use]
pub fn strongest_line(series: Series<'_>) -> Option<Line> {
    let (first, last) = (*series.times_us.first()?, *series.times_us.last()?);
    let ticks = usize::try_from((last - first) / TICK_US).ok()?;
    let seconds = ticks as f64 * TICK_US as f64 / 1e6;
    if seconds < LEAST_S || series.width == 0 || ticks > 36_000 {
        return None;
    }
    let bin_hz = 0.5 / seconds;
    let bins = (HIGHEST_HZ / bin_hz) as usize;
    let lowest = (BAND_HZ.0 / bin_hz).ceil() as usize;
    let mut power = vec![0.0; bins + 1];
    let mut used = 0;
    for column in (0..series.width).step_by(series.width.div_ceil(MOST_SUBCARRIERS)) {
        let values = averaged(series, column, first, ticks)?;
        let energy: f64 = values.iter().map(|v| v * v).sum();
        if energy <= 1e-9 {
            continue;
        }
        used += 1;
        for (bin, sum) in power.iter_mut().enumerate().skip(lowest) {
            *sum += line_power(&values, bin as f64 * bin_hz) / energy;
        }
    }
    let spectrum = power.get(lowest..)?;
    let total: f64 = spectrum.iter().sum();
    if used == 0 || total <= 0.0 {
        return None;
    }
    let median = crate::robust::quantile(&mut spectrum.to_vec(), 0.5)?;
    let highest = ((BAND_HZ.1 / bin_hz) as usize).min(bins);
    let at = |bin: usize| power.get(bin).copied().unwrap_or_default();
    let peak = (lowest..=highest).max_by(|a, b| at(*a).total_cmp(&at(*b)))?;
    let around: f64 = (peak.saturating_sub(2)..=peak + 2).map(at).sum();
    let (snr, share) = (at(peak) / median.max(1e-12), around / total);
    let inside = peak > lowest + 1 && at(peak) >= at(peak - 2);
    Some(Line {
        frequency_hz: peak as f64 * bin_hz,
        snr,
        share,
        periodic: inside && snr >= SNR && share >= SHARE,
    })
}

/// One subcarrier, averaged into ticks, without its line, under a Hann window.
fn averaged(series: Series<'_>, column: usize, first: i64, ticks: usize) -> Option<Vec<f64>> {
    let mut sums = vec![(0.0, 0_u32); ticks];
    for (row, time) in series.iter().zip(series.times_us) {
        let tick = usize::try_from((time - first) / TICK_US).ok();
        if let (Some(tick), Some(value)) = (tick, row.get(column))
            && let Some((sum, count)) = sums.get_mut(tick)
        {
            *sum += f64::from(*value);
            *count += 1;
        }
    }
    let empty = sums.iter().filter(|(_, count)| *count == 0).count();
    if empty * 5 >= ticks {
        return None;
    }
    let mut before = sums
        .iter()
        .find(|(_, count)| *count > 0)
        .map(|(s, c)| s / f64::from(*c))?;
    let mut values: Vec<f64> = sums
        .iter()
        .map(|(sum, count)| {
            if *count > 0 {
                before = sum / f64::from(*count);
            }
            before
        })
        .collect();
    let n = ticks as f64;
    let mean = values.iter().sum::<f64>() / n;
    let centre = (n - 1.0) / 2.0;
    let slope = values
        .iter()
        .enumerate()
        .map(|(t, v)| (t as f64 - centre) * (v - mean))
        .sum::<f64>()
        / (n * (n * n - 1.0) / 12.0);
    for (t, value) in values.iter_mut().enumerate() {
        let window = 0.5 - 0.5 * (std::f64::consts::TAU * t as f64 / (n - 1.0)).cos();
        *value = (*value - mean - slope * (t as f64 - centre)) * window;
    }
    Some(values)
}

/// Power at one frequency (G. Goertzel, "An algorithm for the evaluation of finite trigonometric series", 1958).
fn line_power(values: &[f64], hz: f64) -> f64 {
    let coefficient = 2.0 * (std::f64::consts::TAU * hz * TICK_US as f64 / 1e6).cos();
    let (mut one, mut two) = (0.0, 0.0);
    for value in values {
        (one, two) = (value + coefficient * one - two, one);
    }
    one * one + two * two - coefficient * one * two
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 40 s at 50 Hz, 8 subcarriers of deterministic noise plus `signal`.
    fn line(signal: impl Fn(f64, usize) -> f64) -> Line {
        let times_us: Vec<i64> = (0..2000).map(|t| t * 20_000).collect();
        let mut state = 1_u64;
        let mut noise = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as f64 / f64::from(1_u32 << 31) - 0.5
        };
        let rows: Vec<f32> = times_us
            .iter()
            .flat_map(|t| {
                let at = *t as f64 / 1e6;
                (0..8)
                    .map(|k| (1.0 + 0.1 * noise() + signal(at, k)) as f32)
                    .collect::<Vec<_>>()
            })
            .collect();
        let series = Series {
            times_us: &times_us,
            rows: &rows,
            width: 8,
        };
        strongest_line(series).unwrap()
    }

    #[test]
    fn a_breath_passes_the_gate_and_noise_does_not() {
        let breath = line(|t, k| 0.03 * (std::f64::consts::TAU * 0.25 * t + k as f64).sin());
        assert!(breath.periodic, "{breath:?}");
        assert!((breath.frequency_hz - 0.25).abs() < 0.02, "{breath:?}");
        let noise = line(|_, _| 0.0);
        assert!(!noise.periodic, "{noise:?}");
    }

    #[test]
    fn slow_drift_and_a_fan_are_no_breath() {
        let drift = line(|t, k| 0.1 * (t / 15.0 + k as f64).sin());
        assert!(!drift.periodic, "{drift:?}");
        let fan = line(|t, _| 0.1 * (std::f64::consts::TAU * 1.5 * t).sin());
        assert!(!fan.periodic, "{fan:?}");
    }

    #[test]
    fn too_short_a_series_says_nothing() {
        let times_us: Vec<i64> = (0..500).map(|t| t * 20_000).collect();
        let rows = vec![1.0; 500];
        let series = Series {
            times_us: &times_us,
            rows: &rows,
            width: 1,
        };
        assert_eq!(strongest_line(series), None);
    }
}
