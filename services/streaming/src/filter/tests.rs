use events::{EventEnvelope, Metadata, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{FilterError, Filters, SubjectFilter};

fn envelope(payload: Value) -> EventEnvelope {
    EventEnvelope {
        id: Uuid::nil(),
        event_type: "pose.motion_detected".into(),
        aggregate_id: "a".into(),
        aggregate_type: "motion".into(),
        sequence_number: 0,
        occurred_at: Timestamp::default(),
        correlation_id: None,
        causation_id: None,
        version: 1,
        metadata: Metadata::default(),
        payload,
        key: "hall".into(),
        extra: std::collections::BTreeMap::new(),
    }
}

#[test]
fn filters_are_completed() {
    let check = |text: &str, expected: &str| {
        assert_eq!(SubjectFilter::parse(text).unwrap().as_str(), expected)
    };
    check("pose.motion_detected", "pose.motion_detected.*");
    check("pose.motion_detected.hall", "pose.motion_detected.hall");
    check("pose.*", "pose.*.*");
    check("pose.>", "pose.>");
    check("*.*.hall", "*.*.hall");
    check(">", ">");
    check("custom.my_event", "custom.my_event.*");
}

#[test]
fn what_is_wrong_is_said_with_the_filter() {
    let check = |text: &str, expected: &str| {
        let message = SubjectFilter::parse(text).unwrap_err().to_string();
        assert_eq!(message, expected);
    };
    check("", "subject filter ``: part 1 is empty");
    check("pose..hall", "subject filter `pose..hall`: part 2 is empty");
    check(
        "pose.motion_detected.",
        "subject filter `pose.motion_detected.`: part 3 is empty",
    );
    check(
        "pose.motion detected",
        "subject filter `pose.motion detected`: ' ' cannot be in a subject",
    );
    check(
        "pose.mo*",
        "subject filter `pose.mo*`: `*` must be a part of its own",
    );
    check(
        "pose.>.hall",
        "subject filter `pose.>.hall`: `>` must be the last part",
    );
    check(
        "pose",
        "subject filter `pose` names no event; `pose.>` means all of them",
    );
    check(
        "*",
        "subject filter `*` names no event; `*.>` means all of them",
    );
    check(
        "pose.a.b.c",
        "subject filter `pose.a.b.c` has 4 parts; an event's subject has 3: context, event and key",
    );
    let message = SubjectFilter::parse("data.csi.hall")
        .unwrap_err()
        .to_string();
    assert!(message.starts_with(
        "subject filter `data.csi.hall`: no event begins with `data`; the contexts are hardware, "
    ));
    let long = format!("pose.{}", "x".repeat(300));
    assert!(matches!(
        SubjectFilter::parse(&long),
        Err(FilterError::TooLong { length: 305, .. })
    ));
}

#[test]
fn limits_of_a_subscription() {
    let none: [&str; 0] = [];
    assert_eq!(Filters::new(&none, None, 4), Err(FilterError::None));
    assert_eq!(
        Filters::new(&[">"; 5], None, 4),
        Err(FilterError::TooMany { count: 5, most: 4 })
    );
    for bad in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
        assert!(
            matches!(
                Filters::new(&[">"], Some(bad), 4),
                Err(FilterError::MinConfidence { .. })
            ),
            "{bad}"
        );
    }
}

#[test]
fn a_filter_given_twice_counts_once() {
    let filters = Filters::new(
        &["pose.motion_detected", "pose.motion_detected.*", "pose.>"],
        None,
        16,
    )
    .unwrap();
    assert_eq!(filters.subjects(), ["pose.motion_detected.*", "pose.>"]);
}

#[test]
fn keys_are_those_named() {
    let filters = Filters::new(
        &[
            "pose.*.hall",
            "signal.signal_processed.den",
            "hardware.>",
            "*.*.hall",
        ],
        None,
        9,
    );
    assert_eq!(filters.unwrap().keys(), ["den", "hall"]);
}

#[test]
fn confidence_is_a_threshold_only_where_it_is_stated() {
    let filters = Filters::new(&[">"], Some(0.8), 1).unwrap();
    let check = |payload: Value, expected: bool| {
        let subject = "pose.motion_detected.hall";
        assert_eq!(
            filters.pass(subject, &envelope(payload.clone())),
            expected,
            "{payload}"
        );
    };
    check(json!({}), true);
    check(json!({"confidence": 0.8}), true);
    // What serde_json writes for the f32 0.8 widened to f64 lies just above; a shade below must still be equal.
    check(json!({"confidence": f64::from(0.8_f32)}), true);
    check(json!({"confidence": 0.79}), false);
    check(json!({"overall_confidence": 0.1}), false);
    check(json!({"motion_score": 0.1}), false);
    check(json!({"presence_confidence": 0.9}), true);
    check(json!({"confidence": 0.9, "motion_score": 0.1}), true);
    check(json!({"confidence": "high"}), true);
}

/// The NATS rule, written as it is told rather than as it is run: `>` eats one or more, `*` eats one.
fn naive(filter: &[&str], subject: &[&str]) -> bool {
    match (filter.split_first(), subject.split_first()) {
        (None, None) => true,
        (Some((&">", _)), Some(_)) => true,
        (Some((f, fs)), Some((s, ss))) => (*f == "*" || f == s) && naive(fs, ss),
        _ => false,
    }
}

fn part() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["pose", "signal", "hall", "den", "motion_detected"])
}

fn filter() -> impl Strategy<Value = String> {
    let context = prop::sample::select(vec!["pose", "signal", "*"]);
    let middle = prop_oneof![3 => part(), 1 => Just("*")];
    let end = prop_oneof![2 => part(), 1 => Just("*"), 1 => Just(">")];
    prop_oneof![
        1 => Just(">".to_owned()),
        2 => context.clone().prop_map(|c| format!("{c}.>")),
        2 => (context.clone(), middle.clone()).prop_map(|(c, m)| format!("{c}.{m}")),
        4 => (context, middle, end).prop_map(|(c, m, e)| format!("{c}.{m}.{e}")),
    ]
}

fn subject() -> impl Strategy<Value = String> {
    prop::collection::vec(part(), 1..5).prop_map(|parts| parts.join("."))
}

proptest! {
    #[test]
    fn matches_as_the_naive_matcher_does(filter in filter(), subject in subject()) {
        let parsed = SubjectFilter::parse(&filter).unwrap();
        let tokens: Vec<&str> = parsed.as_str().split('.').collect();
        let parts: Vec<&str> = subject.split('.').collect();
        prop_assert_eq!(parsed.matches(&subject), naive(&tokens, &parts));
    }

    #[test]
    fn several_filters_pass_what_any_passes(given in prop::collection::vec(filter(), 1..8), subject in subject()) {
        let filters = Filters::new(&given, None, 8).unwrap();
        let any = given.iter().any(|filter| SubjectFilter::parse(filter).unwrap().matches(&subject));
        prop_assert_eq!(filters.pass(&subject, &envelope(json!({}))), any);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[ -~\\x00é.*>]{0,40}") {
        if let Ok(filter) = SubjectFilter::parse(&text) {
            prop_assert!(filter.as_str().starts_with(&text));
        }
    }
}
