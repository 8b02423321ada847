//! Recordings, played through the path that live frames take. A replay is kept in KV and goes on after a restart where the
//! streams end: their newest frames say how far it came.
//!
//! [`plan`] decides what each device of a recording is played as, [`play`] plays.

pub mod plan;
mod play;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bus::{Bus, Kv};
use bytes::Bytes;
use csi::read::Format;
use events::{Name, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::{Error, chain};
use crate::lifecycle::Devices;
use crate::recording::State as RecordingState;
use crate::recording::library::Library;

use self::plan::{Played, Wanted, plan};

/// How a replay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Frames are being sent, or will be after a restart.
    Running,
    /// All frames are stored.
    Completed,
    /// An error ended it.
    Failed,
    /// A user ended it.
    Cancelled,
}

/// One replay, as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// The run.
    pub id: Uuid,
    /// Id of the recording.
    pub recording: String,
    /// SHA-256 of its bytes, hex.
    #[serde(default)]
    pub sha256: String,
    /// What its devices are played as, in the order of their first frames.
    #[serde(default)]
    pub devices: Vec<Played>,
    /// The first of them; of replays of a former version the only one.
    pub device: Name,
    /// Its zone.
    pub zone: Name,
    /// 1 = original spacing, N = N times faster, 0 = as fast as they are taken.
    pub speed: f64,
    /// Format as detected or asked for.
    pub format: String,
    /// How it stands.
    pub state: State,
    /// Frames of the recording.
    pub frames_total: u64,
    /// Frames that are stored.
    pub frames_sent: u64,
    /// Places that could not be decoded.
    pub frames_malformed: u64,
    /// What ended it; empty otherwise.
    pub error: String,
    /// When it was asked for.
    pub started: Timestamp,
    /// Seconds of recorded time.
    pub duration_s: f64,
}

impl Replay {
    /// What the recording's devices are played as.
    #[must_use]
    pub fn played(&self) -> Vec<Played> {
        if !self.devices.is_empty() {
            return self.devices.clone();
        }
        vec![Played {
            from: String::new(),
            device: self.device.clone(),
            zone: self.zone.clone(),
            frames: self.frames_total,
        }]
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The run.
    pub id: Uuid,
    /// Id of the recording, or the SHA-256 of its bytes.
    pub recording: String,
    /// What its devices are played as.
    pub wanted: Wanted,
    /// 1 = original spacing, N = N times faster, 0 = as fast as they are taken.
    pub speed: f64,
    /// Format, or auto.
    pub format: Format,
}

struct Running {
    progress: watch::Sender<Replay>,
    cancel: CancellationToken,
}

/// The replays of this gateway.
pub struct Replays {
    bus: Bus,
    kv: Kv,
    library: Arc<Library>,
    devices: Arc<Devices>,
    source: String,
    in_flight: usize,
    budget: u32,
    stop: CancellationToken,
    running: Mutex<HashMap<Uuid, Running>>,
    tasks: tokio_util::task::TaskTracker,
}

/// What is needed to play: set once.
pub struct Setup {
    /// The bus.
    pub bus: Bus,
    /// The registry.
    pub devices: Arc<Devices>,
    /// The recordings.
    pub library: Arc<Library>,
    /// For `metadata.source`.
    pub source: String,
    /// Unacknowledged publishes at most.
    pub in_flight: usize,
    /// Announcements per second of recorded time.
    pub budget: u32,
    /// Cancelled when the service drains: replays pause and go on after the restart.
    pub stop: CancellationToken,
}

impl Replays {
    /// Opens the stores.
    ///
    /// # Errors
    /// Where they cannot be reached.
    pub async fn open(setup: Setup) -> Result<Self, Error> {
        let Setup {
            bus,
            devices,
            library,
            source,
            in_flight,
            budget,
            stop,
        } = setup;
        Ok(Self {
            kv: bus.kv("replays").await?,
            library,
            bus,
            devices,
            source,
            in_flight,
            budget,
            stop,
            running: Mutex::default(),
            tasks: tokio_util::task::TaskTracker::new(),
        })
    }

    /// Goes on with the replays that a former process did not finish.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub async fn resume(self: &Arc<Self>) -> Result<(), Error> {
        for key in self.kv.keys().await? {
            let Some((bytes, _)) = self.kv.get(&key).await? else {
                continue;
            };
            match serde_json::from_slice::<Replay>(&bytes) {
                Ok(replay) if replay.state == State::Running => {
                    tracing::info!(replay = %replay.id, device = %replay.device, sent = replay.frames_sent, "replay goes on");
                    self.launch(replay);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(key, %error, "a stored replay cannot be read and is left alone")
                }
            }
        }
        Ok(())
    }

    /// Waits until no replay task runs.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Starts a replay, or returns the one of that id.
    ///
    /// # Errors
    /// Where the recording is not there or cannot be read, or a value is not acceptable.
    pub async fn start(self: &Arc<Self>, request: Request) -> Result<Replay, Error> {
        if let Some(known) = self.get(request.id).await? {
            return Ok(known);
        }
        let invalid = |problem: String| Error::Invalid {
            field: "recording",
            problem,
        };
        let recording = self.library.get(&request.recording).await?;
        if matches!(
            recording.state,
            RecordingState::Recording | RecordingState::Failed
        ) {
            return Err(Error::NotNow {
                problem: format!("recording {} is not stored", recording.id),
            });
        }
        let file = self.library.file(&recording).await?;
        let format = match request.format {
            Format::Auto => recording.format.parse().unwrap_or_default(),
            given => given,
        };
        let scanned = self.library.scan(file, &recording.name, format).await?;
        let frames_total = scanned.devices.iter().map(|device| device.frames).sum();
        if frames_total == 0 {
            return Err(invalid(format!(
                "it holds no frame that can be decoded ({} malformed places)",
                scanned.malformed
            )));
        }
        if !scanned.has_time {
            let problem = "its frames carry no time, so that motion in them cannot be measured";
            return Err(invalid(problem.into()));
        }
        let devices = plan(&scanned.devices, &request.wanted)?;
        let Some(first) = devices.first() else {
            return Err(invalid("it holds no device".into()));
        };
        let replay = Replay {
            id: request.id,
            recording: recording.id,
            sha256: recording.sha256,
            device: first.device.clone(),
            zone: first.zone.clone(),
            speed: request.speed,
            format: scanned.format.to_string(),
            state: State::Running,
            frames_total,
            frames_sent: 0,
            frames_malformed: scanned.malformed,
            error: String::new(),
            started: Timestamp::now(),
            duration_s: scanned.duration_s(),
            devices,
        };
        if self
            .kv
            .update(&replay.id.to_string(), encode(&replay)?, 0)
            .await?
            .is_none()
        {
            return self
                .get(replay.id)
                .await?
                .ok_or_else(|| not_found(replay.id));
        }
        self.launch(replay.clone());
        Ok(replay)
    }

    /// A replay as it stands.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn get(&self, id: Uuid) -> Result<Option<Replay>, Error> {
        if let Some(running) = self.running().get(&id) {
            return Ok(Some(running.progress.borrow().clone()));
        }
        let Some((bytes, _)) = self.kv.get(&id.to_string()).await? else {
            return Ok(None);
        };
        Ok(Some(serde_json::from_slice(&bytes)?))
    }

    /// Follows a running replay; `None` where it does not run (any more).
    #[must_use]
    pub fn watch(&self, id: Uuid) -> Option<watch::Receiver<Replay>> {
        self.running()
            .get(&id)
            .map(|running| running.progress.subscribe())
    }

    /// Ends a replay.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn cancel(&self, id: Uuid) -> Result<Replay, Error> {
        let watching = {
            let running = self.running();
            running.get(&id).map(|running| {
                running.cancel.cancel();
                running.progress.subscribe()
            })
        };
        if let Some(mut progress) = watching {
            // An error means that the task has ended: then the stored state is the answer.
            let _ = progress
                .wait_for(|replay| replay.state != State::Running)
                .await;
        }
        self.get(id).await?.ok_or_else(|| not_found(id))
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(self: &Arc<Self>, replay: Replay) {
        let cancel = self.stop.child_token();
        let (progress, _) = watch::channel(replay.clone());
        self.running().insert(
            replay.id,
            Running {
                progress: progress.clone(),
                cancel: cancel.clone(),
            },
        );
        let replays = Arc::clone(self);
        self.tasks.spawn(async move {
            let id = replay.id;
            let mut state = replay;
            match replays.play(&mut state, &progress, &cancel).await {
                Ok(()) if replays.stop.is_cancelled() && state.frames_sent < state.frames_total => {}
                Ok(()) if cancel.is_cancelled() => state.state = State::Cancelled,
                Ok(()) => state.state = State::Completed,
                Err(error) => {
                    state.state = State::Failed;
                    state.error = chain(&error);
                    tracing::warn!(replay = %id, error = state.error, "replay failed");
                }
            }
            if let Err(error) = replays.keep(&state).await {
                tracing::warn!(replay = %id, error = chain(&error), "the end of a replay could not be stored");
            }
            progress.send_replace(state);
            replays.running().remove(&id);
        });
    }

    async fn keep(&self, replay: &Replay) -> Result<(), Error> {
        self.kv.put(&replay.id.to_string(), encode(replay)?).await?;
        Ok(())
    }
}

fn encode(replay: &Replay) -> Result<Bytes, Error> {
    Ok(Bytes::from(serde_json::to_vec(replay)?))
}

fn not_found(id: Uuid) -> Error {
    Error::NotFound {
        kind: "replay",
        name: id.to_string(),
    }
}
