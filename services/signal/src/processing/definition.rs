//! The pipeline aggregate: a named list of stages, rebuilt from its events. Pure.
//!
//! The catalogue's events say that a pipeline was created or changed, not what it is: its description and stages travel in
//! the metadata.

use bus::EventSourced;
use events::pipeline::{PipelineCreated, PipelineDeleted, PipelineUpdated};
use events::{DomainEvent, EventEnvelope, Timestamp};
use serde_json::Value;

use super::stage::Stage;

/// Metadata key: the stages.
pub const STAGES: &str = "stages";
/// Metadata key: the description.
pub const DESCRIPTION: &str = "description";
/// Metadata key: the `request_id` that created it, where one was given.
pub const REQUEST_ID: &str = "request_id";

/// The state that a pipeline's events add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    /// It exists.
    pub exists: bool,
    /// For people.
    pub description: String,
    /// What it does.
    pub stages: Vec<Stage>,
    /// The `request_id` that created it; empty where none was given.
    pub request_id: String,
    /// Number of its last event; the resource's etag.
    pub version: u64,
    /// First event.
    pub created: Timestamp,
    /// Last event.
    pub updated: Timestamp,
    /// It comes with the service.
    pub built_in: bool,
}

impl Definition {
    /// Etag of the resource: the version of the aggregate.
    #[must_use]
    pub fn etag(&self) -> String {
        if self.built_in {
            concat!("built-in-", env!("CARGO_PKG_VERSION")).to_owned()
        } else {
            self.version.to_string()
        }
    }

    fn take(&mut self, event: &EventEnvelope) {
        let field = |key: &str| event.metadata.extra.get(key).cloned();
        if let Some(Value::String(text)) = field(DESCRIPTION) {
            self.description = text;
        }
        // A stage of a later release is not known here: the pipeline then has no stages, and cannot be run.
        if let Some(stages) = field(STAGES) {
            self.stages = serde_json::from_value(stages).unwrap_or_default();
        }
        if let Some(Value::String(text)) = field(REQUEST_ID) {
            self.request_id = text;
        }
    }
}

impl EventSourced for Definition {
    fn apply(&mut self, event: &EventEnvelope) {
        match event.event_type.as_str() {
            PipelineCreated::EVENT_TYPE => {
                *self = Self {
                    exists: true,
                    created: event.occurred_at,
                    ..Self::default()
                };
                self.take(event);
            }
            PipelineUpdated::EVENT_TYPE if self.exists => self.take(event),
            PipelineDeleted::EVENT_TYPE => self.exists = false,
            _ => return,
        }
        self.version = event.sequence_number;
        self.updated = event.occurred_at;
    }
}
