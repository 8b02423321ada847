//! The task behind a pipeline.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant};
use tracing::debug;

use super::acks::{Acks, verdict};
use super::ingest::{Ingest, Outcome};
use super::{ACK_TIMEOUT, AT_ONCE, Entry, PAUSE, Queued, Shared};
use crate::Error;
use crate::connect::{Core, Link, reconnected};
use crate::error::Attempt;

/// A message that went by itself.
struct Sent {
    entry: Entry,
    /// Sent alone, to see whether its stream is there.
    probe: bool,
    sent: Instant,
    /// What the server said, until its turn comes.
    answer: Option<Result<(), Attempt>>,
}

pub(super) struct Worker {
    core: Core,
    shared: Arc<Shared>,
    link: watch::Receiver<Link>,
    acks: Acks,
    /// Taken from the queue, and not yet sent.
    waiting: VecDeque<Entry>,
    /// Somebody waits until all is acked.
    flushing: bool,
    /// Nobody will queue anything more.
    closing: bool,
    /// Sent, and not acknowledged: oldest first. What is in a batch is in `ingest`.
    sent: VecDeque<Sent>,
    /// Where the oldest of them stands in the order of sending; the others follow one by one.
    oldest: u64,
    ingest: Ingest,
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
    Queued(Option<Queued>),
    Answered(async_nats::Message),
    Reconnected,
    Tick,
}

/// Nobody waits for a task that is gone.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.permits.close();
    }
}

impl Worker {
    pub async fn run(core: Core, shared: Arc<Shared>, mut queue: mpsc::UnboundedReceiver<Queued>) {
        let _ending = Ending(Arc::clone(&shared));
        let link = core.link.clone();
        let epoch = link.borrow().epoch;
        let acks = Acks::subscribe(&core.client).await;
        let ingest = Ingest::new(acks.inbox(), shared.in_flight, shared.patience);
        let worker = Self {
            core,
            shared,
            link,
            acks,
            waiting: VecDeque::new(),
            flushing: false,
            closing: false,
            sent: VecDeque::new(),
            oldest: 0,
            ingest,
            again: BTreeMap::new(),
            again_at: Instant::now(),
            retreating: false,
            trusted: BTreeSet::new(),
            probing: false,
            reason: String::new(),
            epoch,
        };
        worker.work(&mut queue).await;
        debug!("pipeline ended");
    }

    async fn work(mut self, queue: &mut mpsc::UnboundedReceiver<Queued>) {
        while !self.closing || self.is_busy() {
            self.expire();
            while let Some(entry) = self.next() {
                self.send(entry).await;
            }
            self.end_batch().await;
            let wake_at = self.next_wake();
            let takes = !self.closing && self.takes();
            let wake = tokio::select! {
                biased;
                () = reconnected(&mut self.link, self.epoch) => Wake::Reconnected,
                answer = self.acks.next() => Wake::Answered(answer),
                queued = queue.recv(), if takes => Wake::Queued(queued),
                () = sleep_until(wake_at), if wake_at.is_some() => Wake::Tick,
            };
            match wake {
                Wake::Queued(Some(Queued::Messages(messages, first, queued))) => {
                    self.waiting
                        .extend((first..).zip(messages).map(|(number, message)| Entry {
                            number,
                            message,
                            queued,
                        }));
                }
                Wake::Queued(Some(Queued::Flush)) => self.flushing = true,
                Wake::Queued(None) => self.closing = true,
                Wake::Tick => {}
                Wake::Reconnected => self.reconnected(),
                Wake::Answered(answer) => {
                    self.note(&answer);
                    for _ in 1..AT_ONCE {
                        let Some(answer) = self.acks.waiting() else {
                            break;
                        };
                        self.note(&answer);
                    }
                }
            }
            self.settle();
        }
    }

    /// There is something that is not acked.
    fn is_busy(&self) -> bool {
        !(self.waiting.is_empty() && self.sent.is_empty() && self.again.is_empty())
            || self.ingest.is_out()
    }

    /// There is room for what is queued.
    fn takes(&self) -> bool {
        self.again.is_empty() && self.waiting.is_empty() && !self.holds()
    }

    /// Nothing may be sent until an answer has come.
    fn holds(&self) -> bool {
        self.probing || self.ingest.holds()
    }

    /// The next message to be sent, where one may go now: what is to be sent again goes first.
    fn next(&mut self) -> Option<Entry> {
        if self.holds() {
            return None;
        }
        if self.again.is_empty() {
            return self.waiting.pop_front();
        }
        let waits = self.retreating && (!self.sent.is_empty() || self.ingest.is_out());
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
        let together = self.ingest.takes(&entry);
        let number = self.oldest + self.sent.len() as u64;
        let (outgoing, ingest) = (&entry.message.outgoing, &mut self.ingest);
        let reply = self.acks.reply(|inbox, reply| {
            if together {
                ingest.reply(&outgoing.subject, reply);
            } else {
                Acks::number_into(inbox, number, reply);
            }
        });
        match self.acks.send(&self.core.client, outgoing, reply).await {
            Ok(()) if together => self.ingest.sent(entry, Instant::now()),
            Ok(()) => {
                self.probing = !self.trusted.contains(entry.message.stream);
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

    /// Ends the batch where it is time for it.
    async fn end_batch(&mut self) {
        let all_out = self.waiting.is_empty() && self.again.is_empty();
        let asked = all_out && (self.flushing || self.closing);
        let due = self.ingest.is_due(asked || self.retreating, Instant::now());
        if !due || !self.core.is_connected() {
            return;
        }
        if asked {
            self.flushing = false;
        }
        let (ingest, mut subject) = (&mut self.ingest, async_nats::Subject::from_static(""));
        let reply = self.acks.reply(|_, reply| {
            subject = ingest.end(reply, Instant::now());
        });
        // Where it cannot be sent, the time for its answer runs out.
        if let Err(error) = self.acks.ask(&self.core.client, subject, reply).await {
            debug!(error, "the end of a batch was not sent");
        }
    }

    /// Notes what the server answered. An answer for something that was sent again since is none.
    fn note(&mut self, message: &async_nats::Message) {
        let Some(place) = self.acks.place(message) else {
            return;
        };
        let Ok(number) = place.parse::<u64>() else {
            let outcome = self.ingest.answered(place, message);
            return self.take(outcome);
        };
        let place = number
            .checked_sub(self.oldest)
            .and_then(|place| usize::try_from(place).ok());
        if let Some(sent) = place.and_then(|place| self.sent.get_mut(place)) {
            sent.answer = Some(verdict(message, || sent.entry.message.outgoing.what()));
        }
    }

    /// Takes what became of messages in a batch.
    fn take(&mut self, outcome: Outcome) {
        self.shared.acked(outcome.acked);
        for error in outcome.failed {
            self.shared.failed(error);
        }
        if let Some(reason) = outcome.reason {
            debug!(reason, "the batch is ended");
            self.reason = reason;
            self.ingest.doubt();
        }
        for entry in outcome.again {
            let reason = std::mem::take(&mut self.reason);
            self.retreat(entry, reason);
        }
    }

    /// The connection was made anew: what has no answer is to be sent again.
    fn reconnected(&mut self) {
        self.epoch = self.link.borrow_and_update().epoch;
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
        self.ingest.reconnected();
        "the connection was lost".clone_into(&mut self.reason);
        // What of a batch is stored is asked first.
        (self.retreating, self.probing) = (self.ingest.is_out(), false);
        self.trusted.clear();
        self.again_at = Instant::now();
    }

    /// Takes the answers for the oldest messages, as far as they are there or overdue.
    fn settle(&mut self) {
        let mut acked = 0;
        let now = Instant::now();
        if self.ingest.is_overdue(self.shared.patience, now) {
            let outcome = self.ingest.lost("no acknowledgement came".to_owned());
            self.take(outcome);
        }
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
                        self.trusted.insert(sent.entry.message.stream);
                    }
                    acked += 1;
                }
                Some(Err(Attempt::Fatal(error))) => self.shared.failed(error),
                Some(Err(Attempt::Transient(reason))) => self.retreat(sent.entry, reason),
                None => self.retreat(sent.entry, "no acknowledgement came".to_owned()),
            }
        }
        self.shared.acked(acked);
        if !self.is_busy() {
            self.flushing = false;
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
                what: entry.message.outgoing.what(),
                waited_s,
                reason: self.reason.clone(),
            });
        }
    }

    /// When to look again, where nothing else happens before.
    fn next_wake(&self) -> Option<Instant> {
        let patience = self.shared.patience;
        let expires = self
            .again
            .values()
            .next()
            .map(|again| again.queued + patience);
        // An answer comes first, or its time runs out.
        let overdue = self.sent.front().map(|oldest| oldest.limit(patience));
        let batch = self.ingest.next_wake(patience);
        let out = overdue.is_some() || self.ingest.is_out();
        // Not connected, or not yet time.
        let retry = (!self.again.is_empty() && !out)
            .then(|| self.again_at.max(Instant::now() + PAUSE / 10));
        [expires, overdue, batch, retry].into_iter().flatten().min()
    }
}

async fn sleep_until(wake_at: Option<Instant>) {
    if let Some(wake_at) = wake_at {
        tokio::time::sleep_until(wake_at).await;
    }
}

impl Sent {
    /// When it is overdue.
    fn limit(&self, patience: Duration) -> Instant {
        (self.sent + ACK_TIMEOUT).min(self.entry.queued + patience)
    }
}
