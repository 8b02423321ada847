//! Where the watched events come from. Each source goes on by its offset when its connection breaks.

use std::time::Duration;

use anyhow::Context as _;
use events::Timestamp;
use proto::streaming::v1::stream_service_client::StreamServiceClient;
use proto::streaming::v1::subscribe_response::Message;
use proto::streaming::v1::{SubscribeRequest, SubscribeResponse};
use serde_json::Value;
use tonic::{Code, Status, Streaming};

use crate::client::{Address, STREAMING, explain, is_broken_connection, refusal};

/// First and longest pause between two attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Where to begin.
#[derive(Clone, Copy, Debug)]
pub enum Begin {
    /// With the next event.
    Now,
    /// With what was stored at or after this time.
    Since(Timestamp),
}

/// An event as it came.
#[derive(Debug)]
pub struct Event {
    /// `{event_type}.{key}`.
    pub subject: String,
    /// The envelope.
    pub envelope: Value,
}

/// A source of events.
pub enum Source {
    /// The streaming service.
    Streaming(Box<Subscription>),
    /// NATS itself; the reader reconnects on its own.
    Nats(Box<bus::Follow>),
}

/// A gRPC subscription that is renewed when it breaks.
pub struct Subscription {
    address: Address,
    request: SubscribeRequest,
    stream: Streaming<SubscribeResponse>,
}

impl Source {
    /// Subscribes at the streaming service.
    pub async fn streaming(
        address: &Address,
        subjects: &[String],
        min_confidence: Option<f32>,
        begin: Begin,
    ) -> anyhow::Result<Self> {
        let request = SubscribeRequest {
            subjects: subjects.to_vec(),
            offset: String::new(),
            min_confidence,
            client_id: "fresnel watch".to_owned(),
            start_time: match begin {
                Begin::Now => None,
                Begin::Since(time) => Some(proto_time(time)),
            },
        };
        let channel = STREAMING.connect(address).await?;
        let stream = StreamServiceClient::new(channel)
            .subscribe(request.clone())
            .await
            .map_err(|s| refusal(&s))?;
        let subscription = Subscription {
            address: address.clone(),
            request,
            stream: stream.into_inner(),
        };
        Ok(Self::Streaming(Box::new(subscription)))
    }

    /// Reads from a NATS server.
    pub async fn nats(url: &str, subjects: &[String], begin: Begin) -> anyhow::Result<Self> {
        let config = bus::Config {
            url: url.to_owned(),
            name: "fresnel-watch".to_owned(),
            ..bus::Config::default()
        };
        let bus = bus::Bus::connect(config)
            .await
            .context("is `fresnel up` running?")?;
        let from = match begin {
            Begin::Now => bus::From::New,
            Begin::Since(time) if time.as_micros() == 0 => bus::From::Start,
            Begin::Since(time) => bus::From::Time(time.as_micros()),
        };
        Ok(Self::Nats(Box::new(bus.follow(subjects, from).await?)))
    }

    /// The next event; waits for ever.
    pub async fn next(&mut self) -> anyhow::Result<Event> {
        match self {
            Self::Streaming(subscription) => subscription.next().await,
            Self::Nats(follow) => {
                let delivery = follow.next().await?;
                Ok(Event {
                    subject: delivery.subject,
                    envelope: serde_json::to_value(delivery.event)?,
                })
            }
        }
    }
}

impl Subscription {
    async fn next(&mut self) -> anyhow::Result<Event> {
        loop {
            match self.stream.message().await {
                Ok(Some(SubscribeResponse {
                    message: Some(Message::Event(event)),
                })) => {
                    self.go_on_from(event.offset);
                    let envelope = serde_json::from_str(&event.envelope_json)
                        .with_context(|| format!("the envelope on {} is no JSON", event.subject))?;
                    return Ok(Event {
                        subject: event.subject,
                        envelope,
                    });
                }
                Ok(Some(SubscribeResponse {
                    message: Some(Message::Subscribed(subscribed)),
                })) => {
                    self.go_on_from(subscribed.offset);
                }
                Ok(Some(SubscribeResponse { message: None })) => {}
                Ok(None) => {
                    self.renew(&Status::unavailable("the server ended the stream"))
                        .await?
                }
                Err(status) => self.renew(&status).await?,
            }
        }
    }

    fn go_on_from(&mut self, offset: String) {
        if !offset.is_empty() {
            self.request.offset = offset;
            self.request.start_time = None;
        }
    }

    async fn renew(&mut self, broken: &Status) -> anyhow::Result<()> {
        let (mut pause, longest) = PAUSES;
        if !may_resume(broken) {
            return Err(refusal(broken));
        }
        eprintln!("the stream broke: {}; reconnecting", explain(broken));
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
            let Ok(channel) = STREAMING.connect(&self.address).await else {
                continue;
            };
            match StreamServiceClient::new(channel)
                .subscribe(self.request.clone())
                .await
            {
                Ok(stream) => {
                    self.stream = stream.into_inner();
                    return Ok(());
                }
                Err(status) if may_resume(&status) => {}
                Err(status) => return Err(refusal(&status)),
            }
        }
    }
}

/// A client that was too slow, or one too many, may come back too.
fn may_resume(status: &Status) -> bool {
    is_broken_connection(status) || status.code() == Code::ResourceExhausted
}

fn proto_time(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or(0);
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos,
    }
}
