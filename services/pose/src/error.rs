//! What can go wrong while windows are handled.

/// An event that could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bus refused or could not be reached.
    #[error("the message bus failed")]
    Bus(#[from] bus::Error),
    /// An event could not be written as JSON.
    #[error("an event could not be encoded")]
    Encode(#[from] serde_json::Error),
    /// Other writers were faster, again and again.
    #[error("zone {zone} was changed by another writer {times} times in a row")]
    Contended {
        /// The zone.
        zone: String,
        /// Attempts.
        times: u32,
    },
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
