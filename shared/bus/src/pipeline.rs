//! Publishing without waiting for each ack: for hot paths.
//!
//! One task owns the order. It sends what is queued, and takes the acks in the same order. When one fails, or the connection
//! is made anew, it takes nothing new from the queue until everything that is not acknowledged was sent again, in order. A
//! message without `Nats-Msg-Id` whose ack was lost may so be stored twice; one with an id is stored once. What the client
//! had taken over in the very moment in which the connection was lost, it sends first when it is back: those few may so come
//! ahead of what is sent again.
//!
//! All acks of a pipeline come to one subscription; the last token of their subject is the place of the message in the order
//! of sending. The client's own way (an inbox, a channel and timers for each publish) costs several times the CPU time.

mod acks;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use events::EventEnvelope;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Duration, Instant};
use tracing::{debug, warn};

use crate::connect::{Core, reconnected};
use crate::error::Attempt;
use crate::pipeline::acks::{Acks, verdict};
use crate::publish::{Outgoing, known};
use crate::{DataSubject, Error, trace};

/// Failures that are kept word for word.
const KEPT_FAILURES: usize = 256;
/// Longest wait for one ack before the message is sent again.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two rounds of sending again.
const PAUSE: Duration = Duration::from_millis(25);
/// Publishes without an ack that one pipeline may have: the acks of so many fit into a subscription's queue.
const MOST_IN_FLIGHT: usize = 32_768;
/// Messages, or acks, that are taken at once.
const AT_ONCE: usize = 64;

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
    /// What the server said, until its turn comes.
    answer: Option<Result<(), Attempt>>,
}

impl Pipeline {
    pub(crate) fn new(core: Core, in_flight: usize) -> Self {
        let shared = Arc::new(Shared {
            permits: Arc::new(Semaphore::new(in_flight.clamp(1, MOST_IN_FLIGHT))),
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
        self.publish_to(&DataSubject::new(subject)?, payload, id)
            .await
    }

    /// The same to a subject that was looked up before.
    ///
    /// # Errors
    /// Where the pipeline has ended.
    pub async fn publish_to(
        &self,
        subject: &DataSubject,
        payload: Bytes,
        id: Option<String>,
    ) -> Result<(), Error> {
        let DataSubject { subject, stream } = subject.clone();
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

    fn acked(&self, messages: u64) {
        if messages > 0 {
            self.acked.fetch_add(messages, Ordering::AcqRel);
            self.done.send_modify(|done| *done += messages);
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
        self.done.send_modify(|done| *done += 1);
    }
}

struct Worker {
    core: Core,
    shared: Arc<Shared>,
    /// Sent, and not acknowledged: oldest first.
    sent: VecDeque<Sent>,
    /// Where the oldest of them stands in the order of sending; the others follow one by one.
    oldest: u64,
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
    Answered(async_nats::Message),
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
            oldest: 0,
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
        let mut acks = Acks::subscribe(&self.core.client).await;
        let mut open = true;
        while open || !self.sent.is_empty() || !self.again.is_empty() {
            self.expire();
            if let Some(entry) = self.resend() {
                self.send(entry, &mut acks).await;
                continue;
            }
            let recovering = !self.again.is_empty();
            let wake_at = self.next_wake();
            let waits = recovering || !self.sent.is_empty();
            let wake = tokio::select! {
                biased;
                () = reconnected(&mut link, self.epoch) => Wake::Reconnected,
                answer = acks.next() => Wake::Answered(answer),
                entry = entries.recv(), if open && !recovering && !self.probing => Wake::Queued(entry),
                () = tokio::time::sleep_until(wake_at), if waits => Wake::Tick,
            };
            match wake {
                Wake::Queued(Some(entry)) => {
                    self.send(entry, &mut acks).await;
                    for _ in 1..AT_ONCE {
                        if self.probing || !self.again.is_empty() {
                            break;
                        }
                        let Ok(entry) = entries.try_recv() else { break };
                        self.send(entry, &mut acks).await;
                    }
                }
                Wake::Queued(None) => open = false,
                Wake::Tick => {}
                Wake::Reconnected => {
                    self.epoch = link.borrow_and_update().epoch;
                    self.lose();
                    "the connection was lost".clone_into(&mut self.reason);
                    (self.retreating, self.probing) = (false, false);
                    self.trusted.clear();
                    self.again_at = Instant::now();
                }
                Wake::Answered(answer) => {
                    self.note(&acks, &answer);
                    for _ in 1..AT_ONCE {
                        let Some(answer) = acks.waiting() else { break };
                        self.note(&acks, &answer);
                    }
                }
            }
            self.settle();
        }
        debug!("pipeline ended");
    }

    /// Notes what the server answered. An answer for something that was sent again since is none.
    fn note(&mut self, acks: &Acks, message: &async_nats::Message) {
        let place = acks
            .number(message)
            .and_then(|number| number.checked_sub(self.oldest))
            .and_then(|place| usize::try_from(place).ok());
        if let Some(sent) = place.and_then(|place| self.sent.get_mut(place)) {
            sent.answer = Some(verdict(message, || sent.entry.message.what()));
        }
    }

    /// The connection was made anew: what has no answer is to be sent again.
    fn lose(&mut self) {
        self.oldest += self.sent.len() as u64;
        let mut acked = 0;
        for sent in self.sent.drain(..) {
            if matches!(sent.answer, Some(Ok(()))) {
                acked += 1;
            } else {
                self.again.insert(sent.entry.number, sent.entry);
            }
        }
        self.shared.acked(acked);
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

    async fn send(&mut self, entry: Entry, acks: &mut Acks) {
        if !self.core.is_connected() {
            return self.retreat(entry, self.core.absence());
        }
        let number = self.oldest + self.sent.len() as u64;
        match acks.send(&self.core.client, &entry.message, number).await {
            Ok(()) => {
                self.probing = !self.trusted.contains(entry.stream);
                self.sent.push_back(Sent {
                    entry,
                    probe: self.probing,
                    sent: Instant::now(),
                    answer: None,
                });
            }
            Err(Attempt::Fatal(error)) => self.shared.failed(error),
            Err(Attempt::Transient(reason)) => self.retreat(entry, reason),
        }
    }

    /// Takes the answers for the oldest messages, as far as they are there or overdue.
    fn settle(&mut self) {
        let mut acked = 0;
        let now = Instant::now();
        while let Some(oldest) = self.sent.front_mut() {
            let answer = oldest.answer.take();
            let overdue = now >= oldest.limit(self.shared.patience);
            if answer.is_none() && !overdue {
                break;
            }
            let Some(sent) = self.sent.pop_front() else {
                break;
            };
            self.oldest += 1;
            if sent.probe {
                self.probing = false;
            }
            match answer {
                Some(Ok(())) => {
                    if sent.probe {
                        self.trusted.insert(sent.entry.stream);
                    }
                    acked += 1;
                }
                Some(Err(Attempt::Fatal(error))) => self.shared.failed(error),
                Some(Err(Attempt::Transient(reason))) => self.retreat(sent.entry, reason),
                None => self.retreat(sent.entry, "no acknowledgement came".to_owned()),
            }
        }
        self.shared.acked(acked);
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
        let patience = self.shared.patience;
        let waiting = self.again.values().next();
        let expires = waiting.map(|entry| entry.queued + patience);
        if let Some(oldest) = self.sent.front() {
            // An answer comes first, or its time runs out.
            let limit = oldest.limit(patience);
            return expires.map_or(limit, |expires| expires.min(limit));
        }
        // Not connected, or not yet time.
        expires
            .unwrap_or(self.again_at)
            .min(self.again_at.max(Instant::now() + PAUSE / 10))
    }
}

impl Sent {
    /// When it is overdue.
    fn limit(&self, patience: Duration) -> Instant {
        (self.sent + ACK_TIMEOUT).min(self.entry.queued + patience)
    }
}
