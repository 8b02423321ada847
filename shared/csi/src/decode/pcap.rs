//! Captures, pcap and pcapng: the UDP payloads in them.
//!
//! pcap: the magic number `0xA1B2C3D4` (time in microseconds) or `0xA1B23C4D` (nanoseconds) in the byte order of the
//! machine that wrote the file, 24 bytes of header, then for each packet 16 bytes (seconds, fraction, captured length,
//! original length) and its bytes. pcapng: see [`PcapNg`]; both byte orders, any resolution of time, several sections and
//! interfaces. Link types: Ethernet (also with VLAN tags), Linux cooked (both versions), raw IP, BSD loopback; on them IPv4
//! and IPv6.

mod link;
mod ng;

pub use ng::PcapNg;

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
        "wrong magic at offset 0: expected a1b2c3d4 or a1b23c4d in either byte order or 0a0d0d0a, found {found:08x}"
    )]
    WrongMagic {
        /// The first four bytes.
        found: u32,
    },
    /// A section of a pcapng file without its mark of byte order.
    #[error(
        "wrong byte order mark at offset {offset}: expected 1a2b3c4d in either order, found {found:08x}"
    )]
    WrongByteOrder {
        /// Where it stands.
        offset: usize,
        /// What stands there.
        found: u32,
    },
    /// A block of a pcapng file that cannot be read.
    #[error("damaged block at offset {offset}: expected a {what}")]
    Block {
        /// What it should be.
        what: &'static str,
        /// Where it begins.
        offset: usize,
    },
    /// The link type has no known header.
    #[error(
        "link type {found}: expected Ethernet (1), Linux cooked (113, 276), raw IP (101, 228, 229) or loopback (0, 108)"
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
            Self::WrongByteOrder { .. } => "wrong_byte_order",
            Self::Block { .. } => "damaged_block",
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
    /// Destination port and payload, where it is a UDP datagram; what was captured of it.
    pub udp: Option<(u16, &'a [u8])>,
}

/// A capture of either format, read from the front.
#[derive(Clone, Debug)]
pub enum Capture {
    /// pcap.
    Pcap(Pcap),
    /// pcapng.
    Ng(PcapNg),
}

impl Capture {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// Where it is of neither format, or of a link type without a known header.
    pub fn open(file: &[u8]) -> Result<Self, Error> {
        if file.starts_with(&[0x0A, 0x0D, 0x0D, 0x0A]) {
            PcapNg::open(file).map(Self::Ng)
        } else {
            Pcap::open(file).map(Self::Pcap)
        }
    }

    /// The next packet of `file`, which must be the same each time; `None` at the end.
    ///
    /// # Errors
    /// Where what stands there cannot be read. Where it can be skipped, the next call goes on behind it.
    pub fn next<'a>(&mut self, file: &'a [u8]) -> Option<Result<Captured<'a>, Error>> {
        match self {
            Self::Pcap(pcap) => pcap.next(file),
            Self::Ng(pcapng) => pcapng.next(file),
        }
    }
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
            found => return Err(Error::WrongMagic { found }),
        };
        let mut pcap = Self {
            big_endian,
            nanoseconds,
            link_type: 0,
            offset: FILE_HEADER,
        };
        pcap.link_type = pcap.u32(file, 20).ok_or(short)? & 0xFFFF;
        match pcap.link_type {
            known if link::known(known) => Ok(pcap),
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
            udp: link::udp(self.link_type, packet),
        }))
    }
}

#[cfg(test)]
mod tests;
