//! What can go wrong.

use bus::{AppendError, Fault};
use events::AlertId;
use tonic::{Code, Status};

use crate::alert::Refusal;

/// An error of a command or of the handling of an event.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bus refused, or could not be reached.
    #[error("the message bus failed")]
    Bus(#[from] bus::Error),
    /// Others changed the alert again and again.
    #[error("alert {0} is being changed by others")]
    Busy(AlertId),
    /// There is no such alert.
    #[error("there is no alert {0}")]
    NotFound(AlertId),
    /// The alert is not in a state for that.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An event cannot be written.
    #[error("the event cannot be written")]
    Write(#[from] serde_json::Error),
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Bus(error) => Self::Bus(error),
            AppendError::Conflict { key, .. } => {
                Self::Busy(AlertId(key.parse().unwrap_or_default()))
            }
        }
    }
}

impl Error {
    /// What the consumer does about it.
    pub(crate) fn fault(self) -> Fault {
        match self {
            Self::Write(_) => Fault::Reject(chain(&self)),
            _ => Fault::Retry(chain(&self)),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match &error {
            Error::Bus(_) => {
                tracing::warn!(error = chain(&error), "request failed");
                runtime::refuse(Code::Unavailable, "BUS_UNAVAILABLE", text)
            }
            Error::Busy(_) => runtime::refuse(Code::Aborted, "ALERT_CHANGED", text),
            Error::NotFound(_) => runtime::refuse(Code::NotFound, "ALERT_NOT_FOUND", text),
            Error::Refused(Refusal::Resolved(_)) => {
                runtime::refuse(Code::FailedPrecondition, "ALERT_RESOLVED", text)
            }
            Error::Refused(Refusal::Acknowledged { .. }) => {
                runtime::refuse(Code::FailedPrecondition, "ALERT_ACKNOWLEDGED", text)
            }
            Error::Write(_) => {
                tracing::error!(error = chain(&error), "request failed");
                runtime::refuse(Code::Internal, "EVENT_UNWRITABLE", text)
            }
        }
    }
}

/// An error with its sources.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
