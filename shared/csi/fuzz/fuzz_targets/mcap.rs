#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(reader) = csi::mcap::Reader::open(bytes, 1 << 20) {
        for found in reader.flatten() {
            let frame = found.frame;
            assert_eq!(
                frame.samples.len(),
                usize::from(frame.antennas) * frame.layout.len()
            );
        }
    }
});
