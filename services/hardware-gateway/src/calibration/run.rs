//! One calibration as an operation: gathers, computes, stores, announces.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::Tap;
use csi::wire::Decoder;
use proto::gateway::v1 as pb;
use runtime::Run;
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::Code;

use super::announce::announce;
use super::collect::Collector;
use super::keep::{Links, describe, keep};
use super::{Calibrations, Held, Kind, Refusal, Request, antenna_phase, empty_room, noise_floor};

/// How often time is looked at while no frame comes.
const TICK: Duration = Duration::from_millis(200);
/// Frames taken at once.
const BATCH: usize = 512;

struct Progress {
    collector: Collector,
    heard: Option<Instant>,
    refusal: Option<Refusal>,
}

impl Progress {
    fn open(&self) -> bool {
        self.refusal.is_none() && !self.collector.complete()
    }
}

enum Collected {
    All,
    Cancelled,
    Draining,
}

/// Runs it to its end. The devices are free for the next calibration before the end is told.
pub async fn run(
    calibrations: &Arc<Calibrations>,
    mut run: Run,
    request: Request,
    tap: Tap,
    held: Held,
) {
    let mut devices: BTreeMap<String, Progress> = request
        .devices
        .iter()
        .map(|device| {
            let progress = Progress {
                collector: Collector::new(request.seconds),
                heard: None,
                refusal: None,
            };
            (device.to_string(), progress)
        })
        .collect();
    match collect(calibrations, &mut run, &request, tap, &mut devices).await {
        Collected::Draining => return run.suspend(),
        Collected::Cancelled => {
            let refusal = Refusal::new("cancelled", "the operation was cancelled");
            for (device, progress) in &devices {
                announce(
                    calibrations,
                    &run,
                    &request,
                    device,
                    Some(&progress.collector),
                    Err(&refusal),
                )
                .await;
            }
            drop(held);
            return run.cancelled().await;
        }
        Collected::All => {}
    }
    run.step("computing", Some(95.0)).await;
    let (mut made, mut failed): (Vec<Value>, Vec<(String, Refusal)>) = (Vec::new(), Vec::new());
    for (device, progress) in devices {
        let kept = Arc::new(progress.collector);
        let outcome = match progress.refusal {
            Some(refusal) => Err(refusal),
            None => measure(Arc::clone(&kept), request.kind).await,
        };
        let outcome = match outcome {
            Ok(measured) => keep(calibrations, &run, &request, &device, &kept, measured).await,
            Err(refusal) => Err(refusal),
        };
        announce(
            calibrations,
            &run,
            &request,
            &device,
            Some(&kept),
            outcome.as_ref(),
        )
        .await;
        match outcome {
            Ok(calibration) => made.push(summary(&calibration)),
            Err(refusal) => failed.push((device, refusal)),
        }
    }
    drop(held);
    calibrations.changed();
    match failed.first() {
        Some((_, first)) if made.is_empty() => {
            let messages: Vec<String> = failed
                .iter()
                .map(|(device, refusal)| format!("{device}: {}", refusal.message))
                .collect();
            let code = code(first.reason);
            run.fail(code, first.reason, messages.join("; ")).await;
        }
        _ => {
            let failed: Vec<Value> = failed
                .iter()
                .map(|(device, r)| json!({"device": device, "reason": r.reason, "message": r.message}))
                .collect();
            run.complete(json!({"calibrations": made, "failed": failed}))
                .await;
        }
    }
}

/// Ends an operation whose frames are gone with the process that gathered them.
pub async fn interrupted(calibrations: &Arc<Calibrations>, run: Run) {
    let message = "the gateway was restarted while it measured; start the calibration again";
    if let Ok(request) = serde_json::from_value::<Request>(run.workflow().parameters) {
        let refusal = Refusal::new("interrupted", message);
        for device in &request.devices {
            announce(
                calibrations,
                &run,
                &request,
                device.as_str(),
                None,
                Err(&refusal),
            )
            .await;
        }
    }
    run.fail(Code::Aborted, "interrupted", message).await;
}

async fn collect(
    calibrations: &Calibrations,
    run: &mut Run,
    request: &Request,
    mut tap: Tap,
    devices: &mut BTreeMap<String, Progress>,
) -> Collected {
    let mut decoder = Decoder::default();
    let began = Instant::now();
    let cancel = run.cancellation();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    run.step("collecting", Some(0.0)).await;
    while devices.values().any(Progress::open) {
        let batch = tokio::select! {
            () = cancel.cancelled() => return Collected::Cancelled,
            () = calibrations.stop.cancelled() => return Collected::Draining,
            batch = tap.next_batch(BATCH) => batch,
            _ = tick.tick() => Vec::new(),
        };
        for message in &batch {
            // What is no frame is counted by those who read all of them.
            let Ok((frame, published)) = decoder.decode(&message.payload) else {
                continue;
            };
            let Some(progress) = devices.get_mut(&published.device).filter(|p| p.open()) else {
                continue;
            };
            progress.heard = Some(Instant::now());
            if let Err(refusal) = progress.collector.push(&frame, &published) {
                progress.refusal = Some(refusal);
            } else if published.last_of_run && !progress.collector.complete() {
                progress.refusal = Some(too_few(
                    "recording_ended",
                    "the recording ended",
                    &progress.collector,
                    request,
                ));
            }
        }
        for progress in devices.values_mut().filter(|p| p.open()) {
            let timeout = began.elapsed().as_secs_f64() >= request.timeout_s;
            progress.refusal = match progress.heard {
                Some(heard) if heard.elapsed() >= calibrations.lost_after => Some(too_few(
                    "device_lost",
                    "no frame came any more",
                    &progress.collector,
                    request,
                )),
                None if timeout => Some(Refusal::new(
                    "no_frames",
                    format!("no frame came within {} s", request.timeout_s),
                )),
                Some(_) if timeout => Some(too_few(
                    "timeout",
                    "the time was up",
                    &progress.collector,
                    request,
                )),
                _ => None,
            };
        }
        let least = devices
            .values()
            .filter(|p| p.refusal.is_none())
            .map(|p| p.collector.progress())
            .fold(1.0, f64::min);
        #[allow(clippy::cast_possible_truncation)]
        run.step("collecting", Some((90.0 * least) as f32)).await;
    }
    Collected::All
}

fn too_few(reason: &'static str, what: &str, collector: &Collector, request: &Request) -> Refusal {
    Refusal::new(
        reason,
        format!(
            "{what} after {} frames over {:.1} of {} s",
            collector.frames,
            collector.covered_s(),
            request.seconds
        ),
    )
}

async fn measure(collector: Arc<Collector>, kind: Kind) -> Result<Links, Refusal> {
    let computing = tokio::task::spawn_blocking(move || {
        let mut links = Vec::new();
        for link in collector.main_links() {
            let measured = match kind {
                Kind::NoiseFloor => noise_floor::measure(link),
                Kind::AntennaPhase => antenna_phase::measure(link),
                Kind::EmptyRoom => empty_room::measure(link),
            }?;
            links.push((describe(link), measured));
        }
        if links.is_empty() {
            return Err(Refusal::new("no_frames", "no frame with a channel came"));
        }
        Ok(links)
    });
    computing
        .await
        .unwrap_or_else(|_| Err(Refusal::new("internal", "the computation failed")))
}

fn code(reason: &str) -> Code {
    match reason {
        "timeout" | "no_frames" => Code::DeadlineExceeded,
        "device_lost" | "recording_ended" => Code::Unavailable,
        "not_stored" | "internal" => Code::Internal,
        "too_many_frames" => Code::ResourceExhausted,
        _ => Code::FailedPrecondition,
    }
}

fn summary(calibration: &pb::Calibration) -> Value {
    json!({
        "device": calibration.device,
        "calibration_id": calibration.calibration_id,
        "kind": pb::CalibrationKind::try_from(calibration.kind).map_or("", |kind| kind.as_str_name()),
        "version": calibration.version,
        "in_use": calibration.in_use,
        "frames_used": calibration.frames_used,
        "links": calibration.links.len(),
    })
}
