//! `pose.motion_detected`: of a link, and of a zone that shows motion only by all its links together.

use std::collections::BTreeMap;

use events::pose::{MotionDetected, MotionType};
use events::{
    DeviceId, DomainEvent, EventEnvelope, EventId, Metadata, SessionId, Timestamp, ZoneId,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Origin, Outputs, about, narrow};
use crate::detector::LinkState;
use crate::device::{Closed, MotionNews};
use crate::fusion;
use crate::zone::{Fused, Part};

impl Outputs {
    pub(super) fn motion(
        &self,
        window: &Closed,
        origin: &Origin,
        cause: Uuid,
        news: MotionNews,
    ) -> Option<EventEnvelope> {
        let id = Uuid::new_v5(&cause, MotionDetected::EVENT_TYPE.as_bytes());
        let event = MotionDetected {
            event_id: EventId(id),
            session_id: origin.run.map(SessionId),
            zone_id: ZoneId::new(origin.zone.clone()).ok(),
            device_id: DeviceId::new(origin.device.clone()).ok()?,
            timestamp: Timestamp::from_micros(window.end_us),
            motion_score: narrow(window.evaluation.verdict.statistic?),
            motion_type: MotionType::General,
            person_ids: Vec::new(),
            person_count: 0,
            velocity_estimate: None,
            direction: None,
        };
        let mut extra = about(window, origin);
        extra.insert("persons".to_owned(), json!("not_counted"));
        extra.insert("motion".to_owned(), json!(news.as_str()));
        extra.insert(
            "window_start".to_owned(),
            json!(Timestamp::from_micros(window.start_us)),
        );
        let envelope =
            EventEnvelope::new(id, &event, self.metadata_of(window, origin, extra)).ok()?;
        Some(envelope.caused_by(cause).correlated(origin.run))
    }

    /// Motion that the zone shows and no link by itself. The device is that of the link with the largest part; the score is the
    /// chance of motion of all links together, held against [`fusion::MOTION`].
    pub(super) fn motion_of_zone(
        &self,
        window: &Closed,
        origin: &Origin,
        cause: Uuid,
        fused: &Fused,
    ) -> Option<EventEnvelope> {
        let id = Uuid::new_v5(
            &cause,
            format!("{} zone", MotionDetected::EVENT_TYPE).as_bytes(),
        );
        let event = MotionDetected {
            event_id: EventId(id),
            session_id: origin.run.map(SessionId),
            zone_id: ZoneId::new(origin.zone.clone()).ok(),
            device_id: DeviceId::new(fused.parts.first()?.device.clone()).ok()?,
            timestamp: Timestamp::from_micros(window.end_us),
            motion_score: narrow(fused.chance),
            motion_type: MotionType::General,
            person_ids: Vec::new(),
            person_count: 0,
            velocity_estimate: None,
            direction: None,
        };
        let links: Vec<Value> = fused.parts.iter().map(link_of_zone).collect();
        let metadata = Metadata {
            method: Some(format!(
                "noisy-or/1 links={} {}",
                fused.parts.len(),
                self.method
            )),
            ..self.metadata(
                origin,
                BTreeMap::from([
                    ("zone_id".to_owned(), json!(origin.zone)),
                    ("state".to_owned(), json!(LinkState::Motion.as_str())),
                    ("motion".to_owned(), json!(fused.news.as_str())),
                    ("by".to_owned(), json!("fusion")),
                    ("motion_threshold".to_owned(), json!(fusion::MOTION)),
                    ("links".to_owned(), json!(links)),
                    ("persons".to_owned(), json!("not_counted")),
                    ("presence".to_owned(), json!(window.presence.state.as_str())),
                    (
                        "window_start".to_owned(),
                        json!(Timestamp::from_micros(window.start_us)),
                    ),
                ]),
            )
        };
        let envelope = EventEnvelope::new(id, &event, metadata).ok()?;
        Some(envelope.caused_by(cause).correlated(origin.run))
    }
}

/// What one link gave to the motion of its zone.
fn link_of_zone(part: &Part) -> Value {
    let mut link = json!({
        "device_id": part.device,
        "link": part.link.to_string(),
        "statistic": part.word.statistic,
        "threshold": part.word.threshold,
        "quality": part.word.quality,
        "chance": part.word.chance(),
        "window_end": Timestamp::from_micros(part.end_us),
    });
    if let (Some(calibration), Some(link)) = (part.calibration, link.as_object_mut()) {
        link.insert("calibration_id".to_owned(), json!(calibration));
    }
    link
}
