//! What is not motion, made from real recordings: none of it may be taken for motion.

use csi::Frame;
use num_complex::Complex32;
use proto::signal::v1::{LinkState, PresenceState};
use recordings::{Catalogue, Places};

use crate::measure::Random;
use crate::path;

/// What was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Falsehood {
    /// One frame of a recording of motion, again and again.
    Identical,
    /// Zeros.
    Zeros,
    /// The frames of a recording of motion in random order, under rising sequence numbers and times.
    Shuffled,
    /// A quiet recording whose gain is halved in the middle.
    GainStep,
    /// A quiet recording with an RSSI that flips between two neighbouring values, in runs of 0.1 to 0.9 s.
    LevelFlips,
    /// A quiet recording with an RSSI that falls by 10 dB in the middle.
    LevelStep,
    /// A quiet recording with an RSSI that swings by several decibels, as smoothly as with a body.
    LevelSwings,
}

impl Falsehood {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Identical,
        Self::Zeros,
        Self::Shuffled,
        Self::GainStep,
        Self::LevelFlips,
        Self::LevelStep,
        Self::LevelSwings,
    ];

    /// In tables.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Identical => "one frame of motion, repeated",
            Self::Zeros => "zeros",
            Self::Shuffled => "frames of motion, shuffled",
            Self::GainStep => "a quiet room, gain halved half-way",
            Self::LevelFlips => "a quiet room, RSSI flips between two values",
            Self::LevelStep => "a quiet room, RSSI falls by 10 dB half-way",
            Self::LevelSwings => "a quiet room, RSSI swings by up to 12 dB",
        }
    }

    /// In keys of figures.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::Zeros => "zeros",
            Self::Shuffled => "shuffled",
            Self::GainStep => "gain_step",
            Self::LevelFlips => "level_flips",
            Self::LevelStep => "level_step",
            Self::LevelSwings => "level_swings",
        }
    }

    fn put(self, frames: &mut [Frame]) {
        match self {
            Self::Identical => {
                let same = frames.first().map(|frame| frame.samples.clone());
                for frame in frames {
                    frame
                        .samples
                        .clone_from(same.as_ref().unwrap_or(&Vec::new()));
                }
            }
            Self::Zeros => frames
                .iter_mut()
                .for_each(|frame| frame.samples.fill(Complex32::default())),
            Self::Shuffled => {
                let mut samples: Vec<_> = frames
                    .iter_mut()
                    .map(|frame| std::mem::take(&mut frame.samples))
                    .collect();
                Random::new(7).shuffle(&mut samples);
                for (frame, samples) in frames.iter_mut().zip(samples) {
                    frame.samples = samples;
                }
            }
            Self::GainStep => {
                let half = frames.len() / 2;
                for frame in frames.iter_mut().skip(half) {
                    for sample in &mut frame.samples {
                        *sample =
                            Complex32::new((sample.re * 0.5).round(), (sample.im * 0.5).round());
                    }
                }
            }
            Self::LevelFlips => {
                let mut random = Random::new(11);
                let (mut value, mut until) = (-60, i64::MIN);
                for frame in frames {
                    if frame.receive_time_us >= until {
                        value = if value == -60 { -61 } else { -60 };
                        let run = 100_000 + 1000 * random.below(800) as i64;
                        until = frame.receive_time_us + run;
                    }
                    frame.rssi_dbm = vec![value];
                }
            }
            Self::LevelStep => {
                let half = frames.len() / 2;
                for (place, frame) in frames.iter_mut().enumerate() {
                    frame.rssi_dbm = vec![if place < half { -55 } else { -65 }];
                }
            }
            Self::LevelSwings => {
                let begin = frames.first().map_or(0, |frame| frame.receive_time_us);
                for frame in frames {
                    let t = (frame.receive_time_us - begin) as f64 / 1e6;
                    let level = 4.0 * (4.1 * t + (1.3 * t).sin()).sin() + 2.0 * (2.9 * t).cos();
                    frame.rssi_dbm = vec![(-60.0 + level).round() as i8];
                }
            }
        }
    }

    /// It is put on quiet recordings, and only what they do not show by themselves counts.
    fn of_quiet(self) -> bool {
        !matches!(self, Self::Identical | Self::Zeros | Self::Shuffled)
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Recordings.
    pub recordings: usize,
    /// Windows.
    pub windows: usize,
    /// Windows said to be motion, which the recording as it is does not show.
    pub motion: usize,
    /// Windows said to have somebody in them, which the recording as it is does not show.
    pub present: usize,
    /// Windows with a breathing rate.
    pub breathing: usize,
}

/// Puts one falsehood on the recordings of ESPectre. `None` where they are not to be had.
///
/// # Errors
/// Where one is damaged.
pub fn measure(falsehood: Falsehood, places: &Places) -> anyhow::Result<Option<Outcome>> {
    let catalogue = Catalogue::built_in()?;
    let label = if falsehood.of_quiet() {
        "quiet"
    } else {
        "motion"
    };
    let mut outcome = Outcome::default();
    for entry in catalogue.entries() {
        if entry.source != "espectre" || entry.label() != Some(label) {
            continue;
        }
        let recording = match catalogue.find(&entry.name, places) {
            Ok(recording) => recording,
            Err(recordings::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut frames = path::frames(&recording)?;
        let before = if falsehood.of_quiet() {
            path::windows(&frames)
        } else {
            Vec::new()
        };
        falsehood.put(&mut frames);
        let windows = path::windows(&frames);
        outcome.recordings += 1;
        outcome.windows += windows.len();
        for (place, window) in windows.iter().enumerate() {
            let as_it_is = before.get(place);
            let moved = as_it_is.is_some_and(|w| w.state == LinkState::Motion);
            let there = as_it_is.is_some_and(|w| w.presence == PresenceState::Present);
            outcome.motion += usize::from(window.state == LinkState::Motion && !moved);
            outcome.present += usize::from(window.presence == PresenceState::Present && !there);
            outcome.breathing += usize::from(window.breaths.is_some());
        }
    }
    Ok(Some(outcome))
}
