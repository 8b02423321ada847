//! Pipelines, their stages and their runs as protobuf.

use events::Timestamp;
use proto::signal::v1 as pb;
use serde_json::{Map, Value};
use tonic::Status;
use uuid::Uuid;

use crate::board::timestamp;
use crate::processing::definition::Definition;
use crate::processing::error::Error;
use crate::processing::run::State;
use crate::processing::runs::{Snapshot, output_path};
use crate::processing::stage::Stage;

pub(super) fn stages(stages: Vec<pb::Stage>) -> Result<Vec<Stage>, Status> {
    let read = |(place, stage): (usize, pb::Stage)| {
        let parameters = stage.parameters.map(from_struct).unwrap_or_default();
        Stage::read(place, &stage.name, &stage.r#type, parameters)
            .map_err(|misfit| Error::Misfit(misfit).into())
    };
    stages.into_iter().enumerate().map(read).collect()
}

pub(super) fn render(name: &str, definition: &Definition) -> pb::Pipeline {
    let time = |time: Timestamp| (definition.version > 0).then(|| timestamp(time.as_micros()));
    pb::Pipeline {
        name: name.to_owned(),
        description: definition.description.clone(),
        stages: definition
            .stages
            .iter()
            .map(|stage| pb::Stage {
                name: stage.name.clone(),
                r#type: stage.does.name().to_owned(),
                parameters: Some(to_struct(stage.does.parameters())),
            })
            .collect(),
        etag: definition.etag(),
        create_time: time(definition.created),
        update_time: time(definition.updated),
        built_in: definition.built_in,
    }
}

pub(super) fn render_run(id: Uuid, now: &Snapshot) -> pb::Processing {
    let Snapshot { run, progress } = now;
    let state = match run.state {
        State::Absent => pb::ProcessingState::Unspecified,
        State::Running => pb::ProcessingState::Running,
        State::Paused => pb::ProcessingState::Paused,
        State::Completed => pb::ProcessingState::Completed,
        State::Failed => pb::ProcessingState::Failed,
        State::Cancelled => pb::ProcessingState::Cancelled,
    };
    let time = |time: Timestamp| (run.version > 0).then(|| timestamp(time.as_micros()));
    pb::Processing {
        processing_id: id.to_string(),
        pipeline: run.order.pipeline.clone(),
        pipeline_etag: run.order.pipeline_etag.clone(),
        recording: run.order.recording.clone(),
        state: state.into(),
        working: progress.working,
        frames_total: progress.frames_total,
        frames_processed: progress.frames,
        errors: progress.errors,
        chunks: progress.chunks,
        frames_per_second: progress.frames_per_second,
        eta_seconds: progress.eta_seconds.filter(|_| !run.state.is_over()),
        duration_seconds: progress.seconds,
        output_bytes: run.output_bytes,
        output: output_path(id),
        error: run.error.clone(),
        error_code: run.error_code.clone(),
        start_time: time(run.started),
        update_time: time(run.updated),
    }
}

pub(super) fn to_struct(fields: Map<String, Value>) -> prost_types::Struct {
    let fields = fields
        .into_iter()
        .map(|(key, value)| (key, to_value(value)));
    prost_types::Struct {
        fields: fields.collect(),
    }
}

fn to_value(value: Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or(f64::NAN)),
        Value::String(value) => Kind::StringValue(value),
        Value::Array(values) => Kind::ListValue(prost_types::ListValue {
            values: values.into_iter().map(to_value).collect(),
        }),
        Value::Object(fields) => Kind::StructValue(to_struct(fields)),
    };
    prost_types::Value { kind: Some(kind) }
}

fn from_struct(fields: prost_types::Struct) -> Map<String, Value> {
    let fields = fields.fields.into_iter();
    fields
        .map(|(key, value)| (key, from_value(value)))
        .collect()
}

/// No parameter is a list or a structure: of those only that they are one is kept, for the message.
fn from_value(value: prost_types::Value) -> Value {
    use prost_types::value::Kind;
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::NumberValue(value)) => Value::from(value),
        Some(Kind::StringValue(value)) => Value::String(value),
        Some(Kind::ListValue(_)) => Value::Array(Vec::new()),
        Some(Kind::StructValue(_)) => Value::Object(Map::new()),
    }
}
