//! `make demo`: a recording goes in, events come out, and a table says what was found against what is known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use e2e::clients::{channel, replay, replayed, stored, within};
use e2e::process::{Process, binary};
use futures::StreamExt;
use serde_json::Value;

/// 60 s: the first half quiet, the second half moving.
const RECORDING: &str = "espectre-test-c3-20260329-130804";
/// Times faster than it was recorded.
const SPEED: f64 = 10.0;
/// Where the label changes from quiet to moving, seconds from the start.
const MOTION_FROM_S: f64 = 30.0;

#[tokio::main]
async fn main() -> ExitCode {
    let simulated = std::env::args().nth(1).as_deref() == Some("simulated");
    match run(simulated).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(simulated: bool) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (file, what) = if simulated {
        simulate(dir.path()).await?
    } else {
        recorded()?
    };
    println!("Input: {what}\n");

    let data = dir.path().join("data").to_string_lossy().into_owned();
    let args = ["up", "--ephemeral", "--data-dir", &data].map(str::to_owned);
    let mut up = Process::start("fresnel", dir.path(), &args, &[])?;
    let ports = up.ready().await?;
    let at = |service: &str, kind: &str| -> anyhow::Result<String> {
        let address = ports
            .get(service)
            .and_then(|service| service.get(kind))
            .and_then(Value::as_str);
        Ok(address
            .with_context(|| format!("no {service} {kind} in {ports}"))?
            .to_owned())
    };
    let nats = {
        let url = ports
            .get("nats")
            .and_then(Value::as_str)
            .context("no nats in the ports file")?;
        async_nats::connect(url).await?
    };
    let counts = count(&nats).await?;
    println!(
        "`fresnel up` runs. What follows is `fresnel watch`, while the recording is played {SPEED} times as fast:\n"
    );
    let mut watch = tokio::process::Command::new(binary("fresnel")?)
        .args([
            "watch",
            "hardware.>",
            "model.>",
            "pose.>",
            "alerting.>",
            "--from-start",
        ])
        .args(["--address", &at("streaming", "grpc")?])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;

    let gateway = at("hardware-gateway", "grpc")?;
    let started = replay(
        &channel(&gateway).await?,
        &file,
        "demo-node",
        "demo-room",
        SPEED,
    )
    .await?;
    let played = replayed(&gateway, &started.replay_id).await?;
    let windows = settled(&nats, played.duration_seconds).await?;
    watch.kill().await?;

    report(&nats, &played, &windows, &counts).await?;
    match up.stop().await? {
        Some(0) => Ok(()),
        code => bail!("`fresnel up` ended with {code:?}:\n{}", up.log()),
    }
}

fn recorded() -> anyhow::Result<(PathBuf, String)> {
    let recording = recordings::find(RECORDING).map_err(|error| {
        anyhow::anyhow!(
            "there is no recording to play: {error}\nWith the simulator instead of a recording: make demo SOURCE=simulated"
        )
    })?;
    Ok((
        recording.path,
        format!(
            "{RECORDING}, a real recording (ESP32-C3): 30 s of a quiet room, then 30 s of motion"
        ),
    ))
}

async fn simulate(dir: &Path) -> anyhow::Result<(PathBuf, String)> {
    let file = dir.join("simulated.pcap");
    let status = tokio::process::Command::new(binary("fresnel")?)
        .args([
            "simulate",
            "--scenario",
            "quiet-then-walk",
            "--rate",
            "100",
            "--out",
        ])
        .arg(&file)
        .stdout(Stdio::null())
        .status()
        .await?;
    if !status.success() {
        bail!("`fresnel simulate` ended with {status}");
    }
    Ok((
        file,
        "SIMULATED data: a quiet room for 30 s, then a person who walks; every event says so"
            .into(),
    ))
}

type Counts = Arc<Mutex<BTreeMap<String, u64>>>;

/// Counts the events as a third party sees them: by their bare types.
async fn count(nats: &async_nats::Client) -> anyhow::Result<Counts> {
    let counts = Counts::default();
    let mut kinds = Vec::new();
    for context in [
        "hardware",
        "signal",
        "pose",
        "model",
        "alerting",
        "streaming",
    ] {
        kinds.push(nats.subscribe(format!("{context}.*")).await?);
    }
    let mut all = futures::stream::select_all(kinds);
    nats.flush().await?;
    let counting = Arc::clone(&counts);
    tokio::spawn(async move {
        while let Some(message) = all.next().await {
            let mut counts = counting.lock().unwrap_or_else(PoisonError::into_inner);
            *counts.entry(message.subject.to_string()).or_default() += 1;
        }
    });
    Ok(counts)
}

/// Waits for the window that ends with the recording; returns all windows' events with the time of their storing.
async fn settled(nats: &async_nats::Client, duration_s: f64) -> anyhow::Result<Vec<(Value, f64)>> {
    let context = async_nats::jetstream::new(nats.clone());
    let config = async_nats::jetstream::consumer::pull::Config {
        filter_subject: "signal.signal_processed.>".into(),
        ack_policy: async_nats::jetstream::consumer::AckPolicy::None,
        ..Default::default()
    };
    let mut messages = context
        .get_stream("SIGNAL")
        .await?
        .create_consumer(config)
        .await?
        .messages()
        .await?;
    let mut windows: Vec<(Value, f64)> = Vec::new();
    let all = async {
        while let Some(message) = messages.next().await {
            let message = message?;
            let event: Value = serde_json::from_slice(&message.payload)?;
            windows.push((event, published_s(&message)?));
            if span(&windows) >= duration_s - 2.0 {
                break;
            }
        }
        anyhow::Ok(())
    };
    within("the last window", all).await??;
    Ok(windows)
}

fn span(windows: &[(Value, f64)]) -> f64 {
    let start = windows
        .first()
        .map_or(0.0, |(event, _)| time_s(event, "window_start"));
    windows
        .last()
        .map_or(0.0, |(event, _)| time_s(event, "window_end"))
        - start
}

fn time_s(event: &Value, field: &str) -> f64 {
    let text = event
        .get("payload")
        .and_then(|payload| payload.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default();
    text.parse::<events::Timestamp>()
        .map_or(f64::NAN, |time| micros_to_s(time.as_micros()))
}

#[allow(clippy::cast_precision_loss)]
fn micros_to_s(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[allow(clippy::cast_precision_loss)]
fn published_s(message: &async_nats::jetstream::Message) -> anyhow::Result<f64> {
    let info = message.info().map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(info.published.unix_timestamp_nanos() as f64 / 1e9)
}

async fn report(
    nats: &async_nats::Client,
    played: &proto::gateway::v1::Replay,
    windows: &[(Value, f64)],
    counts: &Counts,
) -> anyhow::Result<()> {
    // Latency: from the storing of the frame that closes a window to the storing of the window's event.
    let decoder = &mut csi::wire::Decoder::default();
    let mut frames = Vec::new();
    for message in stored(nats, "DATA", "data.csi.demo-room.demo-node.*").await? {
        let (frame, _) = decoder.decode(&message.payload)?;
        frames.push((micros_to_s(frame.receive_time_us), published_s(&message)?));
    }
    let start = frames.first().map_or(f64::NAN, |(time, _)| *time);
    let mut latencies: Vec<f64> = windows
        .iter()
        .filter_map(|(event, stored)| {
            let end = time_s(event, "window_end");
            let closing = frames.iter().find(|(time, _)| *time >= end)?;
            Some((stored - closing.1) * 1e3)
        })
        .collect();
    latencies.sort_by(f64::total_cmp);
    let quantile = |q: f64| -> f64 {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let index = ((latencies.len().saturating_sub(1)) as f64 * q).round() as usize;
        latencies.get(index).copied().unwrap_or(f64::NAN)
    };

    let motions = stored(nats, "POSE", "pose.motion_detected.*").await?;
    let mut found = Vec::new();
    for motion in &motions {
        let event: Value = serde_json::from_slice(&motion.payload)?;
        found.push(time_s(&event, "timestamp") - start);
    }
    println!("\n{:<44}{:>10}", "frames in", played.frames_sent);
    println!("{:<44}{:>10}", "malformed places", played.frames_malformed);
    println!(
        "{:<44}{:>10}",
        "seconds recorded",
        format!("{:.1}", played.duration_seconds)
    );
    println!("\nevents out, by type");
    for (event_type, count) in counts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println!("  {event_type:<42}{count:>10}");
    }
    let early = found.iter().filter(|time| **time < MOTION_FROM_S).count();
    let first = found.iter().copied().find(|time| *time >= MOTION_FROM_S);
    println!("\nmotion, label: from {MOTION_FROM_S:.1} s on");
    println!("  {:<42}{:>10}", "announced in the quiet half", early);
    match first {
        Some(time) => println!("  {:<42}{:>10}", "first found at", format!("{time:.1} s")),
        None => println!("  {:<42}{:>10}", "first found at", "never"),
    }
    println!(
        "\nlatency, closing frame stored to signal.signal_processed stored ({} windows)",
        latencies.len()
    );
    println!("  {:<42}{:>10}", "p50", format!("{:.1} ms", quantile(0.5)));
    println!("  {:<42}{:>10}", "p99", format!("{:.1} ms", quantile(0.99)));
    Ok(())
}
