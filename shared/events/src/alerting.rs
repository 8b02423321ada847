//! Events of `alerting`.

use std::collections::BTreeMap;

use crate::Timestamp;
use crate::declare::{choices, events};
use crate::id::{AlertId, EventId, NotificationId, PersonId, ReceiverId, RuleId, ZoneId};

choices! {
    /// How bad it is.
    pub enum Severity {
        Info = "info",
        Warning = "warning",
        Critical = "critical",
    }
    /// What was changed.
    pub enum RuleKind {
        Rule = "rule",
        Route = "route",
        Receiver = "receiver",
        Silence = "silence",
    }
    /// What happened to it.
    pub enum Change {
        Created = "created",
        Updated = "updated",
        Deleted = "deleted",
    }
}

events! {
    /// A rule matched: people should know.
    "alerting.alert_raised" v1 of "alert" alert_id, key(alert_id), by "alerting", flags(sourced),
    when "a rule matched, and its `for` time passed";
    pub struct AlertRaised {
        pub alert_id: AlertId,
        pub rule_id: RuleId,
        pub timestamp: Timestamp,
        pub severity: Severity,
        pub title: String,
        pub message: String,
        pub labels: BTreeMap<String, String>,
        pub zone_id: Option<ZoneId>,
        pub person_id: Option<PersonId>,
        pub trigger_event_id: EventId,
        pub fingerprint: String,
    }

    /// Somebody took an alert on.
    "alerting.alert_acknowledged" v1 of "alert" alert_id, key(alert_id),
    by "alerting", flags(sourced),
    when "an operator took it on";
    pub struct AlertAcknowledged {
        pub alert_id: AlertId,
        pub timestamp: Timestamp,
        pub acknowledged_by: String,
        pub comment: Option<String>,
    }

    /// Nobody took an alert on in time: the next receiver is told.
    "alerting.alert_escalated" v1 of "alert" alert_id, key(alert_id), by "alerting", flags(sourced),
    when "nobody acknowledged it within its escalation step";
    pub struct AlertEscalated {
        pub alert_id: AlertId,
        pub timestamp: Timestamp,
        pub step: u8,
        pub receiver: ReceiverId,
    }

    /// An alert is over.
    "alerting.alert_resolved" v1 of "alert" alert_id, key(alert_id), by "alerting", flags(sourced),
    when "its condition cleared, or an operator resolved it";
    pub struct AlertResolved {
        pub alert_id: AlertId,
        pub timestamp: Timestamp,
        pub resolved_by: Option<String>,
        pub reason: String,
        pub duration_seconds: f64,
    }

    /// A receiver accepted a notification.
    "alerting.notification_delivered" v1 of "alert" alert_id, key(alert_id), by "alerting", flags(),
    when "a receiver accepted it";
    pub struct NotificationDelivered {
        pub alert_id: AlertId,
        pub notification_id: NotificationId,
        pub receiver: ReceiverId,
        pub timestamp: Timestamp,
        pub latency_ms: f64,
        pub attempt: u8,
    }

    /// A notification did not reach its receiver.
    "alerting.notification_failed" v1 of "alert" alert_id, key(alert_id), by "alerting", flags(),
    when "a receiver refused it or could not be reached";
    pub struct NotificationFailed {
        pub alert_id: AlertId,
        pub notification_id: NotificationId,
        pub receiver: ReceiverId,
        pub timestamp: Timestamp,
        pub error_code: String,
        pub error_message: String,
        pub attempt: u8,
        pub will_retry: bool,
    }

    /// What alerting goes by was changed.
    "alerting.rule_changed" v1 of "rule" rule_id, key(rule_id), by "alerting", flags(),
    when "a rule, route, receiver or silence was created, changed or deleted";
    pub struct RuleChanged {
        pub rule_id: RuleId,
        pub timestamp: Timestamp,
        pub kind: RuleKind,
        pub change: Change,
        pub changed_by: Option<String>,
    }
}
