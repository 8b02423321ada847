//! The way out of a pipeline, and the way back of its acks.

use async_nats::client::PublishErrorKind;
use async_nats::{Client, Message, StatusCode, Subject, Subscriber};
use bytes::{Bytes, BytesMut};
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
            subscriber: client.subscribe(format!("{prefix}>")).await.ok(),
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

    /// Where answers come to, with its last dot.
    pub fn inbox(&self) -> &str {
        &self.prefix
    }

    /// What an answer is for: its subject without the inbox.
    pub fn place<'a>(&self, answer: &'a Message) -> Option<&'a str> {
        answer.subject.strip_prefix(&*self.prefix)
    }

    /// A subject for an answer, of what `write` writes; it is given the inbox.
    pub fn reply(&mut self, write: impl FnOnce(&str, &mut BytesMut)) -> Subject {
        write(&self.prefix, &mut self.replies);
        // What is written is ASCII.
        Subject::from_utf8(self.replies.split().freeze()).unwrap_or(Subject::from_static(""))
    }

    /// Writes the subject for the answer to a message that goes by itself.
    pub fn number_into(inbox: &str, number: u64, reply: &mut BytesMut) {
        reply.extend_from_slice(inbox.as_bytes());
        reply.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Hands a message to the client. Its answer will come to `reply`.
    pub async fn send(
        &self,
        client: &Client,
        message: &Outgoing,
        reply: Subject,
    ) -> Result<(), Attempt> {
        let (subject, payload) = (message.subject.clone(), message.payload.clone());
        let sending = async {
            if message.headers.is_empty() {
                client.publish_with_reply(subject, reply, payload).await
            } else {
                let headers = message.headers.map();
                client
                    .publish_with_reply_and_headers(subject, reply, headers, payload)
                    .await
            }
        };
        tokio::pin!(sending);
        // There is room, as a rule, and no need of a timer.
        let sent = match sending.as_mut().now_or_never() {
            Some(sent) => Ok(sent),
            None => tokio::time::timeout(SEND_TIMEOUT, sending).await,
        };
        match sent {
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

    /// Hands a message without a content to the client, whose answer is all that is wanted.
    pub async fn ask(
        &self,
        client: &Client,
        subject: Subject,
        reply: Subject,
    ) -> Result<(), String> {
        let sending = client.publish_with_reply(subject, reply, Bytes::new());
        match tokio::time::timeout(SEND_TIMEOUT, sending).await {
            Ok(sent) => sent.map_err(|error| chain(&error)),
            Err(_) => Err("the connection takes nothing".to_owned()),
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
