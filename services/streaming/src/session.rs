//! A client's session, from its first event to its last. Pure: decides which events follow; time comes from the caller.
//!
//! ```text
//! created -> started -> activated -> [closed | timed out] -> ended
//! ```

use std::time::Duration;

use bus::EventSourced;
use events::id::SessionId;
use events::streaming::{
    SessionActivated, SessionClosed, SessionCreated, SessionEndReason, SessionEnded,
    SessionStarted, SessionState, SessionTimedOut, SubscriptionFilters,
};
use events::{DomainEvent, EventEnvelope, Metadata, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::filter::Filters;

/// Who connected, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Name that the client gave itself; may be empty.
    pub id: String,
    /// `grpc` or `websocket`.
    pub transport: &'static str,
    /// Address of the peer, where known.
    pub remote_addr: Option<String>,
    /// What the client calls itself in its headers.
    pub user_agent: Option<String>,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// The client closed it in good order: a WebSocket close, or a cancelled gRPC call.
    Closed,
    /// The connection broke.
    Lost(String),
    /// Nothing was heard from the client for so long.
    Idle(Duration),
    /// The client did not take its events.
    Stalled {
        /// What was waited for, and for how long.
        message: String,
        /// The event that could not be delivered, where it was one.
        event: Option<Undelivered>,
    },
    /// The events could not be read any more.
    Failed(String),
    /// The service stopped.
    Shutdown,
}

/// An event that did not reach its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// Its id.
    pub id: Uuid,
    /// Its type.
    pub event_type: String,
}

/// What was measured while the session lasted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Events written to the client.
    pub messages_sent: u64,
    /// Events that were taken for the client and not written.
    pub messages_failed: u64,
    /// Bytes of the events written, framing not counted.
    pub bytes_sent: u64,
    /// Mean time from storing to writing, ms; for events older than the session, from its start. 0 where none was sent.
    pub average_latency_ms: f64,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unknown,
    Initializing,
    Active,
    Ended,
}

/// The aggregate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session {
    state: State,
    client_id: String,
    started_at: Option<Timestamp>,
}

impl EventSourced for Session {
    fn apply(&mut self, event: &EventEnvelope) {
        let text = |field: &str| {
            event
                .payload
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        match event.event_type.as_str() {
            SessionCreated::EVENT_TYPE => {
                self.state = State::Initializing;
                self.client_id = text("client_id");
            }
            SessionStarted::EVENT_TYPE => self.started_at = Some(event.occurred_at),
            SessionActivated::EVENT_TYPE => self.state = State::Active,
            SessionEnded::EVENT_TYPE => self.state = State::Ended,
            _ => {}
        }
    }
}

impl Session {
    /// The events that open a session: created, started, activated. None where it exists already.
    ///
    /// # Errors
    /// Where an event cannot be written as JSON.
    pub fn open(
        &self,
        id: SessionId,
        client: &Client,
        filters: &Filters,
        now: Timestamp,
        lifetime: Duration,
        source: &str,
    ) -> Result<Vec<EventEnvelope>, serde_json::Error> {
        if self.state != State::Unknown {
            return Ok(Vec::new());
        }
        let created = SessionCreated {
            session_id: id,
            client_id: client.id.clone(),
            timestamp: now,
            expires_at: later(now, lifetime),
        };
        let started = SessionStarted {
            session_id: id,
            client_id: client.id.clone(),
            timestamp: now,
            stream_type: client.transport.to_owned(),
            remote_addr: client.remote_addr.clone(),
            user_agent: client.user_agent.clone(),
            zone_subscriptions: filters.keys(),
            filters: SubscriptionFilters {
                min_confidence: filters.min_confidence(),
                max_persons: None,
                include_keypoints: false,
                include_segmentation: false,
                throttle_ms: None,
            },
        };
        let activated = SessionActivated {
            session_id: id,
            timestamp: now,
        };
        let mut with_subjects = metadata(source);
        with_subjects
            .extra
            .insert("subjects".into(), json!(filters.subjects()));
        Ok(vec![
            envelope(id, &created, metadata(source))?,
            envelope(id, &started, with_subjects)?,
            envelope(id, &activated, metadata(source))?,
        ])
    }

    /// The events that end it; none where it has ended, or never was.
    ///
    /// # Errors
    /// Where an event cannot be written as JSON.
    pub fn end(
        &self,
        id: SessionId,
        ending: &Ending,
        statistics: Statistics,
        now: Timestamp,
        source: &str,
    ) -> Result<Vec<EventEnvelope>, serde_json::Error> {
        let (State::Initializing | State::Active, Some(started_at)) = (self.state, self.started_at)
        else {
            return Ok(Vec::new());
        };
        let mut events = Vec::with_capacity(2);
        match ending {
            Ending::Closed => {
                events.push(envelope(
                    id,
                    &SessionClosed {
                        session_id: id,
                        timestamp: now,
                    },
                    metadata(source),
                )?);
            }
            Ending::Idle(timeout) => {
                let timed_out = SessionTimedOut {
                    session_id: id,
                    original_state: match self.state {
                        State::Active => SessionState::Active,
                        _ => SessionState::Initializing,
                    },
                    timeout_duration: timeout.as_secs(),
                    timestamp: now,
                };
                events.push(envelope(id, &timed_out, metadata(source))?);
            }
            _ => {}
        }
        let ended = SessionEnded {
            session_id: id,
            client_id: self.client_id.clone(),
            timestamp: now,
            started_at,
            duration_seconds: now.seconds_since(started_at).max(0.0),
            reason: ending.reason(),
            error_message: ending.message(),
            messages_sent: statistics.messages_sent,
            messages_failed: statistics.messages_failed,
            bytes_sent: statistics.bytes_sent,
            average_latency_ms: statistics.average_latency_ms,
        };
        events.push(envelope(id, &ended, metadata(source))?);
        Ok(events)
    }
}

impl Ending {
    pub(crate) fn reason(&self) -> SessionEndReason {
        match self {
            Self::Closed | Self::Lost(_) => SessionEndReason::ClientDisconnect,
            Self::Idle(_) => SessionEndReason::Timeout,
            Self::Stalled { .. } | Self::Failed(_) => SessionEndReason::Error,
            Self::Shutdown => SessionEndReason::ServerShutdown,
        }
    }

    fn message(&self) -> Option<String> {
        match self {
            Self::Lost(message) | Self::Stalled { message, .. } | Self::Failed(message) => {
                Some(message.clone())
            }
            Self::Idle(timeout) => Some(format!(
                "nothing was heard from the client for {} s",
                timeout.as_secs_f64()
            )),
            Self::Closed | Self::Shutdown => None,
        }
    }
}

/// The id of a session's event: each kind happens once, so a repeated append is the same message.
pub(crate) fn event_id(session: SessionId, name: &str) -> Uuid {
    Uuid::new_v5(&session.0, name.as_bytes())
}

pub(crate) fn metadata(source: &str) -> Metadata {
    Metadata {
        source: source.to_owned(),
        ..Metadata::default()
    }
}

fn envelope<E: DomainEvent>(
    id: SessionId,
    event: &E,
    metadata: Metadata,
) -> Result<EventEnvelope, serde_json::Error> {
    EventEnvelope::new(event_id(id, E::EVENT_TYPE), event, metadata)
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_add(micros))
}

#[cfg(test)]
mod tests;
