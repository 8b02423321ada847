//! What devices send, byte by byte: not through our own encoders, so that the two can disagree.

/// An ADR-018 datagram of 64 subcarriers; samples depend on node and sequence.
pub fn adr018(node: u8, sequence: u32) -> Vec<u8> {
    let mut bytes = 0xC511_0001_u32.to_le_bytes().to_vec();
    bytes.extend([node, 1]);
    bytes.extend(64_u16.to_le_bytes());
    bytes.extend(2437_u32.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend([(-50_i8).cast_unsigned(), (-92_i8).cast_unsigned(), 0, 0]);
    let seed = sequence.wrapping_mul(2_654_435_761) ^ u32::from(node);
    bytes.extend((0..128_u32).map(|k| (seed.rotate_left(k) as u8) >> 1));
    bytes
}

/// An esp-csi line of 25 columns, 64 samples.
pub fn csv(mac: &str, sequence: u64, time_us: u32) -> String {
    let values: Vec<String> = (0..128_u64)
        .map(|k| ((k * 7 + sequence) % 100).to_string())
        .collect();
    format!(
        "CSI_DATA,{sequence},{mac},-50,11,1,7,0,1,1,1,0,0,0,-92,0,6,0,{time_us},0,100,0,128,0,\"[{}]\"\n",
        values.join(",")
    )
}

/// A datagram behind its length.
pub fn record(datagram: &[u8]) -> Vec<u8> {
    let length = u32::try_from(datagram.len()).unwrap().to_le_bytes();
    [&length[..], datagram].concat()
}

/// Header of a pcap file of raw IP.
pub fn pcap_header() -> Vec<u8> {
    let mut bytes = 0xA1B2_C3D4_u32.to_le_bytes().to_vec();
    bytes.extend([2, 0, 4, 0]);
    bytes.extend([0; 8]);
    bytes.extend(262_144_u32.to_le_bytes());
    bytes.extend(101_u32.to_le_bytes());
    bytes
}

/// A captured UDP datagram.
pub fn pcap_packet(seconds: u32, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend((length + 28).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend([0x13, 0x8D, 0x13, 0x8D]);
    packet.extend((length + 8).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    let captured = u32::try_from(packet.len()).unwrap().to_le_bytes();
    [
        &seconds.to_le_bytes()[..],
        &[0; 4],
        &captured,
        &captured,
        &packet,
    ]
    .concat()
}
