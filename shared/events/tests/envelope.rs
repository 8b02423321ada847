//! Envelopes: what goes in comes out, and what cannot be written says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;

use events::hardware::{DeviceCapabilities, DeviceDiscovered};
use events::pose::{
    BoundingBox, FallDetected, FallType, ImpactSeverity, MotionDetected, MotionType,
};
use events::security::{Severity, ViolationDetected};
use events::signal::{CsiFrameReceived, FeatureSummary, SignalProcessed};
use events::{
    DataSource, DomainEvent, Event, EventEnvelope, EventId, FrameId, Metadata, OutgoingEvent,
    SessionId, Timestamp, ZoneId,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

fn motion(score: f32) -> MotionDetected {
    MotionDetected {
        event_id: EventId(Uuid::nil()),
        session_id: None,
        zone_id: None,
        device_id: "hall-1".parse().unwrap(),
        timestamp: Timestamp::from_micros(1_500_000),
        motion_score: score,
        motion_type: MotionType::General,
        person_ids: vec![],
        person_count: 0,
        velocity_estimate: None,
        direction: None,
    }
}

fn envelope(event: &impl DomainEvent) -> EventEnvelope {
    EventEnvelope::new(Uuid::nil(), event, Metadata::default()).unwrap()
}

#[test]
fn optional_fields_are_left_out_and_numbers_keep_their_digits() {
    let json = serde_json::to_value(envelope(&motion(0.8))).unwrap();
    let expected = json!({
        "id": Uuid::nil(),
        "event_type": "pose.motion_detected",
        "aggregate_id": Uuid::nil(),
        "aggregate_type": "motion",
        "sequence_number": 0,
        "occurred_at": "1970-01-01T00:00:01.500000Z",
        "version": 1,
        "metadata": {"source": ""},
        "payload": {
            "event_id": Uuid::nil(),
            "device_id": "hall-1",
            "timestamp": "1970-01-01T00:00:01.500000Z",
            "motion_score": 0.8,
            "motion_type": "general",
            "person_ids": [],
            "person_count": 0,
        },
    });
    assert_eq!(json, expected);
}

#[test]
fn a_number_that_is_not_finite_is_an_error_that_says_so() {
    let refused = |event: &dyn Fn() -> Result<EventEnvelope, serde_json::Error>, number: &str| {
        let error = event().unwrap_err().to_string();
        assert!(
            error.contains(number) && error.contains("not a finite number"),
            "{error}"
        );
    };
    let new = |event: &MotionDetected| EventEnvelope::new(Uuid::nil(), event, Metadata::default());
    refused(&|| new(&motion(f32::NAN)), "NaN");
    refused(&|| new(&motion(f32::INFINITY)), "inf");
    refused(
        &|| {
            new(&MotionDetected {
                velocity_estimate: Some(f32::NEG_INFINITY),
                ..motion(0.5)
            })
        },
        "-inf",
    );
    // In a struct within the payload.
    let zero = Timestamp::default();
    let processed = SignalProcessed {
        signal_id: Uuid::nil().into(),
        source_frames: vec![],
        device_id: "hall-1".parse().unwrap(),
        session_id: None,
        timestamp: zero,
        window_start: zero,
        window_end: zero,
        feature_summary: FeatureSummary {
            amplitude_mean: 1.0,
            amplitude_std: 1.0,
            phase_variance: None,
            dominant_frequency_hz: Some(f32::NAN),
            motion_indicator: 1.0,
        },
        human_detected: false,
        presence_confidence: 0.5,
        estimated_person_count: None,
        quality_score: 1.0,
        processing_time_ms: 1.0,
    };
    refused(
        &|| EventEnvelope::new(Uuid::nil(), &processed, Metadata::default()),
        "NaN",
    );
}

#[test]
fn keys_are_one_token_whatever_the_payload_says() {
    assert_eq!(
        envelope(&motion(0.5)).subject(),
        "pose.motion_detected.hall-1"
    );
    let in_zone = MotionDetected {
        zone_id: Some(ZoneId::new("hall").unwrap()),
        ..motion(0.5)
    };
    assert_eq!(envelope(&in_zone).key, "hall");
    assert_eq!(envelope(&motion(0.5)).keyed("a.b").key, "a%2eb");

    let discovered = |mac: &str| {
        let event = DeviceDiscovered {
            discovery_id: Uuid::nil().into(),
            timestamp: Timestamp::default(),
            mac_address: mac.into(),
            ip_address: None,
            device_type: "esp32".into(),
            capabilities: DeviceCapabilities {
                max_subcarriers: Some(64),
                max_antennas: Some(1),
                supported_bandwidths: vec![],
                max_sampling_rate_hz: None,
            },
            firmware_version: None,
        };
        (envelope(&event).key, envelope(&event).aggregate_id)
    };
    assert_eq!(
        discovered("24:0A:C4:12:34:56"),
        ("240ac4123456".into(), "24:0A:C4:12:34:56".into())
    );
    assert_eq!(discovered("24-0a-c4-12-34-56").0, "240ac4123456");
    assert_eq!(discovered("> *").0, "%3e%20%2a");
    assert_eq!(discovered("::").0, "%");

    let violation = ViolationDetected {
        principal: "ada@example.org".into(),
        timestamp: Timestamp::default(),
        violation_type: "bad_token".into(),
        description: String::new(),
        severity: Severity::High,
        user_id: None,
        source_ip: None,
        processing_id: None,
    };
    // printf 'ada@example.org' | sha256sum
    assert_eq!(envelope(&violation).key, "cfe00dde46ef9426");

    let fall = FallDetected {
        event_id: EventId(Uuid::nil()),
        person_id: Uuid::nil().into(),
        session_id: SessionId(Uuid::from_u128(7)),
        zone_id: None,
        timestamp: Timestamp::default(),
        confidence: 0.9,
        fall_type: FallType::Forward,
        duration_ms: None,
        impact_severity: ImpactSeverity::High,
        fall_location: None,
        pre_fall_activity: "walking".into(),
        requires_verification: true,
        auto_alert_sent: false,
    };
    assert_eq!(
        envelope(&fall).key,
        Uuid::from_u128(7).to_string(),
        "neither zone nor device: the session"
    );
    assert_eq!(envelope(&fall).correlation_id, Some(Uuid::from_u128(7)));
}

#[test]
fn an_event_that_goes_out_straight_is_the_same_json() {
    let event = CsiFrameReceived {
        frame_id: FrameId(Uuid::from_u128(1)),
        device_id: "hall-1".parse().unwrap(),
        session_id: None,
        sequence_number: 7,
        timestamp: Timestamp::from_micros(1_500_000),
        num_subcarriers: 64,
        num_antennas: 3,
        snr_db: Some(31.5),
        payload_size: 256,
    };
    let metadata = Metadata {
        source: "hardware-gateway/one".to_owned(),
        data_source: Some(DataSource::Live),
        sampled_one_in: Some(10),
        extra: BTreeMap::from([("more".to_owned(), json!({"a": [1, null]}))]),
        ..Metadata::default()
    };
    for run in [None, Some(Uuid::from_u128(3))] {
        let id = Uuid::from_u128(2);
        let envelope = EventEnvelope::new(id, &event, metadata.clone()).unwrap();
        let envelope = envelope.correlated(run);
        let outgoing = OutgoingEvent::new(id, &event, &metadata).correlated(run);
        assert_eq!(outgoing.key, envelope.key);
        assert_eq!(
            serde_json::to_value(&outgoing).unwrap(),
            serde_json::to_value(&envelope).unwrap()
        );
        let bytes = serde_json::to_vec(&outgoing).unwrap();
        let mut read = EventEnvelope::from_json(&bytes).unwrap();
        read.key.clone_from(&envelope.key);
        assert_eq!(read, envelope);
    }
}

#[test]
fn what_does_not_fit_says_what_and_where() {
    let error = EventEnvelope::from_json(b"{\"id\": 3}")
        .unwrap_err()
        .to_string();
    assert!(error.contains("column 8"), "{error}");
    let mut wrong = envelope(&motion(0.5));
    wrong.payload["motion_type"] = json!("flying");
    let error = Event::decode(&wrong).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("pose.motion_detected of version 1"),
        "{error}"
    );
    assert!(
        error.source.to_string().contains("flying"),
        "{}",
        error.source
    );
    assert!(wrong.read::<MotionDetected>().is_err());
    assert!(wrong.read::<FallDetected>().unwrap().is_none());
    wrong.version = 2;
    assert!(
        wrong.read::<MotionDetected>().unwrap().is_none(),
        "a newer version is none of ours, and no error"
    );
    let error = "flying".parse::<MotionType>().unwrap_err().to_string();
    assert_eq!(
        error,
        "\"flying\" is not one of general|walking|running|sudden|repetitive"
    );
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Keys that no field of ours has.
fn foreign() -> impl Strategy<Value = BTreeMap<String, Value>> {
    prop::collection::btree_map("x_[a-z]{0,6}", json_value(), 0..3)
}

prop_compose! {
    fn any_envelope()(
        ids in any::<[u128; 3]>(),
        event_type in "[a-z]{1,8}\\.[a-z_]{1,12}",
        texts in any::<[String; 3]>(),
        sequence_number in any::<u64>(),
        micros in any::<i64>(),
        version in any::<u32>(),
        optional in any::<[bool; 6]>(),
        source in prop::sample::select(vec![DataSource::Live, DataSource::Replay, DataSource::Simulated]),
        extras in (foreign(), foreign()),
        payload in json_value(),
    ) -> EventEnvelope {
        let [id, correlation, causation] = ids.map(Uuid::from_u128);
        let [has_correlation, has_causation, tenant, user, has_source, sampled] = optional;
        let [aggregate_id, aggregate_type, who] = texts;
        EventEnvelope {
            id,
            event_type,
            aggregate_id,
            aggregate_type,
            sequence_number,
            occurred_at: Timestamp::from_micros(micros),
            correlation_id: has_correlation.then_some(correlation),
            causation_id: has_causation.then_some(causation),
            version,
            metadata: Metadata {
                source: who.clone(),
                tenant_id: tenant.then(|| who.clone()),
                user_id: user.then(|| who.clone()),
                data_source: has_source.then_some(source),
                method: user.then_some(who),
                sampled_one_in: sampled.then_some(version),
                extra: extras.0,
            },
            payload,
            key: String::new(),
            extra: extras.1,
        }
    }
}

proptest! {
    #[test]
    fn any_envelope_comes_back_as_it_went(envelope in any_envelope()) {
        let bytes = envelope.to_json().unwrap();
        let back = EventEnvelope::from_json(&bytes).unwrap();
        prop_assert_eq!(&back, &envelope);
        prop_assert_eq!(back.to_json().unwrap(), bytes);
    }

    #[test]
    fn any_bytes_are_an_envelope_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = EventEnvelope::from_json(&bytes);
    }

    #[test]
    fn any_payload_of_any_type_is_decoded_or_refused(
        mut envelope in any_envelope(),
        index in 0..events::catalogue().len(),
        version in 0..4_u32,
    ) {
        envelope.event_type = events::catalogue()[index].event_type.into();
        envelope.version = version;
        let current = events::catalogue()[index].version;
        match Event::decode(&envelope) {
            Ok(Event::Other(other)) => prop_assert!(*other == envelope && version > current),
            Ok(_) => prop_assert!(version <= current),
            Err(error) => prop_assert_eq!(error.event_type, envelope.event_type),
        }
    }

    #[test]
    fn any_finite_f32_keeps_its_value(number in any::<f32>().prop_filter("finite", |number| number.is_finite())) {
        let area = BoundingBox { x: number, y: -number, width: number, height: 0.1 };
        let back: BoundingBox = serde_json::from_value(serde_json::to_value(&area).unwrap()).unwrap();
        prop_assert_eq!(&back, &area);
        let back: BoundingBox = serde_json::from_str(&serde_json::to_string(&area).unwrap()).unwrap();
        prop_assert_eq!(&back, &area);
    }

    #[test]
    fn any_key_is_one_token(text in any::<String>()) {
        let token = events::token(&text);
        prop_assert!(!token.is_empty());
        prop_assert!(token.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '.' | '*' | '>')), "{}", token);
    }
}
