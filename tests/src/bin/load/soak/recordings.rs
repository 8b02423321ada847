//! Recordings made on the way: while all is well, while the disk fills, and after that.

use std::time::Duration;

use anyhow::Context;
use proto::gateway::v1::recording_service_client::RecordingServiceClient;
use proto::gateway::v1::{
    DownloadRecordingRequest, GetRecordingRequest, Recording, RecordingState,
    StartRecordingRequest, StopRecordingRequest,
};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::Channel;

/// What is recorded, in hours of the simulated day; the last says whether the disk fills meanwhile, which ends it.
const SCHEDULE: [(&str, f64, f64, bool); 4] = [
    ("before", 1.2, 1.9, false),
    ("disk-full", 8.2, 12.0, true),
    ("after", 10.6, 11.6, false),
    ("disk-full-again", 19.2, 23.5, true),
];

/// What became of one.
#[derive(Clone, Debug, Serialize)]
pub struct Taken {
    pub name: String,
    pub disk_full: bool,
    pub state: String,
    pub ended_by: String,
    /// Frames that it says to have.
    pub frames: u64,
    /// Frames that are in the file.
    pub in_file: Option<u64>,
    /// From the beginning to its end, wall seconds.
    pub seconds: f64,
    /// What went wrong with asking for it.
    pub error: Option<String>,
}

impl Taken {
    pub fn broken(&self) -> Option<String> {
        let name = &self.name;
        if let Some(error) = &self.error {
            return Some(format!("recording {name}: {error}"));
        }
        let (state, why) = (&self.state, &self.ended_by);
        if self.in_file != Some(self.frames) {
            let in_file = self.in_file;
            return Some(format!(
                "recording {name} ({state}) says {} frames, and has {in_file:?}",
                self.frames
            ));
        }
        let expected = if self.disk_full {
            "INTERRUPTED"
        } else {
            "COMPLETED"
        };
        let named = !self.disk_full || why.contains("No space left");
        (state != expected || !named || self.frames == 0)
            .then(|| format!("recording {name} ended as {state} ({why})"))
    }
}

pub struct Recordings {
    tasks: Vec<JoinHandle<Taken>>,
}

impl Recordings {
    /// All of them, each in its time; an hour takes `hour_s` seconds from `began` on.
    pub fn start(channel: &Channel, began: Instant, hour_s: f64) -> Self {
        let at = move |hour: f64| began + Duration::from_secs_f64(hour * hour_s);
        let tasks = SCHEDULE.map(|(name, from, to, disk_full)| {
            let channel = channel.clone();
            tokio::spawn(async move {
                let mut taken = Taken {
                    name: name.to_owned(),
                    disk_full,
                    state: String::new(),
                    ended_by: String::new(),
                    frames: 0,
                    in_file: None,
                    seconds: 0.0,
                    error: None,
                };
                if let Err(error) = take(&channel, at(from), at(to), &mut taken).await {
                    taken.error = Some(format!("{error:#}"));
                }
                taken
            })
        });
        Self {
            tasks: tasks.into(),
        }
    }

    pub async fn finish(self) -> Vec<Taken> {
        let mut all = Vec::new();
        for task in self.tasks {
            if let Ok(taken) = task.await {
                all.push(taken);
            }
        }
        all
    }
}

async fn take(
    channel: &Channel,
    from: Instant,
    to: Instant,
    taken: &mut Taken,
) -> anyhow::Result<()> {
    tokio::time::sleep_until(from).await;
    let mut client = RecordingServiceClient::new(channel.clone());
    let request = StartRecordingRequest {
        name: taken.name.clone(),
        ..StartRecordingRequest::default()
    };
    let answer = client
        .start_recording(request)
        .await
        .context("it cannot be begun")?;
    let begun = answer.into_inner().recording.context("no recording")?;
    let ended = if taken.disk_full {
        ended_by_itself(&mut client, &begun.recording, to).await?
    } else {
        tokio::time::sleep_until(to).await;
        let request = StopRecordingRequest {
            recording: begun.recording.clone(),
        };
        let answer = client
            .stop_recording(request)
            .await
            .context("it cannot be ended")?;
        answer.into_inner().recording.context("no recording")?
    };
    taken.seconds = from.elapsed().as_secs_f64();
    taken.state = ended.state().as_str_name().replace("RECORDING_STATE_", "");
    taken.ended_by.clone_from(&ended.ended_by);
    taken.frames = ended.frames;
    if !ended.sha256.is_empty() {
        taken.in_file = Some(in_file(&mut client, &ended.recording).await?);
    }
    Ok(())
}

async fn ended_by_itself(
    client: &mut RecordingServiceClient<Channel>,
    id: &str,
    limit: Instant,
) -> anyhow::Result<Recording> {
    let mut poll = tokio::time::interval(Duration::from_millis(250));
    let mut last = Recording::default();
    while Instant::now() < limit {
        poll.tick().await;
        let request = GetRecordingRequest {
            recording: id.to_owned(),
        };
        // While nothing can be stored, this may not be answered either.
        if let Ok(answer) = client.get_recording(request).await {
            last = answer.into_inner().recording.unwrap_or_default();
            if last.state() != RecordingState::Recording {
                break;
            }
        }
    }
    Ok(last)
}

/// The frames of the file as it is downloaded.
async fn in_file(client: &mut RecordingServiceClient<Channel>, id: &str) -> anyhow::Result<u64> {
    let request = DownloadRecordingRequest {
        recording: id.to_owned(),
        offset: 0,
    };
    let mut parts = client.download_recording(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = parts.message().await? {
        bytes.extend_from_slice(&part.data);
    }
    let reader = csi::mcap::Reader::open(std::io::Cursor::new(bytes), u64::MAX)?;
    Ok(reader.filter(Result::is_ok).count() as u64)
}
