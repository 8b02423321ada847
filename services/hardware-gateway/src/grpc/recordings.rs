//! `RecordingService`.

mod render;

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use csi::read::Format;
use events::{Name, Timestamp};
use proto::gateway::v1 as pb;
use proto::gateway::v1::recording_service_server::RecordingService;
use runtime::invalid_argument;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use self::render::{render_recording, render_replay};
use super::{BoxStream, Reply, async_stream, next_page, page_items, parse_id, parse_name};
use crate::error::Error;
use crate::recording::library::Library;
use crate::recording::recorder::{self, Recorders};
use crate::recording::upload::{self, Description, Upload};
use crate::recording::{self, Recording};
use crate::source::replay::plan::{Mapping, Wanted};
use crate::source::replay::{self, Replay, Replays, State};

/// Bytes of a recording in one message.
const PART: usize = 256 * 1024;
/// Labels of a recording, and bytes of one.
const MOST_LABELS: usize = 64;
const MAX_LABEL: usize = 256;

pub(super) struct RecordingApi {
    pub library: Arc<Library>,
    pub recorders: Arc<Recorders>,
    pub replays: Arc<Replays>,
}

#[tonic::async_trait]
impl RecordingService for RecordingApi {
    async fn upload_recording(
        &self,
        request: Request<Streaming<pb::UploadRecordingRequest>>,
    ) -> Reply<pb::UploadRecordingResponse> {
        let mut parts = request.into_inner();
        let Some(first) = parts.message().await? else {
            return Err(invalid_argument("data", "the recording is empty"));
        };
        let mut data = first.data.clone();
        let mut upload = Upload::open(Arc::clone(&self.library), describe(first)?).await?;
        loop {
            upload.write(&data).await?;
            data = match parts.message().await {
                Ok(Some(part)) => part.data,
                Ok(None) => break,
                Err(status) => {
                    upload.broken().await;
                    return Err(status);
                }
            };
        }
        let stored = upload.finish().await?;
        Ok(Response::new(pb::UploadRecordingResponse {
            recording: stored.id,
            size_bytes: stored.size_bytes,
            format: stored.format,
        }))
    }

    async fn get_upload(
        &self,
        request: Request<pb::GetUploadRequest>,
    ) -> Reply<pb::GetUploadResponse> {
        let id = parse_id("upload_id", &request.into_inner().upload_id)?;
        let received_bytes = upload::received(&self.library, id).await;
        Ok(Response::new(pb::GetUploadResponse { received_bytes }))
    }

    async fn start_recording(
        &self,
        request: Request<pb::StartRecordingRequest>,
    ) -> Reply<pb::StartRecordingResponse> {
        let request = request.into_inner();
        let names = |field: &'static str, texts: &[String]| {
            let names = texts.iter().map(|text| parse_name(field, text));
            names.collect::<Result<Vec<Name>, Status>>()
        };
        let id = new_id(&request.request_id)?;
        let name = match request.name.as_str() {
            "" => format!("{}.mcap", Timestamp::now()),
            name if name.len() <= MAX_LABEL => name.to_owned(),
            _ => return Err(invalid_argument("name", "at most 256 bytes")),
        };
        let recording = self
            .recorders
            .start(recorder::Request {
                id: id.to_string(),
                name,
                zones: names("zones", &request.zones)?,
                devices: names("devices", &request.devices)?,
                max_seconds: request.max_seconds,
                max_bytes: request.max_bytes,
                labels: check_labels(request.labels)?,
            })
            .await?;
        Ok(Response::new(pb::StartRecordingResponse {
            recording: Some(render_recording(&recording)),
        }))
    }

    async fn stop_recording(
        &self,
        request: Request<pb::StopRecordingRequest>,
    ) -> Reply<pb::StopRecordingResponse> {
        let id = recording_id(&request.into_inner().recording)?;
        let recording = self.recorders.stop(&id).await?;
        Ok(Response::new(pb::StopRecordingResponse {
            recording: Some(render_recording(&recording)),
        }))
    }

    async fn get_recording(
        &self,
        request: Request<pb::GetRecordingRequest>,
    ) -> Reply<pb::GetRecordingResponse> {
        let id = recording_id(&request.into_inner().recording)?;
        let recording = self.recorders.get(&id).await?;
        Ok(Response::new(pb::GetRecordingResponse {
            recording: Some(render_recording(&recording)),
        }))
    }

    type WatchRecordingStream = BoxStream<pb::WatchRecordingResponse>;

    async fn watch_recording(
        &self,
        request: Request<pb::WatchRecordingRequest>,
    ) -> Reply<Self::WatchRecordingStream> {
        let id = recording_id(&request.into_inner().recording)?;
        let progress = self.recorders.watch(&id);
        let mut latest = self.recorders.get(&id).await?;
        let recorders = Arc::clone(&self.recorders);
        let stream = async_stream(move |sender| async move {
            let answer = |recording: &Recording| pb::WatchRecordingResponse {
                recording: Some(render_recording(recording)),
            };
            let Some(mut progress) = progress else {
                // It has ended: that is all there is to say.
                let _ = sender.send(Ok(answer(&latest))).await;
                return;
            };
            while sender.send(Ok(answer(&latest))).await.is_ok()
                && latest.state == recording::State::Recording
            {
                tokio::select! {
                    () = sender.closed() => return,
                    changed = progress.changed() => {
                        latest = progress.borrow_and_update().clone();
                        if changed.is_err() {
                            match recorders.get(&id).await {
                                Ok(recording) => latest = recording,
                                Err(_) => return,
                            }
                        }
                    }
                }
            }
        });
        Ok(Response::new(stream))
    }

    async fn list_recordings(
        &self,
        request: Request<pb::ListRecordingsRequest>,
    ) -> Reply<pb::ListRecordingsResponse> {
        let request = request.into_inner();
        let size = page_items(request.page_size)?;
        let mut found = self.library.list(&request.page_token, size + 1).await?;
        let next_page_token = next_page(&mut found, size, |recording| recording.id.clone());
        let mut recordings = Vec::with_capacity(found.len());
        for recording in found {
            let now = match self.recorders.watch(&recording.id) {
                Some(progress) => progress.borrow().clone(),
                None => recording,
            };
            recordings.push(render_recording(&now));
        }
        Ok(Response::new(pb::ListRecordingsResponse {
            recordings,
            next_page_token,
        }))
    }

    async fn delete_recording(
        &self,
        request: Request<pb::DeleteRecordingRequest>,
    ) -> Reply<pb::DeleteRecordingResponse> {
        let id = recording_id(&request.into_inner().recording)?;
        self.library.delete(&id).await?;
        Ok(Response::new(pb::DeleteRecordingResponse {}))
    }

    type DownloadRecordingStream = BoxStream<pb::DownloadRecordingResponse>;

    async fn download_recording(
        &self,
        request: Request<pb::DownloadRecordingRequest>,
    ) -> Reply<Self::DownloadRecordingStream> {
        let request = request.into_inner();
        let id = recording_id(&request.recording)?;
        let recording = self.library.get(&id).await?;
        if recording.state == recording::State::Recording {
            let problem = format!("recording {id} is being recorded; stop it first");
            return Err(Error::NotNow { problem }.into());
        }
        let mut file = self.library.file(&recording).await?;
        file.seek(SeekFrom::Start(request.offset))
            .map_err(Error::Io)?;
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        // Sends block where the client is slow, and fail where it is gone.
        tokio::task::spawn_blocking(move || {
            loop {
                let mut data = Vec::with_capacity(PART);
                let part = match (&mut file).take(PART as u64).read_to_end(&mut data) {
                    Ok(0) => return,
                    Ok(_) => Ok(pb::DownloadRecordingResponse { data: data.into() }),
                    Err(error) => Err(Error::Io(error).into()),
                };
                let failed = part.is_err();
                if sender.blocking_send(part).is_err() || failed {
                    return;
                }
            }
        });
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn replay_recording(
        &self,
        request: Request<pb::ReplayRecordingRequest>,
    ) -> Reply<pb::ReplayRecordingResponse> {
        let request = request.into_inner();
        if !(request.speed.is_finite() && request.speed >= 0.0) {
            return Err(invalid_argument(
                "speed",
                format!("{} is neither positive nor 0 (unpaced)", request.speed),
            ));
        }
        let mappings = request.devices.iter().map(|mapping| {
            Ok(Mapping {
                from: mapping.from.clone(),
                device: optional_name("devices.device", &mapping.device)?,
                zone: optional_name("devices.zone", &mapping.zone)?,
            })
        });
        let replay = replay::Request {
            id: new_id(&request.request_id)?,
            recording: recording_id(&request.recording)?,
            wanted: Wanted {
                device: optional_name("device", &request.device)?,
                zone: optional_name("zone", &request.zone)?,
                mappings: mappings.collect::<Result<_, Status>>()?,
            },
            speed: request.speed,
            format: parse_format(&request.format)?,
        };
        let replay = self.replays.start(replay).await?;
        Ok(Response::new(pb::ReplayRecordingResponse {
            replay: Some(render_replay(&replay)),
        }))
    }

    async fn get_replay(
        &self,
        request: Request<pb::GetReplayRequest>,
    ) -> Reply<pb::GetReplayResponse> {
        let replay = self.replay(&request.into_inner().replay_id).await?;
        Ok(Response::new(pb::GetReplayResponse {
            replay: Some(render_replay(&replay)),
        }))
    }

    type WatchReplayStream = BoxStream<pb::WatchReplayResponse>;

    async fn watch_replay(
        &self,
        request: Request<pb::WatchReplayRequest>,
    ) -> Reply<Self::WatchReplayStream> {
        let id = request.into_inner().replay_id;
        let mut latest = self.replay(&id).await?;
        let mut progress = self.replays.watch(latest.id);
        let stream = async_stream(move |sender| async move {
            let answer = |replay: &Replay| pb::WatchReplayResponse {
                replay: Some(render_replay(replay)),
            };
            while sender.send(Ok(answer(&latest))).await.is_ok() && latest.state == State::Running {
                let Some(progress) = &mut progress else {
                    return;
                };
                tokio::select! {
                    () = sender.closed() => return,
                    changed = progress.changed() => {
                        latest = progress.borrow_and_update().clone();
                        if changed.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        Ok(Response::new(stream))
    }

    async fn cancel_replay(
        &self,
        request: Request<pb::CancelReplayRequest>,
    ) -> Reply<pb::CancelReplayResponse> {
        let id = parse_id("replay_id", &request.into_inner().replay_id)?;
        let replay = self.replays.cancel(id).await?;
        Ok(Response::new(pb::CancelReplayResponse {
            replay: Some(render_replay(&replay)),
        }))
    }
}

impl RecordingApi {
    async fn replay(&self, id: &str) -> Result<Replay, Status> {
        let id = parse_id("replay_id", id)?;
        let found = self.replays.get(id).await?;
        found.ok_or_else(|| {
            Error::NotFound {
                kind: "replay",
                name: id.to_string(),
            }
            .into()
        })
    }
}

/// A format by its name; empty means `auto`.
fn parse_format(text: &str) -> Result<Format, Status> {
    let text = if text.is_empty() { "auto" } else { text };
    text.parse()
        .map_err(|error| invalid_argument("format", format!("{error}")))
}

fn optional_name(field: &'static str, text: &str) -> Result<Option<Name>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    parse_name(field, text).map(Some)
}

fn new_id(request_id: &str) -> Result<Uuid, Status> {
    match request_id {
        "" => Ok(Uuid::now_v7()),
        text => parse_id("request_id", text),
    }
}

/// The id of a recording: a SHA-256 or a UUID.
fn recording_id(text: &str) -> Result<String, Status> {
    let is_digest = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_digest {
        return Ok(text.to_ascii_lowercase());
    }
    let id = Uuid::parse_str(text).map_err(|_| {
        invalid_argument(
            "recording",
            "must be the id that UploadRecording (64 hex digits) or StartRecording (a UUID) gave",
        )
    })?;
    Ok(id.to_string())
}

fn check_labels(
    labels: std::collections::HashMap<String, String>,
) -> Result<BTreeMap<String, String>, Status> {
    let too_long = labels
        .iter()
        .any(|(key, value)| key.is_empty() || key.len() > MAX_LABEL || value.len() > MAX_LABEL);
    if labels.len() > MOST_LABELS || too_long {
        let problem = format!("at most {MOST_LABELS} labels of at most {MAX_LABEL} bytes each");
        return Err(invalid_argument("labels", problem));
    }
    Ok(labels.into_iter().collect())
}

fn describe(first: pb::UploadRecordingRequest) -> Result<Description, Status> {
    let upload = match first.upload_id.as_str() {
        "" => None,
        text => Some(parse_id("upload_id", text)?),
    };
    Ok(Description {
        format: parse_format(&first.format)?,
        name: first.name.chars().take(MAX_LABEL).collect(),
        upload,
        offset: first.offset,
        size_bytes: (first.size_bytes > 0).then_some(first.size_bytes),
        sha256: (!first.sha256.is_empty()).then_some(first.sha256),
        labels: check_labels(first.labels)?,
    })
}
