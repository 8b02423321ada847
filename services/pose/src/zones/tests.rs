use bus::EventSourced as _;
use events::{DataSource, DeviceId};

use super::*;

fn zones() -> Zones {
    let settings = Settings {
        debounce_us: 2_000_000,
        unknown_after_us: 5_000_000,
        link_stale_us: 3_000_000,
    };
    let classes = ["inactive".to_owned(), "moving".to_owned()];
    Zones::new(
        settings,
        &classes,
        "pose/test".into(),
        "model m@1 sha256:00".into(),
    )
}

fn window(n: u64, run: Option<Uuid>) -> Window {
    Window {
        signal_id: Uuid::from_u128(u128::from(n) + 1),
        zone: ZoneId::new("hall").unwrap(),
        device: DeviceId::new("a").unwrap(),
        end_us: n as i64 * 1_000_000,
        length_us: 2_000_000,
        quality: 1.0,
        source: Some(DataSource::Replay),
        run,
        last_of_run: false,
        features: None,
    }
}

fn store(zones: &mut Zones, event: &EventEnvelope) {
    let number = zones
        .stored(&ZoneId::new("hall").unwrap())
        .map_or(0, |stored| stored.version.number);
    let version = Version {
        number: number + 1,
        stream_sequence: number + 1,
    };
    zones.stored_event(&ZoneId::new("hall").unwrap(), event, version);
}

#[test]
fn the_event_says_who_where_when_and_how() {
    let run = Uuid::from_u128(99);
    let mut zones = zones();
    let events: Vec<EventEnvelope> = (0..3)
        .filter_map(|n| {
            zones
                .observe(&window(n, Some(run)), n, Some(&[0.1, 0.9]))
                .unwrap()
        })
        .collect();
    let [event] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(event.event_type, "pose.activity_changed");
    assert_eq!(event.causation_id, Some(Uuid::from_u128(3)));
    assert_eq!(event.correlation_id, Some(run));
    assert_eq!(event.metadata.data_source, Some(DataSource::Replay));
    assert_eq!(
        event.metadata.method.as_deref(),
        Some("model m@1 sha256:00")
    );
    assert_eq!(
        event.key,
        person_id(&ZoneId::new("hall").unwrap()).to_string()
    );
    assert_eq!(event.payload["previous_activity"], "unknown");
    assert_eq!(event.payload["new_activity"], "moving");
    assert_eq!(event.payload["zone_id"], "hall");
    assert_eq!(event.payload["session_id"], run.to_string());
    assert_eq!(event.payload["previous_activity_duration_seconds"], 2.0);
}

#[test]
fn every_run_begins_unknown() {
    let mut zones = zones();
    let mut previous = Vec::new();
    for run in [1_u128, 2] {
        for n in 0..5 {
            let window = window(n, Some(Uuid::from_u128(run)));
            if let Some(event) = zones.observe(&window, n, Some(&[0.1, 0.9])).unwrap() {
                previous.push(event.payload["previous_activity"].clone());
                store(&mut zones, &event);
            }
        }
    }
    assert_eq!(previous, ["unknown", "unknown"]);
}

#[test]
fn windows_read_again_after_a_restart_add_nothing() {
    let run = Some(Uuid::from_u128(7));
    let belief = |n: u64| if n < 4 { [0.9, 0.1] } else { [0.1, 0.9] };
    let mut first = zones();
    let mut stored = Vec::new();
    for n in 0..10 {
        if let Some(event) = first.observe(&window(n, run), n, Some(&belief(n))).unwrap() {
            store(&mut first, &event);
            stored.push(event);
        }
    }
    assert_eq!(stored.len(), 2);
    let mut second = zones();
    let subject = Subject::replay(&stored);
    let version = Version {
        number: 2,
        stream_sequence: 2,
    };
    second.restore(ZoneId::new("hall").unwrap(), Stored { subject, version });
    for n in 0..10 {
        assert_eq!(
            second
                .observe(&window(n, run), n, Some(&belief(n)))
                .unwrap(),
            None,
            "window {n}"
        );
    }
    assert_eq!(second.activity(&window(9, run)).activity, "moving");
}

#[test]
fn the_checkpoint_stays_before_what_is_needed() {
    let mut zones = zones();
    let hall = ZoneId::new("hall").unwrap();
    for n in 10..12 {
        zones
            .observe(&window(n, None), n, Some(&[0.1, 0.9]))
            .unwrap();
        assert_eq!(
            zones.done_until(n),
            9,
            "nothing is stored yet: all windows are needed"
        );
    }
    let event = zones
        .observe(&window(12, None), 12, Some(&[0.1, 0.9]))
        .unwrap()
        .unwrap();
    store(&mut zones, &event);
    for n in 13..40 {
        assert!(
            zones
                .observe(&window(n, None), n, Some(&[0.1, 0.9]))
                .unwrap()
                .is_none()
        );
    }
    assert_eq!(
        zones.done_until(39),
        35,
        "the latest windows of the links, 3 s"
    );
    assert_eq!(zones.stored(&hall).unwrap().version.number, 1);
    // A zone that no window comes from does not hold the checkpoint back for ever.
    assert_eq!(zones.done_until(39 + FORGOTTEN_AFTER), 39 + FORGOTTEN_AFTER);
}

#[test]
fn a_run_that_ended_holds_nothing_back() {
    let mut zones = zones();
    let run = Some(Uuid::from_u128(7));
    zones
        .observe(&window(5, run), 5, Some(&[0.1, 0.9]))
        .unwrap();
    assert_eq!(zones.done_until(5), 4);
    let last = Window {
        last_of_run: true,
        ..window(6, run)
    };
    zones.observe(&last, 6, Some(&[0.1, 0.9])).unwrap();
    assert_eq!(zones.done_until(6), 6);
}
