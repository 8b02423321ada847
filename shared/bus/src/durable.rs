//! A durable pull consumer on the server, and the messages that it gives, through reconnects and restarts.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::Error;
use crate::connect::{Core, Link, chain, reconnected};
use crate::error::Attempt;

/// How a durable consumer is to be.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub stream: &'static str,
    pub durable: String,
    pub filters: Vec<String>,
    pub ack_wait: Duration,
    /// 0: without end.
    pub max_deliver: u64,
    pub max_ack_pending: i64,
    pub from_now: bool,
}

pub(crate) struct Durable {
    core: Core,
    spec: Spec,
    messages: Option<pull::Stream>,
    link: watch::Receiver<Link>,
    epoch: u64,
}

impl Durable {
    /// Makes the consumer on the server, or brings it to the form asked for.
    pub async fn open(core: &Core, spec: Spec) -> Result<Self, Error> {
        let what = format!("open consumer {} on {}", spec.durable, spec.stream);
        let link = core.link.clone();
        let epoch = link.borrow().epoch;
        let from_now = spec.from_now;
        let messages = core
            .persist(&what, |_| subscribe(core, &spec, from_now).boxed())
            .await?;
        Ok(Self {
            core: core.clone(),
            spec,
            messages: Some(messages),
            link,
            epoch,
        })
    }

    /// The next message; waits for ever, restarts of the server included. Cancel-safe.
    pub async fn next(&mut self) -> jetstream::Message {
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
            match next {
                Some(Ok(message)) => return message,
                Some(Err(error)) => {
                    debug!(durable = self.spec.durable, %error, "consumer is opened again");
                    self.messages = None;
                }
                None => self.messages = None,
            }
        }
    }

    /// Asks for nothing more, and gives what was received and not yet handed out.
    pub fn close(&mut self) -> Vec<jetstream::Message> {
        let mut rest = Vec::new();
        if let Some(mut messages) = self.messages.take() {
            while let Some(Some(next)) = messages.next().now_or_never() {
                match next {
                    Ok(message) => rest.push(message),
                    Err(_) => break,
                }
            }
        }
        rest
    }

    async fn reopen(&mut self) {
        let mut pause = Duration::from_millis(10);
        let mut warned = false;
        loop {
            self.epoch = self.link.borrow_and_update().epoch;
            // A consumer that is gone with its memory stream begins at the start of the new one: what is there came since.
            let attempt = tokio::time::timeout(
                Duration::from_secs(5),
                subscribe(&self.core, &self.spec, false),
            );
            let reason = match attempt.await {
                Ok(Ok(messages)) => {
                    self.messages = Some(messages);
                    return;
                }
                Ok(Err(Attempt::Transient(reason))) => reason,
                Ok(Err(Attempt::Fatal(error))) => {
                    if !std::mem::replace(&mut warned, true) {
                        warn!(durable = self.spec.durable, %error, "consumer cannot be opened");
                    }
                    error.to_string()
                }
                Err(_) => "no answer".to_owned(),
            };
            debug!(durable = self.spec.durable, reason, "consumer waits");
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(1)),
                () = reconnected(&mut self.link, self.epoch) => pause = Duration::from_millis(10),
            }
        }
    }
}

async fn subscribe(core: &Core, spec: &Spec, from_now: bool) -> Result<pull::Stream, Attempt> {
    let found: Result<jetstream::consumer::Consumer<pull::Config>, _> = core
        .js
        .get_consumer_from_stream(spec.durable.as_str(), spec.stream)
        .await;
    let present = match found {
        Ok(consumer) => Some(consumer.cached_info().config.clone()),
        Err(error) => match error.kind() {
            jetstream::stream::ConsumerErrorKind::JetStream(inner)
                if inner.error_code().0 == 10014 =>
            {
                None
            }
            _ => return Err(Attempt::Transient(chain(&error))),
        },
    };
    // Where a consumer began cannot be changed afterwards, and needs no change.
    let deliver_policy = match &present {
        Some(config) => config.deliver_policy,
        None if from_now => DeliverPolicy::New,
        None => DeliverPolicy::All,
    };
    let config = pull::Config {
        durable_name: Some(spec.durable.clone()),
        deliver_policy,
        ack_policy: AckPolicy::Explicit,
        ack_wait: spec.ack_wait,
        max_deliver: i64::try_from(spec.max_deliver)
            .ok()
            .filter(|&most| most > 0)
            .unwrap_or(-1),
        filter_subjects: spec.filters.clone(),
        max_ack_pending: spec.max_ack_pending,
        ..pull::Config::default()
    };
    let consumer = core
        .js
        .create_consumer_on_stream(config, spec.stream)
        .await
        .map_err(|error| match error.kind() {
            jetstream::stream::ConsumerErrorKind::JetStream(inner)
                if inner.code() != 503 && inner.code() != 404 =>
            {
                Attempt::Fatal(Error::Consumer {
                    durable: spec.durable.clone(),
                    reason: inner.to_string(),
                })
            }
            _ => Attempt::Transient(chain(&error)),
        })?;
    let batch = usize::try_from(spec.max_ack_pending)
        .unwrap_or(64)
        .clamp(1, 200);
    consumer
        .stream()
        .max_messages_per_batch(batch)
        .heartbeat(Duration::from_secs(5))
        .messages()
        .await
        .map_err(|error| Attempt::Transient(chain(&error)))
}
