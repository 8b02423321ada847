//! The work of each type of stage.
//!
//! A stage keeps what it needs of the past, so that the borders of chunks do not show in what it gives; and it can put that
//! into a checkpoint and take it up again, to the last bit.

mod activity;
mod breathing;
mod butterworth;
mod chains;
mod change_points;
mod clock;
mod decision;
mod doppler;
mod error;
mod gain;
mod hampel;
mod motion;
mod pca;
mod phase;
mod select;
mod speed;
mod validate;
mod window;

use dsp::butterworth::Band;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::batch::{Batch, Links};
use super::stage::{Stage, Type, rate_hz};

pub use error::StageError;

/// One stage at work.
pub trait Work: Send {
    /// Takes what the stage before gave.
    ///
    /// # Errors
    /// Where the stage gives up: the run has failed.
    fn push(&mut self, batch: Batch, links: &mut Links) -> Result<Batch, StageError>;

    /// The input is over: what was held back. None where nothing ever is.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    fn finish(&mut self, _links: &mut Links) -> Result<Option<Batch>, StageError> {
        Ok(None)
    }

    /// So many places before the next batch are no frame.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    fn malformed(&mut self, _places: u64) -> Result<(), StageError> {
        Ok(())
    }

    /// What is to be kept.
    ///
    /// # Errors
    /// None that a state can cause.
    fn save(&self) -> Result<Vec<u8>, StateError> {
        Ok(Vec::new())
    }

    /// Takes up what was kept.
    ///
    /// # Errors
    /// Where it is not what `save` gave.
    fn restore(&mut self, _state: &[u8], _links: &Links) -> Result<(), StateError> {
        Ok(())
    }
}

/// A stage's state that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("the state of a stage is not readable")]
pub struct StateError(#[from] postcard::Error);

impl StateError {
    /// It was read, and is of another stage.
    fn other() -> Self {
        Self(postcard::Error::DeserializeBadEncoding)
    }
}

fn write<T: Serialize>(state: &T) -> Result<Vec<u8>, StateError> {
    Ok(postcard::to_allocvec(state)?)
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateError> {
    Ok(postcard::from_bytes(bytes)?)
}

/// The work of each of these stages, which were checked before.
#[must_use]
pub fn build(stages: &[Stage]) -> Vec<Box<dyn Work>> {
    // What later stages go back to is kept only where there is one that does.
    let powers = stages
        .iter()
        .any(|stage| matches!(stage.does, Type::Activity(_)));
    let fresh = stages
        .iter()
        .any(|stage| matches!(stage.does, Type::Breathing(_)));
    let rate = |place: usize| rate_hz(stages, place).unwrap_or_default();
    let one = |(place, stage): (usize, &Stage)| -> Box<dyn Work> {
        match &stage.does {
            Type::Validate(of) => Box::new(validate::Order::new(of)),
            Type::Gain(_) => Box::new(gain::Gain::default()),
            Type::Hampel(of) => Box::new(hampel::Hampel::new(of)),
            Type::Clock(of) => Box::new(clock::Clock::new(of)),
            Type::LowPass(_) | Type::HighPass(_) | Type::BandPass(_) => {
                // A band of order 0 is not possible, and would let all through.
                let band = stage.does.band().unwrap_or((0, Band::Low(0.0)));
                Box::new(butterworth::Butterworth::new(band, rate(place)))
            }
            Type::Pca(of) => Box::new(pca::Components::new(of)),
            Type::Doppler(of) => Box::new(doppler::Spectra::new(of.shape(rate(place)))),
            Type::Phase(of) => Box::new(phase::Phase::new(of)),
            Type::CsiRatio(of) => Box::new(chains::Chains::new(of, chains::Form::Ratio)),
            Type::ConjugateProduct(of) => Box::new(chains::Chains::new(of, chains::Form::Product)),
            Type::Select(of) => Box::new(select::Select::new(of)),
            Type::Speed(of) => Box::new(speed::Speed::new(of)),
            Type::ChangePoints(of) => Box::new(change_points::ChangePoints::new(of)),
            Type::Window(of) => Box::new(window::Windows::new(of, powers, fresh)),
            Type::Motion(_) => Box::new(motion::Statistic::default()),
            Type::Decision(of) => Box::new(decision::Decision::new(of)),
            Type::Breathing(_) => {
                let mut before = stages.iter().take(place).rev().map(|stage| &stage.does);
                let window = before.find_map(|does| match does {
                    Type::Window(window) => Some(window.clone()),
                    _ => None,
                });
                Box::new(breathing::Breathing::new(&window.unwrap_or_default()))
            }
            Type::Activity(_) => Box::new(activity::Activity),
        }
    };
    stages.iter().enumerate().map(one).collect()
}
