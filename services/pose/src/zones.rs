//! All zones: windows in, decisions out. Pure; what is decided is stored by the [`handler`](crate::handler).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bus::{EventSourced as _, Version};
use events::pose::ActivityChanged;
use events::{DomainEvent as _, EventEnvelope, Metadata, SessionId, Timestamp, ZoneId};
use uuid::Uuid;

use crate::subject::{Subject, person_id, session_id};
use crate::tracker::{Change, Observation, Settings, Tracker};
use crate::window::Window;

/// A tracker that this many messages of the stream passed by is put away; its stored conclusions stay.
const FORGOTTEN_AFTER: u64 = 200_000;

/// What is known of a zone, for those who ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Activity {
    /// The activity.
    pub activity: String,
    /// Confidence of the conclusion, where there is one.
    pub confidence: Option<f32>,
    /// Since when, where something was concluded.
    pub since: Option<Timestamp>,
    /// End of the newest window that it rests on.
    pub as_of: Timestamp,
}

/// The subject of a zone and how far its events were read.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// The state.
    pub subject: Subject,
    /// For the next append.
    pub version: Version,
}

/// All zones.
pub struct Zones {
    settings: Settings,
    classes: Arc<[Arc<str>]>,
    source: String,
    method: String,
    trackers: BTreeMap<(ZoneId, SessionId), Tracker>,
    stored: HashMap<ZoneId, Stored>,
}

impl Zones {
    /// No zone yet. `source` and `method` go into the metadata of the events.
    #[must_use]
    pub fn new(settings: Settings, classes: &[String], source: String, method: String) -> Self {
        let classes = classes
            .iter()
            .map(|class| Arc::from(class.as_str()))
            .collect();
        Self {
            settings,
            classes,
            source,
            method,
            trackers: BTreeMap::new(),
            stored: HashMap::new(),
        }
    }

    /// What is stored of a zone.
    #[must_use]
    pub fn stored(&self, zone: &ZoneId) -> Option<&Stored> {
        self.stored.get(zone)
    }

    /// The zones of which something is stored, or was when the service started.
    pub fn stored_zones(&self) -> impl Iterator<Item = (&ZoneId, &Stored)> {
        self.stored.iter()
    }

    /// Takes over what is stored of a zone.
    pub fn restore(&mut self, zone: ZoneId, stored: Stored) {
        self.stored.insert(zone, stored);
    }

    /// Takes a window with what the model said of it; the event to store, where the activity changed. Whoever calls must
    /// store it, and then call [`stored_event`](Self::stored_event).
    ///
    /// # Errors
    /// Where the event cannot be written as JSON.
    pub fn observe(
        &mut self,
        window: &Window,
        sequence: u64,
        belief: Option<&[f32]>,
    ) -> Result<Option<EventEnvelope>, serde_json::Error> {
        let session = session_id(&window.zone, window.run);
        let stored = self.stored.get(&window.zone).map(|stored| &stored.subject);
        let known = stored.and_then(|subject| subject.session(session));
        let (settings, classes) = (self.settings, &self.classes);
        let tracker = self
            .trackers
            .entry((window.zone.clone(), session))
            .or_insert_with(|| {
                Tracker::new(
                    settings,
                    Arc::clone(classes),
                    known.map(|known| known.concluded.clone()),
                )
            });
        let change = tracker.observe(&Observation {
            id: window.signal_id,
            sequence,
            device: window.device.as_str(),
            end_us: window.end_us,
            quality: window.quality,
            belief,
        });
        if window.last_of_run && window.run.is_some() {
            self.trackers.remove(&(window.zone.clone(), session));
        }
        let Some(change) = change else {
            return Ok(None);
        };
        let event = self.event(window, session, &change)?;
        let again = self
            .stored
            .get(&window.zone)
            .is_some_and(|stored| stored.subject.has(session, event.id));
        Ok((!again).then_some(event))
    }

    /// The event is stored, and the zone at `version`.
    pub fn stored_event(&mut self, zone: &ZoneId, event: &EventEnvelope, version: Version) {
        let stored = self.stored.entry(zone.clone()).or_default();
        stored.subject.apply(event);
        stored.version = version;
    }

    /// What is known of the zone and session of a window.
    #[must_use]
    pub fn activity(&self, window: &Window) -> Activity {
        let session = session_id(&window.zone, window.run);
        let tracker = self.trackers.get(&(window.zone.clone(), session));
        let as_of = tracker.and_then(Tracker::now_us).unwrap_or(window.end_us);
        let stored = self
            .stored
            .get(&window.zone)
            .and_then(|stored| stored.subject.session(session));
        Activity {
            activity: stored.map_or_else(
                || crate::tracker::UNKNOWN.to_owned(),
                |s| s.concluded.activity.clone(),
            ),
            confidence: stored.map(|stored| stored.confidence),
            since: stored.map(|stored| Timestamp::from_micros(stored.concluded.since_us)),
            as_of: Timestamp::from_micros(as_of),
        }
    }

    /// Everything up to and including this sequence is needed by no zone, where all up to `newest` was read.
    pub fn done_until(&mut self, newest: u64) -> u64 {
        self.trackers.retain(|_, tracker| {
            tracker
                .newest_sequence()
                .is_none_or(|sequence| newest.saturating_sub(sequence) < FORGOTTEN_AFTER)
        });
        let needed = self
            .trackers
            .values_mut()
            .filter_map(Tracker::needed_from)
            .min();
        needed.map_or(newest, |needed| needed.saturating_sub(1).min(newest))
    }

    /// The stream was made anew.
    pub fn forget_sequences(&mut self) {
        for tracker in self.trackers.values_mut() {
            tracker.forget_sequences();
        }
    }

    fn event(
        &self,
        window: &Window,
        session: SessionId,
        change: &Change,
    ) -> Result<EventEnvelope, serde_json::Error> {
        let payload = ActivityChanged {
            person_id: person_id(&window.zone),
            session_id: session,
            zone_id: Some(window.zone.clone()),
            timestamp: Timestamp::from_micros(change.at_us),
            previous_activity: change.previous.clone(),
            new_activity: change.activity.clone(),
            confidence: change.confidence,
            previous_activity_duration_seconds: seconds(change.previous_us),
        };
        let metadata = Metadata {
            source: self.source.clone(),
            data_source: window.source,
            method: Some(self.method.clone()),
            ..Metadata::default()
        };
        let id = Uuid::new_v5(&window.signal_id, ActivityChanged::EVENT_TYPE.as_bytes());
        Ok(EventEnvelope::new(id, &payload, metadata)?
            .caused_by(window.signal_id)
            .correlated(window.run))
    }
}

/// Durations stay far below 2^53 microseconds.
#[allow(clippy::cast_precision_loss)]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests;
