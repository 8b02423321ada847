//! The way out of a pipeline, and the way back of its acks.

use std::fmt::Write as _;

use async_nats::client::PublishErrorKind;
use async_nats::{Client, Message, StatusCode, Subject, Subscriber};
use bytes::BytesMut;
use futures::{FutureExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::time::Duration;

use crate::Error;
use crate::connect::chain;
use crate::error::Attempt;
use crate::publish::{Outgoing, classify_api};

/// Longest wait for room in the client's queue.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Reply subjects are cut out of pieces of memory of this size.
const PIECE: usize = 8 << 10;

/// One inbox for all acks of a pipeline.
pub(super) struct Acks {
    /// The inbox with its last dot.
    prefix: String,
    /// None where the client has ended: then no ack comes.
    subscriber: Option<Subscriber>,
    replies: BytesMut,
}

impl Acks {
    pub async fn subscribe(client: &Client) -> Self {
        let prefix = format!("{}.", client.new_inbox());
        Self {
            subscriber: client.subscribe(format!("{prefix}*")).await.ok(),
            prefix,
            replies: BytesMut::with_capacity(PIECE),
        }
    }

    /// The next answer; for ever where none can come any more. Cancel-safe.
    pub async fn next(&mut self) -> Message {
        if let Some(subscriber) = &mut self.subscriber {
            if let Some(next) = subscriber.next().await {
                return next;
            }
            self.subscriber = None;
        }
        std::future::pending().await
    }

    /// The next answer, where it is there already.
    pub fn waiting(&mut self) -> Option<Message> {
        self.subscriber.as_mut()?.next().now_or_never().flatten()
    }

    /// Which message an answer is for.
    pub fn number(&self, answer: &Message) -> Option<u64> {
        answer.subject.strip_prefix(&*self.prefix)?.parse().ok()
    }

    /// Hands a message to the client. Its answer will bear `number`.
    pub async fn send(
        &mut self,
        client: &Client,
        message: &Outgoing,
        number: u64,
    ) -> Result<(), Attempt> {
        // Writing to memory cannot fail, and what is written is ASCII.
        let _ = write!(self.replies, "{}{number}", self.prefix);
        let reply = Subject::from_utf8(self.replies.split().freeze())
            .map_err(|error| Attempt::Transient(error.to_string()))?;
        let (subject, payload) = (message.subject.clone(), message.payload.clone());
        let sending = async {
            if message.headers.is_empty() {
                client.publish_with_reply(subject, reply, payload).await
            } else {
                let headers = message.headers.clone();
                client
                    .publish_with_reply_and_headers(subject, reply, headers, payload)
                    .await
            }
        };
        match tokio::time::timeout(SEND_TIMEOUT, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => match error.kind() {
                PublishErrorKind::Send => Err(Attempt::Transient(chain(&error))),
                _ => Err(Attempt::Fatal(Error::Refused {
                    what: message.what(),
                    reason: chain(&error),
                })),
            },
            Err(_) => Err(Attempt::Transient(
                "the connection takes nothing".to_owned(),
            )),
        }
    }
}

/// What the server writes: a place in the stream, or what is wrong.
#[derive(Deserialize)]
struct Answer {
    error: Option<async_nats::jetstream::Error>,
}

/// What an answer says; `what` is what was asked.
pub(super) fn verdict(answer: &Message, what: impl Fn() -> String) -> Result<(), Attempt> {
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(Attempt::Transient(
            "no stream takes the subject (yet)".to_owned(),
        ));
    }
    match serde_json::from_slice::<Answer>(&answer.payload) {
        Ok(Answer { error: None }) => Ok(()),
        Ok(Answer { error: Some(error) }) => Err(classify_api(&what(), &error)),
        Err(error) => Err(Attempt::Transient(format!(
            "the answer is not readable: {error}"
        ))),
    }
}
