use events::id::{DeviceId, EventId, ZoneId};
use events::pose::{MotionDetected, MotionType};
use events::{DataSource, EventEnvelope, Metadata, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use crate::system::System;

async fn publish(system: &System, numbers: std::ops::Range<u128>) {
    for number in numbers {
        let id = Uuid::from_u128(number);
        let event = MotionDetected {
            event_id: EventId(id),
            session_id: None,
            zone_id: Some(ZoneId::new("hall").unwrap()),
            device_id: DeviceId::new("esp-1").unwrap(),
            timestamp: Timestamp::from_micros(0),
            motion_score: 0.75,
            motion_type: MotionType::Walking,
            person_ids: Vec::new(),
            person_count: 0,
            velocity_estimate: None,
            direction: None,
        };
        let metadata = Metadata {
            source: "signal/test".into(),
            data_source: Some(DataSource::Simulated),
            ..Metadata::default()
        };
        system
            .bus
            .publish(&EventEnvelope::new(id, &event, metadata).unwrap())
            .await
            .unwrap();
    }
}

fn id(line: &str) -> u128 {
    let envelope: Value = serde_json::from_str(line).unwrap();
    envelope["id"]
        .as_str()
        .unwrap()
        .parse::<Uuid>()
        .unwrap()
        .as_u128()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_for_people_and_for_programs() {
    let mut system = System::start().await;
    system.start_streaming(None).await;
    publish(&system, 1..3).await;
    let watch = [
        "watch",
        "pose.motion_detected",
        "--from-start",
        "--count",
        "2",
    ];
    let (code, out, err) = system.output(&watch).await;
    assert_eq!((code, err.as_str()), (0, ""));
    for line in out.lines() {
        let rest = " pose.motion_detected hall  device_id=esp-1 motion_score=0.75 motion_type=walking person_count=0 [simulated]";
        assert!(line.ends_with(rest), "{line}");
        assert!(!line.contains('\u{1b}'), "no colours into a pipe");
    }

    let (_, out, _) = system.output(&[&watch[..], &["--json"]].concat()).await;
    assert_eq!(out.lines().map(id).collect::<Vec<_>>(), [1, 2]);
    let (_, out, _) = system
        .output(&[&watch[..], &["--json", "--nats", &system.nats.url()]].concat())
        .await;
    assert_eq!(out.lines().map(id).collect::<Vec<_>>(), [1, 2]);
    let since = [
        "watch",
        "--since",
        "1h",
        "--count",
        "2",
        "--json",
        "--min-confidence",
        "0.5",
        "pose.>",
    ];
    let (_, out, _) = system.output(&since).await;
    assert_eq!(out.lines().map(id).collect::<Vec<_>>(), [1, 2]);

    // Fewer than asked for is a failure; nothing asked for is none. (How many came in a second, a busy machine decides.)
    let (code, _, err) = system
        .output(&[&watch[..4], &["3", "--timeout", "1"]].concat())
        .await;
    assert_eq!(code, 1);
    assert!(err.ends_with(" of 3 events came in time\n"), "{err}");
    let quiet = ["watch", "alerting.>", "--timeout", "0.1"];
    assert_eq!(
        system.output(&quiet).await,
        (0, String::new(), String::new())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_goes_on_when_the_service_comes_back() {
    let mut system = System::start().await;
    system.start_streaming(None).await;
    let mut watch = system.fresnel(&["watch", "pose.>", "--json", "--from-start", "--count", "6"]);
    publish(&system, 1..3).await;
    let mut seen = vec![id(&watch.line().await), id(&watch.line().await)];
    let address = system.stop_streaming().await;
    publish(&system, 3..5).await;
    system.start_streaming(Some(address)).await;
    seen.extend([id(&watch.line().await), id(&watch.line().await)]);
    publish(&system, 5..7).await;
    seen.extend([id(&watch.line().await), id(&watch.line().await)]);
    assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
    let (status, err) = watch.end().await;
    assert!(status.success());
    assert!(
        err.starts_with("the stream broke: the server is going away"),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said() {
    let mut system = System::start().await;
    system.start_streaming(None).await;
    let (code, _, err) = system.output(&["watch", "pose.>.hall"]).await;
    assert_eq!(code, 1);
    assert_eq!(
        err,
        "fresnel: subjects: subject filter `pose.>.hall`: `>` must be the last part (INVALID_ARGUMENT)\n"
    );
    let (code, _, err) = system.output(&["watch", "--address", "127.0.0.1:1"]).await;
    assert_eq!(code, 1);
    assert!(
        err.starts_with("fresnel: nothing listens on 127.0.0.1:1: start `fresnel up`"),
        "{err}"
    );
}
