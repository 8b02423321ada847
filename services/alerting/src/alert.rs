//! One alert, rebuilt from its events: raised, perhaps acknowledged, and in the end resolved.

use bus::Version;
use events::alerting::{AlertAcknowledged, AlertRaised, AlertResolved};
use events::{AlertId, DataSource, EventEnvelope, EventId, Timestamp};
use uuid::Uuid;

use crate::rule::{Match, Rule, run};

/// The reason of a resolution by time.
pub const CONDITION_CLEARED: &str = "condition_cleared";

/// An alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// How it began.
    pub raised: AlertRaised,
    /// Where the data came from that raised it.
    pub data_source: Option<DataSource>,
    /// The run or session that it belongs to.
    pub correlation: Option<Uuid>,
    /// Who took it on.
    pub acknowledged: Option<AlertAcknowledged>,
    /// How it ended.
    pub resolved: Option<AlertResolved>,
    /// When the server stored that it was raised: the clock of people, where the data may have another.
    pub stored: Timestamp,
    /// Number of its last event, and where that lies.
    pub version: Version,
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody took it on.
    Firing,
    /// Somebody did.
    Acknowledged,
    /// It is over.
    Resolved,
}

/// Why a command on an alert is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is over.
    #[error("alert {0} is resolved")]
    Resolved(AlertId),
    /// Somebody else took it on.
    #[error("alert {alert} was acknowledged by {by:?}")]
    Acknowledged {
        /// The alert.
        alert: AlertId,
        /// Who did.
        by: String,
    },
}

/// The id of the alert that `rule` raises over `event`: the same event gives the same alert, however often it is delivered.
/// In a replay it is the same event within the run.
#[must_use]
pub fn alert_id(rule: &Rule, event: &EventEnvelope) -> AlertId {
    match run(event) {
        Some(run) => AlertId::derive(event.id, &format!("{}/{}", rule.id, run.simple())),
        None => AlertId::derive(event.id, rule.id.as_str()),
    }
}

/// What `rule` says of `event`.
#[must_use]
pub fn raise(rule: &Rule, event: &EventEnvelope, found: Match) -> AlertRaised {
    AlertRaised {
        alert_id: alert_id(rule, event),
        rule_id: rule.id.clone(),
        timestamp: event.occurred_at,
        severity: rule.severity,
        title: found.title,
        message: found.message,
        labels: found.labels,
        zone_id: found.zone,
        person_id: found.person,
        trigger_event_id: EventId(event.id),
        fingerprint: found.fingerprint,
    }
}

impl Alert {
    /// The alert that `event` began; none where it is no such event.
    #[must_use]
    pub fn begun(event: &EventEnvelope, stored: Timestamp, version: Version) -> Option<Self> {
        Some(Self {
            raised: event.read().ok().flatten()?,
            data_source: event.metadata.data_source,
            correlation: event.correlation_id,
            acknowledged: None,
            resolved: None,
            stored,
            version,
        })
    }

    /// The alert after `events`, oldest first.
    #[must_use]
    pub fn replay(events: &[EventEnvelope], stored: Timestamp, version: Version) -> Option<Self> {
        let (first, later) = events.split_first()?;
        let mut alert = Self::begun(first, stored, version)?;
        later.iter().for_each(|event| alert.apply(event));
        Some(alert)
    }

    /// Applies a later event; what is none of the alert's own changes nothing.
    pub fn apply(&mut self, event: &EventEnvelope) {
        if let Ok(Some(event)) = event.read::<AlertAcknowledged>() {
            self.acknowledged = Some(event);
        } else if let Ok(Some(event)) = event.read::<AlertResolved>() {
            self.resolved = Some(event);
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> AlertId {
        self.raised.alert_id
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        match (&self.resolved, &self.acknowledged) {
            (Some(_), _) => State::Resolved,
            (None, Some(_)) => State::Acknowledged,
            (None, None) => State::Firing,
        }
    }

    /// Somebody takes it on. Nothing happens where the same person did before.
    ///
    /// # Errors
    /// Where it is over, or somebody else did.
    pub fn acknowledge(
        &self,
        by: &str,
        comment: Option<String>,
        now: Timestamp,
    ) -> Result<Option<AlertAcknowledged>, Refusal> {
        if self.resolved.is_some() {
            return Err(Refusal::Resolved(self.id()));
        }
        match &self.acknowledged {
            Some(before) if before.acknowledged_by == by => Ok(None),
            Some(before) => Err(Refusal::Acknowledged {
                alert: self.id(),
                by: before.acknowledged_by.clone(),
            }),
            None => Ok(Some(AlertAcknowledged {
                alert_id: self.id(),
                timestamp: now,
                acknowledged_by: by.to_owned(),
                comment,
            })),
        }
    }

    /// Somebody says that it is over. It lasted from when it was stored until `now`, both by the clock of people.
    ///
    /// # Errors
    /// Where it is over already.
    pub fn resolve(
        &self,
        by: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<AlertResolved, Refusal> {
        if self.resolved.is_some() {
            return Err(Refusal::Resolved(self.id()));
        }
        Ok(AlertResolved {
            alert_id: self.id(),
            timestamp: now,
            resolved_by: Some(by.to_owned()),
            reason: reason.to_owned(),
            duration_seconds: now.seconds_since(self.stored).max(0.0),
        })
    }

    /// Its condition cleared at `at`, in the time of the data; nothing where it is over already.
    #[must_use]
    pub fn clear(&self, at: Timestamp) -> Option<AlertResolved> {
        self.resolved.is_none().then(|| AlertResolved {
            alert_id: self.id(),
            timestamp: at,
            resolved_by: None,
            reason: CONDITION_CLEARED.to_owned(),
            duration_seconds: at.seconds_since(self.raised.timestamp).max(0.0),
        })
    }
}
