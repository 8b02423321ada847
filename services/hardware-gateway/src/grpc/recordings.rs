//! `RecordingService`.

use std::sync::Arc;

use bytes::BytesMut;
use csi::read::Format;
use events::Timestamp;
use proto::gateway::v1 as pb;
use proto::gateway::v1::recording_service_server::RecordingService;
use runtime::invalid_argument;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::{BoxStream, Reply, async_stream, parse_id, parse_name, time};
use crate::error::Error;
use crate::source::replay::{Replay, Replays, State};

pub(super) struct RecordingApi {
    pub replays: Arc<Replays>,
    pub max_recording_bytes: u64,
}

#[tonic::async_trait]
impl RecordingService for RecordingApi {
    async fn upload_recording(
        &self,
        request: Request<Streaming<pb::UploadRecordingRequest>>,
    ) -> Reply<pb::UploadRecordingResponse> {
        let mut parts = request.into_inner();
        let (mut name, mut format, mut data) = (String::new(), String::new(), BytesMut::new());
        while let Some(part) = parts.message().await? {
            if name.is_empty() {
                name = part.name;
            }
            if format.is_empty() {
                format = part.format;
            }
            if (data.len() + part.data.len()) as u64 > self.max_recording_bytes {
                let limit = self.max_recording_bytes;
                return Err(invalid_argument(
                    "data",
                    format!("a recording may have {limit} bytes (max_recording_bytes)"),
                ));
            }
            data.extend_from_slice(&part.data);
        }
        if data.is_empty() {
            return Err(invalid_argument("data", "the recording is empty"));
        }
        let size_bytes = data.len() as u64;
        let (recording, format) = self
            .replays
            .store(&name, parse_format(&format)?, data.freeze())
            .await?;
        Ok(Response::new(pb::UploadRecordingResponse {
            recording,
            size_bytes,
            format: format.to_string(),
        }))
    }

    async fn replay_recording(
        &self,
        request: Request<pb::ReplayRecordingRequest>,
    ) -> Reply<pb::ReplayRecordingResponse> {
        let request = request.into_inner();
        let format = parse_format(&request.format)?;
        if !(request.speed.is_finite() && request.speed >= 0.0) {
            return Err(invalid_argument(
                "speed",
                format!("{} is neither positive nor 0 (unpaced)", request.speed),
            ));
        }
        let id = match &*request.request_id {
            "" => Uuid::now_v7(),
            text => parse_id("request_id", text)?,
        };
        let is_digest = request.recording.len() == 64
            && request.recording.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_digest {
            return Err(invalid_argument(
                "recording",
                "must be the id that UploadRecording gave (64 hex digits)",
            ));
        }
        let replay = Replay {
            id,
            recording: request.recording.to_ascii_lowercase(),
            file_name: String::new(),
            device: parse_name("device", &request.device)?,
            zone: parse_name("zone", &request.zone)?,
            speed: request.speed,
            format: String::new(),
            state: State::Running,
            frames_total: 0,
            frames_sent: 0,
            frames_malformed: 0,
            error: String::new(),
            started: Timestamp::now(),
            duration_s: 0.0,
        };
        let replay = self.replays.start(replay, format).await?;
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

fn render_replay(replay: &Replay) -> pb::Replay {
    let state = match replay.state {
        State::Running => pb::ReplayState::Running,
        State::Completed => pb::ReplayState::Completed,
        State::Failed => pb::ReplayState::Failed,
        State::Cancelled => pb::ReplayState::Cancelled,
    };
    pb::Replay {
        replay_id: replay.id.to_string(),
        recording: replay.recording.clone(),
        device: replay.device.to_string(),
        zone: replay.zone.to_string(),
        speed: replay.speed,
        format: replay.format.clone(),
        state: state.into(),
        frames_total: replay.frames_total,
        frames_sent: replay.frames_sent,
        frames_malformed: replay.frames_malformed,
        error: replay.error.clone(),
        start_time: Some(time(replay.started)),
        duration_seconds: replay.duration_s,
    }
}
