//! What the bus takes and gives.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use events::{DataSource, EventEnvelope};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{BoxFuture, Error};

/// How to reach NATS, and how long to wait for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `nats://host:port`, several separated by commas.
    pub url: String,
    /// Client name shown in the server's monitoring; the runtime sets it to service/instance.
    pub name: String,
    /// User and password (password may come from a file through the runtime's `*_FILE`).
    pub user: Option<String>,
    /// See `user`.
    pub password: Option<String>,
    /// Token, where the server asks for one.
    pub token: Option<String>,
    /// Seconds to reach the server at start.
    pub connect_timeout_s: f64,
    /// Seconds that a publish may take, reconnects included.
    pub publish_timeout_s: f64,
    /// Factor on the sizes of all streams (1.0: as in the table; 0.1 for a small disk).
    pub storage_scale: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".into(),
            name: String::new(),
            user: None,
            password: None,
            token: None,
            connect_timeout_s: 10.0,
            publish_timeout_s: 10.0,
            storage_scale: 1.0,
        }
    }
}

/// Where a message was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Stream.
    pub stream: String,
    /// Sequence in the stream.
    pub sequence: u64,
    /// The server had it already (same `Nats-Msg-Id` within its window): success.
    pub duplicate: bool,
}

/// The version of an aggregate as it was loaded: give it back to `append`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Number of the aggregate's last event (`sequence_number`), 0 where there is none.
    pub number: u64,
    /// Last sequence of the stream among the aggregate's subjects, 0 where there is none.
    pub stream_sequence: u64,
}

/// `{context}.*.{key}`: where the events of one aggregate lie.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Aggregate {
    /// First subject token, e.g. `hardware`.
    pub context: String,
    /// Third subject token, e.g. the device name.
    pub key: String,
}

/// Why an append did not happen.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended first: load again, decide again.
    #[error("{context}.*.{key} is past version {expected}: another writer appended first")]
    Conflict {
        /// Context of the aggregate.
        context: String,
        /// Key of the aggregate.
        key: String,
        /// Version that the caller expected.
        expected: u64,
    },
    /// Anything else.
    #[error(transparent)]
    Bus(#[from] Error),
}

/// A message as a consumer sees it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// `{event_type}.{key}`.
    pub subject: String,
    /// Stream that it lies in.
    pub stream: String,
    /// Sequence in the stream.
    pub stream_sequence: u64,
    /// 1 for the first delivery.
    pub attempt: u64,
    /// Time at which the server stored it, microseconds since the Unix epoch.
    pub stored_us: i64,
    /// The event, upgraded to the newest version that we know.
    pub event: EventEnvelope,
}

/// Why a handler did not handle a message.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Try again later: delayed nak with back-off.
    #[error("{0}")]
    Retry(String),
    /// Never will: dead letter, and term.
    #[error("{0}")]
    Reject(String),
}

/// A durable consumer.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// Durable name; also the last token of its dead letters' subject.
    pub durable: String,
    /// Subject filters, all of one stream, e.g. `pose.*.*`; a bare event_type means `{event_type}.*`.
    pub filters: Vec<String>,
    /// Keys handled at once.
    pub concurrency: usize,
    /// Without an ack for so long (in-progress acks count), the server delivers again.
    pub ack_wait: Duration,
    /// After so many deliveries the message becomes a dead letter.
    pub max_deliver: u64,
    /// Start with events that are stored from now on, not with the oldest kept.
    pub from_now: bool,
}

/// Handles one event: the events that follow are published, then the message is acked.
pub type Handler =
    Arc<dyn Fn(Delivery) -> BoxFuture<'static, Result<Vec<EventEnvelope>, Fault>> + Send + Sync>;

/// Where a reader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// What is stored from now on.
    New,
    /// The oldest kept.
    Start,
    /// After this sequence of the stream.
    After(u64),
    /// At this time of storing, microseconds since the Unix epoch.
    Time(i64),
}

/// A raw message of the data plane.
#[derive(Clone, Debug)]
pub struct DataMessage {
    /// `data.csi.{zone}.{device}`, say.
    pub subject: String,
    /// Sequence in the stream.
    pub sequence: u64,
    /// Protobuf.
    pub payload: Bytes,
    /// W3C `traceparent`, where the publisher sent one.
    pub traceparent: Option<String>,
}

/// An aggregate whose state is rebuilt from its events.
pub trait EventSourced: Default {
    /// Applies one event; what it does not know it ignores.
    fn apply(&mut self, event: &EventEnvelope);
    /// The state after `events`.
    fn replay<'a>(events: impl IntoIterator<Item = &'a EventEnvelope>) -> Self {
        let mut state = Self::default();
        for event in events {
            state.apply(event);
        }
        state
    }
}

/// The `Nats-Msg-Id` of an event: its id; for replayed data, which may be replayed again, the id within its run.
#[must_use]
pub fn message_id(event: &EventEnvelope) -> String {
    id_in_run(event.id, event.metadata.data_source, event.correlation_id)
}

/// The same of its parts.
pub(crate) fn id_in_run(id: Uuid, source: Option<DataSource>, run: Option<Uuid>) -> String {
    match (source, run) {
        (Some(DataSource::Replay | DataSource::Simulated), Some(run)) => {
            format!("{id}.{}", run.simple())
        }
        _ => id.to_string(),
    }
}
