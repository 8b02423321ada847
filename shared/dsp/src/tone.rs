//! A steady tone in all subcarriers: a fan, a rotating thing, mains hum; not a body.

use crate::autocorrelation::Series;
use crate::clock::RegularClock;
use crate::lanes;
use crate::periodogram::Periodogram;

/// Ticks of the regular clock at most.
const MOST_TICKS: usize = 2048;
/// Subcarriers looked at: a tone is in all of them.
const MOST_SUBCARRIERS: usize = 16;

/// The strongest sinusoid, with its first overtone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tone {
    /// Frequency of the fundamental, Hz.
    pub frequency_hz: f64,
    /// Share of the variance that one sinusoid of this frequency and its first overtone explain, 0 to 1.
    pub share: f64,
    /// The part of the first-lag autocorrelation that they make.
    pub autocorrelation: f64,
}

/// Looks for tones; keeps plans and memory from one window to the next.
#[derive(Debug, Default)]
pub struct ToneFinder {
    clock: RegularClock,
    spectrum: Periodogram,
    /// One subcarrier on the clock.
    values: Vec<Option<f32>>,
    /// Share of the variance that a sinusoid explains for each unit of power at its bin.
    scale: f64,
    rate: f64,
    length: usize,
}

impl ToneFinder {
    /// Takes the periodogram of `series`, whose frames come every `period_us`.
    ///
    /// The series is laid on a regular clock, the mean of each subcarrier is taken off, and the periodogram (zero-padded to
    /// at least twice the length) is summed over up to 16 subcarriers. Gives whether there is one: there is none with fewer
    /// than 16 ticks, with half of them in gaps, or where nothing changes.
    pub fn analyse(&mut self, series: Series<'_>, period_us: f64) -> bool {
        self.spectrum.clear();
        self.clock.lay(series.times_us, period_us, MOST_TICKS);
        let ticks = self.clock.len();
        if ticks < 16 || self.clock.valid() * 2 < ticks || series.width == 0 {
            return false;
        }
        self.length = self.spectrum.begin(ticks);
        for column in (0..series.width).step_by(series.width.div_ceil(MOST_SUBCARRIERS)) {
            self.add(series, column);
        }
        let total = self.spectrum.energy();
        if total <= 0.0 {
            self.spectrum.clear();
            return false;
        }
        // A sinusoid of amplitude A in N ticks has a peak of N^2 A^2 / 4 and a sum of squares of N A^2 / 2.
        self.scale = 2.0 / (self.clock.valid() as f64 * total);
        self.rate = 1e6 / period_us;
        true
    }

    /// The strongest tone from `lowest_hz` up to 0.45 of the frame rate in the series last analysed.
    #[must_use]
    pub fn strongest(&self, lowest_hz: f64) -> Option<Tone> {
        let bin = self.rate / self.length as f64;
        let lowest = ((lowest_hz / bin).ceil() as usize).max(2);
        let highest = (0.45 * self.length as f64) as usize;
        let power = self.spectrum.power();
        let at = |index: usize| power.get(index).map_or(0.0, |power| power * self.scale);
        if power.is_empty() || lowest > highest {
            return None;
        }
        let peak = (lowest..=highest).max_by(|a, b| at(*a).total_cmp(&at(*b)))?;
        // The overtone may lie a bin or two beside the double of the fundamental's bin.
        let overtone = (2 * peak - 2..=2 * peak + 2)
            .filter(|i| *i <= highest)
            .map(at)
            .fold(0.0, f64::max);
        let frequency_hz = peak as f64 * bin;
        let turn = std::f64::consts::TAU * frequency_hz / self.rate;
        Some(Tone {
            frequency_hz,
            share: (at(peak) + overtone).min(1.0),
            autocorrelation: at(peak) * turn.cos() + overtone * (2.0 * turn).cos(),
        })
    }

    /// Adds one subcarrier's periodogram.
    fn add(&mut self, series: Series<'_>, column: usize) {
        self.values.clear();
        self.values
            .extend(self.clock.column(series.rows, series.width, column));
        let valid = self.clock.valid().max(1) as f64;
        let sum = lanes::sum(&self.values, |value: Option<f32>| {
            f64::from(value.unwrap_or_default())
        });
        let mean = sum / valid;
        // A tick in a gap adds nothing: the mean, taken off.
        let centred =
            |value: &Option<f32>| value.map_or(0.0, |value| (f64::from(value) - mean) as f32);
        self.spectrum.add(self.values.iter().map(centred));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, width: usize, value: impl Fn(f64, usize) -> f64) -> (Vec<i64>, Vec<f32>) {
        let times: Vec<i64> = (0..count as i64).map(|t| t * 10_000).collect();
        let rows = times.iter().flat_map(|t| {
            (0..width)
                .map(|k| value(*t as f64 / 1e6, k) as f32)
                .collect::<Vec<_>>()
        });
        let rows = rows.collect();
        (times, rows)
    }

    fn strongest(series: Series<'_>) -> Option<Tone> {
        let mut finder = ToneFinder::default();
        finder.analyse(series, 10_000.0);
        finder.strongest(1.5)
    }

    #[test]
    fn finds_a_tone_in_all_subcarriers() {
        let (times_us, rows) = rows(200, 8, |t, k| {
            1.0 + 0.1 * (std::f64::consts::TAU * 7.3 * t + k as f64).sin()
        });
        let series = Series {
            times_us: &times_us,
            rows: &rows,
            width: 8,
        };
        let tone = strongest(series).unwrap();
        assert!((tone.frequency_hz - 7.3).abs() < 0.15, "{tone:?}");
        assert!(tone.share > 0.9, "{tone:?}");
        assert!(
            (tone.autocorrelation - (std::f64::consts::TAU * 0.073).cos()).abs() < 0.1,
            "{tone:?}"
        );
    }

    #[test]
    fn a_slow_sweep_is_no_tone() {
        let (times_us, rows) = rows(200, 8, |t, k| {
            1.0 + 0.1 * (2.0 * t + 3.0 * t * t * t + k as f64).sin()
        });
        let series = Series {
            times_us: &times_us,
            rows: &rows,
            width: 8,
        };
        let tone = strongest(series).unwrap();
        assert!(tone.share < 0.6, "{tone:?}");
    }

    #[test]
    fn silence_has_none() {
        let (times_us, rows) = rows(200, 8, |_, _| 1.0);
        let series = Series {
            times_us: &times_us,
            rows: &rows,
            width: 8,
        };
        assert_eq!(strongest(series), None);
    }
}
