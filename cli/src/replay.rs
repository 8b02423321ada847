//! `fresnel replay`: plays a recording through the running system, on the way that live frames take.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use events::Name;
use indicatif::{ProgressBar, ProgressStyle};
use proto::gateway::v1::{
    CancelReplayRequest, DeviceMapping, Replay, ReplayRecordingRequest, ReplayState,
    WatchReplayRequest,
};
use serde_json::json;
use tokio::time::Instant;
use tonic::Status;
use uuid::Uuid;

use crate::client::{self, Address, print_line, printable, refusal};
use crate::transfer::{Gateway, Patience};

/// Exit code after Ctrl-C, as shells count it.
const INTERRUPTED: u8 = 130;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The recording: a file, or the id of one that the gateway has.
    file: PathBuf,
    /// The device that it is played as, for example `hall-1`. Of a recording of several devices X is played as NAME-X, and
    /// under its own name where this is absent.
    #[arg(long, value_name = "NAME")]
    device: Option<Name>,
    /// The zone that the device observes [default: the recording's].
    #[arg(long, value_name = "NAME")]
    zone: Option<Name>,
    /// What one device of the recording is played as, for example `node-2=hall-2/hall`; may be given several times.
    #[arg(long = "map", value_name = "FROM=DEVICE[/ZONE]", value_parser = mapping)]
    mappings: Vec<DeviceMapping>,
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

/// `FROM=DEVICE[/ZONE]`.
fn mapping(text: &str) -> Result<DeviceMapping, String> {
    let (from, to) = text
        .split_once('=')
        .ok_or("must be FROM=DEVICE or FROM=DEVICE/ZONE")?;
    let (device, zone) = to.split_once('/').unwrap_or((to, ""));
    for name in [device, zone].into_iter().filter(|name| !name.is_empty()) {
        Name::new(name).map_err(|error| error.to_string())?;
    }
    Ok(DeviceMapping {
        from: from.to_owned(),
        device: device.to_owned(),
        zone: zone.to_owned(),
    })
}

/// The id of a recording that the gateway has, where that is what was given and no file.
fn stored_id(file: &Path) -> Option<String> {
    let text = file.to_str().filter(|_| !file.exists())?;
    let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_digest || Uuid::parse_str(text).is_ok()).then(|| text.to_owned())
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    client::block_on(async move {
        let gateway = Gateway {
            address: args.address.clone(),
        };
        let name = |name: Option<Name>| name.map(|name| name.to_string()).unwrap_or_default();
        let recording = match stored_id(&args.file) {
            Some(id) => id,
            None => {
                let labels = Default::default();
                let uploaded = gateway.upload(&args.file, &args.format, labels).await?;
                uploaded.recording
            }
        };
        let request = ReplayRecordingRequest {
            recording,
            device: name(args.device),
            zone: name(args.zone),
            devices: args.mappings,
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
        "devices": replay.devices.iter().map(|played| {
            json!({ "from": played.from, "device": played.device, "zone": played.zone })
        }).collect::<Vec<_>>(),
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

impl Gateway {
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

#[cfg(test)]
mod tests {
    use super::{mapping, speed};

    #[test]
    fn mappings() {
        let parts = |text: &str| mapping(text).map(|found| (found.from, found.device, found.zone));
        let expected = |from: &str, device: &str, zone: &str| {
            Ok((from.to_owned(), device.to_owned(), zone.to_owned()))
        };
        assert_eq!(parts("node-2=hall-2"), expected("node-2", "hall-2", ""));
        assert_eq!(parts("=hall/hall"), expected("", "hall", "hall"));
        for bad in ["hall", "a=Not a name", "a=b/Not a zone"] {
            assert!(parts(bad).is_err(), "{bad}");
        }
    }

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
