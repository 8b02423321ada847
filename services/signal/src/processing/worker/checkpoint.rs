//! What is kept of a run behind each chunk, and the objects of a run.
//!
//! A checkpoint begins with the version of its form. One of another version, or that cannot be read, is not taken up: the run
//! begins again, and gives the same output.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::processing::pace::Rate;
use crate::processing::runs::Runs;

/// What a checkpoint begins with, before the version.
const MARK: &[u8; 8] = b"FRESNELC";
/// Version of the form of checkpoints, the states of all stages included. To be raised when any of them changes.
pub const FORM: u16 = 3;

/// Name of a run's output.
#[must_use]
pub fn output_name(id: Uuid) -> String {
    format!("{id}.parquet")
}

/// Name of a run's checkpoint.
#[must_use]
pub fn checkpoint_name(id: Uuid) -> String {
    format!("{id}.checkpoint")
}

pub(super) fn part_name(id: Uuid, number: u64) -> String {
    format!("{id}.part-{number}")
}

/// What is kept of a run behind each chunk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// Places of the recording, frames or not, that were read.
    pub places: u64,
    pub frames_total: u64,
    pub frames: u64,
    pub malformed: u64,
    pub raw_bytes: u64,
    pub chunks: u64,
    pub parts: u64,
    pub output_bytes: u64,
    pub work_us: u64,
    pub next_chunk: usize,
    /// The last chunk went through; what stages held back may still be due.
    pub over: bool,
    /// Which beginning this is: 0 for the first; a run whose checkpoint could not be taken up begins again.
    pub beginning: u64,
    pub simulated: bool,
    pub rate: Rate,
    pub engine: Vec<u8>,
}

impl Checkpoint {
    /// As it is stored.
    pub fn write(&self) -> Result<Bytes, postcard::Error> {
        let mut stored = MARK.to_vec();
        stored.extend(FORM.to_le_bytes());
        Ok(Bytes::from(postcard::to_extend(self, stored)?))
    }

    /// Reads what `write` of this version gave; none where it is anything else.
    pub fn read(stored: &[u8]) -> Option<Self> {
        let form = stored.strip_prefix(MARK.as_slice())?;
        let rest = form.strip_prefix(FORM.to_le_bytes().as_slice())?;
        postcard::from_bytes(rest).ok()
    }
}

/// Whether there is a checkpoint of a run that can be taken up.
pub(in crate::processing) async fn usable(runs: &Runs, id: Uuid) -> Result<bool, bus::Error> {
    let kept = runs.outputs.get(&checkpoint_name(id)).await?;
    Ok(kept.is_some_and(|kept| Checkpoint::read(&kept).is_some()))
}

/// Removes the parts of the output that a run has made.
pub(super) async fn discard_parts(runs: &Runs, id: Uuid) -> Result<(), bus::Error> {
    let mut number = 0;
    while runs.outputs.size(&part_name(id, number)).await?.is_some() {
        runs.outputs.delete(&part_name(id, number)).await?;
        number += 1;
    }
    Ok(())
}

/// Removes the checkpoint and the parts of a run that is over.
pub(in crate::processing) async fn discard(runs: &Runs, id: Uuid) {
    let removed = async {
        discard_parts(runs, id).await?;
        runs.outputs.delete(&checkpoint_name(id)).await
    };
    if let Err(error) = removed.await {
        tracing::warn!(processing = %id, %error, "what a run no longer needs could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_version_is_read() {
        let kept = Checkpoint {
            places: 7,
            engine: vec![1, 2, 3],
            ..Checkpoint::default()
        };
        let stored = kept.write().unwrap();
        let read = Checkpoint::read(&stored).unwrap();
        assert_eq!((read.places, read.engine), (7, vec![1, 2, 3]));
        // Of the next version, without one (as the first ones were), cut off, and nothing.
        let mut next = stored.to_vec();
        next[8] += 1;
        let before = postcard::to_allocvec(&(1_u16, kept)).unwrap();
        for other in [&next[..], &before, &stored[..stored.len() - 2], &[]] {
            assert!(Checkpoint::read(other).is_none());
        }
    }
}
