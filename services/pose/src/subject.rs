//! The zone's one anonymous subject: what was concluded about whoever is in the zone, rebuilt from its events.
//!
//! No identity is meant or kept: the person's id follows from the zone's name, and says "somebody in this zone".

use std::collections::VecDeque;

use bus::{Aggregate, EventSourced};
use events::pose::ActivityChanged;
use events::{DomainEvent as _, EventEnvelope, PersonId, SessionId, ZoneId};
use uuid::{Uuid, uuid};

use crate::tracker::Concluded;

/// Name space of the anonymous subjects.
const SUBJECTS: Uuid = uuid!("7b1c6f6e-3f57-5c41-9a3e-5d1f0f0a7c11");
/// Sessions remembered of a subject, and events of a session: far more than can be read again after a crash.
const MAX_SESSIONS: usize = 64;
const MAX_EVENTS: usize = 64;

/// The zone's anonymous subject.
#[must_use]
pub fn person_id(zone: &ZoneId) -> PersonId {
    PersonId(Uuid::new_v5(&SUBJECTS, zone.as_str().as_bytes()))
}

/// The run of a replay or simulation, or the zone's one live session.
#[must_use]
pub fn session_id(zone: &ZoneId, run: Option<Uuid>) -> SessionId {
    SessionId(run.unwrap_or_else(|| Uuid::new_v5(&person_id(zone).0, b"live")))
}

/// Where the subject's events lie.
#[must_use]
pub fn aggregate(zone: &ZoneId) -> Aggregate {
    Aggregate {
        context: "pose".to_owned(),
        key: person_id(zone).to_string(),
    }
}

/// What was concluded in one session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The last conclusion.
    pub concluded: Concluded,
    /// Its confidence.
    pub confidence: f32,
    /// Ids of the latest events.
    events: VecDeque<Uuid>,
}

/// The subject's state: its sessions, the latest last.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    zone: Option<ZoneId>,
    sessions: VecDeque<Session>,
}

impl Subject {
    /// The zone, once an event named it.
    #[must_use]
    pub fn zone(&self) -> Option<&ZoneId> {
        self.zone.as_ref()
    }

    /// What was concluded in a session.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.iter().find(|session| session.id == id)
    }

    /// The session that something was concluded in last.
    #[must_use]
    pub fn latest(&self) -> Option<&Session> {
        self.sessions.back()
    }

    /// Whether the event is among the latest of its session.
    #[must_use]
    pub fn has(&self, session: SessionId, event: Uuid) -> bool {
        self.session(session)
            .is_some_and(|session| session.events.contains(&event))
    }
}

impl EventSourced for Subject {
    fn apply(&mut self, event: &EventEnvelope) {
        if event.event_type != ActivityChanged::EVENT_TYPE {
            return;
        }
        let Ok(changed) = serde_json::from_value::<ActivityChanged>(event.payload.clone()) else {
            return;
        };
        let position = self
            .sessions
            .iter()
            .position(|session| session.id == changed.session_id);
        let mut events = position
            .and_then(|at| self.sessions.remove(at))
            .map(|session| session.events)
            .unwrap_or_default();
        events.push_back(event.id);
        if events.len() > MAX_EVENTS {
            events.pop_front();
        }
        if self.sessions.len() >= MAX_SESSIONS {
            self.sessions.pop_front();
        }
        self.zone = changed.zone_id.or(self.zone.take());
        self.sessions.push_back(Session {
            id: changed.session_id,
            concluded: Concluded {
                activity: changed.new_activity,
                since_us: changed.timestamp.as_micros(),
                cause: event.causation_id,
            },
            confidence: changed.confidence,
            events,
        });
    }
}
