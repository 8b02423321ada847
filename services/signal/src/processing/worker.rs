//! The work on a run: chunk, part of the output, events, checkpoint, and again; then the file.
//!
//! A chunk's part and events are stored before the checkpoint behind it. A crash between any two repeats the chunk, which
//! gives the same part under the same name and events with the same ids: the size of the next chunk is in the checkpoint too.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use csi::read::{Format, Options, Reader};
use events::pipeline::{
    ChunkProcessed, MetricsUpdated, ProcessingCompleted, ProcessingFailed, ProcessingMetrics,
    ProcessingPaused, ResourceExhausted, StageCompleted, StageFailed, StageStarted,
};
use events::{ChunkId, DataSource, DomainEvent, PipelineId, ProcessingId, StageId, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::engine::{Chunk, Done, Engine, Failed, SaveError};
use super::error::{Error, chain};
use super::output::File;
use super::pace::{FIRST, Rate, Target, next_chunk};
use super::run::{Run, SHUTDOWN, State};
use super::runs::{Runs, Wish, pipeline_id};
use super::stages::StageError;
use super::table::Table;

/// Version of the checkpoints' form; one of another is not taken up.
const FORM: u16 = 1;
/// At most so often the metrics are announced.
const METRICS_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Works on runs as they are launched, until `stop`; then every run stops behind its chunk in hand.
pub async fn supervise(
    runs: Arc<Runs>,
    mut launched: mpsc::UnboundedReceiver<Uuid>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(runs.config.concurrent));
    let mut working = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            id = launched.recv() => match id {
                Some(id) => {
                    let (runs, places, stop) = (Arc::clone(&runs), Arc::clone(&places), stop.clone());
                    working.spawn(async move { work(&runs, id, &places, &stop).await });
                }
                None => break,
            },
            Some(ended) = working.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a run's task met a fault");
                }
            }
        }
    }
    while working.join_next().await.is_some() {}
    Ok(())
}

/// Name of a run's output.
#[must_use]
pub fn output_name(id: Uuid) -> String {
    format!("{id}.parquet")
}

/// Name of a run's checkpoint.
#[must_use]
pub fn checkpoint_name(id: Uuid) -> String {
    format!("{id}.checkpoint")
}

fn part_name(id: Uuid, number: u64) -> String {
    format!("{id}.part-{number}")
}

/// What is kept of a run behind each chunk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Checkpoint {
    form: u16,
    /// Places of the recording, frames or not, that were read.
    places: u64,
    frames_total: u64,
    frames: u64,
    malformed: u64,
    raw_bytes: u64,
    chunks: u64,
    parts: u64,
    output_bytes: u64,
    work_us: u64,
    next_chunk: usize,
    /// The last chunk went through; what stages held back may still be due.
    over: bool,
    simulated: bool,
    rate: Rate,
    engine: Vec<u8>,
}

/// How the work on a run ended.
enum End {
    Completed {
        metrics: ProcessingMetrics,
        output: u64,
        parts: u64,
    },
    Paused {
        reason: &'static str,
        at: Option<Checkpoint>,
    },
    Cancelled {
        reason: String,
        parts: u64,
    },
}

/// Why a run failed.
struct Failure {
    code: String,
    message: String,
    stage: Option<String>,
}

impl Failure {
    fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            stage: None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new("bus", chain(&error))
    }
}

impl From<bus::Error> for Failure {
    fn from(error: bus::Error) -> Self {
        Self::new("bus", chain(&error))
    }
}

/// What works on one recording; it goes to a thread for blocking work and comes back.
struct Job {
    reader: Reader,
    engine: Engine,
    at: Checkpoint,
}

async fn work(runs: &Runs, id: Uuid, places: &Semaphore, stop: &CancellationToken) {
    let Ok(now) = runs.get(id) else { return };
    let Some(mut wishes) = runs.wishes(id) else {
        return;
    };
    let run = now.run;
    if run.state != State::Running {
        return;
    }
    let mut one = One {
        runs,
        id,
        run: &run,
        pipeline: None,
        latest: None,
        announced: None,
    };
    let ended = {
        // A run that waits can be paused and cancelled too.
        let turn = tokio::select! {
            turn = places.acquire() => turn.ok(),
            wish = wishes.wait_for(|wish| *wish != Wish::Go) => { let _ = wish; None }
            () = stop.cancelled() => None,
        };
        runs.progress(id, |progress| progress.working = turn.is_some());
        match turn {
            Some(_turn) => one.go(&mut wishes, stop).await,
            None => Ok(one.interrupted(&wishes, None)),
        }
    };
    let outcome = one.end(ended).await;
    runs.progress(id, |progress| progress.working = false);
    if let Err(error) = outcome {
        tracing::warn!(processing = %id, error = chain(&error), "the end of a run could not be stored; it goes on after a restart");
    }
}

/// One run at work.
struct One<'a> {
    runs: &'a Runs,
    id: Uuid,
    run: &'a Run,
    pipeline: Option<PipelineId>,
    latest: Option<Checkpoint>,
    /// When the metrics were last announced.
    announced: Option<Instant>,
}

impl One<'_> {
    fn interrupted(&self, wishes: &watch::Receiver<Wish>, at: Option<Checkpoint>) -> End {
        match &*wishes.borrow() {
            Wish::Cancel(reason) => End::Cancelled {
                reason: reason.clone(),
                parts: at.map_or(u64::MAX, |at| at.parts),
            },
            Wish::Pause => End::Paused {
                reason: "requested",
                at,
            },
            Wish::Go => End::Paused {
                reason: SHUTDOWN,
                at,
            },
        }
    }

    async fn go(
        &mut self,
        wishes: &mut watch::Receiver<Wish>,
        stop: &CancellationToken,
    ) -> Result<End, Failure> {
        self.pipeline = Some(pipeline_id(&self.run.order)?);
        let mut job = self.open().await?;
        self.latest = Some(job.at.clone());
        self.show(&job.at);
        while !job.at.over {
            if stop.is_cancelled() || *wishes.borrow() != Wish::Go {
                return Ok(self.interrupted(wishes, Some(job.at)));
            }
            job = self.chunk(job).await?;
            self.latest = Some(job.at.clone());
            self.show(&job.at);
            self.limits(&job.at).await?;
        }
        self.finish(job).await
    }

    /// Reads the recording and, where there is one, the checkpoint.
    async fn open(&self) -> Result<Job, Failure> {
        let order = self.run.order.clone();
        let recording = self.runs.recordings.get(&order.recording).await?;
        let bytes = recording.ok_or_else(|| {
            Failure::new(
                "recording_missing",
                format!("there is no recording {}", order.recording),
            )
        })?;
        let kept = self.runs.outputs.get(&checkpoint_name(self.id)).await?;
        let config = self.runs.config.clone();
        blocking(move || {
            let kept = kept
                .and_then(|kept| postcard::from_bytes::<Checkpoint>(&kept).ok())
                .filter(|kept| kept.form == FORM);
            open(&order, bytes, kept, &config)
        })
        .await?
    }

    /// One chunk: compute, store, announce, checkpoint.
    async fn chunk(&mut self, job: Job) -> Result<Job, Failure> {
        let began = Instant::now();
        let before: Vec<Done> = job.engine.done().to_vec();
        let most = self.runs.config.max_chunk_bytes;
        let (mut job, outcome) = blocking(move || {
            let mut job = job;
            let outcome = compute(&mut job, most);
            (job, outcome)
        })
        .await?;
        let Computed {
            part,
            frames,
            raw_bytes,
            bytes,
            cut,
        } = match outcome {
            Ok(computed) => computed,
            Err(failed) => return Err(self.stage_failed(failed).await),
        };
        self.started(&before, job.engine.done()).await?;
        if let Some(part) = part {
            job.at.output_bytes += part.len() as u64;
            self.runs
                .outputs
                .put(&part_name(self.id, job.at.parts), part)
                .await?;
            job.at.parts += 1;
        }
        let number = job.at.chunks;
        job.at.chunks += 1;
        let took = began.elapsed();
        job.at.work_us += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        job.at.rate.note(frames as u64, took.as_secs_f64());
        let target = Target {
            seconds: self.runs.config.chunk_s,
            bytes: most,
        };
        job.at.next_chunk = next_chunk(target, frames, bytes, took.as_secs_f64());
        if cut {
            let action =
                format!("the chunk ended after {frames} frames, and the next ones are smaller");
            self.exhausted("memory", bytes, most, &action, &format!("memory {number}"))
                .await?;
        }
        let event = ChunkProcessed {
            pipeline_id: self.pipeline_id()?,
            processing_id: ProcessingId(self.id),
            chunk_id: ChunkId::derive(self.id, &format!("chunk {number}")),
            timestamp: Timestamp::now(),
            chunk_sequence: number,
            chunk_size: raw_bytes,
            stage_name: self
                .run
                .order
                .stages
                .last()
                .map(|s| s.name.clone())
                .unwrap_or_default(),
            processing_time_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        self.publish(&format!("chunk {number}"), &event, job.at.simulated)
            .await?;
        if self
            .announced
            .is_none_or(|at| at.elapsed() >= METRICS_EVERY)
        {
            self.announced = Some(Instant::now());
            let event = MetricsUpdated {
                pipeline_id: self.pipeline_id()?,
                processing_id: ProcessingId(self.id),
                timestamp: Timestamp::now(),
                metrics: metrics(&job.at),
            };
            self.publish(&format!("metrics {number}"), &event, job.at.simulated)
                .await?;
        }
        self.keep(&job.at).await?;
        Ok(job)
    }

    async fn keep(&self, at: &Checkpoint) -> Result<(), Failure> {
        let kept = postcard::to_allocvec(at)
            .map_err(|error| Failure::new("checkpoint", error.to_string()))?;
        self.runs
            .outputs
            .put(&checkpoint_name(self.id), Bytes::from(kept))
            .await?;
        Ok(())
    }

    /// Holds the run against its limits.
    async fn limits(&self, at: &Checkpoint) -> Result<(), Failure> {
        let config = &self.runs.config;
        let ms = (at.work_us / 1000, (config.max_run_s * 1e3) as u64);
        for (what, usage, limit, key) in [
            (
                "time",
                ms.0,
                ms.1,
                "milliseconds of work; at most that many of processing.max_run_s",
            ),
            (
                "disk",
                at.output_bytes,
                config.max_output_bytes,
                "bytes of output; processing.max_output_bytes",
            ),
        ] {
            if usage > limit && !(at.over && what == "time") {
                self.exhausted(
                    what,
                    usage,
                    limit,
                    "the run was ended; what was done is kept",
                    what,
                )
                .await?;
                let code = format!("{what}_exhausted");
                return Err(Failure::new(&code, format!("{usage} of {limit} {key}")));
            }
        }
        Ok(())
    }

    /// What the stages held back, the file, and the last events.
    async fn finish(&mut self, job: Job) -> Result<End, Failure> {
        let began = Instant::now();
        let before: Vec<Done> = job.engine.done().to_vec();
        let (job, outcome) = blocking(move || {
            let mut job = job;
            let outcome = job.engine.finish();
            (job, outcome)
        })
        .await?;
        let rest = match outcome {
            Ok(rest) => rest,
            Err(failed) => return Err(self.stage_failed(failed.into()).await),
        };
        self.started(&before, job.engine.done()).await?;
        let order = &self.run.order;
        let about = [
            ("fresnel.pipeline", order.pipeline.clone()),
            ("fresnel.pipeline_etag", order.pipeline_etag.clone()),
            (
                "fresnel.stages",
                serde_json::to_string(&order.stages).unwrap_or_default(),
            ),
            ("fresnel.recording", order.recording.clone()),
        ];
        let mut file =
            File::new(job.engine.columns(), &about).map_err(|error| output_failed(&error))?;
        for number in 0..job.at.parts {
            let name = part_name(self.id, number);
            let part = self.runs.outputs.get(&name).await?;
            let part = part.ok_or_else(|| {
                Failure::new("output", format!("part {name} of the output is gone"))
            })?;
            file = blocking(move || {
                let part: Table = postcard::from_bytes(&part)
                    .map_err(|error| Failure::new("output", error.to_string()))?;
                file.append(part).map_err(|error| output_failed(&error))?;
                Ok::<_, Failure>(file)
            })
            .await??;
        }
        let bytes = blocking(move || {
            file.append(rest)?;
            file.finish()
        })
        .await?
        .map_err(|error| output_failed(&error))?;
        let size = bytes.len() as u64;
        if size > self.runs.config.max_output_bytes {
            let limit = self.runs.config.max_output_bytes;
            self.exhausted(
                "disk",
                size,
                limit,
                "the run was ended; what was done is kept",
                "file",
            )
            .await?;
            return Err(Failure::new(
                "disk_exhausted",
                format!("{size} of {limit} bytes of output; processing.max_output_bytes"),
            ));
        }
        self.runs
            .outputs
            .put(&output_name(self.id), Bytes::from(bytes))
            .await?;
        for (stage, done) in order.stages.iter().zip(job.engine.done()) {
            let event = StageCompleted {
                pipeline_id: self.pipeline_id()?,
                processing_id: ProcessingId(self.id),
                stage_id: self.stage_id(&stage.name),
                timestamp: Timestamp::now(),
                stage_name: stage.name.clone(),
                processing_time_ms: done.time_us / 1000,
                bytes_processed: done.bytes,
            };
            self.publish(&format!("stage {}", stage.name), &event, job.at.simulated)
                .await?;
        }
        let mut at = job.at;
        at.work_us += u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.show(&at);
        Ok(End::Completed {
            metrics: metrics(&at),
            output: size,
            parts: at.parts,
        })
    }

    /// Announces the stages that saw their first chunk.
    async fn started(&self, before: &[Done], now: &[Done]) -> Result<(), Failure> {
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

    async fn stage_failed(&self, failed: SaveError) -> Failure {
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

    async fn exhausted(
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

    async fn publish<E: DomainEvent>(
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

    fn pipeline_id(&self) -> Result<PipelineId, Error> {
        match &self.pipeline {
            Some(id) => Ok(id.clone()),
            None => pipeline_id(&self.run.order),
        }
    }

    fn stage_id(&self, name: &str) -> StageId {
        StageId::derive(self.id, &format!("stage {name}"))
    }

    #[allow(clippy::cast_precision_loss)]
    fn show(&self, at: &Checkpoint) {
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
    async fn end(&self, ended: Result<End, Failure>) -> Result<(), Error> {
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
        if let Ok(End::Completed { parts, .. } | End::Cancelled { parts, .. }) = ended {
            discard(runs, id, parts).await;
        }
        Ok(())
    }
}

/// Removes the checkpoint and the parts of a run that is over; `parts` is `u64::MAX` where the checkpoint is to say it.
pub(super) async fn discard(runs: &Runs, id: Uuid, parts: u64) {
    let removed = async {
        let mut parts = parts;
        if parts == u64::MAX {
            let kept = runs.outputs.get(&checkpoint_name(id)).await?;
            let kept = kept.and_then(|kept| postcard::from_bytes::<Checkpoint>(&kept).ok());
            parts = kept.map_or(0, |kept| kept.parts);
        }
        for number in 0..parts {
            runs.outputs.delete(&part_name(id, number)).await?;
        }
        runs.outputs.delete(&checkpoint_name(id)).await
    };
    if let Err(error) = removed.await {
        tracing::warn!(processing = %id, %error, "what a run no longer needs could not be removed");
    }
}

fn open(
    order: &super::run::Order,
    bytes: Bytes,
    kept: Option<Checkpoint>,
    config: &crate::config::Processing,
) -> Result<Job, Failure> {
    let format: Format = order.format.parse().unwrap_or(Format::Auto);
    let reader = || {
        let options = Options {
            rate_hz: order.rate_hz,
            max_bytes: config.max_recording_bytes,
            ..Options::default()
        };
        Reader::new(bytes.clone(), &order.recording, format, options)
            .map_err(|error| Failure::new("recording", chain(&error)))
    };
    let mut engine = Engine::new(&order.stages, config.max_state_bytes)
        .map_err(|misfit| Failure::new("pipeline", misfit.to_string()))?;
    let mut recording = reader()?;
    if !recording.has_time() {
        return Err(Failure::new(
            "no_time",
            "the frames of the recording carry no time: say how many came each second (rate_hz)",
        ));
    }
    let at = match kept {
        Some(kept) => {
            engine
                .restore(&kept.engine)
                .map_err(|error| Failure::new("checkpoint", chain(&error)))?;
            for _ in 0..kept.places {
                recording.next();
            }
            kept
        }
        None => {
            let frames_total = reader()?.filter(Result::is_ok).count() as u64;
            if frames_total == 0 {
                return Err(Failure::new(
                    "no_frames",
                    "the recording holds no frame that can be decoded",
                ));
            }
            Checkpoint {
                form: FORM,
                frames_total,
                next_chunk: FIRST,
                ..Checkpoint::default()
            }
        }
    };
    Ok(Job {
        reader: recording,
        engine,
        at,
    })
}

/// What a chunk gave.
struct Computed {
    part: Option<Bytes>,
    frames: usize,
    raw_bytes: u64,
    bytes: u64,
    cut: bool,
}

fn compute(job: &mut Job, most_bytes: u64) -> Result<Computed, SaveError> {
    let chunk = Chunk::read(&mut job.reader, job.at.next_chunk, most_bytes);
    let frames = chunk.frames.len();
    let (raw_bytes, bytes, cut) = (chunk.raw_bytes, chunk.bytes, chunk.cut);
    let at = &mut job.at;
    at.places += frames as u64 + chunk.malformed;
    at.frames += frames as u64;
    at.malformed += chunk.malformed;
    at.raw_bytes += raw_bytes;
    at.over = chunk.last;
    at.simulated |= chunk.frames.iter().any(|(_, frame)| frame.simulated);
    let table = job.engine.push(chunk)?;
    let part = (table.rows() > 0).then(|| postcard::to_allocvec(&table));
    let part = part.transpose().map_err(super::stages::StateError::from)?;
    job.at.engine = job.engine.save()?;
    Ok(Computed {
        part: part.map(Bytes::from),
        frames,
        raw_bytes,
        bytes,
        cut,
    })
}

#[allow(clippy::cast_precision_loss)]
fn metrics(at: &Checkpoint) -> ProcessingMetrics {
    ProcessingMetrics {
        bytes_processed: at.raw_bytes,
        frames_processed: at.frames,
        chunks_processed: at.chunks,
        duration_ms: at.work_us / 1000,
        throughput_bytes_per_second: at.raw_bytes as f64 * 1e6 / at.work_us.max(1) as f64,
        errors: at.malformed,
    }
}

fn output_failed(error: &parquet::errors::ParquetError) -> Failure {
    Failure::new("output", error.to_string())
}

/// Runs blocking work away from the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::new("panic", format!("the work on a chunk met a fault: {error}")))
}
