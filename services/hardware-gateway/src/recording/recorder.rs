//! Recording from the data plane.
//!
//! What one recording takes from the bus goes through a short queue to a thread that writes it: where the disk is slow, the
//! recording falls behind in the stream (which keeps ten minutes) and not in memory. Every second a chunk is ended, so that
//! a gateway that is killed leaves a file that holds all but the last second.

mod ending;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{Bus, Tap};
use events::Name;
use runtime::{Begun, NewWorkflow, Run, Workflows};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Code;

use self::ending::{passes, tell};
use super::library::Library;
use super::writer::{Command, write};
use super::{Recording, State};
use crate::config;
use crate::error::{Error, chain};
use crate::lifecycle::Devices;

/// Kind of the operations.
pub const WORKFLOW: &str = "recording";
/// The operation was asked to end.
const CANCELLED: &str = "cancelled";
/// After so long a chunk is ended.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Messages that are taken from the bus at once.
const BATCH: usize = 256;
/// Batches that wait for the disk.
const QUEUE: usize = 16;

/// What to record, and for how long.
#[derive(Clone, Debug)]
pub struct Request {
    /// Id of the recording (a UUID).
    pub id: String,
    /// File name.
    pub name: String,
    /// Zones; with `devices` empty too, everything.
    pub zones: Vec<Name>,
    /// Devices.
    pub devices: Vec<Name>,
    /// Seconds at most; 0: the gateway's limit.
    pub max_seconds: u64,
    /// Bytes at most; 0: the gateway's limit.
    pub max_bytes: u64,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
}

struct Running {
    progress: watch::Sender<Recording>,
    stop: CancellationToken,
}

/// The recordings that are being made.
pub struct Recorders {
    bus: Bus,
    devices: Arc<Devices>,
    library: Arc<Library>,
    workflows: Workflows,
    max_seconds: u64,
    drain: CancellationToken,
    running: Mutex<HashMap<String, Running>>,
    tasks: TaskTracker,
}

impl Recorders {
    /// `drain` ends all recordings, which are stored then.
    #[must_use]
    pub fn new(
        bus: Bus,
        devices: Arc<Devices>,
        library: Arc<Library>,
        workflows: Workflows,
        config: &config::Recordings,
        drain: CancellationToken,
    ) -> Self {
        Self {
            bus,
            devices,
            library,
            workflows,
            max_seconds: config.max_seconds,
            drain,
            running: Mutex::default(),
            tasks: TaskTracker::new(),
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no recording is being made.
    pub async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Begins a recording, or finds the one of that id.
    ///
    /// # Errors
    /// Where the bus cannot be reached or the file not be made.
    pub async fn start(self: &Arc<Self>, request: Request) -> Result<Recording, Error> {
        let begun = self
            .workflows
            .start(NewWorkflow {
                kind: WORKFLOW,
                subject: format!("recordings/{}", request.id),
                requested_by: None,
                request_id: request.id.clone(),
                parameters: json!({"recording": request.id}),
            })
            .await?;
        let Begun::New(run) = begun else {
            return self.get(&request.id).await;
        };
        let recording = Recording {
            gateway: self.library.gateway().to_owned(),
            operation: format!("operations/{}", run.id()),
            ..Recording::new(
                request.id.clone(),
                request.name.clone(),
                request.labels.clone(),
            )
        };
        match self.library.begin(&recording).await {
            Ok(true) => {}
            Ok(false) => {
                let known = format!("there is a recording {} already", request.id);
                run.fail(Code::AlreadyExists, "known", known).await;
                return self.get(&request.id).await;
            }
            Err(error) => {
                run.fail(Code::Unavailable, "not_started", chain(&error))
                    .await;
                return Err(error);
            }
        }
        match self.prepare(&request).await {
            Ok((tap, file)) => {
                self.launch(&recording, request, tap, file, run);
                Ok(recording)
            }
            Err(error) => {
                let why = chain(&error);
                run.fail(Code::Unavailable, "not_started", &*why).await;
                let failed = Recording {
                    state: State::Failed,
                    ended_by: why,
                    ..recording
                };
                self.library.keep(&failed).await?;
                Err(error)
            }
        }
    }

    async fn prepare(&self, request: &Request) -> Result<(Tap, File), Error> {
        let tap = self.bus.tap(&filters(request)).await?;
        let path = self.library.spooled(&request.id);
        let file = File::create(&path).map_err(|source| Error::disk("make", &path, source))?;
        // As long as it is open nobody else takes it for interrupted.
        file.try_lock()
            .map_err(|error| Error::disk("lock", &path, error.into()))?;
        Ok((tap, file))
    }

    fn launch(
        self: &Arc<Self>,
        recording: &Recording,
        request: Request,
        tap: Tap,
        file: File,
        mut run: Run,
    ) {
        let path = self.library.spooled(&recording.id);
        let stop = self.drain.child_token();
        let (progress, _) = watch::channel(recording.clone());
        let running = Running {
            progress: progress.clone(),
            stop: stop.clone(),
        };
        self.running().insert(recording.id.clone(), running);
        let (recorders, devices) = (Arc::clone(self), Arc::clone(&self.devices));
        self.tasks.spawn(async move {
            let id = request.id.clone();
            let limit = |asked: u64, most: u64| if asked == 0 { most } else { asked.min(most) };
            let max_bytes = limit(request.max_bytes, recorders.library.max_bytes());
            let max_seconds = limit(request.max_seconds, recorders.max_seconds);
            let (sender, receiver) = mpsc::channel(QUEUE);
            let (full, written) = (CancellationToken::new(), progress.clone());
            let writing = {
                let full = full.clone();
                tokio::task::spawn_blocking(move || {
                    write(file, receiver, &written, &devices, max_bytes, &full)
                })
            };
            let limits = Limits {
                time: Duration::from_secs(max_seconds),
                bytes: max_bytes,
            };
            let taking = Taking {
                run: &mut run,
                written: &progress,
                stop: &stop,
                full: &full,
            };
            let ended_by = take(tap, sender, limits, taking).await;
            run.step("storing", None).await;
            let ended_by = if recorders.drain.is_cancelled() {
                "the end of the gateway"
            } else {
                ended_by
            };
            let written = writing
                .await
                .unwrap_or_else(|error| Err(io::Error::other(error).into()));
            let mut recording = progress.borrow().clone();
            recording.ended_by = ended_by.into();
            recording.state = State::Completed;
            let held = match written {
                Ok(()) => Ok(()),
                Err(error) => recorders.broken_off(&mut recording, &path, error).await,
            };
            let stored = match held {
                Ok(()) => recorders.store(&mut recording, &path, &progress).await,
                Err(error) => Err(error),
            };
            if let Err(error) = stored {
                tracing::warn!(
                    recording = id,
                    error = chain(&error),
                    "a recording could not be stored"
                );
                if recorders.drain.is_cancelled() && passes(&error) {
                    // The next process of this gateway finds it in the spool.
                    run.suspend();
                    recorders.running().remove(&id);
                    return;
                }
                recording.state = State::Failed;
                recording.ended_by = chain(&error);
                if recording.frames > 0 {
                    let left = format!("; what was recorded is left in {}", path.display());
                    recording.ended_by.push_str(&left);
                }
                recorders.keep(&recording).await;
            }
            tell(run, &recording).await;
            progress.send_replace(recording);
            recorders.running().remove(&id);
        });
    }

    /// Ends the operations of recordings that a former process did not end, as the library found them.
    pub async fn interrupted(&self, runs: Vec<Run>) {
        for run in runs {
            let parameters = run.workflow().parameters;
            let id = parameters.get("recording").and_then(|id| id.as_str());
            match self.library.get(id.unwrap_or_default()).await {
                // Another gateway is at it.
                Ok(recording) if recording.state == State::Recording => run.release(),
                Ok(recording) => tell(run, &recording).await,
                Err(error) => run.fail(Code::Aborted, "interrupted", chain(&error)).await,
            }
        }
    }

    /// Ends a recording and waits until it is stored; one that has ended is given as it is.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn stop(&self, id: &str) -> Result<Recording, Error> {
        let watching = self.running().get(id).map(|running| {
            running.stop.cancel();
            running.progress.subscribe()
        });
        if let Some(mut progress) = watching
            && let Ok(ended) = progress
                .wait_for(|recording| recording.state != State::Recording)
                .await
        {
            return Ok(ended.clone());
        }
        self.library.get(id).await
    }

    /// A recording as it stands.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get(&self, id: &str) -> Result<Recording, Error> {
        let running = self
            .running()
            .get(id)
            .map(|running| running.progress.borrow().clone());
        match running {
            Some(recording) => Ok(recording),
            None => self.library.get(id).await,
        }
    }

    /// Follows a recording that is being made; `None` where it is not (any more).
    #[must_use]
    pub fn watch(&self, id: &str) -> Option<watch::Receiver<Recording>> {
        self.running()
            .get(id)
            .map(|running| running.progress.subscribe())
    }
}

fn filters(request: &Request) -> Vec<String> {
    let zones = request
        .zones
        .iter()
        .map(|zone| format!("data.csi.{zone}.*"));
    let devices = request
        .devices
        .iter()
        .map(|device| format!("data.csi.*.{device}"));
    let all: Vec<String> = zones.chain(devices).collect();
    if all.is_empty() {
        return vec!["data.csi.*.*".to_owned()];
    }
    all
}

struct Limits {
    time: Duration,
    bytes: u64,
}

/// What goes with a recording while it is made.
struct Taking<'a> {
    run: &'a mut Run,
    written: &'a watch::Sender<Recording>,
    stop: &'a CancellationToken,
    full: &'a CancellationToken,
}

/// Takes messages from the bus until something ends that, and says what.
async fn take(
    mut tap: Tap,
    sender: mpsc::Sender<Command>,
    limits: Limits,
    taking: Taking<'_>,
) -> &'static str {
    let Taking {
        run,
        written,
        stop,
        full,
    } = taking;
    let began = Instant::now();
    let cancel = run.cancellation();
    let deadline = tokio::time::sleep(limits.time);
    tokio::pin!(deadline);
    let mut flush = tokio::time::interval(FLUSH_EVERY);
    loop {
        let command = tokio::select! {
            biased;
            () = full.cancelled() => return "the size limit",
            () = cancel.cancelled() => return CANCELLED,
            () = stop.cancelled() => return "stopped",
            () = &mut deadline => return "the time limit",
            _ = flush.tick() => Command::Flush,
            batch = tap.next_batch(BATCH) => Command::Frames(batch),
        };
        let flushes = matches!(command, Command::Flush);
        if sender.send(command).await.is_err() {
            return if full.is_cancelled() {
                "the size limit"
            } else {
                "an error"
            };
        }
        if flushes {
            let bytes = written.borrow().size_bytes;
            run.step("recording", Some(percent(began.elapsed(), bytes, &limits)))
                .await;
        }
    }
}

/// How near it is to the nearer of its limits.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn percent(elapsed: Duration, bytes: u64, limits: &Limits) -> f32 {
    let time = elapsed.as_secs_f64() / limits.time.as_secs_f64().max(1e-9);
    let bytes = bytes as f64 / (limits.bytes as f64).max(1.0);
    (100.0 * time.max(bytes)).min(100.0) as f32
}
