//! What can be set, section `[alerting]`.

use std::collections::BTreeSet;
use std::time::Duration;

use events::alerting::Severity;
use events::{ReceiverId, RuleId, ZoneId};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::rule::Rule;

/// Configuration of the service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Rules besides those that ship, `[[alerting.rules]]`.
    pub rules: Vec<RuleConfig>,
    /// Who is told, `[[alerting.receivers]]`.
    pub receivers: Vec<ReceiverConfig>,
    /// An alert whose rule was not matched again for so long is resolved. A rule may have its own.
    #[serde(with = "humantime_serde")]
    pub resolve_after: Duration,
    /// What happened longer ago than this, by the time at which it was stored, is told to nobody any more.
    #[serde(with = "humantime_serde")]
    pub notify_within: Duration,
    /// First pause after a receiver could not be reached; doubles up to `retry_longest`.
    #[serde(with = "humantime_serde")]
    pub retry_first: Duration,
    /// Longest pause, also where the receiver asks for a longer one.
    #[serde(with = "humantime_serde")]
    pub retry_longest: Duration,
    /// `externalURL` of the webhook: where people find this system.
    pub external_url: String,
    /// Resolved alerts that are listed; older ones can still be had by their id.
    pub history: usize,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// Its name.
    pub id: RuleId,
    /// The event that it is about, e.g. `pose.motion_detected`.
    pub event_type: String,
    /// Only where the event's confidence or score is at least this. See [`crate::rule`] for the fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_score: Option<f64>,
    /// Only in this zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<ZoneId>,
    /// How bad it is: `info`, `warning` or `critical`.
    pub severity: Severity,
    /// One line for people; made from the event where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Instead of the service's `resolve_after`.
    #[serde(
        default,
        with = "humantime_serde",
        skip_serializing_if = "Option::is_none"
    )]
    pub resolve_after: Option<Duration>,
}

/// A receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverConfig {
    /// Its name.
    pub name: ReceiverId,
    /// Where alerts are posted, in Alertmanager's JSON.
    pub webhook: String,
    /// How long one call may take.
    #[serde(default = "ten_seconds", with = "humantime_serde")]
    pub timeout: Duration,
    /// Whether it is also told when an alert is over.
    #[serde(default = "yes")]
    pub send_resolved: bool,
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn yes() -> bool {
    true
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            receivers: Vec::new(),
            resolve_after: Duration::from_secs(5 * 60),
            notify_within: Duration::from_secs(3600),
            retry_first: Duration::from_secs(1),
            retry_longest: Duration::from_secs(60),
            external_url: String::new(),
            history: 10_000,
        }
    }
}

impl Config {
    /// The rules in force: those that ship, then those of the configuration.
    #[must_use]
    pub fn rules_in_force(&self) -> Vec<Rule> {
        let own = self
            .rules
            .iter()
            .map(|rule| Rule::of_config(rule, self.resolve_after));
        Rule::built_in().into_iter().chain(own).collect()
    }
}

impl runtime::ServiceConfig for Config {
    fn validate(&self) -> Result<(), String> {
        let times = [
            ("resolve_after", self.resolve_after),
            ("notify_within", self.notify_within),
            ("retry_first", self.retry_first),
            ("retry_longest", self.retry_longest),
        ];
        if let Some((key, _)) = times.into_iter().find(|(_, time)| time.is_zero()) {
            return Err(format!("alerting.{key} is 0; it must be longer"));
        }
        if self.history > 1_000_000 {
            return Err(format!(
                "alerting.history is {}; at most 1000000 are kept",
                self.history
            ));
        }
        let mut ids: BTreeSet<RuleId> = Rule::built_in().into_iter().map(|rule| rule.id).collect();
        for rule in &self.rules {
            rule.validate()?;
            if !ids.insert(rule.id.clone()) {
                return Err(format!(
                    "alerting.rules: there are two rules {}; rules that ship cannot be replaced",
                    rule.id
                ));
            }
        }
        let mut names = BTreeSet::new();
        for receiver in &self.receivers {
            receiver.validate()?;
            if !names.insert(&receiver.name) {
                return Err(format!(
                    "alerting.receivers: there are two receivers {}",
                    receiver.name
                ));
            }
        }
        Ok(())
    }
}

impl RuleConfig {
    fn validate(&self) -> Result<(), String> {
        let place = format!("alerting.rules: rule {}", self.id);
        let known = events::find(&self.event_type).is_some()
            || self
                .event_type
                .strip_prefix("custom.")
                .is_some_and(|name| name == events::token(name));
        if !known || self.event_type.starts_with("alerting.") {
            return Err(format!(
                "{place}: event_type {:?} is no event that a rule can be about; `fresnel events list` has them",
                self.event_type
            ));
        }
        if self.min_score.is_some_and(|least| !least.is_finite()) {
            return Err(format!("{place}: min_score must be a number"));
        }
        if self.resolve_after.is_some_and(|time| time.is_zero()) {
            return Err(format!("{place}: resolve_after is 0; it must be longer"));
        }
        Ok(())
    }
}

impl ReceiverConfig {
    /// The URL, checked.
    ///
    /// # Errors
    /// A sentence that names the receiver and what is wrong. The URL may hold a secret and is not repeated.
    pub(crate) fn url(&self) -> Result<Url, String> {
        let place = format!("alerting.receivers: receiver {}", self.name);
        let url = Url::parse(&self.webhook)
            .map_err(|error| format!("{place}: webhook is no URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{place}: webhook must be an http or https URL"));
        }
        Ok(url)
    }

    fn validate(&self) -> Result<(), String> {
        self.url()?;
        if self.timeout.is_zero() {
            return Err(format!(
                "alerting.receivers: receiver {}: timeout is 0; it must be longer",
                self.name
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
