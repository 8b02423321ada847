//! What goes from stage to stage: the part of it that one chunk holds.

use csi::{Frame, SampleFormat};
use dsp::cusum::Change;
use dsp::motion::Motion;
use dsp::speed::{self, Speed};
use num_complex::Complex32;
use serde::{Deserialize, Serialize};

use crate::breathing::{Breath, pairs};
use crate::detector::{Counts, Verdict};
use crate::link::{LinkKey, ppdu_name};
use crate::order::Place;

/// Links of a recording at most.
pub const MOST_LINKS: usize = 4096;

/// The output of a stage, and the input of the next.
#[derive(Debug)]
pub enum Batch {
    /// Frames.
    Frames(Vec<Tracked>),
    /// Rows, on a regular clock or not.
    Rows(Vec<Row>),
    /// Windows, measured and decided on or not.
    Windows(Vec<Window>),
}

/// A frame with its place in its device's order.
#[derive(Debug)]
pub struct Tracked {
    /// The frame.
    pub frame: Frame,
    /// The device that it came from, where the recording tells devices apart.
    pub node: Option<u8>,
    /// Its place; absent without `validate`: then every frame counts, and nothing is known of losses.
    pub place: Option<Place>,
}

/// What became of a row's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It counts.
    Taken,
    /// Its sequence number came before.
    Repeated,
    /// Out of order.
    Late,
    /// Zero throughout.
    NoEnergy,
    /// Of another size than its layout, or not finite.
    Faulty,
}

/// One row of numbers of one link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Number of the link in [`Links`].
    pub link: u32,
    /// Time on the recording's axis, microseconds.
    pub time_us: i64,
    /// Time by the device's clock, where it has one.
    pub sample_us: i64,
    /// What became of the frame.
    pub fate: Fate,
    /// Frames lost before this one; absent where nobody counted.
    pub missed: Option<u64>,
    /// The device started again with this frame.
    pub restarted: bool,
    /// Normalised power of each valid sample, without unit, mean 1 in each gain block.
    pub values: Vec<f32>,
    /// Natural logarithm of the RMS amplitude.
    pub log_rms: f32,
    /// 1 / mean power.
    pub inverse_power: f32,
    /// The level at which the frame was received, dBm; absent where it was not measured.
    pub level_dbm: Option<f32>,
    /// The frame's samples, antenna-major.
    pub samples: Vec<Complex32>,
}

impl Row {
    fn bytes(&self) -> usize {
        size_of_val(self.samples.as_slice()) + size_of_val(self.values.as_slice())
    }

    /// The row of a frame, still without values: `fate` is what the stage made of its samples, which its place in the
    /// device's order may outdo.
    #[must_use]
    pub fn of(link: u32, frame: Frame, place: Option<Place>, fate: Fate) -> Self {
        Self {
            link,
            time_us: frame.receive_time_us,
            sample_us: frame.time_us(),
            fate: match place {
                Some(Place::Repeated) => Fate::Repeated,
                Some(Place::Late) => Fate::Late,
                _ => fate,
            },
            missed: match place {
                Some(Place::Next { missed }) => Some(missed),
                Some(_) => Some(0),
                None => None,
            },
            restarted: place == Some(Place::Restarted),
            values: Vec::new(),
            log_rms: 0.0,
            inverse_power: 0.0,
            level_dbm: frame.level_dbm(),
            samples: frame.samples,
        }
    }
}

/// A window of one link.
#[derive(Clone, Debug)]
pub struct Window {
    /// Number of the link in [`Links`].
    pub link: u32,
    /// Beginning, microseconds.
    pub start_us: i64,
    /// End, microseconds.
    pub end_us: i64,
    /// One ends every so many microseconds.
    pub hop_us: i64,
    /// Nothing of the link was seen in the window before.
    pub begins: bool,
    /// What was counted.
    pub counts: Counts,
    /// Whether losses were counted at all.
    pub validated: bool,
    /// Times of the rows by the device's clock.
    pub sample_us: Vec<i64>,
    /// Times of the rows on the recording's axis.
    pub times_us: Vec<i64>,
    /// `times_us.len()` rows of `width` values.
    pub values: Vec<f32>,
    /// Values of a row.
    pub width: usize,
    /// Powers of the frames' samples, for the stages that go back to them; otherwise empty.
    pub powers: Vec<f32>,
    /// The variance that rounding the samples gives to normalised power.
    pub rounding: f64,
    /// The level of each row's frame, dBm; empty where one was not measured.
    pub levels_dbm: Vec<f32>,
    /// Mean RMS amplitude in units of the samples.
    pub amplitude_mean: f32,
    /// Its standard deviation.
    pub amplitude_std: f32,
    /// Circular variance of the phase between neighbouring subcarriers, where there is phase.
    pub phase_variance: Option<f32>,
    /// What `motion` measured; absent where nothing changes, or there are no two neighbouring frames.
    pub motion: Option<Motion>,
    /// What `decision` said.
    pub verdict: Option<Verdict>,
    /// Rows of the frames that came since the window before, for the stages that go back to them; otherwise empty.
    pub fresh: Vec<Row>,
    /// What `breathing` found; absent without it.
    pub breath: Option<Breath>,
    /// What `select` chose; absent without it.
    pub selected: Option<Selected>,
    /// What `speed` measured; absent without it.
    pub speed: Option<Result<Speed, NoSpeed>>,
    /// What `change_points` says; absent without it, and where there is no value.
    pub level: Option<Level>,
    /// What `activity` measured; empty where the window did not earn any.
    pub features: Vec<f32>,
}

/// Subcarriers that were chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Selected {
    /// Antenna and subcarrier index of each.
    pub samples: Vec<(usize, i16)>,
    /// Weight of each; their sum is 1.
    pub weights: Vec<f32>,
}

/// Why there is no speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NoSpeed {
    /// The window cannot be judged.
    Unknown,
    /// Neither the recording nor the pipeline says on which carrier.
    NoCarrier,
    /// It was looked for.
    Unmeasured(speed::Unknown),
}

impl NoSpeed {
    /// snake_case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::NoCarrier => "no_carrier",
            Self::Unmeasured(speed::Unknown::Rate { .. }) => "rate_too_low",
            Self::Unmeasured(speed::Unknown::Frames) => "too_few_frames",
            Self::Unmeasured(speed::Unknown::Still { .. }) => "still",
            Self::Unmeasured(speed::Unknown::NoPeak) => "no_peak",
        }
    }
}

/// The level of a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// What this window says: decibels, or statistic.
    pub value: f32,
    /// The level so far, this window included.
    pub level: f32,
    /// The spread about it.
    pub spread: f32,
    /// Deviation of the value from the level before it, in spreads; absent for the first.
    pub z: Option<f32>,
    /// The change that this window completes, and the windows since it began.
    pub change: Option<(Change, u32)>,
}

impl Batch {
    /// Bytes of the numbers in it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let complex = size_of::<Complex32>();
        let bytes: usize = match self {
            Self::Frames(frames) => frames.iter().map(|f| f.frame.samples.len() * complex).sum(),
            Self::Rows(rows) => rows.iter().map(Row::bytes).sum(),
            Self::Windows(windows) => windows
                .iter()
                .map(|w| {
                    let fresh: usize = w.fresh.iter().map(Row::bytes).sum();
                    (w.values.len() + w.powers.len() + w.features.len()) * 4 + fresh
                })
                .sum(),
        };
        bytes as u64
    }
}

/// Amplitudes without phase, or complex samples that were rounded, or complex samples that were not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Samples {
    Integers,
    Floats,
    Amplitudes,
}

/// A link of the recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkInfo {
    /// The device, where the recording tells devices apart.
    pub node: Option<u8>,
    /// What tells links of one device apart.
    pub key: LinkKey,
    /// Subcarrier index of each sample of one antenna.
    pub subcarriers: Vec<i16>,
    /// Whether each carries a channel estimate.
    pub valid: Vec<bool>,
    /// Pairs of antennas whose phase can be held against one another.
    pub pairs: Vec<(usize, usize)>,
    /// Carrier frequency of its first frame, MHz, where known.
    pub frequency_mhz: Option<u32>,
    format: u8,
    samples: Samples,
}

impl LinkInfo {
    fn fits(&self, frame: &Frame, node: Option<u8>) -> bool {
        self.node == node
            && self.key.transmitter == frame.transmitter
            && self.key.antennas == frame.antennas
            && self.format == format_code(frame.format)
            && self.key.ppdu == ppdu_name(frame.ppdu)
            && self.key.chain == frame.chain.map(|chain| (chain.core, chain.stream))
            && self.key.layout == frame.layout.name
            && *self.subcarriers == *frame.layout.subcarriers
            && *self.valid == *frame.layout.valid
    }

    /// Whether the samples have phase.
    #[must_use]
    pub fn has_phase(&self) -> bool {
        self.samples != Samples::Amplitudes
    }

    /// Whether the samples were rounded to whole numbers.
    #[must_use]
    pub fn is_rounded(&self) -> bool {
        self.samples != Samples::Floats
    }

    /// Samples of a frame.
    #[must_use]
    pub fn frame_samples(&self) -> usize {
        self.subcarriers.len() * usize::from(self.key.antennas)
    }
}

fn format_code(format: SampleFormat) -> u8 {
    match format {
        SampleFormat::Ci8 => 0,
        SampleFormat::Ci16 => 1,
        SampleFormat::Cf32 => 2,
        SampleFormat::Af32 => 3,
    }
}

/// The links of a recording, numbered in the order in which they were first seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Links {
    all: Vec<LinkInfo>,
    #[serde(skip)]
    latest: u32,
}

impl Links {
    /// The number of a frame's link; none where there are too many.
    pub fn number(&mut self, frame: &Frame, node: Option<u8>) -> Option<u32> {
        if self
            .get(self.latest)
            .is_some_and(|link| link.fits(frame, node))
        {
            return Some(self.latest);
        }
        let found = self.all.iter().position(|link| link.fits(frame, node));
        let place = match found {
            Some(place) => place,
            None if self.all.len() >= MOST_LINKS => return None,
            None => {
                self.all.push(LinkInfo {
                    node,
                    key: LinkKey {
                        transmitter: frame.transmitter,
                        layout: frame.layout.name.to_owned(),
                        subcarriers: frame.layout.subcarriers.len(),
                        antennas: frame.antennas,
                        ppdu: ppdu_name(frame.ppdu).to_owned(),
                        chain: frame.chain.map(|chain| (chain.core, chain.stream)),
                    },
                    subcarriers: frame.layout.subcarriers.to_vec(),
                    valid: frame.layout.valid.to_vec(),
                    pairs: pairs(frame),
                    frequency_mhz: frame.frequency_mhz,
                    format: format_code(frame.format),
                    samples: match frame.format {
                        SampleFormat::Ci8 | SampleFormat::Ci16 => Samples::Integers,
                        SampleFormat::Cf32 => Samples::Floats,
                        SampleFormat::Af32 => Samples::Amplitudes,
                    },
                });
                self.all.len() - 1
            }
        };
        self.latest = u32::try_from(place).ok()?;
        Some(self.latest)
    }

    /// The link of that number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&LinkInfo> {
        self.all.get(number as usize)
    }
}
