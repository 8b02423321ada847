//! Reading what is stored by direct get, many messages to a request and without a consumer: for loading and replay.

use std::ops::ControlFlow;

use async_nats::HeaderMap;
use bytes::Bytes;
use events::EventEnvelope;
use futures::{FutureExt as _, StreamExt as _};
use serde::Serialize;

use crate::connect::{Core, chain};
use crate::error::Attempt;
use crate::subject::key_of;
use crate::{DataMessage, Delivery, Error, From, subject, trace};

/// Messages to a request.
const PAGE: usize = 500;
/// Bytes to a request.
const PAGE_BYTES: usize = 4 << 20;

/// A message as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub subject: String,
    pub sequence: u64,
    pub stored_us: i64,
    pub headers: HeaderMap,
    pub payload: Bytes,
}

#[derive(Serialize, Default)]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_by_subj: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_by_subj: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<usize>,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begin {
    At(u64),
    Time(i64),
}

impl Core {
    /// Gives every stored message on `filter` to `sink`, oldest first, until the newest that was there on entry or until the
    /// sink breaks off.
    pub(crate) async fn read(
        &self,
        stream: &str,
        filter: &str,
        begin: Begin,
        sink: &mut (dyn FnMut(Stored) -> ControlFlow<()> + Send),
    ) -> Result<(), Error> {
        let what = format!("read {filter} of {stream}");
        let last = self
            .persist(&what, |_| self.info(stream).boxed())
            .await?
            .last;
        let mut begin = begin;
        loop {
            let page = self
                .persist(&what, |_| self.page(&what, stream, filter, begin).boxed())
                .await?;
            let Some(newest) = page.last().map(|message| message.sequence) else {
                return Ok(());
            };
            for message in page {
                if message.sequence > last || sink(message).is_break() {
                    return Ok(());
                }
            }
            begin = Begin::At(newest + 1);
        }
    }

    /// One page; empty where nothing more matches.
    async fn page(
        &self,
        what: &str,
        stream: &str,
        filter: &str,
        begin: Begin,
    ) -> Result<Vec<Stored>, Attempt> {
        let request = Request {
            seq: match begin {
                Begin::At(sequence) => Some(sequence.max(1)),
                Begin::Time(_) => None,
            },
            start_time: match begin {
                Begin::At(_) => None,
                Begin::Time(micros) => Some(events::Timestamp::from_micros(micros).to_string()),
            },
            next_by_subj: Some(filter),
            batch: Some(PAGE),
            max_bytes: Some(PAGE_BYTES),
            ..Request::default()
        };
        let payload =
            serde_json::to_vec(&request).map_err(|error| Attempt::Transient(error.to_string()))?;
        let inbox = self.client.new_inbox();
        let mut replies = self
            .client
            .subscribe(inbox.clone())
            .await
            .map_err(|error| Attempt::Transient(chain(&error)))?;
        let sent = self
            .client
            .publish_with_reply(
                format!("$JS.API.DIRECT.GET.{stream}"),
                inbox,
                payload.into(),
            )
            .await;
        sent.map_err(|error| Attempt::Transient(chain(&error)))?;
        let mut page: Vec<Stored> = Vec::new();
        while let Some(reply) = replies.next().await {
            match reply.status.map(|status| status.as_u16()) {
                None | Some(200) => page.push(stored(what, reply)?),
                Some(204 | 404) => return Ok(page),
                Some(503) => {
                    return Err(Attempt::Transient(format!(
                        "the stream {stream} is not there (yet)"
                    )));
                }
                Some(status) => {
                    let reason = format!("{status} {}", reply.description.unwrap_or_default());
                    return Err(Attempt::Fatal(Error::Refused {
                        what: what.to_owned(),
                        reason,
                    }));
                }
            }
        }
        Err(Attempt::Transient("the connection was closed".to_owned()))
    }

    /// One message, by sequence or the last on a filter.
    async fn one(
        &self,
        what: &str,
        stream: &str,
        request: &Request<'_>,
    ) -> Result<Option<Stored>, Attempt> {
        let payload =
            serde_json::to_vec(request).map_err(|error| Attempt::Transient(error.to_string()))?;
        let reply = self
            .client
            .request(format!("$JS.API.DIRECT.GET.{stream}"), payload.into())
            .await;
        let reply = reply.map_err(|error| Attempt::Transient(chain(&error)))?;
        match reply.status.map(|status| status.as_u16()) {
            None | Some(200) => stored(what, reply).map(Some),
            Some(404) => Ok(None),
            Some(503) => Err(Attempt::Transient(format!(
                "the stream {stream} is not there (yet)"
            ))),
            Some(status) => {
                let reason = format!("{status} {}", reply.description.unwrap_or_default());
                Err(Attempt::Fatal(Error::Refused {
                    what: what.to_owned(),
                    reason,
                }))
            }
        }
    }

    /// The newest message on a filter.
    pub(crate) async fn last(&self, filter: &str) -> Result<Option<DataMessage>, Error> {
        let expanded = subject::expand(filter)?;
        let what = format!("last message on {expanded}");
        let mut newest: Option<Stored> = None;
        for stream in subject::select(&[filter.to_owned()])?.into_keys() {
            let request = Request {
                last_by_subj: Some(&expanded),
                ..Request::default()
            };
            let found = self
                .persist(&what, |_| self.one(&what, stream, &request).boxed())
                .await?;
            if let Some(found) = found.filter(|found| {
                newest
                    .as_ref()
                    .is_none_or(|newest| newest.stored_us < found.stored_us)
            }) {
                newest = Some(found);
            }
        }
        Ok(newest.map(data_message))
    }

    /// The stored messages of the data plane that match, to `sink`, oldest first.
    pub(crate) async fn read_data(
        &self,
        filter: &str,
        from: From,
        sink: &mut (dyn FnMut(DataMessage) -> ControlFlow<()> + Send),
    ) -> Result<(), Error> {
        let expanded = subject::expand(filter)?;
        let (stream, _) = subject::select_one(&[filter.to_owned()])?;
        let Some(begin) = begin(from) else {
            return Ok(());
        };
        self.read(stream, &expanded, begin, &mut |stored| {
            sink(data_message(stored))
        })
        .await
    }

    /// The message at a sequence, where it is still there.
    pub(crate) async fn at(&self, stream: &str, sequence: u64) -> Result<Option<Stored>, Error> {
        let what = format!("message {sequence} of {stream}");
        let request = Request {
            seq: Some(sequence),
            ..Request::default()
        };
        self.persist(&what, |_| self.one(&what, stream, &request).boxed())
            .await
    }

    /// When the stream was made, and what it holds.
    pub(crate) async fn info(&self, stream: &str) -> Result<StreamState, Attempt> {
        let handle = self
            .js
            .get_stream_no_info(stream)
            .await
            .map_err(|error| Attempt::Transient(chain(&error)))?;
        let info = handle
            .get_info()
            .await
            .map_err(|error| Attempt::Transient(chain(&error)))?;
        Ok(StreamState {
            created: nanos(info.created),
            last: info.state.last_sequence,
        })
    }

    /// The stored events that match, to `sink`, stream by stream, oldest first.
    pub(crate) async fn replay(
        &self,
        filter: &str,
        from: From,
        sink: &mut (dyn FnMut(Delivery) -> ControlFlow<()> + Send),
    ) -> Result<(), Error> {
        let expanded = subject::expand(filter)?;
        let streams = subject::select(&[filter.to_owned()])?;
        if matches!(from, From::After(_)) && streams.len() > 1 {
            let reason = "spans several streams, whose sequences are their own".to_owned();
            return Err(Error::Filter {
                filter: filter.to_owned(),
                reason,
            });
        }
        let Some(begin) = begin(from) else {
            return Ok(());
        };
        for stream in streams.into_keys() {
            let mut broken_off = false;
            let mut deliver = |stored: Stored| match delivery(stream, stored) {
                Ok(delivery) => {
                    let flow = sink(delivery);
                    broken_off = flow.is_break();
                    flow
                }
                Err(error) => {
                    tracing::warn!(%error, "left out of the replay");
                    ControlFlow::Continue(())
                }
            };
            self.read(stream, &expanded, begin, &mut deliver).await?;
            if broken_off {
                break;
            }
        }
        Ok(())
    }
}

/// Where to begin; None where nothing of what is stored is asked for.
fn begin(from: From) -> Option<Begin> {
    match from {
        From::New => None,
        From::Start => Some(Begin::At(1)),
        From::After(sequence) => Some(Begin::At(sequence.saturating_add(1))),
        From::Time(micros) => Some(Begin::Time(micros)),
    }
}

fn data_message(stored: Stored) -> DataMessage {
    DataMessage {
        traceparent: trace::traceparent(Some(&stored.headers)),
        subject: stored.subject,
        sequence: stored.sequence,
        payload: stored.payload,
    }
}

/// When a stream was made, and its last sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamState {
    /// Nanoseconds since the Unix epoch. A memory stream that was lost with its server has another one afterwards.
    pub created: i64,
    pub last: u64,
}

fn stored(what: &str, reply: async_nats::Message) -> Result<Stored, Attempt> {
    let message =
        async_nats::jetstream::message::StreamMessage::try_from(reply).map_err(|error| {
            Attempt::Fatal(Error::Decode {
                what: what.to_owned(),
                reason: chain(&error),
            })
        })?;
    Ok(Stored {
        subject: message.subject.to_string(),
        sequence: message.sequence,
        stored_us: nanos(message.time) / 1_000,
        headers: message.headers,
        payload: message.payload,
    })
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn nanos(time: async_nats::datetime::DateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}

/// An event of a message's payload, upgraded to the newest version that we know. The key, which the JSON does not hold, is
/// the subject's third token.
pub(crate) fn decode(
    stream: &str,
    subject: &str,
    sequence: u64,
    payload: &[u8],
) -> Result<EventEnvelope, Error> {
    let mut event = EventEnvelope::from_json(payload)
        .map_err(|error| Error::Decode {
            what: format!("event {subject} at {sequence} of {stream}"),
            reason: error.to_string(),
        })?
        .upgraded();
    key_of(subject).clone_into(&mut event.key);
    Ok(event)
}

fn delivery(stream: &str, stored: Stored) -> Result<Delivery, Error> {
    let event = decode(stream, &stored.subject, stored.sequence, &stored.payload)?;
    Ok(Delivery {
        subject: stored.subject,
        stream: stream.to_owned(),
        stream_sequence: stored.sequence,
        attempt: 1,
        stored_us: stored.stored_us,
        event,
    })
}
