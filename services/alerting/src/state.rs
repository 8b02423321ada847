//! The alerts: which condition has an open one, and when it has cleared.
//!
//! A condition (a fingerprint) has at most one open alert: what matches again while it is open raises no other, it only
//! tells that the condition still holds. It has cleared when `resolve_after` has passed without a match, told by one of two
//! clocks: the time of the data, as events of the same subject key come in; or, since a quiet room sends nothing, the time
//! that passes here, in which nothing matched.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use events::{AlertId, EventEnvelope, Timestamp};

use crate::alert::Alert;
use crate::rule::run;

/// All open alerts, and the newest of the resolved.
#[derive(Debug)]
pub struct Alerts {
    alerts: HashMap<AlertId, Alert>,
    /// Newest last.
    by_time: BTreeSet<(Timestamp, AlertId)>,
    open: BTreeMap<String, Condition>,
    resolved: VecDeque<AlertId>,
    history: usize,
}

/// A condition with an open alert.
#[derive(Clone, Debug)]
struct Condition {
    alert: AlertId,
    /// Whose events tell how time passes: context, key and run of those that match.
    lane: Lane,
    /// Newest match, in the time of the data.
    matched: Timestamp,
    /// When it was handled, since the start of the process.
    heard: Duration,
    resolve_after: Duration,
}

/// Where events come in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    context: String,
    key: String,
    run: Option<uuid::Uuid>,
}

impl Lane {
    /// Where `event` came.
    #[must_use]
    pub fn of(event: &EventEnvelope) -> Self {
        let context = event.event_type.split('.').next().unwrap_or_default();
        Self {
            context: context.to_owned(),
            key: event.key.clone(),
            run: run(event),
        }
    }
}

/// A condition that has cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// Its alert.
    pub alert: AlertId,
    /// When, in the time of the data.
    pub at: Timestamp,
}

impl Condition {
    fn clears_at(&self) -> Timestamp {
        let micros = i64::try_from(self.resolve_after.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(self.matched.as_micros().saturating_add(micros))
    }

    fn cleared(&self) -> Cleared {
        Cleared {
            alert: self.alert,
            at: self.clears_at(),
        }
    }
}

impl Alerts {
    /// None yet; of the resolved, `history` are kept.
    #[must_use]
    pub fn new(history: usize) -> Self {
        Self {
            alerts: HashMap::new(),
            by_time: BTreeSet::new(),
            open: BTreeMap::new(),
            resolved: VecDeque::new(),
            history,
        }
    }

    /// The alert of this id.
    #[must_use]
    pub fn get(&self, id: AlertId) -> Option<&Alert> {
        self.alerts.get(&id)
    }

    /// All that are kept, newest first, from `after` on.
    pub fn newest_first(
        &self,
        after: Option<(Timestamp, AlertId)>,
    ) -> impl Iterator<Item = &Alert> {
        let before =
            after.unwrap_or((Timestamp::from_micros(i64::MAX), AlertId(uuid::Uuid::max())));
        self.by_time
            .range(..before)
            .rev()
            .filter_map(|(_, id)| self.alerts.get(id))
    }

    /// Ids of the open ones.
    #[must_use]
    pub fn open(&self) -> Vec<AlertId> {
        self.open
            .values()
            .map(|condition| condition.alert)
            .collect()
    }

    /// Puts in an alert as it is now, new or changed.
    pub fn put(&mut self, alert: Alert) {
        let id = alert.id();
        let was_resolved = self
            .alerts
            .get(&id)
            .is_some_and(|alert| alert.resolved.is_some());
        self.by_time.insert((alert.raised.timestamp, id));
        if alert.resolved.is_some() && !was_resolved {
            self.open.retain(|_, condition| condition.alert != id);
            self.resolved.push_back(id);
        }
        self.alerts.insert(id, alert);
        while self.resolved.len() > self.history {
            let oldest = self
                .resolved
                .pop_front()
                .and_then(|id| self.alerts.remove(&id));
            if let Some(alert) = oldest {
                self.by_time.remove(&(alert.raised.timestamp, alert.id()));
            }
        }
    }

    /// A condition has an open alert, which is already put in.
    pub fn watch(&mut self, alert: AlertId, lane: Lane, resolve_after: Duration, now: Duration) {
        let Some(alert) = self
            .alerts
            .get(&alert)
            .filter(|alert| alert.resolved.is_none())
        else {
            return;
        };
        let condition = Condition {
            alert: alert.id(),
            lane,
            matched: alert.raised.timestamp,
            heard: now,
            resolve_after,
        };
        self.open
            .insert(alert.raised.fingerprint.clone(), condition);
    }

    /// Something of `fingerprint` matched at `at`: true where it has an open alert, which it belongs to. Call
    /// [`due`](Self::due) before.
    pub fn repeated(&mut self, fingerprint: &str, at: Timestamp, now: Duration) -> bool {
        match self.open.get_mut(fingerprint) {
            Some(condition) => {
                condition.matched = condition.matched.max(at);
                condition.heard = now;
                true
            }
            None => false,
        }
    }

    /// Conditions that have cleared by the time of the data: an event of their lane, or one of their fingerprint, came at
    /// `at`.
    #[must_use]
    pub fn due(&self, lane: &Lane, fingerprints: &[&str], at: Timestamp) -> Vec<Cleared> {
        self.open
            .iter()
            .filter(|(fingerprint, condition)| {
                (condition.lane == *lane || fingerprints.contains(&fingerprint.as_str()))
                    && at >= condition.clears_at()
            })
            .map(|(_, condition)| condition.cleared())
            .collect()
    }

    /// Conditions of which nothing was heard for their time here.
    #[must_use]
    pub fn quiet(&self, now: Duration) -> Vec<Cleared> {
        let quiet = self
            .open
            .values()
            .filter(|condition| now.saturating_sub(condition.heard) >= condition.resolve_after);
        quiet.map(Condition::cleared).collect()
    }

    /// We could not hear until now: silence before tells nothing.
    pub fn deaf_until(&mut self, now: Duration) {
        for condition in self.open.values_mut() {
            condition.heard = now;
        }
    }

    /// Whether a match of `fingerprint` at `at` belongs to its open alert; false where there is none, or it cleared before.
    #[must_use]
    pub fn holds(&self, fingerprint: &str, at: Timestamp) -> bool {
        self.open
            .get(fingerprint)
            .is_some_and(|condition| at < condition.clears_at())
    }
}

#[cfg(test)]
mod tests;
