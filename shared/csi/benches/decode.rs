//! What a frame costs on its way in: decoding, and the form on the data plane.

// A benchmark may panic: it runs on inputs of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use csi::decode::adr018::{self, Packet};
use csi::decode::esp32_csv::{self, Decoder};
use csi::layout::{self, Fields, Order};
use csi::read::{Format, Options, Reader};
use csi::wire::{self, Published};
use csi::{Frame, Ppdu, SampleFormat};
use num_complex::Complex32;
use uuid::Uuid;

const FIELDS: [(Fields, usize); 3] = [
    (Fields::Legacy, 64),
    (Fields::LegacyHt20, 128),
    (Fields::LegacyHt20Stbc, 192),
];

fn frame(fields: Fields) -> Frame {
    let layout = layout::esp32(fields, Order::Fft, true);
    let value = |k: usize, factor: usize| (k * factor % 97) as f32 - 48.0;
    Frame {
        sequence: 123_456,
        counted: true,
        device_time_us: Some(987_654_321),
        receive_time_us: 1_700_000_000_000_000,
        rssi_dbm: vec![-50],
        noise_floor_dbm: Some(-92),
        agc: None,
        frequency_mhz: Some(2437),
        channel: Some(6),
        bandwidth_mhz: Some(20),
        ppdu: Ppdu::Ht,
        antennas: 1,
        transmit_streams: 1,
        samples: (0..layout.len())
            .map(|k| Complex32::new(value(k, 31), value(k, 17)))
            .collect(),
        layout,
        format: SampleFormat::Ci8,
        scale: None,
        raw_size: 148,
        transmitter: Some([1, 2, 3, 4, 5, 6]),
        simulated: false,
        chain: None,
    }
}

fn published() -> Published {
    Published {
        frame_id: Uuid::from_u128(1),
        device: "esp32-livingroom-1".to_owned(),
        zone: "livingroom".to_owned(),
        source: events::DataSource::Live,
        run_id: None,
        announced: true,
        sampled_one_in: 1,
        ingest_time_us: 1_700_000_000_000_000,
        last_of_run: false,
    }
}

fn adr018(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("adr018");
    group.throughput(Throughput::Elements(1));
    for (fields, subcarriers) in FIELDS {
        let mut datagram = Vec::new();
        if adr018::encode(&frame(fields), 1, &mut datagram).is_err() {
            continue;
        }
        group.bench_function(format!("decode/{subcarriers}"), |bencher| {
            bencher.iter(|| match adr018::decode(black_box(&datagram), 1) {
                Ok(Packet::Csi { frame, .. }) => Some(frame),
                _ => None,
            });
        });
    }
    group.finish();
}

fn csv(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("esp32_csv");
    group.throughput(Throughput::Elements(1));
    for (fields, subcarriers) in FIELDS {
        let mut line = String::new();
        if esp32_csv::write_line(&frame(fields), &mut line).is_err() {
            continue;
        }
        let mut decoder = Decoder::new();
        group.bench_function(format!("decode/{subcarriers}"), |bencher| {
            bencher.iter(|| decoder.line(black_box(line.as_bytes()), Some(1)));
        });
    }
    group.finish();
}

fn data_plane(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(1));
    for (fields, subcarriers) in FIELDS {
        let (frame, published) = (frame(fields), published());
        let message: Bytes = wire::encode(&frame, &published);
        let mut decoder = wire::Decoder::default();
        group.bench_function(format!("encode/{subcarriers}"), |bencher| {
            bencher.iter(|| wire::encode(black_box(&frame), &published));
        });
        group.bench_function(format!("decode/{subcarriers}"), |bencher| {
            bencher.iter(|| decoder.decode(black_box(&message)));
        });
    }
    group.finish();
}

/// Whole logs of network cards; one that is not on this machine is left out, and that is said.
fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("records");
    for (name, recording) in [
        ("intel5300/3x2", "csiread-intel-0x1-ap"),
        ("intel5300/3x1", "csi-har-rooma-fall-down-s1-01"),
        ("atheros/3x2", "csiread-atheros-1"),
        ("atheros/2x2-big", "csi-classification-three-place-room0"),
        ("picoscenes/iwl5300", "csiread-picoscenes-iwl5300"),
        ("picoscenes/qca9300", "csiread-picoscenes-qca9300"),
        ("picoscenes/ax200", "csikit-picoscenes-ax200"),
        ("feitcsi/ht20", "csikit-feitcsi-ht20"),
        ("feitcsi/he80", "csikit-feitcsi-hesu80"),
    ] {
        let Ok(Some(recording)) = recordings::for_test(recording) else {
            println!("SKIPPED {name}: no recording {recording}");
            continue;
        };
        let log = Bytes::from(recording.contents);
        group.throughput(Throughput::Elements(recording.entry.frames));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let log = black_box(log.clone());
                Reader::new(log, name, Format::Auto, Options::default())
                    .map_or(0, |reader| reader.flatten().count())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, adr018, csv, data_plane, records);
criterion_main!(benches);
