//! `make accuracy`: measures, and writes docs/accuracy.md and docs/accuracy.json.

use std::path::PathBuf;

use accuracy::report::{Measured, Scope};
use anyhow::Context as _;
use clap::Parser;
use recordings::Places;

/// Measures the accuracy of the service's own code on the labelled recordings.
#[derive(Parser)]
struct Arguments {
    /// Folder that accuracy.md and accuracy.json are written to.
    #[arg(long, default_value = "docs")]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let measured = Measured::all(&Places::from_environment(), Scope::Everything)?;
    let write = |name: &str, text: String| {
        let path = arguments.out.join(name);
        std::fs::write(&path, text).with_context(|| format!("{}", path.display()))
    };
    let json = serde_json::to_string_pretty(&measured.figures())?;
    write("accuracy.json", json + "\n")?;
    write("accuracy.md", measured.markdown())
}
