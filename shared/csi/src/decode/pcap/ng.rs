//! pcapng: blocks of type, length, body, and the length again.
//!
//! The blocks are walked here, so that one damaged block costs itself and no more; what stands in a block that matters
//! (interfaces and packets) is parsed by `pcap-parser`. Other blocks are passed over.

use pcap_parser::pcapng::{
    EnhancedPacketBlock, InterfaceDescriptionBlock, parse_enhancedpacketblock_be,
    parse_enhancedpacketblock_le, parse_interfacedescriptionblock_be,
    parse_interfacedescriptionblock_le, parse_simplepacketblock_be, parse_simplepacketblock_le,
};

use super::{Captured, Error, MAX_PACKET, link};

const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
/// Blocks of other kinds (name tables, secrets) may be long.
const MAX_BLOCK: u32 = 64 << 20;
/// More than any section has.
const MAX_INTERFACES: usize = 4096;

/// What one interface's packets are, and how they count time.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link_type: u32,
    /// Units of time in a second.
    resolution: u64,
    /// Seconds to be added.
    offset_s: i64,
    snap_length: u32,
}

/// A pcapng file, read from the front.
#[derive(Clone, Debug)]
pub struct PcapNg {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// Where the next block begins.
    offset: usize,
}

impl PcapNg {
    /// Reads the header of the first section.
    ///
    /// # Errors
    /// Where the file does not begin with one.
    pub(super) fn open(file: &[u8]) -> Result<Self, Error> {
        let mut opened = Self {
            big_endian: false,
            interfaces: Vec::new(),
            offset: 0,
        };
        opened.section(file, 0)?;
        Ok(opened)
    }

    /// Byte order of the section that begins at `offset`.
    fn section(&mut self, file: &[u8], offset: usize) -> Result<(), Error> {
        let rest = file.get(offset..).unwrap_or_default();
        self.big_endian = match rest.get(8..12) {
            Some([0x1A, 0x2B, 0x3C, 0x4D]) => true,
            Some([0x4D, 0x3C, 0x2B, 0x1A]) => false,
            Some(other) => {
                let found = other
                    .iter()
                    .fold(0, |word, byte| word << 8 | u32::from(*byte));
                return Err(Error::WrongByteOrder {
                    offset: offset + 8,
                    found,
                });
            }
            None => {
                return Err(Error::Truncated {
                    what: "section header",
                    offset,
                    expected: 28,
                    found: rest.len(),
                });
            }
        };
        self.interfaces.clear();
        Ok(())
    }

    fn u32(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let word = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian {
            u32::from_be_bytes(word)
        } else {
            u32::from_le_bytes(word)
        })
    }

    /// The next packet of `file`; `None` at the end.
    ///
    /// # Errors
    /// Where a block is cut off or its length absurd, and nothing can be read after it; where one that counts is damaged, and
    /// the next call goes on behind it.
    pub(super) fn next<'a>(&mut self, file: &'a [u8]) -> Option<Result<Captured<'a>, Error>> {
        loop {
            let offset = self.offset;
            let rest = file.get(offset..).filter(|rest| !rest.is_empty())?;
            let block = match self.block(file, offset, rest) {
                Ok(block) => block,
                Err(error) => {
                    self.offset = file.len();
                    return Some(Err(error));
                }
            };
            self.offset = offset + block.len();
            let damaged = |what| Some(Err(Error::Block { what, offset }));
            match self.u32(block, 0).unwrap_or_default() {
                INTERFACE => match self.interface(block) {
                    Some(interface) if self.interfaces.len() < MAX_INTERFACES => {
                        self.interfaces.push(interface);
                        if !link::known(interface.link_type) {
                            let found = interface.link_type;
                            return Some(Err(Error::LinkType { found }));
                        }
                    }
                    _ => return damaged("interface"),
                },
                ENHANCED_PACKET => {
                    let Some(packet) = self.enhanced(block) else {
                        return damaged("packet");
                    };
                    let Some(interface) = self.interfaces.get(packet.if_id as usize) else {
                        return damaged("packet of an interface that was not described");
                    };
                    let data = packet
                        .data
                        .get(..packet.caplen.min(MAX_PACKET) as usize)
                        .unwrap_or(packet.data);
                    return Some(Ok(Captured {
                        offset,
                        time_us: interface.time_us(packet.ts_high, packet.ts_low),
                        udp: link::udp(interface.link_type, data),
                    }));
                }
                SIMPLE_PACKET => {
                    let parsed = if self.big_endian {
                        parse_simplepacketblock_be(block)
                    } else {
                        parse_simplepacketblock_le(block)
                    };
                    let (Ok((_, packet)), Some(interface)) = (parsed, self.interfaces.first())
                    else {
                        return damaged("simple packet");
                    };
                    // Only the original length stands there: padding is cut off by it, or by the interface's limit.
                    let limit = match interface.snap_length {
                        0 => packet.origlen,
                        snap => packet.origlen.min(snap),
                    };
                    let data = packet.data.get(..limit as usize).unwrap_or(packet.data);
                    return Some(Ok(Captured {
                        offset,
                        time_us: 0,
                        udp: link::udp(interface.link_type, data),
                    }));
                }
                _ => {}
            }
        }
    }

    /// The whole block that `rest` begins with. A section header first sets the byte order.
    fn block<'a>(&mut self, file: &[u8], offset: usize, rest: &'a [u8]) -> Result<&'a [u8], Error> {
        let found = rest.len();
        if rest.starts_with(&SECTION.to_be_bytes()) {
            self.section(file, offset)?;
        }
        let length = self.u32(rest, 4).ok_or(Error::Truncated {
            what: "block header",
            offset,
            expected: 12,
            found,
        })?;
        if !(12..=MAX_BLOCK).contains(&length) || !length.is_multiple_of(4) {
            return Err(Error::AbsurdLength {
                offset: offset + 4,
                found: length,
            });
        }
        let expected = length as usize;
        rest.get(..expected).ok_or(Error::Truncated {
            what: "block",
            offset,
            expected,
            found,
        })
    }

    fn interface(&self, block: &[u8]) -> Option<Interface> {
        let parsed = if self.big_endian {
            parse_interfacedescriptionblock_be(block)
        } else {
            parse_interfacedescriptionblock_le(block)
        };
        let (_, block): (_, InterfaceDescriptionBlock<'_>) = parsed.ok()?;
        Some(Interface {
            link_type: u32::try_from(block.linktype.0).ok()?,
            resolution: units_per_second(block.if_tsresol)?,
            offset_s: block.ts_offset(),
            snap_length: block.snaplen,
        })
    }

    fn enhanced<'a>(&self, block: &'a [u8]) -> Option<EnhancedPacketBlock<'a>> {
        let parsed = if self.big_endian {
            parse_enhancedpacketblock_be(block)
        } else {
            parse_enhancedpacketblock_le(block)
        };
        parsed.ok().map(|(_, packet)| packet)
    }
}

/// Units of time in a second: a power of 2 or of 10. (The parser's own function refuses the powers of 2.)
fn units_per_second(exponent: u8) -> Option<u64> {
    match exponent & 0x80 {
        0 => 10_u64.checked_pow(exponent.into()),
        _ => 1_u64.checked_shl(u32::from(exponent & 0x7F)),
    }
}

impl Interface {
    /// Microseconds since the Unix epoch.
    fn time_us(&self, high: u32, low: u32) -> i64 {
        let units = u128::from(high) << 32 | u128::from(low);
        let micros = units * 1_000_000 / u128::from(self.resolution);
        let micros = i64::try_from(micros).unwrap_or(i64::MAX);
        micros.saturating_add(self.offset_s.saturating_mul(1_000_000))
    }
}
