//! `fresnel decode`: a recording, frame by frame. Needs nothing but the file.

mod json;
mod table;

use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use csi::Frame;
use csi::decode::nexmon::Chip;
use csi::read::{Format, Options, Reader};

/// Malformed places that are shown; all are counted.
const SHOWN_PLACES: u64 = 20;
/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 2 << 30;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The recording; `-` reads standard input. It may be compressed with gzip.
    file: PathBuf,
    /// Its format: auto, adr018, pcap, nexmon-pcap, esp32-csv, espectre-npz, ialr-csv, ruview-jsonl, intel5300, atheros,
    /// picoscenes, feitcsi or mcap.
    #[arg(long, default_value_t)]
    format: Format,
    /// One JSON object for each frame, on a line of its own.
    #[arg(long)]
    json: bool,
    /// Every sample that is stored, in the order of the buffer, also those that are no measurement. Of network cards' logs by
    /// subcarrier, receive chain and transmit stream, with what the record says of itself.
    #[arg(long)]
    raw: bool,
    /// Frames to show [default: all with --json, otherwise 10].
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Frames per second of a recording without time stamps.
    #[arg(long, value_name = "HZ")]
    rate: Option<f64>,
    /// Only the frames of this ADR-018 node.
    #[arg(long, value_name = "NUMBER")]
    node: Option<u8>,
    /// The chip that Nexmon frames come from (4339, 43455c0, 4358, 4366c0), whatever they say themselves.
    #[arg(long, value_name = "CHIP")]
    nexmon_chip: Option<Chip>,
}

/// Runs the command: succeeds where at least one frame could be decoded.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let name = args.file.display().to_string();
    let options = Options {
        rate_hz: args.rate,
        node: args.node,
        nexmon_chip: args.nexmon_chip,
        ..Options::default()
    };
    let reader = Reader::new(read_file(&args.file)?, &name, args.format, options)?;
    let mut places = Places::new(name);
    let frames = if args.json {
        write_json(reader, &args, &mut places)
    } else {
        write_table(reader, &args, &mut places)
    };
    let frames = match frames {
        Err(error) if is_broken_pipe(&error) => return Ok(ExitCode::SUCCESS),
        frames => frames?,
    };
    places.finish();
    Ok(if frames > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Reads a whole file, or standard input for `-`.
pub fn read_file(path: &Path) -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin()
            .lock()
            .take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > MAX_FILE {
        bail!("{} is larger than {MAX_FILE} bytes", path.display());
    }
    Ok(bytes.into())
}

/// Whether the reader of our output has enough.
pub fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// The places that are no frames: shown on standard error while there are few, counted throughout.
pub struct Places {
    name: String,
    count: u64,
}

impl Places {
    /// None so far, in the file of this name.
    pub fn new(name: String) -> Self {
        Self { name, count: 0 }
    }

    /// How many so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// One more.
    pub fn add(&mut self, place: &impl std::fmt::Display) {
        self.count += 1;
        if self.count <= SHOWN_PLACES {
            // Through `writeln!`: where standard error is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "{}: {place}", self.name);
        }
    }

    /// Says how many there were where not all were shown.
    pub fn finish(&self) {
        if self.count > SHOWN_PLACES {
            let _ = writeln!(
                io::stderr(),
                "{}: {} malformed places in all",
                self.name,
                self.count
            );
        }
    }
}

fn write_json(mut reader: Reader, args: &Args, places: &mut Places) -> io::Result<u64> {
    let mut out = BufWriter::new(io::stdout().lock());
    let limit = args.limit.unwrap_or(u64::MAX);
    let has_time = reader.has_time();
    let (mut frames, mut line) = (0, String::new());
    while frames < limit
        && let Some(next) = reader.next()
    {
        match next {
            Ok(frame) => {
                line.clear();
                json::write(
                    &frame,
                    frames,
                    reader.node(),
                    has_time,
                    args.raw,
                    reader.header(),
                    &mut line,
                );
                if args.raw {
                    json::add(&reader.header_fields(&frame), &mut line);
                }
                out.write_all(line.as_bytes())?;
                frames += 1;
            }
            Err(place) => places.add(&place),
        }
    }
    out.flush()?;
    Ok(frames)
}

fn write_table(mut reader: Reader, args: &Args, places: &mut Places) -> io::Result<u64> {
    let mut summary = table::Summary::new(&reader, args.limit.unwrap_or(10));
    while let Some(next) = reader.next() {
        match next {
            Ok(frame) => summary.add(&frame, reader.node(), args.raw),
            Err(place) => places.add(&place),
        }
    }
    let mut out = BufWriter::new(io::stdout().lock());
    write!(out, "{}", summary.finish(places.count, reader.restarts()))?;
    out.flush()?;
    Ok(summary.frames())
}

/// Positions of the samples that are shown: all of them, or those that are measurements.
fn shown(frame: &Frame, raw: bool) -> impl Iterator<Item = (usize, i16)> + '_ {
    let layout = &frame.layout;
    let all = layout
        .subcarriers
        .iter()
        .zip(layout.valid.iter())
        .enumerate();
    all.filter(move |(_, (_, valid))| raw || **valid)
        .map(|(position, (subcarrier, _))| (position, *subcarrier))
}

#[cfg(test)]
mod tests;
