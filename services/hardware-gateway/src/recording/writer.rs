//! The thread that writes one recording.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bus::DataMessage;
use csi::mcap::Writer;
use csi::wire::Decoder;
use events::Name;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Recording;
use super::frames::Tally;
use crate::error::Error;
use crate::lifecycle::Devices;

/// Bytes kept free below the limit for the end of the file.
const END_BYTES: u64 = 64 * 1024;

/// What the thread is to do.
pub(super) enum Command {
    /// Write these.
    Frames(Vec<DataMessage>),
    /// End the chunk.
    Flush,
}

/// Writes what comes, until the queue is closed. Blocks.
pub(super) fn write(
    file: File,
    mut queue: mpsc::Receiver<Command>,
    progress: &watch::Sender<Recording>,
    devices: &Devices,
    max_bytes: u64,
    full: &CancellationToken,
) -> Result<(), Error> {
    let bytes = Arc::new(AtomicU64::new(0));
    let out = Counted {
        file: BufWriter::new(file),
        bytes: Arc::clone(&bytes),
    };
    let mut writer = Writer::new(out)?;
    let mut known = progress.borrow().clone();
    let facts = [
        ("recording", known.id.clone()),
        ("name", known.name.clone()),
        ("begun", known.created.to_string()),
    ];
    let labels = known
        .labels
        .iter()
        .map(|(key, value)| (format!("label.{key}"), value.clone()));
    let facts = facts.map(|(key, value)| (key.to_owned(), value));
    writer.note("recording", facts.into_iter().chain(labels).collect())?;
    writer.flush()?;

    let (mut decoder, mut tally) = (Decoder::default(), Tally::default());
    let mut hardware: HashMap<String, String> = HashMap::new();
    let mut span: Option<(i64, i64)> = None;
    let mut pending = 0_u64;
    'queue: while let Some(command) = queue.blocking_recv() {
        match command {
            Command::Flush => {
                writer.flush()?;
                pending = 0;
            }
            Command::Frames(batch) => {
                for message in batch {
                    let Ok((frame, published)) = decoder.decode(&message.payload) else {
                        known.malformed += 1;
                        continue;
                    };
                    let size = message.payload.len() as u64 + 64;
                    if bytes.load(Ordering::Relaxed) + pending + size + END_BYTES > max_bytes {
                        full.cancel();
                        break 'queue;
                    }
                    let id = hardware
                        .entry(published.device.clone())
                        .or_insert_with(|| hardware_id(devices, &published.device));
                    writer.message(&frame, &published, id, &message.payload)?;
                    pending += size;
                    tally.add(
                        &mut known.devices,
                        &published.device,
                        &published.zone,
                        &frame,
                        published.source,
                    );
                    known.frames += 1;
                    let time = frame.receive_time_us;
                    span = Some(span.map_or((time, time), |(first, _)| (first, time)));
                }
            }
        }
        known.size_bytes = bytes.load(Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss)]
        let seconds = span.map_or(0.0, |(first, last)| last.saturating_sub(first) as f64 / 1e6);
        known.duration_s = seconds;
        progress.send_replace(known.clone());
    }
    progress.send_replace(known.clone());
    let lost = known
        .devices
        .iter()
        .map(|device| (format!("lost.{}", device.device), device.lost.to_string()));
    let malformed = ("malformed".to_owned(), known.malformed.to_string());
    writer.note("gaps", lost.chain([malformed]).collect())?;
    let out = writer.finish()?;
    let file = out
        .file
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    Ok(file.sync_all()?)
}

fn hardware_id(devices: &Devices, device: &str) -> String {
    let name = Name::new(device).ok();
    let registry = devices.registry();
    name.and_then(|name| Some(registry.get(&name)?.device.hardware_id.clone()))
        .unwrap_or_default()
}

/// Counts what reaches the file.
struct Counted {
    file: BufWriter<File>,
    bytes: Arc<AtomicU64>,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
