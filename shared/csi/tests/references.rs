//! Public recordings against values that other programs decoded from them.
//!
//! Counts and checksums stand here. The values themselves stand beside the recordings where there is a local copy.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use csi::read::{Format, Malformed, Options, Position, Reader};
use csi::{Frame, Ppdu, SampleFormat};
use recordings::{Recording, require_or_skip};
use serde_json::{Map, Value};

struct Read {
    format: Format,
    frames: Vec<Frame>,
    nodes: Vec<Option<u8>>,
    positions: Vec<Position>,
    malformed: Vec<Malformed>,
    headers: Vec<Map<String, Value>>,
}

fn read(recording: &Recording) -> Read {
    let bytes = Bytes::from(recording.contents.clone());
    let mut reader = Reader::new(
        bytes,
        &recording.file_name(),
        Format::Auto,
        Options::default(),
    )
    .unwrap();
    let mut all = Read {
        format: reader.format(),
        frames: Vec::new(),
        nodes: Vec::new(),
        positions: Vec::new(),
        malformed: Vec::new(),
        headers: Vec::new(),
    };
    while let Some(next) = reader.next() {
        match next {
            Ok(frame) => {
                all.headers.push(reader.header_fields(&frame));
                all.frames.push(frame);
                all.nodes.push(reader.node());
                all.positions.push(reader.position());
            }
            Err(place) => all.malformed.push(place),
        }
    }
    assert_eq!(
        all.frames.len() as u64,
        recording.entry.frames,
        "{}",
        recording.entry.name
    );
    all
}

/// CRC-32 over re, im of every sample as little-endian i32.
fn checksum(frames: &[Frame]) -> String {
    let mut crc = flate2::Crc::new();
    for sample in frames.iter().flat_map(|frame| &frame.samples) {
        crc.update(&(sample.re as i32).to_le_bytes());
        crc.update(&(sample.im as i32).to_le_bytes());
    }
    format!("{:08x}", crc.sum())
}

/// The values that another program decoded, where they are beside the recording.
fn reference(recording: &Recording) -> Option<Value> {
    let file = recording.path.file_name()?.to_str()?;
    let beside = |folder: &std::path::Path| folder.join("reference").join(format!("{file}.json"));
    let path = recording
        .path
        .ancestors()
        .skip(1)
        .take(3)
        .map(beside)
        .find(|path| path.is_file())?;
    Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

fn assert_samples(frame: &Frame, expected: &Value) {
    let expected: Vec<i64> = expected["csi"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_i64().unwrap())
        .collect();
    let found: Vec<i64> = frame
        .samples
        .iter()
        .flat_map(|sample| [sample.re as i64, sample.im as i64])
        .collect();
    assert_eq!(found, expected);
}

/// Every field of the reference is said, and the same.
fn assert_header(fields: &Map<String, Value>, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        if !matches!(name.as_str(), "index" | "csi" | "channel") {
            assert_eq!(fields.get(name), Some(value), "{name}");
        }
    }
}

fn check_csv(recording: &Recording, crc: &str) -> Read {
    let all = read(recording);
    assert_eq!(all.format, Format::Esp32Csv);
    assert_eq!(checksum(&all.frames), crc);
    let Some(reference) = reference(recording) else {
        return all;
    };
    assert_eq!(reference["csi_frames"], all.frames.len());
    assert_eq!(reference["unparsable_lines"], all.malformed.len());
    assert_eq!(reference["crc32_all_csi"], crc);
    let listed = reference["frames"].as_array().unwrap();
    assert!(listed.len() >= 13, "the first frames are listed");
    let first_line = if recording.contents.starts_with(b"type,") {
        2
    } else {
        1
    };
    for expected in listed {
        // Lines of data, counted from 0.
        let line = Position::Line(expected["line"].as_u64().unwrap() + first_line);
        let index = all.positions.iter().position(|position| *position == line);
        let frame = &all.frames[index.unwrap()];
        assert_samples(frame, expected);
        assert_header(&all.headers[index.unwrap()], expected);
        assert_eq!(expected["rssi"], frame.rssi_dbm[0]);
        assert_eq!(expected["noise_floor"], frame.noise_floor_dbm.unwrap());
        assert_eq!(expected["channel"], frame.channel.unwrap());
        assert_eq!(
            expected["local_timestamp_us"],
            frame.device_time_us.unwrap()
        );
        let mac = frame
            .transmitter
            .unwrap()
            .map(|byte| format!("{byte:02x}"))
            .join(":");
        assert_eq!(expected["mac"].as_str().unwrap().to_lowercase(), mac);
        let ppdu = if expected["sig_mode"] == 1 {
            Ppdu::Ht
        } else {
            Ppdu::NonHt
        };
        assert_eq!(frame.ppdu, ppdu);
        let bandwidth = if expected["bandwidth"] == 1 { 40 } else { 20 };
        assert_eq!(frame.bandwidth_mhz, Some(bandwidth));
        if let Some(id) = expected["id"].as_u64() {
            assert_eq!((frame.sequence, frame.counted), (id, true));
        }
    }
    all
}

#[test]
fn espressif_lines_with_three_training_fields() {
    let recording = require_or_skip!("esp-csi-lines-1-58");
    let all = check_csv(&recording, "19cc66a4");
    assert!(all.malformed.is_empty());
    for frame in &all.frames {
        assert_eq!(frame.layout.name, "esp32-lltf64-ht64-stbc64-w");
        assert_eq!(frame.layout.measured().count(), 51 + 56 + 56);
        // The rubbish that the hardware leaves at the centre of the HT fields is not among the measurements.
        assert!(
            frame
                .layout
                .measured()
                .all(|(position, _)| !matches!(position, 0 | 1 | 64 | 128))
        );
        assert_eq!(frame.frequency_mhz, Some(2412));
    }
}

#[test]
fn csi_tool_lines_longer_announced_than_listed() {
    let recording = require_or_skip!("csikit-esp32-example");
    let all = check_csv(&recording, "39474601");
    assert!(all.malformed.is_empty());
    assert!(
        all.frames
            .iter()
            .all(|frame| frame.layout.name == "esp32-lltf64-w" && !frame.counted)
    );
    // The first word holds parts of the packet header.
    assert_eq!(all.frames[0].samples[0].re, 38.0);
    assert!(!all.frames[0].layout.valid[0] && !all.frames[0].layout.valid[1]);
}

#[test]
fn csi_tool_file_with_a_damaged_line() {
    let recording = require_or_skip!("csikit-esp32-100hz");
    let all = check_csv(&recording, "a5961392");
    assert_eq!(all.malformed.len(), 1);
    assert_eq!(all.malformed[0].error.code(), "odd_values");
    assert!(
        matches!(all.malformed[0].position, Position::Line(line) if line > 1),
        "{}",
        all.malformed[0]
    );
}

#[test]
fn csi_tool_file_with_two_lengths() {
    let recording = require_or_skip!("csikit-esp32-fast-100hz");
    let all = check_csv(&recording, "d056e216");
    assert!(all.malformed.is_empty());
}

#[test]
fn csi_tool_lines_without_a_header_and_with_a_secondary_channel() {
    let recording = require_or_skip!("csiread-esp32-example");
    let all = check_csv(&recording, "b7688a15");
    for frame in &all.frames {
        assert_eq!(frame.layout.name, "esp32-lltf64-asc-w");
        assert_eq!(
            (frame.layout.subcarriers[6], frame.layout.subcarriers[58]),
            (-26, 26)
        );
    }
}

#[test]
fn csi_tool_file_of_alternating_packets() {
    let recording = require_or_skip!("thu4n-tvat-jj-1");
    let all = check_csv(&recording, "a8bbf72c");
    assert!(all.malformed.is_empty());
    let ht = all
        .frames
        .iter()
        .filter(|frame| frame.ppdu == Ppdu::Ht)
        .count();
    assert_eq!((ht, all.frames.len() - ht), (6121, 806));
    // One layout throughout: the same 64 subcarriers are listed for both kinds.
    assert!(
        all.frames
            .iter()
            .all(|frame| std::sync::Arc::ptr_eq(&frame.layout, &all.frames[0].layout))
    );
    let times: Vec<u64> = all
        .frames
        .iter()
        .filter_map(|frame| frame.device_time_us)
        .collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!((times[times.len() - 1] - times[0]) / 1_000_000, 68);
}

#[test]
fn every_other_file_of_the_exercises_reads_whole() {
    for name in [
        "thu4n-tvat-na-1",
        "thu4n-tvat-na-4",
        "thu4n-tvat-la-1",
        "thu4n-tvat-so-4",
    ] {
        let recording = require_or_skip!(name);
        assert!(read(&recording).malformed.is_empty(), "{name}");
    }
}

#[test]
fn adr018_datagrams_of_two_nodes() {
    let recording = require_or_skip!("ruview-adr018-rebuilt");
    let all = read(&recording);
    assert_eq!(all.format, Format::Adr018);
    assert!(all.malformed.is_empty());
    assert_eq!(checksum(&all.frames), "a0f35127");
    let of = |name: &str| {
        all.frames
            .iter()
            .filter(|frame| frame.layout.name == name)
            .count()
    };
    assert_eq!(
        (
            of("esp32-lltf64"),
            of("esp32-lltf64-ht64"),
            of("esp32-lltf64-ht64-stbc64")
        ),
        (223, 51, 2)
    );
    let zero = num_complex::Complex32::new(0.0, 0.0);
    for frame in &all.frames {
        // Where these chips write nothing is where the layout says that nothing is measured.
        let unmeasured = frame
            .layout
            .valid
            .iter()
            .zip(&frame.samples)
            .filter(|(valid, _)| !**valid);
        let rubbish = unmeasured.filter(|(_, sample)| **sample != zero).count();
        assert!(rubbish <= 2, "{rubbish} of {}", frame.layout.name);
        assert_eq!(
            (frame.frequency_mhz, frame.channel, frame.bandwidth_mhz),
            (Some(2437), Some(6), Some(20))
        );
        assert_eq!(
            (frame.device_time_us, frame.receive_time_us, frame.counted),
            (None, 0, true)
        );
    }
    let Some(reference) = reference(&recording) else {
        return;
    };
    assert_eq!(reference["packets"], all.frames.len());
    for expected in reference["frames"].as_array().unwrap() {
        let index = expected["index"].as_u64().unwrap() as usize;
        let frame = &all.frames[index];
        assert_samples(frame, expected);
        assert_eq!(expected["node_id"], all.nodes[index].unwrap());
        assert_eq!(expected["n_antennas"], frame.antennas);
        assert_eq!(expected["n_subcarriers"], frame.layout.len());
        assert_eq!(expected["freq_mhz"], frame.frequency_mhz.unwrap());
        assert_eq!(expected["seq"], frame.sequence);
        assert_eq!(expected["rssi"], frame.rssi_dbm[0]);
        assert_eq!(expected["noise_floor"], frame.noise_floor_dbm.unwrap());
        assert_eq!(expected["packet_len"], frame.raw_size);
        assert_header(&all.headers[index], expected);
    }
}

#[test]
fn datagrams_without_time_get_one_from_a_rate_and_nodes_can_be_told_apart() {
    let recording = require_or_skip!("ruview-adr018-rebuilt");
    let open = |options| {
        Reader::new(
            Bytes::from(recording.contents.clone()),
            "datagrams.bin",
            Format::Auto,
            options,
        )
        .unwrap()
    };
    assert!(!open(Options::default()).has_time());
    let options = Options {
        rate_hz: Some(20.0),
        node: Some(2),
        ..Options::default()
    };
    let mut reader = open(options);
    assert!(reader.has_time());
    let frames: Vec<Frame> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(reader.node(), Some(2));
    assert_eq!(frames.len(), 139);
    for (index, frame) in frames.iter().enumerate() {
        assert_eq!(frame.receive_time_us, index as i64 * 50_000);
        assert_eq!(frame.sequence, index as u64);
    }
}

#[test]
fn ruview_log() {
    let recording = require_or_skip!("ruview-first-half");
    let all = read(&recording);
    assert_eq!(all.format, Format::RuviewJsonl);
    assert!(all.malformed.is_empty());
    assert_eq!(checksum(&all.frames), "444377c8");
    let of = |node: u8, subcarriers: usize| {
        all.frames
            .iter()
            .zip(&all.nodes)
            .filter(|(f, n)| **n == Some(node) && f.layout.len() == subcarriers)
            .count()
    };
    assert_eq!(
        [
            of(2, 64),
            of(1, 64),
            of(2, 128),
            of(1, 128),
            of(2, 192),
            of(1, 192)
        ],
        [999, 1059, 316, 256, 12, 11]
    );
    // The log's RSSI is no measurement.
    assert!(
        all.frames
            .iter()
            .all(|frame| frame.rssi_dbm.is_empty() && frame.noise_floor_dbm.is_none())
    );
    assert_eq!(all.frames[0].receive_time_us, 1_775_182_186_957_776);
}

#[test]
fn espectre_archives_of_each_chip() {
    let chips = [
        ("espectre-baseline-c3-20260329-130303", "esp32-ht64", 56),
        ("espectre-baseline-s3-20260117-222606", "esp32-ht64", 56),
        (
            "espectre-baseline-esp32-20260214-183059",
            "esp32-ht64-w",
            55,
        ),
        ("espectre-baseline-c5-20260310-233856", "esp32-ht64-asc", 56),
        ("espectre-baseline-c6-20260310-230414", "esp32-ht64-asc", 56),
        ("espectre-test-c3-20260329-130804", "esp32-ht64", 56),
    ];
    for (name, layout, measured) in chips {
        let recording = require_or_skip!(name);
        let all = read(&recording);
        assert_eq!(all.format, Format::EspectreNpz);
        assert_eq!(all.frames[0].layout.name, layout, "{name}");
        assert_eq!(all.frames[0].layout.measured().count(), measured, "{name}");
        // What counts as measured is nearly always there, and what does not is always zero: the order is right. Only the
        // ESP32 has a first word, and leaks into two guards.
        for position in 0..64 {
            let zeros = all
                .frames
                .iter()
                .filter(|frame| frame.samples[position].norm_sqr() == 0.0)
                .count();
            let share = zeros as f64 / all.frames.len() as f64;
            let leaks = layout.ends_with("-w") && matches!(position, 0 | 1 | 29 | 35);
            if all.frames[0].layout.valid[position] {
                assert!(
                    share < 0.1,
                    "{name}: {position} is zero in {share} of the frames"
                );
            } else {
                assert!(
                    share == 1.0 || leaks,
                    "{name}: {position} is zero in only {share} of the frames"
                );
            }
        }
        let (first, last) = (&all.frames[0], &all.frames[all.frames.len() - 1]);
        assert!(first.receive_time_us > 1_700_000_000_000_000 && first.device_time_us.is_none());
        let seconds = (last.receive_time_us - first.receive_time_us) as f64 / 1e6;
        assert!((9.9..61.0).contains(&seconds), "{seconds}");
    }
    let recording = require_or_skip!("espectre-test-c3-20260329-130804");
    // 2026-03-29T13:08:04.059396, taken as UTC.
    assert_eq!(
        read(&recording).frames[0].receive_time_us,
        1_774_789_684_059_396
    );
}

#[test]
fn amplitudes_without_phase() {
    let recording = require_or_skip!("ialr-part-1-empty");
    let all = read(&recording);
    assert_eq!(all.format, Format::IalrCsv);
    assert!(all.malformed.is_empty());
    for frame in &all.frames {
        assert_eq!(
            (frame.layout.name, frame.format),
            ("esp32-lltf64-ht64", SampleFormat::Af32)
        );
        let mut powers = Vec::new();
        frame.powers(0, &mut powers);
        assert_eq!(powers.len(), 108);
        for (sample, valid) in frame.samples.iter().zip(&frame.layout.valid) {
            assert!(sample.im == 0.0 && (*valid || sample.re == 0.0));
        }
    }
    assert_eq!(all.frames[0].receive_time_us, 1_785_076_283_622_490);
    assert_eq!(all.frames[0].device_time_us, Some(1_112_010_514));
    assert_eq!(all.frames[0].rssi_dbm, [-50]);
}

/// Reads a capture of Nexmon and holds it against its reference.
fn check_nexmon(name: &str, crc: &str, sum: f64, layout: &str) -> Option<Read> {
    let recording = recordings::for_test(name).unwrap()?;
    let all = read(&recording);
    assert_eq!(all.format, Format::Pcap);
    assert!(all.malformed.is_empty(), "{:?}", all.malformed);
    assert_eq!(checksum(&all.frames), crc, "{name}");
    let power = |sample: &num_complex::Complex32| {
        f64::from(sample.re).powi(2) + f64::from(sample.im).powi(2)
    };
    let samples = all.frames.iter().flat_map(|frame| &frame.samples);
    assert_eq!(samples.map(power).sum::<f64>(), sum);
    for frame in &all.frames {
        assert_eq!(frame.layout.name, layout);
        assert!(!frame.counted && frame.format == SampleFormat::Ci16);
    }
    let Some(reference) = reference(&recording) else {
        return Some(all);
    };
    assert_eq!(reference["csi_frames"], all.frames.len());
    assert_eq!(reference["crc32_all_csi"], crc);
    let listed = reference["frames"].as_array().unwrap();
    assert!(listed.len() >= 4, "the first frames are listed");
    for expected in listed {
        let index = expected["index"].as_u64().unwrap() as usize;
        let frame = &all.frames[index];
        assert_samples(frame, expected);
        assert_header(&all.headers[index], expected);
    }
    Some(all)
}

#[test]
fn nexmon_captures_of_integers() {
    let Some(all) = check_nexmon(
        "csikit-nexmon-43455c0",
        "1072cf65",
        1_044_868_272_267.0,
        "nexmon-256",
    ) else {
        return;
    };
    let frame = &all.frames[0];
    assert_eq!(
        (frame.channel, frame.frequency_mhz, frame.bandwidth_mhz),
        (Some(36), Some(5180), Some(80))
    );
    assert_eq!((frame.rssi_dbm.as_slice(), frame.sequence), (&[-58][..], 0));
    assert_eq!(all.frames[565].sequence, 565);
    check_nexmon(
        "fition-falling-user1-rm1-1",
        "eb06d239",
        134_438_057_363.0,
        "nexmon-256",
    );
    let Some(all) = check_nexmon(
        "mspeelam-220452-a",
        "52c73c37",
        3_650_823_362_397.0,
        "nexmon-64",
    ) else {
        return;
    };
    // What this firmware leaves beside the band, 50 times as strong as the channel, counts as no measurement.
    let mut powers = Vec::new();
    for frame in &all.frames {
        frame.powers(0, &mut powers);
        assert!(powers.len() == 48 && powers.iter().all(|power| *power < 9e6));
    }
}

#[test]
fn nexmon_captures_of_packed_floats() {
    if let Some(all) = check_nexmon(
        "csikit-nexmon-4358",
        "9a713515",
        577_653_965.0,
        "nexmon-256",
    ) {
        // One transmission: two cores, two streams, four frames that never belong together.
        let chains: Vec<_> = all
            .frames
            .iter()
            .filter_map(|frame| frame.chain)
            .map(|chain| (chain.core, chain.stream))
            .collect();
        assert_eq!(chains, [(0, 0), (0, 1), (1, 0), (1, 1)]);
        assert_eq!(all.frames[0].channel, Some(157));
    }
    check_nexmon(
        "csikit-nexmon-4366c0",
        "c6fe3c2f",
        14_203_815_171.0,
        "nexmon-256",
    );
}

/// The words say of every public capture which chip wrote them, without its version.
#[test]
fn nexmon_chips_are_told_by_their_words() {
    use csi::decode::nexmon::{Chip, HEADER_BYTES};
    for (name, chip) in [
        ("csikit-nexmon-43455c0", Chip::Bcm43455c0),
        ("csikit-nexmon-4358", Chip::Bcm4358),
        ("csikit-nexmon-4366c0", Chip::Bcm4366c0),
        ("mspeelam-221237-b", Chip::Bcm43455c0),
    ] {
        let recording = require_or_skip!(name);
        let mut capture = csi::decode::pcap::Capture::open(&recording.contents).unwrap();
        while let Some(packet) = capture.next(&recording.contents) {
            let (_, payload) = packet.unwrap().udp.unwrap();
            let bins = payload[HEADER_BYTES..].as_chunks::<4>().0;
            assert_eq!(Chip::of_bins(bins), chip, "{name}");
        }
    }
}

#[test]
fn nexmon_captures_of_several_transmitters_and_bandwidths() {
    let recording = require_or_skip!("fition-nm-user3-rm3-0");
    let all = read(&recording);
    let of = |bandwidth| {
        all.frames
            .iter()
            .filter(|frame| frame.bandwidth_mhz == Some(bandwidth))
            .count()
    };
    assert_eq!((of(80), of(20)), (488, 12));
    assert!(all.malformed.is_empty());
}
