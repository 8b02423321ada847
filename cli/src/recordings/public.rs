//! The public recordings that the tests use.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use comfy_table::Table;
use recordings::{Catalogue, Entry, Places};
use serde_json::json;

fn opened(catalogue: Option<PathBuf>) -> anyhow::Result<(Catalogue, Places)> {
    let catalogue = catalogue.map_or_else(Catalogue::built_in, |path| Catalogue::load(&path))?;
    Ok((catalogue, Places::from_environment()))
}

fn quiet(done: io::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        done => Ok(done?),
    }
}

/// What there is, and what of it is on this machine.
pub fn list(catalogue: Option<PathBuf>, json: bool) -> anyhow::Result<ExitCode> {
    let (catalogue, places) = opened(catalogue)?;
    quiet(write_list(&catalogue, &places, json).map(|()| ExitCode::SUCCESS))
}

/// Brings recordings from their origin.
pub fn fetch(catalogue: Option<PathBuf>, names: &[String]) -> anyhow::Result<ExitCode> {
    let (catalogue, places) = opened(catalogue)?;
    quiet(fetch_all(&catalogue, &places, names))
}

fn labels(entry: &Entry) -> String {
    let one = |label: &recordings::Label| match (label.from_s, label.to_s) {
        (Some(from), Some(to)) => format!("{} {from}-{to} s", label.label),
        _ => label.label.clone(),
    };
    entry.labels.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn write_list(catalogue: &Catalogue, places: &Places, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["name", "frames", "labels", "licence", "where"]);
    for entry in catalogue.entries() {
        let licence = catalogue
            .source(entry)
            .map_or("", |source| source.licence.as_str());
        let (here, origin) = (catalogue.locate(entry, places), catalogue.origin(entry));
        if json {
            let labels: Vec<_> = entry
                .labels
                .iter()
                .map(|label| json!({ "label": label.label, "from_s": label.from_s, "to_s": label.to_s }))
                .collect();
            let line = json!({
                "name": entry.name, "frames": entry.frames, "labels": labels, "licence": licence, "chip": entry.chip,
                "session": entry.session, "room": entry.room, "sha256": entry.sha256, "path": here, "origin": origin,
            });
            writeln!(out, "{line}")?;
            continue;
        }
        let place = match (here, origin) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(_)) => "not here; fetch brings it".to_owned(),
            (None, None) => "not here, and it has no origin".to_owned(),
        };
        table.add_row([
            entry.name.clone(),
            entry.frames.to_string(),
            labels(entry),
            licence.to_owned(),
            place,
        ]);
    }
    if json {
        Ok(())
    } else {
        writeln!(out, "{table}")
    }
}

fn fetch_all(catalogue: &Catalogue, places: &Places, names: &[String]) -> io::Result<ExitCode> {
    let can_be_had = |entry: &&Entry| {
        catalogue.origin(entry).is_some() || catalogue.locate(entry, places).is_some()
    };
    let all = || {
        catalogue
            .entries()
            .iter()
            .filter(can_be_had)
            .map(|entry| entry.name.clone())
            .collect()
    };
    let names: Vec<String> = if names.is_empty() {
        all()
    } else {
        names.to_vec()
    };
    let mut code = ExitCode::SUCCESS;
    for name in &names {
        match catalogue.find(name, places) {
            Ok(recording) => writeln!(io::stdout(), "{name} {}", recording.path.display())?,
            Err(error) => {
                code = ExitCode::FAILURE;
                // The causes too: what the system says about a file or a connection.
                let error = anyhow::Error::new(error);
                writeln!(io::stderr(), "fresnel: {error:#}")?;
            }
        }
    }
    Ok(code)
}
