#![no_main]

use csi::read::{Format, Options, Reader};

fn check(frame: &csi::Frame) {
    assert_eq!(
        frame.samples.len(),
        usize::from(frame.antennas) * frame.layout.len()
    );
    assert!(frame.antennas.is_multiple_of(frame.transmit_streams));
}

// One record, and a log of them.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((_, frame))) = csi::decode::intel5300::decode(bytes) {
        check(&frame);
    }
    let log = bytes::Bytes::copy_from_slice(bytes);
    if let Ok(reader) = Reader::new(log, "fuzz", Format::Intel5300, Options::default()) {
        reader.flatten().for_each(|frame| check(&frame));
    }
});
