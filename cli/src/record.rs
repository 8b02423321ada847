//! `fresnel record`: records zones or devices until a limit or Ctrl-C.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use events::Name;
use indicatif::{ProgressBar, ProgressStyle};
use proto::gateway::v1::{
    Recording, RecordingState, StartRecordingRequest, StopRecordingRequest, WatchRecordingRequest,
};
use tonic::Status;
use uuid::Uuid;

use crate::client::{self, Address, print_line, printable, refusal};
use crate::recordings::{recording_json, state_name};
use crate::transfer::{Gateway, Patience, label, missing};

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// A zone to record; may be given several times. Without zone and device everything is recorded.
    #[arg(long = "zone", value_name = "NAME")]
    zones: Vec<Name>,
    /// A device to record; may be given several times.
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<Name>,
    /// Seconds at most [default: the gateway's limit]. Ctrl-C ends it sooner.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Bytes at most [default: the gateway's limit].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    max_bytes: Option<u64>,
    /// Name of the recording [default: the time].
    #[arg(long)]
    name: Option<String>,
    /// A label; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Start it and return; `fresnel recordings stop` ends it.
    #[arg(long)]
    no_wait: bool,
    /// The outcome as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    address: Address,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    client::block_on(async move {
        let gateway = Gateway {
            address: args.address.clone(),
        };
        let names = |names: &[Name]| names.iter().map(Name::to_string).collect();
        let request = StartRecordingRequest {
            zones: names(&args.zones),
            devices: names(&args.devices),
            name: args.name.unwrap_or_default(),
            max_seconds: args.seconds.unwrap_or_default(),
            max_bytes: args.max_bytes.unwrap_or_default(),
            labels: args.labels.into_iter().collect(),
            request_id: Uuid::new_v4().to_string(),
        };
        let answer = gateway.client().await?.start_recording(request).await;
        let answer = answer.map_err(|status| refusal(&status))?;
        let recording = answer
            .into_inner()
            .recording
            .ok_or_else(|| missing("recording"))?;
        if args.no_wait {
            print_line(&if args.json {
                recording_json(&recording).to_string()
            } else {
                recording.recording
            })?;
            return Ok(ExitCode::SUCCESS);
        }
        let bar = bar(args.seconds);
        let id = recording.recording.clone();
        let ended = tokio::select! {
            ended = watch(&gateway, recording, &bar) => ended,
            interrupt = tokio::signal::ctrl_c() => {
                interrupt.context("Ctrl-C cannot be heard")?;
                bar.set_message("stopping");
                stop(&gateway, &id).await
            }
        };
        bar.finish_and_clear();
        let ended = ended?;
        print_line(&if args.json {
            recording_json(&ended).to_string()
        } else {
            summary(&ended)
        })?;
        Ok(match ended.state() {
            RecordingState::Completed => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    })
}

/// Ends a recording and waits until it is stored.
pub async fn stop(gateway: &Gateway, recording: &str) -> anyhow::Result<Recording> {
    let request = StopRecordingRequest {
        recording: recording.to_owned(),
    };
    let answer = gateway.client().await?.stop_recording(request).await;
    let answer = answer.map_err(|status| refusal(&status))?;
    answer
        .into_inner()
        .recording
        .ok_or_else(|| missing("recording"))
}

/// Watches until the end, through restarts of the gateway.
async fn watch(
    gateway: &Gateway,
    mut recording: Recording,
    bar: &ProgressBar,
) -> anyhow::Result<Recording> {
    let request = WatchRecordingRequest {
        recording: recording.recording.clone(),
    };
    let mut patience = Patience::new();
    let mut client = gateway.client().await?;
    while recording.state() == RecordingState::Recording {
        let broken = match client.watch_recording(request.clone()).await {
            Err(status) => status,
            Ok(answer) => {
                let mut progress = answer.into_inner();
                loop {
                    match progress.message().await {
                        Ok(Some(message)) => {
                            patience = Patience::new();
                            recording = message.recording.ok_or_else(|| missing("recording"))?;
                            show(bar, &recording);
                        }
                        Ok(None) => break Status::unavailable("the gateway ended the stream"),
                        Err(status) => break status,
                    }
                }
            }
        };
        if recording.state() == RecordingState::Recording {
            client = gateway.again(&mut patience, &broken, Some(bar)).await?;
        }
    }
    Ok(recording)
}

fn bar(seconds: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::new(seconds.unwrap_or_default());
    let template = if seconds.is_some() {
        "{bar:30} {elapsed}/{len} s  {msg}"
    } else {
        "{spinner} {elapsed}  {msg}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn show(bar: &ProgressBar, recording: &Recording) {
    bar.set_position(bar.elapsed().as_secs());
    let lost: u64 = recording.devices.iter().map(|device| device.lost).sum();
    bar.set_message(format!(
        "{} frames of {} devices, {lost} lost, {} bytes",
        recording.frames,
        recording.devices.len(),
        recording.size_bytes
    ));
}

fn summary(recording: &Recording) -> String {
    let lost: u64 = recording.devices.iter().map(|device| device.lost).sum();
    format!(
        "{} {} (by {}): {} frames of {} devices, {lost} lost, {:.1} s, {} bytes",
        printable(&recording.recording),
        state_name(recording.state()),
        printable(&recording.ended_by),
        recording.frames,
        recording.devices.len(),
        recording.duration_seconds,
        recording.size_bytes
    )
}
