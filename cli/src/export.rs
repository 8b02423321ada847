//! `fresnel export`: a recording as CSV, NumPy's `.npz`, or MCAP.

mod csv;
mod npz;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use csi::mcap::Writer;
use csi::read::Format;
use csi::wire::Published;
use hardware_gateway::recording::frames::{Frames, Item};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tempfile::NamedTempFile;
use uuid::Uuid;

use crate::client::{self, Address, print_line};
use crate::decode::Places;
use crate::recordings::get;
use crate::transfer::Gateway;

/// Largest file that is read, in bytes, where the format cannot be read in pieces.
const MAX_FILE: u64 = 2 << 30;
/// Exit code after Ctrl-C, as shells count it.
const INTERRUPTED: u8 = 130;

/// What a recording is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum To {
    /// One row for each frame.
    Csv,
    /// Arrays for NumPy.
    Npz,
    /// MCAP, as the gateway records it.
    Mcap,
}

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// A file in any format, or the id of a recording of the gateway.
    recording: String,
    /// What it is written as [default: what the name of the output ends in].
    ///
    /// csv: a row for each frame, its columns: device, zone, data_source, sequence, counted (by the device), receive_time_us,
    /// device_time_us, rssi_dbm (of each antenna), noise_floor_dbm, agc, channel, frequency_mhz, bandwidth_mhz, ppdu, antennas,
    /// layout, subcarriers, valid (1: a channel estimate), re, im (of each sample, antenna by antenna). Lists are separated by
    /// blanks; what was not measured is empty.
    ///
    /// npz: for each group N of frames of one device, layout and number of antennas: samples_N (complex64 [frames, antennas,
    /// subcarriers]), times_N and device_times_N (int64, microseconds, -1: absent), sequences_N (uint64), rssi_N (float32
    /// [frames, values], NaN: absent), subcarriers_N (int16), valid_N (bool); and `groups`, which names them.
    #[arg(long, value_enum, verbatim_doc_comment)]
    to: Option<To>,
    /// The output.
    #[arg(long, short)]
    out: PathBuf,
    /// Format of the recording; `auto` finds it out.
    #[arg(long, default_value_t)]
    format: Format,
    /// The outcome as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    address: Address,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let to = match args.to {
        Some(to) => to,
        None => {
            let ending = args.out.extension().and_then(|ending| ending.to_str());
            let known = ending.and_then(|ending| To::from_str(ending, true).ok());
            known.context("--to is missing, and the output ends in none of .csv, .npz, .mcap")?
        }
    };
    client::block_on(async move {
        let stop = Arc::new(AtomicBool::new(false));
        let directory = args.out.parent().filter(|parent| *parent != Path::new(""));
        let directory = directory.unwrap_or(Path::new(".")).to_owned();
        let shown = args.out.display().to_string();
        let output = output_in(&directory).with_context(|| format!("{shown} cannot be written"))?;
        let (name, input) = input(&args).await?;
        let format = args.format;
        let mut task = {
            let stop = Arc::clone(&stop);
            tokio::task::spawn_blocking(move || {
                let frames = Frames::open(input, &name, format, MAX_FILE)?;
                write(frames, &name, output, to, &stop)
            })
        };
        let done = tokio::select! {
            done = &mut task => done,
            interrupt = tokio::signal::ctrl_c() => {
                interrupt.context("Ctrl-C cannot be heard")?;
                stop.store(true, Ordering::Relaxed);
                task.await
            }
        };
        let done = done.context("the export failed")??;
        if stop.load(Ordering::Relaxed) {
            eprintln!("fresnel: interrupted; {shown} was not written");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        if done.frames == 0 {
            bail!("the recording holds no frame that can be decoded; {shown} was not written");
        }
        done.output
            .persist(&args.out)
            .with_context(|| format!("{shown} cannot be written"))?;
        let line = json!({ "frames": done.frames, "malformed": done.malformed, "out": args.out });
        print_line(&if args.json {
            line.to_string()
        } else {
            format!(
                "{shown}: {} frames, {} malformed places",
                done.frames, done.malformed
            )
        })?;
        Ok(ExitCode::SUCCESS)
    })
}

/// A file that becomes the output, with the rights that any new file gets; others may not be kept from what they are given.
fn output_in(directory: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // The umask takes away what it takes from every file.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory)
}

/// The recording as a file, and its name.
async fn input(args: &Args) -> anyhow::Result<(String, File)> {
    let path = Path::new(&args.recording);
    if path.exists() {
        let file =
            File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
        return Ok((args.recording.clone(), file));
    }
    let text = &args.recording;
    let is_id = Uuid::parse_str(text).is_ok()
        || (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if !is_id {
        bail!("{text} is neither a file nor the id of a recording");
    }
    let gateway = Gateway {
        address: args.address.clone(),
    };
    let found = get(&gateway, text).await?;
    let file = NamedTempFile::new().context("a temporary file cannot be made")?;
    gateway
        .download(&found.recording, found.size_bytes, file.path())
        .await?;
    Ok((found.name, file.reopen()?))
}

struct Done {
    output: NamedTempFile,
    frames: u64,
    malformed: u64,
}

fn write(
    frames: Frames,
    name: &str,
    output: NamedTempFile,
    to: To,
    stop: &AtomicBool,
) -> anyhow::Result<Done> {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} exporting  {pos} frames  {per_sec}")
    {
        bar.set_style(style);
    }
    let mut places = Places::new(name.to_owned());
    let mut count = 0;
    let items = frames.take_while(|_| !stop.load(Ordering::Relaxed));
    let items = items.filter_map(|item| match item {
        Ok(item) => {
            count += 1;
            bar.inc(1);
            Some(item)
        }
        Err(place) => {
            places.add(&place);
            None
        }
    });
    let out = BufWriter::new(output.as_file());
    match to {
        To::Csv => csv::write(items, out)?,
        To::Npz => npz::write(items, out)?,
        To::Mcap => write_mcap(items, out)?,
    }
    bar.finish_and_clear();
    places.finish();
    Ok(Done {
        frames: count,
        malformed: places.count(),
        output,
    })
}

fn write_mcap(items: impl Iterator<Item = Item>, out: BufWriter<&File>) -> anyhow::Result<()> {
    let mut writer = Writer::new(out)?;
    for (index, item) in items.enumerate() {
        let device = if item.from.is_empty() {
            "device".to_owned()
        } else {
            item.from
        };
        let name = format!("{device}/{index}");
        let published = Published {
            frame_id: Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()),
            device,
            zone: item.zone,
            source: item.source,
            run_id: None,
            announced: false,
            sampled_one_in: 0,
            ingest_time_us: 0,
            last_of_run: false,
        };
        writer.frame(&item.frame, &published, "")?;
    }
    writer.finish()?.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests;
