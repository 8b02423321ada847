//! The work on a run: chunk, part of the output, events, checkpoint, and again; then the file.
//!
//! A chunk's part and events are stored before the checkpoint behind it. A crash between any two repeats the chunk, which
//! gives the same part under the same name and events with the same ids: the size of the next chunk is in the checkpoint too.

mod announce;
mod checkpoint;
mod job;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use events::pipeline::{ChunkProcessed, MetricsUpdated, ProcessingMetrics, StageCompleted};
use events::{ChunkId, PipelineId, ProcessingId, Timestamp};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::announce::metrics;
use self::checkpoint::{Checkpoint, discard_parts, part_name};
pub use self::checkpoint::{checkpoint_name, output_name};
pub(super) use self::checkpoint::{discard, usable};
use self::job::{Computed, Job, blocking, compute};
use super::engine::Done;
use super::error::{Error, chain};
use super::output::File;
use super::pace::{Target, next_chunk};
use super::run::{Run, SHUTDOWN, State};
use super::runs::{Runs, Wish, pipeline_id};
use super::table::Table;

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

/// How the work on a run ended.
enum End {
    Completed {
        metrics: ProcessingMetrics,
        output: u64,
    },
    Paused {
        reason: &'static str,
        at: Option<Checkpoint>,
    },
    Cancelled {
        reason: String,
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
        let again = kept.is_some();
        let beginning = if again { self.run.version } else { 0 };
        let job = blocking(move || {
            let kept = kept.and_then(|kept| Checkpoint::read(&kept));
            job::open(&order, bytes, kept, beginning, &config)
        })
        .await??;
        if again && job.at.chunks == 0 {
            tracing::info!(processing = %self.id, "the checkpoint is of another version or not readable: the run begins again");
            discard_parts(self.runs, self.id).await?;
        }
        Ok(job)
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
            let memory = of_beginning(job.at.beginning, "memory", number);
            self.exhausted("memory", bytes, most, &action, &memory)
                .await?;
        }
        let chunk = of_beginning(job.at.beginning, "chunk", number);
        let event = ChunkProcessed {
            pipeline_id: self.pipeline_id()?,
            processing_id: ProcessingId(self.id),
            chunk_id: ChunkId::derive(self.id, &chunk),
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
        self.publish(&chunk, &event, job.at.simulated).await?;
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
            let metrics = of_beginning(job.at.beginning, "metrics", number);
            self.publish(&metrics, &event, job.at.simulated).await?;
        }
        self.keep(&job.at).await?;
        Ok(job)
    }

    async fn keep(&self, at: &Checkpoint) -> Result<(), Failure> {
        let kept = at
            .write()
            .map_err(|error| Failure::new("checkpoint", error.to_string()))?;
        self.runs
            .outputs
            .put(&checkpoint_name(self.id), kept)
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
        })
    }
}

fn output_failed(error: &parquet::errors::ParquetError) -> Failure {
    Failure::new("output", error.to_string())
}

/// What tells an event of a chunk from others of the run: chunks of a run that began again are others.
fn of_beginning(beginning: u64, what: &str, number: u64) -> String {
    match beginning {
        0 => format!("{what} {number}"),
        again => format!("{what} {number} of {again}"),
    }
}
