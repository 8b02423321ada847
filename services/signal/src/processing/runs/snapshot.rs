//! A run as it stands, for those who watch it, and what is wished of it.

use bus::Version;
use tokio::sync::watch;

use crate::processing::run::Run;

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// It holds a place among those that work.
    pub working: bool,
    /// Frames of the recording, once they are counted.
    pub frames_total: Option<u64>,
    /// Frames that went through all stages.
    pub frames: u64,
    /// Places of the recording that are no frame.
    pub errors: u64,
    /// Chunks.
    pub chunks: u64,
    /// Over the latest chunks.
    pub frames_per_second: Option<f64>,
    /// Seconds of work left at that rate.
    pub eta_seconds: Option<f64>,
    /// Seconds of work so far.
    pub seconds: f64,
}

/// A run as it stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The aggregate.
    pub run: Run,
    /// How far it is.
    pub progress: Progress,
}

/// What a user wants of a run that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That it goes on.
    Go,
    /// That it stands still.
    Pause,
    /// That it ends, for this reason.
    Cancel(String),
}

pub(super) struct Entry {
    pub version: Version,
    pub now: watch::Sender<Snapshot>,
    pub wish: watch::Sender<Wish>,
}

impl Entry {
    pub fn new(run: Run, version: Version) -> Self {
        let mut progress = Progress::default();
        if let Some(metrics) = &run.metrics {
            progress.frames = metrics.frames_processed;
            progress.chunks = metrics.chunks_processed;
            progress.errors = metrics.errors;
            progress.seconds = metrics.duration_ms as f64 / 1e3;
        }
        Entry {
            version,
            now: watch::channel(Snapshot { run, progress }).0,
            wish: watch::channel(Wish::Go).0,
        }
    }
}
