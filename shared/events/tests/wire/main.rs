//! The bytes in `tests/wire/` of the repository: every event in every version, as it was once written. They decode for ever.
//!
//! Each file has one envelope a line: the event with all its fields (once for every text that its enums have), then with
//! its optional ones left out. What stands there is never changed; `FRESNEL_WRITE_WIRE=1` only adds what is missing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod sample;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use events::{Event, EventEnvelope, EventInfo, catalogue, find};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/wire")
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let parsed = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>();
    parsed.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// (file, line from 1, value) of all that is kept.
fn all() -> Vec<(String, usize, Value)> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "jsonl")
    });
    files.sort();
    assert!(files.len() > 79, "only {} files", files.len());
    let all = files.iter().flat_map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        lines(path)
            .into_iter()
            .enumerate()
            .map(move |(index, value)| (name.clone(), index + 1, value))
    });
    all.collect()
}

/// Whether `value` claims what we know in the version that we write.
fn current(value: &Value) -> Option<&'static EventInfo> {
    find(value["event_type"].as_str()?).filter(|info| value["version"] == json!(info.version))
}

#[test]
fn every_event_and_version_is_there_whole_and_bare() {
    let write = std::env::var_os("FRESNEL_WRITE_WIRE").is_some();
    for info in catalogue() {
        let path = folder().join(format!("{}.v{}.jsonl", info.event_type, info.version));
        let kept = lines(&path);
        let missing: Vec<Value> = sample::envelopes(info)
            .into_iter()
            .filter(|wanted| {
                !kept
                    .iter()
                    .any(|line| sample::shape(info, line) == sample::shape(info, wanted))
            })
            .collect();
        if !missing.is_empty() && write {
            let kept = fs::read_to_string(&path).unwrap_or_default();
            let new = missing.iter().map(|line| {
                EventEnvelope::from_json(line.to_string().as_bytes())
                    .unwrap()
                    .to_json()
                    .unwrap()
            });
            let new = new.map(|bytes| String::from_utf8(bytes).unwrap() + "\n");
            fs::write(&path, kept + &new.collect::<String>()).unwrap();
            continue;
        }
        assert!(
            missing.is_empty(),
            "{} lacks these (add them with FRESNEL_WRITE_WIRE=1):\n{}",
            path.display(),
            missing
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        );
        for older in 1..info.version {
            let path = folder().join(format!("{}.v{older}.jsonl", info.event_type));
            assert!(!lines(&path).is_empty(), "{} is missing", path.display());
        }
    }
}

#[test]
fn every_envelope_is_carried_without_loss() {
    for (file, line, value) in all() {
        let envelope = EventEnvelope::from_json(value.to_string().as_bytes())
            .unwrap_or_else(|error| panic!("{file}:{line}: {error}"));
        let again: Value = serde_json::from_slice(&envelope.to_json().unwrap()).unwrap();
        assert_eq!(again, value, "{file}:{line}");
    }
}

#[test]
fn every_payload_that_we_know_is_read_and_written_again() {
    let mut seen = BTreeSet::new();
    for (file, line, value) in all() {
        let envelope = EventEnvelope::from_json(value.to_string().as_bytes()).unwrap();
        let event = Event::decode(&envelope)
            .unwrap_or_else(|error| panic!("{file}:{line}: {error}: {}", error.source));
        let Some(info) = current(&value) else {
            continue;
        };
        let again = written(&event, &envelope);
        let known: BTreeSet<&str> = (info.fields)().into_iter().map(|(name, _)| name).collect();
        let mut expected = envelope.clone();
        expected.extra.clear();
        let Value::Object(payload) = &mut expected.payload else {
            panic!("{file}:{line}")
        };
        payload.retain(|field, _| known.contains(field.as_str()));
        assert_eq!(again.payload, expected.payload, "{file}:{line}");
        assert_eq!(
            (again.aggregate_id, again.occurred_at),
            (envelope.aggregate_id, envelope.occurred_at),
            "{file}:{line}"
        );
        assert_eq!(
            again.correlation_id, envelope.correlation_id,
            "{file}:{line}"
        );
        seen.insert(info.event_type);
    }
    assert_eq!(seen.len(), catalogue().len());
}

/// What comes of writing `event` anew.
fn written(event: &Event, old: &EventEnvelope) -> EventEnvelope {
    let metadata = old.metadata.clone();
    match event {
        Event::Hardware(event) => event.envelope(old.id, metadata),
        Event::Signal(event) => event.envelope(old.id, metadata),
        Event::Pose(event) => event.envelope(old.id, metadata),
        Event::Streaming(event) => event.envelope(old.id, metadata),
        Event::Alerting(event) => event.envelope(old.id, metadata),
        Event::Pipeline(event) => event.envelope(old.id, metadata),
        Event::Model(event) => event.envelope(old.id, metadata),
        Event::Job(event) => event.envelope(old.id, metadata),
        Event::Auth(event) => event.envelope(old.id, metadata),
        Event::Security(event) => event.envelope(old.id, metadata),
        Event::Workflow(event) => event.envelope(old.id, metadata),
        Event::Other(event) => panic!("{} was not recognised", event.event_type),
    }
    .unwrap()
}

#[test]
fn every_line_fits_its_schema_and_a_broken_one_does_not() {
    for info in catalogue() {
        let schema = Value::from((info.schema)());
        jsonschema::draft202012::meta::validate(&schema)
            .unwrap_or_else(|error| panic!("{}: {error}", info.event_type));
        let validator = jsonschema::draft202012::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap();
        let mut fitting = 0;
        for (file, line, value) in all() {
            if value["event_type"] != info.event_type || current(&value).is_none() {
                continue;
            }
            validator.validate(&value).unwrap_or_else(|error| {
                panic!("{file}:{line}: {error} at {}", error.instance_path())
            });
            fitting += 1;
            // Each required field, left out.
            for (field, kind) in (info.fields)()
                .iter()
                .filter(|(_, kind)| !kind.ends_with('?'))
            {
                let mut broken = value.clone();
                broken["payload"].as_object_mut().unwrap().remove(*field);
                assert!(
                    !validator.is_valid(&broken),
                    "{file}:{line}: valid without {field}"
                );
                let mut broken = value.clone();
                broken["payload"][*field] = if kind == "json" {
                    continue;
                } else {
                    json!([[]])
                };
                assert!(
                    !validator.is_valid(&broken),
                    "{file}:{line}: {field}: [[]] passes as {kind}"
                );
            }
            let mut broken = value.clone();
            broken["occurred_at"] = json!("yesterday");
            assert!(
                !validator.is_valid(&broken),
                "{file}:{line}: valid although it happened \"yesterday\""
            );
            let mut broken = value.clone();
            broken["event_type"] = json!("pose.other");
            assert!(
                !validator.is_valid(&broken),
                "{file}:{line}: valid as another event"
            );
        }
        assert!(fitting >= 1, "{}", info.event_type);
    }
}

#[test]
fn version_1_of_pose_estimated_is_read_as_version_2() {
    let [line] = &lines(&folder().join("pose.pose_estimated.v1.jsonl"))[..] else {
        panic!("one line")
    };
    let envelope = EventEnvelope::from_json(line.to_string().as_bytes()).unwrap();
    let estimate = envelope
        .read::<events::pose::PoseEstimated>()
        .unwrap()
        .unwrap();
    assert_eq!(estimate.overall_confidence, 0.75);
    assert_eq!(
        (
            estimate.person_count,
            estimate.persons.len(),
            estimate.zone_id.clone()
        ),
        (2, 0, None)
    );
    assert!(estimate.signal_id.0.is_nil() && estimate.session_id.0.is_nil());
    assert_eq!(
        (estimate.frame_number, estimate.model_version.as_str()),
        (0, "")
    );
    assert_eq!(estimate.estimate_id.to_string(), envelope.aggregate_id);
    let upgraded = envelope.clone().upgraded();
    assert_eq!(
        (upgraded.version, &upgraded.metadata.extra["upgraded_from"]),
        (2, &json!(1))
    );
    assert_eq!(upgraded.clone().upgraded(), upgraded, "twice is once");
    let Event::Pose(events::pose::Event::PoseEstimated(decoded)) =
        Event::decode(&envelope).unwrap()
    else {
        panic!()
    };
    assert_eq!(decoded, estimate);
}

#[test]
fn zeros_of_version_1_that_stood_for_unknown_are_absent_in_version_2() {
    let path = folder().join("zeros_for_unknown.v1.jsonl");
    let mut seen = BTreeSet::new();
    for line in lines(&path) {
        let envelope = EventEnvelope::from_json(line.to_string().as_bytes()).unwrap();
        assert_eq!(envelope.version, 1);
        let event = Event::decode(&envelope).unwrap_or_else(|error| panic!("{error}: {line}"));
        let again = written(&event, &envelope);
        assert_eq!(again.payload, line["read_as"], "{}", envelope.event_type);
        seen.insert(envelope.event_type);
    }
    let raised = catalogue()
        .iter()
        .filter(|info| info.version == 2 && info.event_type != "pose.pose_estimated");
    let raised: BTreeSet<_> = raised.map(|info| info.event_type.to_owned()).collect();
    assert_eq!(seen, raised);
}

#[test]
fn measured_numbers_of_version_1_stay() {
    for info in catalogue().iter().filter(|info| info.version == 2) {
        if info.event_type == "pose.pose_estimated" {
            continue;
        }
        for line in lines(&folder().join(format!("{}.v1.jsonl", info.event_type))) {
            let envelope = EventEnvelope::from_json(line.to_string().as_bytes()).unwrap();
            let event = Event::decode(&envelope).unwrap();
            assert_eq!(
                written(&event, &envelope).payload,
                envelope.payload,
                "{line}"
            );
        }
    }
}

#[test]
fn what_we_do_not_know_is_carried() {
    for file in [
        "newer_version.jsonl",
        "unknown_type.jsonl",
        "unknown_fields.jsonl",
    ] {
        let kept = lines(&folder().join(file));
        assert!(!kept.is_empty(), "{file} is missing");
        for line in kept {
            let envelope = EventEnvelope::from_json(line.to_string().as_bytes()).unwrap();
            assert_eq!(envelope.clone().upgraded(), envelope);
            let event = Event::decode(&envelope).unwrap();
            if file == "unknown_fields.jsonl" {
                assert!(!matches!(event, Event::Other(_)), "{file}: {event:?}");
                assert!(!envelope.extra.is_empty() && !envelope.metadata.extra.is_empty());
            } else {
                assert_eq!(event, Event::Other(Box::new(envelope)), "{file}");
            }
        }
    }
}
