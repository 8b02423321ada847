//! Rules: which events people should know of.
//!
//! There is one kind: an event type, optionally a least confidence or score, optionally a zone. The score of an event is the
//! first of these payload fields that it has: `confidence`, `overall_confidence`, `motion_score`, `presence_confidence`. An
//! event without any never passes a threshold: what is not known is not high enough.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use events::alerting::Severity;
use events::{DataSource, DomainEvent, EventEnvelope, PersonId, RuleId, ZoneId};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::RuleConfig;

/// Where an event's score stands, in this order.
pub const SCORES: [&str; 4] = [
    "confidence",
    "overall_confidence",
    "motion_score",
    "presence_confidence",
];

/// Name of the rule that ships.
pub const FALL_CRITICAL: &str = "fall-critical";

/// A rule in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name.
    pub id: RuleId,
    /// The event that it is about.
    pub event_type: String,
    /// What the score must be.
    pub threshold: Option<Threshold>,
    /// Only in this zone.
    pub zone: Option<ZoneId>,
    /// How bad it is.
    pub severity: Severity,
    /// One line for people; made from the event where there is none.
    pub title: Option<String>,
    /// Without another match for so long, the condition has cleared.
    pub resolve_after: Duration,
    /// Whether it ships.
    pub built_in: bool,
}

/// What a score must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// This or more.
    AtLeast(f64),
    /// More than this.
    Above(f64),
}

impl Threshold {
    /// The number.
    #[must_use]
    pub fn number(self) -> f64 {
        match self {
            Self::AtLeast(number) | Self::Above(number) => number,
        }
    }

    fn passes(self, score: f64) -> bool {
        match self {
            Self::AtLeast(least) => score >= least,
            Self::Above(bound) => score > bound,
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::Above(bound) => write!(f, "above {bound}"),
        }
    }
}

/// An event that a rule is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// What tells this condition from others: the rule, its severity, the event type, the zone (or else the device), the
    /// person, and for data that is not live its source and run.
    pub labels: BTreeMap<String, String>,
    /// Digest of rule and labels: alerts of one fingerprint are one condition.
    pub fingerprint: String,
    /// Zone, where the event has one.
    pub zone: Option<ZoneId>,
    /// Person, where the event is about one.
    pub person: Option<PersonId>,
    /// One line for people.
    pub title: String,
    /// What happened, with the numbers.
    pub message: String,
}

impl Rule {
    /// The rules that ship.
    #[must_use]
    pub fn built_in() -> Vec<Self> {
        // The name is a constant that is a DNS label; a test holds that it is there.
        let fall = RuleId::new(FALL_CRITICAL).map(|id| Self {
            id,
            event_type: events::pose::FallDetected::EVENT_TYPE.to_owned(),
            threshold: Some(Threshold::Above(0.8)),
            zone: None,
            severity: Severity::Critical,
            title: None,
            // A fall has no end that could be seen: the alert stays until somebody took it on, or for an hour.
            resolve_after: Duration::from_secs(3600),
            built_in: true,
        });
        fall.into_iter().collect()
    }

    /// A rule of the configuration.
    #[must_use]
    pub fn of_config(config: &RuleConfig, resolve_after: Duration) -> Self {
        Self {
            id: config.id.clone(),
            event_type: config.event_type.clone(),
            threshold: config.min_score.map(Threshold::AtLeast),
            zone: config.zone.clone(),
            severity: config.severity,
            title: config.title.clone(),
            resolve_after: config.resolve_after.unwrap_or(resolve_after),
            built_in: false,
        }
    }

    /// Whether `event` is what the rule is about.
    #[must_use]
    pub fn check(&self, event: &EventEnvelope) -> Option<Match> {
        if event.event_type != self.event_type {
            return None;
        }
        let zone = zone(event);
        if self.zone.is_some() && self.zone != zone {
            return None;
        }
        let score = score(&event.payload);
        if let Some(threshold) = self.threshold
            && !score.is_some_and(|(_, score)| threshold.passes(score))
        {
            return None;
        }
        let person = text(&event.payload, "person_id")
            .and_then(|id| id.parse().ok())
            .map(PersonId);
        let labels = self.labels(event, zone.as_ref(), person);
        Some(Match {
            fingerprint: fingerprint(&self.id, &labels),
            title: self
                .title
                .clone()
                .unwrap_or_else(|| headline(event, zone.as_ref())),
            message: self.describe(event, zone.as_ref(), score),
            labels,
            zone,
            person,
        })
    }

    fn labels(
        &self,
        event: &EventEnvelope,
        zone: Option<&ZoneId>,
        person: Option<PersonId>,
    ) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            ("alertname".to_owned(), self.id.to_string()),
            ("severity".to_owned(), self.severity.to_string()),
            ("event_type".to_owned(), event.event_type.clone()),
        ]);
        match zone {
            Some(zone) => labels.insert("zone".into(), zone.to_string()),
            None => text(&event.payload, "device_id")
                .and_then(|id| labels.insert("device".into(), id.to_owned())),
        };
        if let Some(person) = person {
            labels.insert("person".into(), person.to_string());
        }
        if let Some(source) = source(event) {
            labels.insert("data_source".into(), source.to_owned());
        }
        if let Some(run) = run(event) {
            labels.insert("run".into(), run.to_string());
        }
        labels
    }

    fn describe(
        &self,
        event: &EventEnvelope,
        zone: Option<&ZoneId>,
        score: Option<(&str, f64)>,
    ) -> String {
        let mut message = event.event_type.clone();
        if let Some(zone) = zone {
            message += &format!(" in zone {zone}");
        }
        if let Some((name, score)) = score {
            message += &format!(", {} {score}", name.replace('_', " "));
            if let Some(threshold) = self.threshold {
                message += &format!(" ({threshold})");
            }
        }
        message += &format!(", at {}", event.occurred_at);
        if let Some(source) = source(event) {
            message += &format!("; not live: {source}");
        }
        message
    }
}

/// `replay` or `simulated`; nothing for live data, and where the event does not say.
fn source(event: &EventEnvelope) -> Option<&'static str> {
    match event.metadata.data_source {
        Some(DataSource::Replay) => Some("replay"),
        Some(DataSource::Simulated) => Some("simulated"),
        Some(DataSource::Live) | None => None,
    }
}

/// The run that data which is not live belongs to: the same recording replayed again has the same event ids, and is another
/// condition.
#[must_use]
pub fn run(event: &EventEnvelope) -> Option<uuid::Uuid> {
    source(event).and(event.correlation_id)
}

fn text<'a>(payload: &'a Value, field: &str) -> Option<&'a str> {
    payload.get(field).and_then(Value::as_str)
}

/// The first score that the payload has, and its field.
fn score(payload: &Value) -> Option<(&'static str, f64)> {
    SCORES
        .into_iter()
        .find_map(|field| Some((field, payload.get(field)?.as_f64()?)))
}

/// The zone that the payload names; else the key, where that is the zone (a processed window's payload names none).
fn zone(event: &EventEnvelope) -> Option<ZoneId> {
    if let Some(zone) = text(&event.payload, "zone_id") {
        return ZoneId::new(zone).ok();
    }
    let by_zone =
        events::find(&event.event_type).is_some_and(|info| info.key_rule == "zone_id or device_id");
    let others = ["device_id", "session_id"].map(|field| text(&event.payload, field));
    let keyed = by_zone && !others.contains(&Some(event.key.as_str()));
    keyed.then(|| ZoneId::new(event.key.clone()).ok()).flatten()
}

/// `Fall detected in hall`.
fn headline(event: &EventEnvelope, zone: Option<&ZoneId>) -> String {
    let name = event
        .event_type
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .replace('_', " ");
    let mut letters = name.chars();
    let mut title: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(letters)
        .collect();
    if let Some(zone) = zone {
        title += &format!(" in {zone}");
    }
    title
}

/// 16 hex digits of the SHA-256 over the rule's name and the labels in their order, each text followed by a byte that no
/// text in UTF-8 has, so that no two sets of labels are written alike.
fn fingerprint(rule: &RuleId, labels: &BTreeMap<String, String>) -> String {
    let texts = labels
        .iter()
        .flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    let mut digest = Sha256::new();
    for text in std::iter::once(rule.as_str()).chain(texts) {
        digest.update(text.as_bytes());
        digest.update([0xff]);
    }
    let mut digits = hex::encode(digest.finalize());
    digits.truncate(16);
    digits
}

#[cfg(test)]
mod tests;
