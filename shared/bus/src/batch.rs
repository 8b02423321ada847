//! Several events of one stream as one atomic batch: all are stored, next to each other, or none is.
//!
//! On file storage a batch costs about 10 ms: it is for commands that yield several events, never for a hot path.

use async_nats::RequestErrorKind;
use async_nats::header::{HeaderName, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE};
use async_nats::jetstream::{publish::PublishAck, response::Response};
use events::EventEnvelope;
use futures::FutureExt as _;
use uuid::Uuid;

use crate::connect::{Core, chain};
use crate::error::Attempt;
use crate::headers::Headers;
use crate::publish::{Outgoing, classify_api, known};
use crate::{Ack, Error};

/// The server's bound.
const MAX_EVENTS: usize = 1_000;

/// What the server answered to a batch.
pub(crate) enum BatchAnswer {
    /// All are stored; this is the last one's place.
    Stored { stream: String, last: u64 },
    /// The subject filter was not at the sequence expected. Nothing is stored.
    Conflict,
    /// One of the events is stored already. Nothing is stored now.
    Duplicate,
}

const OF_SUBJECT: HeaderName =
    HeaderName::from_static("Nats-Expected-Last-Subject-Sequence-Subject");
const BATCH_ID: HeaderName = HeaderName::from_static("Nats-Batch-Id");
const BATCH_SEQUENCE: HeaderName = HeaderName::from_static("Nats-Batch-Sequence");
const BATCH_COMMIT: HeaderName = HeaderName::from_static("Nats-Batch-Commit");

/// What an append expects: a subject filter, and the last sequence on it.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub filter: &'a str,
    pub sequence: u64,
}

impl Expected<'_> {
    pub fn write(self, headers: &mut Headers) {
        headers.push(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, self.sequence);
        headers.push(OF_SUBJECT, self.filter);
    }
}

impl Core {
    pub(crate) async fn publish_all(&self, events: &[EventEnvelope]) -> Result<Vec<Ack>, Error> {
        let messages = events
            .iter()
            .map(Outgoing::event)
            .collect::<Result<Vec<_>, _>>()?;
        let Some(first) = messages.first() else {
            return Ok(Vec::new());
        };
        if messages.len() == 1 {
            return Ok(vec![self.publish(first).await?]);
        }
        same_stream(&messages)?;
        let what = describe(&messages);
        let answer = self
            .persist(&what, |_| self.batch_once(&what, &messages, None).boxed())
            .await?;
        match answer {
            BatchAnswer::Stored { stream, last } => Ok(places(&stream, last, messages.len())),
            // An earlier attempt, whose answer was lost, stored them all; or some were published before one by one. Then the
            // ids sort it out: what is there is a duplicate, what is missing is added.
            BatchAnswer::Duplicate => self.publish_each(&messages).await,
            BatchAnswer::Conflict => Err(Error::Refused {
                what,
                reason: "the expected sequence was another".to_owned(),
            }),
        }
    }

    /// One attempt at a batch of at least two messages: the first and the last are requests, the rest is streamed between.
    pub(crate) async fn batch_once(
        &self,
        what: &str,
        messages: &[Outgoing],
        expected: Option<Expected<'_>>,
    ) -> Result<BatchAnswer, Attempt> {
        let id = Uuid::new_v4().simple().to_string();
        let count = messages.len();
        for (number, message) in (1..).zip(messages) {
            let mut headers = message.headers.clone();
            headers.push(BATCH_ID, &id);
            headers.push(BATCH_SEQUENCE, number);
            if let (1, Some(expected)) = (number, expected) {
                expected.write(&mut headers);
            }
            if number == count {
                headers.push(BATCH_COMMIT, 1);
            }
            let headers = headers.map();
            let (subject, payload) = (message.subject.clone(), message.payload.clone());
            if number != 1 && number != count {
                let sent = self
                    .client
                    .publish_with_headers(subject, headers, payload)
                    .await;
                sent.map_err(|error| Attempt::Transient(chain(&error)))?;
                continue;
            }
            let reply = self
                .client
                .request_with_headers(subject, headers, payload)
                .await
                .map_err(|error| match error.kind() {
                    RequestErrorKind::MaxPayloadExceeded => Attempt::Fatal(Error::Refused {
                        what: what.to_owned(),
                        reason: chain(&error),
                    }),
                    _ => Attempt::Transient(chain(&error)),
                })?;
            if reply.payload.is_empty() && number != count {
                continue;
            }
            let answer = serde_json::from_slice::<Response<PublishAck>>(&reply.payload).map_err(
                |error| Attempt::Transient(format!("the answer is not readable: {error}")),
            )?;
            match answer {
                Response::Ok(ack) => {
                    return Ok(BatchAnswer::Stored {
                        stream: ack.stream,
                        last: ack.sequence,
                    });
                }
                Response::Err { error } => match error.error_code().0 {
                    10071 => return Ok(BatchAnswer::Conflict),
                    10201 => return Ok(BatchAnswer::Duplicate),
                    _ => return Err(classify_api(what, &error)),
                },
            }
        }
        Err(Attempt::Transient("the batch was not answered".to_owned()))
    }
}

/// The places of a batch, which the server stores without a gap.
pub(crate) fn places(stream: &str, last: u64, count: usize) -> Vec<Ack> {
    let first = (last + 1).saturating_sub(count as u64);
    (first..=last)
        .map(|sequence| Ack {
            stream: stream.to_owned(),
            sequence,
            duplicate: false,
        })
        .collect()
}

pub(crate) fn describe(messages: &[Outgoing]) -> String {
    let first = messages.first().map_or("", |first| &*first.subject);
    format!(
        "publish {first} and {} more as one",
        messages.len().saturating_sub(1)
    )
}

/// Refuses a batch that the server could not store as one.
pub(crate) fn same_stream(messages: &[Outgoing]) -> Result<(), Error> {
    if messages.len() > MAX_EVENTS {
        return Err(Error::Refused {
            what: describe(messages),
            reason: format!("a batch has at most {MAX_EVENTS} events"),
        });
    }
    let mut first: Option<(&Outgoing, &'static str)> = None;
    for message in messages {
        let stream = known(&message.subject)?.name;
        match first {
            None => first = Some((message, stream)),
            Some((_, same)) if same == stream => {}
            Some((other, other_stream)) => {
                return Err(Error::SeveralStreams {
                    first: other.subject.to_string(),
                    first_stream: other_stream.to_owned(),
                    second: message.subject.to_string(),
                    second_stream: stream.to_owned(),
                });
            }
        }
    }
    Ok(())
}
