//! The workflow aggregate: one long-running operation, rebuilt from its events. Pure.

use bus::{EventSourced, Version};
use events::workflow::{WorkflowCompleted, WorkflowFailed, WorkflowStarted, WorkflowStateChanged};
use events::{DomainEvent, EventEnvelope, Timestamp};
use serde_json::Value;
use tonic::Code;
use uuid::Uuid;

/// Metadata key of `workflow.started`: what the operation was asked to do, for going on after a restart.
pub(super) const PARAMETERS: &str = "parameters";
/// Metadata key of `workflow.failed`: number of the gRPC status code.
pub(super) const STATUS_CODE: &str = "status_code";
/// State of a workflow that nobody wants to see any more.
pub(super) const DELETED: &str = "deleted";

/// How a workflow stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Outcome {
    /// It has not ended.
    #[default]
    Running,
    /// It ended well, with this result.
    Completed(Value),
    /// It ended badly, or was cancelled.
    Failed {
        /// Status for callers.
        code: Code,
        /// `error_code` of the event: a word such as `cancelled`, `interrupted`, `timeout`, or one of the kind's own.
        reason: String,
        /// A sentence.
        message: String,
    },
}

/// A long-running operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workflow {
    /// Its id; `operations/{id}` for callers.
    pub id: Uuid,
    /// The service that runs it.
    pub service: String,
    /// The process of it that began it, `service/instance`.
    pub source: String,
    /// calibration, recording, ...
    pub kind: String,
    /// What it is about: `devices/NAME`.
    pub subject: String,
    /// Who asked for it, where that is known.
    pub requested_by: Option<String>,
    /// What it was asked to do.
    pub parameters: Value,
    /// When it began.
    pub started: Timestamp,
    /// When anything was last heard of it.
    pub updated: Timestamp,
    /// Step that it is in: a word of the kind's own.
    pub state: String,
    /// 0 to 100; absent where the length is not known.
    pub progress_percent: Option<f32>,
    /// How it stands.
    pub outcome: Outcome,
    /// It was asked to end. Not kept over a restart: what was running then is interrupted or goes on.
    pub cancel_requested: bool,
    /// Nobody wants to see it any more.
    pub deleted: bool,
    /// Version of the aggregate.
    pub version: Version,
}

impl Workflow {
    /// Whether there is one: an aggregate of which `workflow.started` was not read (it fell out of the stream) is none.
    #[must_use]
    pub fn exists(&self) -> bool {
        !self.id.is_nil() && !self.deleted
    }

    /// Whether it has ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.outcome != Outcome::Running
    }

    /// Seconds from its beginning to `now`.
    #[must_use]
    pub fn seconds(&self, now: Timestamp) -> f64 {
        now.seconds_since(self.started).max(0.0)
    }
}

impl EventSourced for Workflow {
    fn apply(&mut self, event: &EventEnvelope) {
        if event.event_type != WorkflowStarted::EVENT_TYPE && self.id.is_nil() {
            return;
        }
        if let Ok(Some(began)) = event.read::<WorkflowStarted>() {
            let source = &event.metadata.source;
            *self = Self {
                id: began.workflow_id.0,
                service: source.split('/').next().unwrap_or_default().to_owned(),
                source: source.clone(),
                kind: began.kind,
                subject: began.subject,
                requested_by: began.requested_by,
                parameters: event
                    .metadata
                    .extra
                    .get(PARAMETERS)
                    .cloned()
                    .unwrap_or_default(),
                started: began.timestamp,
                state: "started".to_owned(),
                ..Self::default()
            };
        } else if let Ok(Some(changed)) = event.read::<WorkflowStateChanged>() {
            if changed.new_state == DELETED {
                self.deleted = true;
            } else if !self.ended() {
                self.state = changed.new_state;
                self.progress_percent = changed.progress_percent;
            }
        } else if let Ok(Some(completed)) = event.read::<WorkflowCompleted>() {
            self.state = "completed".to_owned();
            self.progress_percent = Some(100.0);
            self.outcome = Outcome::Completed(completed.result);
        } else if let Ok(Some(failed)) = event.read::<WorkflowFailed>() {
            let code = event
                .metadata
                .extra
                .get(STATUS_CODE)
                .and_then(Value::as_i64)
                .and_then(|code| i32::try_from(code).ok());
            self.state = "failed".to_owned();
            self.outcome = Outcome::Failed {
                code: code.map_or(Code::Unknown, Code::from),
                reason: failed.error_code,
                message: failed.error_message,
            };
        } else {
            return;
        }
        self.updated = event.occurred_at;
        self.version.number = event.sequence_number;
    }
}
