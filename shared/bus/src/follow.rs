//! Live readers of events over several streams, resumable by an offset.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;

use crate::connect::Core;
use crate::direct::decode;
use crate::ordered::Ordered;
use crate::{Delivery, Error, From, subject, table};

/// Events read ahead per follower.
const AHEAD: usize = 256;

/// A live, ordered, resumable reader of events.
///
/// The events of one stream come in the order of the stream; between streams there is none. A payload that is no envelope is
/// passed over with a warning.
pub struct Follow {
    events: mpsc::Receiver<Delivery>,
    offsets: BTreeMap<String, u64>,
    /// Aborted with the follower.
    _readers: JoinSet<()>,
}

impl Follow {
    pub(crate) async fn open(core: &Core, filters: &[String], from: From) -> Result<Self, Error> {
        let selected = subject::select(filters)?;
        if matches!(from, From::After(_)) && selected.len() > 1 {
            return Err(Error::Filter {
                filter: filters.join(","),
                reason: "spans several streams, whose sequences are their own: resume by offset"
                    .to_owned(),
            });
        }
        Self::open_each(core, selected, |_| from).await
    }

    pub(crate) async fn resume(
        core: &Core,
        filters: &[String],
        offset: &str,
    ) -> Result<Self, Error> {
        let offsets = parse_offset(offset)?;
        // A stream that the offset does not know was not followed then: it begins now.
        let from = |stream: &str| {
            offsets
                .get(stream)
                .map_or(From::New, |&sequence| From::After(sequence))
        };
        Self::open_each(core, subject::select(filters)?, from).await
    }

    async fn open_each(
        core: &Core,
        selected: BTreeMap<&'static str, subject::Selection>,
        from: impl Fn(&str) -> From,
    ) -> Result<Self, Error> {
        if selected.is_empty() {
            return Err(Error::Filter {
                filter: String::new(),
                reason: "there is no filter".to_owned(),
            });
        }
        let (sender, events) = mpsc::channel(AHEAD);
        let opening =
            selected.into_iter().map(|(stream, selection)| {
                let from = from(stream);
                async move {
                    Ok::<_, Error>((stream, Ordered::open(core, stream, selection, from).await?))
                }
            });
        let mut readers = JoinSet::new();
        let mut offsets = BTreeMap::new();
        for (stream, reader) in futures::future::try_join_all(opening).await? {
            offsets.insert(stream.to_owned(), reader.position());
            readers.spawn(read(stream, reader, sender.clone()));
        }
        Ok(Self {
            events,
            offsets,
            _readers: readers,
        })
    }

    /// The next event; waits for ever, restarts of the server included. Cancel-safe.
    ///
    /// # Errors
    /// Where the readers have ended, which happens only with the runtime.
    pub async fn next(&mut self) -> Result<Delivery, Error> {
        let Some(delivery) = self.events.recv().await else {
            return Err(Error::Closed {
                what: "follower".to_owned(),
            });
        };
        self.offsets
            .insert(delivery.stream.clone(), delivery.stream_sequence);
        Ok(delivery)
    }

    /// Where this follower stands, behind the last event that `next` gave: `ALERTING:45,POSE:123`. Opaque to clients; to be
    /// given to [`Bus::follow_from_offset`](crate::Bus::follow_from_offset).
    #[must_use]
    pub fn offset(&self) -> String {
        let parts: Vec<String> = self
            .offsets
            .iter()
            .map(|(stream, sequence)| format!("{stream}:{sequence}"))
            .collect();
        parts.join(",")
    }
}

async fn read(stream: &'static str, mut reader: Ordered, events: mpsc::Sender<Delivery>) {
    loop {
        let read = reader.next().await;
        let event = match decode(
            stream,
            &read.message.subject,
            read.sequence,
            &read.message.payload,
        ) {
            Ok(event) => event,
            Err(error) => {
                warn!(%error, "passed over");
                continue;
            }
        };
        let delivery = Delivery {
            subject: read.message.subject.to_string(),
            stream: stream.to_owned(),
            stream_sequence: read.sequence,
            attempt: 1,
            stored_us: read.stored_us,
            event,
        };
        if events.send(delivery).await.is_err() {
            return;
        }
    }
}

fn parse_offset(offset: &str) -> Result<BTreeMap<String, u64>, Error> {
    let fault = |reason: String| Error::Offset {
        offset: offset.chars().take(200).collect(),
        reason,
    };
    let mut offsets = BTreeMap::new();
    for part in offset.split(',') {
        let Some((stream, sequence)) = part.split_once(':') else {
            return Err(fault(format!("{part:?} is not STREAM:SEQUENCE")));
        };
        if table::stream(stream).is_none() {
            return Err(fault(format!("there is no stream {stream:?}")));
        }
        let sequence = sequence
            .parse()
            .map_err(|_| fault(format!("{sequence:?} is not a sequence")))?;
        if offsets.insert(stream.to_owned(), sequence).is_some() {
            return Err(fault(format!("{stream} is named twice")));
        }
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_offsets_are_refused_with_the_reason() {
        let check = |offset: &str, expected: &str| {
            let error = parse_offset(offset).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("", "is not STREAM:SEQUENCE");
        check("POSE", "is not STREAM:SEQUENCE");
        check("POSE:x", "is not a sequence");
        check("POSE:-1", "is not a sequence");
        check("NOWHERE:1", "no stream");
        check("POSE:1,POSE:2", "named twice");
        check("POSE:99999999999999999999", "is not a sequence");
        assert_eq!(parse_offset("ALERTING:45,POSE:0").unwrap().len(), 2);
    }
}
