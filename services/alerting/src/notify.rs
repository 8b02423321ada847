//! Telling people: one durable consumer per receiver, so that a receiver that is down holds up nobody else.
//!
//! What a receiver does not take for now (no connection, a timeout, 408, 429, 5xx) is sent again after a pause that doubles;
//! while it is down, one call at a time finds out whether it is back. What it refuses is not sent again. After a crash a
//! notification may be sent twice, with the same `Idempotency-Key`.

pub mod circuit;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, ConsumerConfig, Delivery, Fault, Handler};
use events::alerting::{AlertRaised, AlertResolved, NotificationDelivered, NotificationFailed};
use events::{AlertId, DomainEvent, EventEnvelope, NotificationId, ReceiverId, Timestamp};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::alert::Alert;
use crate::config::{Config, ReceiverConfig};
use crate::handler::Desk;
use circuit::Circuit;
use webhook::{Outcome, Webhook};

/// Alerts told to one receiver at once.
const CONCURRENCY: usize = 8;

/// Tells one receiver.
pub struct Notifier {
    desk: Desk,
    receiver: ReceiverId,
    webhook: Webhook,
    circuit: Circuit,
    send_resolved: bool,
    within: Duration,
    stop: CancellationToken,
    calls: Counter<u64>,
}

impl Notifier {
    /// A notifier for `receiver`.
    ///
    /// # Errors
    /// Where no HTTP client can be made for it.
    pub fn new(
        desk: Desk,
        receiver: &ReceiverConfig,
        config: &Config,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            desk,
            receiver: receiver.name.clone(),
            webhook: Webhook::new(receiver, &config.external_url)?,
            circuit: Circuit::new(config.retry_first, config.retry_longest),
            send_resolved: receiver.send_resolved,
            within: config.notify_within,
            stop,
            calls: opentelemetry::global::meter("alerting")
                .u64_counter("alerting_notifications_total")
                .with_description("Calls of receivers, by outcome")
                .build(),
        })
    }

    /// Tells the receiver of all alerts until `stop`.
    ///
    /// # Errors
    /// Where the consumer cannot be made.
    pub async fn run(self, bus: Bus) -> anyhow::Result<()> {
        let config = ConsumerConfig {
            durable: format!("alerting-notify-{}", self.receiver),
            filters: [AlertRaised::EVENT_TYPE, AlertResolved::EVENT_TYPE]
                .map(|event| format!("{event}.*"))
                .into(),
            concurrency: CONCURRENCY,
            ack_wait: Duration::from_secs(30),
            max_deliver: 0,
            from_now: false,
        };
        let stop = self.stop.clone();
        let this = Arc::new(self);
        let handler: Handler = Arc::new(move |delivery| {
            let this = Arc::clone(&this);
            Box::pin(async move { this.tell(delivery).await })
        });
        bus.consume(config, handler, stop).await?;
        Ok(())
    }

    /// Tells of one event, for as long as it takes.
    async fn tell(&self, delivery: Delivery) -> Result<Vec<EventEnvelope>, Fault> {
        let event = &delivery.event;
        let resolved = event.event_type == AlertResolved::EVENT_TYPE;
        let age = Duration::from_micros(
            u64::try_from(
                Timestamp::now()
                    .as_micros()
                    .saturating_sub(delivery.stored_us),
            )
            .unwrap_or(0),
        );
        if (resolved && !self.send_resolved) || (age > self.within && delivery.attempt == 1) {
            debug!(receiver = %self.receiver, subject = delivery.subject, age_s = age.as_secs(), "not told");
            return Ok(Vec::new());
        }
        let alert = self.alert(event).await?;
        let body = self.webhook.body(&alert, resolved);
        let notification = NotificationId::derive(event.id, self.receiver.as_str());
        let give_up = tokio::time::Instant::now() + self.within.saturating_sub(age);
        let mut attempt = 0_u8;
        loop {
            let turn = tokio::select! {
                turn = self.circuit.turn() => turn,
                () = self.stop.cancelled() => return Err(Fault::Retry("stopping".into())),
            };
            attempt = attempt.saturating_add(1);
            let began = tokio::time::Instant::now();
            // A call that has begun is finished: the receiver may have taken it.
            let outcome = self.webhook.call(&body, notification).await;
            let latency = began.elapsed();
            let outcome_name = outcome.name();
            self.calls.add(
                1,
                &[
                    KeyValue::new("receiver", self.receiver.to_string()),
                    KeyValue::new("outcome", outcome_name),
                ],
            );
            let told = Told {
                alert: &alert,
                cause: event,
                notification,
                delivery: delivery.attempt,
                attempt,
            };
            match outcome {
                Outcome::Accepted => {
                    turn.accepted();
                    return Ok(vec![self.delivered(&told, latency)?]);
                }
                Outcome::Refused(fault) => {
                    turn.accepted();
                    warn!(receiver = %self.receiver, alert = %alert.id(), code = fault.code, reason = fault.message, "receiver refused the notification");
                    return Ok(vec![self.failed(&told, fault, false)?]);
                }
                Outcome::Unavailable { fault, retry_after } => {
                    let next = turn.failed(retry_after);
                    let again = next < give_up;
                    warn!(receiver = %self.receiver, alert = %alert.id(), code = fault.code, reason = fault.message, attempt, again, "receiver did not take the notification");
                    let failed = self.failed(&told, fault, again)?;
                    if !again {
                        return Ok(vec![failed]);
                    }
                    let published = self.desk.bus().publish(&failed).await;
                    published.map_err(|error| Fault::Retry(error.to_string()))?;
                }
            }
        }
    }

    /// The alert as it was after `event`.
    async fn alert(&self, event: &EventEnvelope) -> Result<Alert, Fault> {
        let id = event.aggregate_id.parse().map(AlertId);
        let id = id.map_err(|error| Fault::Reject(format!("aggregate_id is no alert: {error}")))?;
        let mut alert = self.desk.get(id).await.map_err(crate::Error::fault)?;
        alert.apply(event);
        Ok(alert)
    }

    fn delivered(&self, told: &Told<'_>, latency: Duration) -> Result<EventEnvelope, Fault> {
        let event = NotificationDelivered {
            alert_id: told.alert.id(),
            notification_id: told.notification,
            receiver: self.receiver.clone(),
            timestamp: Timestamp::now(),
            latency_ms: latency.as_secs_f64() * 1e3,
            attempt: told.attempt,
        };
        self.envelope(told, &event)
    }

    fn failed(
        &self,
        told: &Told<'_>,
        fault: webhook::Fault,
        will_retry: bool,
    ) -> Result<EventEnvelope, Fault> {
        let event = NotificationFailed {
            alert_id: told.alert.id(),
            notification_id: told.notification,
            receiver: self.receiver.clone(),
            timestamp: Timestamp::now(),
            error_code: fault.code,
            error_message: fault.message,
            attempt: told.attempt,
            will_retry,
        };
        self.envelope(told, &event)
    }

    fn envelope<E: DomainEvent>(&self, told: &Told<'_>, event: &E) -> Result<EventEnvelope, Fault> {
        let name = format!(
            "{}/{}/{}.{}",
            E::EVENT_TYPE,
            self.receiver,
            told.delivery,
            told.attempt
        );
        let id = Uuid::new_v5(&told.cause.id, name.as_bytes());
        let envelope = EventEnvelope::new(id, event, self.desk.metadata(told.alert.data_source));
        let envelope = envelope.map_err(|error| Fault::Reject(error.to_string()))?;
        Ok(envelope
            .caused_by(told.cause.id)
            .correlated(told.cause.correlation_id))
    }
}

/// What was told.
struct Told<'a> {
    alert: &'a Alert,
    cause: &'a EventEnvelope,
    notification: NotificationId,
    delivery: u64,
    attempt: u8,
}
