//! How a recording ends: what the disk took of it is stored and said, also where that has to wait.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use csi::read::Format;
use runtime::Run;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Code;

use super::super::{Recording, State};
use super::{CANCELLED, Recorders};
use crate::error::{Error, chain};

/// For so long a recording that has ended is tried to be stored,
const STORING: Duration = Duration::from_secs(10 * 60);
/// with such pauses.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

impl Recorders {
    /// The disk took no more (it is full): what it did take is a recording, too, and no more than that is claimed.
    pub(super) async fn broken_off(
        &self,
        recording: &mut Recording,
        path: &Path,
        error: Error,
    ) -> Result<(), Error> {
        recording.ended_by = chain(&error);
        recording.state = State::Interrupted;
        let file = File::open(path).map_err(|source| Error::disk("open", path, source))?;
        let scan = self.library.scan(file, &recording.name, Format::Mcap).await;
        match scan {
            Ok(scan) if scan.devices.iter().any(|device| device.frames > 0) => {
                recording.describe(scan);
                Ok(())
            }
            _ => {
                (recording.frames, recording.duration_s) = (0, 0.0);
                recording.devices.clear();
                Err(error)
            }
        }
    }

    /// Stores a recording that has ended. Where the bus or the disk does not take it, it is tried again; what is waited for
    /// is shown meanwhile.
    pub(super) async fn store(
        &self,
        recording: &mut Recording,
        path: &Path,
        progress: &watch::Sender<Recording>,
    ) -> Result<(), Error> {
        let began = Instant::now();
        let ended_by = recording.ended_by.clone();
        progress.send_modify(|shown| shown.ended_by.clone_from(&ended_by));
        loop {
            let Err(error) = self.library.store(recording, path).await else {
                return Ok(());
            };
            if !passes(&error) || began.elapsed() > STORING || self.drain.is_cancelled() {
                return Err(error);
            }
            let waits = format!("{ended_by}; not stored yet: {}", chain(&error));
            tracing::warn!(recording = recording.id, "{waits}");
            progress.send_modify(|shown| shown.ended_by = waits);
            tokio::select! {
                () = self.drain.cancelled() => {}
                () = tokio::time::sleep(AGAIN_AFTER) => {}
            }
        }
    }

    /// Keeps how a recording ended, as soon as that can be kept: otherwise it would be being made for ever.
    pub(super) async fn keep(&self, recording: &Recording) {
        while let Err(error) = self.library.keep(recording).await {
            tracing::warn!(
                recording = recording.id,
                error = chain(&error),
                "the end of a recording could not be stored"
            );
            if self.drain.is_cancelled() {
                return;
            }
        }
    }
}

/// Whether it may be another time: the bus is away, or a disk is full.
pub(super) fn passes(error: &Error) -> bool {
    matches!(error, Error::Bus(_) | Error::Disk { .. })
}

/// Ends the operation as the recording ended.
pub(super) async fn tell(run: Run, recording: &Recording) {
    let (id, frames, why) = (&recording.id, recording.frames, &recording.ended_by);
    let kept = format!("{frames} frames up to then are stored as recording {id}");
    match recording.state {
        State::Completed if why == CANCELLED => {
            let message = format!("the operation was cancelled; {kept}");
            run.fail(Code::Cancelled, CANCELLED, message).await;
        }
        State::Completed | State::Recording => {
            run.complete(json!({
                "recording": id,
                "frames": frames,
                "size_bytes": recording.size_bytes,
                "sha256": recording.sha256,
                "duration_seconds": recording.duration_s,
                "ended_by": why,
            }))
            .await;
        }
        State::Interrupted => {
            run.fail(Code::Aborted, "interrupted", format!("{why}; {kept}"))
                .await;
        }
        State::Failed => run.fail(Code::Internal, "not_stored", why).await,
    }
}
