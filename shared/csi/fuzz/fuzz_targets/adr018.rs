#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(csi::decode::adr018::Packet::Csi { node, frame, .. }) =
        csi::decode::adr018::decode(bytes, 0)
    {
        assert_eq!(
            frame.samples.len(),
            usize::from(frame.antennas) * frame.layout.len()
        );
        let mut again = Vec::new();
        csi::decode::adr018::encode(&frame, node, &mut again)
            .expect("what was read can be written");
        assert_eq!(&again[20..], &bytes[20..]);
    }
});
