//! Everything in the fuzzers' corpus goes through the decoders without a panic, and the seeds still decode.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use csi::decode::atheros::{self, ByteOrder};
use csi::decode::{adr018, esp32_csv, feitcsi, intel5300, picoscenes};
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
