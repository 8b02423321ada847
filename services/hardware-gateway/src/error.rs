//! What can go wrong in the gateway.

use events::NameError;
use tonic::{Code, Status};

/// An error of a command or a replay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bus refused or could not be reached.
    #[error("the message bus failed")]
    Bus(#[from] bus::Error),
    /// Not a DNS label.
    #[error("{field}: {source}")]
    Name {
        /// Field of the request.
        field: &'static str,
        /// What is wrong.
        source: NameError,
    },
    /// A field's value is not acceptable.
    #[error("{field}: {problem}")]
    Invalid {
        /// Field of the request.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// There is none of that name.
    #[error("there is no {kind} {name:?}")]
    NotFound {
        /// device, recording, replay.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The name or the hardware id is taken.
    #[error("{what} {name:?} is already registered{by}")]
    Taken {
        /// device name or hardware id.
        what: &'static str,
        /// Its value.
        name: String,
        /// ` as device "x"`, or nothing.
        by: String,
    },
    /// The etag is not the current one, or somebody else changed the device at the same time, repeatedly.
    #[error("{kind} {name:?} was changed by somebody else (etag {etag:?} is not current)")]
    Changed {
        /// device or zone.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The etag that was given.
        etag: String,
    },
    /// The state of things does not allow it.
    #[error("{problem}")]
    Refused {
        /// UPPER_SNAKE_CASE.
        reason: &'static str,
        /// What stands against it, and what to do first.
        problem: String,
    },
    /// The device is being calibrated.
    #[error(
        "device {device:?} is being calibrated; wait for the end of that operation, or cancel it"
    )]
    Calibrating {
        /// The device.
        device: String,
    },
    /// The calibration is in use.
    #[error(
        "version {version} of {device:?} is in use; put another one into use first, or force it"
    )]
    InUse {
        /// The device.
        device: String,
        /// The version.
        version: u32,
    },
    /// The operation could not be begun.
    #[error(transparent)]
    Workflow(#[from] runtime::WorkflowError),
    /// The recording cannot be read.
    #[error("recording {recording}: {source}")]
    Recording {
        /// Name or id.
        recording: String,
        /// What is wrong.
        source: csi::read::Error,
    },
    /// A file of ours.
    #[error("cannot {verb} {path}")]
    Disk {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of ours, wherever it lies.
    #[error("a recording's file failed")]
    Io(#[from] std::io::Error),
    /// A recording cannot be written.
    #[error("a recording cannot be written")]
    Write(#[from] csi::mcap::WriteError),
    /// It cannot be done as things stand.
    #[error("{problem}")]
    NotNow {
        /// Why.
        problem: String,
    },
    /// An event could not be written as JSON.
    #[error("an event could not be encoded")]
    Encode(#[from] serde_json::Error),
}

impl Error {
    /// A fault of our own disk.
    pub(crate) fn disk(verb: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Disk {
            verb,
            path: path.display().to_string(),
            source,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = chain(&error);
        match &error {
            Error::Name { field, .. } | Error::Invalid { field, .. } => {
                runtime::invalid_argument(field, message)
            }
            Error::NotFound { kind, .. } => runtime::refuse(
                Code::NotFound,
                &format!("{}_NOT_FOUND", kind.to_uppercase()),
                message,
            ),
            Error::Taken { .. } => {
                runtime::refuse(Code::AlreadyExists, "ALREADY_REGISTERED", message)
            }
            Error::Changed { .. } => runtime::refuse(Code::Aborted, "ETAG_MISMATCH", message),
            Error::Refused { reason, .. } => {
                runtime::refuse(Code::FailedPrecondition, reason, message)
            }
            Error::Calibrating { .. } => {
                runtime::refuse(Code::AlreadyExists, "CALIBRATION_RUNNING", message)
            }
            Error::InUse { .. } => {
                runtime::refuse(Code::FailedPrecondition, "CALIBRATION_IN_USE", message)
            }
            Error::Workflow(_) => runtime::refuse(Code::Unavailable, "OPERATION", message),
            Error::Recording { .. } => runtime::invalid_argument("recording", message),
            Error::Bus(_) => runtime::refuse(Code::Unavailable, "BUS_UNAVAILABLE", message),
            Error::Disk { .. } | Error::Io(_) | Error::Write(_) => {
                runtime::refuse(Code::Internal, "DISK", message)
            }
            Error::NotNow { .. } => runtime::refuse(Code::FailedPrecondition, "NOT_NOW", message),
            Error::Encode(_) => runtime::refuse(Code::Internal, "ENCODING", message),
        }
    }
}

/// The error and what led to it, on one line.
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
