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
