//! Payloads of older versions made newer, one version at a time.

use serde_json::{Map, Value, json};
use uuid::Uuid;

/// `pose.pose_estimated` version 1 had `{estimate_id, person_count, confidence, timestamp}`: `confidence` becomes
/// `overall_confidence`, `signal_id` is the nil UUID, `zone_id` absent, `persons` empty.
///
/// What else version 2 requires and version 1 never told is filled with what cannot be mistaken for a measurement:
/// `session_id` the nil UUID, `frame_number` and `processing_time_ms` 0, `model_version` empty. A reader can tell by
/// `metadata.upgraded_from`.
pub(crate) fn pose_estimated_1(mut payload: Map<String, Value>) -> Map<String, Value> {
    if let Some(confidence) = payload.remove("confidence") {
        payload.insert("overall_confidence".into(), confidence);
    }
    for (field, value) in [
        ("signal_id", json!(Uuid::nil())),
        ("session_id", json!(Uuid::nil())),
        ("frame_number", json!(0)),
        ("persons", json!([])),
        ("processing_time_ms", json!(0.0)),
        ("model_version", json!("")),
    ] {
        payload.entry(field).or_insert(value);
    }
    payload
}

/// Of version 1, which required a number also where nobody had measured it, what 0 or an empty text stood for: absence.
fn without_zeros(payload: &mut Map<String, Value>, fields: &[&str]) {
    payload.retain(|field, value| {
        let nothing = value.as_f64() == Some(0.0) || value.as_str() == Some("");
        !(nothing && fields.contains(&field.as_str()))
    });
}

/// The same within the record `field`.
fn without_zeros_in(payload: &mut Map<String, Value>, field: &str, fields: &[&str]) {
    if let Some(Value::Object(record)) = payload.get_mut(field) {
        without_zeros(record, fields);
    }
}

const DEVICE_CONFIG: &[&str] = &[
    "sampling_rate_hz",
    "subcarriers",
    "antennas",
    "bandwidth",
    "channel",
];

/// `hardware.device_discovered` version 1 required the numbers of `DeviceCapabilities`.
pub(crate) fn device_discovered_1(mut payload: Map<String, Value>) -> Map<String, Value> {
    let numbers = ["max_subcarriers", "max_antennas", "max_sampling_rate_hz"];
    without_zeros_in(&mut payload, "capabilities", &numbers);
    payload
}

/// `hardware.device_connected` version 1 required `ip_address`, `connection_time_ms` and all of `DeviceConfig`.
pub(crate) fn device_connected_1(mut payload: Map<String, Value>) -> Map<String, Value> {
    without_zeros(&mut payload, &["ip_address", "connection_time_ms"]);
    without_zeros_in(&mut payload, "current_config", DEVICE_CONFIG);
    payload
}

/// `hardware.device_disconnected` version 1 required `connected_since` and `uptime_seconds` of a device that never sent
/// (it told its registration and 0): without frames and an uptime both are absent.
pub(crate) fn device_disconnected_1(mut payload: Map<String, Value>) -> Map<String, Value> {
    let zero = |field: &str| payload.get(field).and_then(Value::as_f64) == Some(0.0);
    if zero("uptime_seconds") && zero("frames_transmitted") {
        payload.remove("connected_since");
        payload.remove("uptime_seconds");
    }
    payload
}

/// `hardware.device_configured` version 1 required all of `DeviceConfig`.
pub(crate) fn device_configured_1(mut payload: Map<String, Value>) -> Map<String, Value> {
    without_zeros_in(&mut payload, "config", DEVICE_CONFIG);
    without_zeros_in(&mut payload, "previous_config", DEVICE_CONFIG);
    payload
}

/// `hardware.device_calibrated` version 1 required all numbers. No receiver has a noise floor of 0; a quality of 0 may be
/// one, but not before and after and without any improvement.
pub(crate) fn device_calibrated_1(mut payload: Map<String, Value>) -> Map<String, Value> {
    let quality = ["quality_before", "quality_after", "improvement_percent"];
    without_zeros(&mut payload, &["noise_floor_db"]);
    if quality
        .iter()
        .all(|field| payload.get(*field).and_then(Value::as_f64) == Some(0.0))
    {
        without_zeros(&mut payload, &quality);
    }
    payload
}

/// `signal.signal_processed` version 1 required all of `FeatureSummary`, and said 0 where nothing was measured. A measured variance or frequency is not exactly 0.
pub(crate) fn signal_processed_1(mut payload: Map<String, Value>) -> Map<String, Value> {
    let features = ["phase_variance", "dominant_frequency_hz"];
    without_zeros_in(&mut payload, "feature_summary", &features);
    payload
}
