//! The ADR-018 family: datagrams of ESP32 nodes, UDP port 5005, little-endian.
//!
//! A CSI datagram (magic `0xC5110001`): 0 u32 magic; 4 u8 node; 5 u8 antennas; 6 u16 subcarriers of each antenna; 8 u32
//! frequency in MHz, or in Hz where the value is above 10^6; 12 u32 sequence; 16 i8 RSSI; 17 i8 noise floor; 18 u8 PPDU type
//! and 19 u8 flags (both 0 from older firmware); 20 antennas x subcarriers pairs (imaginary i8, real i8).
//!
//! PPDU type: 0 HT or older, 1 to 3 HE. Flags: see [`flag`].
//!
//! The datagram has no clock: time is the time of reception.
//!
//! Layout by subcarriers: 64 is the legacy field, 128 legacy and HT, 192 legacy, HT and STBC (with the 40 MHz flag and
//! without the STBC flag: legacy and 40 MHz HT), all in FFT order. 64 samples of a C5 or C6, which the header does not name,
//! are told by their zeros ([`crate::layout::ascending_by_zeros`]), and so are the other lengths of these chips, 256 of an
//! HE packet for one ([`crate::layout::by_zeros`]). Where the zeros say nothing, and for every other number, neither order nor
//! guard bands are known: [`crate::layout::positions`].

mod edge;
mod write;

use std::sync::Arc;

use num_complex::Complex32;

use crate::frame::channel_of;
use crate::layout::{self, Fields, Order};
use crate::{Frame, Layout, Ppdu, SampleFormat};

pub use edge::{
    Compressed, DecompressError, Decompressor, EdgeReport, FeatureState, Features, FusedVitals,
    ModuleOutput, Report, Vitals, compress,
};
pub(in crate::decode) use write::signed_byte;
pub use write::{EncodeError, encode};

/// Magic number of a CSI datagram.
pub const MAGIC_CSI: u32 = 0xC511_0001;
/// Magic number of a mesh packet, which is recognised and carries no CSI.
pub const MAGIC_MESH: u32 = 0xC511_8100;
/// Magic number of a packet by which nodes agree on time, as little CSI.
pub const MAGIC_SYNC: u32 = 0xC511_A110;
/// Bytes before the samples.
pub const HEADER_BYTES: usize = 20;
/// Most antennas that a datagram may claim.
pub const MAX_ANTENNAS: u8 = 8;
/// Most subcarriers for each antenna that a datagram may claim.
pub const MAX_SUBCARRIERS: u16 = 2048;

/// Bits of byte 19.
pub mod flag {
    /// 40 MHz.
    pub const BANDWIDTH_40: u8 = 0x01;
    /// Space-time block coding: a second HT field follows the first.
    pub const STBC: u8 = 0x04;
    /// The node's clock is synchronised with its peers.
    pub const SYNCHRONISED: u8 = 0x10;
    /// The first four bytes of the buffer are no measurement.
    pub const FIRST_WORD_INVALID: u8 = 0x20;
    /// Made by a simulator.
    pub const SIMULATED: u8 = 0x80;
}

/// What a datagram is.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    /// A measurement of the channel.
    Csi {
        /// Number of the node.
        node: u8,
        /// Byte 19; see [`flag`].
        flags: u8,
        /// The measurement.
        frame: Frame,
    },
    /// Something that the node itself concluded from CSI, a third party's opinion and never our detection; or a compressed
    /// frame.
    Edge(EdgeReport),
    /// Talk between nodes.
    Mesh,
}

/// Why a datagram is no packet of the family.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Shorter than what its header says, or than a header.
    #[error("truncated at offset {found}: expected {expected} bytes of {what}, found {found}")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes that it takes.
        expected: usize,
        /// Bytes that there are.
        found: usize,
    },
    /// Longer than what its header says.
    #[error(
        "oversized: expected {expected} bytes of {what}, found {found}; the excess begins at offset {expected}"
    )]
    Oversized {
        /// What was being read.
        what: &'static str,
        /// Bytes that it takes.
        expected: usize,
        /// Bytes that there are.
        found: usize,
    },
    /// Another protocol.
    #[error(
        "wrong magic at offset 0: expected 0xc5110001 to 0xc5110007, 0xc5118100 or 0xc511a110, found {found:#010x}"
    )]
    WrongMagic {
        /// The first four bytes.
        found: u32,
    },
    /// None, or more than any such device has.
    #[error("absurd number of antennas at offset 5: expected 1 to 8, found {found}")]
    AbsurdAntennas {
        /// The number.
        found: u8,
    },
    /// None, or more than any such device has.
    #[error("absurd number of subcarriers at offset 6: expected 1 to 2048, found {found}")]
    AbsurdSubcarriers {
        /// The number.
        found: u16,
    },
    /// The bytes were changed on their way.
    #[error("wrong checksum at offset {offset}: expected {expected:#010x}, found {found:#010x}")]
    WrongChecksum {
        /// Where it stands.
        offset: usize,
        /// CRC-32 of what is there.
        expected: u32,
        /// CRC-32 as sent.
        found: u32,
    },
}

impl Error {
    /// A stable name for counting.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::Oversized { .. } => "oversized",
            Self::WrongMagic { .. } => "wrong_magic",
            Self::AbsurdAntennas { .. } => "absurd_antennas",
            Self::AbsurdSubcarriers { .. } => "absurd_subcarriers",
            Self::WrongChecksum { .. } => "wrong_checksum",
        }
    }
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

fn exactly(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    match found.cmp(&expected) {
        std::cmp::Ordering::Less => Err(Error::Truncated {
            what,
            expected,
            found,
        }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(Error::Oversized {
            what,
            expected,
            found,
        }),
    }
}

/// Number of the node that a datagram claims to come from, also where the rest of it is damaged: for the account of errors.
#[must_use]
pub fn peek_node(datagram: &[u8]) -> Option<u8> {
    let magic = u32::from_le_bytes(array(datagram, 0)?);
    let named = magic == MAGIC_CSI || edge::is_magic(magic);
    if named {
        datagram.get(4).copied()
    } else {
        None
    }
}

/// Decodes one datagram, which was received at `receive_time_us` (microseconds since the Unix epoch).
///
/// # Errors
/// Where the datagram is truncated, longer than it says, of another protocol, claims an absurd number of antennas or
/// subcarriers, or fails its checksum.
pub fn decode(datagram: &[u8], receive_time_us: i64) -> Result<Packet, Error> {
    let found = datagram.len();
    let Some(magic) = array(datagram, 0).map(u32::from_le_bytes) else {
        return Err(Error::Truncated {
            what: "magic number",
            expected: 4,
            found,
        });
    };
    match magic {
        MAGIC_CSI => csi(datagram, receive_time_us),
        MAGIC_MESH | MAGIC_SYNC => Ok(Packet::Mesh),
        _ if edge::is_magic(magic) => edge::decode(magic, datagram).map(Packet::Edge),
        found => Err(Error::WrongMagic { found }),
    }
}

fn csi(datagram: &[u8], receive_time_us: i64) -> Result<Packet, Error> {
    let found = datagram.len();
    let Some(header) = datagram.first_chunk::<HEADER_BYTES>() else {
        return Err(Error::Truncated {
            what: "CSI header",
            expected: HEADER_BYTES,
            found,
        });
    };
    let [
        _,
        _,
        _,
        _,
        node,
        antennas,
        s0,
        s1,
        f0,
        f1,
        f2,
        f3,
        q0,
        q1,
        q2,
        q3,
        rssi,
        noise,
        ppdu,
        flags,
    ] = *header;
    let subcarriers = u16::from_le_bytes([s0, s1]);
    if antennas == 0 || antennas > MAX_ANTENNAS {
        return Err(Error::AbsurdAntennas { found: antennas });
    }
    if subcarriers == 0 || subcarriers > MAX_SUBCARRIERS {
        return Err(Error::AbsurdSubcarriers { found: subcarriers });
    }
    let count = usize::from(antennas) * usize::from(subcarriers);
    exactly("CSI datagram", HEADER_BYTES + 2 * count, found)?;
    let buffer = datagram.get(HEADER_BYTES..).unwrap_or_default();

    let frequency = u32::from_le_bytes([f0, f1, f2, f3]);
    let frequency_mhz = if frequency > 1_000_000 {
        frequency / 1_000_000
    } else {
        frequency
    };
    let frequency_mhz = (frequency_mhz > 0).then_some(frequency_mhz);
    let (layout, fields) = layout_of(buffer, usize::from(subcarriers), flags);
    let mut samples: Vec<Complex32> = Vec::with_capacity(count);
    super::push_pairs(buffer, &mut samples);
    let frame = Frame {
        sequence: u64::from(u32::from_le_bytes([q0, q1, q2, q3])),
        counted: true,
        device_time_us: None,
        receive_time_us,
        rssi_dbm: vec![rssi.cast_signed()],
        noise_floor_dbm: Some(noise.cast_signed()),
        agc: None,
        frequency_mhz,
        channel: frequency_mhz.and_then(channel_of),
        bandwidth_mhz: bandwidth(fields, flags),
        ppdu: match ppdu {
            1..=3 => Ppdu::He,
            // 0 is HT, legacy, or firmware that does not say; an HT field can only come from an HT packet.
            0 if fields.is_some_and(Fields::has_he) => Ppdu::He,
            0 if fields.is_some_and(Fields::has_ht) => Ppdu::Ht,
            _ => Ppdu::Unknown,
        },
        antennas,
        transmit_streams: 1,
        layout,
        samples,
        format: SampleFormat::Ci8,
        scale: None,
        raw_size: u32::try_from(found).unwrap_or(u32::MAX),
        transmitter: None,
        simulated: flags & flag::SIMULATED != 0,
        chain: None,
    };
    Ok(Packet::Csi { node, flags, frame })
}

/// A frame of one antenna of which only the buffer and the time are known.
pub(super) fn frame_of_buffer(
    buffer: &[u8],
    sequence: u64,
    receive_time_us: i64,
) -> Result<Frame, Error> {
    let found = u16::try_from(buffer.len() / 2).unwrap_or(u16::MAX);
    if found == 0 || found > MAX_SUBCARRIERS {
        return Err(Error::AbsurdSubcarriers { found });
    }
    let (layout, fields) = layout_of(buffer, usize::from(found), 0);
    let mut samples: Vec<Complex32> = Vec::with_capacity(usize::from(found));
    super::push_pairs(buffer, &mut samples);
    Ok(Frame {
        sequence,
        counted: false,
        device_time_us: None,
        receive_time_us,
        rssi_dbm: Vec::new(),
        noise_floor_dbm: None,
        agc: None,
        frequency_mhz: None,
        channel: None,
        bandwidth_mhz: bandwidth(fields, 0),
        ppdu: if fields.is_some_and(Fields::has_ht) {
            Ppdu::Ht
        } else {
            Ppdu::Unknown
        },
        antennas: 1,
        transmit_streams: 1,
        layout,
        samples,
        format: SampleFormat::Ci8,
        scale: None,
        raw_size: u32::try_from(HEADER_BYTES + buffer.len()).unwrap_or(u32::MAX),
        transmitter: None,
        simulated: false,
        chain: None,
    })
}

fn bandwidth(fields: Option<Fields>, flags: u8) -> Option<u16> {
    if flags & flag::BANDWIDTH_40 != 0 {
        Some(40)
    } else {
        fields.map(Fields::bandwidth_mhz)
    }
}

fn layout_of(buffer: &[u8], subcarriers: usize, flags: u8) -> (Arc<Layout>, Option<Fields>) {
    let first_word_invalid = flags & flag::FIRST_WORD_INVALID != 0;
    let wide = flags & flag::BANDWIDTH_40 != 0;
    let zero = |position: usize| {
        buffer
            .get(2 * position..2 * position + 2)
            .is_some_and(|pair| pair == [0, 0])
    };
    let unknown = || {
        // `MAX_SUBCARRIERS` is far below what `positions` can name.
        let layout = layout::positions(subcarriers, first_word_invalid);
        let none = || layout::esp32(Fields::Legacy, Order::Fft, first_word_invalid);
        (layout.unwrap_or_else(none), None)
    };
    let (fields, order) = match subcarriers {
        64 => match layout::ascending_by_zeros(zero) {
            Some(fields) => (fields, Order::Ascending),
            None => (Fields::Legacy, Order::Fft),
        },
        // A 40 MHz field alone is told by its zeros, which nothing else has.
        128 => match layout::by_zeros(128, zero) {
            Some(found) => found,
            None if wide => return unknown(),
            None => (Fields::LegacyHt20, Order::Fft),
        },
        192 if wide && flags & flag::STBC == 0 => (Fields::LegacyHt40, Order::Fft),
        192 => (Fields::LegacyHt20Stbc, Order::Fft),
        306 => (Fields::LegacyHt40Stbc, Order::Fft),
        188 => (Fields::LegacyHt20StbcAbove, Order::Ascending),
        190 => (Fields::LegacyHt20StbcBelow, Order::Ascending),
        other => match layout::by_zeros(other, zero) {
            Some(found) => found,
            None => return unknown(),
        },
    };
    (
        layout::esp32(fields, order, first_word_invalid),
        Some(fields),
    )
}

#[cfg(test)]
mod tests;
