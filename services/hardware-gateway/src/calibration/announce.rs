//! The end of a device's calibration as an event.

use events::hardware::DeviceCalibrated;
use events::{CalibrationId, DeviceId, Name, Timestamp};
use proto::gateway::v1 as pb;
use runtime::Run;
use serde_json::json;

use super::collect::Collector;
use super::keep::id;
use super::{Calibrations, Refusal, Request};
use crate::error::chain;

/// Appends `hardware.device_calibrated`.
pub(super) async fn announce(
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
