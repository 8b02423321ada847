//! `fresnel import`: recordings into the gateway's store, in any format that it can read.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::client::{self, Address, print_line, printable};
use crate::transfer::{Gateway, label};

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The recordings.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Their format; `auto` finds it out.
    #[arg(long, default_value = "auto")]
    format: String,
    /// A label that they get; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// One JSON object for each recording, on a line of its own.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    address: Address,
}

/// Runs the command: fails where one of the files cannot be imported, after having tried all.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    client::block_on(async move {
        let gateway = Gateway {
            address: args.address.clone(),
        };
        let mut code = ExitCode::SUCCESS;
        for file in &args.files {
            let labels = args.labels.iter().cloned().collect();
            match gateway.upload(file, &args.format, labels).await {
                Ok(stored) => print_line(&if args.json {
                    json!({
                        "file": file,
                        "recording": stored.recording,
                        "format": stored.format,
                        "size_bytes": stored.size_bytes,
                    })
                    .to_string()
                } else {
                    format!(
                        "{}  {}  {} bytes  {}",
                        printable(&stored.recording),
                        printable(&stored.format),
                        stored.size_bytes,
                        file.display()
                    )
                })?,
                Err(error) => {
                    code = ExitCode::FAILURE;
                    eprintln!("fresnel: {}: {error:#}", file.display());
                }
            }
        }
        Ok(code)
    })
}
