//! Messages that only those hear who listen now: core NATS, nothing stored, nothing repeated.

use bytes::Bytes;
use futures::StreamExt as _;

use crate::Error;
use crate::connect::{Core, chain};

/// What is heard on one subject from the subscription on. It goes on after a reconnect; what was said in between is lost.
pub struct Live {
    subscriber: async_nats::Subscriber,
}

impl Live {
    pub(crate) async fn open(core: &Core, topic: &str) -> Result<Self, Error> {
        let subject = subject(topic);
        let subscriber = core
            .client
            .subscribe(subject.clone())
            .await
            .map_err(|error| Error::Subject {
                subject,
                reason: chain(&error),
            })?;
        Ok(Self { subscriber })
    }

    /// The next message; None when the connection is closed for good. Cancel-safe.
    pub async fn next(&mut self) -> Option<Bytes> {
        Some(self.subscriber.next().await?.payload)
    }
}

/// Says something to whoever listens now.
pub(crate) async fn say(core: &Core, topic: &str, payload: Bytes) -> Result<(), Error> {
    let subject = subject(topic);
    crate::subject::check(&subject)?;
    let sent = core.client.publish(subject.clone(), payload).await;
    sent.map_err(|error| Error::Subject {
        subject,
        reason: chain(&error),
    })
}

/// No stream takes subjects that begin so.
fn subject(topic: &str) -> String {
    format!("live.{topic}")
}
