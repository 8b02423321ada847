//! Durable consumers: order, retries, dead letters, stopping.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bus::{Bus, ConsumerConfig, DeadLetter, Fault, From};
use events::EventEnvelope;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::sandbox::{Sandbox, event, handler, number, soon, strings, until};

fn config(durable: &str, filters: &[&str]) -> ConsumerConfig {
    ConsumerConfig {
        durable: durable.to_owned(),
        filters: strings(filters),
        concurrency: 4,
        ack_wait: Duration::from_secs(5),
        max_deliver: 5,
        from_now: false,
    }
}

async fn letters(bus: &Bus, consumer: &str, count: usize) -> Vec<DeadLetter> {
    let mut found = Vec::new();
    soon("dead letters", async {
        while found.len() < count {
            found = bus.dead_letters(Some(consumer), 0, 100).await.unwrap();
        }
    })
    .await;
    found
}

/// The event that follows from `cause`.
fn alert(cause: &EventEnvelope) -> EventEnvelope {
    let mut event = event("alerting.alert_raised", &cause.key, number(cause));
    event.id = Uuid::new_v5(&cause.id, b"alerting.alert_raised");
    event.caused_by(cause.id)
}

#[tokio::test]
async fn what_follows_is_published_and_the_message_acked() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    for n in 1..=20 {
        bus.publish(&event(
            "pose.motion_detected",
            &format!("zone-{}", n % 3),
            n,
        ))
        .await
        .unwrap();
    }
    let stop = CancellationToken::new();
    let running = tokio::spawn(bus.consume(
        config("alerts", &["pose.motion_detected"]),
        handler(|delivery| Box::pin(async move { Ok(vec![alert(&delivery.event)]) })),
        stop.clone(),
    ));
    until("all alerts", || async {
        bus.replay("alerting.>", From::Start).await.unwrap().len() == 20
    })
    .await;
    stop.cancel();
    soon("the end", running).await.unwrap().unwrap();
    // Acked: another run of the same durable finds nothing.
    let seen = Arc::new(AtomicUsize::new(0));
    let (stop, counter) = (CancellationToken::new(), Arc::clone(&seen));
    let running = tokio::spawn(bus.consume(
        config("alerts", &["pose.motion_detected"]),
        handler(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { Ok(Vec::new()) })
        }),
        stop.clone(),
    ));
    bus.publish(&event("pose.motion_detected", "zone-1", 21))
        .await
        .unwrap();
    until("the new event", || async {
        seen.load(Ordering::SeqCst) > 0
    })
    .await;
    stop.cancel();
    soon("the end", running).await.unwrap().unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn from_now_skips_what_was_there() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    bus.publish(&event("pose.motion_detected", "a", 1))
        .await
        .unwrap();
    let (sender, mut seen) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let mut config = config("late", &["pose.*.*"]);
    config.from_now = true;
    let work = handler(move |delivery| {
        sender.send(number(&delivery.event)).unwrap();
        Box::pin(async { Ok(Vec::new()) })
    });
    let running = tokio::spawn(bus.consume(config.clone(), Arc::clone(&work), stop.clone()));
    // Known to the server once it is listed there.
    let js = async_nats::jetstream::new(async_nats::connect(sandbox.server.url()).await.unwrap());
    until("the consumer", || async {
        js.get_stream_no_info("POSE")
            .await
            .unwrap()
            .consumer_info("late")
            .await
            .is_ok()
    })
    .await;
    bus.publish(&event("pose.motion_detected", "a", 2))
        .await
        .unwrap();
    assert_eq!(soon("an event", seen.recv()).await, Some(2));
    stop.cancel();
    soon("the end", running).await.unwrap().unwrap();
    // What is stored while it is away is not skipped.
    bus.publish(&event("pose.motion_detected", "a", 3))
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(bus.consume(config, work, stop.clone()));
    assert_eq!(soon("an event", seen.recv()).await, Some(3));
    stop.cancel();
    soon("the end", running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_key_keeps_its_order_one_at_a_time_also_when_it_is_tried_again() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let pipeline = bus.pipeline(100);
    for n in 1..=200 {
        pipeline
            .publish(&event(
                "pose.motion_detected",
                &format!("zone-{}", n % 5),
                n,
            ))
            .await
            .unwrap();
    }
    pipeline.flush().await.unwrap();
    #[derive(Default)]
    struct Seen {
        running: HashMap<String, usize>,
        most: usize,
        ended: HashMap<String, Vec<u64>>,
        tried: HashMap<u64, Vec<Instant>>,
    }
    let seen = Arc::new(Mutex::new(Seen::default()));
    let shared = Arc::clone(&seen);
    let stop = CancellationToken::new();
    let work = handler(move |delivery| {
        let seen = Arc::clone(&shared);
        Box::pin(async move {
            let (key, n) = (delivery.event.key.clone(), number(&delivery.event));
            {
                let mut seen = seen.lock().unwrap();
                let running = seen.running.entry(key.clone()).or_default();
                *running += 1;
                assert_eq!(*running, 1, "{key} runs twice at once");
                let all = seen.running.values().sum();
                seen.most = seen.most.max(all);
                seen.tried.entry(n).or_default().push(Instant::now());
            }
            tokio::task::yield_now().await;
            let mut seen = seen.lock().unwrap();
            *seen.running.entry(key.clone()).or_default() -= 1;
            if n % 40 == 7 && delivery.attempt < 3 {
                return Err(Fault::Retry("not yet".to_owned()));
            }
            seen.ended.entry(key).or_default().push(n);
            Ok(Vec::new())
        })
    });
    let running = tokio::spawn(bus.consume(config("ordered", &["pose.>"]), work, stop.clone()));
    until("all events", || async {
        seen.lock()
            .unwrap()
            .ended
            .values()
            .map(Vec::len)
            .sum::<usize>()
            == 200
    })
    .await;
    stop.cancel();
    soon("the end", running).await.unwrap().unwrap();
    let seen = seen.lock().unwrap();
    for (key, numbers) in &seen.ended {
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
        assert_eq!(numbers.len(), 40);
    }
    assert!(seen.most <= 4, "{} at once", seen.most);
    let pauses: Vec<Duration> = seen.tried[&7]
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    assert_eq!(pauses.len(), 2);
    assert!(
        pauses[0] >= Duration::from_millis(200) && pauses[1] >= Duration::from_millis(450),
        "no back-off: {pauses:?}"
    );
    assert!(
        seen.tried
            .iter()
            .all(|(n, times)| times.len() == if n % 40 == 7 { 3 } else { 1 })
    );
}

#[tokio::test]
async fn a_rejected_message_becomes_a_dead_letter_with_everything() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let bad = event("pose.motion_detected", "kitchen", 1);
    bus.publish(&bad).await.unwrap();
    // No envelope at all.
    let client = async_nats::connect(sandbox.server.url()).await.unwrap();
    client
        .publish("pose.motion_detected.hall", "not json".into())
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(bus.consume(
        config("picky", &["pose.motion_detected"]),
        handler(|_| Box::pin(async { Err(Fault::Reject("no such zone:\r\nkitchen".to_owned())) })),
        stop.clone(),
    ));
    let letters = letters(&bus, "picky", 2).await;
    stop.cancel();
    soon("the end", running).await.unwrap().unwrap();
    let letter = letters
        .iter()
        .find(|letter| letter.subject == "pose.motion_detected.kitchen")
        .unwrap();
    assert_eq!(letter.reason, "no such zone:\r\nkitchen");
    assert_eq!(
        (
            letter.consumer.as_str(),
            letter.stream.as_str(),
            letter.stream_sequence,
            letter.attempts
        ),
        ("picky", "POSE", 1, 1)
    );
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&letter.payload).unwrap()["id"],
        bad.id.to_string()
    );
    let header = |name: &str| {
        letter
            .headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    assert_eq!(header("ce-type").as_deref(), Some("pose.motion_detected"));
    assert_eq!(header("Fresnel-Message-Id"), Some(bad.id.to_string()));
    let garbage = letters
        .iter()
        .find(|letter| letter.subject == "pose.motion_detected.hall")
        .unwrap();
    assert_eq!(garbage.payload, "not json".as_bytes());
    assert!(
        garbage.reason.contains("not readable"),
        "{}",
        garbage.reason
    );
    // Given up is given up: no delivery is left.
    let js = async_nats::jetstream::new(client);
    let info = js
        .get_stream_no_info("POSE")
        .await
        .unwrap()
        .consumer_info("picky")
        .await
        .unwrap();
    assert_eq!((info.num_ack_pending, info.num_pending), (0, 0));
}

#[tokio::test]
async fn the_last_attempt_ends_as_a_dead_letter() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    bus.publish(&event("pose.motion_detected", "kitchen", 1))
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let mut config = config("stubborn", &["pose.motion_detected"]);
    config.max_deliver = 2;
    let running = tokio::spawn(bus.consume(
        config,
        handler(|_| Box::pin(async { Err(Fault::Retry("still not".to_owned())) })),
        stop.clone(),
    ));
    let letters = letters(&bus, "stubborn", 1).await;
    stop.cancel();
    soon("the end", running).await.unwrap().unwrap();
    assert_eq!(
        (
            letters.len(),
            letters[0].attempts,
            letters[0].reason.as_str()
        ),
        (1, 2, "still not")
    );
}

#[tokio::test]
async fn a_worker_that_always_crashes_leaves_a_dead_letter() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let sent = event("pose.motion_detected", "kitchen", 1);
    bus.publish(&sent).await.unwrap();
    let mut config = config("crashing", &["pose.motion_detected"]);
    (config.max_deliver, config.ack_wait) = (2, Duration::from_millis(200));
    for _ in 0..2 {
        let (sender, mut taken) = mpsc::unbounded_channel();
        let bus = sandbox.bus().await;
        let work = handler(move |_| {
            sender.send(()).unwrap();
            Box::pin(std::future::pending())
        });
        let running = tokio::spawn(bus.consume(config.clone(), work, CancellationToken::new()));
        soon("a delivery", taken.recv()).await.unwrap();
        // The process is gone, without a word.
        running.abort();
    }
    // Any process that runs a consumer buries it.
    let stop = CancellationToken::new();
    let other = super::consumers::config("other", &["alerting.>"]);
    let running = tokio::spawn(bus.consume(
        other,
        handler(|_| Box::pin(async { Ok(Vec::new()) })),
        stop.clone(),
    ));
    // The server notices only when somebody asks for the message once more.
    let again = tokio::spawn(bus.consume(
        config,
        handler(|_| Box::pin(async { Ok(Vec::new()) })),
        stop.clone(),
    ));
    let letters = letters(&bus, "crashing", 1).await;
    stop.cancel();
    soon("the end", running).await.unwrap().unwrap();
    soon("the end", again).await.unwrap().unwrap();
    let letter = &letters[0];
    assert_eq!(
        (
            letter.subject.as_str(),
            letter.attempts,
            letter.stream_sequence
        ),
        ("pose.motion_detected.kitchen", 2, 1)
    );
    assert!(letter.reason.contains("unanswered"), "{}", letter.reason);
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&letter.payload).unwrap()["id"],
        sent.id.to_string()
    );
}

#[tokio::test]
async fn a_panic_is_one_failed_delivery() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    for n in 1..=3 {
        bus.publish(&event("pose.motion_detected", "kitchen", n))
            .await
            .unwrap();
    }
    let (sender, mut handled) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let work = handler(move |delivery| {
        let n = number(&delivery.event);
        assert!(
            n != 1 || delivery.attempt > 1,
            "the first attempt at the first event panics, before the future"
        );
        let sender = sender.clone();
        Box::pin(async move {
            assert!(
                n != 2 || delivery.attempt > 1,
                "the first attempt at the second event panics, within the future"
            );
            sender.send(n).unwrap();
            Ok(Vec::new())
        })
    });
    let running = tokio::spawn(bus.consume(config("panicky", &["pose.>"]), work, stop.clone()));
    for expected in 1..=3 {
        assert_eq!(soon("an event", handled.recv()).await, Some(expected));
    }
    stop.cancel();
    soon("the end", running).await.unwrap().unwrap();
}

#[tokio::test]
async fn long_work_is_not_delivered_twice() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    for n in 1..=2 {
        bus.publish(&event("pose.motion_detected", "kitchen", n))
            .await
            .unwrap();
    }
    let mut config = config("slow", &["pose.>"]);
    config.ack_wait = Duration::from_millis(400);
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&attempts);
    let stop = CancellationToken::new();
    let work = handler(move |delivery| {
        let attempts = Arc::clone(&shared);
        Box::pin(async move {
            // Three times ack_wait; the second event waits behind the first for as long.
            tokio::time::sleep(Duration::from_millis(1_200)).await;
            attempts
                .lock()
                .unwrap()
                .push((number(&delivery.event), delivery.attempt));
            Ok(Vec::new())
        })
    });
    let running = tokio::spawn(bus.consume(config, work, stop.clone()));
    until("both events", || async {
        attempts.lock().unwrap().len() >= 2
    })
    .await;
    stop.cancel();
    soon("the end", running).await.unwrap().unwrap();
    assert_eq!(*attempts.lock().unwrap(), [(1, 1), (2, 1)]);
    let js = async_nats::jetstream::new(async_nats::connect(sandbox.server.url()).await.unwrap());
    let stream = js.get_stream_no_info("POSE").await.unwrap();
    let info = stream.consumer_info("slow").await.unwrap();
    assert_eq!(
        info.delivered.consumer_sequence, 2,
        "the server gave out each event once"
    );
}

#[tokio::test]
async fn stopping_finishes_what_is_in_hand_and_returns_the_rest() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    for n in 1..=10 {
        bus.publish(&event("pose.motion_detected", &format!("zone-{n}"), n))
            .await
            .unwrap();
    }
    let mut config = config("stopping", &["pose.>"]);
    config.concurrency = 1;
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let done = Arc::new(Mutex::new(Vec::new()));
    let stop = CancellationToken::new();
    let work = {
        let (begun, go, done) = (Arc::clone(&begun), Arc::clone(&go), Arc::clone(&done));
        handler(move |delivery| {
            let (begun, go, done) = (Arc::clone(&begun), Arc::clone(&go), Arc::clone(&done));
            Box::pin(async move {
                begun.notify_one();
                if number(&delivery.event) == 1 {
                    go.notified().await;
                }
                done.lock().unwrap().push(number(&delivery.event));
                Ok(Vec::new())
            })
        })
    };
    let running = tokio::spawn(bus.consume(config.clone(), Arc::clone(&work), stop.clone()));
    soon("the first event", begun.notified()).await;
    stop.cancel();
    go.notify_one();
    soon("the end", running).await.unwrap().unwrap();
    assert!(
        done.lock().unwrap().contains(&1),
        "what was in hand was finished"
    );
    // The rest is there for the next.
    let stop = CancellationToken::new();
    let running = tokio::spawn(bus.consume(config, work, stop.clone()));
    until("all events", || async { done.lock().unwrap().len() >= 10 }).await;
    stop.cancel();
    soon("the end", running).await.unwrap().unwrap();
    let mut numbers = done.lock().unwrap().clone();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn senseless_consumers_are_refused() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let check = async |config: ConsumerConfig, expected: &str| {
        let work = handler(|_| Box::pin(async { Ok(Vec::new()) }));
        let error = soon(
            "a refusal",
            bus.consume(config, work, CancellationToken::new()),
        )
        .await
        .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(config("a.b", &["pose.>"]), "durable name").await;
    check(config("ok", &["pose.>", "alerting.>"]), "one is allowed").await;
    check(config("ok", &[]), "no filter").await;
    check(
        ConsumerConfig {
            ack_wait: Duration::ZERO,
            ..config("ok", &["pose.>"])
        },
        "ack_wait",
    )
    .await;
}
