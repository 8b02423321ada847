use runtime::ServiceConfig;

use super::Config;

/// The words of the refusal of `json`; empty where it is accepted.
fn refusal(json: serde_json::Value) -> String {
    match serde_json::from_value::<Config>(json) {
        Err(error) => error.to_string(),
        Ok(config) => config.validate().err().unwrap_or_default(),
    }
}

#[test]
fn a_wrong_value_is_named() {
    let rule = |change: serde_json::Value| {
        let mut rule = serde_json::json!({"id": "hall", "event_type": "pose.motion_detected", "severity": "warning"});
        rule.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        serde_json::json!({"rules": [rule]})
    };
    let receiver = |url: &str| serde_json::json!({"receivers": [{"name": "ops", "webhook": url}]});
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let check = |given: serde_json::Value, part: &str| {
        let words = refusal(given.clone());
        assert!(
            words.contains(part) && (part.is_empty() == words.is_empty()),
            "{given}: {words:?}"
        );
    };
    check(json("{}"), "");
    check(
        rule(json(
            r#"{"min_score": 0.5, "zone": "hall", "title": "Motion", "resolve_after": "30s"}"#,
        )),
        "",
    );
    check(rule(json(r#"{"event_type": "custom.doorbell"}"#)), "");
    check(receiver("http://127.0.0.1:9093/hook"), "");
    check(json(r#"{"resolve_after": "0s"}"#), "alerting.resolve_after");
    check(json(r#"{"rulez": []}"#), "rulez");
    check(rule(json(r#"{"id": "Hall"}"#)), "'H'");
    check(
        rule(json(r#"{"id": "fall-critical"}"#)),
        "cannot be replaced",
    );
    check(
        rule(json(r#"{"event_type": "pose.motion"}"#)),
        "\"pose.motion\"",
    );
    check(rule(json(r#"{"event_type": "custom.a.b"}"#)), "custom.a.b");
    check(
        rule(json(r#"{"event_type": "alerting.alert_raised"}"#)),
        "alerting.alert_raised",
    );
    check(rule(json(r#"{"severity": "bad"}"#)), "bad");
    check(rule(json(r#"{"resolve_after": "0s"}"#)), "rule hall");
    check(receiver("nowhere"), "receiver ops: webhook is no URL");
    check(receiver("ftp://host/secret"), "http or https");
    check(
        json(
            r#"{"receivers": [{"name": "a", "webhook": "http://h"}, {"name": "a", "webhook": "http://i"}]}"#,
        ),
        "two receivers a",
    );
}

#[test]
fn the_rule_that_ships_is_always_there() {
    let rules = Config::default().rules_in_force();
    assert_eq!(
        rules
            .iter()
            .map(|rule| rule.id.as_str())
            .collect::<Vec<_>>(),
        ["fall-critical"]
    );
    let config: Config = serde_json::from_str(
        r#"{"rules": [{"id": "hall", "event_type": "pose.motion_detected", "severity": "info"}]}"#,
    )
    .unwrap();
    assert_eq!(config.rules_in_force().len(), 2);
}
