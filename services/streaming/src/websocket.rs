//! `GET /v1/stream`: events over a WebSocket.
//!
//! The client says what it wants in the URL, in its first message, or in both (the message counts where they differ):
//!
//! ```text
//! ws://127.0.0.1:7480/v1/stream?subjects=pose.motion_detected,pose.fall_detected&min_confidence=0.5
//!
//! {"subscribe": {"subjects": ["pose.>"], "offset": "...", "since": "2026-01-01T00:00:00Z",
//!                "min_confidence": 0.5, "client_id": "hall-display"}}
//! ```
//!
//! With `subjects` in the URL the subscription begins at once. Every field but `subjects` is optional, `offset` and `since`
//! exclude each other. The server's messages are JSON texts with a `type`:
//!
//! ```text
//! {"type": "subscribed", "session_id": "...", "subjects": ["pose.motion_detected.*"], "offset": "..."}
//! {"type": "event", "subject": "pose.motion_detected.hall", "offset": "...", "envelope": {...}}
//! {"type": "error", "code": "INVALID_FILTER", "field": "subjects", "message": "..."}
//! ```
//!
//! To resume, give the `offset` of the last message received. After an error that ends the subscription comes a close:
//! 1008 for a wrong request, 1013 for no free slot or a client too slow, 1011 where NATS is out of reach, 1001 when the
//! server goes away, 1000 when nothing was heard from the client for the idle timeout (pongs count; the server pings).
//!
//! A browser's page may connect from the same origin where that is an address or `localhost` (a name could be made to point
//! here by anyone), and from the origins that the configuration allows. Programs send no `Origin` and are not held up.

mod origin;
mod protocol;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{Extensions, HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use events::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::error::Error;
use crate::fanout::{Fanout, Request, Slot};
use crate::filter::Filters;
use crate::grpc::{client_id, position};
use crate::session::{Client, Ending};
use crate::subscription::Subscription;
use protocol::{Answer, Event, FirstMessage, Parameters, Subscribe, text};

/// Largest message that a client may send, in bytes.
const MAX_REQUEST: usize = 64 * 1024;
/// Time for the last words to a client.
const FAREWELL: Duration = Duration::from_millis(500);

/// The router of the HTTP listener.
pub fn router(fanout: Fanout) -> Router {
    Router::new()
        .route("/v1/stream", get(stream))
        .with_state(fanout)
}

async fn stream(
    State(fanout): State<Fanout>,
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Err(origin) = origin::check(&headers, &fanout.config().allowed_origins) {
        let message = format!("origin {origin} is not allowed; see streaming.allowed_origins\n");
        return (StatusCode::FORBIDDEN, message).into_response();
    }
    let header = |name| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned)
    };
    let client = Client {
        id: String::new(),
        transport: "websocket",
        remote_addr: extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|ConnectInfo(address)| address.to_string()),
        user_agent: header(header::USER_AGENT),
    };
    // Errors in the URL are told over the open socket: a browser's script sees no others.
    let parameters = Query::<Parameters>::try_from_uri(&uri)
        .map(|Query(p)| p.into())
        .map_err(|error| Error::Invalid {
            field: "query",
            problem: error.body_text(),
        });
    upgrade
        .max_message_size(MAX_REQUEST)
        .max_frame_size(MAX_REQUEST)
        .on_upgrade(move |socket| {
            fanout
                .clone()
                .track(serve(fanout, socket, client, parameters))
        })
}

/// How a connection goes on after a step.
enum Step {
    On,
    End(Ending),
    /// The service ended the subscription: [`Subscription::verdict`] says why.
    Over,
}

async fn serve(
    fanout: Fanout,
    mut socket: WebSocket,
    client: Client,
    parameters: Result<Subscribe, Error>,
) {
    let opened = match (fanout.slot(), parameters) {
        (Ok(slot), Ok(parameters)) => open(&fanout, &mut socket, slot, client, parameters).await,
        (Err(error), _) | (_, Err(error)) => Err(Some(error)),
    };
    match opened {
        Ok(subscription) => {
            Connection {
                fanout,
                socket,
                subscription,
                heard: Instant::now(),
            }
            .run()
            .await
        }
        Err(Some(error)) => refuse(&mut socket, &error).await,
        // The client left before it had said what it wants.
        Err(None) => {}
    }
}

async fn open(
    fanout: &Fanout,
    socket: &mut WebSocket,
    slot: Slot,
    mut client: Client,
    mut wanted: Subscribe,
) -> Result<Subscription, Option<Error>> {
    if wanted.subjects.is_empty() {
        let patience = fanout.config().handshake_timeout;
        let late = || Error::Invalid {
            field: "subjects",
            problem: format!("nothing was asked for within {} s", patience.as_secs_f64()),
        };
        let first = tokio::select! {
            first = timeout(patience, first_message(socket)) => first.map_err(|_| Some(late()))??,
            () = fanout.shutdown().cancelled() => return Err(Some(Error::GoingAway)),
        };
        wanted.overlay(first);
    }
    client.id = client_id(wanted.client_id.as_deref().unwrap_or_default())?;
    let since = wanted
        .since
        .as_deref()
        .map(str::parse::<Timestamp>)
        .transpose();
    let since = since.map_err(|error| Error::Invalid {
        field: "since",
        problem: error.to_string(),
    })?;
    let request = Request {
        filters: Filters::new(
            &wanted.subjects,
            wanted.min_confidence,
            fanout.config().max_subjects,
        )
        .map_err(Error::from)?,
        position: position(wanted.offset.as_deref().unwrap_or_default(), since, "since")?,
        client,
    };
    let subscription = fanout.subscribe(slot, request).await?;
    let greeting = Answer::Subscribed {
        session_id: subscription.session.to_string(),
        subjects: &subscription.subjects,
        offset: &subscription.offset,
    };
    match timeout(fanout.config().stall_timeout, socket.send(text(&greeting))).await {
        Ok(Ok(())) => Ok(subscription),
        // The subscription is dropped, and its session ends as lost.
        Ok(Err(_)) | Err(_) => Err(None),
    }
}

/// Waits for the message that says what the client wants.
async fn first_message(socket: &mut WebSocket) -> Result<Subscribe, Option<Error>> {
    loop {
        match socket.recv().await {
            Some(Ok(Frame::Text(text))) => {
                let first: Result<FirstMessage, _> = serde_json::from_str(&text);
                return first.map(|message| message.subscribe).map_err(|error| {
                    let problem = format!("not a message {{\"subscribe\": {{...}}}}: {error}");
                    Some(Error::Invalid {
                        field: "subscribe",
                        problem,
                    })
                });
            }
            Some(Ok(Frame::Binary(_))) => {
                let problem = "must be a text message with JSON, not a binary one".to_owned();
                return Err(Some(Error::Invalid {
                    field: "subscribe",
                    problem,
                }));
            }
            Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
            Some(Ok(Frame::Close(_)) | Err(_)) | None => return Err(None),
        }
    }
}

/// A WebSocket with a subscription.
struct Connection {
    fanout: Fanout,
    socket: WebSocket,
    subscription: Subscription,
    /// When the client last gave a sign of life.
    heard: Instant,
}

impl Connection {
    async fn run(mut self) {
        let config = self.fanout.config().clone();
        let mut pings = interval_at(Instant::now() + config.ping_interval, config.ping_interval);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                biased;
                frame = self.socket.recv() => self.hear(frame).await,
                _ = pings.tick() => {
                    if self.heard.elapsed() >= config.idle_timeout {
                        Step::End(Ending::Idle(config.idle_timeout))
                    } else {
                        self.write(Frame::Ping(Default::default())).await
                    }
                }
                message = self.subscription.next() => match message {
                    Some(message) => {
                        let event = text(&Event {
                            kind: "event",
                            subject: &message.subject,
                            offset: &message.offset,
                            envelope: &message.envelope,
                        });
                        let mut step = self.write(event).await;
                        match &mut step {
                            Step::On => self.subscription.written(&message, message.envelope.get().len()),
                            Step::End(Ending::Stalled { event, .. }) => *event = Some(message.undelivered()),
                            _ => {}
                        }
                        step
                    }
                    None => Step::Over,
                },
            };
            match step {
                Step::On => {}
                Step::End(ending) => break self.subscription.end(ending),
                Step::Over => break,
            }
        }
        self.leave().await;
    }

    async fn hear(&mut self, frame: Option<Result<Frame, axum::Error>>) -> Step {
        self.heard = Instant::now();
        match frame {
            Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => Step::On,
            Some(Ok(Frame::Text(_) | Frame::Binary(_))) => {
                let message = "this connection has its subscription; open another one".to_owned();
                self.write(text(&Answer::Error {
                    code: "ALREADY_SUBSCRIBED",
                    field: None,
                    message,
                }))
                .await
            }
            Some(Ok(Frame::Close(_))) => Step::End(Ending::Closed),
            Some(Err(error)) => Step::End(Ending::Lost(error.to_string())),
            None => Step::End(Ending::Lost("the connection was lost".into())),
        }
    }

    async fn write(&mut self, frame: Frame) -> Step {
        let limit = self.fanout.config().stall_timeout;
        let over = self.subscription.over();
        tokio::select! {
            written = timeout(limit, self.socket.send(frame)) => match written {
                Ok(Ok(())) => Step::On,
                Ok(Err(error)) => Step::End(Ending::Lost(error.to_string())),
                Err(_) => Step::End(Ending::Stalled {
                    message: format!("a message could not be written within {} s", limit.as_secs_f64()),
                    event: None,
                }),
            },
            () = over.cancelled() => Step::Over,
        }
    }

    async fn leave(mut self) {
        let verdict = self.subscription.verdict();
        // The session ends and the slot is free before the good-byes, which a client may not want to hear.
        drop(self.subscription);
        match verdict {
            Some(error) => refuse(&mut self.socket, &error).await,
            None => close(&mut self.socket, 1000, "").await,
        }
    }
}

/// Says what is wrong, then closes with it as the reason.
async fn refuse(socket: &mut WebSocket, error: &Error) {
    let answer = Answer::Error {
        code: error.reason(),
        field: error.field(),
        message: error.to_string(),
    };
    let told = timeout(FAREWELL, socket.send(text(&answer))).await;
    if matches!(told, Ok(Ok(()))) {
        close(socket, error.close_code(), &error.to_string()).await;
    }
}

async fn close(socket: &mut WebSocket, code: u16, reason: &str) {
    // A control frame holds 125 bytes, two of them the code.
    let end = reason.floor_char_boundary(123);
    let reason = reason.get(..end).unwrap_or_default().to_owned();
    let farewell = async {
        if socket
            .send(Frame::Close(Some(CloseFrame {
                code,
                reason: reason.into(),
            })))
            .await
            .is_ok()
        {
            // The client's answer; without it the last words could be lost with the connection.
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    let _ = timeout(FAREWELL, farewell).await;
}
