#![no_main]

use csi::decode::adr018::{Decompressor, Packet, Report, decode};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(Packet::Edge(edge)) = decode(bytes, 0) else {
        return;
    };
    assert!(edge.metadata().iter().all(|(key, _)| key.starts_with("edge_")));
    if let Report::Compressed(packet) = &edge.report {
        let mut node = Decompressor::default();
        node.whole(&vec![7; packet.original.into()]);
        if let Ok(buffer) = node.unpack(packet) {
            assert_eq!(buffer.len(), usize::from(packet.original));
        }
    }
    // The same but for bytes that mean nothing, and NaN, which equals nothing.
    assert_eq!(edge.encode().len(), bytes.len());
});
