//! What a run says of itself: its events, and its progress.

use events::pipeline::{
    ProcessingCompleted, ProcessingFailed, ProcessingMetrics, ProcessingPaused, ResourceExhausted,
    StageFailed, StageStarted,
};
use events::{DataSource, DomainEvent, PipelineId, ProcessingId, StageId, Timestamp};

use super::checkpoint::{Checkpoint, checkpoint_name, discard};
use super::{End, Failure, One};
use crate::processing::engine::{Done, Failed, SaveError};
use crate::processing::error::Error;
use crate::processing::run::State;
use crate::processing::runs::pipeline_id;
use crate::processing::stages::StageError;

impl One<'_> {
    /// Announces the stages that saw their first chunk.
    pub(super) async fn started(&self, before: &[Done], now: &[Done]) -> Result<(), Failure> {
        for ((stage, before), now) in self.run.order.stages.iter().zip(before).zip(now) {
            if before.started || !now.started {
                continue;
            }
            let event = StageStarted {
                pipeline_id: self.pipeline_id()?,
                processing_id: ProcessingId(self.id),
                stage_id: self.stage_id(&stage.name),
                timestamp: Timestamp::now(),
                stage_name: stage.name.clone(),
                stage_type: stage.does.name().to_owned(),
            };
            self.publish(&format!("stage {}", stage.name), &event, false)
                .await?;
        }
        Ok(())
    }

    pub(super) async fn stage_failed(&self, failed: SaveError) -> Failure {
        let Failed { name, error, .. } = match failed {
            SaveError::Failed(failed) => failed,
            SaveError::State(error) => return Failure::new("checkpoint", error.to_string()),
        };
        let announced = async {
            if let StageError::Memory { bytes, limit } = error {
                self.exhausted(
                    "memory",
                    bytes,
                    limit,
                    "the run was ended; what was done is kept",
                    "state",
                )
                .await?;
            }
            let event = StageFailed {
                pipeline_id: self.pipeline_id()?,
                processing_id: ProcessingId(self.id),
                stage_id: self.stage_id(&name),
                timestamp: Timestamp::now(),
                stage_name: name.clone(),
                error_message: error.to_string(),
                error_code: error.code().to_owned(),
            };
            self.publish("stage", &event, false).await
        };
        if let Err(failure) = announced.await {
            return failure;
        }
        Failure {
            code: error.code().to_owned(),
            message: error.to_string(),
            stage: Some(name),
        }
    }

    pub(super) async fn exhausted(
        &self,
        what: &str,
        usage: u64,
        limit: u64,
        action: &str,
        distinction: &str,
    ) -> Result<(), Failure> {
        let event = ResourceExhausted {
            pipeline_id: self.pipeline_id()?,
            processing_id: ProcessingId(self.id),
            timestamp: Timestamp::now(),
            resource_type: what.to_owned(),
            current_usage: usage,
            limit,
            action_taken: action.to_owned(),
        };
        self.publish(distinction, &event, false).await
    }

    pub(super) async fn publish<E: DomainEvent>(
        &self,
        distinction: &str,
        event: &E,
        simulated: bool,
    ) -> Result<(), Failure> {
        let mut event = self.runs.envelope(self.id, distinction, event)?;
        event.metadata.data_source = Some(if simulated {
            DataSource::Simulated
        } else {
            DataSource::Replay
        });
        self.runs.bus.publish(&event).await?;
        Ok(())
    }

    pub(super) fn pipeline_id(&self) -> Result<PipelineId, Error> {
        match &self.pipeline {
            Some(id) => Ok(id.clone()),
            None => pipeline_id(&self.run.order),
        }
    }

    pub(super) fn stage_id(&self, name: &str) -> StageId {
        StageId::derive(self.id, &format!("stage {name}"))
    }

    #[allow(clippy::cast_precision_loss)]
    pub(super) fn show(&self, at: &Checkpoint) {
        self.runs.progress(self.id, |progress| {
            progress.frames_total = Some(at.frames_total);
            progress.frames = at.frames;
            progress.errors = at.malformed;
            progress.chunks = at.chunks;
            progress.frames_per_second = at.rate.frames_per_second();
            progress.eta_seconds = at
                .rate
                .eta_seconds(at.frames_total.saturating_sub(at.frames));
            progress.seconds = at.work_us as f64 / 1e6;
        });
    }

    /// Stores how the work ended.
    pub(super) async fn end(&self, ended: Result<End, Failure>) -> Result<(), Error> {
        let (runs, id) = (self.runs, self.id);
        let pipeline_id = self.pipeline_id()?;
        let processing_id = ProcessingId(id);
        let timestamp = Timestamp::now();
        let event = match &ended {
            Ok(End::Completed {
                metrics, output, ..
            }) => {
                let event = ProcessingCompleted {
                    pipeline_id,
                    processing_id,
                    timestamp,
                    metrics: metrics.clone(),
                    output_size: *output,
                };
                runs.envelope(id, "completed", &event)?
            }
            Ok(End::Paused { reason, at }) => {
                let kept = at.as_ref().map(|at| {
                    let about = serde_json::json!({"object": format!("processing/{}", checkpoint_name(id)), "chunks": at.chunks, "frames": at.frames});
                    events::Base64(about.to_string().into_bytes())
                });
                let event = ProcessingPaused {
                    pipeline_id,
                    processing_id,
                    timestamp,
                    reason: (*reason).to_owned(),
                    checkpoint_data: kept,
                };
                let version = runs.get(id)?.run.version;
                runs.envelope(id, &format!("paused {version}"), &event)?
            }
            Ok(End::Cancelled { reason, .. }) => runs.cancelled(id, self.run, reason)?,
            Err(failure) => {
                tracing::warn!(processing = %id, code = failure.code, error = failure.message, "run failed");
                let event = ProcessingFailed {
                    pipeline_id,
                    processing_id,
                    timestamp,
                    error_message: failure.message.clone(),
                    error_code: failure.code.clone(),
                    stage_name: failure.stage.clone(),
                    partial_metrics: self.latest.as_ref().map(metrics),
                };
                runs.envelope(id, "failed", &event)?
            }
        };
        runs.change(id, |run| {
            Ok((run.state == State::Running).then(|| event.clone()))
        })
        .await?;
        if let Ok(End::Completed { .. } | End::Cancelled { .. }) = ended {
            discard(runs, id).await;
        }
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss)]
pub(super) fn metrics(at: &Checkpoint) -> ProcessingMetrics {
    ProcessingMetrics {
        bytes_processed: at.raw_bytes,
        frames_processed: at.frames,
        chunks_processed: at.chunks,
        duration_ms: at.work_us / 1000,
        throughput_bytes_per_second: at.raw_bytes as f64 * 1e6 / at.work_us.max(1) as f64,
        errors: at.malformed,
    }
}
