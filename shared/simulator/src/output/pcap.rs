//! Classic pcap with microsecond stamps: each datagram in UDP, IPv4 and Ethernet.

use std::io::Write;

use super::OutputError;

const PORT: u16 = 5005;

/// Documentation addresses (RFC 5737): the receivers', by node, and the gateway's.
const NODE_NETWORK: [u8; 3] = [192, 0, 2];
const GATEWAY: [u8; 4] = [198, 51, 100, 1];

const HEADERS: usize = 14 + 20 + 8;

/// A pcap file of ADR-018 datagrams.
pub struct PcapFile<W: Write> {
    out: W,
    packet: Vec<u8>,
    identification: u16,
}

impl<W: Write> PcapFile<W> {
    /// Begins a file: writes its header.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn new(mut out: W) -> Result<Self, OutputError> {
        let mut header = Vec::with_capacity(24);
        header.extend_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
        header.extend_from_slice(&2_u16.to_le_bytes());
        header.extend_from_slice(&4_u16.to_le_bytes());
        header.extend_from_slice(&[0; 8]);
        header.extend_from_slice(&65_535_u32.to_le_bytes());
        // Link type 1: Ethernet.
        header.extend_from_slice(&1_u32.to_le_bytes());
        out.write_all(&header)?;
        Ok(Self {
            out,
            packet: Vec::new(),
            identification: 0,
        })
    }

    /// Appends a datagram from a node, received at `time_us` since the Unix epoch.
    ///
    /// # Errors
    /// When the writer fails, when the time does not fit the format (1970 to 2106), when the datagram is longer than UDP takes.
    pub fn write(&mut self, time_us: i64, node: u8, datagram: &[u8]) -> Result<(), OutputError> {
        let does_not_fit = |reason: &str| OutputError::Frame {
            node,
            sequence: u64::from(self.identification),
            format: "pcap",
            reason: reason.into(),
        };
        let seconds = u32::try_from(time_us.div_euclid(1_000_000))
            .map_err(|_| does_not_fit("the time lies outside 1970 to 2106"))?;
        let micros = time_us.rem_euclid(1_000_000) as u32;
        let ip_length = u16::try_from(HEADERS - 14 + datagram.len())
            .map_err(|_| does_not_fit("the datagram is longer than UDP takes"))?;
        let [a, b, c] = NODE_NETWORK;
        let source = [a, b, c, node];

        let length = (HEADERS + datagram.len()) as u32;
        self.packet.clear();
        self.packet.extend_from_slice(&seconds.to_le_bytes());
        self.packet.extend_from_slice(&micros.to_le_bytes());
        self.packet.extend_from_slice(&length.to_le_bytes());
        self.packet.extend_from_slice(&length.to_le_bytes());
        // Ethernet: to, from, IPv4. Locally administered addresses.
        self.packet.extend_from_slice(&[0x02, 0, 0, 0, 1, 0]);
        self.packet.extend_from_slice(&[0x02, 0, 0, 0, 0, node]);
        self.packet.extend_from_slice(&[0x08, 0x00]);
        self.packet
            .extend_from_slice(&ip_header(ip_length, self.identification, source));
        self.packet
            .extend_from_slice(&udp_header(ip_length - 20, source, datagram));
        self.packet.extend_from_slice(datagram);
        self.identification = self.identification.wrapping_add(1);
        self.out.write_all(&self.packet)?;
        Ok(())
    }

    /// Flushes, and gives the writer back.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn finish(mut self) -> Result<W, OutputError> {
        self.out.flush()?;
        Ok(self.out)
    }
}

fn ip_header(length: u16, identification: u16, source: [u8; 4]) -> [u8; 20] {
    let [length_high, length_low] = length.to_be_bytes();
    let [id_high, id_low] = identification.to_be_bytes();
    let [sa, sb, sc, sd] = source;
    let [da, db, dc, dd] = GATEWAY;
    // Version 4 and five words; no fragments; 64 hops; UDP.
    let with = |[high, low]: [u8; 2]| {
        [
            0x45,
            0,
            length_high,
            length_low,
            id_high,
            id_low,
            0x40,
            0,
            64,
            17,
            high,
            low,
            sa,
            sb,
            sc,
            sd,
            da,
            db,
            dc,
            dd,
        ]
    };
    with(checksum(sum(0, &with([0, 0]))).to_be_bytes())
}

fn udp_header(length: u16, source: [u8; 4], datagram: &[u8]) -> [u8; 8] {
    let [length_high, length_low] = length.to_be_bytes();
    let [port_high, port_low] = PORT.to_be_bytes();
    let with = |[high, low]: [u8; 2]| {
        [
            port_high,
            port_low,
            port_high,
            port_low,
            length_high,
            length_low,
            high,
            low,
        ]
    };
    // Over the pseudo-header (RFC 768), the header and the data. Zero would say "no checksum".
    let pseudo = sum(sum(17 + u32::from(length), &source), &GATEWAY);
    let found = match checksum(sum(sum(pseudo, &with([0, 0])), datagram)) {
        0 => 0xffff,
        other => other,
    };
    with(found.to_be_bytes())
}

/// Adds 16-bit big-endian words; an odd last byte is a high one (RFC 1071).
fn sum(start: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(start, |total, pair| {
        let word = match *pair {
            [high, low] => u16::from_be_bytes([high, low]),
            [high] => u16::from_be_bytes([high, 0]),
            _ => 0,
        };
        total.wrapping_add(u32::from(word))
    })
}

fn checksum(mut total: u32) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_reads_back_and_its_checksums_come_to_nothing() {
        let mut file = PcapFile::new(Vec::new()).expect("header");
        let datagram: Vec<u8> = (0..147).collect();
        file.write(1_700_000_000_123_456, 9, &datagram)
            .expect("packet");
        let bytes = file.finish().expect("flush");
        assert_eq!(&bytes[..4], &[0xd4, 0xc3, 0xb2, 0xa1]);
        assert_eq!(&bytes[20..24], &[1, 0, 0, 0]);
        let packet = &bytes[24..];
        assert_eq!(&packet[..4], 1_700_000_000_u32.to_le_bytes());
        assert_eq!(&packet[4..8], 123_456_u32.to_le_bytes());
        assert_eq!(&packet[8..12], 189_u32.to_le_bytes());
        let ip = &packet[30..];
        assert_eq!(checksum(sum(0, &ip[..20])), 0);
        let udp = &ip[20..];
        assert_eq!(&udp[2..4], 5005_u16.to_be_bytes());
        assert_eq!(usize::from(u16::from_be_bytes([udp[4], udp[5]])), udp.len());
        let pseudo = sum(17 + udp.len() as u32, &ip[12..20]);
        assert_eq!(checksum(sum(pseudo, udp)), 0);
        assert_eq!(&udp[8..], datagram);
        assert_eq!(ip[15], 9);
    }

    #[test]
    fn a_time_outside_the_format_is_refused() {
        let mut file = PcapFile::new(Vec::new()).expect("header");
        assert!(file.write(-1, 1, &[0]).is_err());
        assert!(file.write(i64::MAX, 1, &[0]).is_err());
    }
}
