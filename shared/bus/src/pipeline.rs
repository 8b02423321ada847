//! Publishing without waiting for each ack: for hot paths.
//!
//! One task owns the order. It sends what is queued, and takes the acks in the same order. When one fails, or the connection
//! is made anew, it takes nothing new from the queue until everything that is not acknowledged was sent again, in order. A
//! message without `Nats-Msg-Id` whose ack was lost may so be stored twice; one with an id is stored once. What the client
//! had taken over in the very moment in which the connection was lost, it sends first when it is back: those few may so come
//! ahead of what is sent again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;
use events::EventEnvelope;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Duration, Instant};
use tracing::{debug, warn};

use crate::connect::{Core, reconnected};
use crate::error::Attempt;
use crate::publish::{Outgoing, classify, known};
use crate::{BoxFuture, Error, trace};

/// Failures that are kept word for word.
const KEPT_FAILURES: usize = 256;
/// Longest wait for one ack before the message is sent again.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two rounds of sending again.
const PAUSE: Duration = Duration::from_millis(25);

/// Publishes without waiting for each ack. Bounded: `publish` waits when `in_flight` acks are outstanding. A publish that
/// fails (after retries within `publish_timeout_s`) is reported by `failures`/`flush`, never swallowed.
#[derive(Clone)]
pub struct Pipeline {
    shared: Arc<Shared>,
    queue: mpsc::UnboundedSender<Entry>,
}

struct Shared {
    permits: Arc<Semaphore>,
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

struct Entry {
    /// Its place in the order.
    number: u64,
    stream: &'static str,
    message: Outgoing,
    queued: Instant,
    _permit: OwnedSemaphorePermit,
}

struct Sent {
    entry: Entry,
    /// Sent alone, to see whether its stream is there.
    probe: bool,
    sent: Instant,
    ack: BoxFuture<'static, Result<PublishAck, PublishError>>,
}

impl Pipeline {
    pub(crate) fn new(core: Core, in_flight: usize) -> Self {
        let shared = Arc::new(Shared {
            permits: Arc::new(Semaphore::new(in_flight.clamp(1, Semaphore::MAX_PERMITS))),
            patience: core.patience(),
            queued: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            done: watch::channel(0).0,
            failures: Mutex::default(),
        });
        // Each entry holds a permit: the semaphore is the bound of this channel.
        let (queue, entries) = mpsc::unbounded_channel();
        tokio::spawn(Worker::new(core, Arc::clone(&shared)).run(entries));
        Self { shared, queue }
    }

    /// Queues an event; waits while `in_flight` messages are without an ack.
    ///
    /// # Errors
    /// Where the event has no subject that a stream takes, or cannot be written as JSON.
    pub async fn publish(&self, event: &EventEnvelope) -> Result<(), Error> {
        let message = Outgoing::event(event)?;
        self.queue(known(&message.subject)?.name, message).await
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
        let stream = known(&subject)?.name;
        let mut headers = async_nats::HeaderMap::new();
        if let Some(id) = id {
            headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
        }
        trace::inject(&mut headers);
        let message = Outgoing {
            subject,
            headers,
            payload,
        };
        self.queue(stream, message).await
    }

    async fn queue(&self, stream: &'static str, message: Outgoing) -> Result<(), Error> {
        let closed = || Error::Closed {
            what: "pipeline".to_owned(),
        };
        let permit = Arc::clone(&self.shared.permits)
            .acquire_owned()
            .await
            .map_err(|_| closed())?;
        let number = self.shared.queued.fetch_add(1, Ordering::AcqRel);
        self.queue
            .send(Entry {
                number,
                stream,
                message,
                queued: Instant::now(),
                _permit: permit,
            })
            .map_err(|_| closed())
    }

    /// Waits until everything queued before is acked or has failed.
    ///
    /// # Errors
    /// The first failure since the last flush, if any; [`take_failures`](Self::take_failures) has them all.
    pub async fn flush(&self) -> Result<(), Error> {
        let target = self.shared.queued.load(Ordering::Acquire);
        let mut done = self.shared.done.subscribe();
        if done.wait_for(|done| *done >= target).await.is_err() {
            return Err(Error::Closed {
                what: "pipeline".to_owned(),
            });
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

    fn acked(&self) {
        self.acked.fetch_add(1, Ordering::AcqRel);
        self.done.send_modify(|done| *done += 1);
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
        self.done.send_modify(|done| *done += 1);
    }
}

struct Worker {
    core: Core,
    shared: Arc<Shared>,
    /// Sent, and not acknowledged: oldest first.
    sent: VecDeque<Sent>,
    /// To be sent again, by their place in the order. Nothing new is taken while there are any.
    again: BTreeMap<u64, Entry>,
    again_at: Instant,
    /// Something failed: what else is out comes to its end before anything is sent again.
    retreating: bool,
    /// Streams that took a message since the last trouble. After a restart of the server a stream may not be there yet: the
    /// first message to it goes alone, since those behind it might otherwise be taken where it was not.
    trusted: BTreeSet<&'static str>,
    /// Such a first message is out.
    probing: bool,
    /// Why the last one has to be sent again.
    reason: String,
    epoch: u64,
}

/// What the task woke for.
enum Wake {
    Queued(Option<Entry>),
    Acked(Result<PublishAck, Attempt>),
    Reconnected,
    Tick,
}

impl Worker {
    fn new(core: Core, shared: Arc<Shared>) -> Self {
        let epoch = core.link.borrow().epoch;
        Self {
            core,
            shared,
            sent: VecDeque::new(),
            again: BTreeMap::new(),
            again_at: Instant::now(),
            retreating: false,
            trusted: BTreeSet::new(),
            probing: false,
            reason: String::new(),
            epoch,
        }
    }

    async fn run(mut self, mut entries: mpsc::UnboundedReceiver<Entry>) {
        let mut link = self.core.link.clone();
        let mut open = true;
        while open || !self.sent.is_empty() || !self.again.is_empty() {
            self.expire();
            if let Some(entry) = self.resend() {
                self.send(entry).await;
                continue;
            }
            let recovering = !self.again.is_empty();
            let wake_at = self.next_wake();
            let wake = tokio::select! {
                biased;
                () = reconnected(&mut link, self.epoch) => Wake::Reconnected,
                acked = front(self.sent.front_mut(), self.shared.patience) => Wake::Acked(acked),
                entry = entries.recv(), if open && !recovering && !self.probing => Wake::Queued(entry),
                () = tokio::time::sleep_until(wake_at), if recovering => Wake::Tick,
            };
            match wake {
                Wake::Queued(Some(entry)) => self.send(entry).await,
                Wake::Queued(None) => open = false,
                Wake::Tick => {}
                Wake::Reconnected => {
                    self.epoch = link.borrow_and_update().epoch;
                    let lost = self.sent.drain(..).map(|sent| sent.entry);
                    self.again.extend(lost.map(|entry| (entry.number, entry)));
                    "the connection was lost".clone_into(&mut self.reason);
                    (self.retreating, self.probing) = (false, false);
                    self.trusted.clear();
                    self.again_at = Instant::now();
                }
                Wake::Acked(outcome) => self.settle(outcome),
            }
        }
        debug!("pipeline ended");
    }

    /// The oldest message to be sent again, where it may go now.
    fn resend(&mut self) -> Option<Entry> {
        let waits = self.probing || (self.retreating && !self.sent.is_empty());
        if waits || !self.core.is_connected() || Instant::now() < self.again_at {
            return None;
        }
        self.retreating = false;
        self.again.pop_first().map(|(_, entry)| entry)
    }

    async fn send(&mut self, entry: Entry) {
        if !self.core.is_connected() {
            return self.retreat(entry, self.core.absence());
        }
        match self.core.send(&entry.message).await {
            Ok(ack) => {
                self.probing = !self.trusted.contains(entry.stream);
                self.sent.push_back(Sent {
                    entry,
                    probe: self.probing,
                    sent: Instant::now(),
                    ack: ack.into_future(),
                });
            }
            Err(error) => match classify(&entry.message.what(), &error) {
                Attempt::Fatal(error) => self.shared.failed(error),
                Attempt::Transient(reason) => self.retreat(entry, reason),
            },
        }
    }

    /// Takes the answer for the oldest message.
    fn settle(&mut self, outcome: Result<PublishAck, Attempt>) {
        let Some(sent) = self.sent.pop_front() else {
            return;
        };
        if sent.probe {
            self.probing = false;
        }
        match outcome {
            Ok(_) => {
                if sent.probe {
                    self.trusted.insert(sent.entry.stream);
                }
                self.shared.acked();
            }
            Err(Attempt::Fatal(error)) => self.shared.failed(error),
            Err(Attempt::Transient(reason)) => self.retreat(sent.entry, reason),
        }
    }

    /// Keeps a message to be sent again, and everything behind it.
    fn retreat(&mut self, entry: Entry, reason: String) {
        self.reason = reason;
        self.again.insert(entry.number, entry);
        self.again_at = Instant::now() + PAUSE;
        self.retreating = true;
        self.trusted.clear();
    }

    /// Gives up on what waited too long.
    fn expire(&mut self) {
        while let Some(entry) = self
            .again
            .first_entry()
            .filter(|entry| entry.get().queued.elapsed() >= self.shared.patience)
        {
            let entry = entry.remove();
            let waited_s = entry.queued.elapsed().as_secs_f64();
            if !self.core.is_connected() {
                self.reason = self.core.absence();
            }
            self.shared.failed(Error::Timeout {
                what: entry.message.what(),
                waited_s,
                reason: self.reason.clone(),
            });
        }
    }

    /// When to look again, where nothing else happens before.
    fn next_wake(&self) -> Instant {
        let oldest = self.again.values().next();
        let expires = oldest.map_or(self.again_at, |entry| entry.queued + self.shared.patience);
        if self.sent.is_empty() {
            // Not connected, or not yet time.
            expires.min(self.again_at.max(Instant::now() + PAUSE / 10))
        } else {
            // An answer comes first, or its time runs out.
            expires
        }
    }
}

/// Waits for the answer for the oldest message; for ever where none is out. Cancel-safe: the future of the ack stays.
async fn front(sent: Option<&mut Sent>, patience: Duration) -> Result<PublishAck, Attempt> {
    let Some(Sent {
        entry, sent, ack, ..
    }) = sent
    else {
        return std::future::pending().await;
    };
    let limit = (*sent + ACK_TIMEOUT).min(entry.queued + patience);
    match tokio::time::timeout_at(limit, ack).await {
        Ok(Ok(ack)) => Ok(ack),
        Ok(Err(error)) => Err(classify(&entry.message.what(), &error)),
        Err(_) => Err(Attempt::Transient("no acknowledgement came".to_owned())),
    }
}
