//! `fresnel.streaming.v1.StreamService`: parse, subscribe, render.

use std::pin::Pin;
use std::task::{Context, Poll};

use events::Timestamp;
use futures::Stream;
use proto::streaming::v1::stream_service_server::{StreamService, StreamServiceServer};
use proto::streaming::v1::subscribe_response::Message as Body;
use proto::streaming::v1::{Event, SubscribeRequest, SubscribeResponse, Subscribed};
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::fanout::{Fanout, Position, Request as Wanted};
use crate::filter::Filters;
use crate::session::Client;
use crate::subscription::{Message, Subscription};

/// Full name of the service, as health and reflection know it.
pub const NAME: &str = "fresnel.streaming.v1.StreamService";
/// Longest name that a client may give itself, in bytes.
pub(crate) const CLIENT_ID_LENGTH: usize = 128;

/// The service over a fan-out.
#[must_use]
pub fn service(fanout: Fanout) -> StreamServiceServer<impl StreamService> {
    StreamServiceServer::new(Grpc { fanout })
}

struct Grpc {
    fanout: Fanout,
}

#[tonic::async_trait]
impl StreamService for Grpc {
    type SubscribeStream = Events;

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Events>, Status> {
        let slot = self.fanout.slot()?;
        let wanted = wanted(&request, self.fanout.config().max_subjects)?;
        let subscription = self.fanout.subscribe(slot, wanted).await?;
        let greeting = Subscribed {
            session_id: subscription.session.to_string(),
            subjects: subscription.subjects.clone(),
            offset: subscription.offset.clone(),
        };
        Ok(Response::new(Events {
            greeting: Some(greeting),
            subscription: Some(subscription),
        }))
    }
}

fn wanted(request: &Request<SubscribeRequest>, max_subjects: usize) -> Result<Wanted, Error> {
    let message = request.get_ref();
    let since = match &message.start_time {
        Some(time) => {
            let micros = time
                .seconds
                .checked_mul(1_000_000)
                .map(|s| s.saturating_add(i64::from(time.nanos / 1000)));
            Some(Timestamp::from_micros(micros.ok_or_else(|| {
                Error::Invalid {
                    field: "start_time",
                    problem: format!(
                        "{} s is not a time between the years 0 and 9999",
                        time.seconds
                    ),
                }
            })?))
        }
        None => None,
    };
    Ok(Wanted {
        filters: Filters::new(&message.subjects, message.min_confidence, max_subjects)?,
        position: position(&message.offset, since, "start_time")?,
        client: Client {
            id: client_id(&message.client_id)?,
            transport: "grpc",
            remote_addr: request.remote_addr().map(|address| address.to_string()),
            user_agent: request
                .metadata()
                .get("user-agent")
                .and_then(|v| v.to_str().ok())
                .map(str::to_owned),
        },
    })
}

/// Where a client wants to begin.
pub(crate) fn position(
    offset: &str,
    since: Option<Timestamp>,
    since_field: &'static str,
) -> Result<Position, Error> {
    match (offset, since) {
        ("", None) => Ok(Position::Now),
        ("", Some(time)) => Ok(Position::Since(time)),
        (offset, None) => Ok(Position::After(offset.to_owned())),
        (_, Some(_)) => Err(Error::Invalid {
            field: since_field,
            problem: "cannot be given together with an offset: the offset says where to begin"
                .into(),
        }),
    }
}

/// Checks the name that a client gave itself.
pub(crate) fn client_id(text: &str) -> Result<String, Error> {
    let problem = if text.len() > CLIENT_ID_LENGTH {
        format!(
            "has {} bytes; at most {CLIENT_ID_LENGTH} are allowed",
            text.len()
        )
    } else if text.chars().any(char::is_control) {
        "has a control character".to_owned()
    } else {
        return Ok(text.to_owned());
    };
    Err(Error::Invalid {
        field: "client_id",
        problem,
    })
}

/// The answers to one Subscribe.
pub struct Events {
    greeting: Option<Subscribed>,
    /// None once it is over: the slot is free again.
    subscription: Option<Subscription>,
}

impl Stream for Events {
    type Item = Result<SubscribeResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let answer = |body| {
            Poll::Ready(Some(Ok(SubscribeResponse {
                message: Some(body),
            })))
        };
        if let Some(greeting) = self.greeting.take() {
            return answer(Body::Subscribed(greeting));
        }
        let Some(subscription) = self.subscription.as_mut() else {
            return Poll::Ready(None);
        };
        match subscription.poll_message(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(message)) => {
                // The transport asks for the next message when the client's window has room: this is as near to
                // "written" as HTTP/2 lets us see.
                subscription.written(&message, message.envelope.get().len());
                answer(Body::Event(event(message)))
            }
            Poll::Ready(None) => {
                let verdict = subscription.verdict();
                self.subscription = None;
                Poll::Ready(verdict.map(|error| Err(error.into())))
            }
        }
    }
}

fn event(message: Message) -> Event {
    let envelope: Box<str> = message.envelope.into();
    Event {
        subject: message.subject,
        offset: message.offset,
        envelope_json: envelope.into(),
    }
}
