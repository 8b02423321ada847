//! An event that goes straight from its type to JSON, for hot paths: no tree of values is built on the way.

use serde::Serialize;
use uuid::Uuid;

use crate::{DomainEvent, Metadata, Timestamp};

/// An event with its envelope around it: the same JSON as [`EventEnvelope::new`](crate::EventEnvelope::new) makes of the same
/// parts, in another order of the payload's fields; numbers of 32 bits are written shorter (0.1, not 0.10000000149011612).
#[derive(Clone, Debug, Serialize)]
pub struct OutgoingEvent<'a, E> {
    /// Id of the event.
    pub id: Uuid,
    /// `{context}.{event}`.
    pub event_type: &'static str,
    /// Id of the aggregate.
    pub aggregate_id: String,
    aggregate_type: &'static str,
    sequence_number: u64,
    /// When it happened, in the time of the input.
    pub occurred_at: Timestamp,
    /// Session, run or workflow that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Uuid>,
    version: u32,
    /// Who and where.
    pub metadata: &'a Metadata,
    payload: &'a E,
    /// Third token of its subject.
    #[serde(skip)]
    pub key: String,
}

impl<'a, E: DomainEvent> OutgoingEvent<'a, E> {
    /// Puts `event` into an envelope; `id` as for [`EventEnvelope::new`](crate::EventEnvelope::new).
    #[must_use]
    pub fn new(id: Uuid, event: &'a E, metadata: &'a Metadata) -> Self {
        Self {
            id,
            event_type: E::EVENT_TYPE,
            aggregate_id: event.aggregate_id(),
            aggregate_type: E::AGGREGATE_TYPE,
            sequence_number: 0,
            occurred_at: event.occurred_at(),
            correlation_id: event.correlation_id(),
            version: E::VERSION,
            metadata,
            payload: event,
            key: event.key(),
        }
    }

    /// The same, belonging to `run`.
    #[must_use]
    pub fn correlated(mut self, run: Option<Uuid>) -> Self {
        self.correlation_id = run.or(self.correlation_id);
        self
    }
}
