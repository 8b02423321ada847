//! `fresnel recordings`: those of the gateway, and the public ones that the tests use.

mod public;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use comfy_table::Table;
use proto::gateway::v1::{
    DeleteRecordingRequest, GetRecordingRequest, ListRecordingsRequest, Recording, RecordingState,
};
use serde_json::json;

use crate::client::{self, Address, print_line, printable, refusal};
use crate::record;
use crate::transfer::{Gateway, missing};

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Another list of public recordings than the one that this program was built with.
    #[arg(long, global = true, value_name = "FILE")]
    catalogue: Option<PathBuf>,
    #[command(flatten)]
    address: Address,
}

#[derive(Subcommand)]
enum Command {
    /// The recordings of the gateway.
    List {
        /// One JSON object for each recording, on a line of its own.
        #[arg(long)]
        json: bool,
    },
    /// What is known of a recording.
    Show {
        /// Its id.
        recording: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a recording that is being made.
    Stop {
        /// Its id.
        recording: String,
    },
    /// Remove recordings.
    Delete {
        /// Their ids.
        #[arg(required = true)]
        recordings: Vec<String>,
    },
    /// Write a recording to a file, byte for byte.
    Download {
        /// Its id.
        recording: String,
        /// The file [default: the recording's name].
        #[arg(long, short)]
        out: Option<PathBuf>,
    },
    /// The public recordings that the tests use: what there is, and what of it is on this machine.
    Public {
        /// One JSON object for each recording, on a line of its own.
        #[arg(long)]
        json: bool,
    },
    /// Bring public recordings from their origin into the cache, and say where they lie.
    Fetch {
        /// Their names; without one all that have an origin or are here.
        names: Vec<String>,
    },
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let gateway = Gateway {
        address: args.address,
    };
    match args.command {
        Command::Public { json } => public::list(args.catalogue, json),
        Command::Fetch { names } => public::fetch(args.catalogue, &names),
        command => client::block_on(async move {
            match command {
                Command::List { json } => list(&gateway, json).await?,
                Command::Show { recording, json } => {
                    let found = get(&gateway, &recording).await?;
                    print_line(&if json {
                        recording_json(&found).to_string()
                    } else {
                        shown(&found)
                    })?;
                }
                Command::Stop { recording } => {
                    let ended = record::stop(&gateway, &recording).await?;
                    print_line(&shown(&ended))?;
                }
                Command::Delete { recordings } => delete(&gateway, recordings).await?,
                Command::Download { recording, out } => {
                    let found = get(&gateway, &recording).await?;
                    // The name is the server's: never a path.
                    let name = std::path::Path::new(&found.name).file_name();
                    let out = out.or_else(|| name.map(PathBuf::from));
                    let out = out.unwrap_or_else(|| PathBuf::from(&found.recording));
                    gateway
                        .download(&found.recording, found.size_bytes, &out)
                        .await?;
                    print_line(&out.display().to_string())?;
                }
                Command::Public { .. } | Command::Fetch { .. } => {}
            }
            Ok(ExitCode::SUCCESS)
        }),
    }
}

/// A recording by its id.
pub async fn get(gateway: &Gateway, recording: &str) -> anyhow::Result<Recording> {
    let request = GetRecordingRequest {
        recording: recording.to_owned(),
    };
    let answer = gateway.client().await?.get_recording(request).await;
    let answer = answer.map_err(|status| refusal(&status))?;
    answer
        .into_inner()
        .recording
        .ok_or_else(|| missing("recording"))
}

async fn list(gateway: &Gateway, json: bool) -> anyhow::Result<()> {
    let mut client = gateway.client().await?;
    let mut request = ListRecordingsRequest::default();
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([
        "recording",
        "name",
        "state",
        "format",
        "frames",
        "devices",
        "seconds",
        "bytes",
    ]);
    loop {
        let answer = client.list_recordings(request.clone()).await;
        let answer = answer.map_err(|status| refusal(&status))?.into_inner();
        for recording in &answer.recordings {
            if json {
                print_line(&recording_json(recording).to_string())?;
                continue;
            }
            table.add_row([
                printable(&recording.recording),
                printable(&recording.name),
                state_name(recording.state()).to_owned(),
                printable(&recording.format),
                recording.frames.to_string(),
                recording.devices.len().to_string(),
                format!("{:.1}", recording.duration_seconds),
                recording.size_bytes.to_string(),
            ]);
        }
        if answer.next_page_token.is_empty() {
            break;
        }
        request.page_token = answer.next_page_token;
    }
    if !json {
        print_line(&table.to_string())?;
    }
    Ok(())
}

async fn delete(gateway: &Gateway, recordings: Vec<String>) -> anyhow::Result<()> {
    let mut client = gateway.client().await?;
    for recording in recordings {
        let request = DeleteRecordingRequest { recording };
        client
            .delete_recording(request)
            .await
            .map_err(|status| refusal(&status))?;
    }
    Ok(())
}

/// The word for a state.
pub fn state_name(state: RecordingState) -> &'static str {
    match state {
        RecordingState::Unspecified => "unknown",
        RecordingState::Recording => "recording",
        RecordingState::Completed => "completed",
        RecordingState::Interrupted => "interrupted",
        RecordingState::Failed => "failed",
    }
}

fn shown(recording: &Recording) -> String {
    let mut lines = vec![
        format!("recording  {}", printable(&recording.recording)),
        format!("name       {}", printable(&recording.name)),
        format!(
            "state      {} (by {})",
            state_name(recording.state()),
            printable(&recording.ended_by)
        ),
        format!("format     {}", printable(&recording.format)),
        format!("sha256     {}", printable(&recording.sha256)),
        format!("bytes      {}", recording.size_bytes),
        format!("seconds    {:.3}", recording.duration_seconds),
        format!(
            "frames     {}, {} malformed places",
            recording.frames, recording.malformed
        ),
    ];
    for device in &recording.devices {
        let named = if device.device.is_empty() {
            "(not named)".to_owned()
        } else {
            printable(&device.device)
        };
        let zone = match printable(&device.zone) {
            zone if zone.is_empty() => zone,
            zone => format!(" in {zone}"),
        };
        lines.push(format!(
            "device     {named}{zone}: {} frames, {} lost, {}",
            device.frames,
            device.lost,
            printable(&device.data_source)
        ));
    }
    let mut labels: Vec<_> = recording.labels.iter().collect();
    labels.sort();
    for (key, value) in labels {
        lines.push(format!(
            "label      {}={}",
            printable(key),
            printable(value)
        ));
    }
    lines.join("\n")
}

/// A recording as JSON.
pub fn recording_json(recording: &Recording) -> serde_json::Value {
    let devices: Vec<_> = recording
        .devices
        .iter()
        .map(|device| {
            json!({
                "device": device.device, "zone": device.zone, "frames": device.frames,
                "lost": device.lost, "data_source": device.data_source,
            })
        })
        .collect();
    json!({
        "recording": recording.recording,
        "name": recording.name,
        "format": recording.format,
        "state": state_name(recording.state()),
        "size_bytes": recording.size_bytes,
        "sha256": recording.sha256,
        "frames": recording.frames,
        "malformed": recording.malformed,
        "devices": devices,
        "duration_seconds": recording.duration_seconds,
        "labels": recording.labels,
        "ended_by": recording.ended_by,
    })
}
