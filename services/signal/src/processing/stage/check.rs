//! Whether a list of stages fits together, and why it does not.

use super::{Kind, MOST_STAGES, Stage, Type};

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
