//! What can go wrong on the way to and from NATS.

/// What went wrong, and with what. Cloneable, so that one failure can be reported both where it is awaited and where it is
/// collected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A number of the configuration that makes no sense.
    #[error("nats.{field} is {value}; a number above 0 is needed, at most a million")]
    Config {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
    },
    /// The server could not be reached at start.
    #[error("NATS at {url} was not reached within {waited_s:.1} s: {reason}")]
    Connect {
        /// Address, without user and password.
        url: String,
        /// Seconds waited.
        waited_s: f64,
        /// The last failure.
        reason: String,
    },
    /// The server refuses who we are; trying again would not help.
    #[error("NATS at {url} refuses the connection: {reason}")]
    Login {
        /// Address, without user and password.
        url: String,
        /// What the server said.
        reason: String,
    },
    /// The time allowed ran out, reconnects and retries included.
    #[error("{what}: given up after {waited_s:.1} s: {reason}")]
    Timeout {
        /// What was waited for, e.g. `publish pose.motion_detected.kitchen`.
        what: String,
        /// Seconds waited.
        waited_s: f64,
        /// The last failure.
        reason: String,
    },
    /// The server answered, and the answer is no.
    #[error("{what}: refused: {reason}")]
    Refused {
        /// What was asked for.
        what: String,
        /// What the server said.
        reason: String,
    },
    /// An event that cannot be written as JSON.
    #[error("{what}: not writable as JSON: {reason}")]
    Encode {
        /// The event.
        what: String,
        /// What serde said.
        reason: String,
    },
    /// A stored value that cannot be read.
    #[error("{what}: not readable: {reason}")]
    Decode {
        /// Where it lies.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A subject that cannot be published to.
    #[error("subject {subject:?}: {reason}")]
    Subject {
        /// The subject.
        subject: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A subject filter that cannot be served.
    #[error("filter {filter:?}: {reason}")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An offset that was not made by [`Follow::offset`](crate::Follow::offset).
    #[error("offset {offset:?}: {reason}")]
    Offset {
        /// The offset.
        offset: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Events of one atomic batch that lie in different streams.
    #[error(
        "a batch lies in one stream, but {first} is in {first_stream} and {second} in {second_stream}"
    )]
    SeveralStreams {
        /// A subject.
        first: String,
        /// Its stream.
        first_stream: String,
        /// Another subject.
        second: String,
        /// Its stream.
        second_stream: String,
    },
    /// A name that the table does not have.
    #[error("there is no {kind} {name:?}; the table has {known}")]
    Unknown {
        /// `stream`, `bucket` or `object store`.
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A stream, bucket or store that differs from the table in a way that the server cannot change.
    #[error("{name} cannot be brought to the table's form: {reason}")]
    Reconcile {
        /// The stream.
        name: String,
        /// What differs, and what to do.
        reason: String,
    },
    /// A durable consumer's configuration that makes no sense.
    #[error("consumer {durable:?}: {reason}")]
    Consumer {
        /// Durable name.
        durable: String,
        /// What is wrong.
        reason: String,
    },
    /// The task behind a handle has ended.
    #[error("{what} is closed")]
    Closed {
        /// Which handle.
        what: String,
    },
}

/// Why one attempt at something did not succeed.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// Trying again may help.
    Transient(String),
    /// It will not.
    Fatal(Error),
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}
