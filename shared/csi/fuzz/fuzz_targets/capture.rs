#![no_main]

use csi::decode::pcap::Capture;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(mut capture) = Capture::open(bytes) else {
        return;
    };
    // Every step takes at least the bytes of a block's header.
    let mut steps = 0;
    while let Some(step) = capture.next(bytes) {
        steps += 1;
        assert!(steps <= bytes.len());
        if let Ok(captured) = step {
            assert!(captured.udp.is_none_or(|(_, payload)| payload.len() <= bytes.len()));
        }
    }
});
