//! Breathing rate of one person who keeps still, from one link.
//!
//! The chest moves the channel by a little and periodically. Frames are put on a regular clock of [`RATE_HZ`] by their own
//! time stamps (`cells`), and the streams of a window are searched for a period (`rate`): the band-passed autocorrelation of
//! each stream, combined with the weights `phi / (1 - phi)` of maximal ratio combining, where `phi` is the stream's
//! autocorrelation at the first lag (F. Zhang, C. Wu, B. Wang, M. Wu, D. Bugos, H. Zhang, K. J. R. Liu, "SMARS: Sleep
//! Monitoring via Ambient Radio Signals", IEEE Trans. Mobile Computing 20 (2021)).
//!
//! Streams are of two kinds, which are searched apart:
//!
//! - **Amplitude**: normalised power, averaged over groups of neighbouring subcarriers of one gain block.
//! - **Phase**: for each pair of antennas on one clock, the phase of the conjugate product, summed over the subcarriers in
//!   proportion to their slow mean: `arg(sum over k of q[k] conj(mean q[k]))`, `q[k] = H1[k] conj(H2[k])`. It is the phase of
//!   the CSI ratio (`FarSense`), without its poles. The mean follows within [`MEAN_S`] seconds.
//!
//! What is not a rate is unknown, with a reason: where somebody moves, the window is too short or has gaps, nothing changes,
//! nothing repeats, or what repeats is too weak against the rest of the band. A rate needs three periods in the window. A
//! window holds at most one rate: two people breathing give one of both rates or none. A fan whose frequency lies within 0.7
//! Hz of a multiple of the *frame* rate looks like breathing, and no method can tell at one frame per tick; with three frames
//! or more per tick it is seen by its scatter inside the ticks.
//!
//! The gates were chosen on the recordings that the tests name: a phantom, a person, empty rooms and rooms with movement.

mod cells;
mod pair;
mod rate;
#[cfg(test)]
mod tests;

use num_complex::Complex32;

use crate::gain::GainBlocks;
use crate::mover::{self, Steady, SteadyFinder};
use crate::split::Split;
pub use cells::Cell;
use cells::{Cells, Ticks};
use pair::Pair;
pub use rate::{Period, RateFinder};

/// Ticks per second of the regular clock.
pub const RATE_HZ: f64 = 10.0;
/// Band that is searched, Hz.
pub const BAND_HZ: (f64, f64) = (0.045, 0.7);
/// Shortest and longest period, seconds: 35 to 3 breaths a minute.
pub const PERIODS_S: (f64, f64) = (1.7, 20.0);
/// Periods that a window must hold.
pub const LEAST_PERIODS: f64 = 3.0;
/// Shortest window, seconds.
pub const SHORTEST_WINDOW_S: f64 = 20.0;
/// Longest window, seconds.
pub const LONGEST_WINDOW_S: f64 = 60.0;
/// Share of the ticks that must have measured neighbours.
pub const LEAST_COVERAGE: f64 = 0.8;
/// Autocorrelation that a period must reach, with so many periods in the window that [`LEAST_PEAK_PERIODS`] is not more.
pub const LEAST_PEAK: f64 = 0.3;
/// What the autocorrelation, times the number of periods in the window, must reach. Slow sway is alike after a third of a window by chance:
/// of a person with 14.65 breaths a minute it made 3.5, with 0.33 in a window of 3.5 periods. A phantom has 0.78 there, and the product
/// is at least 2.1 in all its windows of 30 and 60 s.
pub const LEAST_PEAK_PERIODS: f64 = 1.8;
/// Power of the rate and its double against the rest of the band, dB, that a period must reach.
pub const LEAST_SNR_DB: f64 = 0.0;
/// Power from 0.75 to 2.5 Hz beyond noise, as a share of that in the band, from which somebody moves: for amplitude and for
/// phase (which is noisier).
pub const MOST_EXCESS: (f64, f64) = (0.2, 1.2);
/// Time in which the mean of a pair follows, seconds.
pub const MEAN_S: f64 = 60.0;
/// Amplitude streams at most.
const MOST_GROUPS: usize = 64;
/// Subcarriers of a group at least.
const GROUP: usize = 4;
/// Pairs of antennas at most.
const MOST_PAIRS: usize = 16;
/// Variance inside the ticks, times this, that the band must hold, else it may be the image of something faster.
const LEAST_OF_SCATTER: f64 = 0.02;
/// Frames per tick from which the scatter inside the ticks is known.
const FRAMES_FOR_SCATTER: f64 = 3.0;

/// Which streams the rate was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Amplitude of subcarriers.
    Amplitude,
    /// Phase between antennas.
    Phase,
}

/// A breathing rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Breaths per minute.
    pub bpm: f64,
    /// Power of the rate and its double against the rest of the band, dB.
    pub snr_db: f64,
    /// Autocorrelation at the period, 0 to 1.
    pub peak: f64,
    /// Share of the window's ticks that were measured, 0 to 1.
    pub coverage: f64,
    /// Length of the window, seconds.
    pub window_s: f64,
    /// What it was read from.
    pub source: Source,
}

/// Why there is no rate.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Unknown {
    /// The caller knows that somebody moves, or does not know that nobody does.
    #[error("not known to be still")]
    Moving,
    /// Less than the shortest window was measured.
    #[error("{span_s:.0} s measured; {SHORTEST_WINDOW_S} s are needed")]
    TooShort {
        /// Seconds measured.
        span_s: f64,
    },
    /// Too many ticks without a frame.
    #[error("{:.0} % of the time measured; {:.0} % are needed", 100.0 * coverage, 100.0 * LEAST_COVERAGE)]
    Gaps {
        /// Share of the ticks that were measured.
        coverage: f64,
    },
    /// Nothing changes at all.
    #[error("nothing changes")]
    Silent,
    /// Nothing repeats.
    #[error("nothing repeats between {} and {} s", PERIODS_S.0, PERIODS_S.1)]
    NoPeriod,
    /// What repeats is too weak.
    #[error(
        "autocorrelation {peak:.2} at {snr_db:.1} dB; {least_peak:.2} at {LEAST_SNR_DB} dB are needed"
    )]
    Weak {
        /// Autocorrelation at the best period.
        peak: f64,
        /// What it must reach there.
        least_peak: f64,
        /// Power of the rate against the rest of the band, dB.
        snr_db: f64,
    },
    /// Movement faster than breathing.
    #[error("movement faster than breathing: {excess:.2} of the band's power")]
    Restless {
        /// Power above the band, beyond noise, as a share of that in the band.
        excess: f64,
    },
}

/// One link's window of breathing. Memory is bounded (0.5 MB at most, half of it while a window is looked at, which links can
/// share: [`Work`]); nothing is allocated after the first estimate of a window length.
#[derive(Debug)]
pub struct Breathing {
    cells: Cells,
    /// First and end place in the row of each group.
    groups: Vec<(usize, usize)>,
    /// Values of every group, where all are alike and next to each other.
    alike: Option<usize>,
    pairs: Vec<Pair>,
    blocks: GainBlocks,
    /// Valid samples of one antenna.
    valid: usize,
    previous_us: Option<i64>,
    work: Work,
}

/// Memory that is in use only while a window is looked at: one serves any number of links, one after the other.
#[derive(Debug, Default)]
pub struct Work {
    finder: RateFinder,
    streams: Vec<f32>,
    ticks: Ticks,
    /// What a frame gives to each stream.
    values: Vec<f32>,
    product: Split,
    split: Split,
}

/// What a [`Breathing`] rests on: enough to go on as if it had never stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The cells that hold a frame, each with the sums of its streams.
    pub cells: Vec<(Cell, Vec<f32>)>,
    /// The slow mean of each pair of antennas, and the frames in it.
    pub pairs: Vec<(Vec<Complex32>, f32)>,
    /// Time of the last frame, microseconds.
    pub previous_us: Option<i64>,
}

/// Pairs of receive chains, which hang on one clock, that heard the same transmit stream: chains next to each other first. Antennas
/// are counted chain by chain, `streams` to each.
pub fn pairs(chains: usize, streams: usize) -> impl Iterator<Item = (usize, usize)> {
    let apart =
        (1..chains).flat_map(move |apart| (0..chains - apart).map(move |one| (one, one + apart)));
    (0..streams).flat_map(move |stream| {
        apart
            .clone()
            .map(move |(one, other)| (one * streams + stream, other * streams + stream))
    })
}

impl Breathing {
    /// For frames whose rows `blocks` makes, of `antennas` antennas. `pairs` are the antennas that share a clock (and, where
    /// antennas are pairs of receive chain and transmit stream, the stream): their phase difference means something. Pairs
    /// past the first 16, and of antennas that are not there, are not looked at.
    #[must_use]
    pub fn new(blocks: &GainBlocks, antennas: usize, pairs: &[(usize, usize)]) -> Self {
        let size = blocks.width().div_ceil(MOST_GROUPS).max(GROUP);
        let (mut groups, mut begin) = (Vec::new(), 0);
        for end in blocks.ends() {
            // Groups of one block are of equal size; a block keeps at least one.
            let count = ((*end - begin) / size).max(1);
            let edge = |i: usize| begin + i * (*end - begin) / count;
            groups.extend((0..count).map(|i| (edge(i), edge(i + 1))));
            begin = *end;
        }
        let valid = blocks.width() / antennas.max(1);
        let there = |pair: &&(usize, usize)| pair.0.max(pair.1) < antennas && pair.0 != pair.1;
        let pairs: Vec<Pair> = pairs
            .iter()
            .filter(there)
            .take(MOST_PAIRS)
            .map(|(first, second)| Pair::new(first * valid, second * valid, valid))
            .collect();
        Self {
            cells: Cells::new(groups.len(), pairs.len()),
            alike: alike(&groups),
            groups,
            pairs,
            valid,
            blocks: blocks.clone(),
            previous_us: None,
            work: Work::default(),
        }
    }

    /// Takes a frame: its time, its row of normalised power, and its samples for the pairs (antenna-major; may be empty
    /// where there is no pair). Gives whether it counted: a row or samples of another size, or a time more than a window
    /// before the last, do not; a clock that jumps back further begins anew.
    pub fn push(&mut self, time_us: i64, row: &[f32], samples: &[Complex32]) -> bool {
        let mut split = std::mem::take(&mut self.work.split);
        let fits = self.pairs.is_empty() || self.blocks.split(samples, &mut split).is_ok();
        let counted = fits && self.take(time_us, row, &split);
        self.work.split = split;
        counted
    }

    /// As [`push`](Self::push), of a frame that is [`split`](GainBlocks::split) already, in memory that several links share.
    pub fn push_in(&mut self, work: &mut Work, time_us: i64, row: &[f32], split: &Split) -> bool {
        std::mem::swap(&mut self.work, work);
        let counted = self.take(time_us, row, split);
        std::mem::swap(&mut self.work, work);
        counted
    }

    fn take(&mut self, time_us: i64, row: &[f32], split: &Split) -> bool {
        let finite = |all: bool, value: &f32| all & value.is_finite();
        if row.len() != self.blocks.width() || !row.iter().fold(true, finite) {
            return false;
        }
        if !self.pairs.is_empty() && split.len() != self.blocks.width() {
            return false;
        }
        let values = &mut self.work.values;
        values.clear();
        match self.alike {
            // The usual size, known to the compiler.
            Some(GROUP) => {
                let (groups, _) = row.as_chunks::<GROUP>();
                values.extend(groups.iter().map(|group| mean(group)));
            }
            Some(size) => values.extend(row.chunks_exact(size).map(mean)),
            None => values.extend(
                self.groups
                    .iter()
                    .map(|(begin, end)| mean(row.get(*begin..*end).unwrap_or_default())),
            ),
        }
        let elapsed = self.previous_us.map_or(0, |at| time_us.saturating_sub(at));
        self.previous_us = Some(time_us);
        let follow = (elapsed.max(0) as f64 * 1e-6 / MEAN_S) as f32;
        for pair in &mut self.pairs {
            let (re, im) = pair.push(split, follow, &mut self.work.product);
            values.push(re);
            values.push(im);
        }
        self.cells.push(time_us, values)
    }

    /// The rate over the last `window_s` seconds before `end_us` (cut to [`LONGEST_WINDOW_S`]), or why there is none.
    /// `still` says that the zone is known to be still: without that nothing is looked for.
    ///
    /// # Errors
    /// Where there is no rate.
    pub fn estimate(&mut self, end_us: i64, window_s: f64, still: bool) -> Result<Rate, Unknown> {
        if !still {
            return Err(Unknown::Moving);
        }
        let window_s = window_s.min(LONGEST_WINDOW_S);
        let window = self.cells.window(end_us, window_s, &mut self.work.ticks)?;
        if window.coverage < LEAST_COVERAGE {
            return Err(Unknown::Gaps {
                coverage: window.coverage,
            });
        }
        let mut best: Result<Rate, Unknown> = Err(Unknown::Silent);
        for source in [Source::Amplitude, Source::Phase] {
            let scatter = match source {
                Source::Amplitude => {
                    let streams = &mut self.work.streams;
                    self.cells.amplitudes(&mut self.work.ticks, streams)
                }
                Source::Phase => {
                    let streams = &mut self.work.streams;
                    self.cells.phases(&mut self.work.ticks, streams)
                }
            };
            let least = if window.frames_per_tick >= FRAMES_FOR_SCATTER {
                LEAST_OF_SCATTER * scatter
            } else {
                0.0
            };
            let found = self
                .work
                .finder
                .find(&self.work.streams, self.work.ticks.covered())
                .and_then(|period| judge(period, source, window.span_s, least));
            let found = found.map(|period| Rate {
                bpm: 60.0 / period.period_s,
                snr_db: period.snr_db,
                peak: period.peak,
                coverage: window.coverage,
                window_s: window.span_s,
                source,
            });
            best = match (best, found) {
                (Ok(one), Ok(other)) if other.snr_db > one.snr_db => Ok(other),
                (Ok(one), _) => Ok(one),
                (Err(_), Ok(other)) => Ok(other),
                // What is nearer to a rate says more.
                (Err(Unknown::Silent | Unknown::NoPeriod), Err(other))
                    if other != Unknown::Silent =>
                {
                    Err(other)
                }
                (Err(one), Err(_)) => Err(one),
            };
        }
        best
    }

    /// What moves steadily and periodically over the last [`mover::SPAN_S`] before `end_us`, moving or not; at the `known`
    /// frequency alone, where there is one. Absent where nothing stands out, or the span is not covered.
    pub fn steady(
        &mut self,
        end_us: i64,
        known: Option<f64>,
        finder: &mut SteadyFinder,
    ) -> Option<Steady> {
        let ticks = &mut self.work.ticks;
        let window = self.cells.window(end_us, mover::SPAN_S, ticks).ok()?;
        if window.span_s < mover::SPAN_S - 0.5 || window.coverage < LEAST_COVERAGE {
            return None;
        }
        let streams = &mut self.work.streams;
        let scatter = self.cells.amplitudes(&mut self.work.ticks, streams);
        let ticks = self.work.ticks.covered().len();
        let frequency = match known {
            Some(known) => known,
            None => finder.search(&self.work.streams, ticks, RATE_HZ)?,
        };
        finder.measure(&self.work.streams, ticks, RATE_HZ, scatter, frequency)
    }

    /// As [`estimate`](Self::estimate), in memory that several links share.
    ///
    /// # Errors
    /// Where there is no rate.
    pub fn estimate_in(
        &mut self,
        work: &mut Work,
        end_us: i64,
        window_s: f64,
        still: bool,
    ) -> Result<Rate, Unknown> {
        std::mem::swap(&mut self.work, work);
        let found = self.estimate(end_us, window_s, still);
        std::mem::swap(&mut self.work, work);
        found
    }

    /// As [`steady`](Self::steady), in memory that several links share.
    pub fn steady_in(
        &mut self,
        work: &mut Work,
        end_us: i64,
        known: Option<f64>,
        finder: &mut SteadyFinder,
    ) -> Option<Steady> {
        std::mem::swap(&mut self.work, work);
        let found = self.steady(end_us, known, finder);
        std::mem::swap(&mut self.work, work);
        found
    }

    /// The room is another than before: the slow means of the pairs begin anew, the frames stay.
    pub fn settle(&mut self) {
        self.pairs.iter_mut().for_each(Pair::clear);
    }

    /// What is to be kept; see [`resume`](Self::resume).
    #[must_use]
    pub fn state(&self) -> State {
        let pairs = self.pairs.iter();
        State {
            cells: self.cells.kept(),
            pairs: pairs.map(Pair::state).collect(),
            previous_us: self.previous_us,
        }
    }

    /// Takes up what [`state`](Self::state) of one for the same frames gave. Gives whether it fits; where it does not, all is
    /// forgotten.
    pub fn resume(&mut self, state: State) -> bool {
        let fits = state.pairs.len() == self.pairs.len()
            && state.pairs.iter().all(|(mean, _)| mean.len() == self.valid)
            && self.cells.resume(&state.cells);
        if !fits {
            self.clear();
            return false;
        }
        for (pair, (mean, frames)) in self.pairs.iter_mut().zip(&state.pairs) {
            pair.resume(mean, *frames);
        }
        self.previous_us = state.previous_us;
        true
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.cells.clear();
        self.previous_us = None;
        self.pairs.iter_mut().for_each(Pair::clear);
    }
}

fn judge(
    period: Period,
    source: Source,
    window_s: f64,
    least_variance: f64,
) -> Result<Period, Unknown> {
    let most = match source {
        Source::Amplitude => MOST_EXCESS.0,
        Source::Phase => MOST_EXCESS.1,
    };
    let least_peak = LEAST_PEAK.max(LEAST_PEAK_PERIODS * period.period_s / window_s);
    if period.peak < least_peak || period.snr_db < LEAST_SNR_DB || !period.repeated {
        return Err(Unknown::Weak {
            peak: period.peak,
            least_peak,
            snr_db: period.snr_db,
        });
    }
    if period.excess > most || period.variance < least_variance {
        return Err(Unknown::Restless {
            excess: period.excess,
        });
    }
    Ok(period)
}

/// The size of all groups, where they are alike and next to each other.
fn alike(groups: &[(usize, usize)]) -> Option<usize> {
    let size = groups.first().map(|(begin, end)| end - begin)?;
    let place =
        |(index, group): (usize, &(usize, usize))| *group == (index * size, (index + 1) * size);
    (size > 0 && groups.iter().enumerate().all(place)).then_some(size)
}

fn mean(group: &[f32]) -> f32 {
    group.iter().sum::<f32>() / group.len().max(1) as f32
}
