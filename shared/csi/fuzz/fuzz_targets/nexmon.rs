#![no_main]

use csi::decode::nexmon::{Chip, HEADER_BYTES, decode, encode, recognised};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok((header, frame)) = decode(bytes, None, 0, 0) else {
        return;
    };
    assert!(recognised(5500, bytes) && recognised(1, bytes));
    assert_eq!(frame.samples.len(), frame.layout.len());
    let (_, integers) = decode(bytes, Some(Chip::Bcm4339), 0, 0).expect("it was read before");
    let again = encode(&header, &integers.samples, Chip::Bcm4339, false).expect("what was read can be written");
    let end = HEADER_BYTES + 4 * frame.samples.len();
    assert_eq!(again, bytes[..end]);
});
