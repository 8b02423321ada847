//! Reads windows from the data plane, lets the model and the zones decide, and stores what they conclude.
//!
//! A window is done only when what follows from it is acked; the checkpoint stays before every window that a zone still
//! needs. After a crash those are read again, and give the same events with the same ids, which are stored once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bus::{AppendError, Bus, DataMessage, EventSourced as _, From, Tail, Version};
use events::pose::ActivityChanged;
use events::{DomainEvent as _, EventEnvelope, Timestamp, ZoneId};
use opentelemetry::propagation::Extractor;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::error::{Error, chain};
use crate::model::Model;
use crate::status::Status;
use crate::subject::{aggregate, session_id};
use crate::window::Window;
use crate::zones::{Activity, Stored, Zones};

/// Name of the checkpoint, and what is read.
const CHECKPOINT: &str = "pose";
const FILTER: &str = "data.signal.*.*";
/// Windows taken at once.
const BATCH: usize = 256;
/// Attempts at an append that other writers are faster at.
const MAX_CONFLICTS: u32 = 16;
/// Pause before an append is tried again that the bus could not take.
const PAUSE: Duration = Duration::from_secs(1);

/// The work of the service.
pub struct Handler {
    bus: Bus,
    model: Model,
    zones: Zones,
    status: Arc<Status>,
    stop: CancellationToken,
    /// Reasons already warned about: each once, not once a window.
    warned: HashMap<&'static str, u64>,
}

impl Handler {
    /// Rebuilds what was concluded from the stored events.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub async fn open(
        bus: Bus,
        model: Model,
        mut zones: Zones,
        status: Arc<Status>,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let mut stored: HashMap<String, Stored> = HashMap::new();
        let mut take = |delivery: bus::Delivery| {
            let subject = stored.entry(delivery.event.key.clone()).or_default();
            subject.subject.apply(&delivery.event);
            subject.version = Version {
                number: delivery.event.sequence_number,
                stream_sequence: delivery.stream_sequence,
            };
            std::ops::ControlFlow::Continue(())
        };
        bus.replay_each(ActivityChanged::EVENT_TYPE, From::Start, &mut take)
            .await?;
        for subject in stored.into_values() {
            let Some(zone) = subject.subject.zone().cloned() else {
                continue;
            };
            if let Some(session) = subject.subject.latest() {
                let since = Timestamp::from_micros(session.concluded.since_us);
                let activity = Activity {
                    activity: session.concluded.activity.clone(),
                    confidence: Some(session.confidence),
                    since: Some(since),
                    as_of: since,
                };
                status.set_activity(&zone, activity);
            }
            zones.restore(zone, subject);
        }
        Ok(Self {
            bus,
            model,
            zones,
            status,
            stop,
            warned: HashMap::new(),
        })
    }

    /// Reads until the service stops.
    ///
    /// # Errors
    /// Where the data plane cannot be read.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut tail = self.bus.tail(CHECKPOINT, &[FILTER.to_owned()]).await?;
        let stop = self.stop.clone();
        loop {
            let batch = tokio::select! {
                () = stop.cancelled() => break,
                batch = tail.next_batch(BATCH) => batch?,
            };
            let restarts = tail.restarts();
            let Some(done) = self.batch(&batch).await else {
                break;
            };
            tail.checkpoint(done).await?;
            if tail.restarts() != restarts {
                self.zones.forget_sequences();
            }
        }
        close(tail).await;
        Ok(())
    }

    /// Handles messages in order; the sequence that nothing before is needed any more. None where the service stops before
    /// all of it is stored.
    async fn batch(&mut self, batch: &[DataMessage]) -> Option<u64> {
        let mut newest = 0;
        for message in batch {
            newest = message.sequence;
            self.status.count_window();
            match Window::decode(&message.payload) {
                Ok(window) => {
                    if !self.window(&window, message).await {
                        return None;
                    }
                }
                Err(error) => self.warn("window", &message.subject, &chain(&error)),
            }
        }
        Some(self.zones.done_until(newest))
    }

    /// Handles one window; false where the service stops before its event is stored.
    ///
    /// Inference is done here, on the async thread: it takes some microseconds.
    async fn window(&mut self, window: &Window, message: &DataMessage) -> bool {
        let belief = self.infer(window, &message.subject);
        match self
            .zones
            .observe(window, message.sequence, belief.as_deref())
        {
            Ok(None) => {}
            Ok(Some(event)) => {
                let span = tracing::info_span!(
                    "activity changed",
                    otel.kind = "internal",
                    zone = window.zone.as_str()
                );
                continue_trace(&span, message.traceparent.as_deref());
                if !self.store(window, event).instrument(span).await {
                    return false;
                }
            }
            Err(error) => self.warn("event", &message.subject, &chain(&error)),
        }
        self.status
            .set_activity(&window.zone, self.zones.activity(window));
        true
    }

    fn infer(&mut self, window: &Window, subject: &str) -> Option<Vec<f32>> {
        let features = window.features.as_ref()?;
        if !self.model.manifest().takes_length(window.length_us) {
            let measured = self.model.manifest().input.window_s;
            let error = format!(
                "{} microseconds long; the model was measured on windows of {measured} s",
                window.length_us
            );
            self.warn("window length", subject, &error);
            return None;
        }
        match self.model.infer(features) {
            Ok(belief) => {
                self.status.count_inference();
                Some(belief)
            }
            Err(error) => {
                self.warn("inference", subject, &chain(&error));
                None
            }
        }
    }

    /// Stores an event, however long it takes; false where the service stops before.
    async fn store(&mut self, window: &Window, event: EventEnvelope) -> bool {
        loop {
            match self.append(window, &event).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::warn!(zone = %window.zone, error = chain(&error), "an activity could not be stored; it is tried again");
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn append(&mut self, window: &Window, event: &EventEnvelope) -> Result<(), Error> {
        let zone = &window.zone;
        let aggregate = aggregate(zone);
        for _ in 0..MAX_CONFLICTS {
            let version = self
                .zones
                .stored(zone)
                .map(|stored| stored.version)
                .unwrap_or_default();
            match self
                .bus
                .append(&aggregate, version, vec![event.clone()])
                .await
            {
                Ok(version) => {
                    self.zones.stored_event(zone, event, version);
                    return Ok(());
                }
                Err(AppendError::Conflict { .. }) => {
                    let (events, version) = self.bus.load(&aggregate).await?;
                    let subject = bus::EventSourced::replay(&events);
                    self.zones
                        .restore(zone.clone(), Stored { subject, version });
                    if self.has(zone, window, event) {
                        return Ok(());
                    }
                }
                Err(AppendError::Bus(error)) => return Err(error.into()),
            }
        }
        Err(Error::Contended {
            zone: zone.to_string(),
            times: MAX_CONFLICTS,
        })
    }

    fn has(&self, zone: &ZoneId, window: &Window, event: &EventEnvelope) -> bool {
        let session = session_id(zone, window.run);
        self.zones
            .stored(zone)
            .is_some_and(|stored| stored.subject.has(session, event.id))
    }

    /// Warns the first time, and then with the count at every power of two.
    fn warn(&mut self, what: &'static str, subject: &str, error: &str) {
        let count = self.warned.entry(what).or_insert(0);
        *count += 1;
        if count.is_power_of_two() {
            tracing::warn!(what, subject, error, count = *count, "a window is not used");
        }
    }
}

async fn close(tail: Tail) {
    if let Err(error) = tail.close().await {
        tracing::warn!(
            error = chain(&error),
            "the checkpoint was not written; some windows will be read again"
        );
    }
}

/// Makes `span` a child of the one that published the window.
fn continue_trace(span: &tracing::Span, traceparent: Option<&str>) {
    struct Carrier<'a>(&'a str);
    impl Extractor for Carrier<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            (key == "traceparent").then_some(self.0)
        }
        fn keys(&self) -> Vec<&str> {
            vec!["traceparent"]
        }
    }
    let Some(traceparent) = traceparent else {
        return;
    };
    let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract(&Carrier(traceparent))
    });
    // Without a tracing layer there is nothing to link, which is no fault.
    let _ = span.set_parent(parent);
}
