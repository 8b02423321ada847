//! A pipeline as a file: TOML, YAML or JSON.

use std::path::Path;

use anyhow::{Context as _, bail};
use proto::signal::v1::{Pipeline, Stage};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    description: String,
    stages: Vec<Entry>,
}

/// `gain`, or `{type = "hampel", half = 3}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Type(String),
    Full(Map<String, Value>),
}

/// Reads a pipeline. What its stages mean is for the service to say.
///
/// # Errors
/// Where the file cannot be read, or is not of the form.
pub fn read(path: &Path, name: String) -> anyhow::Result<Pipeline> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("{shown} cannot be read"))?;
    let ending = path.extension().and_then(|ending| ending.to_str());
    parse(&text, ending.unwrap_or_default(), name)
        .with_context(|| format!("{shown} is no pipeline"))
}

fn parse(text: &str, ending: &str, name: String) -> anyhow::Result<Pipeline> {
    let file: File = match ending {
        "toml" => toml::from_str(text)?,
        "yaml" | "yml" => serde_norway::from_str(text)?,
        "json" => serde_json::from_str(text)?,
        other => bail!("its ending is {other:?}; toml, yaml and json are known"),
    };
    let stages = file.stages.into_iter().enumerate();
    Ok(Pipeline {
        name,
        description: file.description,
        stages: stages
            .map(|(place, entry)| stage(place, entry))
            .collect::<Result<_, _>>()?,
        ..Pipeline::default()
    })
}

fn stage(place: usize, entry: Entry) -> anyhow::Result<Stage> {
    let mut fields = match entry {
        Entry::Type(kind) => {
            return Ok(Stage {
                r#type: kind,
                ..Stage::default()
            });
        }
        Entry::Full(fields) => fields,
    };
    let mut text = |key: &str| match fields.remove(key) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(other) => bail!("stage {}: {key} = {other}: must be text", place + 1),
    };
    let (name, kind) = (text("name")?, text("type")?);
    if kind.is_empty() {
        bail!("stage {} has no type", place + 1);
    }
    let parameters = fields
        .into_iter()
        .map(|(key, value)| Ok((key.clone(), parameter(&key, value)?)))
        .collect::<anyhow::Result<_>>()?;
    Ok(Stage {
        name,
        r#type: kind,
        parameters: Some(prost_types::Struct { fields: parameters }),
    })
}

fn parameter(key: &str, value: Value) -> anyhow::Result<prost_types::Value> {
    use prost_types::value::Kind;
    let kind = match value {
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or(f64::NAN)),
        Value::String(value) => Kind::StringValue(value),
        other => bail!("{key} = {other}: must be a number, a text, true or false"),
    };
    Ok(prost_types::Value { kind: Some(kind) })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_three_forms_are_one() {
        let toml = "description = \"x\"\nstages = [\"gain\", { type = \"hampel\", name = \"h\", half = 3, k = 2.5 }]\n";
        let yaml = "description: x\nstages:\n- gain\n- {type: hampel, name: h, half: 3, k: 2.5}\n";
        let json = r#"{"description": "x", "stages": ["gain", {"type": "hampel", "name": "h", "half": 3, "k": 2.5}]}"#;
        let one = parse(toml, "toml", "p".into()).unwrap();
        assert_eq!(one.stages.len(), 2);
        assert_eq!(
            (one.stages[1].name.as_str(), one.stages[1].r#type.as_str()),
            ("h", "hampel")
        );
        assert_eq!(one.stages[1].parameters.as_ref().unwrap().fields.len(), 2);
        assert_eq!(one, parse(yaml, "yaml", "p".into()).unwrap());
        assert_eq!(one, parse(json, "json", "p".into()).unwrap());
    }

    #[test]
    fn faults_are_named() {
        let fault = |text: &str| parse(text, "toml", "p".into()).unwrap_err().to_string();
        assert_eq!(fault("stages = [{ half = 3 }]"), "stage 1 has no type");
        assert_eq!(
            fault("stages = [\"gain\", { type = 3 }]"),
            "stage 2: type = 3: must be text"
        );
        assert!(fault("stage = []").contains("unknown field"));
        let ending = parse("", "txt", "p".into()).unwrap_err().to_string();
        assert!(ending.contains("\"txt\""), "{ending}");
    }
}
