//! Breathing of one who keeps still, on one link: a long history of still time, looked at every few seconds.
//!
//! The history ([`dsp::breathing`]: ten ticks a second of at most 64 groups of subcarriers and [`MOST_PAIRS`] pairs of
//! antennas) counts from the last window in motion on. It is not rebuilt after a restart or a takeover, which would take a
//! minute of frames: until it is long enough again the rate is unknown, and says so ([`Absent::TooShort`]).
//!
//! The same history, moving or not, tells a steady mover (a slow fan) from a body ([`dsp::mover`]). Its frequency is kept over a
//! restart, so that a fan is not motion again for as long as the history takes.

use csi::{Frame, SampleFormat};
use dsp::breathing::{Breathing, Cell, Rate, Source, State, Unknown, Work};
use dsp::gain::GainBlocks;
use dsp::mover::{self, SteadyFinder};
use dsp::split::Split;
use num_complex::Complex32;
use serde::{Deserialize, Serialize};

use crate::detector::{LinkState, Reason, Verdict};

/// Seconds between two looks.
pub const EVERY_S: f64 = 5.0;
/// Shortest still time that anything is said of, seconds: with less, the slow sway of an empty room passes for a breath now
/// and then.
pub const SHORTEST_S: f64 = 30.0;
/// Longest history that is looked at, seconds.
pub const LONGEST_S: f64 = dsp::breathing::LONGEST_WINDOW_S;
/// Pairs of antennas whose phase is followed at most.
pub const MOST_PAIRS: usize = 3;

/// Why there is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Absent {
    /// Too little still time since the link began, since motion, or since another process had the link.
    TooShort,
    /// Too much of that time has no frames.
    Gaps,
    /// The link is in motion.
    Moving,
    /// Whether the link is still is not known.
    NotStill,
    /// Nothing changes.
    Silent,
    /// Nothing repeats.
    NoPeriod,
    /// What repeats is too weak.
    Weak,
    /// Something moves faster than a chest.
    Restless,
}

impl Absent {
    /// snake_case.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::Gaps => "gaps",
            Self::Moving => "moving",
            Self::NotStill => "not_still",
            Self::Silent => "silent",
            Self::NoPeriod => "no_period",
            Self::Weak => "weak",
            Self::Restless => "restless",
        }
    }
}

/// What the latest look found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breath {
    /// The rate, or why there is none.
    pub rate: Result<Rate, Absent>,
    /// Still time that it rests on, seconds.
    pub window_s: f64,
}

impl Breath {
    /// Nothing looked at yet.
    pub const NONE: Self = Self {
        rate: Err(Absent::TooShort),
        window_s: 0.0,
    };

    /// Somebody who breathes would have been found, as far as this link can.
    #[must_use]
    pub fn quiet(&self) -> bool {
        matches!(
            self.rate,
            Err(Absent::Silent | Absent::NoPeriod | Absent::Weak)
        )
    }
}

/// [`Source`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Source")]
enum WrittenSource {
    Amplitude,
    Phase,
}

/// [`Rate`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Rate")]
struct WrittenRate {
    bpm: f64,
    snr_db: f64,
    peak: f64,
    coverage: f64,
    window_s: f64,
    #[serde(with = "WrittenSource")]
    source: Source,
}

#[derive(Serialize, Deserialize)]
struct KeptRate(#[serde(with = "WrittenRate")] Rate);

/// [`Cell`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Cell")]
struct WrittenCell {
    index: i64,
    frames: u32,
    after_us: i64,
    squares: f64,
}

#[derive(Serialize, Deserialize)]
struct KeptCell(#[serde(with = "WrittenCell")] Cell, Vec<f32>);

/// What a [`Monitor`] rests on, but for what moves steadily.
#[derive(Serialize, Deserialize)]
pub struct Kept {
    cells: Vec<KeptCell>,
    pairs: Vec<(Vec<Complex32>, f32)>,
    previous_us: Option<i64>,
    first_us: Option<i64>,
    began_us: Option<i64>,
    rate: Result<KeptRate, Absent>,
    window_s: f64,
}

/// The history of one link.
#[derive(Debug)]
pub struct Monitor {
    history: Box<Breathing>,
    /// Time of the first frame of the history, and of the first one since something moved.
    first_us: Option<i64>,
    began_us: Option<i64>,
    /// Frequency of something that moves steadily, Hz; and whether it was found before this process had the link.
    mover: Option<(f64, bool)>,
    latest: Breath,
}

impl Monitor {
    /// For frames like this one, whose rows `blocks` makes.
    #[must_use]
    pub fn new(frame: &Frame, blocks: &GainBlocks) -> Self {
        Self::of(blocks, frame.antennas, &pairs(frame))
    }

    /// For frames whose rows `blocks` makes, with these [`pairs`] of antennas.
    #[must_use]
    pub fn of(blocks: &GainBlocks, antennas: u8, pairs: &[(usize, usize)]) -> Self {
        Self {
            history: Box::new(Breathing::new(blocks, usize::from(antennas), pairs)),
            first_us: None,
            began_us: None,
            mover: None,
            latest: Breath::NONE,
        }
    }

    /// Takes a frame of that time: its row of normalised power, and its samples.
    pub fn push(&mut self, work: &mut Work, time_us: i64, row: &[f32], split: &Split) {
        let counted = self.history.push_in(work, time_us, row, split);
        self.note(time_us, counted);
    }

    /// The same, where the samples are not laid out yet.
    pub fn take(&mut self, time_us: i64, row: &[f32], samples: &[Complex32]) {
        let counted = self.history.push(time_us, row, samples);
        self.note(time_us, counted);
    }

    fn note(&mut self, time_us: i64, counted: bool) {
        if counted {
            self.first_us.get_or_insert(time_us);
            self.began_us.get_or_insert(time_us);
        }
    }

    /// The frequency of something that moves steadily over the last 45 s, where nothing else does: what is left without it is
    /// no motion by `threshold`. A link whose history is still too short goes by what was found before.
    pub fn steady(
        &mut self,
        end_us: i64,
        hop_us: i64,
        threshold: f64,
        finder: &mut SteadyFinder,
        work: &mut Work,
    ) -> Option<f64> {
        let first_us = self.first_us.unwrap_or(end_us);
        let short = end_us.saturating_sub(first_us) < crate::config::micros(mover::SPAN_S);
        match self.mover {
            Some((frequency, true)) if short => return Some(frequency),
            None if short || !is_due(end_us, hop_us) => return None,
            _ => {}
        }
        let known = self.mover.map(|(frequency, _)| frequency);
        let found = self.history.steady_in(work, end_us, known, finder);
        let alone = found.filter(|steady| steady.alone(threshold));
        self.mover = alone.map(|steady| (steady.frequency_hz, false));
        alone.map(|steady| steady.frequency_hz)
    }

    /// The frequency of what moves steadily, in microhertz, to be kept over a restart.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn mover_uhz(&self) -> Option<u64> {
        self.mover.map(|(frequency, _)| (frequency * 1e6) as u64)
    }

    /// The whole history, for a checkpoint.
    #[must_use]
    pub fn save(&self) -> Kept {
        let state = self.history.state();
        let cells = state.cells.into_iter();
        Kept {
            cells: cells.map(|(cell, sums)| KeptCell(cell, sums)).collect(),
            pairs: state.pairs,
            previous_us: state.previous_us,
            first_us: self.first_us,
            began_us: self.began_us,
            rate: self.latest.rate.map(KeptRate),
            window_s: self.latest.window_s,
        }
    }

    /// Takes up a whole history. Gives whether it is one of such frames.
    pub fn restore(&mut self, kept: Kept) -> bool {
        let cells = kept.cells.into_iter();
        self.first_us = kept.first_us;
        self.began_us = kept.began_us;
        self.latest = Breath {
            rate: kept.rate.map(|rate| rate.0),
            window_s: kept.window_s,
        };
        self.history.resume(State {
            cells: cells.map(|cell| (cell.0, cell.1)).collect(),
            pairs: kept.pairs,
            previous_us: kept.previous_us,
        })
    }

    /// Takes up what was kept.
    #[allow(clippy::cast_precision_loss)]
    pub fn resume(&mut self, mover_uhz: Option<u64>) {
        self.mover = mover_uhz.map(|frequency| (frequency as f64 * 1e-6, true));
    }

    /// Takes what the window that ends at `end_us` says of motion, looks where it is time to, and gives what is known.
    #[allow(clippy::cast_precision_loss)]
    pub fn look(&mut self, end_us: i64, hop_us: i64, verdict: &Verdict, work: &mut Work) -> Breath {
        if verdict.state == LinkState::Motion {
            self.history.settle();
            self.began_us = None;
            self.latest = Breath {
                rate: Err(Absent::Moving),
                window_s: 0.0,
            };
            return self.latest;
        }
        let due = is_due(end_us, hop_us);
        // What is slower than a body still shows a chest; whatever is faster shows in the band above the chest's.
        let still = verdict.state == LinkState::Still || verdict.reason == Some(Reason::RateTooLow);
        if !still {
            self.latest.rate = Err(Absent::NotStill);
        } else if due {
            let began = self.began_us.unwrap_or(end_us);
            let window_s = (end_us.saturating_sub(began) as f64 * 1e-6).clamp(0.0, LONGEST_S);
            let rate = if window_s < SHORTEST_S {
                Err(Absent::TooShort)
            } else {
                let rate = self.history.estimate_in(work, end_us, window_s, true);
                rate.map_err(absent)
            };
            self.latest = Breath { rate, window_s };
        } else if matches!(self.latest.rate, Err(Absent::Moving | Absent::NotStill)) {
            self.latest.rate = Err(Absent::TooShort);
        }
        self.latest
    }
}

fn is_due(end_us: i64, hop_us: i64) -> bool {
    let every_us = crate::config::micros(EVERY_S);
    end_us.rem_euclid(every_us.max(hop_us)) < hop_us
}

fn absent(unknown: Unknown) -> Absent {
    match unknown {
        Unknown::Moving => Absent::Moving,
        Unknown::TooShort { .. } => Absent::TooShort,
        Unknown::Gaps { .. } => Absent::Gaps,
        Unknown::Silent => Absent::Silent,
        Unknown::NoPeriod => Absent::NoPeriod,
        Unknown::Weak { .. } => Absent::Weak,
        Unknown::Restless { .. } => Absent::Restless,
    }
}

/// The pairs of antennas whose phase is followed, [`MOST_PAIRS`] at most; none of amplitudes without phase.
#[must_use]
pub fn pairs(frame: &Frame) -> Vec<(usize, usize)> {
    if frame.format == SampleFormat::Af32 {
        return Vec::new();
    }
    let streams = usize::from(frame.transmit_streams.max(1));
    let chains = usize::from(frame.receive_chains());
    dsp::breathing::pairs(chains, streams)
        .take(MOST_PAIRS)
        .collect()
}
