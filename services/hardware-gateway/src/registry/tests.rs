use std::sync::Arc;

use csi::{Layout, Ppdu, SampleFormat};
use events::Metadata;
use serde_json::json;

use super::*;
use crate::device::{CHANGE, DEVICE_TYPE, HARDWARE_ID, ZONE};

fn frame(sequence: u64) -> Frame {
    Frame {
        sequence,
        counted: true,
        device_time_us: None,
        receive_time_us: 0,
        rssi_dbm: vec![],
        noise_floor_dbm: None,
        agc: None,
        frequency_mhz: None,
        channel: None,
        bandwidth_mhz: None,
        ppdu: Ppdu::Unknown,
        antennas: 1,
        transmit_streams: 1,
        layout: Arc::new(Layout {
            name: "none",
            subcarriers: Box::new([]),
            valid: Box::new([]),
        }),
        samples: Vec::new(),
        format: SampleFormat::Ci8,
        scale: None,
        raw_size: 0,
        transmitter: None,
        simulated: false,
        chain: None,
    }
}

fn event(event_type: &str, number: u64, extra: &[(&str, &str)]) -> EventEnvelope {
    let extra = extra
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect();
    serde_json::from_value::<EventEnvelope>(json!({
        "id": uuid::Uuid::from_u128(u128::from(number)),
        "event_type": event_type,
        "aggregate_id": "lamp",
        "aggregate_type": "device",
        "sequence_number": number,
        "occurred_at": "2026-01-01T00:00:00Z",
        "version": 1,
        "metadata": {"source": "test"},
        "payload": {},
    }))
    .map(|event| EventEnvelope {
        metadata: Metadata {
            extra,
            ..event.metadata.clone()
        },
        ..event
    })
    .unwrap()
}

fn registered() -> Registry {
    let mut registry = Registry::default();
    let settings = [
        (ZONE, "hall"),
        (HARDWARE_ID, "adr018:7"),
        (DEVICE_TYPE, "esp32-adr018"),
        (CHANGE, "created"),
    ];
    registry.apply(
        "lamp",
        &event("hardware.device_configured", 1, &settings),
        10,
    );
    registry
}

fn hear(registry: &mut Registry, sequence: u64, now_us: i64) -> Verdict {
    registry.frame(
        "adr018:7",
        "esp32-adr018",
        "127.0.0.1",
        &frame(sequence),
        now_us,
    )
}

fn accepted(connects: bool) -> Verdict {
    Verdict::Accepted {
        device: Name::new("lamp").unwrap(),
        place: Entries::default().place(&Name::new("lamp").unwrap()),
        zone: "hall".into(),
        connects,
        order: Order::Next,
    }
}

#[test]
fn the_first_frame_connects_and_the_next_does_not() {
    let mut registry = registered();
    assert_eq!(hear(&mut registry, 0, 0), accepted(true));
    // The append is under way: not asked for again.
    assert_eq!(hear(&mut registry, 1, 1), accepted(false));
    registry.apply("lamp", &event("hardware.device_connected", 2, &[]), 11);
    registry.set_changing(&Name::new("lamp").unwrap(), false);
    assert_eq!(hear(&mut registry, 2, 2), accepted(false));
    assert_eq!(
        registry.version(&Name::new("lamp").unwrap()),
        Version {
            number: 2,
            stream_sequence: 11
        }
    );
}

#[test]
fn an_unknown_sender_is_discovered_once_and_not_trusted() {
    let mut registry = registered();
    let mut unknown = |now| registry.frame("adr018:9", "esp32-adr018", "127.0.0.2", &frame(0), now);
    assert_eq!(unknown(0), Verdict::Unregistered { first: true });
    assert_eq!(unknown(1), Verdict::Unregistered { first: false });
    let found: Vec<_> = registry.list_discovered("").collect();
    assert_eq!((found.len(), found[0].1.frames), (1, 2));
}

#[test]
fn a_discovered_sender_that_is_registered_is_no_longer_listed() {
    let mut registry = registered();
    registry.frame("adr018:9", "esp32-adr018", "127.0.0.2", &frame(0), 0);
    registry.apply(
        "door",
        &event(
            "hardware.device_configured",
            1,
            &[(ZONE, "hall"), (HARDWARE_ID, "adr018:9")],
        ),
        12,
    );
    assert_eq!(registry.list_discovered("").count(), 0);
    assert_eq!(
        registry
            .list("")
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>(),
        ["door", "lamp"]
    );
}

#[test]
fn senders_are_bounded() {
    let mut registry = Registry::default();
    for i in 0..5000 {
        registry.frame(
            &format!("adr018:{i}"),
            "esp32-adr018",
            "127.0.0.1",
            &frame(0),
            0,
        );
    }
    assert_eq!(registry.list_discovered("").count(), MAX_DISCOVERED);
}

#[test]
fn silence_is_noticed_after_the_time_out_only() {
    let mut registry = registered();
    hear(&mut registry, 0, 1_000);
    registry.apply("lamp", &event("hardware.device_connected", 2, &[]), 11);
    registry.set_changing(&Name::new("lamp").unwrap(), false);
    assert!(registry.silent(5_000, 5_000, 0).is_empty());
    assert_eq!(registry.silent(6_000, 5_000, 0).len(), 1);
}

#[test]
fn a_replay_is_no_live_silence() {
    let mut registry = registered();
    let lamp = Name::new("lamp").unwrap();
    registry.replayed(&lamp, &frame(0), DataSource::Replay, Uuid::from_u128(1));
    registry.apply("lamp", &event("hardware.device_connected", 2, &[]), 11);
    registry.set_changing(&lamp, false);
    assert!(registry.silent(i64::MAX, 5_000, 0).is_empty());
    registry.end_run(&lamp);
    assert_eq!(registry.silent(i64::MAX, 5_000, 0).len(), 1);
}

#[test]
fn a_moved_device_is_heard_under_its_new_hardware_id_only() {
    let mut registry = registered();
    registry.apply(
        "lamp",
        &event(
            "hardware.device_configured",
            2,
            &[(HARDWARE_ID, "adr018:8"), (ZONE, "attic")],
        ),
        12,
    );
    assert_eq!(
        hear(&mut registry, 0, 0),
        Verdict::Unregistered { first: true }
    );
    let verdict = registry.frame("adr018:8", "esp32-adr018", "127.0.0.1", &frame(0), 0);
    assert!(matches!(verdict, Verdict::Accepted { zone, .. } if &*zone == "attic"));
}

#[test]
fn a_deleted_device_is_gone_and_its_name_free_at_its_version() {
    let mut registry = registered();
    registry.apply(
        "lamp",
        &event("hardware.device_disconnected", 2, &[(CHANGE, "deleted")]),
        12,
    );
    let lamp = Name::new("lamp").unwrap();
    assert!(registry.get(&lamp).is_none());
    assert_eq!(
        registry.version(&lamp),
        Version {
            number: 2,
            stream_sequence: 12
        }
    );
    assert_eq!(
        hear(&mut registry, 0, 0),
        Verdict::Unregistered { first: true }
    );
}

#[test]
fn malformed_datagrams_are_attributed_by_node_then_address_then_sender() {
    let mut registry = registered();
    hear(&mut registry, 0, 0);
    assert_eq!(registry.malformed(Some("adr018:7"), "127.0.0.9", 0), "lamp");
    assert_eq!(registry.malformed(None, "127.0.0.1", 0), "lamp");
    assert_eq!(registry.malformed(None, "127.0.0.9", 0), "sender-127-0-0-9");
    assert_eq!(
        registry.malformed(Some("adr018:99"), "fe80::1", 0),
        "sender-fe80--1"
    );
    assert_eq!(
        registry.get(&Name::new("lamp").unwrap()).unwrap().malformed,
        2
    );
}
