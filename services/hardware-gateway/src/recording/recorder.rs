//! Recording from the data plane.
//!
//! What one recording takes from the bus goes through a short queue to a thread that writes it: where the disk is slow, the
//! recording falls behind in the stream (which keeps ten minutes) and not in memory. Every second a chunk is ended, so that
//! a gateway that is killed leaves a file that holds all but the last second.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{Bus, DataMessage, Tap};
use csi::mcap::Writer;
use csi::wire::Decoder;
use events::Name;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::frames::Tally;
use super::library::Library;
use super::{Recording, State};
use crate::config;
use crate::error::{Error, chain};
use crate::lifecycle::Devices;

/// After so long a chunk is ended.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Messages that are taken from the bus at once.
const BATCH: usize = 256;
/// Batches that wait for the disk.
const QUEUE: usize = 16;
/// Bytes kept free below the limit for the end of the file.
const END_BYTES: u64 = 64 * 1024;

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
        config: &config::Recordings,
        drain: CancellationToken,
    ) -> Self {
        Self {
            bus,
            devices,
            library,
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
        let recording = Recording {
            gateway: self.library.gateway().to_owned(),
            ..Recording::new(
                request.id.clone(),
                request.name.clone(),
                request.labels.clone(),
            )
        };
        if !self.library.begin(&recording).await? {
            return self.get(&request.id).await;
        }
        match self.launch(&recording, request).await {
            Ok(()) => Ok(recording),
            Err(error) => {
                let failed = Recording {
                    state: State::Failed,
                    ended_by: chain(&error),
                    ..recording
                };
                self.library.keep(&failed).await?;
                Err(error)
            }
        }
    }

    async fn launch(
        self: &Arc<Self>,
        recording: &Recording,
        request: Request,
    ) -> Result<(), Error> {
        let tap = self.bus.tap(&filters(&request)).await?;
        let path = self.library.spooled(&recording.id);
        let file = File::create(&path).map_err(|source| Error::disk("make", &path, source))?;
        // As long as it is open nobody else takes it for interrupted.
        file.try_lock()
            .map_err(|error| Error::disk("lock", &path, error.into()))?;
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
            let limit = Duration::from_secs(max_seconds);
            let ended_by = take(tap, sender, limit, &stop, &full).await;
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
            let stored = match written {
                // What could be written before the disk was full is a recording, too.
                Err(error) if recording.frames == 0 => Err(error),
                written => {
                    if let Err(error) = written {
                        recording.ended_by = chain(&error);
                        recording.state = State::Interrupted;
                    }
                    recorders.library.store(&mut recording, &path).await
                }
            };
            if let Err(error) = stored {
                tracing::warn!(
                    recording = id,
                    error = chain(&error),
                    "a recording could not be stored"
                );
                recording.state = State::Failed;
                recording.ended_by = chain(&error);
                if let Err(error) = recorders.library.keep(&recording).await {
                    tracing::warn!(
                        recording = id,
                        error = chain(&error),
                        "the end of a recording could not be stored"
                    );
                }
            }
            progress.send_replace(recording);
            recorders.running().remove(&id);
        });
        Ok(())
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

enum Command {
    Frames(Vec<DataMessage>),
    Flush,
}

/// Takes messages from the bus until something ends that, and says what.
async fn take(
    mut tap: Tap,
    sender: mpsc::Sender<Command>,
    limit: Duration,
    stop: &CancellationToken,
    full: &CancellationToken,
) -> &'static str {
    let deadline = tokio::time::sleep(limit);
    tokio::pin!(deadline);
    let mut flush = tokio::time::interval(FLUSH_EVERY);
    loop {
        let command = tokio::select! {
            biased;
            () = full.cancelled() => return "the size limit",
            () = stop.cancelled() => return "stopped",
            () = &mut deadline => return "the time limit",
            _ = flush.tick() => Command::Flush,
            batch = tap.next_batch(BATCH) => Command::Frames(batch),
        };
        if sender.send(command).await.is_err() {
            return if full.is_cancelled() {
                "the size limit"
            } else {
                "an error"
            };
        }
    }
}

/// Writes what comes, until the queue is closed. Blocks.
fn write(
    file: File,
    mut queue: mpsc::Receiver<Command>,
    progress: &watch::Sender<Recording>,
    devices: &Devices,
    max_bytes: u64,
    full: &CancellationToken,
) -> Result<(), Error> {
    let bytes = Arc::new(AtomicU64::new(0));
    let out = Counted {
        file: BufWriter::new(file),
        bytes: Arc::clone(&bytes),
    };
    let mut writer = Writer::new(out)?;
    let mut known = progress.borrow().clone();
    let facts = [
        ("recording", known.id.clone()),
        ("name", known.name.clone()),
        ("begun", known.created.to_string()),
    ];
    let labels = known
        .labels
        .iter()
        .map(|(key, value)| (format!("label.{key}"), value.clone()));
    let facts = facts.map(|(key, value)| (key.to_owned(), value));
    writer.note("recording", facts.into_iter().chain(labels).collect())?;
    writer.flush()?;

    let (mut decoder, mut tally) = (Decoder::default(), Tally::default());
    let mut hardware: HashMap<String, String> = HashMap::new();
    let mut span: Option<(i64, i64)> = None;
    let mut pending = 0_u64;
    'queue: while let Some(command) = queue.blocking_recv() {
        match command {
            Command::Flush => {
                writer.flush()?;
                pending = 0;
            }
            Command::Frames(batch) => {
                for message in batch {
                    let Ok((frame, published)) = decoder.decode(&message.payload) else {
                        known.malformed += 1;
                        continue;
                    };
                    let size = message.payload.len() as u64 + 64;
                    if bytes.load(Ordering::Relaxed) + pending + size + END_BYTES > max_bytes {
                        full.cancel();
                        break 'queue;
                    }
                    let id = hardware
                        .entry(published.device.clone())
                        .or_insert_with(|| hardware_id(devices, &published.device));
                    writer.message(&frame, &published, id, &message.payload)?;
                    pending += size;
                    tally.add(
                        &mut known.devices,
                        &published.device,
                        &published.zone,
                        &frame,
                        published.source,
                    );
                    known.frames += 1;
                    let time = frame.receive_time_us;
                    span = Some(span.map_or((time, time), |(first, _)| (first, time)));
                }
            }
        }
        known.size_bytes = bytes.load(Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss)]
        let seconds = span.map_or(0.0, |(first, last)| last.saturating_sub(first) as f64 / 1e6);
        known.duration_s = seconds;
        progress.send_replace(known.clone());
    }
    progress.send_replace(known.clone());
    let lost = known
        .devices
        .iter()
        .map(|device| (format!("lost.{}", device.device), device.lost.to_string()));
    let malformed = ("malformed".to_owned(), known.malformed.to_string());
    writer.note("gaps", lost.chain([malformed]).collect())?;
    let out = writer.finish()?;
    let file = out
        .file
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    Ok(file.sync_all()?)
}

fn hardware_id(devices: &Devices, device: &str) -> String {
    let name = Name::new(device).ok();
    let registry = devices.registry();
    name.and_then(|name| Some(registry.get(&name)?.device.hardware_id.clone()))
        .unwrap_or_default()
}

/// Counts what reaches the file.
struct Counted {
    file: BufWriter<File>,
    bytes: Arc<AtomicU64>,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
