#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut decoder = csi::decode::esp32_csv::Decoder::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(Some(frame)) = decoder.line(line, None) {
            assert_eq!(frame.samples.len(), frame.layout.len());
        }
    }
});
