//! `fresnel events validate`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use events::{EventEnvelope, any_envelope_schema, find};
use jsonschema::Validator;
use serde_json::Value;

/// The longest line, or document of several lines, that is read.
const LONGEST: u64 = 64 * 1024 * 1024;
/// Of the faults of one event so many are told.
const TOLD: usize = 10;
/// Characters of a reason.
const LONGEST_REASON: usize = 300;

/// Checks the events in `file` (`-`: standard input).
pub fn run(file: &Path) -> anyhow::Result<ExitCode> {
    let name = if file == Path::new("-") {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    };
    let mut input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(BufReader::new(
            File::open(file).with_context(|| format!("cannot open {name}"))?,
        ))
    };
    let mut checker = Checker::new(name)?;
    checker.read(&mut input)?;
    super::print(&checker.summary())?;
    Ok(if checker.bad == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Checker {
    name: String,
    any: Validator,
    known: BTreeMap<&'static str, Validator>,
    good: u64,
    bad: u64,
    unknown: u64,
    newer: u64,
}

impl Checker {
    fn new(name: String) -> anyhow::Result<Self> {
        let any = validator(&Value::from(any_envelope_schema()))?;
        Ok(Self {
            name,
            any,
            known: BTreeMap::new(),
            good: 0,
            bad: 0,
            unknown: 0,
            newer: 0,
        })
    }

    /// JSON lines are checked as they come; a first line that is only the beginning of a value means one document.
    fn read(&mut self, input: &mut dyn BufRead) -> anyhow::Result<()> {
        let mut number = 0_u64;
        let mut first = true;
        loop {
            number += 1;
            let mut line = Vec::new();
            let read = input.take(LONGEST).read_until(b'\n', &mut line);
            let read = read.with_context(|| format!("cannot read {}", self.name))?;
            if read == 0 {
                break;
            }
            if read as u64 == LONGEST {
                bail!(
                    "{}:{number}: longer than {LONGEST} bytes: no event",
                    self.name
                );
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match serde_json::from_slice::<Value>(&line) {
                Ok(Value::Array(list)) if first => self.list(number, list)?,
                Ok(value) => self.event(number, "", value)?,
                Err(error) if first && error.is_eof() => {
                    input
                        .take(LONGEST)
                        .read_to_end(&mut line)
                        .with_context(|| format!("cannot read {}", self.name))?;
                    if line.len() as u64 >= LONGEST {
                        bail!(
                            "{}: longer than {LONGEST} bytes: give it as JSON lines",
                            self.name
                        );
                    }
                    match serde_json::from_slice(&line) {
                        Ok(Value::Array(list)) => self.list(number, list)?,
                        Ok(value) => self.event(number, "", value)?,
                        Err(error) => self.refuse(
                            number + error.line() as u64 - 1,
                            "",
                            &[(String::new(), error.to_string())],
                        )?,
                    }
                    return Ok(());
                }
                Err(error) => {
                    self.refuse(number, "", &[(String::new(), format!("no JSON: {error}"))])?
                }
            }
            first = false;
        }
        Ok(())
    }

    fn list(&mut self, line: u64, list: Vec<Value>) -> anyhow::Result<()> {
        for (index, value) in list.into_iter().enumerate() {
            self.event(line, &format!("/{index}"), value)?;
        }
        Ok(())
    }

    fn event(&mut self, line: u64, at: &str, value: Value) -> anyhow::Result<()> {
        let mut faults = faults(&self.any, &value);
        if !faults.is_empty() {
            return self.refuse(line, at, &faults);
        }
        let envelope: EventEnvelope = match serde_json::from_value(value) {
            Ok(envelope) => envelope,
            Err(error) => return self.refuse(line, at, &[(String::new(), error.to_string())]),
        };
        let Some(info) = find(&envelope.event_type) else {
            self.unknown += 1;
            self.good += 1;
            return Ok(());
        };
        if envelope.version > info.version {
            self.newer += 1;
            self.good += 1;
            return Ok(());
        }
        let version = envelope.version;
        let upgraded = envelope.upgraded();
        if upgraded.version != info.version {
            let what = format!("{} never had a version {version}", info.event_type);
            return self.refuse(line, at, &[("/version".into(), what)]);
        }
        let id = upgraded.payload.get(info.id_field).and_then(Value::as_str);
        if id.is_some_and(|id| id != upgraded.aggregate_id) {
            faults.push((
                "/aggregate_id".into(),
                format!("is not the payload's {}", info.id_field),
            ));
        }
        let validator = match self.known.entry(info.event_type) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(validator(&Value::from((info.schema)()))?)
            }
        };
        faults.extend(self::faults(validator, &serde_json::to_value(&upgraded)?));
        if faults.is_empty() {
            self.good += 1;
            return Ok(());
        }
        self.refuse(line, at, &faults)
    }

    /// Tells what is wrong: place (as a JSON pointer) and reason.
    fn refuse(&mut self, line: u64, at: &str, faults: &[(String, String)]) -> anyhow::Result<()> {
        self.bad += 1;
        let mut text = String::new();
        for (pointer, reason) in faults.iter().take(TOLD) {
            let place = format!("{at}{pointer}");
            let place = if place.is_empty() {
                "the whole"
            } else {
                &place
            };
            let _ = writeln!(text, "{}:{line}: {place}: {reason}", self.name);
        }
        if let Some(more) = faults.len().checked_sub(TOLD).filter(|more| *more > 0) {
            let _ = writeln!(text, "{}:{line}: and {more} more", self.name);
        }
        super::print(&text).map(|_| ())
    }

    fn summary(&self) -> String {
        let mut text = format!(
            "{} events: {} good, {} bad\n",
            self.good + self.bad,
            self.good,
            self.bad
        );
        for (count, what) in [
            (self.unknown, "of a type that is not in the catalogue"),
            (self.newer, "of a newer version than ours"),
        ] {
            if count > 0 {
                let _ = writeln!(text, "{count} {what}: only the envelope was checked");
            }
        }
        text
    }
}

fn validator(schema: &Value) -> anyhow::Result<Validator> {
    let built = jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(schema);
    built.map_err(|error| anyhow::anyhow!("the schema of the catalogue is broken: {error}"))
}

fn faults(validator: &Validator, value: &Value) -> Vec<(String, String)> {
    let faults = validator.iter_errors(value);
    faults
        .map(|fault| {
            (
                fault.instance_path().to_string(),
                shortened(&fault.to_string()),
            )
        })
        .collect()
}

/// A reason may repeat the whole value.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
