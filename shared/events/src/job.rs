//! Events of `job`.

use crate::Timestamp;
use crate::declare::{choices, events};
use crate::id::{JobId, ModelId};

choices! {
    /// Which job goes first.
    pub enum Priority {
        Low = "low",
        Normal = "normal",
        High = "high",
        Critical = "critical",
    }
}

events! {
    /// A batch inference was queued.
    "job.submitted" v1 of "inference_job" job_id, key(job_id), by "pose", flags(),
    when "SubmitJob: a batch inference was queued";
    pub struct JobSubmitted {
        pub job_id: JobId,
        pub timestamp: Timestamp,
        pub model_id: ModelId,
        pub priority: Priority,
    }

    /// A batch inference is done and its result stored.
    "job.completed" v1 of "inference_job" job_id, key(job_id), by "pose", flags(),
    when "its result is stored";
    pub struct JobCompleted {
        pub job_id: JobId,
        pub timestamp: Timestamp,
        pub model_id: ModelId,
        pub processing_time_ms: f64,
        pub success: bool,
    }

    /// A batch inference was given up.
    "job.failed" v1 of "inference_job" job_id, key(job_id), by "pose", flags(),
    when "its last attempt failed";
    pub struct JobFailed {
        pub job_id: JobId,
        pub timestamp: Timestamp,
        pub model_id: ModelId,
        pub error_message: String,
        pub processing_time_ms: f64,
    }
}
