//! NATS JetStream as Fresnel uses it. The only crate that knows async-nats.
//!
//! [`table`] says which streams, buckets and object stores there are. [`Bus`] is a connection: it publishes events
//! ([`Bus::publish`], [`Bus::publish_all`], [`Bus::pipeline`]), keeps aggregates ([`Bus::append`], [`Bus::load`]), runs durable
//! consumers ([`Bus::consume`]), reads live ([`Bus::follow`]), past ([`Bus::replay`]) and bulk data ([`Bus::tail`]), and shares
//! partitions among processes ([`Bus::claims`]).
//! [`server`] runs a nats-server as a child.
//!
//! Whatever is asked of the server is tried again, over reconnects, within `publish_timeout_s`, and then fails with an error
//! that says what was waited for. Readers and consumers wait for ever and resume where they were. `Nats-Msg-Id` makes a
//! repeated publish one message, for two minutes.

mod batch;
pub mod calibration;
mod claims;
mod connect;
mod consume;
mod deadletter;
mod direct;
mod durable;
mod error;
mod follow;
mod headers;
mod kv;
mod lanes;
mod live;
mod objects;
mod ordered;
mod pipeline;
mod publish;
mod reconcile;
pub mod server;
mod store;
pub mod subject;
pub mod table;
mod tail;
mod tap;
mod trace;
mod types;

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;

use events::EventEnvelope;

pub use claims::{Claim, Claims};
pub use deadletter::DeadLetter;
pub use error::Error;
pub use follow::Follow;
pub use kv::Kv;
pub use live::Live;
pub use objects::Objects;
pub use pipeline::Pipeline;
pub use publish::{DataSubject, Message};
pub use tail::Tail;
pub use tap::Tap;
pub use types::{
    Ack, Aggregate, AppendError, Config, ConsumerConfig, DataMessage, Delivery, EventSourced,
    Fault, From, Handler, Version, message_id,
};

/// A boxed future: the edges of this crate are not generic, so that no service pays for its own copy.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A connection to NATS, cheap to clone.
#[derive(Clone)]
pub struct Bus {
    core: connect::Core,
    _life: Arc<connect::Life>,
}

impl Bus {
    /// Connects within `connect_timeout_s`.
    ///
    /// # Errors
    /// Where nobody answers in time, or the server refuses who we are.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        let (core, life) = connect::connect(config).await?;
        Ok(Self {
            core,
            _life: Arc::new(life),
        })
    }

    /// Creates or updates all streams, buckets and stores of the table. After a reconnect this is done again by itself.
    ///
    /// # Errors
    /// Where something differs in a way that the server cannot change, or there is no room for it.
    pub async fn reconcile(&self) -> Result<(), Error> {
        reconcile::reconcile(&self.core).await
    }

    /// Whether the connection is up now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.core.is_connected()
    }

    /// A round trip on this connection: what was sent and subscribed before is known to the server afterwards.
    ///
    /// # Errors
    /// Where the server does not answer in time.
    pub async fn barrier(&self) -> Result<(), Error> {
        self.core.barrier().await
    }

    /// Publishes one event and awaits the ack. Nats-Msg-Id, traceparent and ce-* headers are set here. A duplicate is a
    /// success.
    ///
    /// # Errors
    /// Where no stream takes its subject, or no ack came in time.
    pub async fn publish(&self, event: &EventEnvelope) -> Result<Ack, Error> {
        self.core.publish(&publish::Outgoing::event(event)?).await
    }

    /// Publishes events of one stream as one atomic batch, of at most 1,000. About 10 ms on file storage. Where some of them
    /// are stored already, the others are added one by one.
    ///
    /// # Errors
    /// Where they are of several streams, or no ack came in time: then either all are stored or none is.
    pub async fn publish_all(&self, events: &[EventEnvelope]) -> Result<Vec<Ack>, Error> {
        self.core.publish_all(events).await
    }

    /// A pipelined publisher for hot paths: `in_flight` unacknowledged messages at most.
    #[must_use]
    pub fn pipeline(&self, in_flight: usize) -> Pipeline {
        Pipeline::new(self.core.clone(), in_flight)
    }

    /// Appends events to an aggregate that must still be at `expected`. `sequence_number`s are set here. The same events
    /// appended again (after an error that left the outcome open) are a success.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] where another writer appended first.
    pub async fn append(
        &self,
        aggregate: &Aggregate,
        expected: Version,
        events: Vec<EventEnvelope>,
    ) -> Result<Version, AppendError> {
        self.core.append(aggregate, expected, events).await
    }

    /// All events of an aggregate, oldest first, and its version.
    ///
    /// # Errors
    /// Where an event cannot be read, or the server not be reached.
    pub async fn load(
        &self,
        aggregate: &Aggregate,
    ) -> Result<(Vec<EventEnvelope>, Version), Error> {
        self.core
            .load_from_version(aggregate, Version::default())
            .await
    }

    /// The events after `version`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn load_from_version(
        &self,
        aggregate: &Aggregate,
        version: Version,
    ) -> Result<(Vec<EventEnvelope>, Version), Error> {
        self.core.load_from_version(aggregate, version).await
    }

    /// Runs a durable consumer until `stop` is cancelled, then finishes what is in hand.
    ///
    /// # Errors
    /// Where the configuration makes no sense, or the consumer cannot be made at first. Later outages are waited out.
    pub fn consume(
        &self,
        config: ConsumerConfig,
        handler: Handler,
        stop: tokio_util::sync::CancellationToken,
    ) -> BoxFuture<'static, Result<(), Error>> {
        let bus = self.clone();
        Box::pin(async move { consume::consume(bus.core.clone(), config, handler, stop).await })
    }

    /// Reads events without acks, in order, for ever: for live subscribers. Filters may span streams; a bare event type means
    /// all its keys, `>` all event streams.
    ///
    /// # Errors
    /// Where no stream serves a filter, or [`From::After`] is asked of several.
    pub async fn follow(&self, filters: &[String], from: From) -> Result<Follow, Error> {
        Follow::open(&self.core, filters, from).await
    }

    /// Goes on where a follower stood when it gave [`offset`](Follow::offset). Streams that it did not follow begin now.
    ///
    /// # Errors
    /// Where the offset is malformed, or no stream serves a filter.
    pub async fn follow_from_offset(
        &self,
        filters: &[String],
        offset: &str,
    ) -> Result<Follow, Error> {
        Follow::resume(&self.core, filters, offset).await
    }

    /// Reads the stored events that match, from a point until the newest of now (replay); stream by stream, oldest first.
    ///
    /// # Errors
    /// Where no stream serves the filter, or [`From::After`] is asked of several.
    pub async fn replay(&self, filter: &str, from: From) -> Result<Vec<Delivery>, Error> {
        let mut events = Vec::new();
        let mut take = |delivery| {
            events.push(delivery);
            ControlFlow::Continue(())
        };
        self.core.replay(filter, from, &mut take).await?;
        Ok(events)
    }

    /// The same, one by one, for what may not fit into memory; the sink may break it off.
    ///
    /// # Errors
    /// As [`replay`](Self::replay).
    pub async fn replay_each(
        &self,
        filter: &str,
        from: From,
        sink: &mut (dyn FnMut(Delivery) -> ControlFlow<()> + Send),
    ) -> Result<(), Error> {
        self.core.replay(filter, from, sink).await
    }

    /// Reads the data plane in order from the checkpoint kept under `name`; see [`Tail`].
    ///
    /// # Errors
    /// Where the filters are not of one stream, or the server cannot be reached.
    pub async fn tail(&self, name: &str, filters: &[String]) -> Result<Tail, Error> {
        Tail::open(&self.core, name, filters).await
    }

    /// Reads the data plane in order from now on, without a checkpoint; see [`Tap`].
    ///
    /// # Errors
    /// Where the filters are not of one stream, or the server cannot be reached.
    pub async fn tap(&self, filters: &[String]) -> Result<Tap, Error> {
        Tap::open(&self.core, filters).await
    }

    /// Reads what is stored of the data plane on a filter, from a point until the newest of now, oldest first. The sink may
    /// break it off.
    ///
    /// # Errors
    /// Where the filter is not of one stream, or the server cannot be reached.
    pub async fn read_each(
        &self,
        filter: &str,
        from: From,
        sink: &mut (dyn FnMut(DataMessage) -> ControlFlow<()> + Send),
    ) -> Result<(), Error> {
        self.core.read_data(filter, from, sink).await
    }

    /// The newest message on a subject filter, by direct get.
    ///
    /// # Errors
    /// Where no stream serves the filter, or the server cannot be reached.
    pub async fn last(&self, subject: &str) -> Result<Option<DataMessage>, Error> {
        self.core.last(subject).await
    }

    /// The dead letters of one consumer, or of all, after a sequence of their stream; oldest first, at most `limit`.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn dead_letters(
        &self,
        consumer: Option<&str>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Error> {
        self.core.dead_letters(consumer, after, limit).await
    }

    /// A part in sharing the partitions of the data plane among the processes that claim under `group`; see [`Claims`].
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn claims(&self, group: &str) -> Result<Claims, Error> {
        Claims::open(&self.core, group).await
    }

    /// Says something to the processes that [listen](Self::listen) to the topic now. Nothing is stored.
    ///
    /// # Errors
    /// Where the topic cannot be part of a subject, or the connection is closed.
    pub async fn say(&self, topic: &str, payload: bytes::Bytes) -> Result<(), Error> {
        live::say(&self.core, topic, payload).await
    }

    /// Hears what other processes, and this one, [say](Self::say) on a topic from now on.
    ///
    /// # Errors
    /// As [`say`](Self::say).
    pub async fn listen(&self, topic: &str) -> Result<Live, Error> {
        Live::open(&self.core, topic).await
    }

    /// A KV bucket of the table.
    ///
    /// # Errors
    /// Where the table has none of that name, or the server cannot be reached.
    pub async fn kv(&self, bucket: &str) -> Result<Kv, Error> {
        Kv::open(&self.core, bucket).await
    }

    /// An object store of the table (`recordings`, `models`).
    ///
    /// # Errors
    /// Where the table has none of that name, or the server cannot be reached.
    pub async fn objects(&self, store: &str) -> Result<Objects, Error> {
        Objects::open(&self.core, store).await
    }
}
