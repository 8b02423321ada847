//! The events and data-plane messages that the pipeline gives, with their ids and the words that go with them.
//!
//! What the fields of `signal.signal_processed` mean here (docs/adr/010): `human_detected` says that somebody is present in
//! the zone, moving or not, and `presence_confidence` how strong the evidence for it is, 0 to 1 (no probability; 0 where nobody
//! is known to be present, be it empty or unknown, which the metadata `presence` tells apart); persons are not counted, so `estimated_person_count` is absent. A window that cannot be judged is no
//! `signal_processed` but a `signal.signal_processing_failed` with the reason, and a window with state `unknown` on the data
//! plane: missing data is unknown, not empty. In `pose.motion_detected` nobody is counted either: `person_count` is 0 and
//! `person_ids` empty, which the metadata say (`persons: not_counted`).

mod failure;
mod motion;
mod window;

use std::collections::BTreeMap;

use csi::wire::Published;
use dsp::motion::METHOD;
use events::signal::{
    CsiFrameReceived, CsiFrameValidated, ErrorCategory, FeatureSummary, SignalProcessed,
    ValidationWarning,
};
use events::types::WarningSeverity;
use events::{
    DataSource, DeviceId, DomainEvent, EventEnvelope, FrameId, Metadata, SessionId, SignalId,
    Timestamp,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::config::{Settings, micros};
use crate::detector::{LinkState, Reason};
use crate::device::{Closed, Device, Fate};
use crate::false_alarms::Limit;
use crate::pipeline::{Input, Output, What};
use crate::presence::State;

use failure::Failure;
pub(crate) use window::presence_state;
pub use window::state_name;
use window::{signal_id, wire};

/// Where the frames of an output come from.
#[derive(Clone, Debug)]
pub struct Origin {
    device: String,
    zone: String,
    source: DataSource,
    run: Option<Uuid>,
}

impl Origin {
    /// As the gateway published it.
    #[must_use]
    pub fn of(published: &Published) -> Self {
        Self {
            device: published.device.clone(),
            zone: published.zone.clone(),
            source: published.source,
            run: published.run_id,
        }
    }
}

/// Makes outputs.
#[derive(Debug)]
pub struct Outputs {
    service: String,
    method: String,
    failure_interval_us: i64,
}

impl Outputs {
    /// `service` goes into `metadata.source`.
    #[must_use]
    pub fn new(service: String, settings: &Settings) -> Self {
        Self {
            service,
            method: method(
                settings.window_s,
                &Limit {
                    threshold: settings.threshold,
                    ..Limit::default()
                },
            ),
            failure_interval_us: micros(settings.failure_interval_s),
        }
    }

    /// What follows from one frame itself.
    pub fn frame(
        &self,
        device: &mut Device,
        input: &Input,
        origin: &Origin,
        fate: Fate,
        out: &mut Vec<Output>,
    ) {
        let published = &input.published;
        let (code, category, message): (&str, _, String) = match fate {
            Fate::Taken {
                quality,
                complete,
                missed,
            } => {
                if published.announced {
                    let event = self.validated(input, origin, quality, complete, missed);
                    out.extend(event.map(|event| output(event, input)));
                }
                return;
            }
            Fate::Repeated => (
                "repeated_frame",
                ErrorCategory::InvalidData,
                format!("sequence number {} came before", input.frame.sequence),
            ),
            Fate::Late => (
                "out_of_order",
                ErrorCategory::InvalidData,
                format!(
                    "sequence number {} or its time is older than one that came before",
                    input.frame.sequence
                ),
            ),
            Fate::Faulty(error) => {
                let code = match error {
                    dsp::gain::GainError::Dimensions { .. } => "bad_dimensions",
                    dsp::gain::GainError::NotFinite { .. } => "not_finite",
                    dsp::gain::GainError::NoEnergy { .. } => "no_energy",
                };
                (code, ErrorCategory::InvalidData, error.to_string())
            }
            Fate::Overflow => (
                "rate_too_high",
                ErrorCategory::ResourceExhausted,
                "the device sends more than is kept of one window".to_owned(),
            ),
        };
        let at = Timestamp::from_micros(input.frame.receive_time_us);
        let cause = published
            .announced
            .then(|| announcement(published.frame_id));
        let failure = Failure {
            code,
            category,
            message,
            action: None,
            at,
            frame: published.frame_id,
            cause,
        };

        out.extend(
            self.failure(device, origin, failure)
                .map(|event| output(event, input)),
        );
    }

    /// What follows from windows.
    pub fn windows(
        &self,
        device: &mut Device,
        origin: &Origin,
        closed: &[Closed],
        over: bool,
        out: &mut Vec<Output>,
    ) {
        let newest_end = closed.last().map(|window| window.end_us);
        for (index, window) in closed.iter().enumerate() {
            let last = over && index + 1 == closed.len() && Some(window.end_us) == newest_end;
            let trace = window.trace.clone();
            let put = |what: What| Output {
                what,
                trace: trace.clone(),
            };
            let signal_id = signal_id(window, origin);
            out.push(put(What::Window(Box::new(wire(
                window, origin, signal_id, last,
            )))));
            let processed = match (
                window.evaluation.verdict.state,
                window.evaluation.verdict.reason,
            ) {
                // Nothing failed: it was asked for.
                (LinkState::Unknown, Some(Reason::Masked)) => continue,
                (LinkState::Unknown, reason) => {
                    let event =
                        reason.and_then(|reason| self.unprocessed(device, window, origin, reason));
                    out.extend(event.map(|event| put(What::Event(Box::new(event)))));
                    continue;
                }
                _ => self.processed(window, origin, signal_id),
            };
            let Some(processed) = processed else { continue };
            let cause = processed.id;
            out.push(put(What::Event(Box::new(processed))));
            if let Some(news) = window.news {
                let event = self.motion(window, origin, cause, news);
                out.extend(event.map(|event| put(What::Event(Box::new(event)))));
            }
            if let Some(fused) = &window.fused {
                let event = self.motion_of_zone(window, origin, cause, fused);
                out.extend(event.map(|event| put(What::Event(Box::new(event)))));
            }
        }
    }

    fn validated(
        &self,
        input: &Input,
        origin: &Origin,
        quality_score: f32,
        is_complete: bool,
        missed: u64,
    ) -> Option<EventEnvelope> {
        let published = &input.published;
        let mut warnings = Vec::new();
        let mut warn = |code: &str, message: String| {
            warnings.push(ValidationWarning {
                code: code.to_owned(),
                message,
                severity: WarningSeverity::Warning,
            });
        };
        if missed > 0 {
            warn(
                "frames_missing",
                format!("{missed} frames before this one were lost"),
            );
        }
        if quality_score < 0.9 {
            warn(
                "weak_samples",
                format!(
                    "{:.0} % of the samples are zero or at their limit",
                    100.0 * (1.0 - quality_score)
                ),
            );
        }
        let event = CsiFrameValidated {
            frame_id: FrameId(published.frame_id),
            device_id: DeviceId::new(origin.device.clone()).ok()?,
            timestamp: Timestamp::from_micros(input.frame.receive_time_us),
            quality_score,
            is_complete,
            validation_time_us: 0,
            warnings,
        };
        let received = announcement(published.frame_id);
        let mut metadata = self.metadata(origin, BTreeMap::new());
        metadata.sampled_one_in =
            (published.sampled_one_in > 1).then_some(published.sampled_one_in);
        Self::envelope(received, "", &event, metadata, origin, Some(received))
    }

    fn processed(
        &self,
        window: &Closed,
        origin: &Origin,
        signal_id: Uuid,
    ) -> Option<EventEnvelope> {
        let evaluation = &window.evaluation;
        let motion = evaluation.motion.as_ref()?;
        let statistic = narrow(evaluation.verdict.statistic?);
        let event = SignalProcessed {
            signal_id: SignalId(signal_id),
            source_frames: evaluation.announced.iter().copied().map(FrameId).collect(),
            device_id: DeviceId::new(origin.device.clone()).ok()?,
            session_id: origin.run.map(SessionId),
            timestamp: Timestamp::from_micros(window.end_us),
            window_start: Timestamp::from_micros(window.start_us),
            window_end: Timestamp::from_micros(window.end_us),
            feature_summary: FeatureSummary {
                amplitude_mean: evaluation.amplitude_mean,
                amplitude_std: evaluation.amplitude_std,
                phase_variance: evaluation.phase_variance,
                dominant_frequency_hz: motion.dominant_hz.map(narrow),
                motion_indicator: statistic,
            },
            human_detected: window.presence.state == State::Present,
            presence_confidence: window.presence.confidence,
            estimated_person_count: None,
            quality_score: evaluation.quality,
            processing_time_ms: 0.0,
        };
        let extra = about(window, origin);
        let cause = evaluation.announced.last().copied().map(announcement);
        Self::envelope(
            signal_id,
            "",
            &event,
            self.metadata_of(window, origin, extra),
            origin,
            cause,
        )
    }

    /// As [`Self::metadata`], with the threshold of the window.
    #[allow(clippy::cast_precision_loss)]
    fn metadata_of(
        &self,
        window: &Closed,
        origin: &Origin,
        extra: BTreeMap<String, Value>,
    ) -> Metadata {
        let window_s = (window.end_us - window.start_us) as f64 * 1e-6;
        Metadata {
            method: Some(method(window_s, &window.limit)),
            ..self.metadata(origin, extra)
        }
    }

    fn metadata(&self, origin: &Origin, extra: BTreeMap<String, Value>) -> Metadata {
        Metadata {
            source: self.service.clone(),
            data_source: Some(origin.source),
            method: Some(self.method.clone()),
            extra,
            ..Metadata::default()
        }
    }

    /// An event whose id follows from `from`; `cause` is the event that led to it, where there is one.
    fn envelope<E: DomainEvent>(
        from: Uuid,
        distinction: &str,
        event: &E,
        metadata: Metadata,
        origin: &Origin,
        cause: Option<Uuid>,
    ) -> Option<EventEnvelope> {
        let name = format!("{}{distinction}", E::EVENT_TYPE);
        let id = Uuid::new_v5(&from, name.as_bytes());
        let envelope = EventEnvelope::new(id, event, metadata)
            .ok()?
            .correlated(origin.run);
        Some(match cause {
            Some(cause) => envelope.caused_by(cause),
            None => envelope,
        })
    }
}

/// Id of the event that announced a frame.
fn announcement(frame_id: Uuid) -> Uuid {
    Uuid::new_v5(&frame_id, CsiFrameReceived::EVENT_TYPE.as_bytes())
}

/// How motion is concluded, in a word, with what it depends on.
#[must_use]
pub fn method(window_s: f64, limit: &Limit) -> String {
    // The threshold as it was used, to four places: learnt ones have many.
    let threshold = (limit.threshold * 1e4).round() / 1e4;
    let origin = limit.origin.as_str();
    format!("{METHOD} window={window_s} threshold={threshold} from={origin}")
}

fn output(event: EventEnvelope, input: &Input) -> Output {
    Output {
        what: What::Event(Box::new(event)),
        trace: input.trace.clone(),
    }
}

fn about(window: &Closed, origin: &Origin) -> BTreeMap<String, Value> {
    let evaluation = &window.evaluation;
    let mut extra = BTreeMap::from([
        ("zone_id".to_owned(), json!(origin.zone)),
        ("state".to_owned(), json!(evaluation.verdict.state.as_str())),
        (
            "motion_threshold".to_owned(),
            json!(evaluation.verdict.threshold),
        ),
        (
            "frames_seen".to_owned(),
            json!(evaluation.counts.received()),
        ),
        ("layout".to_owned(), json!(window.key.layout)),
    ]);
    // The shape of the channel alone would not have been motion: with the level of the frames it is.
    if let Some(motion) = evaluation.motion.filter(|_| evaluation.by_level()) {
        extra.insert("by".to_owned(), json!("level"));
        extra.insert("shape_score".to_owned(), json!(motion.shape));
        let level = motion.level.map(|level| level.coherent_db2.sqrt());
        extra.insert("level_change_db".to_owned(), json!(level));
    }
    // This window alone would not have been motion: with those before it is.
    if let Some(own) = evaluation.by_lasting() {
        extra.insert("by".to_owned(), json!("lasting"));
        extra.insert("window_score".to_owned(), json!(own));
    }
    let presence = &window.presence;
    extra.insert("presence".to_owned(), json!(presence.state.as_str()));
    if !presence.reason.is_empty() {
        extra.insert("presence_reason".to_owned(), json!(presence.reason));
    }
    if let Ok(rate) = evaluation.breath.rate {
        extra.insert("breaths_per_minute".to_owned(), json!(rate.bpm));
    }
    if let Some(per_week) = window.limit.per_week {
        extra.insert("false_alarms_per_week".to_owned(), json!(per_week));
    }
    if let Some(calibration) = window.calibration {
        extra.insert("calibration_id".to_owned(), json!(calibration));
    }
    if let Some(reason) = evaluation.verdict.reason {
        extra.insert("reason".to_owned(), json!(reason.code()));
    }
    extra
}

#[allow(clippy::cast_possible_truncation)]
fn narrow(value: f64) -> f32 {
    value as f32
}
