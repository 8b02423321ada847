//! Everything in the fuzzers' corpus goes through the decoders without a panic, and the seeds still decode.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use csi::decode::atheros::{self, ByteOrder};
use csi::decode::{adr018, esp32_csv, feitcsi, intel5300, nexmon, pcap, picoscenes};
use csi::read::{Format, Options, Reader};
use csi::wire;

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut files: Vec<_> = files
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

/// Names of the files for which `decodes` is true, the fuzzers' own finds left out.
fn decoding(target: &str, decodes: impl Fn(&[u8]) -> bool) -> Vec<String> {
    let mut names = Vec::new();
    for (name, bytes) in corpus(target) {
        if decodes(&bytes) && name.len() != 40 {
            names.push(name);
        }
    }
    names
}

#[test]
fn adr018_corpus() {
    let names = decoding("adr018", |bytes| {
        let _ = adr018::peek_node(bytes);
        adr018::decode(bytes, 0).is_ok()
    });
    assert_eq!(names, ["legacy", "legacy-ht", "stbc", "vitals", "wide"]);
}

/// Each seed and a fixed number of mutations of each: bytes changed, cut out, doubled. The same ones in every run.
fn mutations(target: &str, each: usize, mut decode: impl FnMut(&[u8])) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    for (_, seed) in corpus(target) {
        decode(&seed);
        for _ in 0..each {
            let mut bytes = seed.clone();
            for _ in 0..=random(4) {
                let (at, length) = (random(bytes.len()), random(64));
                let end = (at + length).min(bytes.len());
                match random(4) {
                    0 => bytes.truncate(at),
                    1 => drop(bytes.drain(at..end)),
                    2 => bytes.extend_from_within(at..end),
                    _ => bytes
                        .iter_mut()
                        .skip(at)
                        .take(1)
                        .for_each(|byte| *byte = random(256) as u8),
                }
            }
            decode(&bytes);
        }
    }
}

#[test]
fn nexmon_corpus() {
    let names = decoding("nexmon", |bytes| nexmon::decode(bytes, None, 0, 0).is_ok());
    assert_eq!(
        names,
        ["floats-40", "floats-80", "integers-20", "integers-80"]
    );
    mutations("nexmon", 500, |bytes| {
        for chip in [
            None,
            Some(nexmon::Chip::Bcm4358),
            Some(nexmon::Chip::Bcm4366c0),
        ] {
            if let Ok((_, frame)) = nexmon::decode(bytes, chip, 0, 0) {
                assert_eq!(frame.samples.len(), frame.layout.len());
            }
        }
    });
}

#[test]
fn capture_corpus() {
    let payloads = |bytes: &[u8]| {
        let Ok(mut capture) = pcap::Capture::open(bytes) else {
            return 0;
        };
        let (mut steps, mut payloads) = (0, 0);
        while let Some(step) = capture.next(bytes) {
            steps += 1;
            assert!(steps <= bytes.len(), "it does not go on");
            payloads += usize::from(step.is_ok_and(|captured| captured.udp.is_some()));
        }
        payloads
    };
    let names = decoding("capture", |bytes| payloads(bytes) == 1);
    assert_eq!(names.len(), 8, "{names:?}");
    mutations("capture", 500, |bytes| {
        payloads(bytes);
    });
}

#[test]
fn edge_corpus() {
    let names = decoding("edge", |bytes| {
        matches!(adr018::decode(bytes, 0), Ok(adr018::Packet::Edge(_)))
    });
    assert_eq!(
        names,
        [
            "compressed",
            "features",
            "fused",
            "module",
            "state",
            "vitals"
        ]
    );
    let mut node = adr018::Decompressor::default();
    mutations("edge", 2000, |bytes| {
        if let Ok(adr018::Packet::Edge(edge)) = adr018::decode(bytes, 0) {
            let _ = edge.metadata();
            if let adr018::Report::Compressed(packet) = &edge.report {
                node.whole(&[1; 128]);
                let _ = node.unpack(packet);
            }
        }
    });
}

#[test]
fn esp32_csv_corpus() {
    let names = decoding("esp32_csv", |bytes| {
        let mut decoder = esp32_csv::Decoder::new();
        let lines = bytes.split(|byte| *byte == b'\n');
        lines
            .filter(|line| decoder.line(line, None).is_ok_and(|frame| frame.is_some()))
            .count()
            > 0
    });
    assert_eq!(
        names,
        ["csi-tool", "legacy", "legacy-ht", "short", "stbc", "wide"]
    );
}

#[test]
fn recording_corpus() {
    let names = decoding("recording", |bytes| {
        let bytes = Bytes::copy_from_slice(bytes);
        let options = Options {
            max_bytes: 1 << 20,
            ..Options::default()
        };
        Reader::new(bytes, "corpus", Format::Auto, options)
            .is_ok_and(|reader| reader.flatten().count() > 0)
    });
    assert_eq!(names, ["container", "csv", "ialr", "pcap", "ruview"]);
}

#[test]
fn wire_corpus() {
    let names = decoding("wire", |bytes| {
        wire::Decoder::default()
            .decode(&Bytes::copy_from_slice(bytes))
            .is_ok()
    });
    assert_eq!(names, ["amplitudes", "legacy", "legacy-ht", "stbc", "wide"]);
}

#[test]
fn mcap_corpus() {
    let names = decoding("mcap", |bytes| {
        csi::mcap::Reader::open(bytes, 1 << 20).is_ok_and(|reader| reader.flatten().count() > 0)
    });
    assert_eq!(names, ["cut", "two-devices", "unpacked"]);
}

/// Whether a log of this format, given or found, holds a frame; every record of it is decoded on the way.
fn log_decodes(bytes: &[u8], format: Format) -> bool {
    let frames = |format| {
        let bytes = Bytes::copy_from_slice(bytes);
        Reader::new(bytes, "corpus", format, Options::default())
            .map_or(0, |reader| reader.flatten().count())
    };
    let given = frames(format);
    given > 0 && given == frames(Format::Auto)
}

#[test]
fn intel5300_corpus() {
    let names = decoding("intel5300", |bytes| {
        let _ = intel5300::decode(bytes);
        log_decodes(bytes, Format::Intel5300)
    });
    assert_eq!(
        names,
        ["1x1", "3x2-wide", "3x3", "behind-payload", "damaged"]
    );
}

#[test]
fn atheros_corpus() {
    let names = decoding("atheros", |bytes| {
        let _ = atheros::decode(bytes, ByteOrder::Little);
        let _ = atheros::decode(bytes, ByteOrder::Big);
        log_decodes(bytes, Format::Atheros)
    });
    assert_eq!(names, ["big", "little", "wide"]);
}

#[test]
fn picoscenes_corpus() {
    let names = decoding("picoscenes", |bytes| {
        let _ = picoscenes::decode(bytes);
        log_decodes(bytes, Format::PicoScenes)
    });
    assert_eq!(names, ["ax200", "iwl5300", "qca9300", "radio"]);
}

#[test]
fn feitcsi_corpus() {
    let names = decoding("feitcsi", |bytes| {
        let _ = feitcsi::decode(bytes);
        log_decodes(bytes, Format::FeitCsi)
    });
    assert_eq!(names, ["he20", "ht20", "legacy", "vht80"]);
}
