//! From the streams to the clients: one ordered reader and one bounded queue for each subscription.
//!
//! A client that is slow stops its own reader and nobody else's: the events stay in JetStream. One that takes nothing for
//! the stall timeout is cut off; it loses nothing, because it can resume with the last offset that it received.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Delivery, Follow, From as Start};
use events::Timestamp;
use events::id::SessionId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::error::Error;
use crate::filter::Filters;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::session::{Client, Ending};
use crate::subscription::{Message, Shared, Subscription};

/// How long a transport may take to say good-bye before its session is ended without it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// With what is stored from now on.
    Now,
    /// After an offset that this service gave.
    After(String),
    /// With what was stored at or after this time.
    Since(Timestamp),
}

/// A subscription, asked for and checked.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which events.
    pub filters: Filters,
    /// From where.
    pub position: Position,
    /// For whom.
    pub client: Client,
}

/// Opens subscriptions. Cheap to clone.
#[derive(Clone)]
pub struct Fanout {
    bus: Bus,
    journal: Journal,
    config: Arc<Config>,
    slots: Arc<Semaphore>,
    metrics: Metrics,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// The right to one subscription; given back when dropped.
pub struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Fanout {
    /// `source` is the service and instance that session events name; cancelling `shutdown` ends all sessions.
    #[must_use]
    pub fn new(bus: Bus, config: Config, source: &str, shutdown: CancellationToken) -> Self {
        Self {
            journal: Journal::new(bus.clone(), source, config.session_lifetime),
            bus,
            slots: Arc::new(Semaphore::new(config.max_subscriptions)),
            config: Arc::new(config),
            metrics: Metrics::new(),
            tasks: TaskTracker::new(),
            shutdown,
        }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Cancelled when the service stops.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Takes a slot.
    ///
    /// # Errors
    /// [`Error::TooMany`] where none is free, [`Error::GoingAway`] where the service stops.
    pub fn slot(&self) -> Result<Slot, Error> {
        if self.shutdown.is_cancelled() {
            return Err(Error::GoingAway);
        }
        let most = self.config.max_subscriptions;
        let permit = Arc::clone(&self.slots)
            .try_acquire_owned()
            .map_err(|_| Error::TooMany { most })?;
        Ok(Slot { _permit: permit })
    }

    /// Opens a session and begins to read for it.
    ///
    /// # Errors
    /// A malformed offset, or NATS out of reach.
    pub async fn subscribe(&self, slot: Slot, request: Request) -> Result<Subscription, Error> {
        let follow = self.follow(&request).await?;
        let session = SessionId::generate();
        let (queue, outlet) = mpsc::channel(self.config.queue_messages);
        let shared = Arc::new(Shared::new(
            self.config.stall_timeout,
            request.client.transport,
            self.metrics.clone(),
        ));
        let subscription = Subscription::new(
            session,
            request.filters.subjects(),
            follow.offset(),
            outlet,
            Arc::clone(&shared),
            slot,
        );
        // A task of its own, so that a client which goes away at this moment leaves no session open.
        let (ready, opened) = oneshot::channel();
        let conductor = Conductor {
            fanout: self.clone(),
            session,
            request,
            queue,
            shared,
        };
        self.tasks.spawn(conductor.run(follow, ready));
        opened.await.map_err(|_| Error::GoingAway)??;
        Ok(subscription)
    }

    async fn follow(&self, request: &Request) -> Result<Follow, Error> {
        let subjects = request.filters.subjects();
        let follow = match &request.position {
            Position::Now => self.bus.follow(&subjects, Start::New).await,
            Position::Since(time) => {
                self.bus
                    .follow(&subjects, Start::Time(time.as_micros()))
                    .await
            }
            Position::After(offset) => self.bus.follow_from_offset(&subjects, offset).await,
        };
        follow.map_err(|error| match error {
            bus::Error::Offset { .. } => Error::Invalid {
                field: "offset",
                problem: error.to_string(),
            },
            bus::Error::Filter { .. } => Error::Invalid {
                field: "subjects",
                problem: error.to_string(),
            },
            error => Error::Bus(error.to_string()),
        })
    }

    /// Runs a connection so that [`Self::drained`] waits for it.
    pub(crate) fn track<F: Future>(
        &self,
        connection: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        self.tasks.track_future(connection)
    }

    /// Waits until every session has ended and every connection was told, after `shutdown` was cancelled.
    pub async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Owns a session: opens it, reads for it, ends it.
struct Conductor {
    fanout: Fanout,
    session: SessionId,
    request: Request,
    queue: mpsc::Sender<Message>,
    shared: Arc<Shared>,
}

impl Conductor {
    async fn run(self, follow: Follow, ready: oneshot::Sender<Result<(), Error>>) {
        let journal = &self.fanout.journal;
        let opened = journal
            .open(self.session, &self.request.client, &self.request.filters)
            .await;
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let _ = ready.send(Ok(()));
        tracing::debug!(session = %self.session, subjects = ?self.request.filters.subjects(), "session opened");
        let metrics = &self.fanout.metrics;
        metrics.opened(self.request.client.transport);
        let mut taken = 0;
        let ending = self.pump(follow, &mut taken).await;
        // The transport may have known first.
        let ending = self.shared.ending.get_or_init(|| ending);
        self.shared.over.cancel();
        if matches!(ending, Ending::Shutdown | Ending::Failed(_)) {
            // The transport stops writing now; its last counts come in as it lets go of the queue.
            let _ = tokio::time::timeout(FAREWELL, self.queue.closed()).await;
        }
        let statistics = self.shared.statistics(taken);
        metrics.ended(
            self.request.client.transport,
            ending.reason().as_str(),
            statistics.messages_failed,
        );
        if let Ending::Stalled {
            message,
            event: Some(event),
        } = ending
        {
            journal.delivery_failed(self.session, event, message).await;
        }
        journal.end(self.session, opened, ending, statistics).await;
        tracing::debug!(session = %self.session, ?ending, sent = statistics.messages_sent, "session ended");
    }

    /// Reads for the client until that ends; `taken` counts the events that were meant for it.
    async fn pump(&self, mut follow: Follow, taken: &mut u64) -> Ending {
        let stall_timeout = self.fanout.config.stall_timeout;
        loop {
            let next = tokio::select! {
                biased;
                () = self.fanout.shutdown.cancelled() => return Ending::Shutdown,
                () = self.queue.closed() => return self.left(),
                next = follow.next() => next,
            };
            let delivery = match next {
                Ok(delivery) => delivery,
                Err(error) => return Ending::Failed(error.to_string()),
            };
            let filters = &self.request.filters;
            if self.is_own(&delivery) || !filters.pass(&delivery.subject, &delivery.event) {
                continue;
            }
            let message = match Message::new(&delivery, follow.offset()) {
                Ok(message) => message,
                Err(error) => return Ending::Failed(error.to_string()),
            };
            *taken += 1;
            let room = tokio::select! {
                biased;
                () = self.fanout.shutdown.cancelled() => return Ending::Shutdown,
                room = tokio::time::timeout(stall_timeout, self.queue.reserve()) => room,
            };
            match room {
                Ok(Ok(room)) => room.send(message),
                Ok(Err(_)) => return self.left(),
                Err(_) => {
                    return Ending::Stalled {
                        message: format!(
                            "the client took no event for {} s while {} waited",
                            stall_timeout.as_secs_f64(),
                            self.queue.max_capacity() + 1,
                        ),
                        event: Some(message.undelivered()),
                    };
                }
            }
        }
    }

    /// A client that follows `streaming.>` sees the sessions of others; its own would only echo.
    fn is_own(&self, delivery: &Delivery) -> bool {
        delivery.event.event_type.starts_with("streaming.")
            && delivery
                .event
                .payload
                .get("session_id")
                .and_then(serde_json::Value::as_str)
                == Some(&self.session.to_string())
    }

    /// How it ended where the transport dropped its end without a word.
    fn left(&self) -> Ending {
        match self.request.client.transport {
            // A gRPC client ends a server stream by cancelling it; there is no better order.
            "grpc" => Ending::Closed,
            _ => Ending::Lost("the connection was lost".into()),
        }
    }
}
