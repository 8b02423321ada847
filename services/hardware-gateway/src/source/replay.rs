//! Recordings, played through the path that live frames take. A replay is kept in KV and goes on after a restart where the
//! streams end: their newest frames say how far it came.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{Bus, Kv, Objects};
use bytes::Bytes;
use csi::Frame;
use csi::read::{Format, Options, Reader};
use events::hardware::DisconnectReason;
use events::{DataSource, Name, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::{Error, chain};
use crate::lifecycle::{Connection, Devices, NAMESPACE, Settings};
use crate::publish::{Destination, FramePublisher, announcement_id};
use crate::registry::Verdict;

/// Family name of devices that only recordings feed.
const DEVICE_TYPE: &str = "recording";
/// Malformed places of which the messages are logged; all are counted.
const LOGGED_PLACES: u64 = 5;
/// Progress is stored after so many frames.
const PROGRESS_EVERY: u64 = 500;

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
    /// SHA-256 of the recording, hex.
    pub recording: String,
    /// File name that the recording was uploaded with.
    pub file_name: String,
    /// Device that the frames are published as.
    pub device: Name,
    /// Zone that they are published in.
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

struct Running {
    progress: watch::Sender<Replay>,
    cancel: CancellationToken,
}

/// The replays of this gateway.
pub struct Replays {
    bus: Bus,
    kv: Kv,
    objects: Objects,
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
            source,
            in_flight,
            budget,
            stop,
        } = setup;
        Ok(Self {
            kv: bus.kv("replays").await?,
            objects: bus.objects("recordings").await?,
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

    /// Stores a recording; the same bytes are stored once. Returns its id and its format, detected where `format` is auto.
    ///
    /// # Errors
    /// Where its format is not known, or it cannot be stored.
    pub async fn store(
        &self,
        name: &str,
        format: Format,
        data: Bytes,
    ) -> Result<(String, Format), Error> {
        let (data, name) = (data, name.to_owned());
        let opened = tokio::task::spawn_blocking(move || {
            use sha2::Digest;
            let id = hex::encode(sha2::Sha256::digest(&data));
            let reader = Reader::new(data.clone(), &name, format, Options::default());
            (id, reader.map(|reader| reader.format()), data, name)
        })
        .await;
        let Ok((id, format, data, name)) = opened else {
            return Err(Error::Invalid {
                field: "data",
                problem: "the reader failed on it".into(),
            });
        };
        let format = format.map_err(|source| Error::Recording {
            recording: name,
            source,
        })?;
        if self.objects.size(&id).await? != Some(data.len() as u64) {
            self.objects.put(&id, data).await?;
        }
        Ok((id, format))
    }

    /// Starts a replay, or returns the one of that id.
    ///
    /// # Errors
    /// Where the recording is not there or cannot be read, or a value is not acceptable.
    pub async fn start(
        self: &Arc<Self>,
        mut replay: Replay,
        format: Format,
    ) -> Result<Replay, Error> {
        if let Some(known) = self.get(replay.id).await? {
            return Ok(known);
        }
        let data = self.recording(&replay).await?;
        let (scan, file_name) = (data.clone(), replay.file_name.clone());
        let scanned =
            tokio::task::spawn_blocking(move || scan_recording(scan, &file_name, format)).await;
        let scanned = match scanned {
            Ok(scanned) => scanned.map_err(|source| Error::Recording {
                recording: replay.recording.clone(),
                source,
            })?,
            Err(_) => {
                return Err(Error::Invalid {
                    field: "recording",
                    problem: "the reader failed on it".into(),
                });
            }
        };
        if scanned.frames == 0 {
            return Err(Error::Invalid {
                field: "recording",
                problem: format!(
                    "it holds no frame that can be decoded ({} malformed places)",
                    scanned.malformed
                ),
            });
        }
        if !scanned.has_time {
            return Err(Error::Invalid {
                field: "recording",
                problem: "its frames carry no time, so that motion in them cannot be measured"
                    .into(),
            });
        }
        replay.format = scanned.format.to_string();
        replay.frames_total = scanned.frames;
        replay.frames_malformed = scanned.malformed;
        replay.duration_s = scanned.duration_s;
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

    async fn recording(&self, replay: &Replay) -> Result<Bytes, Error> {
        let found = self.objects.get(&replay.recording).await?;
        found.ok_or_else(|| Error::NotFound {
            kind: "recording",
            name: replay.recording.clone(),
        })
    }

    /// Sends the frames that are not stored yet.
    async fn play(
        &self,
        replay: &mut Replay,
        progress: &watch::Sender<Replay>,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let data = self.recording(replay).await?;
        let format: Format = replay.format.parse().unwrap_or(Format::Auto);
        let reader =
            Reader::new(data, &replay.file_name, format, Options::default()).map_err(|source| {
                Error::Recording {
                    recording: replay.recording.clone(),
                    source,
                }
            })?;
        let mut publisher = FramePublisher::new(
            self.bus.pipeline(self.in_flight),
            self.source.clone(),
            self.budget,
        );
        self.register(replay).await?;

        let ids = FrameIds::of(replay);
        let from = self.stored(replay, &ids).await?;
        let mut pace = Pace::new(replay.speed);
        let mut frames = reader
            .filter_map(|item| match item {
                Ok(frame) => Some(frame),
                Err(place) => {
                    tracing::debug!(recording = replay.recording, %place, "a place in a recording is malformed");
                    None
                }
            })
            .peekable();
        let mut index = 0_u64;
        let mut newest_us = 0_i64;
        while let Some(frame) = frames.next() {
            // Asked for each frame, so that the same ones are announced after a restart.
            let decision = publisher.announce(&frame);
            newest_us = frame.receive_time_us;
            let (data_due, announcement_due) = (index >= from.data, index >= from.announcement);
            if data_due || announcement_due {
                if !pace.wait(frame.receive_time_us, cancel).await {
                    break;
                }
                let source = if frame.simulated {
                    DataSource::Simulated
                } else {
                    DataSource::Replay
                };
                self.connect(replay, &frame, source).await?;
                let to = Destination {
                    frame_id: ids.at(index),
                    device: &replay.device,
                    zone: replay.zone.as_str(),
                    source,
                    run: Some(replay.id),
                    ingest_time_us: Timestamp::now().as_micros(),
                    last_of_run: frames.peek().is_none(),
                };
                match (data_due, announcement_due) {
                    (true, true) => publisher.publish(&frame, &to, decision).await?,
                    // A former process came further with one half than with the other.
                    (true, false) => publisher.data(&frame, &to, decision.0, decision.1).await?,
                    (false, _) if decision.0 => {
                        publisher.announcement(&frame, &to, decision.1).await?
                    }
                    (false, _) => {}
                }
            }
            index += 1;
            replay.frames_sent = replay.frames_sent.max(index);
            if index.is_multiple_of(PROGRESS_EVERY) {
                publisher.flush().await?;
                self.keep(replay).await?;
            }
            progress.send_replace(replay.clone());
        }
        publisher.flush().await?;
        if !self.stop.is_cancelled() {
            let time = Timestamp::from_micros(newest_us);
            self.devices
                .disconnected(
                    &replay.device,
                    DisconnectReason::Graceful,
                    time,
                    Some(replay.id),
                )
                .await?;
            self.devices.registry().end_run(&replay.device);
        }
        Ok(())
    }

    /// A recording is played as a registered device: one that is not there is registered with the replay's zone.
    async fn register(&self, replay: &Replay) -> Result<(), Error> {
        if self.devices.registry().get(&replay.device).is_some() {
            return Ok(());
        }
        let settings = Settings {
            zone: replay.zone.to_string(),
            hardware_id: format!("recording:{}", replay.device),
            device_type: DEVICE_TYPE.into(),
        };
        match self
            .devices
            .create(&replay.device, settings, "", false)
            .await
        {
            Ok(_) | Err(Error::Taken { what: "device", .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Counts the frame, and notes the connection with the first one.
    async fn connect(
        &self,
        replay: &Replay,
        frame: &Frame,
        source: DataSource,
    ) -> Result<(), Error> {
        let verdict = self.devices.registry().replayed(
            &replay.device,
            replay.zone.as_str(),
            frame,
            source,
            replay.id,
        );
        if matches!(verdict, Verdict::Accepted { connects: true, .. }) {
            let link = Connection::of(frame, "", "replay", source, Some(replay.id));
            self.devices.connected(&replay.device, &link).await?;
        }
        Ok(())
    }

    /// Where a former process stopped: what it noted, and what the newest messages of the streams say.
    async fn stored(&self, replay: &Replay, ids: &FrameIds) -> Result<Due, Error> {
        let noted = replay.frames_sent;
        let data = self
            .bus
            .last(&format!("data.csi.{}.{}", replay.zone, replay.device))
            .await?;
        let data = data
            .and_then(|message| csi::wire::Decoder::default().decode(&message.payload).ok())
            .filter(|(_, published)| published.run_id == Some(replay.id))
            .map(|(_, published)| published.frame_id);
        let announced = self
            .bus
            .last(&format!("signal.csi_frame_received.{}", replay.device))
            .await?;
        let announced = announced
            .and_then(|message| {
                serde_json::from_slice::<events::EventEnvelope>(&message.payload).ok()
            })
            .filter(|event| event.correlation_id == Some(replay.id))
            .map(|event| event.id);
        let total = replay.frames_total;
        let after = |found: Option<u64>| found.map_or(noted, |index| noted.max(index + 1));
        Ok(Due {
            data: after(data.and_then(|id| (0..total).find(|&index| ids.at(index) == id))),
            announcement: after(
                announced
                    .and_then(|id| (0..total).find(|&index| announcement_id(ids.at(index)) == id)),
            ),
        })
    }
}

/// Index of the first frame that is not stored yet.
struct Due {
    data: u64,
    announcement: u64,
}

/// Ids of a replay's frames: the same recording, played as the same device and zone, gives the same ids each time.
struct FrameIds(Uuid);

impl FrameIds {
    fn of(replay: &Replay) -> Self {
        let name = format!("{}/{}/{}", replay.recording, replay.zone, replay.device);
        Self(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }

    fn at(&self, index: u64) -> Uuid {
        Uuid::new_v5(&self.0, &index.to_be_bytes())
    }
}

/// Keeps the recorded spacing, divided by the speed.
struct Pace {
    speed: f64,
    start: Option<(Instant, i64)>,
}

impl Pace {
    fn new(speed: f64) -> Self {
        Self { speed, start: None }
    }

    /// Waits until the frame recorded at `time_us` is due; false where `cancel` came first.
    #[allow(clippy::cast_precision_loss)]
    async fn wait(&mut self, time_us: i64, cancel: &CancellationToken) -> bool {
        if self.speed <= 0.0 {
            return !cancel.is_cancelled();
        }
        let (start, start_us) = *self.start.get_or_insert_with(|| (Instant::now(), time_us));
        let elapsed_s = time_us.saturating_sub(start_us) as f64 / 1e6 / self.speed;
        let due = Duration::try_from_secs_f64(elapsed_s).unwrap_or_default();
        tokio::select! {
            () = cancel.cancelled() => false,
            () = tokio::time::sleep_until(start + due) => true,
        }
    }
}

struct Scanned {
    format: Format,
    frames: u64,
    malformed: u64,
    duration_s: f64,
    has_time: bool,
}

#[allow(clippy::cast_precision_loss)]
fn scan_recording(
    data: Bytes,
    file_name: &str,
    format: Format,
) -> Result<Scanned, csi::read::Error> {
    let reader = Reader::new(data, file_name, format, Options::default())?;
    let (format, has_time) = (reader.format(), reader.has_time());
    let (mut frames, mut malformed) = (0, 0);
    let mut span: Option<(i64, i64)> = None;
    for item in reader {
        match item {
            Ok(frame) => {
                frames += 1;
                let time = frame.receive_time_us;
                span = Some(span.map_or((time, time), |(first, _)| (first, time)));
            }
            Err(place) => {
                malformed += 1;
                if malformed <= LOGGED_PLACES {
                    tracing::warn!(file_name, %place, "a place in a recording is malformed");
                }
            }
        }
    }
    let duration_s = span.map_or(0.0, |(first, last)| last.saturating_sub(first) as f64 / 1e6);
    Ok(Scanned {
        format,
        frames,
        malformed,
        duration_s,
        has_time,
    })
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
