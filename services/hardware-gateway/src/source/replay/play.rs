//! The playing of one replay.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use csi::Frame;
use csi::read::Format;
use events::hardware::DisconnectReason;
use events::{DataSource, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::plan::Played;
use super::{Replay, Replays};
use crate::error::Error;
use crate::lifecycle::{Connection, NAMESPACE, Settings};
use crate::publish::{Destination, FramePublisher, announcement_id};
use crate::recording::frames::Frames;
use crate::registry::Verdict;

/// Family name of devices that only recordings feed.
const DEVICE_TYPE: &str = "recording";
/// Progress is stored after so many frames.
const PROGRESS_EVERY: u64 = 500;

/// One device of the recording on its way.
struct Part {
    played: Played,
    ids: FrameIds,
    due: Due,
    /// Index of its next frame.
    next: u64,
    newest_us: i64,
    zone: Arc<str>,
}

impl Replays {
    /// Sends the frames that are not stored yet.
    pub(super) async fn play(
        &self,
        replay: &mut Replay,
        progress: &watch::Sender<Replay>,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let mut frames = self.open_frames(replay).await?;
        let mut publisher = FramePublisher::new(
            self.bus.pipeline(self.in_flight),
            self.source.clone(),
            self.budget,
        );
        let noted = replay.frames_sent;
        let mut parts: HashMap<String, Part> = HashMap::new();
        for played in replay.played() {
            self.register(&played).await?;
            let ids = FrameIds::of(replay, &played);
            let due = self.stored(replay, &played, &ids).await?;
            let part = Part {
                ids,
                due,
                next: 0,
                newest_us: 0,
                zone: played.zone.as_str().into(),
                played: played.clone(),
            };
            parts.insert(played.from, part);
        }
        let only = (parts.len() == 1)
            .then(|| parts.keys().next().cloned())
            .flatten();
        let mut pace = Pace::new(replay.speed);
        let mut index = 0_u64;
        for item in frames.by_ref() {
            let item = match item {
                Ok(item) => item,
                Err(place) => {
                    tracing::debug!(
                        recording = replay.recording,
                        place,
                        "a place in a recording is malformed"
                    );
                    continue;
                }
            };
            let frame = item.frame;
            // Asked for each frame, so that the same ones are announced after a restart.
            let decision = publisher.announce(&frame);
            let Some(part) = parts.get_mut(only.as_ref().unwrap_or(&item.from)) else {
                continue;
            };
            let number = part.next;
            part.next += 1;
            part.newest_us = frame.receive_time_us;
            let data_due = index >= noted && number >= part.due.data;
            let announcement_due = index >= noted && number >= part.due.announcement;
            if data_due || announcement_due {
                if !pace.wait(frame.receive_time_us, cancel).await {
                    break;
                }
                let source = match item.source {
                    DataSource::Simulated => DataSource::Simulated,
                    DataSource::Live | DataSource::Replay => DataSource::Replay,
                };
                self.connect(replay, &part.played, &frame, source).await?;
                let to = Destination {
                    frame_id: part.ids.at(number),
                    device: &part.played.device,
                    zone: &part.zone,
                    source,
                    run: Some(replay.id),
                    ingest_time_us: Timestamp::now().as_micros(),
                    last_of_run: number + 1 == part.played.frames,
                };
                match (data_due, announcement_due) {
                    (true, true) => publisher.publish(&frame, &to, decision).await?,
                    // A former process came further with one half than with the other.
                    (true, false) => publisher.publish_data(&frame, &to, decision).await?,
                    (false, _) if decision.0 => {
                        publisher
                            .publish_announcement(&frame, &to, decision.1)
                            .await?
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
            for part in parts.values() {
                let time = Timestamp::from_micros(part.newest_us);
                let device = &part.played.device;
                self.devices
                    .disconnected(device, DisconnectReason::Graceful, time, Some(replay.id))
                    .await?;
                self.devices.registry().end_run(device);
            }
        }
        Ok(())
    }

    async fn open_frames(&self, replay: &Replay) -> Result<Frames, Error> {
        let recording = self.library.get(&replay.recording).await?;
        let file = self.library.file(&recording).await?;
        let format: Format = replay.format.parse().unwrap_or(Format::Auto);
        let (name, max_bytes) = (recording.name, self.library.max_bytes());
        let opened =
            tokio::task::spawn_blocking(move || Frames::open(file, &name, format, max_bytes)).await;
        match opened {
            Ok(opened) => opened.map_err(|source| Error::Recording {
                recording: replay.recording.clone(),
                source,
            }),
            Err(_) => Err(Error::Invalid {
                field: "recording",
                problem: "the reader failed on it".into(),
            }),
        }
    }

    /// A recording is played as a registered device: one that is not there is registered with the replay's zone.
    async fn register(&self, played: &Played) -> Result<(), Error> {
        if self.devices.registry().get(&played.device).is_some() {
            return Ok(());
        }
        let settings = Settings {
            zone: played.zone.to_string(),
            hardware_id: format!("recording:{}", played.device),
            device_type: DEVICE_TYPE.into(),
        };
        match self
            .devices
            .create(&played.device, settings, "", false)
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
        played: &Played,
        frame: &Frame,
        source: DataSource,
    ) -> Result<(), Error> {
        let verdict = self
            .devices
            .registry()
            .replayed(&played.device, frame, source, replay.id);
        if matches!(verdict, Verdict::Accepted { connects: true, .. }) {
            let link = Connection::of(frame, "", "replay", source, Some(replay.id));
            self.devices.connected(&played.device, &link).await?;
        }
        Ok(())
    }

    /// Where a former process stopped, as the newest messages of the streams say.
    async fn stored(&self, replay: &Replay, played: &Played, ids: &FrameIds) -> Result<Due, Error> {
        let data = self
            .bus
            .last(&format!("data.csi.{}.{}", played.zone, played.device))
            .await?;
        let data = data
            .and_then(|message| csi::wire::Decoder::default().decode(&message.payload).ok())
            .filter(|(_, published)| published.run_id == Some(replay.id))
            .map(|(_, published)| published.frame_id);
        let announced = self
            .bus
            .last(&format!("signal.csi_frame_received.{}", played.device))
            .await?;
        let announced = announced
            .and_then(|message| {
                serde_json::from_slice::<events::EventEnvelope>(&message.payload).ok()
            })
            .filter(|event| event.correlation_id == Some(replay.id))
            .map(|event| event.id);
        let total = played.frames;
        let after = |found: Option<u64>| found.map_or(0, |index| index + 1);
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
    fn of(replay: &Replay, played: &Played) -> Self {
        // Of the bytes, under whatever id they are kept.
        let bytes = if replay.sha256.is_empty() {
            &replay.recording
        } else {
            &replay.sha256
        };
        let name = format!("{bytes}/{}/{}", played.zone, played.device);
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
