//! Who reads what is stored: a consumer of the data plane on a connection of its own, made again after each restart of the
//! server. Nothing of ours but the form of the messages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::{self, consumer::AckPolicy, consumer::DeliverPolicy, consumer::pull};
use futures::StreamExt;
use prost::Message;
use proto::csi::v1::CsiFrame;
use tokio::task::JoinHandle;

use super::devices::now_us;

/// Messages asked for at once.
const BATCH: usize = 2_000;
/// Longest wait for an answer: a server that was killed gives none.
const ANSWER: Duration = Duration::from_secs(1);

/// A frame that was found in the stream.
#[derive(Clone, Copy)]
pub struct Seen {
    pub sequence: u64,
    pub receive_time_us: i64,
    pub device_time_us: Option<u64>,
    /// Wall clock when it was read.
    pub at_us: i64,
}

#[derive(Default)]
struct State {
    frames: HashMap<String, Vec<Seen>>,
    /// Streams that were read: a server that starts again begins another.
    streams: u64,
}

/// The observer.
pub struct Observer {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Observer {
    pub async fn start(url: &str) -> anyhow::Result<Self> {
        let nats = async_nats::connect(url).await?;
        let state = Arc::<Mutex<State>>::default();
        let reading = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let context = ContextBuilder::new().timeout(ANSWER).build(nats);
            let mut place = (None, 1);
            loop {
                // Whatever fails is the server's absence: it is tried again.
                let _ = read(&context, &reading, &mut place).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Ok(Self { state, task })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Devices of which a frame received at or after `since_us` was read.
    pub fn devices_since(&self, since_us: i64) -> usize {
        let newer = |seen: &Vec<Seen>| {
            seen.last()
                .is_some_and(|seen| seen.receive_time_us >= since_us)
        };
        self.state()
            .frames
            .values()
            .filter(|seen| newer(seen))
            .count()
    }

    /// Wall clock at which the first frame of a device that was received at or after `since_us` was read.
    pub fn first_since(&self, device: &str, since_us: i64) -> Option<i64> {
        let state = self.state();
        let seen = state.frames.get(device)?;
        let from = seen.partition_point(|seen| seen.receive_time_us < since_us);
        Some(seen.get(from)?.at_us)
    }

    /// All that was read, by device, and how many streams it came from.
    pub fn finish(self) -> (HashMap<String, Vec<Seen>>, u64) {
        self.task.abort();
        let state = std::mem::take(&mut *self.state());
        (state.frames, state.streams)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads until something fails. `place` is the stream, by its time of birth, and the next sequence in it.
async fn read(
    context: &jetstream::Context,
    state: &Mutex<State>,
    place: &mut (Option<i128>, u64),
) -> anyhow::Result<()> {
    let stream = context.get_stream("DATA").await?;
    let born = stream.cached_info().created.unix_timestamp_nanos();
    if place.0 != Some(born) {
        *place = (Some(born), 1);
        lock(state).streams += 1;
    }
    let config = pull::Config {
        filter_subject: "data.csi.>".into(),
        ack_policy: AckPolicy::None,
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: place.1,
        },
        memory_storage: true,
        inactive_threshold: Duration::from_secs(10),
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    loop {
        let fetch = consumer
            .batch()
            .max_messages(BATCH)
            .expires(Duration::from_millis(500));
        let fetched = tokio::time::timeout(ANSWER, async {
            let mut messages = fetch.messages().await?;
            let mut count = 0;
            while let Some(message) = messages.next().await {
                let message = message.map_err(|error| anyhow::anyhow!(error))?;
                let info = message.info().map_err(|error| anyhow::anyhow!(error))?;
                place.1 = info.stream_sequence + 1;
                note(state, CsiFrame::decode(message.payload.clone())?);
                count += 1;
            }
            anyhow::Ok(count)
        });
        if fetched.await?? == 0 {
            // Nothing came: perhaps the consumer is gone with its server.
            let now = context.get_stream("DATA").await?;
            let same = now.cached_info().created.unix_timestamp_nanos() == born;
            if !same || consumer.get_info().await.is_err() {
                return Ok(());
            }
        }
    }
}

fn note(state: &Mutex<State>, frame: CsiFrame) {
    let seen = Seen {
        sequence: frame.sequence,
        receive_time_us: frame.receive_time_us,
        device_time_us: frame.device_time_us,
        at_us: now_us(),
    };
    let mut state = lock(state);
    match state.frames.get_mut(&frame.device) {
        Some(frames) => frames.push(seen),
        None => _ = state.frames.insert(frame.device, vec![seen]),
    }
}
