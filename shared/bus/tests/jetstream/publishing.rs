//! What is published is stored once, in order, or reported.

use std::time::Duration;

use bus::{Bus, Config, Error, From};
use events::DataSource;

use crate::sandbox::{Sandbox, event, number, soon, until};

#[tokio::test]
async fn the_same_event_twice_is_stored_once() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let sent = event("pose.motion_detected", "kitchen", 1);
    let first = bus.publish(&sent).await.unwrap();
    let second = bus.publish(&sent).await.unwrap();
    assert!(!first.duplicate && second.duplicate);
    assert_eq!(
        (first.stream.as_str(), first.sequence),
        ("POSE", second.sequence)
    );
    let stored = bus
        .replay("pose.motion_detected", From::Start)
        .await
        .unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].event, sent);
    assert_eq!(stored[0].subject, "pose.motion_detected.kitchen");
}

#[tokio::test]
async fn the_same_event_of_another_replay_is_another_message() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let mut sent = event("pose.motion_detected", "kitchen", 1);
    sent.metadata.data_source = Some(DataSource::Replay);
    for run in [10, 11, 10] {
        sent.correlation_id = Some(crate::sandbox::id(run));
        bus.publish(&sent).await.unwrap();
    }
    assert_eq!(
        bus.replay("pose.motion_detected", From::Start)
            .await
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn what_has_no_stream_or_no_key_is_refused_at_once() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let check = async |event_type: &str, key: &str, expected: &str| {
        let error = soon("a refusal", bus.publish(&event(event_type, key, 1)))
            .await
            .unwrap_err();
        assert!(matches!(&error, Error::Subject { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    };
    check("nowhere.happened", "a", "no stream").await;
    check("pose.motion_detected", "", "empty").await;
    check("pose.motion_detected", "a.b", "'.'").await;
    check("pose.motion_detected", "a b", "' '").await;
    check("pose.motion_detected", ">", "'>'").await;
}

#[tokio::test]
async fn an_event_beyond_the_servers_bound_is_refused_at_once() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let mut large = event("custom.large", "a", 1);
    large.payload = serde_json::Value::String("x".repeat(9 << 20));
    let error = soon("a refusal", bus.publish(&large)).await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused { .. }) && error.to_string().contains("8388608"),
        "{error}"
    );
    let pipeline = bus.pipeline(4);
    pipeline.publish(&large).await.unwrap();
    pipeline
        .publish(&event("custom.small", "a", 2))
        .await
        .unwrap();
    assert!(matches!(
        soon("the flush", pipeline.flush()).await,
        Err(Error::Refused { .. })
    ));
    assert_eq!(
        pipeline.counts(),
        (1, 1),
        "the one behind it is not touched"
    );
}

#[tokio::test]
async fn a_batch_is_stored_whole_or_not_at_all() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let events: Vec<_> = (1..=5)
        .map(|n| event("alerting.rule_created", "rule", n))
        .collect();
    let acks = bus.publish_all(&events).await.unwrap();
    let sequences: Vec<u64> = acks.iter().map(|ack| ack.sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5]);
    let stored = bus.replay("alerting.>", From::Start).await.unwrap();
    assert_eq!(
        stored.iter().map(|d| number(&d.event)).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    // One that the server refuses: nothing of it is there.
    let mut bad: Vec<_> = (6..=8)
        .map(|n| event("alerting.rule_created", "rule", n))
        .collect();
    bad[1].payload = serde_json::Value::String("x".repeat(9 << 20));
    bus.publish_all(&bad).await.unwrap_err();
    assert_eq!(
        bus.replay("alerting.>", From::Start).await.unwrap().len(),
        5
    );
    // Of two streams.
    let mixed = [
        event("alerting.rule_created", "rule", 9),
        event("pose.motion_detected", "kitchen", 10),
    ];
    let error = bus.publish_all(&mixed).await.unwrap_err();
    assert!(matches!(&error, Error::SeveralStreams { .. }), "{error:?}");
    assert!(
        error.to_string().contains("ALERTING") && error.to_string().contains("POSE"),
        "{error}"
    );
}

#[tokio::test]
async fn a_batch_done_again_adds_only_what_is_missing() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let events: Vec<_> = (1..=3).map(|n| event("pipeline.created", "p", n)).collect();
    bus.publish(&events[1]).await.unwrap();
    let acks = bus.publish_all(&events).await.unwrap();
    assert_eq!(
        acks.iter().map(|ack| ack.duplicate).collect::<Vec<_>>(),
        [false, true, false]
    );
    let again = bus.publish_all(&events).await.unwrap();
    assert!(again.iter().all(|ack| ack.duplicate), "{again:?}");
    assert_eq!(
        bus.replay("pipeline.created", From::Start)
            .await
            .unwrap()
            .len(),
        3
    );
}

#[tokio::test]
async fn a_pipeline_keeps_the_order_and_counts() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let pipeline = bus.pipeline(256);
    for n in 1..=2_000 {
        pipeline
            .publish(&event("custom.counted", "a", n))
            .await
            .unwrap();
    }
    soon("the flush", pipeline.flush()).await.unwrap();
    assert_eq!(pipeline.counts(), (2_000, 0));
    assert_eq!(pipeline.outstanding(), 0);
    let stored = bus.replay("custom.counted", From::Start).await.unwrap();
    assert_eq!(
        stored.iter().map(|d| number(&d.event)).collect::<Vec<_>>(),
        (1..=2_000).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_pipeline_without_a_server_waits_is_bounded_and_reports_each_failure() {
    let sandbox = Sandbox::start().await;
    sandbox.bus().await;
    let config = Config {
        publish_timeout_s: 1.0,
        ..sandbox.config()
    };
    let bus = Bus::connect(config).await.unwrap();
    let pipeline = bus.pipeline(8);
    sandbox.server.kill().await;
    for n in 0..8 {
        soon(
            "room in the pipeline",
            pipeline.publish(&event("custom.lost", "a", n)),
        )
        .await
        .unwrap();
    }
    // The ninth waits for room: nothing grows.
    let ninth = event("custom.lost", "a", 9);
    let blocked = pipeline.publish(&ninth);
    tokio::pin!(blocked);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), &mut blocked)
            .await
            .is_err(),
        "the pipeline grew"
    );
    soon("room in the pipeline", blocked).await.unwrap();
    let error = soon("the flush", pipeline.flush()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, Error::Timeout { .. })
            && text.contains("custom.lost.a")
            && text.contains("given up after"),
        "{text}"
    );
    assert_eq!(pipeline.counts(), (0, 9));
    assert_eq!(pipeline.take_failures().len(), 9);
    assert!(pipeline.take_failures().is_empty());
    assert!(pipeline.flush().await.is_ok(), "reported once");
}

#[tokio::test]
async fn a_publish_without_a_server_fails_within_its_time_and_says_why() {
    let sandbox = Sandbox::start().await;
    sandbox.bus().await;
    let config = Config {
        publish_timeout_s: 0.3,
        ..sandbox.config()
    };
    let bus = Bus::connect(config).await.unwrap();
    let url = sandbox.server.url();
    sandbox.server.kill().await;
    until("the connection is lost", || async { !bus.is_connected() }).await;
    let error = soon(
        "an error",
        bus.publish(&event("pose.motion_detected", "kitchen", 1)),
    )
    .await
    .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Timeout { .. }), "{text}");
    assert!(
        text.contains("publish pose.motion_detected.kitchen")
            && text.contains("0.3 s")
            && text.contains(&url),
        "{text}"
    );
}
