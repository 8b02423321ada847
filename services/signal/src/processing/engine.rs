//! A checked list of stages over a recording, chunk by chunk, with checkpoints.
//!
//! What comes out does not depend on where chunks end, nor on whether the engine was saved and restored between them.

use std::time::{Duration, Instant};

use csi::Frame;
use csi::read::{Malformed, Reader};
use serde::{Deserialize, Serialize};

use super::batch::{Batch, Links, Tracked};
use super::stage::{Kind, Misfit, Stage, check};
use super::stages::{self, StageError, StateError, Work};
use super::table::Table;

/// What one stage did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Time that it worked, microseconds.
    pub time_us: u64,
    /// Bytes of the numbers that it was given.
    pub bytes: u64,
    /// It was given something.
    pub started: bool,
}

/// The frames of one chunk.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Frames, each with its node.
    pub frames: Vec<(Option<u8>, Frame)>,
    /// Places among them that are no frame.
    pub malformed: u64,
    /// Bytes as the hardware sent them.
    pub raw_bytes: u64,
    /// Bytes of the samples in memory.
    pub bytes: u64,
    /// The limit on memory ended it before it had the frames asked for.
    pub cut: bool,
    /// The recording is over.
    pub last: bool,
}

impl Chunk {
    /// Takes up to `frames` frames from the reader, and no more once the samples take `most_bytes`.
    pub fn read(reader: &mut Reader, frames: usize, most_bytes: u64) -> Self {
        let mut chunk = Self::default();
        while chunk.frames.len() < frames {
            match reader.next() {
                None => {
                    chunk.last = true;
                    break;
                }
                Some(Err(Malformed { .. })) => chunk.malformed += 1,
                Some(Ok(frame)) => {
                    chunk.raw_bytes += u64::from(frame.raw_size);
                    chunk.bytes += (size_of::<Frame>()
                        + frame.samples.len() * size_of::<num_complex::Complex32>())
                        as u64;
                    chunk.frames.push((reader.node(), frame));
                    if chunk.bytes >= most_bytes && chunk.frames.len() < frames {
                        chunk.cut = true;
                        break;
                    }
                }
            }
        }
        chunk
    }
}

/// A stage gave up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stage {name:?}: {error}")]
pub struct Failed {
    /// Place of the stage in the list, from 0.
    pub stage: usize,
    /// Its name.
    pub name: String,
    /// Why.
    pub error: StageError,
}

/// The stages at work.
pub struct Engine {
    stages: Vec<Stage>,
    work: Vec<Box<dyn Work>>,
    links: Links,
    done: Vec<Done>,
    gives: Kind,
    max_state_bytes: u64,
}

/// Form of what is kept: another one is not read, and the run begins anew. No number of links is as high, which is what kept
/// states without a form begin with.
const FORMAT: u16 = 0x5302;

/// What is kept of an engine.
#[derive(Serialize, Deserialize)]
struct Saved {
    format: u16,
    links: Links,
    done: Vec<Done>,
    states: Vec<Vec<u8>>,
}

impl Engine {
    /// An engine of these stages. What a stage keeps between chunks may take `max_state_bytes`.
    ///
    /// # Errors
    /// Where the stages do not fit.
    pub fn new(stages: &[Stage], max_state_bytes: u64) -> Result<Self, Misfit> {
        let gives = check(stages)?;
        Ok(Self {
            work: stages::build(stages),
            links: Links::default(),
            done: vec![Done::default(); stages.len()],
            stages: stages.to_vec(),
            gives,
            max_state_bytes,
        })
    }

    /// Runs a chunk through all stages. Its rows of the output.
    ///
    /// # Errors
    /// The stage that gave up.
    pub fn push(&mut self, chunk: Chunk) -> Result<Table, Failed> {
        if chunk.malformed > 0 {
            for place in 0..self.work.len() {
                self.at(place, |work, _| work.malformed(chunk.malformed))?;
            }
        }
        let frames = chunk.frames.into_iter().map(|(node, frame)| Tracked {
            frame,
            node,
            place: None,
        });
        let batch = self.through(0, Batch::Frames(frames.collect()))?;
        Ok(Table::of(&batch, &self.links, self.gives, &self.stages))
    }

    /// The recording is over: what the stages held back.
    ///
    /// # Errors
    /// The stage that gave up.
    pub fn finish(&mut self) -> Result<Table, Failed> {
        let mut table = Table::empty(self.gives, &self.stages);
        for place in 0..self.work.len() {
            let rest = self.at(place, |work, links| work.finish(links))?;
            if let Some(rest) = rest {
                let batch = self.through(place + 1, rest)?;
                table.append(Table::of(&batch, &self.links, self.gives, &self.stages));
            }
        }
        Ok(table)
    }

    /// A table without rows: the columns of the output.
    #[must_use]
    pub fn columns(&self) -> Table {
        Table::empty(self.gives, &self.stages)
    }

    /// What each stage did so far.
    #[must_use]
    pub fn done(&self) -> &[Done] {
        &self.done
    }

    /// What is to be kept.
    ///
    /// # Errors
    /// A stage that holds more than it may: it gives up.
    pub fn save(&self) -> Result<Vec<u8>, SaveError> {
        let mut states = Vec::with_capacity(self.work.len());
        for (place, work) in self.work.iter().enumerate() {
            let state = work.save()?;
            let bytes = state.len() as u64;
            if bytes > self.max_state_bytes {
                let limit = self.max_state_bytes;
                return Err(SaveError::Failed(
                    self.failed(place, StageError::Memory { bytes, limit }),
                ));
            }
            states.push(state);
        }
        let saved = Saved {
            format: FORMAT,
            links: self.links.clone(),
            done: self.done.clone(),
            states,
        };
        Ok(postcard::to_allocvec(&saved).map_err(StateError::from)?)
    }

    /// Takes up what was kept.
    ///
    /// # Errors
    /// Where it is not what `save` of an engine with the same stages gave.
    pub fn restore(&mut self, saved: &[u8]) -> Result<(), StateError> {
        let saved: Saved = postcard::from_bytes(saved)?;
        if saved.format != FORMAT
            || saved.states.len() != self.work.len()
            || saved.done.len() != self.done.len()
        {
            return Err(StateError::from(postcard::Error::DeserializeBadEncoding));
        }
        self.links = saved.links;
        self.done = saved.done;
        for (work, state) in self.work.iter_mut().zip(&saved.states) {
            work.restore(state, &self.links)?;
        }
        Ok(())
    }

    fn through(&mut self, from: usize, mut batch: Batch) -> Result<Batch, Failed> {
        for place in from..self.work.len() {
            if let Some(done) = self.done.get_mut(place) {
                done.bytes += batch.bytes();
                done.started = true;
            }
            batch = self.at(place, |work, links| work.push(batch, links))?;
        }
        Ok(batch)
    }

    fn at<T>(
        &mut self,
        place: usize,
        act: impl FnOnce(&mut dyn Work, &mut Links) -> Result<T, StageError>,
    ) -> Result<T, Failed> {
        let began = Instant::now();
        let outcome = match self.work.get_mut(place) {
            Some(work) => act(work.as_mut(), &mut self.links),
            None => Err(StageError::Input),
        };
        if let Some(done) = self.done.get_mut(place) {
            done.time_us += micros(began.elapsed());
        }
        outcome.map_err(|error| self.failed(place, error))
    }

    fn failed(&self, stage: usize, error: StageError) -> Failed {
        let name = self.stages.get(stage).map(|stage| stage.name.clone());
        Failed {
            stage,
            name: name.unwrap_or_default(),
            error,
        }
    }
}

/// Why an engine cannot be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// A stage holds more than it may.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// A state that cannot be written.
    #[error(transparent)]
    State(#[from] StateError),
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
