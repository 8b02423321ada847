//! `signal.signal_processing_failed`: at most one of each device and code in each interval.

use std::collections::BTreeMap;

use events::signal::{ErrorCategory, SignalProcessingFailed};
use events::{DeviceId, EventEnvelope, FrameId, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::{Origin, Outputs, announcement};
use crate::detector::Reason;
use crate::device::{Closed, Device};

pub(super) struct Failure<'a> {
    pub code: &'a str,
    pub category: ErrorCategory,
    pub message: String,
    pub action: Option<&'a str>,
    pub at: Timestamp,
    pub frame: Uuid,
    pub cause: Option<Uuid>,
}

impl Outputs {
    pub(super) fn unprocessed(
        &self,
        device: &mut Device,
        window: &Closed,
        origin: &Origin,
        reason: Reason,
    ) -> Option<EventEnvelope> {
        let category = match reason {
            Reason::NoEnergy | Reason::IdenticalFrames | Reason::OutOfOrder => {
                ErrorCategory::InvalidData
            }
            _ => ErrorCategory::InsufficientQuality,
        };
        let action = match reason {
            Reason::RateTooLow => {
                Some("raise the frame rate of the device, or lower signal.motion.min_rate_hz")
            }
            Reason::FramesMissing | Reason::Gap => {
                Some("look for losses between the device and the gateway")
            }
            Reason::IdenticalFrames | Reason::NoEnergy => {
                Some("restart the device, and look at its firmware")
            }
            _ => None,
        };
        let (start, end) = (
            Timestamp::from_micros(window.start_us),
            Timestamp::from_micros(window.end_us),
        );
        let counts = &window.evaluation.counts;
        let message = format!(
            "window from {start} to {end} with {} frames: {}",
            counts.received(),
            reason.sentence()
        );
        let failure = Failure {
            code: reason.code(),
            category,
            message,
            action,
            at: end,
            frame: window.newest_frame,
            cause: window
                .evaluation
                .announced
                .last()
                .copied()
                .map(announcement),
        };
        self.failure(device, origin, failure)
    }

    /// At most one of each code in each interval of the input's time.
    pub(super) fn failure(
        &self,
        device: &mut Device,
        origin: &Origin,
        failure: Failure<'_>,
    ) -> Option<EventEnvelope> {
        let now = failure.at.as_micros();
        let last = device.failures.get(failure.code).copied();
        if last
            .is_some_and(|last| (0..self.failure_interval_us).contains(&now.saturating_sub(last)))
        {
            return None;
        }
        device.failures.insert(failure.code.to_owned(), now);
        let event = SignalProcessingFailed {
            frame_id: FrameId(failure.frame),
            device_id: DeviceId::new(origin.device.clone()).ok()?,
            timestamp: failure.at,
            error_code: failure.code.to_owned(),
            error_message: failure.message,
            error_category: failure.category,
            recoverable: true,
            suggested_action: failure.action.map(str::to_owned),
        };
        let extra = BTreeMap::from([("zone_id".to_owned(), json!(origin.zone))]);
        Self::envelope(
            failure.frame,
            failure.code,
            &event,
            self.metadata(origin, extra),
            origin,
            failure.cause,
        )
    }
}
