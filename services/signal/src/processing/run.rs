//! The processing aggregate: one run over a recording, rebuilt from its events. Pure.

use bus::EventSourced;
use events::pipeline::{
    ProcessingCancelled, ProcessingCompleted, ProcessingFailed, ProcessingMetrics,
    ProcessingPaused, ProcessingResumed, ProcessingStarted,
};
use events::{DomainEvent, EventEnvelope, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::stage::Stage;

/// Metadata key: what was asked for, as [`Order`].
pub const ORDER: &str = "order";
/// Reason of a pause that a user did not ask for: such a run goes on by itself.
pub const SHUTDOWN: &str = "shutdown";

/// What was asked for; fixed when the run begins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Its etag then.
    pub pipeline_etag: String,
    /// Its stages then.
    pub stages: Vec<Stage>,
    /// SHA-256 of the recording, hex.
    pub recording: String,
    /// Its format, or `auto`.
    pub format: String,
    /// Frames per second, for a recording without times.
    pub rate_hz: Option<f64>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// No such run.
    #[default]
    Absent,
    /// It waits for its turn, or works.
    Running,
    /// It stands still and can go on.
    Paused,
    /// Its output is stored.
    Completed,
    /// An error ended it.
    Failed,
    /// A user ended it.
    Cancelled,
}

impl State {
    /// Whether it will not go on.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// In a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The state that a run's events add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// Where it stands.
    pub state: State,
    /// What was asked for.
    pub order: Order,
    /// The instance that works on it.
    pub owner: String,
    /// Why it is paused; empty otherwise.
    pub pause: String,
    /// What ended it; empty otherwise.
    pub error: String,
    /// The code of that.
    pub error_code: String,
    /// Size of the output, once it is stored.
    pub output_bytes: Option<u64>,
    /// What it did, where it has ended.
    pub metrics: Option<ProcessingMetrics>,
    /// When it began.
    pub started: Timestamp,
    /// Last event.
    pub updated: Timestamp,
    /// Number of its last event.
    pub version: u64,
}

impl EventSourced for Run {
    fn apply(&mut self, event: &EventEnvelope) {
        let text = |key: &str| {
            let text = event.payload.get(key).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let metrics = |key: &str| {
            let metrics = event.payload.get(key).cloned()?;
            serde_json::from_value::<Option<ProcessingMetrics>>(metrics).ok()?
        };
        match event.event_type.as_str() {
            ProcessingStarted::EVENT_TYPE => {
                let order = event.metadata.extra.get(ORDER).cloned();
                *self = Self {
                    state: State::Running,
                    order: order
                        .and_then(|order| serde_json::from_value(order).ok())
                        .unwrap_or_default(),
                    owner: event.metadata.source.clone(),
                    started: event.occurred_at,
                    ..Self::default()
                };
            }
            _ if self.state == State::Absent => return,
            ProcessingPaused::EVENT_TYPE => {
                self.state = State::Paused;
                self.pause = text("reason");
            }
            ProcessingResumed::EVENT_TYPE => {
                self.state = State::Running;
                self.pause.clear();
                self.owner.clone_from(&event.metadata.source);
            }
            ProcessingCompleted::EVENT_TYPE => {
                self.state = State::Completed;
                self.output_bytes = event.payload.get("output_size").and_then(Value::as_u64);
                self.metrics = metrics("metrics");
            }
            ProcessingFailed::EVENT_TYPE => {
                self.state = State::Failed;
                self.error = text("error_message");
                self.error_code = text("error_code");
                self.metrics = metrics("partial_metrics");
            }
            ProcessingCancelled::EVENT_TYPE => {
                self.state = State::Cancelled;
                self.error = text("reason");
                self.error_code = "cancelled".to_owned();
            }
            _ => return,
        }
        self.version = event.sequence_number;
        self.updated = event.occurred_at;
    }
}
