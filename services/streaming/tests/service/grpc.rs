use proto::streaming::v1::SubscribeRequest;
use serde_json::Value;
use streaming::Config;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{Sandbox, motion, numbers, request, take, types, within};

#[tokio::test(flavor = "multi_thread")]
async fn events_are_filtered_and_carried_whole() {
    let sandbox = Sandbox::start(Config::default()).await;
    let (greeting, mut stream) = sandbox
        .subscribe(SubscribeRequest {
            min_confidence: Some(0.5),
            ..request(&["pose.motion_detected", "hardware.>"])
        })
        .await
        .unwrap();
    assert_eq!(greeting.subjects, ["pose.motion_detected.*", "hardware.>"]);

    sandbox
        .bus
        .publish(&motion("hall", 1, 0.4, 0))
        .await
        .unwrap();
    let wanted = motion("hall", 2, 0.5, 0);
    sandbox.bus.publish(&wanted).await.unwrap();
    let events = take(&mut stream, 1).await;
    assert_eq!(events[0].subject, "pose.motion_detected.hall");
    let envelope: Value = serde_json::from_str(&events[0].envelope_json).unwrap();
    assert_eq!(envelope, serde_json::to_value(&wanted).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn resuming_by_offset_loses_and_doubles_nothing() {
    let sandbox = Sandbox::start(Config::default()).await;
    let (greeting, mut stream) = sandbox.subscribe(request(&["pose.>"])).await.unwrap();
    sandbox.publish("hall", 0..10, 0).await;
    let first = take(&mut stream, 5).await;
    assert_eq!(numbers(&first), (0..5).collect::<Vec<_>>());
    drop(stream);
    sandbox.publish("hall", 10..20, 0).await;

    let resumed = SubscribeRequest {
        offset: first[4].offset.clone(),
        ..request(&["pose.>"])
    };
    let (_, mut stream) = sandbox.subscribe(resumed).await.unwrap();
    assert_eq!(
        numbers(&take(&mut stream, 15).await),
        (5..20).collect::<Vec<_>>()
    );
    sandbox.publish("hall", 20..21, 0).await;
    assert_eq!(numbers(&take(&mut stream, 1).await), [20]);

    // Even from before the first event.
    let resumed = SubscribeRequest {
        offset: greeting.offset,
        ..request(&["pose.>"])
    };
    let (_, mut stream) = sandbox.subscribe(resumed).await.unwrap();
    assert_eq!(
        numbers(&take(&mut stream, 21).await),
        (0..21).collect::<Vec<_>>()
    );

    let everything = SubscribeRequest {
        start_time: Some(prost_types::Timestamp::default()),
        ..request(&["pose.>"])
    };
    let (_, mut stream) = sandbox.subscribe(everything).await.unwrap();
    assert_eq!(
        numbers(&take(&mut stream, 21).await),
        (0..21).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_spans_streams() {
    let sandbox = Sandbox::start(Config::default()).await;
    let (_, mut stream) = sandbox
        .subscribe(request(&["pose.>", "streaming.session_created"]))
        .await
        .unwrap();
    sandbox.publish("hall", 0..3, 0).await;
    take(&mut stream, 3).await;
    // Another session makes events in another stream.
    let (other, held) = sandbox.subscribe(request(&["alerting.>"])).await.unwrap();
    let seen = take(&mut stream, 1).await;
    assert_eq!(
        seen[0].subject,
        format!("streaming.session_created.{}", other.session_id)
    );
    drop(stream);
    sandbox.publish("hall", 3..5, 0).await;

    let resumed = SubscribeRequest {
        offset: seen[0].offset.clone(),
        ..request(&["pose.>", "streaming.session_created"])
    };
    let (_, mut stream) = sandbox.subscribe(resumed).await.unwrap();
    assert_eq!(numbers(&take(&mut stream, 2).await), [3, 4]);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_name_what_is_wrong() {
    let sandbox = Sandbox::start(Config {
        max_subjects: 2,
        ..Config::default()
    })
    .await;
    let check = async |request: SubscribeRequest, field: &str, part: &str| {
        let status = sandbox.subscribe(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(part), "{status}");
        let details = status.get_error_details();
        assert_eq!(
            details.bad_request().unwrap().field_violations[0].field,
            field
        );
    };
    check(request(&[]), "subjects", "at least one").await;
    check(request(&["pose"]), "subjects", "`pose.>`").await;
    check(request(&["pose.>.x"]), "subjects", "`pose.>.x`").await;
    check(request(&["data.csi.hall"]), "subjects", "`data`").await;
    check(request(&["a.b", "c.d", "e.f"]), "subjects", "at most 2").await;
    // A context with events, of which no stream holds such a one.
    check(
        request(&["signal.nothing_such"]),
        "subjects",
        "signal.nothing_such",
    )
    .await;
    let mut wrong = request(&[">"]);
    wrong.min_confidence = Some(2.0);
    check(wrong, "min_confidence", "2 is not between").await;
    let mut wrong = request(&[">"]);
    wrong.offset = "yesterday".into();
    check(wrong.clone(), "offset", "yesterday").await;
    wrong.start_time = Some(prost_types::Timestamp::default());
    check(wrong, "start_time", "together").await;
    let mut wrong = request(&[">"]);
    wrong.client_id = "x".repeat(129);
    check(wrong, "client_id", "129 bytes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_told_from_its_first_event_to_its_last() {
    let sandbox = Sandbox::start(Config::default()).await;
    let request = SubscribeRequest {
        min_confidence: Some(0.25),
        ..request(&["pose.*.hall", "signal.>"])
    };
    let (greeting, mut stream) = sandbox.subscribe(request).await.unwrap();
    sandbox.publish("hall", 0..3, 0).await;
    sandbox.publish("den", 3..5, 0).await;
    let events = take(&mut stream, 3).await;
    drop(stream);

    let session = sandbox.ended(&greeting.session_id).await;
    let expected = [
        "session_created",
        "session_started",
        "session_activated",
        "session_closed",
        "session_ended",
    ];
    assert_eq!(types(&session), expected);
    assert_eq!(
        session
            .iter()
            .map(|e| e.sequence_number)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    let started = &session[1].payload;
    assert_eq!(started["stream_type"], "grpc");
    assert_eq!(started["zone_subscriptions"], serde_json::json!(["hall"]));
    assert_eq!(started["filters"]["min_confidence"], 0.25);
    assert!(
        started["remote_addr"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
    assert!(
        started["user_agent"]
            .as_str()
            .unwrap()
            .starts_with("tonic/")
    );
    assert_eq!(
        session[1].metadata.extra["subjects"],
        serde_json::json!(["pose.*.hall", "signal.>"])
    );
    let ended = &session[4].payload;
    assert_eq!(ended["client_id"], "test");
    assert_eq!(ended["reason"], "client_disconnect");
    assert_eq!(ended["messages_sent"], 3);
    assert_eq!(ended["messages_failed"], 0);
    let bytes: usize = events.iter().map(|event| event.envelope_json.len()).sum();
    assert_eq!(ended["bytes_sent"], bytes);
    assert!(ended["average_latency_ms"].as_f64().unwrap() > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_does_not_hear_itself() {
    let sandbox = Sandbox::start(Config::default()).await;
    let everything = SubscribeRequest {
        start_time: Some(prost_types::Timestamp::default()),
        ..request(&[">"])
    };
    let (own, mut stream) = sandbox.subscribe(everything).await.unwrap();
    let (other, held) = sandbox.subscribe(request(&["pose.>"])).await.unwrap();
    drop(held);
    // Created, started, activated, closed, ended: of the other, and only of it.
    for event in take(&mut stream, 5).await {
        assert!(
            event.subject.ends_with(&other.session_id),
            "{}",
            event.subject
        );
        assert!(!event.subject.ends_with(&own.session_id));
    }
    sandbox.publish("hall", 0..1, 0).await;
    assert_eq!(numbers(&take(&mut stream, 1).await), [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_are_bounded() {
    let sandbox = Sandbox::start(Config {
        max_subscriptions: 1,
        ..Config::default()
    })
    .await;
    let (first, stream) = sandbox.subscribe(request(&["pose.>"])).await.unwrap();
    let status = sandbox.subscribe(request(&["pose.>"])).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(
        status.get_error_details().error_info().unwrap().reason,
        "TOO_MANY_SUBSCRIPTIONS"
    );
    drop(stream);
    sandbox.ended(&first.session_id).await;
    within("a free slot", sandbox.subscribe(request(&["pose.>"])))
        .await
        .unwrap();
}
