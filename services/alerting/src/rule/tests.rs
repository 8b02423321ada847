use events::pose::{FallDetected, FallType, ImpactSeverity, MotionDetected, MotionType};
use events::{
    DataSource, EventEnvelope, EventId, Metadata, PersonId, SessionId, Timestamp, ZoneId,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn fall(confidence: f32) -> EventEnvelope {
    let event = FallDetected {
        event_id: EventId(Uuid::from_u128(1)),
        person_id: PersonId(Uuid::from_u128(2)),
        session_id: SessionId(Uuid::from_u128(3)),
        zone_id: Some(ZoneId::new("hall").unwrap()),
        timestamp: Timestamp::from_micros(5_000_000),
        confidence,
        fall_type: FallType::Forward,
        duration_ms: None,
        impact_severity: ImpactSeverity::High,
        fall_location: None,
        pre_fall_activity: "walking".into(),
        requires_verification: true,
        auto_alert_sent: false,
    };
    EventEnvelope::new(Uuid::from_u128(4), &event, Metadata::default()).unwrap()
}

fn motion(zone: Option<&str>, score: f32) -> EventEnvelope {
    let event = MotionDetected {
        event_id: EventId(Uuid::from_u128(1)),
        session_id: None,
        zone_id: zone.map(|zone| ZoneId::new(zone).unwrap()),
        device_id: "node-1".parse().unwrap(),
        timestamp: Timestamp::default(),
        motion_score: score,
        motion_type: MotionType::General,
        person_ids: vec![],
        person_count: 0,
        velocity_estimate: None,
        direction: None,
    };
    EventEnvelope::new(Uuid::from_u128(4), &event, Metadata::default()).unwrap()
}

fn rule(min_score: Option<f64>, zone: Option<&str>) -> Rule {
    Rule {
        id: RuleId::new("motion").unwrap(),
        event_type: "pose.motion_detected".into(),
        threshold: min_score.map(Threshold::AtLeast),
        zone: zone.map(|zone| ZoneId::new(zone).unwrap()),
        severity: Severity::Warning,
        title: None,
        resolve_after: Duration::from_secs(60),
        built_in: false,
    }
}

#[test]
fn a_fall_above_four_fifths_is_critical_and_one_at_four_fifths_is_not() {
    let [rule] = &Rule::built_in()[..] else {
        panic!("one rule ships")
    };
    assert_eq!(rule.check(&fall(0.8)), None);
    assert_eq!(rule.check(&fall(0.5)), None);
    let found = rule.check(&fall(0.81)).unwrap();
    assert_eq!(rule.severity, Severity::Critical);
    assert_eq!(found.title, "Fall detected in hall");
    assert_eq!(
        found.message,
        "pose.fall_detected in zone hall, confidence 0.81 (above 0.8), at 1970-01-01T00:00:05.000000Z"
    );
    assert_eq!(found.person, Some(PersonId(Uuid::from_u128(2))));
    let labels: Vec<_> = found
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let person = format!("person={}", Uuid::from_u128(2));
    assert_eq!(
        labels,
        [
            "alertname=fall-critical",
            "event_type=pose.fall_detected",
            &person,
            "severity=critical",
            "zone=hall"
        ]
    );
}

#[test]
fn a_rule_is_about_its_event_its_zone_and_its_score() {
    let check = |rule: &Rule, event: &EventEnvelope, matches: bool| {
        assert_eq!(rule.check(event).is_some(), matches, "{rule:?} {event:?}");
    };
    check(&rule(None, None), &motion(None, 0.1), true);
    check(&rule(None, None), &fall(0.9), false);
    check(&rule(Some(0.5), None), &motion(None, 0.5), true);
    check(&rule(Some(0.5), None), &motion(None, 0.49), false);
    check(&rule(None, Some("hall")), &motion(Some("hall"), 0.1), true);
    check(
        &rule(None, Some("hall")),
        &motion(Some("hall-2"), 0.1),
        false,
    );
    check(&rule(None, Some("hall")), &motion(None, 0.1), false);
    // No score is no high score; a text is no score.
    let mut silent = motion(None, 0.9);
    silent
        .payload
        .as_object_mut()
        .unwrap()
        .remove("motion_score");
    check(&rule(Some(0.0), None), &silent, false);
    check(&rule(None, None), &silent, true);
    silent.payload["motion_score"] = "0.9".into();
    check(&rule(Some(0.0), None), &silent, false);
    silent.payload = serde_json::json!([1]);
    check(&rule(Some(0.0), None), &silent, false);
}

#[test]
fn the_zone_is_the_key_where_the_payload_has_none() {
    let mut window = motion(None, 0.9);
    assert_eq!(window.key, "node-1");
    assert_eq!(
        rule(None, None).check(&window).unwrap().zone,
        None,
        "a device is no zone"
    );
    assert_eq!(
        rule(None, None).check(&window).unwrap().labels["device"],
        "node-1"
    );
    window = window.keyed("hall");
    let found = rule(None, Some("hall")).check(&window).unwrap();
    assert_eq!(found.zone, Some(ZoneId::new("hall").unwrap()));
    assert_eq!(found.labels.get("device"), None);
}

#[test]
fn what_is_not_live_says_so_and_is_a_condition_of_its_own() {
    let live = rule(None, None).check(&motion(Some("hall"), 0.9)).unwrap();
    let mut said = motion(Some("hall"), 0.9);
    said.metadata.data_source = Some(DataSource::Live);
    assert_eq!(
        rule(None, None).check(&said).unwrap(),
        live,
        "that it is live is no other condition"
    );
    let replayed = |run: u128| {
        let mut event = motion(Some("hall"), 0.9).correlated(Some(Uuid::from_u128(run)));
        event.metadata.data_source = Some(DataSource::Replay);
        rule(None, None).check(&event).unwrap()
    };
    assert_eq!(replayed(7).labels["data_source"], "replay");
    assert_eq!(replayed(7).labels["run"], Uuid::from_u128(7).to_string());
    assert!(replayed(7).message.ends_with("; not live: replay"));
    assert_eq!(replayed(7), replayed(7));
    assert_ne!(replayed(7).fingerprint, live.fingerprint);
    assert_ne!(replayed(7).fingerprint, replayed(8).fingerprint);
    let mut simulated = motion(Some("hall"), 0.9);
    simulated.metadata.data_source = Some(DataSource::Simulated);
    assert_eq!(
        rule(None, None).check(&simulated).unwrap().labels["data_source"],
        "simulated"
    );
}

#[test]
fn the_fingerprint_does_not_depend_on_score_or_time() {
    let one = rule(None, None).check(&motion(Some("hall"), 0.5)).unwrap();
    let other = rule(None, None).check(&motion(Some("hall"), 0.9)).unwrap();
    assert_eq!(one.fingerprint, other.fingerprint);
    assert_ne!(one.message, other.message);
    // printf 'r\xffa\xffb\xff' | sha256sum
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    assert_eq!(
        fingerprint(&RuleId::new("r").unwrap(), &labels),
        "87e477c71d04c38d"
    );
}

proptest! {
    #[test]
    fn other_labels_are_another_fingerprint(
        one in prop::collection::btree_map(".{0,4}", ".{0,4}", 0..4),
        other in prop::collection::btree_map(".{0,4}", ".{0,4}", 0..4),
    ) {
        let rule = RuleId::new("r").unwrap();
        prop_assert_eq!(fingerprint(&rule, &one) == fingerprint(&rule, &other), one == other);
    }
}
