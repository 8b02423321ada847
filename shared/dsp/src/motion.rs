//! Motion evidence of one window of one link, without calibration.
//!
//! With [`FAST_HZ`] frames a second and more the statistic is the first-lag autocorrelation `phi` of `WiDetect`: a body moves the
//! channel by little between two frames. With fewer it moves on by a good part of a wavelength meanwhile, and `phi` of a
//! walking person falls to that of noise; the statistic is then `r^3`, of the correlation `r` of a subcarrier with the one two
//! columns beside it ([`FirstLag::neighbour`](crate::autocorrelation::FirstLag)): a body's change is smooth over
//! frequency at any frame rate, noise is not. (Its power puts it on the scale of `phi`, so that one threshold does for both.) It
//! does not see the order of the frames: frames of a moving body in the wrong order are noise to `phi`, and still motion to `r^3`.
//!
//! Either statistic ([`crate::autocorrelation`]) tells a moving body from receiver noise, but not from other
//! things that make neighbouring frames alike. Each of those leaves a mark that a body does not leave, and where the mark is
//! seen, the part of the correlation that it explains is not counted:
//!
//! - **Bursts** (another transmitter's frames, interference, another packet format in between): the change sits in few jumps
//!   ([`Autocorrelation::evenness`] below [`EVEN`]). The statistic is then taken over the [`TYPICAL`] share of frames that lie
//!   nearest to the window's median frame (least trimmed squares): a body's movement is in them too, bursts are not. Frames near
//!   the median are those between which a body moved least, so that they keep a part of its autocorrelation only, and seldom less
//!   than [`KEPT`] of it: what they have is divided by that, and no more counts than all frames have. Where typical frames by
//!   themselves have more than all frames, bursts of single frames, which are noise, hide a body: then theirs is the statistic.
//! - **A step** (a gain or filter setting, a door): one jump between two plateaus explains more than [`STEP`] of the variance.
//!   The statistic is then what is coherent besides, as a share of the whole variance.
//! - **A steady tone** (a fan): one sinusoid above [`LOWEST_TONE_HZ`] with its overtone explains more than [`TONE`] of the
//!   correlation. What it explains is taken off. (A body sways below that, or is not steady.)
//! - **Rounding**: the error of a rounded sample that hardly changes from frame to frame is coherent too. Up to what of it can be
//!   ([`coherent_rounding`]), or below [`LEAST_FLUCTUATION`] of the power, coherence is not counted.
//!
//! Normalised rows know nothing of the received power. Where the frames bring it (RSSI) and are fast enough, its coherent change
//! ([`crate::level`]) is a second piece of evidence, put together with the shape's by noisy-or: `1 - (1 - shape) (1 - share x
//! level)`. It counts only together with the shape, with a share of 0 at a shape of [`LEVEL_FROM`] and of 1 from [`LEVEL_FULL`] on,
//! and not at all where the shape was explained away: a sender may change its power in an empty room. Without RSSI the statistic
//! is the shape's.
//!
//! Frames that come in bursts, as a computer sends them, see the channel once a burst: where intervals short enough for the
//! autocorrelation make up less than [`FOLLOWED`] of the time, the frames of a burst ([`BURST_US`]) are put together into their mean. What
//! two of them have in common says nothing of the 0.1 s to the next burst, and everything about the one state of the receiver that they
//! came with (docs/adr/019).
//!
//! Small movement that lasts is motion as well: see [`Lasting`].
//!
//! The constants were chosen on the recordings of quiet and moving rooms named in the tests, and on these disturbances put
//! upon the quiet ones; those of the level on the first day of thu4n.

mod lasting;
mod together;

pub use lasting::{LASTING_US, Lasting};
pub use together::BURST_US;
use together::Together;

use crate::autocorrelation::{Autocorrelation, FirstLag, Part, Series, distance};
use crate::clock::nominal_period_us;
use crate::hampel::median;
use crate::lanes;
use crate::level::{Level, LevelMeter};
use crate::tone::{Tone, ToneFinder};

/// Name of the method, with a number that moves on whenever the statistic of the same window would be another: what was learnt of one
/// says nothing about another.
pub const METHOD: &str = "power-autocorrelation/4";

/// The usual threshold: from here on a window is motion, where nothing else was set or learnt (docs/adr/018).
pub const THRESHOLD: f64 = 0.2;
/// Frame rate (1 / median interval), Hz, from which a body is coherent from frame to frame.
pub const FAST_HZ: f64 = 25.0;
/// Evenness below which bursts are suspected.
pub const EVEN: f64 = 0.4;
/// Share of the frames that count as typical.
pub const TYPICAL: f64 = 0.6;
/// Share of a moving body's autocorrelation that is left among its typical frames: of 97 windows of ESPectre's motion without bursts
/// 95 % keep 0.49 and more, half of them 0.73 and more (in NumPy). Of its quiet windows none has more than 0.04 there.
pub const KEPT: f64 = 0.5;
/// Share of the variance that a step must explain.
pub const STEP: f64 = 0.5;
/// Share of the correlation that a tone must explain: of `phi`, or below [`FAST_HZ`] of `r` (not of its power: `r` is the share
/// of the variance that is coherent, and so is what a tone explains).
pub const TONE: f64 = 0.7;
/// Share of the variance that a step must explain below [`FAST_HZ`]: of the few frames of a walking person one jump explains
/// half often enough.
pub const STEP_OF_FEW: f64 = 0.7;
/// Slowest tone, Hz.
pub const LOWEST_TONE_HZ: f64 = 1.5;
/// Slowest frequency that is given as the dominant one, Hz: one turn in the usual window of two seconds.
pub const LOWEST_DOMINANT_HZ: f64 = 0.5;
/// Standard deviation of normalised power below which coherent change is not counted.
pub const LEAST_FLUCTUATION: f64 = 0.01;
/// Intervals of up to so many nominal periods are still the first lag.
pub const LONGEST_LAG: f64 = 2.5;
/// Share of the time that must lie between frames no further apart than [`FAST_HZ`] asks for, else they come in bursts. Chosen by time
/// stamps alone: of the windows of one link of thu4n half have 0.49 and more, 95 % 0.24 and more; of those of `surya`, whose frames are a
/// computer's traffic, half have 0.11, and 95 % at most 0.22.
pub const FOLLOWED: f64 = 0.25;
/// Autocorrelation below which nothing needs explaining.
const WORTH_EXPLAINING: f64 = 0.1;
/// Autocorrelation from which a body is looked for behind bursts, in which it leaves little.
const WORTH_UNCOVERING: f64 = 0.05;
/// What puts the correlation over frequency on the scale of the autocorrelation: 0.585 of it makes [`THRESHOLD`].
const POWER: f64 = 3.0;
/// Statistic of the shape from which the level counts. Of 213 quiet windows of ESPectre's chips and 93 of thu4n's second day 95 %
/// lie below 0.045.
pub const LEVEL_FROM: f64 = 0.07;
/// Statistic of the shape from which the level counts in full.
pub const LEVEL_FULL: f64 = 0.14;

/// Why the correlation, or a part of it, is not counted as motion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// The change sits in few jumps, and typical frames are not correlated.
    Bursts,
    /// One jump between two plateaus.
    Step,
    /// One steady sinusoid.
    SteadyTone,
}

/// What a window says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Motion {
    /// The motion statistic: first-lag autocorrelation of normalised power, or below [`FAST_HZ`] a power of the
    /// correlation of subcarriers beside one another; less what is explained otherwise; together with the level, where it counts. -1 to 1.
    pub statistic: f64,
    /// The same without the level.
    pub shape: f64,
    /// What the received power says, where the frames bring it and the shape is enough for it to be asked.
    pub level: Option<Level>,
    /// The autocorrelation as it is, with nothing explained away.
    pub autocorrelation: f64,
    /// The correlation of subcarriers beside one another, as it is.
    pub neighbour: f64,
    /// Standard deviation of normalised power, RMS over subcarriers.
    pub fluctuation: f64,
    /// The part of it that is coherent from frame to frame.
    pub coherent: f64,
    /// Evenness of the change over time.
    pub evenness: f64,
    /// What explained the larger part of the correlation away.
    pub explanation: Option<Explanation>,
    /// The tone, where one was looked for and found.
    pub tone: Option<Tone>,
    /// Frequency of the strongest sinusoid from 0.5 Hz up, whatever it explains; absent with too few frames.
    pub dominant_hz: Option<f64>,
    /// Median interval between frames, microseconds.
    pub period_us: f64,
    /// Pairs of neighbouring frames that the statistic rests on.
    pub pairs: usize,
}

/// Evaluates windows; keeps its memory from one to the next.
#[derive(Debug, Default)]
pub struct MotionMeter {
    sums: Autocorrelation,
    tones: ToneFinder,
    intervals: Vec<i64>,
    column: Vec<f32>,
    typical: Vec<f32>,
    distances: Vec<f32>,
    /// Distance up to which frames are typical.
    limit: f32,
    /// Typical frames, with their times.
    times: Vec<i64>,
    rows: Vec<f32>,
    order: Vec<f32>,
    variances: Vec<f64>,
    prefix: Vec<f32>,
    levels: Vec<f32>,
    level: LevelMeter,
    together: Together,
}

impl MotionMeter {
    /// The motion evidence of `series`, whose samples were rounded with a variance of `rounding` (in normalised power; 0
    /// where unknown), by the shape of the channel alone. Absent where no subcarrier changes, or there are no two neighbouring
    /// frames.
    pub fn measure(&mut self, series: Series<'_>, rounding: f64) -> Option<Motion> {
        self.measure_with_level(series, rounding, &[])
    }

    /// As [`measure`](Self::measure), with the level of each frame in dB ([`crate::level`]). Levels that are not one for each row
    /// are as if there were none.
    pub fn measure_with_level(
        &mut self,
        series: Series<'_>,
        rounding: f64,
        levels_db: &[f32],
    ) -> Option<Motion> {
        let period_us = nominal_period_us(series.times_us, &mut self.intervals)?;
        if !is_fast(period_us) || followed(series.times_us) >= FOLLOWED {
            return self.measure_apart(series, rounding, levels_db, period_us);
        }
        let mut together = std::mem::take(&mut self.together);
        together.take(series, levels_db);
        let (series, levels_db) = together.series(series.width);
        let motion = nominal_period_us(series.times_us, &mut self.intervals)
            .and_then(|period_us| self.measure_apart(series, rounding, levels_db, period_us));
        self.together = together;
        motion
    }

    /// Of frames that are looks of their own at the channel.
    fn measure_apart(
        &mut self,
        series: Series<'_>,
        rounding: f64,
        levels_db: &[f32],
        period_us: f64,
    ) -> Option<Motion> {
        let fast = is_fast(period_us);
        let longest = LONGEST_LAG * period_us;
        let changes = self.sums.changes(series, longest);
        let rounding = coherent_rounding(rounding, changes.typical);
        let floor = rounding + LEAST_FLUCTUATION * LEAST_FLUCTUATION;
        let all = self
            .sums
            .first_lag(series, |_| Part::First, longest, floor, None)?;
        let whole = score(&all, fast);
        let mut motion = Motion {
            statistic: whole,
            shape: whole,
            level: None,
            neighbour: all.neighbour,
            autocorrelation: all.phi,
            fluctuation: all.variance.sqrt(),
            coherent: all.covariance.max(0.0).sqrt(),
            evenness: changes.evenness(),
            explanation: None,
            tone: None,
            dominant_hz: None,
            period_us,
            pairs: all.pairs,
        };
        if self.tones.analyse(series, period_us) {
            motion.dominant_hz = self
                .tones
                .strongest(LOWEST_DOMINANT_HZ)
                .map(|tone| tone.frequency_hz);
        }
        if fast && whole > LEVEL_FROM {
            let level = self.level.measure(series.times_us, levels_db, period_us);
            motion.level = level;
        }
        let heard = motion.level.is_some_and(|level| level.evidence() > 0.0);
        let bursts = fast && motion.evenness < EVEN;
        let worth = match (bursts, heard) {
            (true, _) => WORTH_UNCOVERING,
            (false, true) => LEVEL_FROM,
            (false, false) => WORTH_EXPLAINING,
        };
        if whole >= worth {
            self.explain(&mut motion, series, (longest, floor), (whole, fast));
        }
        motion.shape = motion.statistic;
        motion.hear();
        Some(motion)
    }

    /// Takes off what bursts, a step and a tone make of the statistic `whole`.
    fn explain(
        &mut self,
        motion: &mut Motion,
        series: Series<'_>,
        (longest, floor): (f64, f64),
        (whole, fast): (f64, bool),
    ) {
        self.variances.clear();
        self.variances.extend_from_slice(self.sums.variances());
        let besides = self.besides_step(series, longest, floor, fast);
        let typical = (motion.evenness < EVEN)
            .then(|| self.of_typical(series, longest, floor, fast))
            .flatten();
        let hidden = typical.filter(|typical| fast && *typical > whole);
        let most = hidden.unwrap_or(whole);
        motion.statistic = most;
        if let Some(typical) = typical {
            let kept = if fast { KEPT } else { 1.0 };
            motion.explain(Explanation::Bursts, typical / kept, whole);
        }
        if let Some(besides) = besides {
            motion.explain(Explanation::Step, besides, whole);
        }
        if hidden.is_some() {
            // Of the variance that bursts make, a chance line explains as much as a body is. Typical frames are without them.
            self.analyse_typical(series, motion.period_us);
        }
        motion.tone = self.tones.strongest(LOWEST_TONE_HZ);
        if let Some(tone) = motion.tone {
            let (of, besides) = if fast {
                (most, most - tone.autocorrelation)
            } else {
                let coherent = motion.neighbour.max(0.0);
                (coherent, scaled(coherent - tone.share))
            };
            if tone.share >= TONE * of {
                motion.explain(Explanation::SteadyTone, besides.min(most), whole);
            }
        }
    }

    /// Has the tones of the frames that [`of_typical`](Self::of_typical) counted instead of those of all frames.
    fn analyse_typical(&mut self, series: Series<'_>, period_us: f64) {
        self.times.clear();
        self.rows.clear();
        let rows = series.iter().zip(series.times_us).zip(&self.distances);
        for ((row, time), _) in rows.filter(|(_, distance)| **distance <= self.limit) {
            self.times.push(*time);
            self.rows.extend_from_slice(row);
        }
        let typical = Series {
            times_us: &self.times,
            rows: &self.rows,
            width: series.width,
        };
        // Where there are too few of them it has none.
        self.tones.analyse(typical, period_us);
    }

    /// The statistic of the typical frames.
    fn of_typical(
        &mut self,
        series: Series<'_>,
        longest: f64,
        floor: f64,
        fast: bool,
    ) -> Option<f64> {
        self.typical.clear();
        for column in 0..series.width {
            self.column.clear();
            self.column
                .extend(series.iter().filter_map(|row| row.get(column)));
            self.typical.push(median(&mut self.column));
        }
        self.distances.clear();
        self.distances
            .extend(series.iter().map(|row| distance(row, &self.typical)));
        self.order.clear();
        self.order.extend_from_slice(&self.distances);
        let rank =
            ((self.order.len() as f64 * TYPICAL) as usize).min(self.order.len().saturating_sub(1));
        if self.order.is_empty() {
            return None;
        }
        let (_, limit, _) = self.order.select_nth_unstable_by(rank, f32::total_cmp);
        let limit = *limit;
        self.limit = limit;
        let distances = &self.distances;
        let part = |index: usize| {
            if distances.get(index).is_some_and(|d| *d <= limit) {
                Part::First
            } else {
                Part::Out
            }
        };
        // Frames that are alike to the last bit have no correlation at all.
        Some(
            self.sums
                .first_lag(series, part, longest, floor, None)
                .map_or(0.0, |lag| score(&lag, fast)),
        )
    }

    /// The coherent share of the variance that is left when the two plateaus beside the best step are levelled; absent where
    /// there is no step.
    fn besides_step(
        &mut self,
        series: Series<'_>,
        longest: f64,
        floor: f64,
        fast: bool,
    ) -> Option<f64> {
        let place = self.step(series, if fast { STEP } else { STEP_OF_FEW })?;
        let part = |index: usize| {
            if index < place {
                Part::First
            } else {
                Part::Second
            }
        };
        let variances = std::mem::take(&mut self.variances);
        let lag = self
            .sums
            .first_lag(series, part, longest, floor, Some(&variances));
        let whole: f64 = variances.iter().sum();
        let left: f64 = self.sums.variances().iter().sum();
        self.variances = variances;
        Some(lag.map_or(0.0, |lag| {
            if fast {
                return lag.phi;
            }
            // `neighbour` is already a share of the whole: r of what is left, times its share. Its power, times the share:
            let share = if whole > 0.0 { left / whole } else { 0.0 };
            if share > 0.0 {
                let coherent = lag.neighbour.max(0.0);
                (scaled(coherent / share) * share).min(coherent)
            } else {
                0.0
            }
        }))
    }

    /// The row at which the second plateau begins, in the series whose autocorrelation was taken last.
    ///
    /// Of all places the one with the largest variance between its two sides (the likelihood ratio of one change of mean in
    /// white noise) is a step where that is more than `least` of the variance and the change happens between two frames.
    fn step(&mut self, series: Series<'_>, least: f64) -> Option<usize> {
        let rows = series.times_us.len();
        self.levels.clear();
        self.levels
            .extend(self.sums.means().iter().map(|mean| *mean as f32));
        self.prefix.clear();
        self.prefix.resize(series.width, 0.0);
        let (mut best, mut place) = (0.0, 0);
        // With p[k] the sum of the deviations from the mean before the place, the two sides' means are n p[k] / (left right) apart.
        for (index, row) in series.iter().enumerate() {
            if index > 0 {
                let (left, right) = (index as f64, (rows - index) as f64);
                let squares = lanes::sum(&self.prefix, |sum: f32| sum * sum);
                let between = f64::from(squares) / (left * right);
                if between > best {
                    (best, place) = (between, index);
                }
            }
            let sums = self.prefix.iter_mut().zip(row).zip(&self.levels);
            sums.for_each(|((sum, value), level)| *sum += value - level);
        }
        let variance: f64 = self.variances.iter().sum();
        if place == 0 || best <= least * variance {
            return None;
        }
        let (left, right) = (place as f64, (rows - place) as f64);
        let apart = best * rows as f64 * rows as f64 / (left * right) / series.width.max(1) as f64;
        let before = series.iter().nth(place - 1)?;
        let after = series.iter().nth(place)?;
        let jump = f64::from(distance(before, after));
        (jump >= 0.5 * apart).then_some(place)
    }
}

/// The part of the variance `rounding` of rounded samples that can be coherent from frame to frame, where normalised power typically
/// changes by a mean square of `change` between two: `rounding exp(-change / (2 rounding))`.
///
/// The error of rounding is that of the frame before where the sample has not moved; noise in the sample makes it another (B. Widrow,
/// I. Kollár, "Quantization Noise", 2008, chapter 20: for Gaussian steps of `s` units the correlation of the errors is
/// `6 / pi^2 sum 1/k^2 exp(-2 pi^2 k^2 s^2)`). Such steps, and the errors themselves, are what `change` is made of, so that it bounds
/// what is left: held against that series, with the steps that make the change, the exponential lies above it everywhere, by at most 0.14
/// of `rounding`. Receiver noise of half a unit leaves nothing.
#[must_use]
pub fn coherent_rounding(rounding: f64, change: f64) -> f64 {
    if rounding > 0.0 {
        rounding * (-0.5 * change / rounding).exp()
    } else {
        0.0
    }
}

/// Whether frames that come every `period_us` are close enough for the autocorrelation. A period within 2 % of the limit is
/// jitter about it.
#[must_use]
pub fn is_fast(period_us: f64) -> bool {
    1e6 / period_us >= 0.98 * FAST_HZ
}

/// Share of the time between the first and the last frame that lies between neighbours close enough for the autocorrelation.
fn followed(times_us: &[i64]) -> f64 {
    let (mut close, mut all) = (0, 0);
    for (one, next) in times_us.iter().zip(times_us.iter().skip(1)) {
        let interval = next.saturating_sub(*one);
        all += interval;
        if is_fast(interval as f64) {
            close += interval;
        }
    }
    close as f64 / all.max(1) as f64
}

fn score(lag: &FirstLag, fast: bool) -> f64 {
    if fast { lag.phi } else { scaled(lag.neighbour) }
}

/// The correlation over frequency on the scale of the autocorrelation.
fn scaled(neighbour: f64) -> f64 {
    neighbour.max(0.0).powf(POWER)
}

impl Motion {
    /// Takes off what `explanation` makes of the statistic `whole`.
    fn explain(&mut self, explanation: Explanation, statistic: f64, whole: f64) {
        if statistic < self.statistic {
            if statistic < 0.5 * whole {
                self.explanation = Some(explanation);
            }
            self.statistic = statistic;
        }
    }

    /// Puts the level's evidence to the shape's, where nothing explained the shape away.
    fn hear(&mut self) {
        let Some(level) = self.level.filter(|_| self.explanation.is_none()) else {
            return;
        };
        let share = ((self.shape - LEVEL_FROM) / (LEVEL_FULL - LEVEL_FROM)).clamp(0.0, 1.0);
        self.statistic += (1.0 - self.shape) * share * level.evidence();
    }

    /// Whether the shape alone does not reach `threshold`, and together with the level it does.
    #[must_use]
    pub fn by_level(&self, threshold: f64) -> bool {
        self.shape < threshold && self.statistic >= threshold
    }
}

#[cfg(test)]
mod tests;
