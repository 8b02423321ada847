//! Nexmon CSI: what patched Broadcom firmware sends, one UDP datagram (port 5500) for each packet, core and spatial stream.
//!
//! Little-endian: 0 u16 magic `0x1111`; 2 i8 RSSI; 3 u8 frame control (both `0x11` in the older header, which has neither);
//! 4 six bytes, the transmitter's MAC address; 10 u16 sequence control of 802.11; 12 u16 core (bits 0 to 2) and spatial
//! stream (bits 3 to 5), byte-swapped by some routers (a value above 63); 14 u16 chanspec; 16 u16 chip version; 18 the bins,
//! four bytes each. Some firmware adds four bytes at the end.
//!
//! **Number format.** BCM4339 and 43455c0 write i16 pairs, the real part first. BCM4358 and 4366c0 write packed floats
//! ([`float`]), of which only relative values within a frame mean something. The chip version says which: `0x0001` is
//! 4339, `0x0065` 43455c0, `0x006A` and `0xE834` 4366c0. For every other version, `0xDEAD` of the 4358 among them, the
//! words themselves say it: a packed word of the 4358 never uses its top 9 bits and one of the 4366c0 never its top 2,
//! where i16 pairs have the sign and magnitude of the imaginary part, in each of the 64 bins or more. A caller who knows
//! better forces the chip.
//!
//! **Sequence.** Sequence control counts what a transmitter sends to anybody, separately for each traffic class, wraps at
//! 4096, is shared by all cores and streams of one packet, and there are many transmitters in one capture: gaps are no
//! losses of ours. So [`Frame::counted`] is false, [`Frame::sequence`] is the number in the stream, and [`Header`] keeps the
//! value.
//!
//! **Antennas.** Each datagram is one frame of one antenna, with its core and stream in [`Frame::chain`].

mod chanspec;
mod chip;
pub mod float;
mod write;

use num_complex::Complex32;

use crate::frame::Chain;
use crate::layout;
use crate::{Frame, Ppdu, SampleFormat};

pub use chanspec::Chanspec;
pub use chip::{Chip, UnknownChip};
pub use write::{EncodeError, encode};

/// Port that the firmware sends to and from.
pub const PORT: u16 = 5500;
/// First two bytes.
pub const MAGIC: u16 = 0x1111;
/// Bytes before the bins.
pub const HEADER_BYTES: usize = 18;
/// Bytes that some firmware adds behind the bins.
const TRAILER_BYTES: usize = 4;

/// Why a datagram is no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Shorter than a header.
    #[error("truncated: expected {HEADER_BYTES} bytes of Nexmon header, found {found}")]
    Truncated {
        /// Bytes that there are.
        found: usize,
    },
    /// Another protocol.
    #[error("wrong magic at offset 0: expected 0x1111, found {found:#06x}")]
    WrongMagic {
        /// The first two bytes.
        found: u16,
    },
    /// The chanspec names no bandwidth of 20 to 160 MHz.
    #[error(
        "chanspec at offset 14: expected a bandwidth of 20, 40, 80 or 160 MHz, found {found:#06x}"
    )]
    Bandwidth {
        /// The chanspec.
        found: u16,
    },
    /// Another number of bytes than the bandwidth takes.
    #[error(
        "{found} bytes: expected {expected} (or 4 more) for the {bandwidth_mhz} MHz of chanspec {chanspec:#06x}"
    )]
    Length {
        /// Bytes that there are.
        found: usize,
        /// Bytes of header and bins.
        expected: usize,
        /// What the chanspec says.
        bandwidth_mhz: u16,
        /// The chanspec.
        chanspec: u16,
    },
}

impl Error {
    /// A stable name for counting.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::WrongMagic { .. } => "wrong_magic",
            Self::Bandwidth { .. } => "bad_bandwidth",
            Self::Length { .. } => "bad_length",
        }
    }
}

/// The header as it stands in the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Byte 2: RSSI in dBm, or `0x11`.
    pub rssi: i8,
    /// Byte 3: first byte of the frame control field, or `0x11`.
    pub frame_control: u8,
    /// MAC address of the transmitter.
    pub transmitter: [u8; 6],
    /// Sequence control: sequence number in the upper 12 bits, fragment number in the lower 4.
    pub sequence_control: u16,
    /// Core and stream, as written.
    pub core_stream: u16,
    /// Channel, bandwidth and band, as written.
    pub chanspec: u16,
    /// Version of the chip.
    pub chip_version: u16,
}

impl Header {
    /// Reads the header of a datagram.
    ///
    /// # Errors
    /// Where the datagram is shorter, or of another protocol.
    pub fn read(datagram: &[u8]) -> Result<Self, Error> {
        let found = datagram.len();
        let header = datagram.first_chunk::<HEADER_BYTES>();
        let [
            magic_low,
            magic_high,
            rssi,
            frame_control,
            m0,
            m1,
            m2,
            m3,
            m4,
            m5,
            rest @ ..,
        ] = *header.ok_or(Error::Truncated { found })?;
        let magic = u16::from_le_bytes([magic_low, magic_high]);
        if magic != MAGIC {
            return Err(Error::WrongMagic { found: magic });
        }
        let [s0, s1, c0, c1, n0, n1, v0, v1] = rest;
        Ok(Self {
            rssi: rssi.cast_signed(),
            frame_control,
            transmitter: [m0, m1, m2, m3, m4, m5],
            sequence_control: u16::from_le_bytes([s0, s1]),
            core_stream: u16::from_le_bytes([c0, c1]),
            chanspec: u16::from_le_bytes([n0, n1]),
            chip_version: u16::from_le_bytes([v0, v1]),
        })
    }

    /// RSSI in dBm, where the firmware writes it.
    #[must_use]
    pub fn rssi_dbm(&self) -> Option<i8> {
        let older = self.rssi == 0x11 && self.frame_control == 0x11;
        (!older).then_some(self.rssi)
    }

    /// Core and spatial stream.
    #[must_use]
    pub fn chain(&self) -> Chain {
        let word = if self.core_stream > 63 {
            self.core_stream.swap_bytes()
        } else {
            self.core_stream
        };
        let [low, _] = word.to_le_bytes();
        Chain {
            core: low & 7,
            stream: low >> 3 & 7,
        }
    }
}

/// Whether a datagram to this port is Nexmon's: by its magic number on [`PORT`]; elsewhere, as behind a relay, only where all of
/// it fits.
#[must_use]
pub fn recognised(port: u16, datagram: &[u8]) -> bool {
    let Ok(header) = Header::read(datagram) else {
        // A cut datagram is still one; its error is for the decoder to name.
        return port == PORT && datagram.starts_with(&MAGIC.to_le_bytes());
    };
    port == PORT || bins(&header, datagram).is_ok()
}

/// Channel and the bytes of the bins.
fn bins<'a>(header: &Header, datagram: &'a [u8]) -> Result<(Chanspec, &'a [[u8; 4]]), Error> {
    let found = datagram.len();
    let chanspec = Chanspec::read(header.chanspec).ok_or(Error::Bandwidth {
        found: header.chanspec,
    })?;
    let (all, _) = datagram
        .get(HEADER_BYTES..)
        .unwrap_or_default()
        .as_chunks::<4>();
    let expected = HEADER_BYTES + 4 * chanspec.bins();
    let fits = found == expected || found == expected + TRAILER_BYTES;
    match all.get(..chanspec.bins()).filter(|_| fits) {
        Some(bins) => Ok((chanspec, bins)),
        None => Err(Error::Length {
            found,
            expected,
            bandwidth_mhz: chanspec.bandwidth_mhz,
            chanspec: header.chanspec,
        }),
    }
}

/// Decodes the payload of one UDP datagram, which was received at `receive_time_us` (microseconds since the Unix epoch) and
/// is number `sequence` of its stream. `chip` forces the number format.
///
/// Samples are the integers that the format holds, for packed floats those that they unpack to; one antenna, `Ci16`.
///
/// # Errors
/// Where it is no such datagram, or of a length that its bandwidth does not have.
pub fn decode(
    datagram: &[u8],
    chip: Option<Chip>,
    sequence: u64,
    receive_time_us: i64,
) -> Result<(Header, Frame), Error> {
    let header = Header::read(datagram)?;
    let (chanspec, bins) = bins(&header, datagram)?;
    let layout = layout::nexmon(chanspec.bandwidth_mhz).ok_or(Error::Bandwidth {
        found: header.chanspec,
    })?;
    let chip = chip.unwrap_or_else(|| Chip::find(header.chip_version, bins));
    let mut samples: Vec<Complex32> = Vec::with_capacity(bins.len());
    match chip.packing() {
        None => samples.extend(bins.iter().map(|[r0, r1, i0, i1]| {
            let part = |low, high| f32::from(i16::from_le_bytes([low, high]));
            Complex32::new(part(*r0, *r1), part(*i0, *i1))
        })),
        Some(packing) => packing.unpack(bins, &mut samples),
    }
    let frame = Frame {
        sequence,
        counted: false,
        device_time_us: None,
        receive_time_us,
        rssi_dbm: header.rssi_dbm().into_iter().collect(),
        noise_floor_dbm: None,
        agc: None,
        frequency_mhz: chanspec.frequency_mhz,
        channel: chanspec.channel,
        bandwidth_mhz: Some(chanspec.bandwidth_mhz),
        ppdu: Ppdu::Unknown,
        antennas: 1,
        transmit_streams: 1,
        scale: None,
        layout,
        samples,
        format: SampleFormat::Ci16,
        raw_size: u32::try_from(datagram.len()).unwrap_or(u32::MAX),
        transmitter: Some(header.transmitter),
        simulated: false,
        chain: Some(header.chain()),
    };
    Ok((header, frame))
}

#[cfg(test)]
mod tests;
