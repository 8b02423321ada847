//! Publishing without waiting for each ack: for hot paths.
//!
//! One task owns the order. It sends what is queued, and takes the acks in the same order. When one fails, or the connection
//! is made anew, it takes nothing new from the queue until everything that is not acknowledged was sent again, in order. A
//! message without `Nats-Msg-Id` whose ack was lost may so be stored twice; one with an id is stored once. What the client
//! had taken over in the very moment in which the connection was lost, it sends first when it is back: those few may so come
//! ahead of what is sent again.
//!
//! Data without ids go in batches, whose messages are acknowledged many at once ([`ingest`]). The server tells how much of one
//! it stored, also over a new connection: of these none is stored twice, unless the server forgot, or that answer was lost as
//! well; and none comes ahead.
//!
//! All acks of a pipeline come to one subscription. The last token of their subject is the place of the message in the order
//! of sending. The client's own way (an inbox, a channel and timers for each publish) costs several times the CPU time.

mod acks;
mod ingest;
mod worker;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use events::EventEnvelope;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Duration, Instant};
use tracing::warn;

use crate::connect::Core;
use crate::{DataSubject, Error, Message};
use worker::Worker;

/// Failures that are kept word for word.
const KEPT_FAILURES: usize = 256;
/// Longest wait for one ack before the message is sent again.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two rounds of sending again.
const PAUSE: Duration = Duration::from_millis(25);
/// Publishes without an ack that one pipeline may have: the acks of so many fit into a subscription's queue.
const MOST_IN_FLIGHT: usize = 32_768;
/// Acks that are taken at once.
const AT_ONCE: usize = 64;

/// Publishes without waiting for each ack. Bounded: `publish` waits when `in_flight` acks are outstanding. A publish that
/// fails (after retries within `publish_timeout_s`) is reported by `failures`/`flush`, never swallowed.
#[derive(Clone)]
pub struct Pipeline {
    shared: Arc<Shared>,
    queue: mpsc::UnboundedSender<Queued>,
}

struct Shared {
    in_flight: usize,
    permits: Semaphore,
    patience: Duration,
    queued: AtomicU64,
    acked: AtomicU64,
    failed: AtomicU64,
    /// Acked and failed together; what `flush` waits for.
    done: watch::Sender<u64>,
    failures: Mutex<Failures>,
}

#[derive(Default)]
struct Failures {
    kept: VecDeque<Error>,
    first_since_flush: Option<Error>,
}

/// What the task is told. Each message in it has taken a permit, which bounds the channel.
enum Queued {
    /// Messages, the place of the first in the order, and when they were queued.
    Messages(Vec<Message>, u64, Instant),
    /// Somebody waits until all before is acked.
    Flush,
}

/// A message that is not acked.
struct Entry {
    /// Its place in the order.
    number: u64,
    message: Message,
    queued: Instant,
}

impl Pipeline {
    pub(crate) fn new(core: Core, in_flight: usize) -> Self {
        let in_flight = in_flight.clamp(1, MOST_IN_FLIGHT);
        let shared = Arc::new(Shared {
            in_flight,
            permits: Semaphore::new(in_flight),
            patience: core.patience(),
            queued: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            done: watch::channel(0).0,
            failures: Mutex::default(),
        });
        let (queue, queued) = mpsc::unbounded_channel();
        tokio::spawn(Worker::run(core, Arc::clone(&shared), queued));
        Self { shared, queue }
    }

    /// Queues an event; waits while `in_flight` messages are without an ack.
    ///
    /// # Errors
    /// Where the event has no subject that a stream takes, or cannot be written as JSON.
    pub async fn publish(&self, event: &EventEnvelope) -> Result<(), Error> {
        self.publish_all(vec![Message::event(event)?]).await
    }

    /// Queues a data-plane message; `id` is its Nats-Msg-Id where given. Waits like [`publish`](Self::publish).
    ///
    /// # Errors
    /// Where no stream takes the subject.
    pub async fn publish_data(
        &self,
        subject: String,
        payload: Bytes,
        id: Option<String>,
    ) -> Result<(), Error> {
        let message = Message::data(&DataSubject::new(subject)?, payload, id);
        self.publish_all(vec![message.traced()]).await
    }

    /// Queues messages, in this order, at once: for each it costs little but the sending. Waits like
    /// [`publish`](Self::publish).
    ///
    /// # Errors
    /// Where the pipeline has ended: then some of them may be lost.
    pub async fn publish_all(&self, mut messages: Vec<Message>) -> Result<(), Error> {
        while !messages.is_empty() {
            // More than there are permits would wait for ever.
            let rest = messages.split_off(messages.len().min(self.shared.in_flight));
            self.queue(std::mem::replace(&mut messages, rest)).await?;
        }
        Ok(())
    }

    async fn queue(&self, messages: Vec<Message>) -> Result<(), Error> {
        let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        let permits = self.shared.permits.acquire_many(count).await;
        // Given back by the task, one by one.
        permits.map_err(|_| closed())?.forget();
        let first = self.shared.queued.fetch_add(count.into(), Ordering::AcqRel);
        self.queue
            .send(Queued::Messages(messages, first, Instant::now()))
            .map_err(|_| closed())
    }

    /// Waits until everything queued before is acked or has failed.
    ///
    /// # Errors
    /// The first failure since the last flush, if any; [`take_failures`](Self::take_failures) has them all.
    pub async fn flush(&self) -> Result<(), Error> {
        let target = self.shared.queued.load(Ordering::Acquire);
        let mut done = self.shared.done.subscribe();
        if *done.borrow_and_update() < target {
            self.queue.send(Queued::Flush).map_err(|_| closed())?;
        }
        let done = tokio::select! {
            done = done.wait_for(|done| *done >= target) => done.is_ok(),
            () = self.queue.closed() => false,
        };
        if !done {
            return Err(closed());
        }
        match self.shared.failures().first_since_flush.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Messages acked so far, and failed so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (
            self.shared.acked.load(Ordering::Acquire),
            self.shared.failed.load(Ordering::Acquire),
        )
    }

    /// Messages that have neither been acked nor failed.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        let (acked, failed) = self.counts();
        self.shared
            .queued
            .load(Ordering::Acquire)
            .saturating_sub(acked + failed)
    }

    /// The failures since the last call: the newest 256; [`counts`](Self::counts) has the number of all.
    #[must_use]
    pub fn take_failures(&self) -> Vec<Error> {
        self.shared.failures().kept.drain(..).collect()
    }
}

impl Shared {
    fn failures(&self) -> std::sync::MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acked(&self, messages: u64) {
        if messages > 0 {
            self.acked.fetch_add(messages, Ordering::AcqRel);
            self.settled(messages);
        }
    }

    fn failed(&self, error: Error) {
        warn!(%error, "message is lost");
        let mut failures = self.failures();
        failures
            .first_since_flush
            .get_or_insert_with(|| error.clone());
        if failures.kept.len() == KEPT_FAILURES {
            failures.kept.pop_front();
        }
        failures.kept.push_back(error);
        drop(failures);
        self.failed.fetch_add(1, Ordering::AcqRel);
        self.settled(1);
    }

    fn settled(&self, messages: u64) {
        self.done.send_modify(|done| *done += messages);
        self.permits
            .add_permits(usize::try_from(messages).unwrap_or_default());
    }
}

fn closed() -> Error {
    Error::Closed {
        what: "pipeline".to_owned(),
    }
}
