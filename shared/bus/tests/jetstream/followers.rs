//! Live readers over several streams.

use bus::{Error, From};

use crate::sandbox::{Sandbox, event, number, soon, strings};

#[tokio::test]
async fn a_follower_sees_what_comes_and_goes_on_by_its_offset() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let filters = strings(&["pose.motion_detected", "alerting.>"]);
    bus.publish(&event("pose.motion_detected", "a", 1))
        .await
        .unwrap();
    let mut follow = bus.follow(&filters, From::New).await.unwrap();
    let untouched = follow.offset();
    bus.publish(&event("pose.motion_detected", "a", 2))
        .await
        .unwrap();
    bus.publish(&event("pose.fall_detected", "a", 3))
        .await
        .unwrap();
    let second = soon("an event", follow.next()).await.unwrap();
    assert_eq!(
        (
            number(&second.event),
            second.event.key.as_str(),
            second.stream.as_str()
        ),
        (2, "a", "POSE")
    );
    bus.publish(&event("alerting.alert_raised", "x", 4))
        .await
        .unwrap();
    assert_eq!(
        number(&soon("an event", follow.next()).await.unwrap().event),
        4
    );
    let offset = follow.offset();
    drop(follow);
    // While away: one of each stream.
    bus.publish(&event("pose.motion_detected", "b", 5))
        .await
        .unwrap();
    bus.publish(&event("alerting.alert_raised", "x", 6))
        .await
        .unwrap();
    let mut again = bus.follow_from_offset(&filters, &offset).await.unwrap();
    let mut seen = [0, 0];
    for place in &mut seen {
        *place = number(&soon("an event", again.next()).await.unwrap().event);
    }
    seen.sort_unstable();
    assert_eq!(seen, [5, 6]);
    // An offset from before anything was seen misses nothing either.
    let mut early = bus.follow_from_offset(&filters, &untouched).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(number(&soon("an event", early.next()).await.unwrap().event));
    }
    seen.sort_unstable();
    assert_eq!(seen, [2, 4, 5, 6]);
}

#[tokio::test]
async fn a_follower_begins_where_it_is_told() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    for n in 1..=5 {
        bus.publish(&event("pose.motion_detected", "a", n))
            .await
            .unwrap();
    }
    let stored = bus.replay("pose.>", From::Start).await.unwrap();
    let first = async |from: From| {
        let mut follow = bus.follow(&strings(&["pose.>"]), from).await.unwrap();
        number(&soon("an event", follow.next()).await.unwrap().event)
    };
    assert_eq!(first(From::Start).await, 1);
    assert_eq!(first(From::After(2)).await, 3);
    assert_eq!(first(From::Time(stored[3].stored_us)).await, 4);
    // An offset of a stream that was lost since begins at the start of what is there.
    assert_eq!(first(From::After(1_000)).await, 1);
    let several = bus
        .follow(&strings(&["pose.>", "alerting.>"]), From::After(2))
        .await;
    assert!(matches!(several.err(), Some(Error::Filter { .. })));
    let malformed = bus
        .follow_from_offset(&strings(&["pose.>"]), "POSE=3")
        .await;
    assert!(matches!(malformed.err(), Some(Error::Offset { .. })));
}

#[tokio::test]
async fn everything_means_all_event_streams_but_not_the_frames() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let mut all = bus.follow(&strings(&[">"]), From::New).await.unwrap();
    let mut frames = bus
        .follow(&strings(&["signal.csi_frame_received"]), From::New)
        .await
        .unwrap();
    bus.publish(&event("signal.csi_frame_received", "esp", 1))
        .await
        .unwrap();
    let sent = [
        "hardware.device_error",
        "signal.signal_processed",
        "pose.motion_detected",
        "job.failed",
        "security.violation_detected",
        "custom.mine",
    ];
    for (n, event_type) in (2..).zip(sent) {
        bus.publish(&event(event_type, "k", n)).await.unwrap();
    }
    let mut seen = Vec::new();
    for _ in sent {
        seen.push(number(&soon("an event", all.next()).await.unwrap().event));
    }
    seen.sort_unstable();
    assert_eq!(seen, [2, 3, 4, 5, 6, 7]);
    assert_eq!(
        number(&soon("a frame", frames.next()).await.unwrap().event),
        1
    );
}

#[tokio::test]
async fn overlapping_filters_give_each_event_once() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let mut follow = bus
        .follow(
            &strings(&[
                "pose.*.kitchen",
                "pose.fall_detected",
                "pose.fall_detected.hall",
            ]),
            From::New,
        )
        .await
        .unwrap();
    for (n, (event_type, key)) in (1..).zip([
        ("pose.motion_detected", "hall"),
        ("pose.motion_detected", "kitchen"),
        ("pose.fall_detected", "kitchen"),
        ("pose.fall_detected", "hall"),
    ]) {
        bus.publish(&event(event_type, key, n)).await.unwrap();
    }
    for expected in [2, 3, 4] {
        assert_eq!(
            number(&soon("an event", follow.next()).await.unwrap().event),
            expected
        );
    }
}

#[tokio::test]
async fn a_payload_that_is_no_event_is_passed_over() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let mut follow = bus.follow(&strings(&["pose.>"]), From::New).await.unwrap();
    let client = async_nats::connect(sandbox.server.url()).await.unwrap();
    client
        .publish("pose.motion_detected.a", "not json".into())
        .await
        .unwrap();
    client.flush().await.unwrap();
    bus.publish(&event("pose.motion_detected", "a", 1))
        .await
        .unwrap();
    assert_eq!(
        number(&soon("an event", follow.next()).await.unwrap().event),
        1
    );
    assert_eq!(bus.replay("pose.>", From::Start).await.unwrap().len(), 1);
}
