//! What holds for every record of a network card: what is written reads the same, and no bytes make a decoder panic or allocate
//! without measure.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod writers;

use bytes::Bytes;
use csi::decode::atheros::{self, ByteOrder};
use csi::decode::{feitcsi, intel5300, picoscenes};
use csi::layout::Tones;
use csi::read::{Format, Options, Reader};
use csi::{Frame, SampleFormat};
use num_complex::Complex32;
use proptest::prelude::*;

const PERMUTATIONS: [[u8; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];
const AX: [Tones; 10] = [
    Tones::Legacy20,
    Tones::Ht20,
    Tones::Ht40,
    Tones::Vht80,
    Tones::Vht160,
    Tones::He20,
    Tones::He40,
    Tones::He80,
    Tones::He160,
    Tones::Eht320,
];

proptest! {

    #[test]
    fn intel5300_round_trip(wide: bool, chains in 1_u8..4, streams in 1_u8..4, order in 0_usize..6, seed: u64) {
        let kind = if wide { Tones::Grouped40 } else { Tones::Grouped20 };
        let frame = writers::frame(kind, false, chains, streams, 8, seed);
        // Only three antennas have an order.
        let order = if chains == 3 { PERMUTATIONS[order] } else { PERMUTATIONS[0] };
        let record = writers::intel5300(&frame, order);
        let (header, found) = intel5300::decode(&record).unwrap().unwrap();
        prop_assert_eq!(header.antenna_perm, order);
        prop_assert_eq!(&one(Format::Intel5300, &record), &found);
        let expected = Frame {
            frequency_mhz: None, channel: None, transmitter: None, scale: found.scale, raw_size: record.len() as u32, ..frame
        };
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn atheros_round_trip(wide: bool, big: bool, chains in 1_u8..4, streams in 1_u8..4, seed: u64) {
        let kind = if wide { Tones::Ht40 } else { Tones::Ht20 };
        let order = if big { ByteOrder::Big } else { ByteOrder::Little };
        let frame = writers::frame(kind, false, chains, streams, 10, seed);
        let record = writers::atheros(&frame, order);
        let (_, found) = atheros::decode(&record, order).unwrap().unwrap();
        prop_assert_eq!(&one(Format::Atheros, &record), &found);
        let expected = Frame { sequence: 0, counted: false, agc: None, raw_size: record.len() as u32, ..frame };
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn feitcsi_round_trip(kind in prop::sample::select(AX.to_vec()), chains in 1_u8..3, streams in 1_u8..3, seed: u64) {
        let frame = writers::frame(kind, true, chains, streams, 16, seed);
        let record = writers::feitcsi(&frame);
        let (_, found) = feitcsi::decode(&record).unwrap().unwrap();
        prop_assert_eq!(&one(Format::FeitCsi, &record), &found);
        let expected = Frame {
            sequence: 0, counted: false, agc: None, noise_floor_dbm: None, frequency_mhz: None, channel: None,
            raw_size: record.len() as u32, ..frame
        };
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn picoscenes_round_trip(device in prop::sample::select(vec![0x5300, 0x9300, 0x2000, 0x2100, 0x1234, 0x24D2, 0x1000]),
                             kind in prop::sample::select(AX.to_vec()), wide: bool, chains in 1_u8..4,
                             streams in 1_u8..4, basic in 1_u16..6, csi in 1_u16..5, host_us in 1_i64..1 << 50, seed: u64) {
        let (ax, radio) = (matches!(device, 0x2000 | 0x2100), matches!(device, 0x1234 | 0x24D2 | 0x1000));
        let (kind, bits) = match (device, wide) {
            (0x5300, false) => (Tones::Grouped20, 8),
            (0x5300, true) => (Tones::Grouped40, 8),
            (0x9300, false) => (Tones::Ht20, 10),
            (0x9300, true) => (Tones::Ht40, 10),
            _ => (kind, 16),
        };
        let frame = writers::frame(kind, ax, chains, streams, bits, seed);
        // The host's clock, which has nothing to do with the card's.
        let receive_time_us = if basic >= 4 { host_us } else { frame.receive_time_us };
        let frame = Frame { receive_time_us, ..frame };
        let record = writers::picoscenes(&frame, device, basic, csi);
        let (header, found) = picoscenes::decode(&record).unwrap().unwrap();
        prop_assert_eq!((header.rx_basic.version, header.csi_header.ver), (basic, csi));
        prop_assert_eq!(&one(Format::PicoScenes, &record), &found);
        let rssi_dbm = if device == 0x5300 && basic == 1 { vec![-40] } else { frame.rssi_dbm };
        let format = if radio { SampleFormat::Cf32 } else { frame.format };
        let expected = Frame {
            sequence: 0, counted: false, agc: None, raw_size: record.len() as u32, rssi_dbm, format,
            // Two layouts differ in the pilots only, and a radio masks none.
            layout: if radio { found.layout.clone() } else { frame.layout },
            ..frame
        };
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_record(bytes in prop::collection::vec(any::<u8>(), 0..1200), magic: bool) {
        let mut bytes = bytes;
        if magic && bytes.len() > 11 {
            bytes[4..8].copy_from_slice(&picoscenes::MAGIC);
        }
        bounded(&bytes, || {
            let _ = intel5300::decode(&bytes);
            let _ = atheros::decode(&bytes, ByteOrder::Little);
            let _ = atheros::decode(&bytes, ByteOrder::Big);
            let _ = feitcsi::decode(&bytes);
            let _ = picoscenes::decode(&bytes);
        });
    }

    #[test]
    fn a_damaged_log(kind in 0_usize..7, seed: u64, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
                     cut: prop::sample::Index, whole: bool) {
        let record = samples_of_all(seed).swap_remove(kind);
        let mut log = record.repeat(3);
        for (at, byte) in changes {
            // Mostly in what is not CSI.
            let at = at.index(if whole { log.len() } else { 400.min(log.len()) });
            log[at] = byte;
        }
        log.truncate(log.len().min(cut.index(2 * log.len())));
        let log = Bytes::from(log);
        for format in [Format::Auto, Format::Intel5300, Format::Atheros, Format::PicoScenes, Format::FeitCsi] {
            bounded(&log, || {
                if let Ok(reader) = Reader::new(log.clone(), "log", format, Options::default()) {
                    for frame in reader.flatten() {
                        assert_eq!(frame.samples.len(), usize::from(frame.antennas) * frame.layout.len());
                        assert!(frame.antennas.is_multiple_of(frame.transmit_streams));
                    }
                }
            });
        }
    }
}

fn samples_of_all(seed: u64) -> Vec<Vec<u8>> {
    let frame = |kind, bits| writers::frame(kind, false, 2, 1, bits, seed);
    vec![
        writers::intel5300(&frame(Tones::Grouped20, 8), [0, 1, 2]),
        writers::atheros(&frame(Tones::Ht20, 10), ByteOrder::Little),
        writers::atheros(&frame(Tones::Ht40, 10), ByteOrder::Big),
        writers::feitcsi(&frame(Tones::Ht20, 16)),
        writers::picoscenes(&frame(Tones::Grouped20, 8), 0x5300, 1, 2),
        writers::picoscenes(&frame(Tones::Ht20, 16), 0x2000, 3, 4),
        writers::picoscenes(&frame(Tones::Ht20, 16), 0x1234, 2, 3),
    ]
}

/// The only frame of a log of one record, whose format shows in its bytes.
fn one(format: Format, record: &[u8]) -> Frame {
    let bytes = Bytes::copy_from_slice(record);
    let mut reader = Reader::new(bytes, "log", Format::Auto, Options::default()).unwrap();
    assert_eq!(reader.format(), format);
    let frame = reader.next().unwrap().unwrap();
    assert!(reader.next().is_none());
    // A log counts its frames, or counts on from the first one.
    frame
}

/// Runs `decode` and holds what it allocates in sum against the length of its input.
fn bounded(input: &[u8], decode: impl FnOnce()) {
    let allocated = allocation_counter::measure(decode).bytes_total;
    let limit = 256 * 1024 + 64 * input.len() as u64;
    assert!(
        allocated <= limit,
        "{allocated} bytes for {} bytes of input",
        input.len()
    );
}

#[test]
fn counts_and_clocks_go_on_over_a_wrap() {
    let frame = writers::frame(Tones::Grouped20, false, 3, 1, 8, 1);
    let log: Vec<u8> = (0..6_u64)
        .flat_map(|step| {
            let frame = Frame {
                sequence: (65_533 + step) & 0xFFFF,
                device_time_us: Some((0xFFFF_FF00 + 100 * step) & 0xFFFF_FFFF),
                ..frame.clone()
            };
            writers::intel5300(&frame, [0, 1, 2])
        })
        .collect();
    let reader = Reader::new(log.into(), "log", Format::Auto, Options::default()).unwrap();
    let found: Vec<(u64, u64)> = reader
        .map(|frame| frame.unwrap())
        .map(|frame| (frame.sequence, frame.device_time_us.unwrap()))
        .collect();
    let expected: Vec<(u64, u64)> = (0..6)
        .map(|step| (65_533 + step, 0xFFFF_FF00 + 100 * step))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn antenna_numbers_that_are_no_permutation_are_not_applied() {
    let frame = writers::frame(Tones::Grouped20, false, 3, 2, 8, 9);
    let mut record = writers::intel5300(&frame, [0, 1, 2]);
    for select in [0b00_00_00, 0b10_01_01, 0b11_01_00] {
        record[18] = select;
        let (_, found) = intel5300::decode(&record).unwrap().unwrap();
        assert_eq!(found.samples, frame.samples, "{select:06b}");
    }
}

#[test]
fn other_records_of_an_intel_log_are_passed_over() {
    let frame = writers::frame(Tones::Grouped20, false, 1, 1, 8, 9);
    let csi = writers::intel5300(&frame, [0, 1, 2]);
    let payload = [&[0, 5, 0xC1], [7; 4].as_slice()].concat();
    let mut short = csi.clone();
    // Says two streams; the CSI is that of one.
    short[12] = 2;
    let log = [payload.as_slice(), &csi, &payload, &short, &csi, &payload].concat();
    let reader = Reader::new(log.into(), "log", Format::Auto, Options::default()).unwrap();
    assert_eq!(reader.format(), Format::Intel5300);
    let found: Vec<Result<Frame, String>> = reader
        .map(|next| next.map_err(|place| place.to_string()))
        .collect();
    assert_eq!(found.iter().filter(|next| next.is_ok()).count(), 2);
    let errors: Vec<&String> = found
        .iter()
        .filter_map(|next| next.as_ref().err())
        .collect();
    assert_eq!(
        errors,
        ["offset 109: Intel 5300 CSI length: expected 132 for 1 x 2 antennas, found 72"]
    );
}

/// What a log holds: frames, and what is said of the rest.
fn read(log: Vec<u8>) -> (Format, Vec<Frame>, Vec<String>) {
    let mut reader = Reader::new(log.into(), "log", Format::Auto, Options::default()).unwrap();
    let (mut frames, mut places) = (Vec::new(), Vec::new());
    for next in reader.by_ref() {
        match next {
            Ok(frame) => frames.push(frame),
            Err(place) => places.push(place.to_string()),
        }
    }
    (reader.format(), frames, places)
}

/// Codes that the tool does not know are no damage, in front of a log either.
#[test]
fn records_of_an_unknown_code_are_passed_over() {
    let frame = writers::frame(Tones::Grouped20, false, 2, 1, 8, 9);
    let csi = writers::intel5300(&frame, [0, 1, 2]);
    let other = [&[0, 9, 0x42], [0xBB; 8].as_slice()].concat();
    let (format, frames, places) = read([&other[..], &csi, &other, &csi, &csi].concat());
    assert_eq!((format, frames.len()), (Format::Intel5300, 3));
    assert!(places.is_empty(), "{places:?}");
}

/// The WSR Toolbox puts 18 bytes in front of the CSI; other bytes too many stand behind it.
#[test]
fn longer_intel_records() {
    let frame = writers::frame(Tones::Grouped20, false, 3, 1, 8, 9);
    let record = writers::intel5300(&frame, [1, 2, 0]);
    let longer = |at: usize, bytes: &[u8]| {
        let mut record = record.clone();
        record.splice(at..at, bytes.iter().copied());
        let length = (record.len() - 2) as u16;
        record[..2].copy_from_slice(&length.to_be_bytes());
        record
    };
    let wsr = writers::intel5300_wsr(&frame, [1, 2, 0]);
    let (format, frames, places) = read(wsr.repeat(2));
    assert_eq!((format, frames.len()), (Format::Intel5300, 2));
    assert!(places.is_empty(), "{places:?}");
    assert_eq!(frames[1].samples, frame.samples);
    assert_eq!(frames[1].transmitter, Some(writers::TRANSMITTER));
    assert_eq!(frames[1].receive_time_us, 1_700_000_000_250_000);
    assert_eq!(frames[1].device_time_us, frame.device_time_us);
    let (header, _) = intel5300::decode(&wsr).unwrap().unwrap();
    assert_eq!(header.wsr.map(|wsr| wsr.packet), Some(77));

    // 18 bytes that are no time are not the toolbox's.
    for behind in [&[0xEE; 5][..], &[0xEE; 18]] {
        let (_, frames, places) = read(longer(record.len(), behind).repeat(2));
        assert!(frames.len() == 2 && places.is_empty(), "{places:?}");
        assert_eq!(frames[0].samples, frame.samples);
        assert_eq!(frames[0].transmitter, None);
    }
}

/// A router that hears many packets without CSI before the first with, and keeps another part of a packet than it says.
#[test]
fn atheros_logs_that_begin_without_csi() {
    let frame = writers::frame(Tones::Ht40, false, 2, 1, 10, 9);
    for (order, two) in [
        (ByteOrder::Little, u16::to_le_bytes as fn(u16) -> [u8; 2]),
        (ByteOrder::Big, u16::to_be_bytes),
    ] {
        let csi = writers::atheros(&frame, order);
        let mut without = csi.clone();
        without.drain(27..27 + 570);
        let length = without.len() as u16 - 2;
        without[..2].copy_from_slice(&two(length));
        without[10..12].fill(0);
        // Such records may say 0 tones.
        without[18] = 0;
        let mut more = csi.clone();
        more[25..27].copy_from_slice(&two(1000));
        let (format, frames, places) = read([without.repeat(100), more, csi, without].concat());
        assert_eq!((format, frames.len()), (Format::Atheros, 2), "{order:?}");
        assert!(places.is_empty(), "{places:?}");
        assert_eq!(frames[0].samples, frame.samples);
        assert_eq!(frames[0].transmitter, Some(writers::TRANSMITTER));
    }
}

/// Two bytes behind a whole record are the beginning of another, and no fault of the whole one.
#[test]
fn what_is_left_behind_a_record_without_csi_is_one_place() {
    let frame = writers::frame(Tones::Ht20, false, 2, 1, 10, 9);
    let csi = writers::atheros(&frame, ByteOrder::Little);
    let mut without = csi.clone();
    without.drain(27..27 + 280);
    let length = without.len() as u16 - 2;
    without[..2].copy_from_slice(&length.to_le_bytes());
    without[10..12].fill(0);
    let log = [&csi[..], &without, &[9, 1]].concat();
    let at = csi.len() + without.len();
    let (_, frames, places) = read(log);
    assert_eq!(frames.len(), 1);
    assert_eq!(
        places,
        [format!(
            "offset {at}: truncated Atheros record: expected 267 bytes, found 2"
        )]
    );
}

/// A chain that hears nothing, and a noise that is unknown.
#[test]
fn what_was_not_measured_is_absent() {
    let frame = writers::frame(Tones::Grouped20, false, 2, 1, 8, 3);
    let mut record = writers::intel5300(&frame, [0, 1, 2]);
    // The second of two chains says 0, the noise is unknown.
    (record[14], record[16]) = (0, -127_i8 as u8);
    let (_, found) = intel5300::decode(&record).unwrap().unwrap();
    assert_eq!((found.rssi_dbm, found.noise_floor_dbm), (vec![-40], None));
    record[13] = 0;
    let (_, found) = intel5300::decode(&record).unwrap().unwrap();
    assert_eq!((found.rssi_dbm, found.scale), (vec![], None));
}

/// `vectors/intel5300_scale.json` was computed by the Python beside it.
#[test]
fn scale_is_that_of_the_tool() {
    let vectors = include_str!("vectors/intel5300_scale.json");
    let vectors: Vec<serde_json::Value> = serde_json::from_str(vectors).unwrap();
    assert_eq!(vectors.len(), 18);
    for vector in vectors {
        let number = |value: &serde_json::Value| value.as_i64().unwrap();
        let byte = |name: &str| number(&vector[name]) as u8;
        let csi = vector["csi"].as_array().unwrap();
        let frame = Frame {
            samples: csi
                .iter()
                .map(|pair| Complex32::new(number(&pair[0]) as f32, number(&pair[1]) as f32))
                .collect(),
            ..writers::frame(Tones::Grouped20, false, byte("n_rx"), byte("n_tx"), 8, 0)
        };
        let mut record = writers::intel5300(&frame, [0, 1, 2]);
        for chain in 0..3 {
            record[13 + chain] = number(&vector["rssi"][chain]) as u8;
        }
        (record[16], record[17]) = (byte("noise"), byte("agc"));
        let (_, found) = intel5300::decode(&record).unwrap().unwrap();
        let (found, expected) = (
            f64::from(found.scale.unwrap()),
            vector["scale"].as_f64().unwrap(),
        );
        assert!(
            (found / expected - 1.0).abs() < 1e-5,
            "{found} for {expected}"
        );
    }
}
