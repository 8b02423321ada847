//! Aggregates, snapshots, buckets and objects.

use bus::{Aggregate, AppendError, Error, EventSourced, From, Version};
use bytes::Bytes;
use events::EventEnvelope;
use serde::{Deserialize, Serialize};

use crate::sandbox::{Sandbox, event, number};

fn device(key: &str) -> Aggregate {
    Aggregate {
        context: "hardware".to_owned(),
        key: key.to_owned(),
    }
}

fn configured(key: &str, n: u64) -> EventEnvelope {
    event("hardware.device_configured", key, n)
}

#[derive(Default, Debug, PartialEq, Serialize, Deserialize)]
struct Sum {
    total: u64,
    events: u64,
}

impl EventSourced for Sum {
    fn apply(&mut self, event: &EventEnvelope) {
        self.total += number(event);
        self.events += 1;
    }
}

#[tokio::test]
async fn an_aggregate_is_what_its_events_say() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let aggregate = device("esp-1");
    assert_eq!(
        bus.load(&aggregate).await.unwrap(),
        (Vec::new(), Version::default())
    );
    let one = bus
        .append(&aggregate, Version::default(), vec![configured("esp-1", 1)])
        .await
        .unwrap();
    assert_eq!(one.number, 1);
    let three = bus
        .append(
            &aggregate,
            one,
            vec![configured("esp-1", 2), configured("esp-1", 3)],
        )
        .await
        .unwrap();
    assert_eq!(three.number, 3);
    bus.append(
        &device("esp-2"),
        Version::default(),
        vec![configured("esp-2", 50)],
    )
    .await
    .unwrap();
    let (events, version) = bus.load(&aggregate).await.unwrap();
    assert_eq!(version, three);
    assert_eq!(
        events.iter().map(|e| e.sequence_number).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert!(events.iter().all(|e| e.key == "esp-1"));
    assert_eq!(
        Sum::replay(&events),
        Sum {
            total: 6,
            events: 3
        }
    );
    let (later, version) = bus.load_from_version(&aggregate, one).await.unwrap();
    assert_eq!((later.len(), version), (2, three));
}

#[tokio::test]
async fn the_second_of_two_writers_is_told_so() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let aggregate = device("esp-1");
    bus.append(&aggregate, Version::default(), vec![configured("esp-1", 1)])
        .await
        .unwrap();
    for late in [
        vec![configured("esp-1", 2)],
        vec![configured("esp-1", 3), configured("esp-1", 4)],
    ] {
        let error = bus
            .append(&aggregate, Version::default(), late)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, AppendError::Conflict { key, expected: 0, .. } if key == "esp-1"),
            "{error:?}"
        );
    }
    assert_eq!(bus.load(&aggregate).await.unwrap().0.len(), 1);
}

#[tokio::test]
async fn two_writers_lose_nothing() {
    let sandbox = Sandbox::start().await;
    let aggregate = device("esp-1");
    let write = async |from: u64| {
        let bus = sandbox.bus().await;
        for n in from..from + 50 {
            let mut version = bus.load(&aggregate).await.unwrap().1;
            // Every fifth as part of a batch.
            let events = if n % 5 == 0 {
                vec![configured("esp-1", n), configured("esp-1", 1_000 + n)]
            } else {
                vec![configured("esp-1", n)]
            };
            while let Err(error) = bus.append(&aggregate, version, events.clone()).await {
                assert!(matches!(error, AppendError::Conflict { .. }), "{error:?}");
                version = bus.load(&aggregate).await.unwrap().1;
            }
        }
    };
    tokio::join!(write(100), write(200));
    let (events, version) = sandbox.bus().await.load(&aggregate).await.unwrap();
    assert_eq!(version.number, 120);
    assert_eq!(
        events.iter().map(|e| e.sequence_number).collect::<Vec<_>>(),
        (1..=120).collect::<Vec<_>>()
    );
    let mut numbers: Vec<u64> = events.iter().map(number).filter(|n| *n < 1_000).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (100..150).chain(200..250).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_same_append_again_is_no_conflict() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let aggregate = device("esp-1");
    let single = vec![configured("esp-1", 1)];
    let first = bus
        .append(&aggregate, Version::default(), single.clone())
        .await
        .unwrap();
    assert_eq!(
        bus.append(&aggregate, Version::default(), single)
            .await
            .unwrap(),
        first
    );
    let batch = vec![configured("esp-1", 2), configured("esp-1", 3)];
    let second = bus.append(&aggregate, first, batch.clone()).await.unwrap();
    assert_eq!(bus.append(&aggregate, first, batch).await.unwrap(), second);
    assert_eq!(bus.load(&aggregate).await.unwrap().0.len(), 3);
}

#[tokio::test]
async fn events_that_are_not_sourced_do_not_stand_in_the_way() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let aggregate = device("esp-1");
    let one = bus
        .append(&aggregate, Version::default(), vec![configured("esp-1", 1)])
        .await
        .unwrap();
    bus.publish(&event("hardware.device_error", "esp-1", 2))
        .await
        .unwrap();
    let (_, version) = bus.load(&aggregate).await.unwrap();
    assert_eq!(
        version,
        Version {
            number: 1,
            stream_sequence: 2
        }
    );
    let two = bus
        .append(&aggregate, one, vec![configured("esp-1", 3)])
        .await
        .unwrap();
    assert_eq!(
        two,
        Version {
            number: 2,
            stream_sequence: 3
        }
    );
    bus.publish(&event("hardware.device_error", "esp-1", 4))
        .await
        .unwrap();
    let four = bus
        .append(
            &aggregate,
            two,
            vec![configured("esp-1", 5), configured("esp-1", 6)],
        )
        .await
        .unwrap();
    assert_eq!(
        four,
        Version {
            number: 4,
            stream_sequence: 6
        }
    );
}

#[tokio::test]
async fn an_event_of_another_aggregate_is_refused() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let error = bus
        .append(
            &device("esp-1"),
            Version::default(),
            vec![configured("esp-2", 1)],
        )
        .await
        .unwrap_err();
    assert!(
        matches!(error, AppendError::Bus(Error::Subject { .. })),
        "{error:?}"
    );
    let nowhere = Aggregate {
        context: "nowhere".to_owned(),
        key: "a".to_owned(),
    };
    assert!(matches!(
        bus.load(&nowhere).await,
        Err(Error::Filter { .. })
    ));
}

#[tokio::test]
async fn more_than_a_page_is_loaded_whole() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let pipeline = bus.pipeline(512);
    for n in 1..=1_234 {
        pipeline
            .publish(&event(
                "pose.motion_detected",
                if n % 2 == 0 { "even" } else { "odd" },
                n,
            ))
            .await
            .unwrap();
    }
    pipeline.flush().await.unwrap();
    let all = bus.replay("pose.>", From::Start).await.unwrap();
    assert_eq!(
        all.iter().map(|d| number(&d.event)).collect::<Vec<_>>(),
        (1..=1_234).collect::<Vec<_>>()
    );
    let even = bus
        .replay("pose.motion_detected.even", From::After(1_000))
        .await
        .unwrap();
    assert_eq!(
        even.iter().map(|d| d.stream_sequence).collect::<Vec<_>>(),
        (1_002..=1_234).step_by(2).collect::<Vec<_>>()
    );
    let since = bus
        .replay("pose.>", From::Time(all[1_000].stored_us))
        .await
        .unwrap();
    assert!(
        since.len() >= 234 && since.iter().all(|d| d.stored_us >= all[1_000].stored_us),
        "{}",
        since.len()
    );
    assert!(bus.replay("pose.>", From::New).await.unwrap().is_empty());
    assert!(
        bus.replay("pose.nothing", From::Start)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(matches!(
        bus.replay(">", From::After(1)).await,
        Err(Error::Filter { .. })
    ));
    let last = bus.last("pose.motion_detected.odd").await.unwrap().unwrap();
    assert_eq!(
        (last.sequence, last.subject.as_str()),
        (1_233, "pose.motion_detected.odd")
    );
    assert!(
        bus.last("pose.motion_detected.nobody")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_snapshot_bounds_the_replay() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let aggregate = device("esp-1");
    let version = bus
        .append(
            &aggregate,
            Version::default(),
            vec![configured("esp-1", 1), configured("esp-1", 2)],
        )
        .await
        .unwrap();
    assert!(
        bus.load_snapshot::<Sum>(&aggregate)
            .await
            .unwrap()
            .is_none()
    );
    let state = Sum {
        total: 3,
        events: 2,
    };
    bus.save_snapshot(&aggregate, version, &state)
        .await
        .unwrap();
    let (kept, at) = bus.load_snapshot::<Sum>(&aggregate).await.unwrap().unwrap();
    assert_eq!((kept, at), (state, version));
    bus.append(&aggregate, version, vec![configured("esp-1", 10)])
        .await
        .unwrap();
    let (state, version) = bus.load_state::<Sum>(&aggregate).await.unwrap();
    assert_eq!(
        (state, version.number),
        (
            Sum {
                total: 13,
                events: 3
            },
            3
        )
    );
    // A snapshot of another shape is passed over, and the events tell.
    bus.save_snapshot(&aggregate, version, &"another type")
        .await
        .unwrap();
    let (state, version) = bus.load_state::<Sum>(&aggregate).await.unwrap();
    assert_eq!(
        (state, version.number),
        (
            Sum {
                total: 13,
                events: 3
            },
            3
        )
    );
}

#[tokio::test]
async fn a_bucket_compares_and_sets() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let kv = bus.kv("config").await.unwrap();
    assert!(kv.get("zone/kitchen").await.unwrap().is_none());
    let first = kv
        .update("zone/kitchen", Bytes::from_static(b"1"), 0)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        kv.update("zone/kitchen", Bytes::from_static(b"x"), 0)
            .await
            .unwrap(),
        None
    );
    let second = kv
        .update("zone/kitchen", Bytes::from_static(b"2"), first)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        kv.update("zone/kitchen", Bytes::from_static(b"x"), first)
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        kv.get("zone/kitchen").await.unwrap(),
        Some((Bytes::from_static(b"2"), second))
    );
    kv.put("zone/hall", Bytes::from_static(b"h")).await.unwrap();
    assert_eq!(kv.keys().await.unwrap(), ["zone/hall", "zone/kitchen"]);
    kv.delete("zone/hall").await.unwrap();
    assert!(kv.get("zone/hall").await.unwrap().is_none());
    assert_eq!(kv.keys().await.unwrap(), ["zone/kitchen"]);
    assert!(
        kv.update("zone/hall", Bytes::from_static(b"again"), 0)
            .await
            .unwrap()
            .is_some(),
        "absent again"
    );
    assert!(matches!(
        kv.put("a b", Bytes::new()).await,
        Err(Error::Refused { .. })
    ));
    assert!(matches!(
        bus.kv("nothing").await,
        Err(Error::Unknown { .. })
    ));
}

#[tokio::test]
async fn an_object_comes_back_as_it_went() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let objects = bus.objects("models").await.unwrap();
    assert_eq!(
        (
            objects.get("m/1").await.unwrap(),
            objects.size("m/1").await.unwrap()
        ),
        (None, None)
    );
    let data: Vec<u8> = (0..600_000_u32)
        .map(|n| n.to_le_bytes()[(n % 3) as usize])
        .collect();
    objects.put("m/1", Bytes::from(data.clone())).await.unwrap();
    assert_eq!(objects.get("m/1").await.unwrap().unwrap(), data);
    assert_eq!(objects.size("m/1").await.unwrap(), Some(600_000));
    objects.put("m/1", Bytes::new()).await.unwrap();
    assert_eq!(objects.get("m/1").await.unwrap(), Some(Bytes::new()));
    assert!(matches!(
        bus.objects("nothing").await,
        Err(Error::Unknown { .. })
    ));
}
