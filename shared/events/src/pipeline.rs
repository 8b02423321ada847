//! Events of `pipeline`.

use crate::Timestamp;
use crate::declare::events;
use crate::id::{ChunkId, PipelineId, ProcessingId, StageId};
pub use crate::types::{ProcessingMetrics, SecurityContext};
use crate::wire::Base64;

events! {
    /// A pipeline exists from now on.
    "pipeline.created" v1 of "pipeline" pipeline_id, key(pipeline_id), by "signal", flags(sourced),
    when "CreatePipeline";
    pub struct PipelineCreated {
        pub pipeline_id: PipelineId,
        pub timestamp: Timestamp,
        pub pipeline_name: String,
        pub stage_count: u64,
        pub created_by: Option<String>,
    }

    /// A pipeline's stages changed.
    "pipeline.updated" v1 of "pipeline" pipeline_id, key(pipeline_id), by "signal", flags(sourced),
    when "UpdatePipeline";
    pub struct PipelineUpdated {
        pub pipeline_id: PipelineId,
        pub timestamp: Timestamp,
        pub changes: Vec<String>,
        pub updated_by: Option<String>,
    }

    /// A pipeline is gone.
    "pipeline.deleted" v1 of "pipeline" pipeline_id, key(pipeline_id), by "signal", flags(sourced),
    when "DeletePipeline";
    pub struct PipelineDeleted {
        pub pipeline_id: PipelineId,
        pub timestamp: Timestamp,
        pub deleted_by: Option<String>,
    }

    /// A run of a pipeline over a recording began.
    "pipeline.processing_started" v1 of "processing" processing_id, key(processing_id),
    by "signal", flags(sourced),
    when "a run over a recording began";
    pub struct ProcessingStarted {
        pub pipeline_id: PipelineId,
        pub processing_id: ProcessingId,
        pub timestamp: Timestamp,
        pub input_path: String,
        pub output_path: String,
        pub file_size: u64,
        pub security_context: SecurityContext,
    }

    /// A run is done and its output stored.
    "pipeline.processing_completed" v1 of "processing" processing_id, key(processing_id),
    by "signal", flags(sourced),
    when "every chunk was processed and the output is stored";
    pub struct ProcessingCompleted {
        pub pipeline_id: PipelineId,
        pub processing_id: ProcessingId,
        pub timestamp: Timestamp,
        pub metrics: ProcessingMetrics,
        pub output_size: u64,
    }

    /// A run ended with an error.
    "pipeline.processing_failed" v1 of "processing" processing_id, key(processing_id),
    by "signal", flags(sourced),
    when "an error ended the run; what was done is kept";
    pub struct ProcessingFailed {
        pub pipeline_id: PipelineId,
        pub processing_id: ProcessingId,
        pub timestamp: Timestamp,
        pub error_message: String,
        pub error_code: String,
        pub stage_name: Option<String>,
        pub partial_metrics: Option<ProcessingMetrics>,
    }

    /// A run stands still and can go on.
    "pipeline.processing_paused" v1 of "processing" processing_id, key(processing_id),
    by "signal", flags(sourced),
    when "PauseProcessing, or a shutdown in mid-run";
    pub struct ProcessingPaused {
        pub pipeline_id: PipelineId,
        pub processing_id: ProcessingId,
        pub timestamp: Timestamp,
        pub reason: String,
        pub checkpoint_data: Option<Base64>,
    }

    /// A paused run goes on.
    "pipeline.processing_resumed" v1 of "processing" processing_id, key(processing_id),
    by "signal", flags(sourced),
    when "ResumeProcessing, or a restart that found a paused run";
    pub struct ProcessingResumed {
        pub pipeline_id: PipelineId,
        pub processing_id: ProcessingId,
        pub timestamp: Timestamp,
        pub resumed_from_checkpoint: bool,
    }

    /// A run was given up on request.
    "pipeline.processing_cancelled" v1 of "processing" processing_id, key(processing_id),
    by "signal", flags(sourced),
    when "CancelProcessing";
    pub struct ProcessingCancelled {
        pub pipeline_id: PipelineId,
        pub processing_id: ProcessingId,
        pub timestamp: Timestamp,
        pub reason: String,
        pub cancelled_by: Option<String>,
    }

    /// A stage saw its first chunk of a run.
    "pipeline.stage_started" v1 of "processing" processing_id, key(processing_id),
    by "signal", flags(),
    when "a stage saw its first chunk of the run";
    pub struct StageStarted {
        pub pipeline_id: PipelineId,
        pub processing_id: ProcessingId,
        pub stage_id: StageId,
        pub timestamp: Timestamp,
        pub stage_name: String,
        pub stage_type: String,
    }

    /// A stage saw its last chunk of a run.
    "pipeline.stage_completed" v1 of "processing" processing_id, key(processing_id),
    by "signal", flags(),
    when "a stage saw its last chunk";
    pub struct StageCompleted {
        pub pipeline_id: PipelineId,
        pub processing_id: ProcessingId,
        pub stage_id: StageId,
        pub timestamp: Timestamp,
        pub stage_name: String,
        pub processing_time_ms: u64,
        pub bytes_processed: u64,
    }

    /// A stage gave up.
    "pipeline.stage_failed" v1 of "processing" processing_id, key(processing_id),
    by "signal", flags(),
    when "a stage gave up";
    pub struct StageFailed {
        pub pipeline_id: PipelineId,
        pub processing_id: ProcessingId,
        pub stage_id: StageId,
        pub timestamp: Timestamp,
        pub stage_name: String,
        pub error_message: String,
        pub error_code: String,
    }

    /// A chunk went through all stages.
    "pipeline.chunk_processed" v1 of "processing" processing_id, key(processing_id),
    by "signal", flags(),
    when "a chunk left the last stage";
    pub struct ChunkProcessed {
        pub pipeline_id: PipelineId,
        pub processing_id: ProcessingId,
        pub chunk_id: ChunkId,
        pub timestamp: Timestamp,
        pub chunk_sequence: u64,
        pub chunk_size: u64,
        pub stage_name: String,
        pub processing_time_ms: u64,
    }

    /// How far a run is.
    "pipeline.metrics_updated" v1 of "processing" processing_id, key(processing_id),
    by "signal", flags(),
    when "at most once a second in a run";
    pub struct MetricsUpdated {
        pub pipeline_id: PipelineId,
        pub processing_id: ProcessingId,
        pub timestamp: Timestamp,
        pub metrics: ProcessingMetrics,
    }

    /// A run reached a limit.
    "pipeline.resource_exhausted" v1 of "processing" processing_id, key(processing_id),
    by "signal", flags(),
    when "a limit (memory, disk, queue, time) was reached";
    pub struct ResourceExhausted {
        pub pipeline_id: PipelineId,
        pub processing_id: ProcessingId,
        pub timestamp: Timestamp,
        pub resource_type: String,
        pub current_usage: u64,
        pub limit: u64,
        pub action_taken: String,
    }
}
