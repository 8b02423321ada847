#![no_main]

use csi::wire::{Decoder, encode};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::default();
    if let Ok((frame, published)) = decoder.decode(&bytes::Bytes::copy_from_slice(bytes)) {
        assert_eq!(
            frame.samples.len(),
            usize::from(frame.antennas) * frame.layout.len()
        );
        let again = decoder
            .decode(&encode(&frame, &published))
            .expect("what was read can be written");
        assert_eq!(again, (frame, published));
    }
});
