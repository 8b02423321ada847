//! One event as one line for people: when, what, where, and what it says.

use std::fmt::Write as _;

use chrono::{DateTime, Local};
use serde_json::Value;

use super::source::Event;
use crate::client::printable;

/// The fields that say most, in the order in which they are shown.
const TELLING: &[&str] = &[
    "confidence",
    "overall_confidence",
    "presence_confidence",
    "motion_score",
    "motion_type",
    "human_detected",
    "previous_activity",
    "new_activity",
    "fall_type",
    "person_count",
    "severity",
    "title",
    "message",
    "quality_score",
    "num_subcarriers",
    "snr_db",
    "is_complete",
    "device_type",
    "protocol",
    "ip_address",
    "mac_address",
    "receiver",
    "model_id",
    "version",
    "error_category",
    "error_code",
    "error_message",
    "reason",
    "stream_type",
    "client_id",
    "messages_sent",
    "messages_failed",
    "latency_ms",
    "duration_seconds",
    "uptime_seconds",
];
/// Fields shown where an event has none of the telling ones.
const FALLBACK_FIELDS: usize = 4;
/// Longest text of a field, in characters.
const LONGEST: usize = 120;

const BOLD: &str = "\u{1b}[1m";
const DIM: &str = "\u{1b}[2m";
const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const CYAN: &str = "\u{1b}[36m";
const MAGENTA: &str = "\u{1b}[35m";
const RESET: &str = "\u{1b}[0m";

/// How lines look.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Whether the output is a terminal that takes colours.
    pub colours: bool,
}

impl Style {
    /// `12:00:01.250 pose.motion_detected hall  motion_score=0.83 motion_type=walking [replay]`.
    #[must_use]
    pub fn line(&self, event: &Event) -> String {
        let envelope = &event.envelope;
        let payload = envelope.get("payload").unwrap_or(&Value::Null);
        let text = |field: &str| {
            envelope
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let event_type = text("event_type");
        let key = event
            .subject
            .strip_prefix(event_type)
            .and_then(|rest| rest.strip_prefix('.'))
            .unwrap_or_default();
        let mut line = String::new();
        self.paint(&mut line, DIM, &time(text("occurred_at"), Local::now()));
        line.push(' ');
        self.paint(
            &mut line,
            colour(event_type, payload),
            &printable(event_type),
        );
        let _ = write!(line, " {}", printable(key));
        let mut gap = "  ";
        for (name, value) in telling(payload, key) {
            line.push_str(gap);
            self.paint(&mut line, DIM, name);
            let _ = write!(line, "={value}");
            gap = " ";
        }
        match envelope
            .pointer("/metadata/data_source")
            .and_then(Value::as_str)
        {
            // Hardware, now: nothing to warn of.
            None | Some("live") => {}
            Some(source) => {
                line.push(' ');
                self.paint(&mut line, MAGENTA, &format!("[{}]", printable(source)));
            }
        }
        line
    }

    fn paint(self, line: &mut String, colour: &str, text: &str) {
        if self.colours && !colour.is_empty() {
            let _ = write!(line, "{colour}{text}{RESET}");
        } else {
            line.push_str(text);
        }
    }
}

fn colour(event_type: &str, payload: &Value) -> &'static str {
    let name = event_type
        .split_once('.')
        .map_or(event_type, |(_, name)| name);
    match name {
        "fall_detected" => RED,
        "alert_raised" if payload.get("severity").is_some_and(|s| s == "critical") => RED,
        _ if name.contains("failed") || name.contains("error") || name.contains("violation") => RED,
        "motion_detected" | "alert_raised" => YELLOW,
        _ if event_type.starts_with("pose.") => CYAN,
        _ => BOLD,
    }
}

/// The time of day where it is of today, else with its date; local time.
fn time(text: &str, now: DateTime<Local>) -> String {
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) => {
            let time = time.with_timezone(&Local);
            let format = if time.date_naive() == now.date_naive() {
                "%H:%M:%S%.3f"
            } else {
                "%Y-%m-%d %H:%M:%S%.3f"
            };
            time.format(format).to_string()
        }
        Err(_) => printable(text),
    }
}

fn telling<'a>(payload: &'a Value, key: &str) -> Vec<(&'a str, String)> {
    let Some(fields) = payload.as_object() else {
        return Vec::new();
    };
    let mut shown: Vec<(&str, String)> = Vec::new();
    // Where it was, unless the key says it already.
    for place in ["zone_id", "device_id"] {
        if let Some((name, value)) = fields
            .get_key_value(place)
            .filter(|(_, value)| value.as_str() != Some(key))
        {
            shown.extend(scalar(value).map(|value| (name.as_str(), value)));
        }
    }
    let places = shown.len();
    for name in TELLING {
        if let Some((name, value)) = fields.get_key_value(*name) {
            shown.extend(scalar(value).map(|value| (name.as_str(), value)));
        }
    }
    if shown.len() == places {
        let rest = fields.iter().filter(|(name, _)| !is_identity(name));
        let rest = rest.filter_map(|(name, value)| Some((name.as_str(), scalar(value)?)));
        shown.extend(rest.take(FALLBACK_FIELDS));
    }
    shown
}

/// Ids and times, which say little to people.
fn is_identity(name: &str) -> bool {
    name == "timestamp" || name.ends_with("_id") || name.ends_with("_at") || name.ends_with("_ids")
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) if number.is_f64() => Some(rounded(number.as_f64()?)),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => {
            let short: String = printable(text).chars().take(LONGEST).collect();
            let short = short.replace('\n', "\\n");
            Some(if short.contains(' ') {
                format!("\"{short}\"")
            } else {
                short
            })
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Three decimals at most, as many as say something.
fn rounded(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Style, rounded};
    use crate::watch::source::Event;
    use serde_json::{Value, json};

    fn check(
        subject: &str,
        event_type: &str,
        payload: Value,
        source: Option<&str>,
        expected: &str,
    ) {
        let envelope = json!({
            "event_type": event_type,
            "occurred_at": "not a time",
            "metadata": {"source": "signal/1", "data_source": source},
            "payload": payload,
        });
        let event = Event {
            subject: subject.into(),
            envelope,
        };
        assert_eq!(Style { colours: false }.line(&event), expected);
    }

    #[test]
    fn what_a_line_tells() {
        check(
            "pose.motion_detected.hall",
            "pose.motion_detected",
            json!({"event_id": "x", "zone_id": "hall", "device_id": "esp-1", "motion_score": 0.8312, "motion_type": "walking"}),
            Some("replay"),
            "not a time pose.motion_detected hall  device_id=esp-1 motion_score=0.831 motion_type=walking [replay]",
        );
        check(
            "hardware.device_error.esp-1",
            "hardware.device_error",
            json!({"device_id": "esp-1", "error_code": "TRUNCATED", "error_message": "12 of 20 bytes\u{1b}[2J"}),
            Some("live"),
            "not a time hardware.device_error esp-1  error_code=TRUNCATED error_message=\"12 of 20 bytes\\u{1b}[2J\"",
        );
        check(
            "custom.door.front",
            "custom.door",
            json!({"door_id": 3, "open": true, "force": 2.50, "list": [1], "timestamp": "t"}),
            None,
            "not a time custom.door front  force=2.5 open=true",
        );
        check(
            "custom.empty.x",
            "custom.empty",
            Value::Null,
            None,
            "not a time custom.empty x",
        );
    }

    #[test]
    fn colours_only_where_wanted() {
        let envelope = json!({"event_type": "pose.fall_detected", "payload": {}, "metadata": {}});
        let event = Event {
            subject: "pose.fall_detected.hall".into(),
            envelope,
        };
        assert!(
            Style { colours: true }
                .line(&event)
                .contains("\u{1b}[31mpose.fall_detected\u{1b}[0m")
        );
        assert!(!Style { colours: false }.line(&event).contains('\u{1b}'));
    }

    #[test]
    fn numbers_are_short() {
        for (number, expected) in [
            (0.5, "0.5"),
            (2.0, "2"),
            (0.12349, "0.123"),
            (-40.0, "-40"),
            (100.0, "100"),
        ] {
            assert_eq!(rounded(number), expected);
        }
    }
}
