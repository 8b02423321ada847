//! One event, or several, published and acknowledged.

use async_nats::Subject;
use async_nats::jetstream;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use events::{DomainEvent, EventEnvelope, OutgoingEvent};
use futures::FutureExt as _;
use serde::Serialize;

use crate::connect::{Core, chain};
use crate::error::Attempt;
use crate::headers::Headers;
use crate::trace::Heading;
use crate::{Ack, Error, subject, table, trace};

/// Most events are no longer, as JSON.
const USUAL_BYTES: usize = 768;

/// A message ready to go.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub subject: Subject,
    pub headers: Headers,
    pub payload: Bytes,
}

impl Outgoing {
    /// An event as a message; refuses what cannot be a subject, or is of no stream.
    pub fn event(event: &EventEnvelope) -> Result<Self, Error> {
        Ok(Self::in_stream(event.into(), &event.key, event)?.0)
    }

    /// The event with this heading and key, and the stream that takes it; `json` is all of it.
    fn in_stream(
        heading: Heading<'_>,
        key: &str,
        json: &impl Serialize,
    ) -> Result<(Self, &'static table::StreamSpec), Error> {
        let subject = format!("{}.{key}", heading.event_type);
        subject::check(heading.event_type)?;
        subject::check_token(&subject, key)?;
        let stream = known(&subject)?;
        let mut payload = Vec::with_capacity(USUAL_BYTES);
        serde_json::to_writer(&mut payload, json).map_err(|error| Error::Encode {
            what: format!("{subject} {}", heading.id),
            reason: error.to_string(),
        })?;
        let outgoing = Self {
            subject: subject.into(),
            headers: trace::event_headers(&heading),
            payload: payload.into(),
        };
        Ok((outgoing, stream))
    }

    pub fn what(&self) -> String {
        format!("publish {}", self.subject)
    }
}

/// Refuses a subject that no stream of the table takes: its publisher would wait in vain.
pub(crate) fn known(subject: &str) -> Result<&'static table::StreamSpec, Error> {
    table::stream_of(subject).ok_or_else(|| Error::Subject {
        subject: subject.to_owned(),
        reason: "no stream takes it".to_owned(),
    })
}

/// A subject of the data plane that a stream takes, looked up once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DataSubject {
    subject: Subject,
    stream: &'static table::StreamSpec,
}

impl DataSubject {
    /// # Errors
    /// Where no stream takes the subject, or it is none.
    pub fn new(subject: String) -> Result<Self, Error> {
        subject::check(&subject)?;
        let stream = known(&subject)?;
        Ok(Self {
            subject: subject.into(),
            stream,
        })
    }
}

/// A message that is ready to go through a [`Pipeline`](crate::Pipeline).
#[derive(Clone, Debug)]
pub struct Message {
    /// Name of its stream.
    pub(crate) stream: &'static str,
    /// Whether it may go in a batch, whose messages are acknowledged many at once.
    pub(crate) batched: bool,
    pub(crate) outgoing: Outgoing,
}

impl Message {
    /// A message of the data plane; `id` is its `Nats-Msg-Id` where given.
    #[must_use]
    pub fn data(to: &DataSubject, payload: Bytes, id: Option<String>) -> Self {
        let mut headers = Headers::default();
        // The server takes repeated ids out of a batch without a word.
        let batched = id.is_none() && to.stream.batched;
        if let Some(id) = id {
            headers.push(async_nats::header::NATS_MESSAGE_ID, id);
        }
        Self {
            stream: to.stream.name,
            batched,
            outgoing: Outgoing {
                subject: to.subject.clone(),
                headers,
                payload,
            },
        }
    }

    /// An event, with the trace of the current span.
    ///
    /// # Errors
    /// Where the event has no subject that a stream takes, or cannot be written as JSON.
    pub fn event(event: &EventEnvelope) -> Result<Self, Error> {
        Outgoing::in_stream(event.into(), &event.key, event).map(Self::alone)
    }

    /// The same for an event that has not been put in an [`EventEnvelope`]: cheaper, for hot paths.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub fn outgoing<E: DomainEvent>(event: &OutgoingEvent<'_, E>) -> Result<Self, Error> {
        Outgoing::in_stream(event.into(), &event.key, event).map(Self::alone)
    }

    fn alone((outgoing, stream): (Outgoing, &'static table::StreamSpec)) -> Self {
        Self {
            stream: stream.name,
            batched: false,
            outgoing,
        }
    }

    /// The same, as part of the trace of the current span; to be called once, and not for an event, which is so already.
    #[must_use]
    pub fn traced(mut self) -> Self {
        trace::inject(&mut self.outgoing.headers);
        self
    }
}

/// What the server answered to a publish that carries an expectation.
pub(crate) enum Answer {
    Stored(Ack),
    /// The subject filter was not at the sequence expected.
    Conflict,
}

impl Core {
    /// Publishes one message, and waits for its ack.
    pub(crate) async fn publish(&self, message: &Outgoing) -> Result<Ack, Error> {
        let what = message.what();
        let answer = self
            .persist(&what, |_| self.publish_once(&what, message).boxed())
            .await?;
        match answer {
            Answer::Stored(ack) => Ok(ack),
            Answer::Conflict => Err(Error::Refused {
                what,
                reason: "the expected sequence was another".to_owned(),
            }),
        }
    }

    /// One attempt.
    pub(crate) async fn publish_once(
        &self,
        what: &str,
        message: &Outgoing,
    ) -> Result<Answer, Attempt> {
        let pending = self
            .send(message)
            .await
            .map_err(|error| classify(what, &error))?;
        match pending.await {
            Ok(ack) => Ok(Answer::Stored(Ack {
                stream: ack.stream,
                sequence: ack.sequence,
                duplicate: ack.duplicate,
            })),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Ok(Answer::Conflict)
            }
            Err(error) => Err(classify(what, &error)),
        }
    }

    /// Writes the message to the connection; the future is its ack.
    pub(crate) async fn send(
        &self,
        message: &Outgoing,
    ) -> Result<jetstream::context::PublishAckFuture, PublishError> {
        let mut publish = PublishMessage::build().payload(message.payload.clone());
        if !message.headers.is_empty() {
            publish = publish.headers(message.headers.map());
        }
        self.js.send_publish(message.subject.clone(), publish).await
    }

    /// Publishes all, in order, and waits for all acks. Not atomic: after an attempt that failed in the middle, what is not
    /// acknowledged is sent again, in order, and what the server had already is a duplicate.
    pub(crate) async fn publish_each(&self, messages: &[Outgoing]) -> Result<Vec<Ack>, Error> {
        let what = match messages {
            [] => return Ok(Vec::new()),
            [only] => return Ok(vec![self.publish(only).await?]),
            [first, rest @ ..] => format!("publish {} and {} more", first.subject, rest.len()),
        };
        self.persist(&what, |_| self.publish_each_once(messages).boxed())
            .await
    }

    async fn publish_each_once(&self, messages: &[Outgoing]) -> Result<Vec<Ack>, Attempt> {
        let mut pending = Vec::with_capacity(messages.len());
        for message in messages {
            pending.push(
                self.send(message)
                    .await
                    .map_err(|error| classify(&message.what(), &error))?,
            );
        }
        let mut acks = Vec::with_capacity(messages.len());
        for (message, ack) in messages.iter().zip(pending) {
            let ack = ack
                .await
                .map_err(|error| classify(&message.what(), &error))?;
            acks.push(Ack {
                stream: ack.stream,
                sequence: ack.sequence,
                duplicate: ack.duplicate,
            });
        }
        Ok(acks)
    }
}

/// Whether trying again may help.
pub(crate) fn classify(what: &str, error: &PublishError) -> Attempt {
    let refused = |reason: String| {
        Attempt::Fatal(Error::Refused {
            what: what.to_owned(),
            reason,
        })
    };
    match error.kind() {
        PublishErrorKind::StreamNotFound => {
            Attempt::Transient("no stream takes the subject (yet)".to_owned())
        }
        // The server does not say why: it hangs, or could not write.
        PublishErrorKind::TimedOut => Attempt::Transient(
            "no acknowledgement came; a server whose disk was full stores nothing until it is started again"
                .to_owned(),
        ),
        PublishErrorKind::BrokenPipe | PublishErrorKind::MaxAckPending => {
            Attempt::Transient(chain(error))
        }
        PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::MaxPayloadExceeded => refused(chain(error)),
        PublishErrorKind::Other => match std::error::Error::source(error)
            .and_then(|source| source.downcast_ref::<jetstream::Error>())
        {
            Some(inner) => classify_api(what, inner),
            None => Attempt::Transient(chain(error)),
        },
    }
}

/// The same for an answer of the JetStream API.
pub(crate) fn classify_api(what: &str, error: &jetstream::Error) -> Attempt {
    match (error.code(), error.error_code().0) {
        // 503: starting, recovering or without a leader; 10210, 10211: other batches are open.
        (503, _) | (_, 10210 | 10211) => Attempt::Transient(error.to_string()),
        _ => Attempt::Fatal(Error::Refused {
            what: what.to_owned(),
            reason: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use events::signal::CsiFrameReceived;
    use events::{DataSource, DeviceId, FrameId, Metadata, Timestamp};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_event_that_goes_out_straight_is_the_same_message() {
        let event = CsiFrameReceived {
            frame_id: FrameId(Uuid::from_u128(1)),
            device_id: DeviceId("hall-1".parse().unwrap()),
            session_id: None,
            sequence_number: 7,
            timestamp: Timestamp::from_micros(1_500_000),
            num_subcarriers: 64,
            num_antennas: 1,
            snr_db: Some(0.5),
            payload_size: 256,
        };
        let metadata = Metadata {
            source: "hardware-gateway/Küche".to_owned(),
            data_source: Some(DataSource::Replay),
            ..Metadata::default()
        };
        let (id, run) = (Uuid::from_u128(2), Some(Uuid::from_u128(3)));
        let envelope = EventEnvelope::new(id, &event, metadata.clone()).unwrap();
        let whole = Message::event(&envelope.correlated(run)).unwrap();
        let outgoing = OutgoingEvent::new(id, &event, &metadata).correlated(run);
        let straight = Message::outgoing(&outgoing).unwrap();
        assert_eq!(straight.outgoing.subject, whole.outgoing.subject);
        assert_eq!(straight.outgoing.headers, whole.outgoing.headers);
        assert_eq!(
            (straight.stream, straight.batched),
            (whole.stream, whole.batched)
        );
        let json = |message: &Message| -> serde_json::Value {
            serde_json::from_slice(&message.outgoing.payload).unwrap()
        };
        assert_eq!(json(&straight), json(&whole));
    }
    #[test]
    fn nothing_can_break_out_of_a_subject() {
        // The client does not look at subjects.
        for part in [
            "a b",
            "a\r\nPUB data.csi.x.y 0",
            "a\tb",
            "*",
            ">",
            "",
            "a\u{a0}b",
        ] {
            let error = DataSubject::new(format!("data.csi.{part}.esp")).unwrap_err();
            assert!(matches!(error, Error::Subject { .. }), "{part:?}: {error}");
            let mut event = EventEnvelope::new(
                Uuid::nil(),
                &CsiFrameReceived {
                    frame_id: FrameId(Uuid::nil()),
                    device_id: DeviceId("hall-1".parse().unwrap()),
                    session_id: None,
                    sequence_number: 0,
                    timestamp: Timestamp::from_micros(0),
                    num_subcarriers: 0,
                    num_antennas: 0,
                    snr_db: None,
                    payload_size: 0,
                },
                Metadata::default(),
            )
            .unwrap();
            let sent = event.clone();
            assert!(Message::event(&sent).is_ok());
            event.event_type = format!("signal.{part}");
            assert!(Message::event(&event).is_err(), "type {part:?}");
            event.event_type = sent.event_type;
            event.key = part.to_owned();
            assert!(Message::event(&event).is_err(), "key {part:?}");
        }
        assert!(DataSubject::new("data.csi.hall.esp-1".to_owned()).is_ok());
    }
}
