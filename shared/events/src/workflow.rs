//! Events of `workflow`.

use serde_json::Value;

use crate::Timestamp;
use crate::declare::events;
use crate::id::WorkflowId;

events! {
    /// A long-running operation began.
    "workflow.started" v1 of "workflow" workflow_id, key(workflow_id),
    by "the service that runs it", flags(sourced),
    when "a long-running operation began: calibration, recording, model roll-out, backfill";
    pub struct WorkflowStarted {
        pub workflow_id: WorkflowId,
        pub timestamp: Timestamp,
        pub kind: String,
        pub subject: String,
        pub requested_by: Option<String>,
    }

    /// A long-running operation entered another step.
    "workflow.state_changed" v1 of "workflow" workflow_id, key(workflow_id),
    by "the service that runs it", flags(sourced),
    when "it entered another step";
    pub struct WorkflowStateChanged {
        pub workflow_id: WorkflowId,
        pub timestamp: Timestamp,
        pub previous_state: String,
        pub new_state: String,
        pub progress_percent: Option<f32>,
    }

    /// A long-running operation ended well.
    "workflow.completed" v1 of "workflow" workflow_id, key(workflow_id),
    by "the service that runs it", flags(sourced),
    when "it ended well";
    pub struct WorkflowCompleted {
        pub workflow_id: WorkflowId,
        pub timestamp: Timestamp,
        pub duration_seconds: f64,
        pub result: Value,
    }

    /// A long-running operation ended badly.
    "workflow.failed" v1 of "workflow" workflow_id, key(workflow_id),
    by "the service that runs it", flags(sourced),
    when "it ended badly, or was cancelled";
    pub struct WorkflowFailed {
        pub workflow_id: WorkflowId,
        pub timestamp: Timestamp,
        pub error_code: String,
        pub error_message: String,
        pub duration_seconds: f64,
    }
}
