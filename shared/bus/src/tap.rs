//! Reading the data plane from now on, without a checkpoint.

use crate::connect::Core;
use crate::ordered::Ordered;
use crate::tail::message;
use crate::{DataMessage, Error, From, subject};

/// A reader of the data plane that begins now and keeps nothing.
///
/// It asks for messages as they are taken: who reads slowly falls behind, and loses what the stream drops in the meantime.
pub struct Tap {
    reader: Ordered,
}

impl Tap {
    pub(crate) async fn open(core: &Core, filters: &[String]) -> Result<Self, Error> {
        let (stream, selection) = subject::select_one(filters)?;
        let reader = Ordered::open(core, stream, selection, From::New).await?;
        Ok(Self { reader })
    }

    /// The next messages in order, at least one, at most `max`. Waits for ever, restarts of the server included. Cancel-safe.
    pub async fn next_batch(&mut self, max: usize) -> Vec<DataMessage> {
        let mut batch = vec![message(self.reader.next().await)];
        while batch.len() < max {
            match self.reader.ready() {
                Some(read) => batch.push(message(read)),
                None => break,
            }
        }
        batch
    }

    /// How often the stream was made anew while this reader read it.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.reader.restarts()
    }
}
