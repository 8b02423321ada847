#![no_main]

use csi::read::{Format, Options, Reader};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let options = Options {
        max_bytes: 1 << 20,
        ..Options::default()
    };
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    if let Ok(reader) = Reader::new(bytes, "fuzz", Format::Auto, options) {
        for frame in reader.flatten() {
            assert_eq!(
                frame.samples.len(),
                usize::from(frame.antennas) * frame.layout.len()
            );
        }
    }
});
