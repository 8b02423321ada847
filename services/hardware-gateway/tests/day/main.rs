//! A day of frames through everything that the gateway keeps of a device: clocks and counts wrap, nothing grows, nobody is
//! stuck. Time is the input's, so a day takes seconds.
//!
//! Real lines and datagrams are decoded; two frames a second instead of a hundred, so that the wraps of the clock (every
//! 71 min 35 s) stand where they stand on a device. And no frame allocates anything but itself.

// A test may panic: that is how it fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::net::SocketAddr;

use allocation_counter::measure;
use csi::Frame;
use csi::decode::adr018::{self, Packet};
use csi::decode::esp32_csv;
use csi::wire::{Encoder, Published};
use events::{DataSource, EventEnvelope, Name};
use hardware_gateway::device::{CHANGE, DEVICE_TYPE, HARDWARE_ID, ZONE};
use hardware_gateway::health::gate::Holds;
use hardware_gateway::registry::{Place, Registry, Verdict};
use hardware_gateway::source::identity::{Claims, From, Standing};
use hardware_gateway::source::lanes::Lanes;
use hardware_gateway::source::rate::Bucket;
use hardware_gateway::track::{Announcer, Order};
use serde_json::json;
use uuid::Uuid;

const STEP_US: i64 = 500_000;
const HOUR: i64 = 3_600_000_000 / STEP_US;
/// The gateway's clock at the first frame.
const BEGIN_US: i64 = 1_800_000_000_000_000;
/// The device's clock at the first frame: a minute before its first wrap.
const CLOCK_US: u32 = u32::MAX - 60_000_000;
const LINES: &str = "a0:b0:c0:d0:e0:01";
const DATAGRAMS: &str = "adr018:7";

fn configured(name: &str, hardware_id: &str) -> EventEnvelope {
    serde_json::from_value(json!({
        "id": Uuid::from_u128(1),
        "event_type": "hardware.device_configured",
        "aggregate_id": name,
        "aggregate_type": "device",
        "sequence_number": 1,
        "occurred_at": "2027-01-01T00:00:00Z",
        "version": 1,
        "metadata": {
            "source": "test",
            ZONE: "hall", HARDWARE_ID: hardware_id, DEVICE_TYPE: "esp32", CHANGE: "created",
        },
        "payload": {},
    }))
    .unwrap()
}

fn connected(name: &str) -> EventEnvelope {
    let mut event = configured(name, "");
    event.event_type = "hardware.device_connected".into();
    event.sequence_number = 2;
    event.metadata.extra.clear();
    event
}

/// Two devices, and what stands between them and the bus.
struct Gateway {
    lines: esp32_csv::Decoder,
    registry: Registry,
    claims: Claims,
    buckets: [Bucket; 2],
    announcer: Announcer,
    lanes: Lanes<Place, Frame>,
    encoder: Encoder,
    datagram: Vec<u8>,
    tail: String,
    /// Decoded device times of the lines: newest, and sum of the steps.
    newest_us: Option<u64>,
    elapsed_us: u64,
    published: u64,
    health_changes: usize,
    connects: usize,
    restarts: usize,
}

impl Gateway {
    fn new() -> Self {
        let mut registry = Registry::default();
        for (name, id) in [("one", LINES), ("other", DATAGRAMS)] {
            registry.apply(name, &configured(name, id), 1);
        }
        let mut datagram = vec![0; 148];
        datagram[..4].copy_from_slice(&adr018::MAGIC_CSI.to_le_bytes());
        datagram[4..8].copy_from_slice(&[7, 1, 64, 0]);
        datagram[8..12].copy_from_slice(&2437_u32.to_le_bytes());
        datagram[16..18].copy_from_slice(&[206, 164]);
        for (place, byte) in datagram[20..].iter_mut().enumerate() {
            *byte = place as u8 % 50 + 1;
        }
        let list: Vec<String> = (0..128).map(|place| (place % 50 + 1).to_string()).collect();
        Self {
            lines: esp32_csv::Decoder::new(),
            registry,
            claims: Claims::default(),
            buckets: [Bucket::new(5_000.0); 2],
            announcer: Announcer::new(1_000),
            lanes: Lanes::new(8_192, 32 << 20),
            encoder: Encoder::default(),
            datagram,
            tail: format!("0,0,0,128,0,[{}]", list.join(" ")),
            newest_us: None,
            elapsed_us: 0,
            published: 0,
            health_changes: 0,
            connects: 0,
            restarts: 0,
        }
    }

    /// One frame of each device; `step` counts from the beginning of the day.
    fn step(&mut self, step: i64) {
        let now_us = BEGIN_US + step * STEP_US;
        let clock = CLOCK_US.wrapping_add((step * STEP_US) as u32);
        let line = format!(
            "CSI_DATA,{step},{LINES},-50,0,1,0,0,0,0,0,0,0,0,-92,0,6,0,{clock},{}",
            self.tail
        );
        let frame = self.lines.line(line.as_bytes(), Some(now_us));
        let frame = frame.unwrap().expect("a frame");
        let time_us = frame.device_time_us.expect("a device clock");
        if let Some(before) = self.newest_us.replace(time_us) {
            self.elapsed_us += time_us.checked_sub(before).expect("time goes on");
        }
        self.take(0, frame, LINES, now_us);

        // The 32-bit count wraps at noon.
        let sequence = (u32::MAX - 12 * HOUR as u32).wrapping_add(step as u32);
        self.datagram[12..16].copy_from_slice(&sequence.to_le_bytes());
        // Samples differ, or it would be a repetition.
        self.datagram[20] = step as u8 % 100 + 1;
        let Ok(Packet::Csi { frame, .. }) = adr018::decode(&self.datagram, now_us) else {
            panic!("no CSI datagram");
        };
        self.take(1, frame, DATAGRAMS, now_us);
        if step % 2 == 0 {
            let holds = Holds {
                raise_us: 3_000_000,
                clear_us: 10_000_000,
            };
            self.health_changes += self.registry.judge(5, holds, now_us).len();
            assert_eq!(self.claims.moved(now_us), [], "nobody moved");
            let silent = self.registry.silent(now_us, 5_000_000, BEGIN_US);
            assert!(silent.is_empty(), "{silent:?} at step {step}");
        }
    }

    fn take(&mut self, device: usize, frame: Frame, id: &str, now_us: i64) {
        let address = SocketAddr::from(([127, 0, 0, 1], 4_000));
        let standing = self.claims.heard(id, From::Net(address), now_us);
        assert_eq!(standing, Standing::Holder);
        let verdict = self
            .registry
            .frame(id, "esp32", "127.0.0.1", &frame, now_us);
        let Verdict::Accepted {
            device: name,
            place,
            zone,
            connects,
            order,
        } = verdict
        else {
            panic!("{id}: {verdict:?}");
        };
        assert!(matches!(order, Order::Next | Order::Restart), "{order:?}");
        self.restarts += usize::from(order == Order::Restart);
        assert!(self.buckets[device].take(frame.receive_time_us));
        self.announcer.announce(frame.receive_time_us);
        if connects {
            self.connects += 1;
            self.registry
                .apply(name.as_str(), &connected(name.as_str()), 2);
            self.registry.set_changing(&name, false);
        }
        assert!(self.lanes.push(&place, frame, 1_000).is_empty());
        let frame = self.lanes.pop().expect("it waits");
        let published = Published {
            frame_id: Uuid::from_u128(u128::from(self.published)),
            device: name.as_str(),
            zone: &*zone,
            source: DataSource::Live,
            run_id: None,
            announced: false,
            sampled_one_in: 1,
            ingest_time_us: now_us,
            last_of_run: false,
        };
        assert!(self.encoder.encode(&frame, &published).len() > 128);
        self.published += 1;
    }
}

#[test]
fn a_day_wraps_clocks_and_counts_and_holds_nothing_more() {
    let mut gateway = Gateway::new();
    let day = 24 * HOUR;
    let first = measure(|| (0..HOUR).for_each(|step| gateway.step(step)));
    let rest = measure(|| (HOUR..day).for_each(|step| gateway.step(step)));
    println!("held after the first hour: {first:?}, and after the day: {rest:?}");
    assert!(rest.bytes_current <= 0, "{rest:?}");
    assert!(rest.bytes_max < 32 << 10, "{rest:?}");

    // Twenty-one wraps, none of them a restart, and no microsecond is missing.
    assert_eq!(gateway.lines.restarts(), 0);
    assert_eq!(gateway.elapsed_us, (day - 1) as u64 * STEP_US as u64);
    assert_eq!(gateway.published, 2 * day as u64);
    assert_eq!(gateway.connects, 2, "each connects once");
    // A count that wraps is a new count, and costs no frame.
    assert_eq!(gateway.restarts, 1);
    for name in ["one", "other"] {
        let entry = gateway.registry.get(&Name::new(name).unwrap()).unwrap();
        let track = &entry.track;
        assert_eq!(
            (track.frames, track.lost, track.late, track.duplicates),
            (day as u64, 0, 0, 0),
            "{name}"
        );
        assert_eq!(
            entry.measured(5, BEGIN_US + day * STEP_US).unwrap().rate_hz,
            Some(2.0)
        );
    }
    assert_eq!(gateway.health_changes, 0, "healthy throughout");
}

#[test]
fn a_frame_allocates_itself_and_its_message() {
    let mut gateway = Gateway::new();
    (0..1_000).for_each(|step| gateway.step(step));
    let now_us = BEGIN_US + 1_000 * STEP_US;
    let mut frames: Vec<Frame> = (0..100_u32)
        .map(|step| {
            let mut datagram = gateway.datagram.clone();
            let sequence = (u32::MAX - 12 * HOUR as u32).wrapping_add(1_000 + step);
            datagram[12..16].copy_from_slice(&sequence.to_le_bytes());
            match adr018::decode(&datagram, now_us) {
                Ok(Packet::Csi { frame, .. }) => frame,
                _ => panic!("no CSI datagram"),
            }
        })
        .collect();
    let decoded = measure(|| drop(adr018::decode(&gateway.datagram, now_us)));
    assert_eq!(decoded.count_total, 2, "samples and RSSI: {decoded:?}");
    let counted = measure(|| {
        for frame in frames.drain(..) {
            gateway.take(1, frame, DATAGRAMS, now_us);
        }
    });
    // The message's bytes, and what makes them shareable.
    assert!(counted.count_total <= 200, "{counted:?}");
}
