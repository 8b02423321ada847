//! The work on one recording, away from the async threads.

use bytes::Bytes;
use csi::read::{Format, Options, Reader};

use super::Failure;
use super::checkpoint::Checkpoint;
use crate::config::Processing;
use crate::processing::engine::{Chunk, Engine, SaveError};
use crate::processing::error::chain;
use crate::processing::pace::FIRST;
use crate::processing::run::Order;
use crate::processing::stages::StateError;

/// What works on one recording; it goes to a thread for blocking work and comes back.
pub(super) struct Job {
    pub reader: Reader,
    pub engine: Engine,
    pub at: Checkpoint,
}

/// Opens the recording, and takes the checkpoint up where there is one; else, and where it cannot be, the run begins: `beginning`
/// tells this beginning from others.
pub(super) fn open(
    order: &Order,
    bytes: Bytes,
    kept: Option<Checkpoint>,
    beginning: u64,
    config: &Processing,
) -> Result<Job, Failure> {
    let format: Format = order.format.parse().unwrap_or(Format::Auto);
    let reader = || {
        let options = Options {
            rate_hz: order.rate_hz,
            max_bytes: config.max_recording_bytes,
            ..Options::default()
        };
        Reader::new(bytes.clone(), &order.recording, format, options)
            .map_err(|error| Failure::new("recording", chain(&error)))
    };
    let engine = || {
        Engine::new(&order.stages, config.max_state_bytes)
            .map_err(|misfit| Failure::new("pipeline", misfit.to_string()))
    };
    let mut recording = reader()?;
    if !recording.has_time() {
        return Err(Failure::new(
            "no_time",
            "the frames of the recording carry no time: say how many came each second (rate_hz)",
        ));
    }
    let restored = kept.and_then(|kept| {
        let mut engine = engine().ok()?;
        let restored = engine.restore(&kept.engine);
        let unreadable = |error: &StateError| {
            tracing::warn!(
                error = chain(error),
                "the state of the stages is not readable"
            );
        };
        restored.inspect_err(unreadable).ok()?;
        Some((engine, kept))
    });
    let (engine, at) = match restored {
        Some((engine, kept)) => {
            for _ in 0..kept.places {
                recording.next();
            }
            (engine, kept)
        }
        None => {
            let frames_total = reader()?.filter(Result::is_ok).count() as u64;
            if frames_total == 0 {
                return Err(Failure::new(
                    "no_frames",
                    "the recording holds no frame that can be decoded",
                ));
            }
            let at = Checkpoint {
                frames_total,
                next_chunk: FIRST,
                beginning,
                ..Checkpoint::default()
            };
            (engine()?, at)
        }
    };
    Ok(Job {
        reader: recording,
        engine,
        at,
    })
}

/// What a chunk gave.
pub(super) struct Computed {
    pub part: Option<Bytes>,
    pub frames: usize,
    pub raw_bytes: u64,
    pub bytes: u64,
    pub cut: bool,
}

pub(super) fn compute(job: &mut Job, most_bytes: u64) -> Result<Computed, SaveError> {
    let chunk = Chunk::read(&mut job.reader, job.at.next_chunk, most_bytes);
    let frames = chunk.frames.len();
    let (raw_bytes, bytes, cut) = (chunk.raw_bytes, chunk.bytes, chunk.cut);
    let at = &mut job.at;
    at.places += frames as u64 + chunk.malformed;
    at.frames += frames as u64;
    at.malformed += chunk.malformed;
    at.raw_bytes += raw_bytes;
    at.over = chunk.last;
    at.simulated |= chunk.frames.iter().any(|(_, frame)| frame.simulated);
    let table = job.engine.push(chunk)?;
    let part = (table.rows() > 0).then(|| postcard::to_allocvec(&table));
    let part = part.transpose().map_err(StateError::from)?;
    job.at.engine = job.engine.save()?;
    Ok(Computed {
        part: part.map(Bytes::from),
        frames,
        raw_bytes,
        bytes,
        cut,
    })
}

/// Runs blocking work away from the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::new("panic", format!("the work on a chunk met a fault: {error}")))
}
