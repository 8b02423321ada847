//! Pipelines and runs in words, tables and JSON.

use comfy_table::{Table, presets};
use proto::signal::v1::{Pipeline, Processing, ProcessingState, Stage, StageType};
use serde_json::{Map, Value, json};

use crate::client::{print_line, printable};

fn number(value: f64) -> Value {
    #[allow(clippy::cast_possible_truncation)]
    if value.fract() == 0.0 && value.abs() < 1e15 {
        json!(value as i64)
    } else {
        json!(value)
    }
}

fn parameters(parameters: Option<&prost_types::Struct>) -> Map<String, Value> {
    use prost_types::value::Kind;
    let fields = parameters.map(|all| &all.fields);
    let value = |value: &prost_types::Value| match &value.kind {
        Some(Kind::NumberValue(value)) => number(*value),
        Some(Kind::BoolValue(value)) => json!(value),
        Some(Kind::StringValue(value)) => json!(value),
        _ => Value::Null,
    };
    let fields = fields.into_iter().flatten();
    fields.map(|(key, one)| (key.clone(), value(one))).collect()
}

fn in_words(all: Option<&prost_types::Struct>) -> String {
    let words: Vec<String> = parameters(all)
        .into_iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    printable(&words.join(", "))
}

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    Ok(print_line(&table.to_string())?)
}

/// One pipeline as JSON, in the form that a file has it.
pub fn pipeline_json(pipeline: &Pipeline) -> Value {
    let stage = |stage: &Stage| {
        let mut fields = parameters(stage.parameters.as_ref());
        fields.insert("name".to_owned(), json!(stage.name));
        fields.insert("type".to_owned(), json!(stage.r#type));
        Value::Object(fields)
    };
    json!({
        "name": pipeline.name,
        "description": pipeline.description,
        "built_in": pipeline.built_in,
        "etag": pipeline.etag,
        "stages": pipeline.stages.iter().map(stage).collect::<Vec<_>>(),
    })
}

/// All pipelines.
pub fn print_pipelines(all: &[Pipeline], json: bool) -> anyhow::Result<()> {
    if json {
        for pipeline in all {
            print_line(&pipeline_json(pipeline).to_string())?;
        }
        return Ok(());
    }
    let stages = |pipeline: &Pipeline| {
        let names: Vec<_> = pipeline.stages.iter().map(|s| s.name.as_str()).collect();
        printable(&names.join(" > "))
    };
    let rows = all.iter().map(|pipeline| {
        vec![
            printable(&pipeline.name),
            printable(&pipeline.etag),
            stages(pipeline),
            printable(&pipeline.description),
        ]
    });
    table(&["NAME", "ETAG", "STAGES", "DESCRIPTION"], rows)
}

/// One pipeline with its stages.
pub fn print_pipeline(pipeline: &Pipeline) -> anyhow::Result<()> {
    print_line(&printable(&format!(
        "{}  {}",
        pipeline.name, pipeline.description
    )))?;
    let rows = pipeline.stages.iter().map(|stage| {
        vec![
            printable(&stage.name),
            printable(&stage.r#type),
            in_words(stage.parameters.as_ref()),
        ]
    });
    table(&["STAGE", "TYPE", "PARAMETERS"], rows)
}

/// The types of stages.
pub fn print_stage_types(types: &[StageType], json: bool) -> anyhow::Result<()> {
    if json {
        for one in types {
            let signatures: Vec<_> = one
                .signatures
                .iter()
                .map(|s| json!({"input": s.input, "output": s.output}))
                .collect();
            let line = json!({
                "type": one.r#type,
                "description": one.description,
                "signatures": signatures,
                "parameters": parameters(one.parameters.as_ref()),
            });
            print_line(&line.to_string())?;
        }
        return Ok(());
    }
    let rows = types.iter().map(|one| {
        let signatures: Vec<_> = one
            .signatures
            .iter()
            .map(|s| format!("{} -> {}", s.input, s.output))
            .collect();
        vec![
            printable(&one.r#type),
            printable(&signatures.join(", ")),
            in_words(one.parameters.as_ref()),
            printable(&one.description),
        ]
    });
    table(
        &["TYPE", "TAKES -> GIVES", "DEFAULTS", "WHAT IT DOES"],
        rows,
    )
}

fn state(run: &Processing) -> &'static str {
    match run.state() {
        ProcessingState::Unspecified => "unknown",
        ProcessingState::Running if run.working => "working",
        ProcessingState::Running => "waiting",
        ProcessingState::Paused => "paused",
        ProcessingState::Completed => "completed",
        ProcessingState::Failed => "failed",
        ProcessingState::Cancelled => "cancelled",
    }
}

/// A run as JSON.
pub fn run_json(run: &Processing) -> Value {
    json!({
        "processing_id": run.processing_id,
        "pipeline": run.pipeline,
        "pipeline_etag": run.pipeline_etag,
        "recording": run.recording,
        "state": state(run),
        "frames_total": run.frames_total,
        "frames_processed": run.frames_processed,
        "errors": run.errors,
        "chunks": run.chunks,
        "frames_per_second": run.frames_per_second,
        "eta_seconds": run.eta_seconds,
        "duration_seconds": run.duration_seconds,
        "output": run.output,
        "output_bytes": run.output_bytes,
        "error": run.error,
        "error_code": run.error_code,
    })
}

/// A run in a line.
pub fn run_line(run: &Processing) -> String {
    let mut line = format!(
        "run {} of {}: {}",
        run.processing_id,
        run.pipeline,
        state(run)
    );
    if !run.error.is_empty() {
        line += &format!(": {} ({})", run.error, run.error_code);
    }
    let total = run
        .frames_total
        .map_or(String::new(), |total| format!(" of {total}"));
    line += &format!(
        "; {}{total} frames in {} chunks, {} malformed, {:.2} s of work",
        run.frames_processed, run.chunks, run.errors, run.duration_seconds
    );
    if let Some(bytes) = run.output_bytes {
        line += &format!(", {bytes} bytes of output");
    }
    printable(&line)
}

/// All runs.
pub fn print_runs(all: &[Processing], json: bool) -> anyhow::Result<()> {
    if json {
        for run in all {
            print_line(&run_json(run).to_string())?;
        }
        return Ok(());
    }
    if all.is_empty() {
        return Ok(print_line(
            "no run; `fresnel process FILE --pipeline motion` makes one",
        )?);
    }
    let rows = all.iter().map(|run| {
        let total = run
            .frames_total
            .map_or_else(|| "?".to_owned(), |total| total.to_string());
        vec![
            printable(&run.processing_id),
            printable(&run.pipeline),
            state(run).to_owned(),
            format!("{}/{total}", run.frames_processed),
            printable(&run.error),
        ]
    });
    table(&["RUN", "PIPELINE", "STATE", "FRAMES", "ERROR"], rows)
}
