//! A client's end of a subscription, and what both ends know of it.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bus::Delivery;
use events::Timestamp;
use events::id::SessionId;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::error::Error;
use crate::fanout::Slot;
use crate::metrics::Metrics;
use crate::session::{Ending, Statistics, Undelivered};

/// An event on its way to a client.
#[derive(Debug)]
pub struct Message {
    /// `{event_type}.{key}`.
    pub subject: String,
    /// Position after this event.
    pub offset: String,
    /// The envelope as JSON.
    pub envelope: Box<RawValue>,
    /// Which event it is.
    event: Undelivered,
    /// Time of storing, microseconds since the Unix epoch.
    stored_us: i64,
}

impl Message {
    /// What is written of `delivery`; `offset` is the position after it.
    ///
    /// # Errors
    /// Where the envelope cannot be written as JSON.
    pub(crate) fn new(delivery: &Delivery, offset: String) -> Result<Self, serde_json::Error> {
        Ok(Self {
            subject: delivery.subject.clone(),
            offset,
            envelope: serde_json::value::to_raw_value(&delivery.event)?,
            event: Undelivered {
                id: delivery.event.id,
                event_type: delivery.event.event_type.clone(),
            },
            stored_us: delivery.stored_us,
        })
    }

    /// Which event it is, should it not arrive.
    #[must_use]
    pub fn undelivered(&self) -> Undelivered {
        self.event.clone()
    }
}

/// What both sides of a subscription see.
pub(crate) struct Shared {
    stall_timeout: Duration,
    transport: &'static str,
    metrics: Metrics,
    started: Timestamp,
    sent: AtomicU64,
    bytes: AtomicU64,
    latency_us: AtomicU64,
    /// How it ended; whoever knows first says so.
    pub(crate) ending: OnceLock<Ending>,
    /// The conductor has stopped: no more events.
    pub(crate) over: CancellationToken,
}

impl Shared {
    pub(crate) fn new(stall_timeout: Duration, transport: &'static str, metrics: Metrics) -> Self {
        Self {
            stall_timeout,
            transport,
            metrics,
            started: Timestamp::now(),
            sent: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            latency_us: AtomicU64::new(0),
            ending: OnceLock::new(),
            over: CancellationToken::new(),
        }
    }

    /// What was measured, where `taken` events were taken for the client.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn statistics(&self, taken: u64) -> Statistics {
        let messages_sent = self.sent.load(Ordering::Acquire);
        let latency_ms = self.latency_us.load(Ordering::Acquire) as f64 / 1e3;
        Statistics {
            messages_sent,
            messages_failed: taken.saturating_sub(messages_sent),
            bytes_sent: self.bytes.load(Ordering::Acquire),
            average_latency_ms: latency_ms / messages_sent.max(1) as f64,
        }
    }
}

/// The client's end of a subscription: what a transport writes from. Dropping it ends the session.
pub struct Subscription {
    /// The session that was opened.
    pub session: SessionId,
    /// The filters as they are applied.
    pub subjects: Vec<String>,
    /// Where it begins.
    pub offset: String,
    queue: mpsc::Receiver<Message>,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
    shared: Arc<Shared>,
    _slot: Slot,
}

impl Subscription {
    pub(crate) fn new(
        session: SessionId,
        subjects: Vec<String>,
        offset: String,
        queue: mpsc::Receiver<Message>,
        shared: Arc<Shared>,
        slot: Slot,
    ) -> Self {
        let over = Box::pin(shared.over.clone().cancelled_owned());
        Self {
            session,
            subjects,
            offset,
            queue,
            over,
            shared,
            _slot: slot,
        }
    }

    /// The next event; none when the subscription is over, for the reason that [`Self::verdict`] gives.
    pub async fn next(&mut self) -> Option<Message> {
        poll_fn(|context| self.poll_message(context)).await
    }

    /// As [`Self::next`], for streams.
    pub fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        if self.over.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        self.queue.poll_recv(context)
    }

    /// Says that a message was written, as so many bytes.
    pub fn written(&self, message: &Message, bytes: usize) {
        let since = message.stored_us.max(self.shared.started.as_micros());
        let latency = u64::try_from(Timestamp::now().as_micros() - since).unwrap_or(0);
        self.shared.latency_us.fetch_add(latency, Ordering::AcqRel);
        self.shared.bytes.fetch_add(bytes as u64, Ordering::AcqRel);
        self.shared.sent.fetch_add(1, Ordering::AcqRel);
        self.shared.metrics.sent(self.shared.transport);
    }

    /// Says how it ended, where the transport knows; the first word counts.
    pub fn end(&self, ending: Ending) {
        let _ = self.shared.ending.set(ending);
    }

    /// Resolves when the service ends the subscription.
    pub fn over(&self) -> CancellationToken {
        self.shared.over.clone()
    }

    /// What to tell the client, where it is not the client that ended the subscription.
    #[must_use]
    pub fn verdict(&self) -> Option<Error> {
        match self.shared.ending.get()? {
            Ending::Stalled { .. } => Some(Error::SlowClient {
                seconds: self.shared.stall_timeout.as_secs_f64(),
            }),
            Ending::Failed(message) => Some(Error::Bus(message.clone())),
            Ending::Shutdown => Some(Error::GoingAway),
            Ending::Closed | Ending::Lost(_) | Ending::Idle(_) => None,
        }
    }
}
