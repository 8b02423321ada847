//! Readers of the data plane that survive a crash.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::connect::Core;
use crate::kv::Kv;
use crate::ordered::{Ordered, Read};
use crate::{DataMessage, Error, From, subject, table, trace};

/// A checkpoint is written at most so often.
const WRITE_EVERY: Duration = Duration::from_millis(100);

/// An ordered reader of the data plane whose position is kept in KV (`checkpoints`), so that after a crash it starts again
/// at the first message that its windows still need. What follows from the messages must have ids derived from them: the
/// repeated outputs are then stored once.
///
/// Sequences rise, until the stream is made anew (memory streams end with their server): then the reader goes on at the new
/// stream's start, [`restarts`](Self::restarts) rises, and sequences begin anew.
pub struct Tail {
    reader: Ordered,
    checkpoint: watch::Sender<Checkpoint>,
    stop: CancellationToken,
    writer: JoinHandle<Result<(), Error>>,
}

/// What is kept. `created` tells the stream from an earlier one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Checkpoint {
    created: i64,
    sequence: u64,
}

impl Tail {
    pub(crate) async fn open(core: &Core, name: &str, filters: &[String]) -> Result<Self, Error> {
        let (stream, selection) = subject::select_one(filters)?;
        let bucket = Kv::open(core, table::CHECKPOINTS).await?;
        let kept = match bucket.get(name).await? {
            Some((value, _)) => serde_json::from_slice::<Checkpoint>(&value)
                .inspect_err(|error| warn!(name, %error, "checkpoint is not readable: the stream is read from its start"))
                .ok(),
            None => None,
        };
        let state = core
            .persist(&format!("read {stream}"), |_| Box::pin(core.info(stream)))
            .await?;
        let from = match kept {
            Some(kept) if kept.created == state.created => From::After(kept.sequence),
            Some(_) => {
                info!(
                    name,
                    stream, "stream is not that of the checkpoint: it is read from its start"
                );
                From::Start
            }
            None => From::Start,
        };
        let reader = Ordered::open(core, stream, selection, from).await?;
        let start = Checkpoint {
            created: reader.created(),
            sequence: reader.position(),
        };
        let (checkpoint, receiver) = watch::channel(start);
        let stop = CancellationToken::new();
        let writer = tokio::spawn(write(bucket, name.to_owned(), receiver, stop.clone()));
        Ok(Self {
            reader,
            checkpoint,
            stop,
            writer,
        })
    }

    /// The next messages in order, at least one, at most `max`: waits for the first, and takes what else is here already.
    /// Waits for ever, restarts of the server included. Cancel-safe.
    ///
    /// # Errors
    /// None at present.
    pub async fn next_batch(&mut self, max: usize) -> Result<Vec<DataMessage>, Error> {
        let first = self.reader.next().await;
        let restarts = self.reader.restarts();
        let mut batch = Vec::with_capacity(max.clamp(1, 64));
        batch.push(message(first));
        while batch.len() < max && self.reader.restarts() == restarts {
            match self.reader.ready() {
                Some(read) => batch.push(message(read)),
                None => break,
            }
        }
        Ok(batch)
    }

    /// Everything up to and including `sequence` is no longer needed. Written in the background at most every 100 ms, and on
    /// `close`. A sequence beyond what was given out, or before an earlier checkpoint, is passed over.
    ///
    /// # Errors
    /// None at present: a checkpoint that cannot be written is logged, and a crash then repeats a little more.
    #[allow(clippy::unused_async)]
    pub async fn checkpoint(&mut self, sequence: u64) -> Result<(), Error> {
        let created = self.reader.created();
        let given_out = self.reader.position();
        self.checkpoint.send_if_modified(|kept| {
            let rises = kept.created != created || kept.sequence < sequence;
            if rises && sequence <= given_out {
                *kept = Checkpoint { created, sequence };
                return true;
            }
            false
        });
        Ok(())
    }

    /// Messages in the stream behind the last one given out, as the server last said.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.reader.pending()
    }

    /// How often the stream was made anew while this reader read it: sequences begin anew then.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.reader.restarts()
    }

    /// When the stream was made, as the server says: tells it from an earlier or later one of the same name.
    #[must_use]
    pub fn created(&self) -> i64 {
        self.reader.created()
    }

    /// Writes the checkpoint and closes.
    ///
    /// # Errors
    /// Where the checkpoint could not be written.
    pub async fn close(self) -> Result<(), Error> {
        self.stop.cancel();
        match self.writer.await {
            Ok(written) => written,
            Err(_) => Err(Error::Closed {
                what: "checkpoint writer".to_owned(),
            }),
        }
    }
}

pub(crate) fn message(read: Read) -> DataMessage {
    DataMessage {
        traceparent: trace::traceparent(read.message.headers.as_ref()),
        subject: read.message.subject.to_string(),
        sequence: read.sequence,
        payload: read.message.payload,
    }
}

/// Writes what changed, until `stop`, or until the reader is dropped: what was not written then is read again.
async fn write(
    bucket: Kv,
    name: String,
    mut checkpoint: watch::Receiver<Checkpoint>,
    stop: CancellationToken,
) -> Result<(), Error> {
    loop {
        let stopping = tokio::select! {
            () = stop.cancelled() => true,
            changed = checkpoint.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                false
            }
        };
        let value = *checkpoint.borrow_and_update();
        let text = serde_json::to_vec(&value).map_err(|error| Error::Encode {
            what: format!("checkpoint {name}"),
            reason: error.to_string(),
        })?;
        let written = bucket.put(&name, Bytes::from(text)).await;
        if stopping {
            return written.map(|_| ());
        }
        if let Err(error) = written {
            warn!(name, %error, "checkpoint was not written");
        }
        tokio::select! {
            () = tokio::time::sleep(WRITE_EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}
