//! Durable consumers: the handler is a plain function from an event to events, and everything else happens here.
//!
//! A message is acked when everything that follows from it is stored. `Retry` (and a panic) is a delayed nak with doubling
//! back-off; `Reject`, and a payload that is no event, a dead letter. The messages of one key are handled one at a time and
//! in the order of the stream, also when one of them has to be tried again, as long as one process works the durable;
//! several processes that share it share the messages of a key too. After a crash, or a lost ack, a message is handled again:
//! ids derived from its id make what follows from it the same events.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream::{self, AckKind};
use bytes::Bytes;
use events::EventEnvelope;
use futures::FutureExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, debug, error, info_span, warn};

use crate::connect::{Core, chain};
use crate::deadletter::Given;
use crate::direct::{decode, nanos};
use crate::durable::{Durable, Spec};
use crate::lanes::Lanes;
use crate::publish::Outgoing;
use crate::subject::key_of;
use crate::{ConsumerConfig, Delivery, Error, Fault, Handler, subject, trace};

/// First pause before a message is tried again; doubles with each attempt.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Longest wait for the server to confirm an ack. Without, the message comes again.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);

/// How the handling of one message ended.
enum Ending {
    /// Acked, or given up: it will not come again.
    Over,
    /// It comes again after this time.
    Again(Duration),
}

struct Done {
    key: String,
    number: u64,
    ending: Ending,
}

/// What every handling needs.
struct Work {
    core: Core,
    durable: String,
    stream: &'static str,
    max_deliver: u64,
    handler: Handler,
}

/// Runs a durable consumer until `stop`, then finishes what is in hand.
pub(crate) async fn consume(
    core: Core,
    config: ConsumerConfig,
    handler: Handler,
    stop: CancellationToken,
) -> Result<(), Error> {
    let (stream, selection) = check(&config)?;
    let concurrency = config.concurrency.max(1);
    let spec = Spec {
        stream,
        durable: config.durable.clone(),
        filters: selection.server.clone(),
        ack_wait: config.ack_wait,
        max_deliver: config.max_deliver,
        max_ack_pending: i64::try_from(concurrency.saturating_mul(16).clamp(256, 4096))
            .unwrap_or(4096),
        from_now: config.from_now,
    };
    core.start_undertaker();
    let mut source = tokio::select! {
        opened = Durable::open(&core, spec) => opened?,
        () = stop.cancelled() => return Ok(()),
    };
    let work = Arc::new(Work {
        core,
        durable: config.durable,
        stream,
        max_deliver: config.max_deliver,
        handler,
    });
    let began = Instant::now();
    let grace = config.ack_wait + Duration::from_secs(5);
    let mut progress = tokio::time::interval(
        (config.ack_wait / 2).clamp(Duration::from_millis(50), Duration::from_secs(10)),
    );
    progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lanes: Lanes<jetstream::Message> = Lanes::new(concurrency);
    let mut in_hand: HashMap<u64, Subject> = HashMap::new();
    let mut tasks: JoinSet<Done> = JoinSet::new();
    let mut stopping = false;
    loop {
        while let Some((key, number, message)) = lanes.start() {
            tasks.spawn(handle(Arc::clone(&work), key, number, message));
        }
        if stopping && lanes.is_empty() {
            return Ok(());
        }
        tokio::select! {
            Some(done) = tasks.join_next() => match done {
                Ok(done) => {
                    in_hand.remove(&done.number);
                    let again = match done.ending {
                        Ending::Over => None,
                        Ending::Again(delay) => Some(began.elapsed() + delay + grace),
                    };
                    lanes.finish(&done.key, again);
                    if stopping {
                        hand_back(&work, lanes.release_blocked()).await;
                    }
                }
                // The handler's panics are caught within; this one is ours.
                Err(fault) => return Err(Error::Closed { what: format!("consumer {} ({fault})", work.durable) }),
            },
            message = source.next(), if !stopping => {
                let Ok(info) = message.info() else { continue };
                let number = info.stream_sequence;
                if !selection.takes(&message.subject) {
                    acknowledge(&work, &message).await;
                    continue;
                }
                let Some(reply) = message.reply.clone() else { continue };
                let key = key_of(&message.subject).to_owned();
                // A delivery of what is in hand already only renews the handle by which it is acked.
                in_hand.insert(number, reply);
                lanes.accept(&key, number, message);
            }
            _ = progress.tick() => {
                lanes.tick(began.elapsed());
                for reply in in_hand.values() {
                    send(&work, reply, AckKind::Progress).await;
                }
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                hand_back(&work, source.close()).await;
                hand_back(&work, lanes.release_blocked()).await;
            }
        }
    }
}

fn check(config: &ConsumerConfig) -> Result<(&'static str, subject::Selection), Error> {
    let fault = |reason: &str| {
        Err(Error::Consumer {
            durable: config.durable.clone(),
            reason: reason.to_owned(),
        })
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if config.durable.is_empty() || !config.durable.chars().all(plain) {
        return fault("a durable name is letters, digits, - and _");
    }
    if config.ack_wait < Duration::from_millis(100) {
        return fault("ack_wait must be at least 100 ms");
    }
    subject::select_one(&config.filters)
}

/// Handles one message to its end.
async fn handle(work: Arc<Work>, key: String, number: u64, message: jetstream::Message) -> Done {
    let span = span(&work, &message, number);
    let ending = handle_within(&work, number, &message)
        .instrument(span)
        .await;
    Done {
        key,
        number,
        ending,
    }
}

fn span(work: &Work, message: &jetstream::Message, number: u64) -> Span {
    let headers = message.headers.as_ref();
    let id = headers
        .and_then(|headers| headers.get(async_nats::header::NATS_MESSAGE_ID))
        .map_or("", |id| id.as_str());
    let span = info_span!(
        "process",
        otel.name = format!("process {}", work.durable),
        otel.kind = "consumer",
        otel.status_code = tracing::field::Empty,
        otel.status_description = tracing::field::Empty,
        messaging.system = "nats",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = %message.subject,
        messaging.destination.subscription.name = work.stream,
        messaging.consumer.group.name = work.durable,
        messaging.message.id = id,
        messaging.message.body.size = message.payload.len(),
        messaging.nats.stream.sequence = number,
    );
    trace::continue_trace(&span, headers);
    span
}

async fn handle_within(work: &Work, number: u64, message: &jetstream::Message) -> Ending {
    let (attempt, stored_us) = match message.info() {
        Ok(info) => (
            u64::try_from(info.delivered).unwrap_or(1),
            nanos(info.published) / 1_000,
        ),
        Err(_) => (1, 0),
    };
    let fault = match decode(work.stream, &message.subject, number, &message.payload) {
        Err(error) => Fault::Reject(error.to_string()),
        Ok(event) => {
            let delivery = Delivery {
                subject: message.subject.to_string(),
                stream: work.stream.to_owned(),
                stream_sequence: number,
                attempt,
                stored_us,
                event,
            };
            match run(work, delivery).await {
                Ok(()) => {
                    acknowledge(work, message).await;
                    return Ending::Over;
                }
                Err(fault) => fault,
            }
        }
    };
    Span::current().record("otel.status_code", "ERROR");
    Span::current().record("otel.status_description", fault.to_string());
    let exhausted = work.max_deliver > 0 && attempt >= work.max_deliver;
    match fault {
        Fault::Retry(reason) if !exhausted => {
            let delay = backoff(attempt);
            warn!(durable = work.durable, subject = %message.subject, attempt, reason, delay_ms = delay.as_millis(), "will be tried again");
            again(work, message, delay).await
        }
        Fault::Retry(reason) | Fault::Reject(reason) => {
            give_up(work, number, attempt, message, &reason).await
        }
    }
}

/// The handler, and then the publishing of what follows.
async fn run(work: &Work, delivery: Delivery) -> Result<(), Fault> {
    let subject = delivery.subject.clone();
    let outcome = AssertUnwindSafe(async { (work.handler)(delivery).await })
        .catch_unwind()
        .await;
    let events: Vec<EventEnvelope> = match outcome {
        Ok(outcome) => outcome?,
        Err(panic) => {
            let reason = panic_text(&*panic);
            error!(durable = work.durable, subject, reason, "handler panicked");
            return Err(Fault::Retry(format!("the handler panicked: {reason}")));
        }
    };
    // What cannot be published now can never be: the same input gives the same events.
    let messages = events
        .iter()
        .map(Outgoing::event)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Fault::Reject(error.to_string()))?;
    work.core
        .publish_each(&messages)
        .await
        .map(|_| ())
        .map_err(|error| match error {
            Error::Refused { .. } => Fault::Reject(error.to_string()),
            _ => Fault::Retry(error.to_string()),
        })
}

async fn give_up(
    work: &Work,
    number: u64,
    attempt: u64,
    message: &jetstream::Message,
    reason: &str,
) -> Ending {
    let given = Given {
        consumer: &work.durable,
        reason,
        subject: &message.subject,
        stream: work.stream,
        sequence: number,
        attempts: attempt,
        headers: message.headers.as_ref(),
        payload: message.payload.clone(),
    };
    match work.core.give_up(given).await {
        Ok(()) => {
            if let Some(reply) = &message.reply {
                send(work, reply, AckKind::Term).await;
            }
            Ending::Over
        }
        Err(error) => {
            warn!(durable = work.durable, %error, "dead letter is not written yet");
            again(work, message, backoff(attempt)).await
        }
    }
}

async fn again(work: &Work, message: &jetstream::Message, delay: Duration) -> Ending {
    if let Some(reply) = &message.reply {
        send(work, reply, AckKind::Nak(Some(delay))).await;
    }
    Ending::Again(delay)
}

/// Nobody here will take them: another worker may have them at once.
async fn hand_back(work: &Work, messages: Vec<jetstream::Message>) {
    for reply in messages.iter().filter_map(|message| message.reply.as_ref()) {
        send(work, reply, AckKind::Nak(None)).await;
    }
}

fn backoff(attempt: u64) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(16);
    FIRST_BACKOFF
        .saturating_mul(1 << doublings)
        .min(MAX_BACKOFF)
}

/// Acks and waits for the server to confirm it, so that the next message of the key finds this one settled.
async fn acknowledge(work: &Work, message: &jetstream::Message) {
    let Some(reply) = &message.reply else { return };
    let request = work.core.client.request(reply.clone(), AckKind::Ack.into());
    match tokio::time::timeout(ACK_TIMEOUT, request).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => debug!(
            durable = work.durable,
            error = chain(&error),
            "ack is not confirmed"
        ),
        Err(_) => debug!(durable = work.durable, "ack is not confirmed"),
    }
}

async fn send(work: &Work, reply: &Subject, kind: AckKind) {
    let publish = work.core.client.publish(reply.clone(), Bytes::from(kind));
    // While the connection is down the client's queue may be full; what is not said, the server learns by its clock.
    match tokio::time::timeout(ACK_TIMEOUT, publish).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(
            durable = work.durable,
            error = chain(&error),
            "not acknowledged"
        ),
        Err(_) => debug!(durable = work.durable, "not acknowledged: not connected"),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_a_bound() {
        assert_eq!(backoff(1), Duration::from_millis(250));
        assert_eq!(backoff(3), Duration::from_secs(1));
        assert_eq!(backoff(u64::MAX), MAX_BACKOFF);
    }
}
