//! `fresnel events`: the catalogue, and whether a file of events keeps to it.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use events::{EventInfo, asyncapi, catalogue, find, streams};
use serde_json::{Value, json};

mod validate;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// All events: type, version, stream, who publishes it.
    List {
        /// Only types that begin so, e.g. `pose.`.
        #[arg(default_value = "")]
        prefix: String,
        /// One JSON line per event.
        #[arg(long)]
        json: bool,
    },
    /// All that is known of one event.
    Show {
        /// E.g. `pose.motion_detected`.
        event_type: String,
    },
    /// JSON Schema 2020-12 of one event in its envelope.
    Schema {
        /// E.g. `pose.motion_detected`.
        event_type: String,
    },
    /// One AsyncAPI 3 document of all events.
    Asyncapi {
        /// `host:port` of the NATS server that the document names.
        #[arg(long, default_value = "127.0.0.1:4222")]
        server: String,
    },
    /// Check events: a JSON file, JSON lines, or `-`. Names each bad one with line, place and reason; exit code 1.
    Validate {
        /// File, or `-` for standard input.
        file: PathBuf,
    },
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List { prefix, json } => {
            let chosen: Vec<_> = catalogue()
                .iter()
                .filter(|info| info.event_type.starts_with(&prefix))
                .collect();
            if chosen.is_empty() {
                bail!("no event type begins with {prefix:?}; `fresnel events list` has them all");
            }
            print(&if json { lines(&chosen) } else { table(&chosen) })
        }
        Command::Show { event_type } => print(&page(known(&event_type)?)),
        Command::Schema { event_type } => {
            let schema = Value::from((known(&event_type)?.schema)());
            print(&format!("{}\n", serde_json::to_string_pretty(&schema)?))
        }
        Command::Asyncapi { server } => print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&asyncapi(&server))?
        )),
        Command::Validate { file } => validate::run(&file),
    }
}

/// Prints; that nobody reads on (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn known(event_type: &str) -> anyhow::Result<&'static EventInfo> {
    if let Some(info) = find(event_type) {
        return Ok(info);
    }
    let closest = catalogue()
        .iter()
        .map(|info| {
            (
                strsim::jaro_winkler(info.event_type, event_type),
                info.event_type,
            )
        })
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(likeness, _)| *likeness > 0.8);
    match closest {
        Some((_, closest)) => bail!("there is no event {event_type:?}; did you mean {closest}?"),
        None => bail!("there is no event {event_type:?}; `fresnel events list` has them all"),
    }
}

fn table(events: &[&EventInfo]) -> String {
    let mut text = columns(
        std::iter::once(["TYPE", "VERSION", "STREAM", "BY", "KEY"].map(str::to_owned)).chain(
            events.iter().map(|info| {
                let version = info.version.to_string();
                [
                    info.event_type,
                    &version,
                    info.stream,
                    info.by,
                    info.key_rule,
                ]
                .map(str::to_owned)
            }),
        ),
    );
    let _ = writeln!(
        text,
        "\n{} events. `fresnel events show TYPE` tells more of one.",
        events.len()
    );
    text
}

fn lines(events: &[&EventInfo]) -> String {
    let line = |info: &&EventInfo| {
        let line = json!({
            "event_type": info.event_type,
            "version": info.version,
            "stream": info.stream,
            "by": info.by,
            "when": info.when,
            "aggregate_type": info.aggregate_type,
            "id": info.id_field,
            "key": info.key_rule,
            "sourced": info.sourced,
            "critical": info.critical,
        });
        format!("{line}\n")
    };
    events.iter().map(line).collect()
}

fn page(info: &EventInfo) -> String {
    let mut text = format!(
        "{}, version {}\n\n  {}.\n\n",
        info.event_type, info.version, info.when
    );
    let kept = streams()
        .iter()
        .find(|stream| stream.name == info.stream)
        .map_or("", |stream| stream.kept);
    let mut facts = vec![
        ["  published by".to_owned(), info.by.to_owned()],
        [
            "  subject".to_owned(),
            format!("{}.{{{}}}", info.event_type, info.key_rule),
        ],
        ["  live on".to_owned(), info.event_type.to_owned()],
        [
            "  stream".to_owned(),
            format!("{} (kept {kept})", info.stream),
        ],
        [
            "  aggregate".to_owned(),
            format!("{}, its id is {}", info.aggregate_type, info.id_field),
        ],
    ];
    if info.sourced {
        facts.push([
            "  sourced".into(),
            "the aggregate's state is rebuilt from these events".into(),
        ]);
    }
    if info.critical {
        facts.push(["  critical".into(), "people should look".into()]);
    }
    if !info.upgrades.is_empty() {
        facts.push([
            "  upgrades".into(),
            "older versions are upgraded on reading".into(),
        ]);
    }
    text += &columns(facts.into_iter());
    text += "\nPayload\n\n";
    let fields = (info.fields)();
    text += &fields_of(&fields);
    let mut told: Vec<&str> = Vec::new();
    let mut open: Vec<String> = fields.into_iter().rev().map(|(_, kind)| kind).collect();
    let records = events::types::records();
    while let Some(kind) = open.pop() {
        let bare = kind.trim_end_matches(['?', '[', ']']);
        let Some((name, fields)) = records.iter().find(|(name, _)| *name == bare) else {
            continue;
        };
        if told.contains(name) {
            continue;
        }
        told.push(name);
        let _ = write!(text, "\n{name}\n\n{}", fields_of(fields));
        open.extend(fields.iter().rev().map(|(_, kind)| kind.clone()));
    }
    text
}

fn fields_of(fields: &[(&'static str, String)]) -> String {
    columns(fields.iter().map(|(name, kind)| {
        let optional = if kind.ends_with('?') { "optional" } else { "" };
        [
            format!("  {name}"),
            kind.trim_end_matches('?').to_owned(),
            optional.to_owned(),
        ]
    }))
}

/// Rows with their columns aligned.
fn columns<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.collect();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for row in &rows {
        let line: String = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
