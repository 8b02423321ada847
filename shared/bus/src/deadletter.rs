//! Messages that a consumer could not handle: kept in DEADLETTER under `deadletter.{consumer}`, as they were, with what
//! happened in headers.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{HeaderName, HeaderValue, NATS_MESSAGE_ID};
use async_nats::jetstream::AckKind;
use bytes::Bytes;
use serde::Deserialize;
use tracing::{debug, error, warn};

use crate::connect::{Core, chain};
use crate::direct::{Begin, Stored};
use crate::durable::{Durable, Spec};
use crate::publish::Outgoing;
use crate::{Error, subject, table, trace};

const REASON: HeaderName = HeaderName::from_static("Fresnel-Reason");
const SUBJECT: HeaderName = HeaderName::from_static("Fresnel-Subject");
const STREAM: HeaderName = HeaderName::from_static("Fresnel-Stream");
const SEQUENCE: HeaderName = HeaderName::from_static("Fresnel-Sequence");
const CONSUMER: HeaderName = HeaderName::from_static("Fresnel-Consumer");
const ATTEMPTS: HeaderName = HeaderName::from_static("Fresnel-Attempts");
const MESSAGE_ID: HeaderName = HeaderName::from_static("Fresnel-Message-Id");

/// The reason may quote input: no more of it than this.
const MAX_REASON: usize = 2_000;

/// A message that a consumer could not handle.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// Sequence in DEADLETTER.
    pub sequence: u64,
    /// When it was given up, microseconds since the Unix epoch.
    pub stored_us: i64,
    /// The durable consumer that gave up.
    pub consumer: String,
    /// Why.
    pub reason: String,
    /// Subject of the original.
    pub subject: String,
    /// Stream of the original.
    pub stream: String,
    /// Sequence of the original in its stream.
    pub stream_sequence: u64,
    /// How often it was delivered.
    pub attempts: u64,
    /// Headers of the original, sorted; its `Nats-Msg-Id` under `Fresnel-Message-Id`.
    pub headers: Vec<(String, String)>,
    /// Payload of the original, whatever it was. Empty where the original was gone already.
    pub payload: Bytes,
}

/// What became of a message, before it is written down.
pub(crate) struct Given<'a> {
    pub consumer: &'a str,
    pub reason: &'a str,
    pub subject: &'a str,
    pub stream: &'a str,
    pub sequence: u64,
    pub attempts: u64,
    pub headers: Option<&'a HeaderMap>,
    pub payload: Bytes,
}

impl Core {
    /// Writes a dead letter; the same message given up twice by the same consumer is written once.
    pub(crate) async fn give_up(&self, given: Given<'_>) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        // What begins with Nats- tells the server what to do, and would tell it again.
        let copied = given.headers.into_iter().flat_map(HeaderMap::iter);
        for (name, values) in
            copied.filter(|(name, _)| !AsRef::<str>::as_ref(name).starts_with("Nats-"))
        {
            for value in values {
                headers.append(name.clone(), value.clone());
            }
        }
        if let Some(id) = given
            .headers
            .and_then(|headers| headers.get(NATS_MESSAGE_ID))
        {
            headers.insert(MESSAGE_ID, id.clone());
        }
        let reason: String = given.reason.chars().take(MAX_REASON).collect();
        headers.insert(REASON, trace::encoded(&reason).into_owned());
        headers.insert(SUBJECT, trace::encoded(given.subject).into_owned());
        headers.insert(STREAM, given.stream);
        headers.insert(SEQUENCE, given.sequence.to_string());
        headers.insert(CONSUMER, given.consumer);
        headers.insert(ATTEMPTS, given.attempts.to_string());
        headers.insert(
            NATS_MESSAGE_ID,
            format!("dlq-{}-{}-{}", given.stream, given.sequence, given.consumer),
        );
        warn!(
            consumer = given.consumer,
            subject = given.subject,
            sequence = given.sequence,
            attempts = given.attempts,
            reason,
            "dead letter"
        );
        let message = Outgoing {
            subject: format!("deadletter.{}", given.consumer).into(),
            headers: (&headers).into(),
            payload: given.payload,
        };
        self.publish(&message).await.map(|_| ())
    }

    /// The dead letters of one consumer, or of all, after a sequence of DEADLETTER; oldest first, at most `limit`.
    pub(crate) async fn dead_letters(
        &self,
        consumer: Option<&str>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Error> {
        let filter = match consumer {
            Some(consumer) => {
                let filter = format!("deadletter.{consumer}");
                subject::check_token(&filter, consumer)?;
                filter
            }
            None => "deadletter.>".to_owned(),
        };
        let mut letters = Vec::new();
        if limit == 0 {
            return Ok(letters);
        }
        let mut take = |stored: Stored| {
            letters.push(letter(stored));
            if letters.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        self.read(table::DEADLETTER, &filter, Begin::At(after + 1), &mut take)
            .await?;
        Ok(letters)
    }

    /// Starts the worker that turns the server's MAX_DELIVERIES advisories into dead letters: once per connection. All
    /// processes share its durable consumer.
    pub(crate) fn start_undertaker(&self) {
        if !self.undertaker.swap(true, Ordering::AcqRel) {
            tokio::spawn(bury(self.clone()));
        }
    }

    async fn bury_one(&self, payload: &[u8]) -> Result<(), Error> {
        let advisory: Advisory = match serde_json::from_slice(payload) {
            Ok(advisory) => advisory,
            Err(error) => {
                error!(%error, "advisory of the server is not readable");
                return Ok(());
            }
        };
        let original = self.at(&advisory.stream, advisory.stream_seq).await?;
        let (subject, headers, payload, reason) = match &original {
            Some(stored) => (
                stored.subject.as_str(),
                Some(&stored.headers),
                stored.payload.clone(),
                "every delivery went unanswered",
            ),
            None => (
                "",
                None,
                Bytes::new(),
                "every delivery went unanswered, and the message itself has expired since",
            ),
        };
        self.give_up(Given {
            consumer: &advisory.consumer,
            reason,
            subject,
            stream: &advisory.stream,
            sequence: advisory.stream_seq,
            attempts: advisory.deliveries,
            headers,
            payload,
        })
        .await
    }
}

#[derive(Deserialize)]
struct Advisory {
    stream: String,
    consumer: String,
    stream_seq: u64,
    #[serde(default)]
    deliveries: u64,
}

async fn bury(core: Core) {
    let spec = Spec {
        stream: table::ADVISORY,
        durable: "deadletters".to_owned(),
        filters: Vec::new(),
        ack_wait: Duration::from_secs(30),
        max_deliver: 0,
        max_ack_pending: 64,
        from_now: false,
    };
    let mut advisories = loop {
        tokio::select! {
            () = core.closed.cancelled() => return,
            opened = Durable::open(&core, spec.clone()) => match opened {
                Ok(advisories) => break advisories,
                Err(error) => warn!(%error, "exhausted deliveries are not watched yet"),
            },
        }
    };
    loop {
        let message = tokio::select! {
            () = core.closed.cancelled() => return,
            message = advisories.next() => message,
        };
        let answer = match core.bury_one(&message.payload).await {
            Ok(()) => AckKind::Ack,
            Err(error) => {
                warn!(%error, "dead letter is not written yet");
                AckKind::Nak(Some(Duration::from_secs(5)))
            }
        };
        if let Err(error) = message.ack_with(answer).await {
            debug!(error = chain(&*error), "advisory is not acknowledged");
        }
    }
}

fn letter(stored: Stored) -> DeadLetter {
    let text = |name: HeaderName| {
        stored
            .headers
            .get(name)
            .map(HeaderValue::as_str)
            .unwrap_or_default()
    };
    let mut headers: Vec<(String, String)> = stored
        .headers
        .iter()
        .filter(|(name, _)| !AsRef::<str>::as_ref(*name).starts_with("Nats-"))
        .filter(|(name, _)| ![REASON, SUBJECT, STREAM, SEQUENCE, CONSUMER, ATTEMPTS].contains(name))
        .flat_map(|(name, values)| {
            values
                .iter()
                .map(move |value| (name.to_string(), value.to_string()))
        })
        .collect();
    headers.sort();
    DeadLetter {
        sequence: stored.sequence,
        stored_us: stored.stored_us,
        consumer: text(CONSUMER).to_owned(),
        reason: trace::decoded(text(REASON)),
        subject: trace::decoded(text(SUBJECT)),
        stream: text(STREAM).to_owned(),
        stream_sequence: text(SEQUENCE).parse().unwrap_or_default(),
        attempts: text(ATTEMPTS).parse().unwrap_or_default(),
        headers,
        payload: stored.payload,
    }
}
