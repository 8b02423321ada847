//! `fresnel analyze`: motion in a recording, window by window, by the code of the signal service. Needs nothing but the file.

mod combine;
mod show;

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use csi::Frame;
use csi::read::{Format, Options, Reader};
use csi::wire::Published;
use events::DataSource;
use signal::{Input, Output, Pipeline, Settings, What};
use uuid::Uuid;

use crate::decode::{Places, is_broken_pipe, read_file};
use combine::{Combined, combine};
use show::{Lines, Summary};

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The recording; `-` reads standard input. It may be compressed with gzip.
    file: PathBuf,
    /// Its format: auto, adr018, pcap, nexmon-pcap, esp32-csv, espectre-npz, ialr-csv, ruview-jsonl, mcap.
    #[arg(long, default_value_t)]
    format: Format,
    /// One JSON object for each window, on a line of its own, then one for the whole.
    #[arg(long)]
    json: bool,
    /// Frames per second of a recording without time stamps.
    #[arg(long, value_name = "HZ")]
    rate: Option<f64>,
    /// Only the frames of this ADR-018 node.
    #[arg(long, value_name = "NUMBER")]
    node: Option<u8>,
    /// Length of a window in seconds, a multiple of half a second.
    #[arg(long, value_name = "SECONDS", default_value_t = Settings::default().window_s)]
    window: f64,
    /// Motion statistic from which a window is motion.
    #[arg(long, value_name = "STATISTIC", default_value_t = Settings::default().threshold)]
    threshold: f64,
    /// With --json: the activity features of each window.
    #[arg(long, requires = "json")]
    features: bool,
}

/// Runs the command: succeeds where at least one frame could be decoded.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let defaults = Settings::default();
    let settings = Settings {
        window_s: args.window,
        threshold: args.threshold,
        release: defaults.release * args.threshold / defaults.threshold,
        max_gap_s: defaults.max_gap_s.min(args.window),
        ..defaults
    };
    settings.validate().map_err(anyhow::Error::msg)?;
    let name = args.file.display().to_string();
    let options = Options {
        rate_hz: args.rate,
        node: args.node,
        ..Options::default()
    };
    let reader = Reader::new(read_file(&args.file)?, &name, args.format, options)?;
    if !reader.has_time() {
        bail!("{name} has no time stamps: say how many frames came each second with --rate");
    }
    let mut places = Places::new(name);
    let mut lines = Lines::new(
        BufWriter::new(io::stdout().lock()),
        args.json,
        args.features,
    );
    match analyse(reader, settings, &mut places, &mut lines) {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
        Ok(frames) => {
            places.finish();
            Ok(if frames > 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}

fn analyse<W: Write>(
    mut reader: Reader,
    settings: Settings,
    places: &mut Places,
    lines: &mut Lines<W>,
) -> io::Result<u64> {
    let mut summary = Summary::new(&settings);
    let mut feed = Feed::new(settings);
    let mut windows = Vec::new();
    while let Some(next) = reader.next() {
        match next {
            Ok(frame) => {
                summary.frame(feed.seconds(&frame));
                feed.push(frame, reader.node(), &mut windows);
            }
            Err(place) => places.add(&place),
        }
        for window in windows.drain(..) {
            summary.window(&window);
            lines.window(&window)?;
        }
    }
    feed.finish(&mut windows);
    for window in windows.drain(..) {
        summary.window(&window);
        lines.window(&window)?;
    }
    lines.summary(&summary, places.count())?;
    Ok(summary.frames())
}

/// Feeds the pipeline as the gateway does, one device for each node; time begins with the first frame at 0.
struct Feed {
    pipeline: Pipeline,
    begin_us: Option<i64>,
    index: u64,
    /// The latest frame of each device: it is held back until one knows whether it is the last.
    held: BTreeMap<String, Input>,
}

impl Feed {
    fn new(settings: Settings) -> Self {
        Self {
            pipeline: Pipeline::new(settings, "fresnel/analyze"),
            begin_us: None,
            index: 0,
            held: BTreeMap::new(),
        }
    }

    /// Seconds from the first frame.
    #[allow(clippy::cast_precision_loss)]
    fn seconds(&mut self, frame: &Frame) -> f64 {
        let begin = *self.begin_us.get_or_insert(frame.receive_time_us);
        frame.receive_time_us.saturating_sub(begin) as f64 / 1e6
    }

    fn push(&mut self, mut frame: Frame, node: Option<u8>, windows: &mut Vec<Combined>) {
        let begin = *self.begin_us.get_or_insert(frame.receive_time_us);
        frame.receive_time_us = frame.receive_time_us.saturating_sub(begin);
        self.index += 1;
        let device = node.map_or_else(|| "recording".to_owned(), |node| format!("node-{node}"));
        let input = Input {
            stream_sequence: self.index,
            published: Published {
                frame_id: Uuid::from_u64_pair(0, self.index),
                device: device.clone(),
                zone: "recording".to_owned(),
                source: if frame.simulated {
                    DataSource::Simulated
                } else {
                    DataSource::Replay
                },
                run_id: None,
                announced: false,
                sampled_one_in: 0,
                ingest_time_us: 0,
                last_of_run: false,
            },
            frame,
            trace: None,
        };
        if let Some(before) = self.held.insert(device, input) {
            combine(&self.pipeline.push(&before), windows);
        }
    }

    fn finish(&mut self, windows: &mut Vec<Combined>) {
        for (_, mut input) in std::mem::take(&mut self.held) {
            input.published.last_of_run = true;
            combine(&self.pipeline.push(&input), windows);
        }
    }
}

/// The windows among outputs.
fn windows_of(outputs: &[Output]) -> impl Iterator<Item = &proto::signal::v1::SignalWindow> {
    outputs.iter().filter_map(|output| match &output.what {
        What::Window(window) => Some(window.as_ref()),
        What::Event(_) | What::Zone { .. } => None,
    })
}

#[cfg(test)]
mod tests;
