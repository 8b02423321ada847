//! The server is killed in mid-stream and started again: everything is counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::{Config, ConsumerConfig, From};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::sandbox::{Sandbox, event, handler, id, number, soon, strings, until};

const EVENTS: u64 = 3_000;

#[tokio::test]
async fn a_server_killed_in_mid_stream_costs_no_event_and_doubles_none() {
    let mut sandbox = Sandbox::start().await;
    let bus = sandbox
        .bus_with(Config {
            publish_timeout_s: 30.0,
            ..sandbox.config()
        })
        .await;
    let stop = CancellationToken::new();
    // A chain: what is published by a pipeline is consumed, and what follows is published in turn.
    let config = ConsumerConfig {
        durable: "chain".to_owned(),
        filters: strings(&["pose.motion_detected"]),
        concurrency: 8,
        ack_wait: Duration::from_secs(2),
        max_deliver: 0,
        from_now: false,
    };
    let work = handler(|delivery| {
        Box::pin(async move {
            let mut follows = event(
                "alerting.alert_raised",
                &delivery.event.key,
                number(&delivery.event),
            );
            follows.id = Uuid::new_v5(&delivery.event.id, b"alerting.alert_raised");
            Ok(vec![follows])
        })
    });
    let consuming = tokio::spawn(bus.consume(config, work, stop.clone()));
    let mut follow = bus
        .follow(&strings(&["alerting.alert_raised"]), From::Start)
        .await
        .unwrap();
    let followed = Arc::new(Mutex::new(BTreeMap::<u64, u64>::new()));
    let following = tokio::spawn({
        let followed = Arc::clone(&followed);
        async move {
            while let Ok(delivery) = follow.next().await {
                *followed
                    .lock()
                    .unwrap()
                    .entry(number(&delivery.event))
                    .or_default() += 1;
            }
        }
    });
    let publishing = tokio::spawn({
        let bus = bus.clone();
        async move {
            let pipeline = bus.pipeline(200);
            for n in 1..=EVENTS {
                pipeline
                    .publish(&event(
                        "pose.motion_detected",
                        &format!("zone-{}", n % 7),
                        n,
                    ))
                    .await
                    .unwrap();
            }
            pipeline.flush().await.map(|()| pipeline.counts())
        }
    });
    let count = || {
        let followed = Arc::clone(&followed);
        async move { followed.lock().unwrap().len() as u64 }
    };
    // Twice, each time with publishes, acks and deliveries under way.
    for enough in [300, 1_200] {
        until("some of the events", || async { count().await >= enough }).await;
        sandbox = sandbox.crash().await;
    }
    assert_eq!(
        soon("the flush", publishing).await.unwrap().unwrap(),
        (EVENTS, 0)
    );
    until("all that follows", || async { count().await >= EVENTS }).await;
    stop.cancel();
    soon("the end", consuming).await.unwrap().unwrap();
    following.abort();
    for (filter, derived) in [
        ("pose.motion_detected", false),
        ("alerting.alert_raised", true),
    ] {
        let mut ids: Vec<Uuid> = bus
            .replay(filter, From::Start)
            .await
            .unwrap()
            .iter()
            .map(|d| d.event.id)
            .collect();
        let mut expected: Vec<Uuid> = (1..=EVENTS)
            .map(|n| {
                if derived {
                    Uuid::new_v5(&id(n), b"alerting.alert_raised")
                } else {
                    id(n)
                }
            })
            .collect();
        ids.sort_unstable();
        expected.sort_unstable();
        assert_eq!(ids.len(), expected.len(), "{filter}");
        assert!(ids == expected, "{filter}: other events than were sent");
    }
    assert!(
        followed.lock().unwrap().values().all(|&times| times == 1),
        "the follower saw an event twice"
    );
}

#[tokio::test]
async fn a_publish_waits_for_a_server_that_comes_back() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox
        .bus_with(Config {
            publish_timeout_s: 30.0,
            ..sandbox.config()
        })
        .await;
    let again = sandbox.server.same();
    sandbox.server.kill().await;
    let sent = event("pose.motion_detected", "kitchen", 1);
    let frame = event("signal.csi_frame_received", "esp", 2);
    let publishing = async {
        tokio::join!(
            bus.publish(&sent),
            bus.publish(&frame),
            bus.publish_all(std::slice::from_ref(&sent))
        )
    };
    let starting = async {
        until("the connection is lost", || async { !bus.is_connected() }).await;
        bus::server::Server::start(again).await.unwrap()
    };
    let ((first, second, third), _server) = soon("the publishes", async {
        tokio::join!(publishing, starting)
    })
    .await;
    first.unwrap();
    third.unwrap();
    // FRAMES is in memory, and was made anew by the bus itself.
    assert_eq!(second.unwrap().stream, "FRAMES");
    assert_eq!(
        bus.replay("pose.motion_detected", From::Start)
            .await
            .unwrap()
            .len(),
        1
    );
}

/// What the client had taken over in the very moment of the loss may go ahead of what is sent again; nothing else may.
#[tokio::test]
async fn the_order_survives_a_restart_but_for_what_was_in_flight() {
    const IN_FLIGHT: u64 = 64;
    let sandbox = Sandbox::start().await;
    let bus = sandbox
        .bus_with(Config {
            publish_timeout_s: 30.0,
            ..sandbox.config()
        })
        .await;
    let pipeline = bus.pipeline(usize::try_from(IN_FLIGHT).unwrap());
    let publishing = tokio::spawn({
        let pipeline = pipeline.clone();
        async move {
            for n in 1..=2_000 {
                pipeline
                    .publish(&event("custom.ordered", "a", n))
                    .await
                    .unwrap();
            }
            pipeline.flush().await
        }
    });
    until("some acks", || async { pipeline.counts().0 >= 200 }).await;
    let _sandbox = sandbox.crash().await;
    soon("the flush", publishing).await.unwrap().unwrap();
    let stored = bus.replay("custom.ordered", From::Start).await.unwrap();
    let numbers: Vec<u64> = stored.iter().map(|d| number(&d.event)).collect();
    for (place, n) in (1..).zip(&numbers) {
        assert!(n.abs_diff(place) < IN_FLIGHT, "{n} came as number {place}");
    }
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=2_000).collect::<Vec<_>>());
    // Once it has caught up, everything is in order.
    let caught_up = numbers.iter().position(|n| *n >= 1_000).unwrap();
    assert!(numbers[caught_up..].is_sorted());
}
