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
}

impl Falsehood {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Identical, Self::Zeros, Self::Shuffled, Self::GainStep];

    /// In tables.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Identical => "one frame of motion, repeated",
            Self::Zeros => "zeros",
            Self::Shuffled => "frames of motion, shuffled",
            Self::GainStep => "a quiet room, gain halved half-way",
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
        }
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
    let label = match falsehood {
        Falsehood::GainStep => "quiet",
        _ => "motion",
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
        let before = match falsehood {
            Falsehood::GainStep => path::windows(&frames),
            _ => Vec::new(),
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
