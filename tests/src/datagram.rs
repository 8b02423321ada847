//! What devices send, byte by byte as `formats.md` has it: not through our own encoders, so that the two can disagree.

use std::net::UdpSocket;

/// A raw CSI datagram of one antenna; `iq` holds (imaginary, real) pairs.
#[must_use]
pub fn csi(node: u8, sequence: u32, iq: &[i8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(20 + iq.len());
    bytes.extend(0xC511_0001_u32.to_le_bytes());
    bytes.push(node);
    bytes.push(1);
    bytes.extend(
        u16::try_from(iq.len() / 2)
            .unwrap_or(u16::MAX)
            .to_le_bytes(),
    );
    bytes.extend(2437_u32.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend((-50_i8).to_le_bytes());
    bytes.extend((-92_i8).to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(iq.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// An esp-csi line of 25 columns; `iq` holds (imaginary, real) pairs, `clock_us` is the device's clock.
#[must_use]
pub fn line(mac: &str, sequence: u32, clock_us: u32, iq: &[i8]) -> String {
    let values: Vec<String> = iq.iter().map(ToString::to_string).collect();
    format!(
        "CSI_DATA,{sequence},{mac},-50,11,1,7,0,1,1,1,0,0,0,-92,0,6,0,{clock_us},0,100,0,{},0,\"[{}]\"\n",
        values.len(),
        values.join(",")
    )
}

/// A socket that sends to `address`.
///
/// # Errors
/// Where no socket can be had.
pub fn sender(address: &str) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(address)?;
    Ok(socket)
}
