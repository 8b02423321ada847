//! Reading one stream in order, without acks and without end.
//!
//! A short-lived consumer on the server feeds the reader. Where a message is missing, the server restarted, or the consumer
//! is gone, the reader makes another one behind the last message it gave out. A stream that was made anew in the meantime
//! (a memory stream, after a restart of the server) is read from its start.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tracing::{debug, info};

use crate::connect::{Core, Link, chain, reconnected};
use crate::direct::nanos;
use crate::error::Attempt;
use crate::subject::Selection;
use crate::{Error, From};

/// Messages to a pull request.
const BATCH: usize = 500;
/// The server forgets the consumer of a reader that went away after this time.
const INACTIVE: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Where in the stream the reader stands.
#[derive(Clone, Copy, Debug)]
enum Position {
    /// Behind this sequence.
    After(u64),
    /// Before the first message stored at or after this time, in microseconds.
    Time(i64),
}

pub(crate) struct Ordered {
    core: Core,
    stream: &'static str,
    selection: Selection,
    position: Position,
    messages: Option<pull::Stream>,
    /// The consumer's number of the last message: a gap shows a lost one.
    number: u64,
    /// When the stream was made, nanoseconds.
    created: Option<i64>,
    /// How often the stream turned out to have been made anew.
    restarts: u64,
    /// Messages in the stream behind the last one given out.
    pending: u64,
    link: watch::Receiver<Link>,
    epoch: u64,
}

/// A message of an ordered reader.
pub(crate) struct Read {
    pub message: async_nats::Message,
    pub sequence: u64,
    pub stored_us: i64,
}

impl Ordered {
    /// Opens a reader; what is stored from now on is seen.
    pub async fn open(
        core: &Core,
        stream: &'static str,
        selection: Selection,
        from: From,
    ) -> Result<Self, Error> {
        let what = format!("read {}", selection.server.join(","));
        let state = core.persist(&what, |_| core.info(stream).boxed()).await?;
        let position = match from {
            From::New => Position::After(state.last),
            From::Start => Position::After(0),
            // A sequence that the stream has not reached is of an earlier stream of that name.
            From::After(sequence) => {
                Position::After(if sequence > state.last { 0 } else { sequence })
            }
            From::Time(micros) => Position::Time(micros),
        };
        let link = core.link.clone();
        let epoch = link.borrow().epoch;
        let mut reader = Self {
            core: core.clone(),
            stream,
            selection,
            position,
            messages: None,
            number: 0,
            created: Some(state.created),
            restarts: 0,
            pending: 0,
            link,
            epoch,
        };
        let target = reader.target();
        let opened = core
            .persist(&what, |_| subscribe(core.clone(), target.clone()).boxed())
            .await?;
        reader.take(opened);
        Ok(reader)
    }

    /// The next message; waits for ever, restarts of the server included. Cancel-safe.
    pub async fn next(&mut self) -> Read {
        loop {
            let Some(messages) = &mut self.messages else {
                self.reopen().await;
                continue;
            };
            let next = tokio::select! {
                biased;
                next = messages.next() => next,
                () = reconnected(&mut self.link, self.epoch) => None,
            };
            if let Some(read) = self.accept(next) {
                return read;
            }
        }
    }

    /// The next message if it is here already.
    pub fn ready(&mut self) -> Option<Read> {
        loop {
            let next = self.messages.as_mut()?.next().now_or_never()?;
            if let Some(read) = self.accept(next) {
                return Some(read);
            }
        }
    }

    fn accept(
        &mut self,
        next: Option<Result<jetstream::Message, pull::MessagesError>>,
    ) -> Option<Read> {
        let message = match next {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                debug!(stream = self.stream, %error, "reader is made anew");
                self.messages = None;
                return None;
            }
            None => {
                self.messages = None;
                return None;
            }
        };
        let Ok(info) = message.info() else {
            debug!(stream = self.stream, "message without a position");
            return None;
        };
        if info.consumer_sequence != self.number + 1 {
            debug!(
                stream = self.stream,
                expected = self.number + 1,
                got = info.consumer_sequence,
                "a message is missing"
            );
            self.messages = None;
            return None;
        }
        let (sequence, stored_us, pending) = (
            info.stream_sequence,
            nanos(info.published) / 1_000,
            info.pending,
        );
        self.number = info.consumer_sequence;
        self.position = Position::After(sequence);
        self.pending = pending;
        self.selection.takes(&message.subject).then(|| Read {
            message: message.message,
            sequence,
            stored_us,
        })
    }

    /// Tries until the server gives a consumer again.
    async fn reopen(&mut self) {
        let mut pause = Duration::from_millis(10);
        loop {
            self.epoch = self.link.borrow_and_update().epoch;
            let attempt = tokio::time::timeout(
                Duration::from_secs(5),
                subscribe(self.core.clone(), self.target()),
            );
            match attempt.await {
                Ok(Ok(opened)) => {
                    self.take(opened);
                    return;
                }
                Ok(Err(Attempt::Transient(reason))) => {
                    debug!(stream = self.stream, reason, "reader waits")
                }
                Ok(Err(Attempt::Fatal(error))) => {
                    debug!(stream = self.stream, %error, "reader waits")
                }
                Err(_) => debug!(stream = self.stream, "reader waits: no answer"),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(1)),
                () = reconnected(&mut self.link, self.epoch) => pause = Duration::from_millis(10),
            }
        }
    }

    fn take(&mut self, opened: Opened) {
        if self
            .created
            .is_some_and(|created| created != opened.created)
        {
            self.restarts += 1;
            info!(
                stream = self.stream,
                "stream was made anew; it is read from its start"
            );
        }
        self.created = Some(opened.created);
        self.position = opened.position;
        self.pending = opened.pending;
        self.messages = Some(opened.messages);
        self.number = 0;
    }

    fn target(&self) -> Target {
        Target {
            stream: self.stream,
            filters: self.selection.server.clone(),
            position: self.position,
            created: self.created,
        }
    }

    /// The last sequence given out, or the one before the first to come.
    pub fn position(&self) -> u64 {
        match self.position {
            Position::After(sequence) => sequence,
            Position::Time(_) => 0,
        }
    }

    /// When the stream was made, nanoseconds since the Unix epoch.
    pub fn created(&self) -> i64 {
        self.created.unwrap_or_default()
    }

    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    pub fn pending(&self) -> u64 {
        self.pending
    }
}

#[derive(Clone)]
struct Target {
    stream: &'static str,
    filters: Vec<String>,
    position: Position,
    created: Option<i64>,
}

struct Opened {
    created: i64,
    position: Position,
    pending: u64,
    messages: pull::Stream,
}

async fn subscribe(core: Core, target: Target) -> Result<Opened, Attempt> {
    let state = core.info(target.stream).await?;
    let position = match target.position {
        _ if target
            .created
            .is_some_and(|created| created != state.created) =>
        {
            Position::After(0)
        }
        // After a power failure the stream may have lost its end, whose sequences are then given anew.
        Position::After(sequence) => Position::After(sequence.min(state.last)),
        Position::Time(micros) => Position::Time(micros),
    };
    let deliver_policy = match position {
        Position::After(sequence) => DeliverPolicy::ByStartSequence {
            start_sequence: sequence + 1,
        },
        Position::Time(micros) => DeliverPolicy::ByStartTime {
            start_time: async_nats::datetime::from_nanos(i128::from(micros) * 1_000)
                .map_err(|error| Attempt::Transient(error.to_string()))?,
        },
    };
    let config = pull::Config {
        deliver_policy,
        ack_policy: AckPolicy::None,
        filter_subjects: target.filters,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: INACTIVE,
        ..pull::Config::default()
    };
    let consumer = core
        .js
        .create_consumer_on_stream(config, target.stream)
        .await
        .map_err(|error| Attempt::Transient(chain(&error)))?;
    let info = consumer.cached_info();
    let pending = info.num_pending;
    // What a start by time comes to is known only now.
    let position = match position {
        Position::Time(_) => Position::After(info.delivered.stream_sequence),
        known => known,
    };
    let messages = consumer
        .stream()
        .max_messages_per_batch(BATCH)
        .heartbeat(HEARTBEAT)
        .messages()
        .await
        .map_err(|error| Attempt::Transient(chain(&error)))?;
    Ok(Opened {
        created: state.created,
        position,
        pending,
        messages,
    })
}
