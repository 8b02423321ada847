//! One partition's work: its frames from the data plane in, windows and events out, checkpoints behind them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bus::{Bus, DataMessage, DataSubject, Kv, Message, Tail};
use bytes::Bytes;
use csi::wire::Decoder;
use events::{DomainEvent, EventEnvelope, Timestamp};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram};
use prost::Message as _;
use proto::signal::v1::WindowHistory;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::board::Board;
use crate::config::{Config, micros};
use crate::history::in_hand::InHand;
use crate::history::{self, Recorder};
use crate::masks::Masks;
use crate::pipeline::{Input, Kept, Output, Pipeline, What};
use crate::thresholds::ByZone;
use crate::watch::Calibrations;

/// How often silence is looked for.
const TICK: Duration = Duration::from_secs(1);

/// The minute in hand of a link that was silent over so many ticks goes to history as it is.
const HISTORY_PATIENCE: u32 = 120;

/// So often the minutes in hand are kept: what a crash loses of the history at most.
const KEEP_IN_HAND: Duration = Duration::from_secs(3);

/// Messages that are queued together, about.
const AT_ONCE: usize = 64;

/// What is kept, with the stream that it belongs to.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    /// When the stream was made: tells it from a later one of the same name.
    created: i64,
    kept: Kept,
}

async fn read_state(state: &Kv, key: &str, created: i64) -> anyhow::Result<Option<Kept>> {
    let Some((value, _)) = state
        .get(key)
        .await
        .context("reading the state kept before")?
    else {
        return Ok(None);
    };
    match serde_json::from_slice::<Stored>(&value) {
        Ok(stored) if stored.created == created => Ok(Some(stored.kept)),
        Ok(_) => {
            // Once for each partition, and nothing to worry about: the stream was new for this process too.
            tracing::debug!("the stream of frames is a new one: windows begin anew");
            Ok(None)
        }
        Err(error) => {
            tracing::warn!(%error, "the state kept before is not readable: windows begin anew");
            Ok(None)
        }
    }
}

/// What the workers count, together.
pub struct Metrics {
    frames: Counter<u64>,
    windows: Counter<u64>,
    undecodable: Counter<u64>,
    processing: Histogram<f64>,
    lag: Gauge<u64>,
}

impl Metrics {
    /// Registers the instruments.
    pub fn new() -> Self {
        let meter = opentelemetry::global::meter("signal");
        let counter = |name: &'static str, what: &'static str| {
            meter.u64_counter(name).with_description(what).build()
        };
        Self {
            frames: counter("signal_frames", "Frames taken from the data plane"),
            windows: counter("signal_windows", "Windows evaluated, by state"),
            undecodable: counter(
                "signal_undecodable_messages",
                "Messages of the data plane that are no frame",
            ),
            processing: meter
                .f64_histogram("signal_processing_seconds")
                .with_description("Time from a batch of frames to its outputs, per frame")
                .with_boundaries(vec![1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 1e-2])
                .build(),
            lag: meter
                .u64_gauge("signal_lag_messages")
                .with_description(
                    "Messages of the data plane that wait behind the newest one taken",
                )
                .build(),
        }
    }
}

/// What all workers of a process share.
#[derive(Clone)]
pub struct Shared {
    /// The bus.
    pub bus: Bus,
    /// The service's configuration.
    pub config: Arc<Config>,
    /// For `metadata.source`.
    pub source: Arc<str>,
    /// Where the zones' states are shown.
    pub board: Board,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is set for single zones.
    pub thresholds: watch::Receiver<ByZone>,
    /// Until when the partitions are this process's.
    pub until: watch::Receiver<tokio::time::Instant>,
    /// Where the minutes of history in hand are kept.
    pub in_hand: InHand,
}

/// Works one partition.
pub struct Worker {
    shared: Shared,
    partition: KeyValue,
    /// Key of what is kept over a restart, in the bucket `checkpoints`.
    key: String,
    publisher: bus::Pipeline,
    /// What follows from the frames in hand, to be queued together.
    ready: Vec<Message>,
    tail: Tail,
    stream_restarts: u64,
    state: Kv,
    pipeline: Pipeline,
    decoder: Decoder,
    calibrations: Calibrations,
    history: Recorder,
    /// When the minutes in hand were last kept.
    kept_in_hand: Instant,
    /// When, and with what, the state was last written.
    checkpointed: Option<(Instant, Kept)>,
}

impl Worker {
    /// Takes the partition up where its last worker left it.
    ///
    /// # Errors
    /// Where NATS does not answer.
    pub async fn open(mut shared: Shared, partition: u16) -> anyhow::Result<Self> {
        let thresholds = Arc::clone(&shared.thresholds.borrow_and_update());
        let (bus, config) = (&shared.bus, &shared.config);
        let name = format!("signal-{partition}");
        let filter = format!("data.csi.*.*.{partition}");
        let tail = bus.tail(&name, &[filter]).await?;
        let state = bus.kv("checkpoints").await?;
        let key = format!("signal-state-{partition}");
        let mut pipeline = Pipeline::with(
            config.motion.clone(),
            config.presence.clone(),
            &*shared.source,
        )
        .masked(Masks::read(&config.masks).map_err(anyhow::Error::msg)?);
        pipeline.choose(&thresholds);
        if let Some(kept) = read_state(&state, &key, tail.created()).await? {
            pipeline.resume(kept);
        }
        let mut history = Recorder::new(config.motion.hop_us());
        for (name, zone) in pipeline.zones().all() {
            shared.board.put(name, zone, true);
            history.resume(shared.in_hand.read(name).await?);
        }
        Ok(Self {
            publisher: bus.pipeline(config.in_flight),
            ready: Vec::new(),
            stream_restarts: tail.restarts(),
            partition: KeyValue::new("partition", i64::from(partition)),
            key,
            tail,
            state,
            pipeline,
            decoder: Decoder::default(),
            calibrations: Calibrations::new(bus.kv(bus::table::CALIBRATIONS).await?),
            history,
            kept_in_hand: Instant::now(),
            checkpointed: None,
            shared,
        })
    }

    /// Whether the partition is this process's now.
    fn owned(&self) -> bool {
        tokio::time::Instant::now() < *self.shared.until.borrow()
    }

    /// Works until `stop`, or until the partition is no longer this process's: then nothing more is published or kept.
    ///
    /// # Errors
    /// Where what follows from the frames cannot be published.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let due = Duration::from_secs_f64(self.shared.config.checkpoint_interval_s);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let batch = tokio::select! {
                () = stop.cancelled() => break,
                batch = self.tail.next_batch(self.shared.config.batch) => Some(batch?),
                _ = tick.tick() => None,
            };
            match batch {
                Some(batch) => self.take(&batch).await?,
                None => self.tick().await?,
            }
            if !self.owned() {
                break;
            }
            if self
                .checkpointed
                .as_ref()
                .is_none_or(|(at, _)| at.elapsed() >= due)
            {
                self.checkpoint().await?;
            }
            if self.kept_in_hand.elapsed() >= KEEP_IN_HAND {
                self.keep_in_hand().await?;
            }
        }
        let owned = self.owned();
        if owned {
            for stretch in self.history.flush() {
                self.ready.push(history_message(&stretch)?);
            }
            self.send().await?;
            self.checkpoint().await?;
            self.keep_in_hand().await?;
        }
        for zone in self.pipeline.zones().all().keys() {
            self.shared.board.disown(zone);
        }
        if owned {
            self.tail.close().await?;
        }
        Ok(())
    }

    async fn take(&mut self, batch: &[DataMessage]) -> anyhow::Result<()> {
        if self.tail.restarts() != self.stream_restarts {
            self.stream_restarts = self.tail.restarts();
            self.pipeline.stream_restarted();
        }
        if self.shared.thresholds.has_changed().unwrap_or(false) {
            let thresholds = Arc::clone(&self.shared.thresholds.borrow_and_update());
            self.pipeline.choose(&thresholds);
        }
        let began = Instant::now();
        let mut computing = Duration::ZERO;
        for message in batch {
            let frame_began = Instant::now();
            let outputs = self.outputs(message).await;
            let took = frame_began.elapsed();
            computing += took;
            for output in outputs {
                self.prepare(output, took)?;
            }
            if self.ready.len() >= AT_ONCE {
                self.send().await?;
            }
            if !self.owned() {
                return Ok(());
            }
        }
        self.send().await?;
        let count = batch.len().max(1);
        self.shared.metrics.frames.add(batch.len() as u64, &[]);
        self.shared
            .metrics
            .processing
            .record(computing.as_secs_f64() / count as f64, &[]);
        let lag = &self.shared.metrics.lag;
        lag.record(self.tail.pending(), std::slice::from_ref(&self.partition));
        tracing::trace!(frames = batch.len(), elapsed = ?began.elapsed(), "batch taken");
        Ok(())
    }

    async fn outputs(&mut self, message: &DataMessage) -> Vec<Output> {
        let (frame, published) = match self.decoder.decode(&message.payload) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.shared
                    .metrics
                    .undecodable
                    .add(1, &[KeyValue::new("code", error.code())]);
                tracing::debug!(subject = message.subject, sequence = message.sequence, %error, "message is no frame");
                return Vec::new();
            }
        };
        if self.calibrations.unseen(&published)
            && let Some(found) = self.calibrations.of(&published.device).await
        {
            self.pipeline.calibrate(&published.device, found);
        }
        let trace = message.traceparent.as_deref().map(Arc::from);
        self.pipeline.push(&Input {
            stream_sequence: message.sequence,
            frame,
            published,
            trace,
        })
    }

    async fn tick(&mut self) -> anyhow::Result<()> {
        for (device, found) in self.calibrations.renewed().await {
            self.pipeline.calibrate(&device, found);
        }
        let stale = micros(self.shared.config.stale_after_s);
        let now_us = Timestamp::now().as_micros();
        for output in self.pipeline.tick(now_us, stale) {
            self.prepare(output, Duration::ZERO)?;
        }
        for stretch in self.history.tick(HISTORY_PATIENCE) {
            self.ready.push(history_message(&stretch)?);
        }
        self.send().await
    }

    /// Keeps the minutes in hand, once those that are full are stored. What cannot be kept now is kept the next time.
    async fn keep_in_hand(&mut self) -> anyhow::Result<()> {
        self.kept_in_hand = Instant::now();
        self.publisher
            .flush()
            .await
            .context("publishing the history")?;
        for (zone, stretches) in self.history.in_hand() {
            if let Err(error) = self.shared.in_hand.write(&zone, stretches).await {
                tracing::warn!(zone, %error, "the minutes of history in hand could not be kept");
                self.history.mark(zone);
            }
        }
        Ok(())
    }

    /// Queues what is ready, where the partition is still this process's: each message by itself would wake what sends it.
    async fn send(&mut self) -> anyhow::Result<()> {
        let ready = std::mem::take(&mut self.ready);
        if ready.is_empty() || !self.owned() {
            return Ok(());
        }
        Ok(self.publisher.publish_all(ready).await?)
    }

    /// Shows what is to be shown, and makes the message ready.
    fn prepare(&mut self, output: Output, took: Duration) -> anyhow::Result<()> {
        let trace = output.trace;
        match output.what {
            What::Zone { zone, changed } => {
                if let Some(state) = self.pipeline.zones().all().get(&zone) {
                    self.shared.board.put(&zone, state, changed);
                }
            }
            What::Window(window) => {
                let state = crate::outputs::state_name(&window);
                self.shared
                    .metrics
                    .windows
                    .add(1, &[KeyValue::new("state", state)]);
                let id = uuid::Uuid::from_slice(&window.signal_id).unwrap_or_default();
                let run = uuid::Uuid::from_slice(&window.run_id).ok();
                let id = run.map_or_else(|| id.to_string(), |run| format!("{id}.{}", run.simple()));
                if let Some(stretch) = self.history.push(&window) {
                    self.ready.push(history_message(&stretch)?);
                }
                let subject = format!("data.signal.{}.{}", window.zone, window.device);
                let payload = Bytes::from(window.encode_to_vec());
                let message = Message::data(&DataSubject::new(subject)?, payload, Some(id));
                let span = span("window publish", trace.as_deref());
                self.ready.push(span.in_scope(|| message.traced()));
            }
            What::Event(mut event) => {
                measured(&mut event, took);
                let span = span("signal publish", trace.as_deref());
                span.record("event_type", event.event_type.as_str());
                let message = span.in_scope(|| Message::event(&event))?;
                self.ready.push(message);
            }
        }
        Ok(())
    }

    /// What was published is acknowledged first, then the state is written, then the stream let go: a crash between any two
    /// repeats something that ids make harmless, and loses nothing.
    async fn checkpoint(&mut self) -> anyhow::Result<()> {
        let kept = self.pipeline.kept();
        let checkpoint = self.pipeline.checkpoint();
        if self
            .checkpointed
            .as_ref()
            .is_some_and(|(_, written)| *written == kept)
        {
            return Ok(());
        }
        self.publisher
            .flush()
            .await
            .context("publishing what follows from the frames")?;
        let stored = Stored {
            created: self.tail.created(),
            kept,
        };
        let value = Bytes::from(serde_json::to_vec(&stored)?);
        match self.state.put(&self.key, value).await {
            Ok(_) => {
                self.tail.checkpoint(checkpoint).await?;
                self.checkpointed = Some((Instant::now(), stored.kept));
            }
            Err(error) => tracing::warn!(%error, "the state was not written; the checkpoint waits"),
        }
        Ok(())
    }
}

fn history_message(stretch: &WindowHistory) -> anyhow::Result<Message> {
    let subject = DataSubject::new(history::subject(stretch))?;
    let payload = Bytes::from(stretch.encode_to_vec());
    let id = history::id(stretch).to_string();
    Ok(Message::data(&subject, payload, Some(id)))
}

/// Fills in how long it took: the one thing in an event that is not a function of the frames.
fn measured(event: &mut EventEnvelope, took: Duration) {
    use events::signal::{CsiFrameValidated, SignalProcessed};
    let (field, value) = match event.event_type.as_str() {
        CsiFrameValidated::EVENT_TYPE => (
            "validation_time_us",
            serde_json::json!(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
        ),
        SignalProcessed::EVENT_TYPE => (
            "processing_time_ms",
            serde_json::json!(took.as_secs_f64() * 1e3),
        ),
        _ => return,
    };
    if let Some(payload) = event.payload.as_object_mut() {
        payload.insert(field.to_owned(), value);
    }
}

/// A span that goes on with the trace of the frame.
fn span(name: &'static str, traceparent: Option<&str>) -> tracing::Span {
    let Some(traceparent) = traceparent else {
        return tracing::Span::none();
    };
    let span = tracing::info_span!(
        "signal",
        otel.name = name,
        otel.kind = "producer",
        event_type = tracing::field::Empty
    );
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    let parent =
        opentelemetry::global::get_text_map_propagator(|propagator| propagator.extract(&carrier));
    // Without a tracing layer there is nothing to link, which is no fault.
    let _ = span.set_parent(parent);
    span
}
