//! One calibration as an operation: gathers, computes, stores, announces.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::Tap;
use csi::wire::Decoder;
use events::hardware::DeviceCalibrated;
use events::{CalibrationId, DataSource, DeviceId, Name, Timestamp};
use proto::csi::v1::DataSource as WireSource;
use proto::gateway::v1 as pb;
use runtime::Run;
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::time::Instant;
use tonic::Code;
use uuid::Uuid;

use super::collect::{Collector, LinkFrames};
use super::{
    Calibrations, Kind, Measured, Refusal, Request, antenna_phase, empty_room, noise_floor,
};
use crate::error::chain;

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

/// Runs it to its end.
pub async fn run(calibrations: &Arc<Calibrations>, mut run: Run, request: Request, tap: Tap) {
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

type Links = Vec<(pb::LinkCalibration, Measured)>;

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

fn describe(link: &LinkFrames) -> pb::LinkCalibration {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    pb::LinkCalibration {
        transmitter: link
            .transmitter
            .map(|mac| bytes::Bytes::copy_from_slice(&mac))
            .unwrap_or_default(),
        layout: link.layout.name.to_owned(),
        subcarriers: count(link.layout.len()),
        antennas: u32::from(link.antennas),
        ppdu: ppdu(link.ppdu).to_owned(),
        channel: link.channel.map(u32::from),
        bandwidth_mhz: link.bandwidth_mhz.map(u32::from),
        frames: link.receive_us.len() as u64,
        receive_chain: link.chain.map(|chain| u32::from(chain.core)),
        spatial_stream: link.chain.map(|chain| u32::from(chain.stream)),
        result: None,
    }
}

fn ppdu(ppdu: csi::Ppdu) -> &'static str {
    match ppdu {
        csi::Ppdu::Unknown => "",
        csi::Ppdu::NonHt => "non_ht",
        csi::Ppdu::Ht => "ht",
        csi::Ppdu::Vht => "vht",
        csi::Ppdu::He => "he",
        csi::Ppdu::Eht => "eht",
    }
}

/// Stores what was measured as the device's next version.
async fn keep(
    calibrations: &Calibrations,
    run: &Run,
    request: &Request,
    device: &str,
    collector: &Collector,
    measured: Links,
) -> Result<pb::Calibration, Refusal> {
    let (first, last) = collector.span_us.unwrap_or_default();
    let (source, replay) = collector.origin.unwrap_or((DataSource::Live, None));
    let now = Timestamp::now();
    #[allow(clippy::cast_possible_truncation)]
    let expires = Timestamp::from_micros(
        now.as_micros()
            .saturating_add((request.valid_days * 86_400e6) as i64),
    );
    let parameters = format!("{} seconds={}", request.kind.parameters(), request.seconds);
    // Of several links the worst counts.
    let least = |of: fn(&Measured) -> Option<f64>| {
        measured.iter().filter_map(|(_, m)| of(m)).reduce(f64::min)
    };
    let calibration = pb::Calibration {
        calibration_id: id(run, device).to_string(),
        device: device.to_owned(),
        kind: match request.kind {
            Kind::NoiseFloor => pb::CalibrationKind::NoiseFloor,
            Kind::AntennaPhase => pb::CalibrationKind::AntennaPhase,
            Kind::EmptyRoom => pb::CalibrationKind::EmptyRoom,
        }
        .into(),
        version: 0,
        zone: collector.zone.clone(),
        source: match source {
            DataSource::Live => WireSource::Live,
            DataSource::Replay => WireSource::Replay,
            DataSource::Simulated => WireSource::Simulated,
        }
        .into(),
        run_id: replay.map(|run| run.to_string()).unwrap_or_default(),
        start_time: Some(time(Timestamp::from_micros(first))),
        end_time: Some(time(Timestamp::from_micros(last))),
        create_time: Some(time(now)),
        expire_time: Some(time(expires)),
        frames_used: collector.frames,
        frames_missed: collector.missed,
        parameters_digest: hex::encode(sha2::Sha256::digest(parameters.as_bytes())),
        parameters,
        quality_before: least(|m| m.quality_before),
        quality_after: least(|m| m.quality_after),
        links: measured
            .into_iter()
            .map(|(link, measured)| pb::LinkCalibration {
                result: Some(measured.result),
                ..link
            })
            .collect(),
        in_use: false,
        operation: format!("operations/{}", run.id()),
    };
    calibrations
        .store
        .add(calibration, request.kind, request.activate)
        .await
        .map_err(|error| Refusal::new("not_stored", chain(&error)))
}

/// Appends `hardware.device_calibrated`.
async fn announce(
    calibrations: &Calibrations,
    run: &Run,
    request: &Request,
    device: &str,
    collector: Option<&Collector>,
    outcome: Result<&pb::Calibration, &Refusal>,
) {
    let Ok(name) = Name::new(device) else { return };
    let made = outcome.ok();
    let results = made.map(|c| c.links.iter().filter_map(|link| link.result.as_ref()));
    let (mut noise, mut offsets, mut corrections) = (None, Vec::new(), Vec::new());
    if let Some(result) = results.and_then(|mut results| results.next()) {
        match result {
            pb::link_calibration::Result::NoiseFloor(floor) => noise = floor.reported_dbm,
            pb::link_calibration::Result::AntennaPhase(phase) => {
                offsets.clone_from(&phase.offsets);
                corrections.clone_from(&phase.corrections);
            }
            pb::link_calibration::Result::EmptyRoom(_) => {}
        }
    }
    let (before, after) = made.map_or((None, None), |c| (c.quality_before, c.quality_after));
    let improvement = before
        .zip(after)
        .filter(|(before, _)| *before > 0.0)
        .map(|(before, after)| 100.0 * (after - before) / before);
    let at = collector
        .and_then(|collector| collector.span_us)
        .map_or_else(Timestamp::now, |(_, last)| Timestamp::from_micros(last));
    #[allow(clippy::cast_possible_truncation)]
    let narrow = |value: f64| value as f32;
    let event = DeviceCalibrated {
        device_id: DeviceId(name.clone()),
        calibration_id: CalibrationId(id(run, device)),
        timestamp: at,
        success: made.is_some(),
        calibration_type: request.kind.as_str().to_owned(),
        duration_seconds: collector.map_or(0.0, Collector::covered_s),
        noise_floor_db: noise,
        antenna_offsets: offsets,
        phase_correction: corrections,
        quality_before: before.map(narrow),
        quality_after: after.map(narrow),
        improvement_percent: improvement.map(narrow),
    };
    let mut extra = vec![(
        "operation".to_owned(),
        json!(format!("operations/{}", run.id())),
    )];
    if let Err(refusal) = outcome {
        extra.push(("reason".to_owned(), json!(refusal.reason)));
        extra.push(("message".to_owned(), json!(refusal.message)));
    }
    if let Some(made) = made {
        extra.push(("version".to_owned(), json!(made.version)));
        extra.push(("in_use".to_owned(), json!(made.in_use)));
    }
    let origin = collector.and_then(|collector| collector.origin);
    if let Err(error) = calibrations
        .devices
        .calibrated(&name, &event, extra, origin)
        .await
    {
        tracing::warn!(
            device,
            error = chain(&error),
            "hardware.device_calibrated could not be stored"
        );
    }
}

fn id(run: &Run, device: &str) -> Uuid {
    Uuid::new_v5(&run.id(), device.as_bytes())
}

fn time(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default(),
    }
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
