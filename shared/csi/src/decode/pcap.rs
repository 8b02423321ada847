//! Classic pcap files: the UDP payloads in them.
//!
//! Format: the magic number `0xA1B2C3D4` (time in microseconds) or `0xA1B23C4D` (nanoseconds) in the byte order of the
//! machine that wrote the file, 24 bytes of header, then for each packet 16 bytes (seconds, fraction, captured length,
//! original length) and its bytes. Link types: Ethernet (also with VLAN tags), Linux cooked, raw IP, BSD loopback. The
//! newer pcapng is another format and is refused by name.

/// Why a file is no pcap file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Shorter than what is to be read.
    #[error("truncated at offset {offset}: expected {expected} bytes of {what}, found {found}")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where it begins.
        offset: usize,
        /// Its bytes.
        expected: usize,
        /// Bytes that there are.
        found: usize,
    },
    /// Not pcap.
    #[error(
        "wrong magic at offset 0: expected a1b2c3d4 or a1b23c4d in either byte order, found {found:08x}"
    )]
    WrongMagic {
        /// The first four bytes.
        found: u32,
    },
    /// pcapng.
    #[error("this is pcapng; convert it with `editcap -F pcap`")]
    Pcapng,
    /// The link type has no known header.
    #[error(
        "link type {found} at offset 20: expected Ethernet (1), Linux cooked (113), raw IP (101) or loopback (0)"
    )]
    LinkType {
        /// Its number.
        found: u32,
    },
    /// A length that no packet has.
    #[error("absurd packet length at offset {offset}: expected at most 262144, found {found}")]
    AbsurdLength {
        /// Where it stands.
        offset: usize,
        /// The length.
        found: u32,
    },
}

impl Error {
    /// A stable name for counting.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::WrongMagic { .. } => "wrong_magic",
            Self::Pcapng => "pcapng",
            Self::LinkType { .. } => "link_type",
            Self::AbsurdLength { .. } => "absurd_length",
        }
    }
}

const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;
/// The limit of tcpdump and Wireshark.
const MAX_PACKET: u32 = 262_144;

/// A pcap file, read from the front.
#[derive(Clone, Copy, Debug)]
pub struct Pcap {
    big_endian: bool,
    nanoseconds: bool,
    link_type: u32,
    /// Where the next packet begins.
    offset: usize,
}

/// One packet.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    /// Where its header begins in the file.
    pub offset: usize,
    /// Time of capture in microseconds since the Unix epoch.
    pub time_us: i64,
    /// Port and payload, where it is a whole UDP datagram over IPv4.
    pub udp: Option<(u16, &'a [u8])>,
}

impl Pcap {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// Where it is no classic pcap file, or of a link type without a known header.
    pub fn open(file: &[u8]) -> Result<Self, Error> {
        let found = file.len();
        let short = Error::Truncated {
            what: "file header",
            offset: 0,
            expected: FILE_HEADER,
            found,
        };
        let magic = file
            .first_chunk()
            .map(|bytes| u32::from_be_bytes(*bytes))
            .ok_or(short.clone())?;
        let (big_endian, nanoseconds) = match magic {
            0xA1B2_C3D4 => (true, false),
            0xD4C3_B2A1 => (false, false),
            0xA1B2_3C4D => (true, true),
            0x4D3C_B2A1 => (false, true),
            0x0A0D_0D0A => return Err(Error::Pcapng),
            found => return Err(Error::WrongMagic { found }),
        };
        let mut pcap = Self {
            big_endian,
            nanoseconds,
            link_type: 0,
            offset: FILE_HEADER,
        };
        pcap.link_type = pcap.u32(file, 20).ok_or(short)? & 0x0FFF_FFFF;
        match pcap.link_type {
            0 | 1 | 101 | 113 => Ok(pcap),
            found => Err(Error::LinkType { found }),
        }
    }

    fn u32(&self, file: &[u8], offset: usize) -> Option<u32> {
        let bytes = *file.get(offset..)?.first_chunk()?;
        Some(if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    /// The next packet of `file`, which must be the same each time; `None` at the end.
    ///
    /// # Errors
    /// Where the packet is cut off or its length absurd. Nothing can be read after that.
    pub fn next<'a>(&mut self, file: &'a [u8]) -> Option<Result<Captured<'a>, Error>> {
        let offset = self.offset;
        let rest = file.get(offset..).filter(|rest| !rest.is_empty())?;
        self.offset = file.len();
        let found = rest.len();
        let cut = |what, offset, expected, found| {
            Some(Err(Error::Truncated {
                what,
                offset,
                expected,
                found,
            }))
        };
        let (Some(seconds), Some(part), Some(length), true) = (
            self.u32(rest, 0),
            self.u32(rest, 4),
            self.u32(rest, 8),
            found >= PACKET_HEADER,
        ) else {
            return cut("packet header", offset, PACKET_HEADER, found);
        };
        if length > MAX_PACKET {
            return Some(Err(Error::AbsurdLength {
                offset: offset + 8,
                found: length,
            }));
        }
        let length = length as usize;
        let Some(packet) = rest.get(PACKET_HEADER..PACKET_HEADER + length) else {
            return cut(
                "packet",
                offset + PACKET_HEADER,
                length,
                found - PACKET_HEADER,
            );
        };
        self.offset = offset + PACKET_HEADER + length;
        let micros = if self.nanoseconds { part / 1000 } else { part };
        let time_us = i64::from(seconds) * 1_000_000 + i64::from(micros);
        Some(Ok(Captured {
            offset,
            time_us,
            udp: self.network(packet).and_then(udp),
        }))
    }

    /// The IPv4 packet in a packet of the link.
    fn network<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let ether_type = |at: usize| packet.get(at..at + 2).map(|bytes| bytes == [0x08, 0x00]);
        match self.link_type {
            1 => {
                let mut at = 12;
                // VLAN tags, at most two.
                for _ in 0..2 {
                    if matches!(packet.get(at..at + 2)?, [0x81, 0x00] | [0x88, 0xA8]) {
                        at += 4;
                    }
                }
                ether_type(at)?.then(|| packet.get(at + 2..))?
            }
            113 => ether_type(14)?.then(|| packet.get(16..))?,
            0 => packet.get(4..),
            _ => Some(packet),
        }
    }
}

/// Destination port and payload of a UDP datagram in an IPv4 packet that is not a fragment.
fn udp(packet: &[u8]) -> Option<(u16, &[u8])> {
    let [
        version_and_length,
        _,
        total_high,
        total_low,
        _,
        _,
        fragment_high,
        fragment_low,
        _,
        protocol,
        ..,
    ] = packet
    else {
        return None;
    };
    let header = usize::from(version_and_length & 0x0F) * 4;
    let total = usize::from(u16::from_be_bytes([*total_high, *total_low]));
    let fragment = u16::from_be_bytes([*fragment_high, *fragment_low]) & 0x3FFF;
    if version_and_length >> 4 != 4 || header < 20 || *protocol != 17 || fragment != 0 {
        return None;
    }
    // The total length cuts off the padding of short Ethernet packets.
    let datagram = packet.get(header..total)?;
    let [_, _, port_high, port_low, length_high, length_low, ..] = datagram else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
    Some((
        u16::from_be_bytes([*port_high, *port_low]),
        datagram.get(8..length)?,
    ))
}
