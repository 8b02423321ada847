use std::collections::BTreeMap;

use bus::Version;
use events::alerting::{AlertRaised, AlertResolved, Severity};
use events::pose::{MotionDetected, MotionType};
use events::{EventId, Metadata, RuleId, ZoneId};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::alert::{CONDITION_CLEARED, Refusal, State, alert_id, raise};
use crate::config::RuleConfig;
use crate::rule::Rule;

const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_micros((seconds * 1e6) as i64)
}

fn after(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn rule() -> Rule {
    let config = RuleConfig {
        id: RuleId::new("motion").unwrap(),
        event_type: "pose.motion_detected".into(),
        min_score: None,
        zone: None,
        severity: Severity::Warning,
        title: None,
        resolve_after: None,
    };
    Rule::of_config(&config, MINUTE)
}

fn motion(number: u128, zone: &str, time: f64) -> EventEnvelope {
    let event = MotionDetected {
        event_id: EventId(Uuid::from_u128(number)),
        session_id: None,
        zone_id: Some(ZoneId::new(zone).unwrap()),
        device_id: "node-1".parse().unwrap(),
        timestamp: at(time),
        motion_score: 0.9,
        motion_type: MotionType::General,
        person_ids: vec![],
        person_count: 0,
        velocity_estimate: None,
        direction: None,
    };
    EventEnvelope::new(Uuid::from_u128(number), &event, Metadata::default()).unwrap()
}

/// What the handler does, without the bus: (resolved, raised).
fn step(
    alerts: &mut Alerts,
    event: &EventEnvelope,
    now: Duration,
) -> (Vec<Cleared>, Option<AlertId>) {
    let rule = rule();
    let found = rule.check(event).unwrap();
    let lane = Lane::of(event);
    let due = alerts.due(&lane, &[&found.fingerprint], event.occurred_at);
    for cleared in &due {
        let mut alert = alerts.get(cleared.alert).unwrap().clone();
        alert.resolved = alert.clear(cleared.at);
        alerts.put(alert);
    }
    if alerts.get(alert_id(&rule, event)).is_some()
        || alerts.repeated(&found.fingerprint, event.occurred_at, now)
    {
        return (due, None);
    }
    let raised = raise(&rule, event, found);
    let id = raised.alert_id;
    let envelope = EventEnvelope::new(Uuid::nil(), &raised, Metadata::default()).unwrap();
    alerts.put(Alert::begun(&envelope, event.occurred_at, Version::default()).unwrap());
    alerts.watch(id, lane, rule.resolve_after, now);
    (due, Some(id))
}

#[test]
fn a_repeat_while_an_alert_is_open_raises_no_other() {
    let mut alerts = Alerts::new(10);
    let (_, first) = step(&mut alerts, &motion(1, "hall", 0.0), after(0));
    assert!(first.is_some());
    for number in 2..20 {
        let time = 50.0 * (number - 1) as f64;
        assert_eq!(
            step(&mut alerts, &motion(number, "hall", time), after(0)),
            (vec![], None),
            "at {time} s"
        );
    }
    let (_, other) = step(&mut alerts, &motion(30, "attic", 0.0), after(0));
    assert!(other.is_some(), "another zone is another condition");
    assert_eq!(alerts.open().len(), 2);
}

#[test]
fn a_condition_clears_by_the_time_of_the_data() {
    let mut alerts = Alerts::new(10);
    let (_, first) = step(&mut alerts, &motion(1, "hall", 0.0), after(0));
    step(&mut alerts, &motion(2, "hall", 40.0), after(0));
    // 60 s after the newest match, not after the first.
    assert!(
        alerts
            .due(&Lane::of(&motion(3, "hall", 0.0)), &[], at(99.9))
            .is_empty()
    );
    let cleared = Cleared {
        alert: first.unwrap(),
        at: at(100.0),
    };
    assert_eq!(
        alerts.due(&Lane::of(&motion(3, "hall", 0.0)), &[], at(100.0)),
        [cleared]
    );
    assert!(
        alerts
            .due(&Lane::of(&motion(3, "attic", 0.0)), &[], at(100.0))
            .is_empty(),
        "another room's time"
    );
    let (due, second) = step(&mut alerts, &motion(3, "hall", 200.0), after(0));
    assert_eq!(due, [cleared]);
    assert!(
        second.is_some() && second != first,
        "and a new match is a new alert"
    );
    let resolved = alerts
        .get(first.unwrap())
        .unwrap()
        .resolved
        .as_ref()
        .unwrap();
    assert_eq!(
        (
            resolved.reason.as_str(),
            resolved.timestamp,
            resolved.duration_seconds
        ),
        (CONDITION_CLEARED, at(100.0), 100.0)
    );
}

#[test]
fn a_condition_clears_when_nothing_is_heard_and_not_while_we_are_deaf() {
    let mut alerts = Alerts::new(10);
    let (_, first) = step(&mut alerts, &motion(1, "hall", 5.0), after(100));
    assert!(alerts.quiet(after(159)).is_empty());
    assert_eq!(
        alerts.quiet(after(160)),
        [Cleared {
            alert: first.unwrap(),
            at: at(65.0)
        }]
    );
    alerts.deaf_until(after(160));
    assert!(alerts.quiet(after(219)).is_empty());
    assert_eq!(alerts.quiet(after(220)).len(), 1);
    step(&mut alerts, &motion(2, "hall", 6.0), after(220));
    assert!(alerts.quiet(after(279)).is_empty(), "a match is heard");
}

#[test]
fn a_delivery_again_raises_nothing_again() {
    let mut alerts = Alerts::new(10);
    let event = motion(1, "hall", 0.0);
    let (_, first) = step(&mut alerts, &event, after(0));
    let mut alert = alerts.get(first.unwrap()).unwrap().clone();
    alert.resolved = Some(alert.resolve("ada", "seen", at(3.0)).unwrap());
    alerts.put(alert);
    assert!(alerts.open().is_empty());
    assert_eq!(
        step(&mut alerts, &event, after(1)),
        (vec![], None),
        "it is known although it is resolved"
    );
    assert!(
        step(&mut alerts, &motion(2, "hall", 4.0), after(1))
            .1
            .is_some()
    );
}

#[test]
fn an_older_match_does_not_turn_time_back() {
    let mut alerts = Alerts::new(10);
    step(&mut alerts, &motion(1, "hall", 50.0), after(0));
    step(&mut alerts, &motion(2, "hall", 10.0), after(0));
    assert!(
        alerts
            .due(&Lane::of(&motion(1, "hall", 0.0)), &[], at(109.0))
            .is_empty()
    );
    assert_eq!(
        alerts
            .due(&Lane::of(&motion(1, "hall", 0.0)), &[], at(110.0))
            .len(),
        1
    );
}

#[test]
fn of_the_resolved_the_newest_are_kept_and_the_open_always() {
    let mut alerts = Alerts::new(2);
    for number in 0..5 {
        step(
            &mut alerts,
            &motion(number + 1, "hall", 1000.0 * number as f64),
            after(0),
        );
    }
    let times: Vec<_> = alerts
        .newest_first(None)
        .map(|alert| alert.raised.timestamp)
        .collect();
    assert_eq!(times, [at(4000.0), at(3000.0), at(2000.0)]);
    let first = alerts
        .newest_first(None)
        .next()
        .map(|alert| (alert.raised.timestamp, alert.id()));
    assert_eq!(alerts.newest_first(first).count(), 2, "after the first");
    assert_eq!(alerts.open().len(), 1);
}

#[test]
fn an_alert_is_taken_on_once_and_ends_once() {
    let mut alerts = Alerts::new(2);
    let (_, id) = step(&mut alerts, &motion(1, "hall", 0.0), after(0));
    let mut alert = alerts.get(id.unwrap()).unwrap().clone();
    assert_eq!(alert.state(), State::Firing);
    alert.acknowledged = alert.acknowledge("ada", None, at(1.0)).unwrap();
    assert_eq!(alert.state(), State::Acknowledged);
    assert_eq!(alert.acknowledge("ada", None, at(2.0)), Ok(None));
    assert!(
        matches!(alert.acknowledge("bob", None, at(2.0)), Err(Refusal::Acknowledged { by, .. }) if by == "ada")
    );
    let resolved = alert.resolve("bob", "help came", at(9.0)).unwrap();
    assert_eq!(
        (resolved.duration_seconds, resolved.resolved_by.as_deref()),
        (9.0, Some("bob"))
    );
    let envelope = EventEnvelope::new(Uuid::nil(), &resolved, Metadata::default()).unwrap();
    alert.apply(&envelope);
    assert_eq!(alert.state(), State::Resolved);
    assert!(
        alert.acknowledge("ada", None, at(10.0)).is_err()
            && alert.resolve("ada", "", at(10.0)).is_err()
    );
    assert_eq!(alert.clear(at(11.0)), None);
}

#[test]
fn an_alert_is_what_its_events_say() {
    let raised = AlertRaised {
        alert_id: Uuid::from_u128(9).into(),
        rule_id: RuleId::new("motion").unwrap(),
        timestamp: at(0.0),
        severity: Severity::Info,
        title: "a".into(),
        message: "b".into(),
        labels: BTreeMap::new(),
        zone_id: None,
        person_id: None,
        trigger_event_id: EventId(Uuid::from_u128(8)),
        fingerprint: "f".into(),
    };
    let resolved = AlertResolved {
        alert_id: raised.alert_id,
        timestamp: at(4.0),
        resolved_by: None,
        reason: CONDITION_CLEARED.into(),
        duration_seconds: 4.0,
    };
    let events = [
        EventEnvelope::new(Uuid::from_u128(1), &raised, Metadata::default()).unwrap(),
        motion(3, "hall", 1.0),
        EventEnvelope::new(Uuid::from_u128(2), &resolved, Metadata::default()).unwrap(),
    ];
    let alert = Alert::replay(&events, at(0.0), Version::default()).unwrap();
    assert_eq!((alert.raised, alert.resolved), (raised, Some(resolved)));
    assert_eq!(
        Alert::replay(&events[1..], at(0.0), Version::default()),
        None,
        "without its beginning there is none"
    );
}

proptest! {
    /// Whatever comes in whatever order and however often: alerts of one zone never overlap, and none is raised twice.
    #[test]
    fn one_open_alert_per_condition(deliveries in prop::collection::vec((0..40_u32, 0..2_usize), 1..120)) {
        let mut alerts = Alerts::new(1000);
        let mut ids = BTreeSet::new();
        for (number, zone) in deliveries {
            let zone_name = ["hall", "attic"][zone];
            let event = motion(u128::from(number) * 2 + zone as u128, zone_name, f64::from(number) * 25.0);
            let (_, raised) = step(&mut alerts, &event, after(0));
            if let Some(id) = raised {
                prop_assert!(ids.insert(id), "raised twice");
            }
            let open: Vec<_> = alerts.open().iter().filter_map(|id| alerts.get(*id)).map(|alert| alert.raised.fingerprint.clone()).collect();
            prop_assert_eq!(open.iter().collect::<BTreeSet<_>>().len(), open.len());
        }
    }
}
