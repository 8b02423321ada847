//! NATS JetStream as Fresnel uses it. The only crate that knows async-nats.
//!
//! SKELETON: the signatures below are the contract that the services are written against.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use events::EventEnvelope;
use serde::{Deserialize, Serialize};


/// A boxed future: the edges of this crate are not generic, so that no service pays for its own copy.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

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

/// What went wrong, and with what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Placeholder of the skeleton.
    #[error("{0}")]
    Other(String),
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
pub type Handler = Arc<dyn Fn(Delivery) -> BoxFuture<'static, Result<Vec<EventEnvelope>, Fault>> + Send + Sync>;

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

/// A connection to NATS, cheap to clone.
#[derive(Clone)]
pub struct Bus {}

#[allow(unused_variables, clippy::unimplemented, missing_docs, clippy::unused_async)]
impl Bus {
    /// Connects within `connect_timeout_s`.
    pub async fn connect(config: Config) -> Result<Self, Error> { unimplemented!() }
    /// Creates or updates all streams, buckets and stores of the table.
    pub async fn reconcile(&self) -> Result<(), Error> { unimplemented!() }
    /// Whether the connection is up now.
    pub fn is_connected(&self) -> bool { unimplemented!() }
    /// Publishes one event and awaits the ack. Nats-Msg-Id, traceparent and ce-* headers are set here.
    pub async fn publish(&self, event: &EventEnvelope) -> Result<Ack, Error> { unimplemented!() }
    /// Publishes events of one stream as one atomic batch.
    pub async fn publish_all(&self, events: &[EventEnvelope]) -> Result<Vec<Ack>, Error> { unimplemented!() }
    /// A pipelined publisher for hot paths: `in_flight` unacknowledged messages at most.
    pub fn pipeline(&self, in_flight: usize) -> Pipeline { unimplemented!() }
    /// Appends events to an aggregate that must still be at `expected`. `sequence_number`s are set here.
    pub async fn append(&self, aggregate: &Aggregate, expected: Version, events: Vec<EventEnvelope>) -> Result<Version, AppendError> { unimplemented!() }
    /// All events of an aggregate, oldest first, and its version.
    pub async fn load(&self, aggregate: &Aggregate) -> Result<(Vec<EventEnvelope>, Version), Error> { unimplemented!() }
    /// The events after `version`.
    pub async fn load_from_version(&self, aggregate: &Aggregate, version: Version) -> Result<(Vec<EventEnvelope>, Version), Error> { unimplemented!() }
    /// Runs a durable consumer until `stop` is cancelled, then finishes what is in hand.
    pub fn consume(&self, config: ConsumerConfig, handler: Handler, stop: tokio_util::sync::CancellationToken) -> BoxFuture<'static, Result<(), Error>> { unimplemented!() }
    /// Reads events without acks, in order, for ever: for live subscribers. Filters may span streams.
    pub async fn follow(&self, filters: &[String], from: From) -> Result<Follow, Error> { unimplemented!() }
    /// Reads the stored events that match, from a point until the newest of now (replay).
    pub async fn replay(&self, filter: &str, from: From) -> Result<Vec<Delivery>, Error> { unimplemented!() }
    /// Reads the data plane in order from the checkpoint kept under `name`; see [`Tail`].
    pub async fn tail(&self, name: &str, filters: &[String]) -> Result<Tail, Error> { unimplemented!() }
    /// The newest message on a subject filter of a stream, by direct get.
    pub async fn last(&self, subject: &str) -> Result<Option<DataMessage>, Error> { unimplemented!() }
    /// A KV bucket of the table.
    pub async fn kv(&self, bucket: &str) -> Result<Kv, Error> { unimplemented!() }
    /// An object store of the table (`recordings`, `models`).
    pub async fn objects(&self, store: &str) -> Result<Objects, Error> { unimplemented!() }
}

/// Publishes without waiting for each ack. Bounded: `publish` waits when `in_flight` acks are outstanding. A publish that
/// fails (after retries within `publish_timeout_s`) is reported by `failures`/`flush`, never swallowed.
#[derive(Clone)]
pub struct Pipeline {}

#[allow(unused_variables, clippy::unimplemented, missing_docs, clippy::unused_async)]
impl Pipeline {
    /// Queues an event.
    pub async fn publish(&self, event: &EventEnvelope) -> Result<(), Error> { unimplemented!() }
    /// Queues a data-plane message; `id` is its Nats-Msg-Id where given.
    pub async fn publish_data(&self, subject: String, payload: Bytes, id: Option<String>) -> Result<(), Error> { unimplemented!() }
    /// Waits until everything queued before is acked; the first failure since the last flush, if any.
    pub async fn flush(&self) -> Result<(), Error> { unimplemented!() }
    /// Messages acked so far, and failed so far.
    pub fn counts(&self) -> (u64, u64) { unimplemented!() }
    /// The failures since the last call (bounded; the rest counted).
    pub fn take_failures(&self) -> Vec<Error> { unimplemented!() }
}

/// A live, ordered, resumable reader of events.
pub struct Follow {}

#[allow(unused_variables, clippy::unimplemented, missing_docs, clippy::unused_async)]
impl Follow {
    /// The next event; waits for ever.
    pub async fn next(&mut self) -> Result<Delivery, Error> { unimplemented!() }
}

/// An ordered reader of the data plane whose position is kept in KV (`checkpoints`), so that after a crash it starts again
/// at the first message that its windows still need. What follows from the messages must have ids derived from them: the
/// repeated outputs are then stored once.
pub struct Tail {}

#[allow(unused_variables, clippy::unimplemented, missing_docs, clippy::unused_async)]
impl Tail {
    /// The next messages in order, at least one, at most `max`.
    pub async fn next_batch(&mut self, max: usize) -> Result<Vec<DataMessage>, Error> { unimplemented!() }
    /// Everything up to and including `sequence` is no longer needed. Written at most every 100 ms, and on `close`.
    pub async fn checkpoint(&mut self, sequence: u64) -> Result<(), Error> { unimplemented!() }
    /// Writes the checkpoint and closes.
    pub async fn close(self) -> Result<(), Error> { unimplemented!() }
}

/// A KV bucket with revisions for compare-and-set.
#[derive(Clone)]
pub struct Kv {}

#[allow(unused_variables, clippy::unimplemented, missing_docs, clippy::unused_async)]
impl Kv {
    /// Value and revision.
    pub async fn get(&self, key: &str) -> Result<Option<(Bytes, u64)>, Error> { unimplemented!() }
    /// Sets, whatever was there.
    pub async fn put(&self, key: &str, value: Bytes) -> Result<u64, Error> { unimplemented!() }
    /// Sets only over `revision` (0: only where absent); None on a conflict.
    pub async fn update(&self, key: &str, value: Bytes, revision: u64) -> Result<Option<u64>, Error> { unimplemented!() }
    /// Removes.
    pub async fn delete(&self, key: &str) -> Result<(), Error> { unimplemented!() }
    /// All keys.
    pub async fn keys(&self) -> Result<Vec<String>, Error> { unimplemented!() }
}

/// An object store.
#[derive(Clone)]
pub struct Objects {}

#[allow(unused_variables, clippy::unimplemented, missing_docs, clippy::unused_async)]
impl Objects {
    /// Stores (overwrites) an object.
    pub async fn put(&self, name: &str, data: Bytes) -> Result<(), Error> { unimplemented!() }
    /// Reads an object whole.
    pub async fn get(&self, name: &str) -> Result<Option<Bytes>, Error> { unimplemented!() }
    /// Whether it is there, and its size.
    pub async fn size(&self, name: &str) -> Result<Option<u64>, Error> { unimplemented!() }
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
    match (event.metadata.data_source, event.correlation_id) {
        (Some(events::DataSource::Replay), Some(run)) => format!("{}.{}", event.id, run.simple()),
        _ => event.id.to_string(),
    }
}
