//! The declarations against `events.yaml`, the catalogue that people read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;

use events::{EventInfo, asyncapi, catalogue, stream_of, streams};
use serde_json::Value as Json;
use serde_norway::{Mapping, Value};

fn yaml() -> Value {
    serde_norway::from_str(include_str!("../events.yaml")).unwrap()
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value:?} is no text"))
        .to_owned()
}

fn flag(event: &Value, name: &str) -> bool {
    event.get(name).is_some_and(|flag| flag.as_bool().unwrap())
}

fn fields(mapping: &Mapping) -> Vec<(String, String)> {
    mapping
        .iter()
        .map(|(name, kind)| (text(name), text(kind)))
        .collect()
}

/// Types that the catalogue names and we write out: enums.
fn spelled_out(kind: String, types: &Mapping) -> String {
    let bare = kind.trim_end_matches('?');
    match types.get(bare) {
        Some(Value::String(choices)) => kind.replace(bare, choices),
        _ => kind,
    }
}

#[test]
fn every_event_is_declared_as_the_catalogue_has_it() {
    let yaml = yaml();
    let types = yaml["types"].as_mapping().unwrap();
    let wanted = yaml["events"].as_sequence().unwrap();
    assert_eq!(wanted.len(), 79);
    assert_eq!(
        catalogue()
            .iter()
            .map(|info| info.event_type.to_owned())
            .collect::<Vec<_>>(),
        wanted
            .iter()
            .map(|event| text(&event["type"]))
            .collect::<Vec<_>>(),
    );
    for (info, event) in catalogue().iter().zip(wanted) {
        let EventInfo { event_type, .. } = info;
        let version = event
            .get("version")
            .map_or(1, |version| version.as_u64().unwrap());
        assert_eq!(u64::from(info.version), version, "{event_type}: version");
        assert_eq!(
            info.upgrades.len(),
            info.version as usize - 1,
            "{event_type}: one upgrade for every older version"
        );
        assert_eq!(
            event.get("upgrade").is_some(),
            info.version > 1,
            "{event_type}: upgrade"
        );
        assert_eq!(
            info.aggregate_type,
            text(&event["aggregate"]),
            "{event_type}: aggregate"
        );
        assert_eq!(info.id_field, text(&event["id"]), "{event_type}: id");
        assert_eq!(info.key_rule, text(&event["key"]), "{event_type}: key");
        assert_eq!(info.by, text(&event["by"]), "{event_type}: by");
        assert_eq!(info.when, text(&event["when"]), "{event_type}: when");
        assert_eq!(
            info.sourced,
            flag(event, "sourced"),
            "{event_type}: sourced"
        );
        assert_eq!(
            info.critical,
            flag(event, "critical"),
            "{event_type}: critical"
        );
        assert_eq!(info.error, flag(event, "error"), "{event_type}: error");
        let wanted = fields(event["fields"].as_mapping().unwrap());
        let wanted: Vec<_> = wanted
            .into_iter()
            .map(|(name, kind)| (name, spelled_out(kind, types)))
            .collect();
        let declared: Vec<_> = (info.fields)()
            .into_iter()
            .map(|(name, kind)| (name.to_owned(), kind))
            .collect();
        assert_eq!(declared, wanted, "{event_type}: fields");
        let known = [
            "type",
            "version",
            "aggregate",
            "id",
            "key",
            "by",
            "when",
            "sourced",
            "critical",
            "error",
            "fields",
            "upgrade",
        ];
        for (name, _) in event.as_mapping().unwrap() {
            assert!(
                known.contains(&text(name).as_str()),
                "{event_type}: the catalogue says {name:?} and nothing here does"
            );
        }
    }
}

#[test]
fn every_type_is_declared_as_the_catalogue_has_it() {
    let yaml = yaml();
    let types = yaml["types"].as_mapping().unwrap();
    let declared: BTreeMap<_, _> = events::types::records().into_iter().collect();
    let mut structs = 0;
    for (name, kind) in types {
        let name = text(name);
        let Some(mapping) = kind.as_mapping() else {
            continue;
        };
        let wanted: Vec<_> = fields(mapping);
        let have: Vec<_> = declared[name.as_str()]
            .iter()
            .map(|(field, kind)| ((*field).to_owned(), kind.clone()))
            .collect();
        assert_eq!(have, wanted, "{name}");
        structs += 1;
    }
    assert_eq!(structs, declared.len());
}

#[test]
fn every_stream_is_the_catalogues() {
    let yaml = yaml();
    let wanted: Vec<_> = yaml["streams"]
        .as_mapping()
        .unwrap()
        .iter()
        .map(|(name, stream)| (text(name), text(&stream["subjects"]), text(&stream["kept"])))
        .collect();
    let have: Vec<_> = streams()
        .iter()
        .filter(|stream| stream.name != "CUSTOM") // the catalogue has it in a sentence of its own
        .map(|stream| {
            (
                stream.name.to_owned(),
                stream.subjects.join(", "),
                stream.kept.to_owned(),
            )
        })
        .collect();
    assert_eq!(have, wanted);
    for info in catalogue() {
        assert_eq!(info.stream, stream_of(info.event_type));
        let subject = format!("{}.x", info.event_type);
        let takers: Vec<_> = streams()
            .iter()
            .filter(|stream| {
                stream
                    .subjects
                    .iter()
                    .any(|filter| matches(filter, &subject))
            })
            .map(|stream| stream.name)
            .collect();
        assert_eq!(takers, [info.stream], "{subject}");
    }
    assert_eq!(
        (
            stream_of("custom.doorbell"),
            stream_of("poses.x"),
            stream_of("nothing")
        ),
        ("CUSTOM", "", "")
    );
}

fn matches(filter: &str, subject: &str) -> bool {
    let (filter, subject): (Vec<_>, Vec<_>) =
        (filter.split('.').collect(), subject.split('.').collect());
    filter.len() == subject.len()
        && filter
            .iter()
            .zip(&subject)
            .all(|(f, s)| *f == "*" || f == s)
}

#[test]
fn the_envelope_is_the_catalogues() {
    let yaml = yaml();
    let schema = Json::from((catalogue()[0].schema)());
    let names = |value: &Value| {
        value
            .as_mapping()
            .unwrap()
            .keys()
            .map(text)
            .collect::<Vec<_>>()
    };
    for name in names(&yaml["envelope"]) {
        let optional = yaml["envelope"][name.as_str()]
            .as_str()
            .is_some_and(|kind| kind.ends_with('?'));
        assert!(schema["properties"].get(&name).is_some(), "{name}");
        assert_eq!(
            schema["required"]
                .as_array()
                .unwrap()
                .contains(&name.clone().into()),
            !optional,
            "{name}"
        );
    }
    let metadata = &schema["$defs"]["Metadata"];
    for name in names(&yaml["envelope"]["metadata"]) {
        assert!(
            metadata["properties"].get(&name).is_some(),
            "metadata.{name}"
        );
    }
}

#[test]
fn the_asyncapi_document_has_every_event_once_and_no_ref_leads_nowhere() {
    let document = asyncapi("127.0.0.1:4222");
    assert_eq!(document["asyncapi"], "3.0.0");
    for part in ["channels", "operations"] {
        assert_eq!(document[part].as_object().unwrap().len(), 79, "{part}");
    }
    for info in catalogue() {
        let channel = &document["channels"][info.event_type];
        assert_eq!(channel["address"], format!("{}.{{key}}", info.event_type));
        assert_eq!(channel["x-stream"], info.stream);
        let operation = &document["operations"][info.event_type];
        assert_eq!(
            (&operation["action"], &operation["x-producer"]),
            (&"send".into(), &info.by.into())
        );
        assert_eq!(operation["description"], info.when);
    }
    fn refs(value: &Json, found: &mut Vec<String>) {
        match value {
            Json::Object(object) => {
                for (key, value) in object {
                    match value {
                        Json::String(target) if key == "$ref" => found.push(target.clone()),
                        other => refs(other, found),
                    }
                }
            }
            Json::Array(list) => list.iter().for_each(|value| refs(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    refs(&document, &mut found);
    assert!(found.len() > 79 * 4, "{}", found.len());
    for target in found {
        let pointer = target
            .strip_prefix('#')
            .unwrap_or_else(|| panic!("{target} leaves the document"));
        assert!(document.pointer(pointer).is_some(), "{target}");
    }
    // Two enums of one name in two contexts stay two.
    let severities = ["alerting.alert_raised", "security.violation_detected"].map(|name| {
        let payload =
            &document["components"]["messages"][name]["payload"]["schema"]["properties"]["payload"];
        let payload = document
            .pointer(&payload["$ref"].as_str().unwrap()[1..])
            .unwrap();
        document
            .pointer(&payload["properties"]["severity"]["$ref"].as_str().unwrap()[1..])
            .unwrap()
            .to_string()
    });
    assert!(
        severities[0].contains("warning") && severities[1].contains("medium"),
        "{severities:?}"
    );
}
