//! Why a subscription could not be opened, or ended other than by its client.

use crate::filter::FilterError;

/// What went wrong. One place decides its gRPC status and its WebSocket close code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filters are wrong.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Another value of the request is wrong.
    #[error("{field}: {problem}")]
    Invalid {
        /// Field of the request.
        field: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// As many subscriptions as there may be.
    #[error("all {most} subscriptions are taken; try again later")]
    TooMany {
        /// The limit.
        most: usize,
    },
    /// The client did not take its events in time.
    #[error(
        "the client took no event for {seconds} s and was cut off; resume with the last offset received"
    )]
    SlowClient {
        /// The limit, in seconds.
        seconds: f64,
    },
    /// The service is stopping.
    #[error("the server is going away; reconnect with the last offset received")]
    GoingAway,
    /// Events cannot be read or written now.
    #[error("events are not available now: {0}")]
    Bus(String),
}

impl Error {
    /// A stable name for programs: `reason` of google.rpc.ErrorInfo, `code` of a WebSocket error message.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Filter(_) => "INVALID_FILTER",
            Self::Invalid { .. } => "INVALID_REQUEST",
            Self::TooMany { .. } => "TOO_MANY_SUBSCRIPTIONS",
            Self::SlowClient { .. } => "SLOW_CLIENT",
            Self::GoingAway => "SERVER_SHUTDOWN",
            Self::Bus(_) => "EVENTS_UNAVAILABLE",
        }
    }

    /// The field of the request at fault, where one is.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Filter(FilterError::MinConfidence { .. }) => Some("min_confidence"),
            Self::Filter(_) => Some("subjects"),
            Self::Invalid { field, .. } => Some(field),
            _ => None,
        }
    }

    /// Close code of RFC 6455, section 7.4.1, and of the IANA registry.
    #[must_use]
    pub fn close_code(&self) -> u16 {
        match self {
            Self::Filter(_) | Self::Invalid { .. } => 1008,
            Self::GoingAway => 1001,
            Self::Bus(_) => 1011,
            Self::TooMany { .. } | Self::SlowClient { .. } => 1013,
        }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        if let Some(field) = error.field() {
            return runtime::invalid_argument(field, error.to_string());
        }
        let code = match error {
            Error::TooMany { .. } | Error::SlowClient { .. } => tonic::Code::ResourceExhausted,
            _ => tonic::Code::Unavailable,
        };
        runtime::refuse(code, error.reason(), error.to_string())
    }
}
