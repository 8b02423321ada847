//! Logs of network cards against values that other programs decoded from them.
//!
//! The values stand beside the recordings where there is a local copy.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use csi::read::{Format, Malformed, Options, Reader};
use csi::{Frame, Ppdu, SampleFormat};
use recordings::{Catalogue, Recording, require_or_skip};
use serde_json::Value;

struct Read {
    format: Format,
    frames: Vec<(Frame, Value)>,
    malformed: Vec<Malformed>,
}

fn read_bytes(bytes: Bytes) -> Read {
    let mut reader = Reader::new(bytes, "log", Format::Auto, Options::default()).unwrap();
    let mut all = Read {
        format: reader.format(),
        frames: Vec::new(),
        malformed: Vec::new(),
    };
    while let Some(next) = reader.next() {
        match next {
            Ok(frame) => {
                let header = serde_json::to_value(reader.header().unwrap()).unwrap();
                all.frames.push((frame, header));
            }
            Err(place) => all.malformed.push(place),
        }
    }
    all
}

fn read(recording: &Recording) -> Read {
    read_bytes(Bytes::from(recording.contents.clone()))
}

/// Samples in the order of the references: by tone, receive chain and stream.
fn by_tone(frame: &Frame) -> impl Iterator<Item = num_complex::Complex32> + '_ {
    assert_eq!(
        frame.samples.len(),
        usize::from(frame.antennas) * frame.layout.len()
    );
    let antennas =
        move |tone| (0..frame.antennas).map(move |antenna| frame.sample(antenna, tone).unwrap());
    (0..frame.layout.len()).flat_map(antennas)
}

/// The references of the folder that a recording lies in, by the sum of what they describe.
fn references(recording: &Recording) -> BTreeMap<String, Value> {
    let folder = recording
        .path
        .ancestors()
        .skip(1)
        .take(4)
        .map(|folder| folder.join("reference"))
        .find(|folder| folder.is_dir());
    let files = folder.map(|folder| std::fs::read_dir(folder).unwrap());
    let files: Vec<PathBuf> = files
        .into_iter()
        .flatten()
        .map(|file| file.unwrap().path())
        .collect();
    files
        .iter()
        .map(|path| {
            let value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            (value["sha256"].as_str().unwrap().to_owned(), value)
        })
        .collect()
}

fn check_reference(name: &str, all: &Read, reference: &Value) {
    assert_eq!(reference["csi_frames"], all.frames.len(), "{name}");
    let (mut crc, mut sum) = (flate2::Crc::new(), 0.0);
    for sample in all.frames.iter().flat_map(|(frame, _)| by_tone(frame)) {
        crc.update(&(sample.re as i32).to_le_bytes());
        crc.update(&(sample.im as i32).to_le_bytes());
        sum += f64::from(sample.re).powi(2) + f64::from(sample.im).powi(2);
    }
    assert_eq!(
        reference["crc32_all_csi"],
        format!("{:08x}", crc.sum()),
        "{name}"
    );
    assert_eq!(reference["sum_abs2_all"].as_f64(), Some(sum), "{name}");
    // Where records without CSI are listed too, the index counts them, and all are listed from the first one on.
    let listed = reference["frames"].as_array().unwrap();
    let listed = listed.iter().filter(|frame| frame.get("csi").is_some());
    for (place, expected) in listed.enumerate() {
        let expected = expected.as_object().unwrap();
        let index = match reference.get("records") {
            Some(_) => place,
            None => expected["index"].as_u64().unwrap() as usize,
        };
        let (frame, header) = &all.frames[index];
        let shape = [
            frame.layout.len(),
            frame.receive_chains().into(),
            frame.transmit_streams.into(),
        ];
        assert_eq!(expected["shape"], Value::from(shape.to_vec()), "{name}");
        let values: Vec<i64> = by_tone(frame)
            .flat_map(|sample| [sample.re as i64, sample.im as i64])
            .collect();
        assert_eq!(expected["csi"], Value::from(values), "{name} frame {index}");
        for (key, value) in expected {
            if !["index", "shape", "csi"].contains(&key.as_str()) {
                assert_eq!(&header[key], value, "{name} frame {index} {key}");
            }
        }
    }
}

/// Reads every recording of a source that is a network card's log, and holds it against the reference where there is one.
fn check_source(source: &str, expected_references: usize) {
    let catalogue = Catalogue::built_in().unwrap();
    let mut met = 0;
    let mut known = None;
    for entry in catalogue.entries() {
        let log = entry.path.ends_with(".dat") || entry.path.ends_with(".csi");
        if entry.source != source || !log {
            continue;
        }
        let recording = require_or_skip!(&entry.name);
        let all = read(&recording);
        assert_eq!(all.frames.len() as u64, entry.frames, "{}", entry.name);
        let times = all.frames.iter().map(|(frame, _)| frame.device_time_us);
        assert!(times.clone().all(|time| time.is_some()), "{}", entry.name);
        let known = known.get_or_insert_with(|| references(&recording));
        if let Some(reference) = known.get(&entry.sha256) {
            check_reference(&entry.name, &all, reference);
            met += 1;
        }
    }
    // Without the folder the recordings were downloaded, or are not here.
    if known.is_some_and(|known| !known.is_empty()) {
        assert_eq!(met, expected_references, "{source}");
    }
}

#[test]
fn references_of_csiread() {
    check_source("csiread", 4);
}

#[test]
fn references_of_csikit() {
    check_source("csikit", 10);
}

#[test]
fn references_of_csi_respiration() {
    check_source("csi-respiration", 1);
}

#[test]
fn references_of_csi_classification() {
    check_source("csi-classification", 3);
}

#[test]
fn references_of_csi_har() {
    check_source("csi-har", 3);
}

#[test]
fn intel_rssi_noise_and_sequence() {
    let recording = require_or_skip!("csiread-intel-0x1-ap");
    let all = read(&recording);
    assert_eq!(all.format, Format::Intel5300);
    let (first, _) = &all.frames[0];
    // 31, 40 and 35 less 44 less a gain of 35.
    assert_eq!(first.rssi_dbm, [-48, -39, -44]);
    assert_eq!((first.noise_floor_dbm, first.agc), (Some(-85), Some(35)));
    assert_eq!((first.sequence, first.counted), (6224, true));
    assert_eq!(first.device_time_us, Some(961_579_729));
    assert_eq!((first.ppdu, first.bandwidth_mhz), (Ppdu::Ht, Some(20)));
    assert_eq!(first.format, SampleFormat::Ci8);
    assert_eq!((first.layout.name, first.antennas), ("ht20-30", 6));
    assert!(first.scale.is_some_and(|scale| scale > 0.0));

    let recording = require_or_skip!("csi-respiration-4-19-sn1");
    let (first, _) = &read(&recording).frames[0];
    assert_eq!(
        (first.layout.name, first.bandwidth_mhz),
        ("ht40-30", Some(40))
    );
    let recording = require_or_skip!("csi-har-rooma-fall-down-s1-01");
    assert_eq!(read(&recording).frames[0].0.noise_floor_dbm, None);
}

#[test]
fn what_cut_logs_hold_is_read_and_the_end_is_one_place() {
    for (name, malformed) in [
        ("csi-har-roomb-squat-s3-01", 1),
        ("csi-har-rooma-fall-down-s4-13", 1),
        ("csi-har-rooma-fall-down-s1-01", 0),
    ] {
        let all = read(&require_or_skip!(name));
        assert_eq!(all.malformed.len(), malformed, "{name}");
    }
    // Every format, cut in its last record.
    for name in ONE_OF_EACH {
        let recording = require_or_skip!(name);
        let (whole, bytes) = (read(&recording), recording.contents.clone());
        let cut = read_bytes(Bytes::from(bytes[..bytes.len() - 5].to_vec()));
        assert_eq!(cut.malformed.len(), whole.malformed.len() + 1, "{name}");
        assert_eq!(cut.malformed.last().unwrap().error.code(), "truncated");
        assert!(cut.frames.len() + 1 >= whole.frames.len(), "{name}");
    }
}

const ONE_OF_EACH: [&str; 6] = [
    "csiread-intel-0x1-ap",
    "csiread-atheros-1",
    "csi-classification-three-place-room0",
    "csiread-picoscenes-iwl5300",
    "csikit-picoscenes-ax200",
    "csikit-feitcsi-vht80",
];

/// Bytes that are missing, doubled or wrong in the middle cost the records that they hit, and few more.
#[test]
fn damage_costs_the_records_that_it_hits() {
    for name in ONE_OF_EACH {
        let recording = require_or_skip!(name);
        let whole = read(&recording);
        let middle = recording.contents.len() / 2;
        let damages: [fn(&mut Vec<u8>, usize); 4] = [
            |bytes, middle| drop(bytes.drain(middle..middle + 100)),
            |bytes, middle| bytes.splice(middle..middle, [0xA5; 333]).for_each(drop),
            |bytes, middle| bytes[middle..middle + 3000].fill(0xFF),
            |bytes, _| drop(bytes.drain(..7)),
        ];
        for (number, damage) in damages.into_iter().enumerate() {
            let mut bytes = recording.contents.clone();
            damage(&mut bytes, middle);
            let found = read_bytes(bytes.into());
            assert_eq!(found.format, whole.format, "{name} {number}");
            assert!(!found.malformed.is_empty(), "{name} {number}");
            let lost = whole.frames.len() - found.frames.len();
            let most = if number == 2 { 3000 / 150 } else { 2 };
            assert!(lost <= most, "{name} {number}: {lost} frames lost");
        }
    }
}

#[test]
fn formats_are_told_apart_by_their_bytes() {
    let formats = [
        Format::Intel5300,
        Format::Atheros,
        Format::Atheros,
        Format::PicoScenes,
        Format::PicoScenes,
        Format::FeitCsi,
    ];
    for (name, format) in ONE_OF_EACH.into_iter().zip(formats) {
        let recording = require_or_skip!(name);
        assert_eq!(Format::detect(&recording.contents), Some(format), "{name}");
        // One record and a bit is enough.
        let beginning = &recording.contents[..2500];
        assert_eq!(Format::detect(beginning), Some(format), "{name}");
    }
}

#[test]
fn atheros_and_picoscenes_say_who_sent() {
    let sent = |name: &str| -> Option<(Frame, usize)> {
        let recording = recordings::for_test(name).unwrap()?;
        let all = read(&recording);
        let frames = all.frames.len();
        let senders = all
            .frames
            .iter()
            .filter(|(frame, _)| frame.transmitter.is_some());
        let known = senders.count();
        assert!(known * 2 > frames, "{name}: {known} of {frames}");
        Some((all.frames[0].0.clone(), frames))
    };
    let Some((first, _)) = sent("csiread-atheros-1") else {
        return;
    };
    assert_eq!(first.transmitter, Some([4, 0xF0, 0x21, 0x2C, 0x79, 0x37]));
    assert_eq!((first.frequency_mhz, first.channel), (Some(2437), Some(6)));
    // 38, 52 and 36 above -95.
    assert_eq!(first.rssi_dbm, [-57, -43, -59]);
    assert_eq!((first.receive_chains(), first.transmit_streams), (3, 2));
    let Some((first, _)) = sent("csikit-picoscenes-ax200") else {
        return;
    };
    assert_eq!(
        (first.rssi_dbm.as_slice(), first.noise_floor_dbm),
        ([-35, -32].as_slice(), None)
    );
    assert_eq!(first.device_time_us, Some(147_832_169));
    assert_eq!(first.layout.name, "ht20-p");
    let Some((first, _)) = sent("csiread-picoscenes-iwl5300") else {
        return;
    };
    // 26 above -66.
    assert_eq!(
        (first.rssi_dbm.as_slice(), first.noise_floor_dbm),
        ([-40].as_slice(), Some(-66))
    );
}

#[test]
fn feitcsi_packets_and_their_pilots() {
    for (name, layout, ppdu, width) in [
        ("ht20", "ht20-p", Ppdu::Ht, 20),
        ("ht40", "ht40-p", Ppdu::Ht, 40),
        ("vht20", "ht20-p", Ppdu::Vht, 20),
        ("vht80", "vht80-p", Ppdu::Vht, 80),
        ("hesu20", "he20-p", Ppdu::He, 20),
        ("hesu80", "he80-p", Ppdu::He, 80),
    ] {
        let all = read(&require_or_skip!(&format!("csikit-feitcsi-{name}")));
        let (first, _) = &all.frames[0];
        assert_eq!((first.layout.name, first.ppdu), (layout, ppdu));
        assert_eq!(first.bandwidth_mhz, Some(width));
        assert_eq!(first.transmitter, Some([0, 0x16, 0xEA, 0x12, 0x34, 0x56]));
        // The card writes zero at a pilot, and hardly anywhere else.
        let mut zeros = [(0_u32, 0_u32); 2];
        for (frame, _) in &all.frames {
            for antenna in 0..frame.antennas {
                let samples = frame.antenna(antenna).iter().zip(&frame.layout.valid);
                for (sample, valid) in samples {
                    let (zero, number) = &mut zeros[usize::from(*valid)];
                    *zero += u32::from(sample.norm_sqr() == 0.0);
                    *number += 1;
                }
            }
        }
        let [pilots, others] = zeros.map(|(zero, number)| f64::from(zero) / f64::from(number));
        println!("{name}: zero at {pilots:.4} of the pilots, {others:.5} of the others");
        assert_eq!(pilots, 1.0, "{name}");
        assert!(others < 0.01, "{name}: {others}");
    }
}
