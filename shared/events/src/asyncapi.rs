//! The AsyncAPI document of all events.

use serde_json::{Map, Value, json};

use crate::{EventInfo, catalogue, streams};

/// What the refs of a JSON Schema begin with, and those of the document.
const DEFS: &str = "#/$defs/";
const SCHEMAS: &str = "#/components/schemas/";

/// One AsyncAPI 3.0 document: a channel per event with its subject as address, the operation of the service that publishes
/// it, and the JSON Schema of its envelope. `server` is the `host:port` of NATS.
#[must_use]
pub fn asyncapi(server: &str) -> Value {
    let mut channels = Map::new();
    let mut operations = Map::new();
    let mut messages = Map::new();
    let mut schemas = Map::new();
    for info in catalogue() {
        let name = info.event_type;
        let payload = shared_schema(info, &mut schemas);
        let reference = |kind: &str| json!({"$ref": format!("#/{kind}/{name}")});
        channels.insert(
            name.into(),
            json!({
                "address": format!("{name}.{{key}}"),
                "title": name,
                "description": format!("Kept in the stream {}; republished to the bare subject {name}.", info.stream),
                "messages": {name: reference("components/messages")},
                "parameters": {"key": {"description": format!("One subject token: {}.", info.key_rule)}},
                "x-stream": info.stream,
            }),
        );
        operations.insert(
            name.into(),
            json!({
                "action": "send",
                "channel": reference("channels"),
                "title": name,
                "description": info.when,
                "tags": [{"name": info.by}],
                "messages": [{"$ref": format!("#/channels/{name}/messages/{name}")}],
                "x-producer": info.by,
            }),
        );
        messages.insert(
            name.into(),
            json!({
                "name": name,
                "title": name,
                "contentType": "application/json",
                "payload": {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": payload},
                "x-version": info.version,
                "x-aggregate": info.aggregate_type,
                "x-sourced": info.sourced,
                "x-critical": info.critical,
            }),
        );
    }
    let kept: Map<String, Value> = streams()
        .iter()
        .map(|stream| {
            (
                stream.name.into(),
                json!({"subjects": stream.subjects, "kept": stream.kept}),
            )
        })
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Fresnel events",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The domain events of Fresnel on NATS JetStream: subject {event_type}.{key}, JSON in one envelope.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"nats": {"host": server, "protocol": "nats", "description": "NATS with JetStream, 2.12 or later."}},
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
        "x-streams": kept,
    })
}

/// The schema of an event with its definitions moved to the document's, where events share them. Two definitions of one name
/// that differ are told apart by the context.
fn shared_schema(info: &EventInfo, schemas: &mut Map<String, Value>) -> Value {
    let mut schema = Value::from((info.schema)());
    let definitions = match schema.as_object_mut() {
        Some(object) => {
            object.remove("$schema");
            object.remove("$id");
            object.remove("$defs")
        }
        None => None,
    };
    let Some(Value::Object(definitions)) = definitions else {
        return schema;
    };
    let names: Vec<(String, String)> = definitions
        .iter()
        .map(|(name, definition)| {
            let mut plain = definition.clone();
            rename(&mut plain, &|name| name.to_owned());
            let taken = schemas.get(name).is_some_and(|other| *other != plain);
            (
                name.clone(),
                if taken {
                    format!("{}.{name}", info.context())
                } else {
                    name.clone()
                },
            )
        })
        .collect();
    let renamed = |name: &str| {
        let found = names.iter().find(|(old, _)| old == name);
        found.map_or_else(|| name.to_owned(), |(_, new)| new.clone())
    };
    for (name, mut definition) in definitions {
        rename(&mut definition, &renamed);
        schemas.insert(renamed(&name), definition);
    }
    rename(&mut schema, &renamed);
    schema
}

/// Points every ref to a definition at the document's schema of its new name.
fn rename(schema: &mut Value, new_name: &dyn Fn(&str) -> String) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(target) if key == "$ref" => {
                        if let Some(name) = target.strip_prefix(DEFS) {
                            *target = format!("{SCHEMAS}{}", new_name(name));
                        }
                    }
                    other => rename(other, new_name),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| rename(value, new_name)),
        _ => {}
    }
}
