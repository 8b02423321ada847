//! One value for every type of the catalogue.

use std::collections::BTreeSet;

use events::EventInfo;
use serde_json::{Map, Value, json};
use uuid::Uuid;

const TIME: &str = "2026-01-02T03:04:05.678901Z";

/// Envelopes of the event: with all fields, once for every text of its enums, then without the optional ones.
pub fn envelopes(info: &EventInfo) -> Vec<Value> {
    let fields = (info.fields)();
    let turns = fields
        .iter()
        .map(|(_, kind)| texts(kind))
        .max()
        .unwrap_or(1);
    let mut all: Vec<Value> = (0..turns).map(|turn| envelope(info, true, turn)).collect();
    all.push(envelope(info, false, 0));
    all.dedup();
    all
}

/// What a line covers: which fields are there, and which texts the enums have.
pub fn shape(info: &EventInfo, envelope: &Value) -> BTreeSet<String> {
    let Some(payload) = envelope["payload"].as_object() else {
        return BTreeSet::new();
    };
    let kinds = (info.fields)();
    let known = kinds
        .iter()
        .filter_map(|(name, kind)| Some((name, kind, payload.get(*name)?)));
    known
        .map(|(name, kind, value)| {
            if kind.contains('|') {
                format!("{name}={value}")
            } else {
                (*name).to_string()
            }
        })
        .collect()
}

/// How many texts the longest enum in `kind` has.
fn texts(kind: &str) -> usize {
    let kind = kind.trim_end_matches(['?', ']', '[']);
    match record(kind) {
        Some(fields) => fields
            .iter()
            .map(|(_, kind)| texts(kind))
            .max()
            .unwrap_or(1),
        None => kind.split('|').count(),
    }
}

fn record(kind: &str) -> Option<Vec<(&'static str, String)>> {
    events::types::records()
        .into_iter()
        .find(|(name, _)| *name == kind)
        .map(|(_, fields)| fields)
}

fn envelope(info: &EventInfo, whole: bool, turn: usize) -> Value {
    let payload = object(&(info.fields)(), whole, turn);
    let aggregate_id = payload[info.id_field]
        .as_str()
        .expect("ids are texts")
        .to_owned();
    let run = ["session_id", "processing_id", "workflow_id"]
        .iter()
        .find_map(|id| payload.get(*id));
    let mut envelope = json!({
        "id": id(info.event_type),
        "event_type": info.event_type,
        "aggregate_id": aggregate_id,
        "aggregate_type": info.aggregate_type,
        "sequence_number": if info.sourced { 7 } else { 0 },
        "occurred_at": TIME,
        "version": info.version,
        "metadata": {"source": "signal/7f3a"},
    });
    if let Some(run) = run {
        envelope["correlation_id"] = run.clone();
    }
    if whole {
        envelope["causation_id"] = json!(id("cause"));
        envelope["metadata"] = json!({
            "source": "signal/7f3a",
            "tenant_id": "home",
            "user_id": "ada",
            "data_source": "replay",
            "method": "acf-motion/1",
            "sampled_one_in": 4,
            "site": {"floor": 2},
        });
    }
    envelope["payload"] = Value::Object(payload);
    envelope
}

fn object(fields: &[(&str, String)], whole: bool, turn: usize) -> Map<String, Value> {
    let kept = fields
        .iter()
        .filter(|(_, kind)| whole || !kind.ends_with('?'));
    kept.map(|(name, kind)| {
        (
            (*name).to_string(),
            value(name, kind.trim_end_matches('?'), whole, turn),
        )
    })
    .collect()
}

fn value(name: &str, kind: &str, whole: bool, turn: usize) -> Value {
    if let Some(item) = kind.strip_suffix("[]") {
        let item = |turn| value(name, item, whole, turn);
        return if whole {
            json!([item(turn), item(turn + 1)])
        } else {
            json!([])
        };
    }
    match kind {
        "uuid" => json!(id(name)),
        "time" => json!(TIME),
        "name" => json!(name.replace('_', "-")),
        "string" if name == "mac_address" => json!("24:0A:C4:12:34:56"),
        "string" => json!(format!("{name}, \"quoted\", \u{e9} and \u{1f6b6}")),
        "bytes" => json!("AAECA/8="),
        "json" => json!({"any": [1, 2.5, null, "thing"], "deep": {"er": true}}),
        "string{}" => {
            if whole {
                json!({"zone": "hall", "data_source": "replay"})
            } else {
                json!({})
            }
        }
        "bool" => json!(turn.is_multiple_of(2)),
        "u8" => json!(u8::MAX),
        "u16" => json!(u16::MAX),
        "u32" => json!(u32::MAX),
        "u64" => json!(u64::MAX),
        "f32" => json!(0.8),
        "f64" => json!(-92.123456789),
        _ => match record(kind) {
            Some(fields) => Value::Object(object(&fields, whole, turn)),
            None => {
                let texts: Vec<&str> = kind.split('|').collect();
                assert!(texts.len() > 1, "no value for the type {kind}");
                json!(texts[turn % texts.len()])
            }
        },
    }
}

fn id(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}
