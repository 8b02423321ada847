//! The event store: a stream is the log, `{context}.*.{key}` are the events of one aggregate.
//!
//! Events that are not sourced (`hardware.device_error`, say) lie on the same filter. They move the stream's sequence, not
//! the aggregate's version; an append that meets only such events is done again behind them, unseen by the caller.

use std::ops::ControlFlow;

use bytes::Bytes;
use events::EventEnvelope;
use futures::FutureExt as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::batch::{BatchAnswer, Expected, describe, same_stream};
use crate::connect::Core;
use crate::direct::{Begin, Stored, decode};
use crate::publish::{Answer, Outgoing};
use crate::{Aggregate, AppendError, Bus, Error, EventSourced, Version, table};

/// Rounds of an append behind events that are not sourced.
const MAX_ROUNDS: usize = 32;

/// An event of an aggregate, and its sequence in the stream.
struct Past {
    sequence: u64,
    event: EventEnvelope,
}

impl Core {
    pub(crate) async fn append(
        &self,
        aggregate: &Aggregate,
        expected: Version,
        mut events: Vec<EventEnvelope>,
    ) -> Result<Version, AppendError> {
        let (filter, stream) = aggregate.locate()?;
        for (number, event) in (expected.number + 1..).zip(&mut events) {
            event.sequence_number = number;
            let context = event.event_type.split('.').next().unwrap_or_default();
            if context != aggregate.context || event.key != aggregate.key {
                let reason = format!("is no event of the aggregate {filter}");
                return Err(Error::Subject {
                    subject: format!("{}.{}", event.event_type, event.key),
                    reason,
                }
                .into());
            }
        }
        let messages = events
            .iter()
            .map(Outgoing::event)
            .collect::<Result<Vec<_>, _>>()?;
        let number = expected.number + messages.len() as u64;
        if messages.is_empty() {
            return Ok(expected);
        }
        same_stream(&messages)?;
        let mut sequence = expected.stream_sequence;
        for _ in 0..MAX_ROUNDS {
            if let Some(stream_sequence) = self
                .append_at(
                    &messages,
                    Expected {
                        filter: &filter,
                        sequence,
                    },
                )
                .await?
            {
                return Ok(Version {
                    number,
                    stream_sequence,
                });
            }
            // Somebody was faster; or an earlier attempt of ours was, and its answer was lost.
            let later = self
                .past(stream.name, &filter, expected.stream_sequence)
                .await?;
            if let Some(stream_sequence) = stored_already(&later, &events) {
                return Ok(Version {
                    number,
                    stream_sequence,
                });
            }
            let newest = later.last().map_or(0, |past| past.sequence);
            if newest == sequence || later.iter().any(|past| past.event.sequence_number > 0) {
                break;
            }
            sequence = newest;
        }
        Err(AppendError::Conflict {
            context: aggregate.context.clone(),
            key: aggregate.key.clone(),
            expected: expected.number,
        })
    }

    /// The stream's sequence of the last message, or nothing where the filter was not at the sequence expected.
    async fn append_at(
        &self,
        messages: &[Outgoing],
        expected: Expected<'_>,
    ) -> Result<Option<u64>, Error> {
        if let [only] = messages {
            let mut message = only.clone();
            expected.write(&mut message.headers);
            let what = message.what();
            return match self
                .persist(&what, |_| self.publish_once(&what, &message).boxed())
                .await?
            {
                Answer::Stored(ack) => Ok(Some(ack.sequence)),
                Answer::Conflict => Ok(None),
            };
        }
        let what = describe(messages);
        match self
            .persist(&what, |_| {
                self.batch_once(&what, messages, Some(expected)).boxed()
            })
            .await?
        {
            BatchAnswer::Stored { last, .. } => Ok(Some(last)),
            BatchAnswer::Conflict | BatchAnswer::Duplicate => Ok(None),
        }
    }

    /// What lies on the aggregate's filter after a sequence.
    async fn past(
        &self,
        stream: &'static str,
        filter: &str,
        after: u64,
    ) -> Result<Vec<Past>, Error> {
        let mut past = Vec::new();
        let mut fault = None;
        let mut take = |stored: Stored| match decode(
            stream,
            &stored.subject,
            stored.sequence,
            &stored.payload,
        ) {
            Ok(event) => {
                past.push(Past {
                    sequence: stored.sequence,
                    event,
                });
                ControlFlow::Continue(())
            }
            // A state rebuilt without one of its events would be another state.
            Err(error) => {
                fault = Some(error);
                ControlFlow::Break(())
            }
        };
        self.read(stream, filter, Begin::At(after + 1), &mut take)
            .await?;
        fault.map_or(Ok(past), Err)
    }

    pub(crate) async fn load_from_version(
        &self,
        aggregate: &Aggregate,
        version: Version,
    ) -> Result<(Vec<EventEnvelope>, Version), Error> {
        let (filter, stream) = aggregate.locate()?;
        let past = self
            .past(stream.name, &filter, version.stream_sequence)
            .await?;
        let version = Version {
            number: past
                .iter()
                .map(|past| past.event.sequence_number)
                .fold(version.number, u64::max),
            stream_sequence: past
                .last()
                .map_or(version.stream_sequence, |past| past.sequence),
        };
        Ok((past.into_iter().map(|past| past.event).collect(), version))
    }
}

/// Where the last of `events` lies, if they are the first sourced ones in `later`.
fn stored_already(later: &[Past], events: &[EventEnvelope]) -> Option<u64> {
    let mut sourced = later.iter().filter(|past| past.event.sequence_number > 0);
    let mut last = None;
    for event in events {
        let past = sourced.next().filter(|past| past.event.id == event.id)?;
        last = Some(past.sequence);
    }
    last
}

#[derive(Serialize)]
struct SnapshotRef<'a, S> {
    number: u64,
    stream_sequence: u64,
    state: &'a S,
}

#[derive(Deserialize)]
struct Snapshot {
    number: u64,
    stream_sequence: u64,
    state: Box<RawValue>,
}

impl Bus {
    /// Keeps the state that an aggregate had at `version`, so that a later load begins there.
    ///
    /// # Errors
    /// Where the state cannot be written as JSON, or the server cannot be reached.
    pub async fn save_snapshot<S: Serialize + Sync>(
        &self,
        aggregate: &Aggregate,
        version: Version,
        state: &S,
    ) -> Result<(), Error> {
        let key = snapshot_key(aggregate)?;
        let snapshot = SnapshotRef {
            number: version.number,
            stream_sequence: version.stream_sequence,
            state,
        };
        let bytes = serde_json::to_vec(&snapshot).map_err(|error| Error::Encode {
            what: format!("snapshot {key}"),
            reason: error.to_string(),
        })?;
        self.kv(table::SNAPSHOTS)
            .await?
            .put(&key, Bytes::from(bytes))
            .await
            .map(|_| ())
    }

    /// The snapshot of an aggregate. One that cannot be read (its type has changed, say) is none: the events are the truth.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn load_snapshot<S: DeserializeOwned>(
        &self,
        aggregate: &Aggregate,
    ) -> Result<Option<(S, Version)>, Error> {
        let key = snapshot_key(aggregate)?;
        let Some((bytes, _)) = self.kv(table::SNAPSHOTS).await?.get(&key).await? else {
            return Ok(None);
        };
        let read = || {
            let snapshot: Snapshot = serde_json::from_slice(&bytes)?;
            let state = serde_json::from_str(snapshot.state.get())?;
            Ok::<_, serde_json::Error>((
                state,
                Version {
                    number: snapshot.number,
                    stream_sequence: snapshot.stream_sequence,
                },
            ))
        };
        match read() {
            Ok(found) => Ok(Some(found)),
            Err(error) => {
                tracing::warn!(key, %error, "snapshot is not readable and is passed over");
                Ok(None)
            }
        }
    }

    /// The state of an aggregate and its version: the snapshot, where there is one, and the events after it.
    ///
    /// # Errors
    /// Where the server cannot be reached, or a stored event cannot be read.
    pub async fn load_state<S: EventSourced + DeserializeOwned>(
        &self,
        aggregate: &Aggregate,
    ) -> Result<(S, Version), Error> {
        let (mut state, version) = self
            .load_snapshot::<S>(aggregate)
            .await?
            .unwrap_or_default();
        let (events, version) = self.load_from_version(aggregate, version).await?;
        for event in &events {
            state.apply(event);
        }
        Ok((state, version))
    }
}

fn snapshot_key(aggregate: &Aggregate) -> Result<String, Error> {
    aggregate.locate()?;
    Ok(format!("{}.{}", aggregate.context, aggregate.key))
}
