//! JSON Schema of events.

use schemars::Schema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Value, json};

use crate::{DomainEvent, EventEnvelope};

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

/// JSON Schema 2020-12 of the envelope with any payload: what is known of an event whose type is not.
#[must_use]
pub fn any_envelope_schema() -> Schema {
    generator().into_root_schema_for::<EventEnvelope>()
}

/// JSON Schema 2020-12 of the envelope with `E` as its payload: what is written today. A reader may meet more fields than
/// it names.
#[must_use]
pub fn envelope_schema<E: DomainEvent>() -> Schema {
    let mut generator = generator();
    let payload = generator.subschema_for::<E>();
    let mut root = generator.into_root_schema_for::<EventEnvelope>();
    root.insert(
        "$id".into(),
        json!(format!(
            "urn:fresnel:event:{}:{}",
            E::EVENT_TYPE,
            E::VERSION
        )),
    );
    root.insert("title".into(), json!(E::EVENT_TYPE));
    if let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("event_type".into(), json!({"const": E::EVENT_TYPE}));
        properties.insert("aggregate_type".into(), json!({"const": E::AGGREGATE_TYPE}));
        properties.insert("version".into(), json!({"const": E::VERSION}));
        properties.insert("payload".into(), payload.into());
    }
    root
}
