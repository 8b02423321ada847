//! `fresnel replay`: plays a recording through the running system, on the way that live frames take.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::BytesMut;
use events::Name;
use indicatif::{ProgressBar, ProgressStyle};
use proto::gateway::v1::recording_service_client::RecordingServiceClient;
use proto::gateway::v1::{
    CancelReplayRequest, Replay, ReplayRecordingRequest, ReplayState, UploadRecordingRequest,
    UploadRecordingResponse, WatchReplayRequest,
};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::client::{
    self, Address, GATEWAY, explain, is_broken_connection, print_line, printable, refusal,
};

/// Bytes of the recording in one message.
const CHUNK: usize = 256 * 1024;
/// How long the gateway may be away before we give up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two attempts to reach it.
const PAUSE: Duration = Duration::from_millis(500);
/// Exit code after Ctrl-C, as shells count it.
const INTERRUPTED: u8 = 130;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The recording.
    file: PathBuf,
    /// The device that it plays, for example `hall-1`.
    #[arg(long, value_name = "NAME")]
    device: Name,
    /// The zone that the device observes.
    #[arg(long, value_name = "NAME")]
    zone: Name,
    /// 1: as it was recorded, N: so many times faster, max: as fast as it is taken.
    #[arg(long, default_value = "1", value_name = "1|N|max", value_parser = speed)]
    speed: f64,
    /// Format of the recording; `auto` finds it out.
    #[arg(long, default_value = "auto")]
    format: String,
    /// Id of the run; a second call with the same one joins the first run. A new one otherwise.
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,
    /// Start it and return.
    #[arg(long)]
    no_wait: bool,
    /// The outcome as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    address: Address,
}

/// Speed as the gateway understands it: 0 is as fast as possible.
fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(0.0),
        Ok(speed) if speed > 0.0 && speed.is_finite() => Ok(speed),
        _ => Err("must be a number above 0, or `max`".into()),
    }
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    client::block_on(async move {
        let gateway = Gateway {
            address: args.address.clone(),
        };
        let recording = gateway.upload(&args.file, &args.format).await?;
        let request = ReplayRecordingRequest {
            recording: recording.recording,
            device: args.device.to_string(),
            zone: args.zone.to_string(),
            speed: args.speed,
            format: args.format,
            request_id: args.id.unwrap_or_else(Uuid::new_v4).to_string(),
        };
        let replay = gateway.start(request).await?;
        if args.no_wait {
            print_line(&if args.json {
                replay_json(&replay).to_string()
            } else {
                replay.replay_id
            })?;
            return Ok(ExitCode::SUCCESS);
        }
        let began = Instant::now();
        let (replay, interrupted) = gateway.watch_or_cancel(replay).await?;
        finish(&replay, began.elapsed(), args.json)?;
        Ok(match replay.state() {
            _ if interrupted => ExitCode::from(INTERRUPTED),
            ReplayState::Completed => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    })
}

fn finish(replay: &Replay, took: Duration, json: bool) -> anyhow::Result<()> {
    if json {
        print_line(&replay_json(replay).to_string())?;
        return Ok(());
    }
    let outcome = match replay.state() {
        ReplayState::Completed => String::new(),
        ReplayState::Cancelled => "cancelled; ".to_owned(),
        _ if replay.error.is_empty() => "failed without a reason; ".to_owned(),
        _ => format!("failed: {}; ", printable(&replay.error)),
    };
    let line = format!(
        "replay {}: {outcome}{} of {} frames sent, {} malformed, {:.1} s of recording in {:.1} s",
        printable(&replay.replay_id),
        replay.frames_sent,
        replay.frames_total,
        replay.frames_malformed,
        replay.duration_seconds,
        took.as_secs_f64(),
    );
    print_line(&line)?;
    Ok(())
}

fn replay_json(replay: &Replay) -> serde_json::Value {
    json!({
        "replay_id": replay.replay_id,
        "recording": replay.recording,
        "device": replay.device,
        "zone": replay.zone,
        "speed": replay.speed,
        "format": replay.format,
        "state": match replay.state() {
            ReplayState::Unspecified => "unknown",
            ReplayState::Running => "running",
            ReplayState::Completed => "completed",
            ReplayState::Failed => "failed",
            ReplayState::Cancelled => "cancelled",
        },
        "frames_total": replay.frames_total,
        "frames_sent": replay.frames_sent,
        "frames_malformed": replay.frames_malformed,
        "duration_seconds": replay.duration_seconds,
        "error": replay.error,
    })
}

/// The gateway's recordings, through its restarts.
pub struct Gateway {
    /// Where the gateway listens.
    pub address: Address,
}

impl Gateway {
    async fn client(&self) -> anyhow::Result<RecordingServiceClient<Channel>> {
        GATEWAY
            .connect(&self.address)
            .await
            .map(RecordingServiceClient::new)
    }

    /// Uploads the recording; the same bytes are stored once, so a second attempt does no harm.
    pub async fn upload(
        &self,
        file: &Path,
        format: &str,
    ) -> anyhow::Result<UploadRecordingResponse> {
        let mut patience = Patience::new();
        let mut client = self.client().await?;
        loop {
            match upload_once(&mut client, file, format).await? {
                Ok(uploaded) => return Ok(uploaded),
                Err(status) => client = self.again(&mut patience, &status, None).await?,
            }
        }
    }

    async fn start(&self, request: ReplayRecordingRequest) -> anyhow::Result<Replay> {
        let mut patience = Patience::new();
        let mut client = self.client().await?;
        loop {
            match client.replay_recording(request.clone()).await {
                Ok(answer) => {
                    let replay = answer.into_inner().replay;
                    return replay.ok_or_else(|| anyhow!("the gateway answered without a replay"));
                }
                Err(status) => client = self.again(&mut patience, &status, None).await?,
            }
        }
    }

    /// Watches until the end; Ctrl-C cancels the replay. Says whether that was so.
    async fn watch_or_cancel(&self, replay: Replay) -> anyhow::Result<(Replay, bool)> {
        let id = replay.replay_id.clone();
        let bar = ProgressBar::new(replay.frames_total);
        let watched = tokio::select! {
            watched = self.watch(replay, &bar) => watched.map(|replay| (replay, false)),
            interrupt = tokio::signal::ctrl_c() => {
                interrupt.context("Ctrl-C cannot be heard")?;
                bar.set_message("cancelling");
                self.cancel(&id).await.map(|replay| (replay, true))
            }
        };
        bar.finish_and_clear();
        watched
    }

    async fn watch(&self, mut replay: Replay, bar: &ProgressBar) -> anyhow::Result<Replay> {
        let mut patience = Patience::new();
        let mut client = self.client().await?;
        let request = WatchReplayRequest {
            replay_id: replay.replay_id.clone(),
        };
        show(bar, &replay);
        while !has_ended(&replay) {
            let broken = match client.watch_replay(request.clone()).await {
                Err(status) => status,
                Ok(answer) => {
                    let mut progress = answer.into_inner();
                    loop {
                        match progress.message().await {
                            Ok(Some(message)) => {
                                patience = Patience::new();
                                if let Some(now) = message.replay {
                                    replay = now;
                                    show(bar, &replay);
                                }
                            }
                            Ok(None) => {
                                break Status::unavailable(
                                    "the gateway ended the stream before the replay's end",
                                );
                            }
                            Err(status) => break status,
                        }
                    }
                }
            };
            if !has_ended(&replay) {
                client = self.again(&mut patience, &broken, Some(bar)).await?;
            }
        }
        Ok(replay)
    }

    async fn cancel(&self, replay_id: &str) -> anyhow::Result<Replay> {
        let request = CancelReplayRequest {
            replay_id: replay_id.to_owned(),
        };
        let answer = tokio::select! {
            answer = async { self.client().await?.cancel_replay(request).await.map_err(|s| refusal(&s)) } => answer,
            _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted a second time")),
        };
        let answer = answer
            .with_context(|| format!("replay {replay_id} goes on, it could not be cancelled"))?;
        answer
            .into_inner()
            .replay
            .ok_or_else(|| anyhow!("the gateway answered without a replay"))
    }

    /// A new connection after `status`, where that may help.
    async fn again(
        &self,
        patience: &mut Patience,
        status: &Status,
        bar: Option<&ProgressBar>,
    ) -> anyhow::Result<RecordingServiceClient<Channel>> {
        if !is_broken_connection(status) {
            return Err(refusal(status));
        }
        if !std::mem::replace(&mut patience.told, true) {
            let line = format!(
                "the gateway went away ({}); waiting for it",
                explain(status)
            );
            match bar.filter(|bar| !bar.is_hidden()) {
                Some(bar) => bar.println(line),
                None => eprintln!("{line}"),
            }
        }
        loop {
            if patience.since.elapsed() > PATIENCE {
                return Err(refusal(status).context(format!(
                    "the gateway did not come back within {} s",
                    PATIENCE.as_secs()
                )));
            }
            tokio::time::sleep(PAUSE).await;
            if let Ok(client) = self.client().await {
                return Ok(client);
            }
        }
    }
}

/// How long we have been waiting for the gateway.
struct Patience {
    since: Instant,
    told: bool,
}

impl Patience {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            told: false,
        }
    }
}

fn has_ended(replay: &Replay) -> bool {
    !matches!(
        replay.state(),
        ReplayState::Unspecified | ReplayState::Running
    )
}

fn show(bar: &ProgressBar, replay: &Replay) {
    // The number of frames is known once the recording was decoded.
    let template = if replay.frames_total == 0 {
        "{spinner} replaying  {pos} frames  {per_sec}  {msg}"
    } else {
        "{bar:30} {pos}/{len} frames  {per_sec}  {eta} left  {msg}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_length(replay.frames_total);
    bar.set_position(replay.frames_sent);
    if replay.frames_malformed > 0 {
        bar.set_message(format!("{} malformed", replay.frames_malformed));
    }
}

/// One attempt. The outer error is ours (the file), the inner one the gateway's.
async fn upload_once(
    client: &mut RecordingServiceClient<Channel>,
    path: &Path,
    format: &str,
) -> anyhow::Result<Result<UploadRecordingResponse, Status>> {
    let shown = path.display();
    let mut file = tokio::fs::File::open(path)
        .await
        .with_context(|| format!("{shown} cannot be opened"))?;
    let size = file
        .metadata()
        .await
        .with_context(|| format!("{shown} cannot be read"))?;
    anyhow::ensure!(size.is_file(), "{shown} is not a file");
    let bar = ProgressBar::new(size.len());
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} uploading {bytes}/{total_bytes}  {eta} left")
    {
        bar.set_style(style);
    }
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let (chunks, requests) = tokio::sync::mpsc::channel(2);
    let read = async {
        let mut name = Some(name);
        loop {
            let mut data = BytesMut::with_capacity(CHUNK);
            while data.len() < CHUNK && file.read_buf(&mut data).await? > 0 {}
            let last = data.len() < CHUNK;
            bar.inc(data.len() as u64);
            let data = data.freeze();
            if name.is_some() || !data.is_empty() {
                let request = UploadRecordingRequest {
                    name: name.take().unwrap_or_default(),
                    data,
                    format: format.to_owned(),
                };
                if chunks.send(request).await.is_err() {
                    break; // The call has ended, and says why.
                }
            }
            if last {
                break;
            }
        }
        drop(chunks);
        Ok::<(), std::io::Error>(())
    };
    let call = client.upload_recording(tokio_stream::wrappers::ReceiverStream::new(requests));
    let (read, answer) = tokio::join!(read, call);
    bar.finish_and_clear();
    read.with_context(|| format!("{shown} cannot be read"))?;
    Ok(answer.map(tonic::Response::into_inner))
}

#[cfg(test)]
mod tests {
    use super::speed;

    #[test]
    fn speeds() {
        assert_eq!(speed("1"), Ok(1.0));
        assert_eq!(speed("2.5"), Ok(2.5));
        assert_eq!(speed("max"), Ok(0.0));
        for bad in ["0", "-1", "inf", "NaN", "fast", ""] {
            assert!(speed(bad).is_err(), "{bad}");
        }
    }
}
