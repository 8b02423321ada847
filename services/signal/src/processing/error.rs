//! What can go wrong with pipelines and their runs.

use super::stage::Misfit;

/// An error of a command, or of a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bus refused or could not be reached.
    #[error("the message bus failed")]
    Bus(#[from] bus::Error),
    /// A field's value is not acceptable.
    #[error("{field}: {problem}")]
    Invalid {
        /// Field of the request.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The stages do not fit.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// There is none of that name.
    #[error("there is no {kind} {name:?}")]
    NotFound {
        /// pipeline, processing, recording.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The name is taken.
    #[error("{kind} {name:?} is there already")]
    Taken {
        /// pipeline or processing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The etag is not the current one, or others changed it repeatedly at the same time.
    #[error("{name:?} was changed by somebody else (etag {etag:?} is not current)")]
    Changed {
        /// The pipeline or run.
        name: String,
        /// The etag that was given.
        etag: String,
    },
    /// Not in the state that this needs.
    #[error("{what}")]
    State {
        /// UPPER_SNAKE_CASE.
        reason: &'static str,
        /// What it is and what it should be.
        what: String,
    },
    /// Too many runs wait.
    #[error("{waiting} runs wait or work already; {limit} may (processing.max_queued)")]
    Queue {
        /// How many do.
        waiting: usize,
        /// How many may.
        limit: usize,
    },
    /// An event could not be written as JSON.
    #[error("an event could not be encoded")]
    Encode(#[from] serde_json::Error),
}

impl Error {
    /// A wrong value of a field.
    pub fn invalid(field: &str, problem: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.to_owned(),
            problem: problem.into(),
        }
    }
}

/// The error and what led to it, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
