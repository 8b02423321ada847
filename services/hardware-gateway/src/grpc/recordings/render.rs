//! Recordings and replays as messages.

use proto::gateway::v1 as pb;

use crate::grpc::time;
use crate::recording::{self, Recording};
use crate::source::replay::{Replay, State};

pub(super) fn render_recording(recording: &Recording) -> pb::Recording {
    let state = match recording.state {
        recording::State::Recording => pb::RecordingState::Recording,
        recording::State::Completed => pb::RecordingState::Completed,
        recording::State::Interrupted => pb::RecordingState::Interrupted,
        recording::State::Failed => pb::RecordingState::Failed,
    };
    let devices = recording.devices.iter().map(|device| pb::RecordedDevice {
        device: device.device.clone(),
        zone: device.zone.clone(),
        frames: device.frames,
        data_source: source_name(device.source).to_owned(),
        lost: device.lost,
    });
    pb::Recording {
        recording: recording.id.clone(),
        name: recording.name.clone(),
        format: recording.format.clone(),
        state: state.into(),
        size_bytes: recording.size_bytes,
        sha256: recording.sha256.clone(),
        frames: recording.frames,
        malformed: recording.malformed,
        devices: devices.collect(),
        create_time: Some(time(recording.created)),
        duration_seconds: recording.duration_s,
        labels: recording.labels.clone().into_iter().collect(),
        ended_by: recording.ended_by.clone(),
        operation: recording.operation.clone(),
    }
}

fn source_name(source: events::DataSource) -> &'static str {
    match source {
        events::DataSource::Live => "live",
        events::DataSource::Replay => "replay",
        events::DataSource::Simulated => "simulated",
    }
}

pub(super) fn render_replay(replay: &Replay) -> pb::Replay {
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
        devices: replay
            .played()
            .into_iter()
            .map(|played| pb::DeviceMapping {
                from: played.from,
                device: played.device.to_string(),
                zone: played.zone.to_string(),
            })
            .collect(),
    }
}
