//! What each fuzz target does with its input. The targets under `fuzz_targets` call these functions, and so do the tests of the
//! corpus, on every seed and a fixed number of mutations of each, and `examples/fuzz_loop.rs`, for as long as one likes.

use bytes::Bytes;
use csi::Frame;
use csi::decode::adr018::{self, Decompressor, Packet, Report};
use csi::decode::atheros::ByteOrder;
use csi::decode::nexmon::{self, Chip};
use csi::decode::pcap::Capture;
use csi::decode::{atheros, esp32_csv, feitcsi, intel5300, picoscenes};
use csi::read::{Format, Options, Reader};
use csi::wire;

/// Does something with any bytes, and panics where what it finds does not hold together.
pub type Target = fn(&[u8]);

/// Every target, by the name of its corpus.
pub const ALL: [(&str, Target); 12] = [
    ("adr018", adr018),
    ("atheros", atheros),
    ("capture", capture),
    ("edge", edge),
    ("esp32_csv", esp32_csv),
    ("feitcsi", feitcsi),
    ("intel5300", intel5300),
    ("mcap", mcap),
    ("nexmon", nexmon),
    ("picoscenes", picoscenes),
    ("recording", recording),
    ("wire", wire),
];

fn check(frame: &Frame) {
    let samples = usize::from(frame.antennas) * frame.layout.len();
    assert_eq!(frame.samples.len(), samples);
    assert_eq!(frame.layout.valid.len(), frame.layout.subcarriers.len());
    assert!(frame.antennas.is_multiple_of(frame.transmit_streams));
    assert!(
        frame
            .scale
            .is_none_or(|scale| scale.is_finite() && scale > 0.0)
    );
}

/// A whole recording. Each step takes at least a byte of it, or one of its frames.
fn read(bytes: &[u8], format: Format) {
    let options = Options {
        max_bytes: 1 << 20,
        ..Options::default()
    };
    let recording = Bytes::copy_from_slice(bytes);
    let Ok(mut reader) = Reader::new(recording, "fuzz", format, options) else {
        return;
    };
    while let Some(next) = reader.next() {
        match next {
            Ok(frame) => {
                check(&frame);
                // What `fresnel decode --raw --json` says beside the frame.
                let _ = reader.header_fields(&frame);
                let _ = reader.header();
            }
            Err(place) => assert!(!place.to_string().is_empty()),
        }
    }
}

pub fn adr018(bytes: &[u8]) {
    let _ = adr018::peek_node(bytes);
    if let Ok(Packet::Csi { node, frame, .. }) = adr018::decode(bytes, 0) {
        check(&frame);
        let mut again = Vec::new();
        adr018::encode(&frame, node, &mut again).expect("what was read can be written");
        assert_eq!(again.get(20..), bytes.get(20..));
    }
    read(bytes, Format::Adr018);
}

pub fn atheros(bytes: &[u8]) {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        if let Ok(Some((_, frame))) = atheros::decode(bytes, order) {
            check(&frame);
        }
    }
    read(bytes, Format::Atheros);
}

pub fn capture(bytes: &[u8]) {
    let Ok(mut capture) = Capture::open(bytes) else {
        return;
    };
    // Every step takes at least the bytes of a block's header.
    let mut steps = 0;
    while let Some(step) = capture.next(bytes) {
        steps += 1;
        assert!(steps <= bytes.len());
        if let Ok(captured) = step {
            assert!(
                captured
                    .udp
                    .is_none_or(|(_, payload)| payload.len() <= bytes.len())
            );
        }
    }
    read(bytes, Format::Pcap);
}

pub fn edge(bytes: &[u8]) {
    let Ok(Packet::Edge(edge)) = adr018::decode(bytes, 0) else {
        return;
    };
    assert!(
        edge.metadata()
            .iter()
            .all(|(key, _)| key.starts_with("edge_"))
    );
    if let Report::Compressed(packet) = &edge.report {
        let mut node = Decompressor::default();
        node.whole(&vec![7; packet.original.into()]);
        if let Ok(buffer) = node.unpack(packet) {
            assert_eq!(buffer.len(), usize::from(packet.original));
        }
    }
    // The same but for bytes that mean nothing, and NaN, which equals nothing.
    assert_eq!(edge.encode().len(), bytes.len());
}

pub fn esp32_csv(bytes: &[u8]) {
    let mut decoder = esp32_csv::Decoder::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(Some(frame)) = decoder.line(line, None) {
            check(&frame);
            let _ = decoder.fields(line);
        }
    }
    for format in [Format::Esp32Csv, Format::IalrCsv, Format::RuviewJsonl] {
        read(bytes, format);
    }
}

pub fn feitcsi(bytes: &[u8]) {
    if let Ok(Some((_, frame))) = feitcsi::decode(bytes) {
        check(&frame);
    }
    read(bytes, Format::FeitCsi);
}

pub fn intel5300(bytes: &[u8]) {
    if let Ok(Some((_, frame))) = intel5300::decode(bytes) {
        check(&frame);
    }
    read(bytes, Format::Intel5300);
}

pub fn mcap(bytes: &[u8]) {
    if let Ok(reader) = csi::mcap::Reader::open(bytes, 1 << 20) {
        reader.flatten().for_each(|found| check(&found.frame));
    }
}

pub fn nexmon(bytes: &[u8]) {
    let Ok((header, frame)) = nexmon::decode(bytes, None, 0, 0) else {
        return;
    };
    assert!(nexmon::recognised(5500, bytes) && nexmon::recognised(1, bytes));
    check(&frame);
    for chip in Chip::ALL {
        let (_, frame) = nexmon::decode(bytes, Some(chip), 0, 0).expect("it was read before");
        check(&frame);
    }
    let (_, integers) =
        nexmon::decode(bytes, Some(Chip::Bcm4339), 0, 0).expect("it was read before");
    let again = nexmon::encode(&header, &integers.samples, Chip::Bcm4339, false)
        .expect("what was read can be written");
    assert_eq!(Some(again.as_slice()), bytes.get(..again.len()));
}

pub fn picoscenes(bytes: &[u8]) {
    if let Ok(Some((_, frame))) = picoscenes::decode(bytes) {
        check(&frame);
    }
    read(bytes, Format::PicoScenes);
}

pub fn recording(bytes: &[u8]) {
    read(bytes, Format::Auto);
}

pub fn wire(bytes: &[u8]) {
    let mut decoder = wire::Decoder::default();
    if let Ok((frame, published)) = decoder.decode(&Bytes::copy_from_slice(bytes)) {
        check(&frame);
        let again = decoder
            .decode(&wire::encode(&frame, &published))
            .expect("what was read can be written");
        assert_eq!(again, (frame, published));
    }
}
