//! Whether a list of stages fits together, and why it does not.

use dsp::butterworth::design;
use dsp::doppler::Doppler;
use dsp::pca::MOST_CHANNELS;

use super::{Kind, LevelOf, MOST_STAGES, Stage, Type};
use crate::config::Settings;

/// Receive chains of a frame at most.
const MOST_CHAINS: usize = 16;

/// Why a list of stages is no pipeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// None, or too many.
    #[error("a pipeline has 1 to {MOST_STAGES} stages; this one has {count}")]
    Count {
        /// How many there are.
        count: usize,
    },
    /// There is no such type.
    #[error(
        "stage {place} {name:?}: there is no type {found:?}; there are {}",
        Type::names()
    )]
    Type {
        /// Place in the list, from 1.
        place: usize,
        /// Name of the stage.
        name: String,
        /// The type asked for.
        found: String,
    },
    /// A parameter that is not there, or cannot be.
    #[error("stage {place} {name:?}: {problem}")]
    Parameter {
        /// Place in the list, from 1.
        place: usize,
        /// Name of the stage.
        name: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Two stages of one name.
    #[error("stages {first} and {second} are both called {name:?}")]
    Name {
        /// Place of the first.
        first: usize,
        /// Place of the second.
        second: usize,
        /// Their name.
        name: String,
    },
    /// What comes in is not what the stage takes.
    #[error("stage {place} {name:?} takes {takes}, and {before} gives {gives}")]
    Input {
        /// Place in the list, from 1.
        place: usize,
        /// Name of the stage.
        name: String,
        /// What it takes, in words.
        takes: String,
        /// What stands before it.
        before: String,
        /// What that gives.
        gives: Kind,
    },
    /// The last stage gives what is no output.
    #[error(
        "stage {place} {name:?} is the last one and gives frames: nothing was measured yet; let `gain` follow"
    )]
    Output {
        /// Place in the list, from 1.
        place: usize,
        /// Name of the stage.
        name: String,
    },
}

impl Misfit {
    /// Place of the stage at fault in the list, from 0; none where it is the list.
    #[must_use]
    pub fn stage(&self) -> Option<usize> {
        match self {
            Self::Count { .. } => None,
            Self::Name { second: place, .. }
            | Self::Type { place, .. }
            | Self::Parameter { place, .. }
            | Self::Input { place, .. }
            | Self::Output { place, .. } => Some(place.saturating_sub(1)),
        }
    }
}

/// Ticks a second of what the stage at `place` is given, where a clock stands before it.
#[must_use]
pub fn rate_hz(stages: &[Stage], place: usize) -> Option<f64> {
    let before = stages.iter().take(place).rev();
    before.map(|stage| &stage.does).find_map(|does| match does {
        Type::Clock(clock) => Some(clock.rate_hz),
        _ => None,
    })
}

/// Checks stage against stage and gives what comes out at the end.
///
/// # Errors
/// The first thing that does not fit, with the stage's place and name.
pub fn check(stages: &[Stage]) -> Result<Kind, Misfit> {
    if stages.is_empty() || stages.len() > MOST_STAGES {
        return Err(Misfit::Count {
            count: stages.len(),
        });
    }
    let mut gives = Kind::Frames;
    let mut before = "the recording".to_owned();
    for (index, stage) in stages.iter().enumerate() {
        let place = index + 1;
        let name = stage.name.clone();
        let parameter = |problem: String| Misfit::Parameter {
            place,
            name: name.clone(),
            problem,
        };
        if name.is_empty() || name.chars().count() > 63 || name.chars().any(char::is_control) {
            return Err(parameter("a name is 1 to 63 characters".to_owned()));
        }
        let earlier = stages.iter().take(index).position(|s| s.name == name);
        if let Some(first) = earlier {
            return Err(Misfit::Name {
                first: first + 1,
                second: place,
                name,
            });
        }
        stage.does.check().map_err(parameter)?;
        let signatures = stage.does.signatures();
        let Some((_, output)) = signatures.iter().find(|(input, _)| *input == gives) else {
            let takes: Vec<_> = signatures.iter().map(|(input, _)| input.name()).collect();
            return Err(Misfit::Input {
                place,
                name,
                takes: takes.join(" or "),
                before,
                gives,
            });
        };
        if let Type::ChangePoints(of) = &stage.does
            && of.of == LevelOf::Statistic
            && gives == Kind::Windows
        {
            let problem = "of = \"statistic\": it is not measured yet; let `motion` stand before";
            return Err(Misfit::Parameter {
                place,
                name,
                problem: problem.to_owned(),
            });
        }
        if let Some(rate) = rate_hz(stages, index) {
            let checked = stage.does.check_at(rate);
            checked.map_err(|problem| Misfit::Parameter {
                place,
                name: name.clone(),
                problem,
            })?;
        }
        gives = *output;
        before = format!("{name:?} before it");
        if place == stages.len() && gives == Kind::Frames {
            return Err(Misfit::Output { place, name });
        }
    }
    Ok(gives)
}

impl Type {
    /// Checks the values of the parameters.
    pub(super) fn check(&self) -> Result<(), String> {
        let within = |key: &str, value: f64, least: f64, most: f64| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(format!("{key} = {value}: must be from {least} to {most}"))
            }
        };
        let whole = |key: &str, value: usize, most: usize| {
            if (1..=most).contains(&value) {
                Ok(())
            } else {
                Err(format!("{key} = {value}: must be from 1 to {most}"))
            }
        };
        match self {
            Self::Validate(of) => within("max_faulty", of.max_faulty, 0.0, 1.0),
            Self::Hampel(of) => {
                whole("half", of.half, 64)?;
                within("k", of.k, 0.5, 100.0)
            }
            Self::Clock(of) => within("rate_hz", of.rate_hz, 0.1, 10_000.0),
            Self::Pca(of) => {
                whole("components", of.components, MOST_CHANNELS)?;
                whole("memory_rows", of.memory_rows, 1_000_000)?;
                whole("every_rows", of.every_rows, 100_000)
            }
            Self::Doppler(of) => {
                within("window_s", of.window_s, 0.001, 60.0)?;
                within("hop_s", of.hop_s, 0.001, 60.0)
            }
            Self::Window(of) => check_settings(&Settings {
                window_s: of.window_s,
                hop_s: of.hop_s,
                // Not of this stage: such that they are right for any window.
                max_gap_s: of.window_s,
                refresh_s: 86_400.0,
                ..Settings::default()
            }),
            Self::Decision(of) => check_settings(&Settings {
                window_s: 60.0,
                hop_s: 1.0,
                ..of.settings()
            }),
            Self::CsiRatio(of) | Self::ConjugateProduct(of) => {
                for (key, chain) in [("first", of.first), ("second", of.second)] {
                    if chain >= MOST_CHAINS {
                        return Err(format!(
                            "{key} = {chain}: must be from 0 to {}",
                            MOST_CHAINS - 1
                        ));
                    }
                }
                if of.first == of.second {
                    return Err(format!(
                        "first = second = {}: two receive chains are needed",
                        of.first
                    ));
                }
                Ok(())
            }
            Self::Select(of) => whole("count", of.count, 1024),
            Self::Speed(of) => match of.carrier_mhz {
                Some(carrier) => within("carrier_mhz", carrier, 100.0, 100_000.0),
                None => Ok(()),
            },
            Self::ChangePoints(of) => {
                within("slack", of.slack, 0.0, 100.0)?;
                within("limit", of.limit, 0.1, 10_000.0)?;
                within("time_constant_s", of.time_constant_s, 0.1, 1e6)?;
                within("floor", of.floor, 1e-6, 100.0)
            }
            // Bands are held against the rate of the clock before them.
            Self::LowPass(_)
            | Self::HighPass(_)
            | Self::BandPass(_)
            | Self::Gain(_)
            | Self::Phase(_)
            | Self::Motion(_)
            | Self::Breathing(_)
            | Self::Activity(_) => Ok(()),
        }
    }

    /// Checks what depends on the rate of the clock before it.
    pub(super) fn check_at(&self, rate_hz: f64) -> Result<(), String> {
        if let Some((order, band)) = self.band() {
            design(order, band, rate_hz).map_err(|error| error.to_string())?;
        }
        if let Self::Doppler(of) = self {
            Doppler::new(1, of.shape(rate_hz))
                .map_err(|error| format!("window_s = {}: {error}", of.window_s))?;
            if of.hop_s * rate_hz < 0.5 {
                return Err(format!(
                    "hop_s = {}: shorter than a tick at {rate_hz} Hz",
                    of.hop_s
                ));
            }
        }
        Ok(())
    }
}

/// The live service's check of the same values; there they stand in the section `motion`.
fn check_settings(settings: &Settings) -> Result<(), String> {
    settings
        .validate()
        .map_err(|problem| problem.replace("motion.", ""))
}
