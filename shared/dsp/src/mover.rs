//! Something that moves steadily and periodically over a long time: a slow fan, a pendulum, a swaying lamp; not a body.
//!
//! A window of two seconds cannot tell a turn a second from a step. Over [`SPAN_S`] a machine keeps one frequency, and a body
//! does not. [`SteadyFinder::search`] looks for the one whose [`HARMONICS`] explain most of the streams of a regular clock, and
//! [`SteadyFinder::measure`] fits them by least squares and says what is left: by the same first-lag autocorrelation as
//! motion, over the whole span and over its last [`LATELY_S`], so that somebody who comes by is seen at once. What is too fast
//! for that clock is looked at in the frames of a window themselves, less the same harmonics ([`SteadyFinder::besides`]).
//! Nothing slower than [`BAND_HZ`] is taken for a machine: breathing is there.

use num_complex::Complex64;

use crate::autocorrelation::{Autocorrelation, Part, Series};
use crate::lanes;
use crate::motion::{LEAST_FLUCTUATION, THRESHOLD};
use crate::periodogram::Periodogram;

/// Time over which the frequency must be kept, seconds.
pub const SPAN_S: f64 = 45.0;
/// Frequencies that are looked for, Hz.
pub const BAND_HZ: (f64, f64) = (0.7, 4.0);
/// The fundamental and its overtones.
pub const HARMONICS: usize = 4;
/// Share of the variance that they must explain.
pub const SHARE: f64 = 0.8;
/// The latest part, which is looked at on its own, seconds.
pub const LATELY_S: f64 = 3.0;
/// Share that the strongest line must explain by itself to be worth a search: what motion needs at the usual threshold.
const WORTH_SEARCHING: f64 = THRESHOLD;
/// Streams looked at.
const MOST_STREAMS: usize = 16;
/// A sinusoid that the others explain but for this share is left out of the fit.
const DEPENDENT: f64 = 1e-3;

/// What is periodic, and what is left without it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steady {
    /// Frequency of the fundamental, Hz.
    pub frequency_hz: f64,
    /// Share of the variance that it and its overtones explain, 0 to 1.
    pub share: f64,
    /// First-lag autocorrelation of what is left, beside the noise of the frames: as the motion statistic.
    pub left: f64,
    /// The same over the last [`LATELY_S`].
    pub left_lately: f64,
}

impl Steady {
    /// Nothing but a steady mover is there: the motion statistic without it is below `threshold`.
    #[must_use]
    pub fn alone(&self, threshold: f64) -> bool {
        self.share >= SHARE && self.left < threshold && self.left_lately < threshold
    }
}

/// Looks for steady movers; keeps plans and memory from one time to the next.
#[derive(Debug, Default)]
pub struct SteadyFinder {
    spectrum: Periodogram,
    /// Orthonormal vectors, one after the other, and which harmonic each is of (0: the mean).
    basis: Vec<f64>,
    harmonics: Vec<usize>,
    /// Phasors of the fundamental, and of the harmonic at hand.
    turns: Vec<Complex64>,
    powers: Vec<Complex64>,
    /// The basis, and a stream without its mean, in `f32`.
    narrow: Vec<f32>,
    centred: Vec<f32>,
    rest: Vec<f64>,
    coefficients: Vec<f64>,
    rows: Vec<f32>,
    sums: Autocorrelation,
}

impl SteadyFinder {
    /// The frequency within [`BAND_HZ`] whose harmonics explain most of `streams`: `ticks` values of the first at `rate_hz`,
    /// then those of the next. Absent where no line stands out.
    pub fn search(&mut self, streams: &[f32], ticks: usize, rate_hz: f64) -> Option<f64> {
        let peak = self.strongest(streams, ticks, rate_hz)?;
        let span_s = ticks as f64 / rate_hz;
        let mut best: Option<(f64, f64)> = None;
        // The strongest line may be an overtone.
        for divisor in [1.0, 2.0, 3.0] {
            let mut middle = peak / divisor;
            if middle < BAND_HZ.0 {
                break;
            }
            for step in [0.2 / span_s, 0.04 / span_s] {
                let around = (-3..=3).map(|k| middle + f64::from(k) * step);
                let tried =
                    around.filter_map(|at| Some((self.share(streams, ticks, rate_hz, at)?, at)));
                let (share, at) = tried.max_by(|a, b| a.0.total_cmp(&b.0))?;
                middle = at;
                // A longer period explains more by its number of overtones alone.
                if best.is_none_or(|(highest, _)| share > highest + 0.02) {
                    best = Some((share, at));
                }
            }
        }
        best.map(|(_, at)| at)
    }

    /// The strongest line of the summed periodogram, Hz.
    fn strongest(&mut self, streams: &[f32], ticks: usize, rate_hz: f64) -> Option<f64> {
        if ticks < 64 {
            return None;
        }
        let length = self.spectrum.begin(ticks);
        for stream in looked_at(streams, ticks) {
            let mean = stream.iter().sum::<f32>() / ticks as f32;
            self.spectrum.add(stream.iter().map(|value| value - mean));
        }
        let bin_hz = rate_hz / length as f64;
        let (lowest, highest) = (BAND_HZ.0 / bin_hz, BAND_HZ.1 / bin_hz);
        let within = self.spectrum.power().iter().enumerate();
        let within = within.filter(|(bin, _)| *bin as f64 >= lowest && *bin as f64 <= highest);
        let (bin, power) = within.max_by(|a, b| a.1.total_cmp(b.1))?;
        let share = 2.0 * power / (ticks as f64 * self.spectrum.energy());
        (share >= WORTH_SEARCHING).then_some(bin as f64 * bin_hz)
    }

    /// The share of the variance of `streams` that `frequency_hz` and its overtones explain, as in [`Steady`].
    fn share(
        &mut self,
        streams: &[f32],
        ticks: usize,
        rate_hz: f64,
        frequency_hz: f64,
    ) -> Option<f64> {
        self.lay_regular(ticks, frequency_hz, rate_hz);
        self.narrow.clear();
        self.narrow.extend(self.basis.iter().map(|x| *x as f32));
        let (mut all, mut explained) = (0.0, 0.0);
        for stream in looked_at(streams, ticks) {
            // Without its mean a stream is small numbers, which `f32` holds to the full.
            let mean = (lanes::sum(stream, f64::from) / ticks.max(1) as f64) as f32;
            self.centred.clear();
            self.centred.extend(stream.iter().map(|value| value - mean));
            let mut left = f64::from(lanes::sum(&self.centred, |x: f32| x * x));
            let vectors = self.narrow.chunks_exact(ticks.max(1)).zip(&self.harmonics);
            for (vector, harmonic) in vectors {
                let along = lanes::sum_pairs(vector, &self.centred, |b: f32, x: f32| b * x);
                let square = f64::from(along).powi(2);
                left -= square;
                if *harmonic > 0 {
                    explained += square;
                }
            }
            all += left.max(0.0);
        }
        let total = all + explained;
        (total > 0.0 && total.is_finite()).then(|| explained / total)
    }

    /// What is periodic at `frequency_hz` in `streams`, and what is left. `scatter` is the variance of the frames inside a
    /// tick. Absent where nothing changes.
    pub fn measure(
        &mut self,
        streams: &[f32],
        ticks: usize,
        rate_hz: f64,
        scatter: f64,
        frequency_hz: f64,
    ) -> Option<Steady> {
        if ticks == 0 {
            return None;
        }
        self.lay_regular(ticks, frequency_hz, rate_hz);
        let lately = ticks.saturating_sub((LATELY_S * rate_hz) as usize);
        let (mut all, mut explained, mut inside) = (0.0, 0.0, 0.0);
        let (mut whole, mut late) = (Rest::default(), Rest::default());
        let mut count = 0.0;
        for stream in looked_at(streams, ticks) {
            count += 1.0;
            self.rest.clear();
            self.rest
                .extend(stream.iter().map(|value| f64::from(*value)));
            let vectors = self.basis.chunks_exact(ticks).zip(&self.harmonics);
            for (vector, harmonic) in vectors {
                let along = take_off(&mut self.rest, vector);
                if *harmonic > 0 {
                    explained += along * along;
                    let turn = std::f64::consts::TAU * *harmonic as f64 * frequency_hz / rate_hz;
                    inside += along * along / ticks as f64 * turn * turn / 12.0;
                }
            }
            all += lanes::sum(&self.rest, |x: f64| x * x);
            whole.add(&self.rest);
            late.add(self.rest.get(lately..).unwrap_or_default());
        }
        let total = all + explained;
        if count <= 0.0 || total <= 0.0 || !total.is_finite() {
            return None;
        }
        let noise = (scatter - inside / count).max(0.0);
        Some(Steady {
            frequency_hz,
            share: explained / total,
            left: whole.statistic(noise),
            left_lately: late.statistic(noise),
        })
    }

    /// The first-lag autocorrelation of `series` without what is periodic at `frequency_hz` in it; pairs lie at most
    /// `longest_us` apart, and `floor` is taken off as in [`Autocorrelation::first_lag`]. 0 where nothing is left.
    pub fn besides(
        &mut self,
        series: Series<'_>,
        frequency_hz: f64,
        longest_us: f64,
        floor: f64,
    ) -> f64 {
        let (Some(first), Some(last)) = (series.times_us.first(), series.times_us.last()) else {
            return 0.0;
        };
        let count = series.times_us.len();
        let span_s = (last - first) as f64 * 1e-6;
        let turn = std::f64::consts::TAU * frequency_hz;
        self.turns.clear();
        self.turns.extend(series.times_us.iter().map(|t| {
            let (sine, cosine) = (turn * (t - first) as f64 * 1e-6).sin_cos();
            Complex64::new(cosine, sine)
        }));
        self.lay(frequency_hz, count as f64 / span_s.max(1e-6));
        self.rows.clear();
        self.rows.extend_from_slice(series.rows);
        let width = series.width.max(1);
        for vector in self.basis.chunks_exact(count) {
            self.coefficients.clear();
            self.coefficients.resize(width, 0.0);
            for (row, along) in self.rows.chunks_exact(width).zip(vector) {
                let sums = self.coefficients.iter_mut().zip(row);
                sums.for_each(|(sum, value)| *sum += along * f64::from(*value));
            }
            for (row, along) in self.rows.chunks_exact_mut(width).zip(vector) {
                let values = row.iter_mut().zip(&self.coefficients);
                values.for_each(|(value, of)| *value -= (along * of) as f32);
            }
        }
        // The mean is power 1: without it a subcarrier counts as being in a null.
        self.rows.iter_mut().for_each(|value| *value += 1.0);
        let left = Series {
            rows: &self.rows,
            ..series
        };
        self.sums
            .first_lag(left, |_| Part::First, longest_us, floor, None)
            .map_or(0.0, |lag| lag.phi)
    }

    /// Lays the basis over ticks at `rate_hz`.
    fn lay_regular(&mut self, ticks: usize, frequency_hz: f64, rate_hz: f64) {
        let step = Complex64::cis(std::f64::consts::TAU * frequency_hz / rate_hz);
        let mut turn = Complex64::new(1.0, 0.0);
        self.turns.clear();
        self.turns.extend((0..ticks).map(|_| {
            let now = turn;
            turn *= step;
            now
        }));
        self.lay(frequency_hz, rate_hz);
    }

    /// Lays an orthonormal basis of the mean and the harmonics of `turns`, the phasors of the fundamental (modified Gram and
    /// Schmidt).
    fn lay(&mut self, frequency_hz: f64, rate_hz: f64) {
        let count = self.turns.len();
        self.basis.clear();
        self.harmonics.clear();
        self.powers.clear();
        self.powers.resize(count, Complex64::new(1.0, 0.0));
        for harmonic in 0..=HARMONICS {
            if harmonic as f64 * frequency_hz > 0.48 * rate_hz {
                break;
            }
            if harmonic > 0 {
                let turns = self.powers.iter_mut().zip(&self.turns);
                turns.for_each(|(power, turn)| *power *= turn);
                self.add(harmonic, |power| power.im);
            }
            self.add(harmonic, |power| power.re);
        }
    }

    /// Adds a part of a harmonic to the basis, unless the others explain it.
    fn add(&mut self, harmonic: usize, part: impl Fn(&Complex64) -> f64) {
        let count = self.powers.len();
        let begin = self.basis.len();
        self.basis.extend(self.powers.iter().map(part));
        let (before, vector) = self.basis.split_at_mut(begin);
        let square = |vector: &[f64]| lanes::sum(vector, |x: f64| x * x);
        let full = square(vector);
        for other in before.chunks_exact(count.max(1)) {
            take_off(vector, other);
        }
        let left = square(vector);
        if left <= DEPENDENT * full || left <= 0.0 {
            self.basis.truncate(begin);
            return;
        }
        let scale = left.sqrt().recip();
        vector.iter_mut().for_each(|x| *x *= scale);
        self.harmonics.push(harmonic);
    }
}

/// Takes off `values` what lies along the vector of length 1, and gives how much it was.
fn take_off(values: &mut [f64], vector: &[f64]) -> f64 {
    let along = lanes::sum_pairs(vector, values, |b: f64, x: f64| b * x);
    let pairs = values.iter_mut().zip(vector);
    pairs.for_each(|(x, b)| *x -= along * b);
    along
}

/// Sums of what is left.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    variance: f64,
    covariance: f64,
    ticks: f64,
}

impl Rest {
    fn add(&mut self, rest: &[f64]) {
        self.variance += lanes::sum(rest, |x: f64| x * x);
        let next = rest.get(1..).unwrap_or_default();
        self.covariance += lanes::sum_pairs(rest, next, |one: f64, next: f64| one * next);
        self.ticks += rest.len() as f64;
    }

    fn statistic(&self, noise: f64) -> f64 {
        let ticks = self.ticks.max(1.0);
        let coherent = self.covariance / ticks - LEAST_FLUCTUATION * LEAST_FLUCTUATION;
        coherent.max(0.0) / (self.variance / ticks + noise).max(f64::MIN_POSITIVE)
    }
}

/// Up to [`MOST_STREAMS`] of the streams, evenly spread.
fn looked_at(streams: &[f32], ticks: usize) -> impl Iterator<Item = &[f32]> {
    let count = streams.len() / ticks.max(1);
    let step = count.div_ceil(MOST_STREAMS).max(1);
    streams.chunks_exact(ticks.max(1)).step_by(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKS: usize = 450;
    const RATE_HZ: f64 = 10.0;

    struct Noise(u64);

    impl Noise {
        /// About normal: twelve uniform numbers less six.
        fn next(&mut self) -> f64 {
            let mut sum = -6.0;
            for _ in 0..12 {
                self.0 ^= self.0 << 13;
                self.0 ^= self.0 >> 7;
                self.0 ^= self.0 << 17;
                sum += (self.0 >> 11) as f64 / (1_u64 << 53) as f64;
            }
            sum
        }
    }

    /// A fan of 1.13 Hz with an overtone, noise, and something else.
    fn streams(fan: f64, else_: impl Fn(f64, usize) -> f64) -> Vec<f32> {
        let mut noise = Noise(0x1234_5678_9abc_def1);
        let mut values = Vec::new();
        for stream in 0..8 {
            for tick in 0..TICKS {
                let time = tick as f64 / RATE_HZ;
                let turn = std::f64::consts::TAU * 1.13 * time + stream as f64;
                let periodic = fan * (turn.sin() + 0.4 * (2.0 * turn).cos());
                let value = 1.0 + periodic + 0.01 * noise.next() + else_(time, stream);
                values.push(value as f32);
            }
        }
        values
    }

    fn steady(streams: &[f32]) -> Option<Steady> {
        let mut finder = SteadyFinder::default();
        let at = finder.search(streams, TICKS, RATE_HZ)?;
        finder.measure(streams, TICKS, RATE_HZ, 9e-4, at)
    }

    /// Like a walk: the phase of the channel turns at a speed that changes.
    fn walk(t: f64, k: usize) -> f64 {
        (9.0 * t + 4.0 * (0.7 * t).sin() + 2.0 * (1.9 * t).cos() + k as f64).cos()
    }

    #[test]
    fn a_fan_is_found_and_nothing_is_left() {
        let found = steady(&streams(0.1, |_, _| 0.0)).unwrap();
        assert!((found.frequency_hz - 1.13).abs() < 0.003, "{found:?}");
        assert!(found.share > 0.9 && found.alone(0.2), "{found:?}");
    }

    #[test]
    fn a_walk_is_no_fan_and_beside_a_fan_it_is_left() {
        let alone = steady(&streams(0.0, |t, k| 0.1 * walk(t, k)));
        assert!(alone.is_none_or(|found| !found.alone(0.2)), "{alone:?}");
        let beside = steady(&streams(0.2, |t, k| 0.04 * walk(t, k)));
        assert!(beside.is_none_or(|found| !found.alone(0.2)), "{beside:?}");
    }

    #[test]
    fn who_comes_by_is_seen_at_once() {
        let late = |t: f64, k: usize| if t > 43.0 { 0.05 * walk(t, k) } else { 0.0 };
        let found = steady(&streams(0.2, late)).unwrap();
        assert!(found.share > SHARE && found.left_lately > 0.2, "{found:?}");
        assert!(!found.alone(0.2));
    }

    #[test]
    fn in_the_frames_of_a_window_the_fan_goes_and_the_walk_stays() {
        let mut noise = Noise(77);
        let mut rows = |fan: f64, walking: f64| -> (Vec<i64>, Vec<f32>) {
            let times: Vec<i64> = (0..200).map(|t| t * 10_000).collect();
            let rows = times.iter().flat_map(|at| {
                let t = *at as f64 * 1e-6;
                let turn = std::f64::consts::TAU * 1.13 * t;
                (0..8).map(move |k| (t, turn, k)).collect::<Vec<_>>()
            });
            let rows = rows.map(|(t, turn, k)| {
                let body = (30.0 * t + (2.0 * t).sin() + k as f64).cos();
                (1.0 + fan * turn.sin() + walking * body + 0.03 * noise.next()) as f32
            });
            let rows = rows.collect();
            (times, rows)
        };
        let mut finder = SteadyFinder::default();
        let mut left = |(times_us, rows): (Vec<i64>, Vec<f32>)| {
            let series = Series {
                times_us: &times_us,
                rows: &rows,
                width: 8,
            };
            finder.besides(series, 1.13, 25_000.0, 1e-4)
        };
        let (fan, both) = (left(rows(0.2, 0.0)), left(rows(0.2, 0.1)));
        assert!(fan < 0.1, "{fan}");
        assert!(both > 0.5, "{both}");
    }
}
