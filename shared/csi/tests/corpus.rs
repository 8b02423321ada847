//! Everything in the fuzzers' corpus goes through the decoders without a panic, and the seeds still decode.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use bytes::Bytes;
use csi::decode::atheros::{self, ByteOrder};
use csi::decode::{adr018, esp32_csv, feitcsi, intel5300, nexmon, pcap, picoscenes};
use csi::read::{Format, Options, Reader};
use csi::wire;

#[path = "../fuzz/mutator.rs"]
mod mutator;
#[path = "../fuzz/targets.rs"]
mod targets;

use mutator::Mutator;

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

/// Every target has a corpus, and the other way round; each seed and a fixed number of mutations of each go through the target's
/// own function, the same ones in every run.
#[test]
fn every_target_holds_on_its_corpus_and_mutations_of_it() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let names = |under: &str| {
        let files = std::fs::read_dir(folder.join(under)).unwrap();
        let mut names: Vec<String> = files
            .map(|file| file.unwrap().path())
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let known = targets::ALL.map(|(name, _)| name.to_owned());
    assert_eq!(names("corpus"), known);
    assert_eq!(names("fuzz_targets"), known);
    for (number, (name, target)) in targets::ALL.into_iter().enumerate() {
        let seeds: Vec<Vec<u8>> = corpus(name).into_iter().map(|(_, bytes)| bytes).collect();
        assert!(seeds.len() >= 3, "{name}");
        let mut mutator = Mutator::new(number as u64);
        for seed in &seeds {
            target(seed);
            for _ in 0..400 {
                target(&mutator.mutate(seed, &seeds));
            }
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
        ["1x1", "3x2-wide", "3x3", "behind-payload", "damaged", "wsr"]
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
    assert_eq!(
        names,
        ["ax200", "ax210", "iwl5300", "qca9300", "radio", "soapy"]
    );
}

#[test]
fn feitcsi_corpus() {
    let names = decoding("feitcsi", |bytes| {
        let _ = feitcsi::decode(bytes);
        log_decodes(bytes, Format::FeitCsi)
    });
    assert_eq!(names, ["he20", "ht20", "legacy", "vht80"]);
}
