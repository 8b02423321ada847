//! Atheros CSI Tool (`.dat`): QCA9300 and its relatives, on PCs and on OpenWrt routers.
//!
//! A record is a u16 length, a header of 25 bytes, the CSI, and the received packet, in the byte order of the machine that
//! wrote it: little-endian on PCs, big-endian on MIPS routers. The CSI is a little-endian bit stream on both: for each
//! subcarrier, transmit stream (outer) and receive chain (inner) 10 bits imaginary, 10 bits real. Y. Xie, Z. Li, M. Li, Precise
//! power delay profiling with commodity WiFi, MobiCom 2015.
//!
//! The chip gives RSSI in dB above a noise floor that it does not tell. It is taken as -95 dBm, as its driver (ath9k) does; the
//! frame's own noise floor is absent where the record says 0.

use num_complex::Complex32;
use serde::Serialize;

use super::record::{Error, Shape, WideClock, at, bad, receive_time, rssi_list, transmitter_of};
use crate::frame::channel_of;
use crate::layout::{Tones, tones};
use crate::{Frame, Ppdu, SampleFormat};

const FORMAT: &str = "Atheros";
/// Length and header.
const HEAD: usize = 27;
/// Noise floor that the driver counts RSSI from, in dBm (ath9k, `ATH_DEFAULT_NOISE_FLOOR`).
const NOMINAL_NOISE: i32 = -95;
/// RSSI of a chain that is not there.
const RSSI_ABSENT: u8 = 128;

/// Byte order of the machine that wrote a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// A PC.
    Little,
    /// A MIPS router.
    Big,
}

/// Header of a record, as it stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Header {
    /// Microseconds.
    pub timestamp_us: u64,
    /// Bytes of CSI; 0 where the packet gave none.
    pub csi_len: u16,
    /// Frequency of the channel in MHz.
    pub channel_mhz: u16,
    /// Error of the receiver, 0 for none.
    pub err: u8,
    /// Noise floor; 0 where the driver does not tell.
    pub noise: u8,
    /// Rate code; from 128 on an MCS.
    pub rate: u8,
    /// 0: 20 MHz, 1: 40 MHz.
    pub bandwidth: u8,
    /// Subcarriers.
    pub num_tones: u8,
    /// Receive chains.
    pub nr: u8,
    /// Transmit streams.
    pub nc: u8,
    /// dB above the noise floor, all chains.
    pub rssi: u8,
    /// The same of each chain; 128 where it is not there.
    pub rssi_chain: [u8; 3],
    /// Bytes of the received packet.
    pub payload_len: u16,
    /// What the record's length field says.
    pub record_len: u16,
}

impl ByteOrder {
    fn u16(self, bytes: &[u8], offset: usize) -> Option<u16> {
        let bytes = at(bytes, offset)?;
        Some(match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        })
    }

    fn u64(self, bytes: &[u8], offset: usize) -> Option<u64> {
        let bytes = at(bytes, offset)?;
        Some(match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        })
    }

    /// How records of this order are found.
    #[must_use]
    pub fn shape(self) -> Shape {
        match self {
            Self::Little => Shape {
                format: FORMAT,
                head: 2,
                length: |rest| Some(2 + usize::from(Self::Little.u16(rest, 0)?)),
                signature: |rest| signature(rest, Self::Little),
                possible: |rest| possible(rest, Self::Little),
                judged: HEAD,
                other: |_| false,
            },
            Self::Big => Shape {
                format: FORMAT,
                head: 2,
                length: |rest| Some(2 + usize::from(Self::Big.u16(rest, 0)?)),
                signature: |rest| signature(rest, Self::Big),
                possible: |rest| possible(rest, Self::Big),
                judged: HEAD,
                other: |_| false,
            },
        }
    }

    /// The order in which the first records make sense, and the other one does not.
    #[must_use]
    pub fn detect(log: &[u8]) -> Option<Self> {
        let begins = |order: &Self| order.shape().begins(log);
        [Self::Little, Self::Big].into_iter().find(begins)
    }
}

/// A record with CSI whose counts and lengths all agree.
fn signature(rest: &[u8], order: ByteOrder) -> bool {
    read_header(rest, order).is_some_and(|header| holds_csi(&header) && lengths_agree(&header))
}

/// A record whose lengths agree, with CSI or without; or one with CSI that keeps another part of the packet than it says.
fn possible(rest: &[u8], order: ByteOrder) -> bool {
    read_header(rest, order).is_some_and(|header| {
        let whole = HEAD - 2 + usize::from(header.csi_len) <= usize::from(header.record_len);
        match lengths_agree(&header) {
            true => header.csi_len == 0 || matches!(header.num_tones, 56 | 114),
            false => holds_csi(&header) && whole,
        }
    })
}

/// Whether the counts make the length of the CSI.
fn holds_csi(header: &Header) -> bool {
    header.csi_len > 0
        && matches!(header.num_tones, 56 | 114)
        && (1..=4).contains(&header.nr)
        && (1..=4).contains(&header.nc)
        && usize::from(header.csi_len) == csi_bytes(header)
}

fn lengths_agree(header: &Header) -> bool {
    let sum = HEAD - 2 + usize::from(header.csi_len) + usize::from(header.payload_len);
    usize::from(header.record_len) == sum
}

fn csi_bytes(header: &Header) -> usize {
    let samples = usize::from(header.num_tones) * usize::from(header.nr) * usize::from(header.nc);
    packed_bytes(samples)
}

/// Bytes that so many samples take, packed.
pub(super) fn packed_bytes(samples: usize) -> usize {
    (samples * 20).div_ceil(8)
}

fn read_header(record: &[u8], order: ByteOrder) -> Option<Header> {
    let [
        err,
        noise,
        rate,
        bandwidth,
        num_tones,
        nr,
        nc,
        rssi,
        a,
        b,
        c,
    ]: [u8; 11] = at(record, 14)?;
    Some(Header {
        timestamp_us: order.u64(record, 2)?,
        csi_len: order.u16(record, 10)?,
        channel_mhz: order.u16(record, 12)?,
        err,
        noise,
        rate,
        bandwidth,
        num_tones,
        nr,
        nc,
        rssi,
        rssi_chain: [a, b, c],
        payload_len: order.u16(record, 25)?,
        record_len: order.u16(record, 0)?,
    })
}

/// Decodes one record, its length included; `None` for one without CSI. The time is as the record has it; a [`Decoder`]
/// unwraps it. The sequence is 0: the format counts nothing.
///
/// # Errors
/// Where the record is cut off, or its counts and length do not agree.
pub fn decode(record: &[u8], order: ByteOrder) -> Result<Option<(Header, Frame)>, Error> {
    let truncated = |expected| Error::Truncated {
        format: FORMAT,
        expected,
        found: record.len(),
    };
    let header = read_header(record, order).ok_or_else(|| truncated(HEAD))?;
    if header.csi_len == 0 {
        return Ok(None);
    }
    let (nr, nc) = (header.nr, header.nc);
    let antennas = nr.checked_mul(nc).filter(|antennas| *antennas > 0);
    let antennas = antennas.ok_or_else(|| {
        bad(
            FORMAT,
            "chains x streams",
            "1 to 255",
            format!("{nr} x {nc}"),
        )
    })?;
    let kind = match header.num_tones {
        56 => Tones::Ht20,
        114 => Tones::Ht40,
        other => return Err(bad(FORMAT, "tones", "56 or 114", other)),
    };
    let expected = csi_bytes(&header);
    if usize::from(header.csi_len) != expected {
        let expected = format!("{expected} for {} x {nr} x {nc} samples", header.num_tones);
        return Err(bad(FORMAT, "CSI length", expected, header.csi_len));
    }
    let end = HEAD + expected;
    let csi = record.get(HEAD..end).ok_or_else(|| truncated(end))?;
    let payload = record.get(end..).unwrap_or_default();
    let frequency = u32::from(header.channel_mhz);
    let device_time_us = Some(header.timestamp_us);
    let noise = header.noise.cast_signed();
    let frame = Frame {
        sequence: 0,
        counted: false,
        device_time_us,
        receive_time_us: receive_time(device_time_us),
        rssi_dbm: rssi_dbm(&header),
        noise_floor_dbm: Some(noise).filter(|noise| *noise < 0),
        agc: None,
        frequency_mhz: Some(frequency).filter(|frequency| *frequency > 0),
        channel: channel_of(frequency),
        bandwidth_mhz: Some(if header.bandwidth == 0 { 20 } else { 40 }),
        ppdu: if header.rate >= 128 {
            Ppdu::Ht
        } else {
            Ppdu::NonHt
        },
        antennas,
        transmit_streams: nc,
        chain: None,
        layout: tones(kind, false),
        scale: None,
        samples: unpack(csi, header.num_tones.into(), nr, nc),
        format: SampleFormat::Ci16,
        raw_size: u32::try_from(record.len()).unwrap_or(u32::MAX),
        transmitter: transmitter_of(payload),
        simulated: false,
    };
    Ok(Some((header, frame)))
}

fn rssi_dbm(header: &Header) -> Vec<i8> {
    let floor = match header.noise.cast_signed() {
        noise if noise < 0 => i32::from(noise),
        _ => NOMINAL_NOISE,
    };
    let absolute = |rssi: u8| (rssi != RSSI_ABSENT).then(|| i32::from(rssi.cast_signed()) + floor);
    let each = header.rssi_chain.into_iter().filter_map(absolute);
    rssi_list(each, header.nr, absolute(header.rssi))
}

/// CSI of a bit stream, antenna-major: for each tone, stream and chain 10 bits imaginary and 10 bits real.
pub(super) fn unpack(csi: &[u8], tones: usize, chains: u8, streams: u8) -> Vec<Complex32> {
    let (chains, streams) = (usize::from(chains), usize::from(streams));
    let mut samples = vec![Complex32::default(); tones * chains * streams];
    let (whole, rest) = csi.as_chunks::<5>();
    let mut last = [0; 5];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    // Two samples in five bytes.
    let mut pairs = whole.iter().chain([&last]).flat_map(|[a, b, c, d, e]| {
        let bits = u64::from_le_bytes([*a, *b, *c, *d, *e, 0, 0, 0]);
        [bits, bits >> 20].map(|bits| Complex32::new(ten_bits(bits >> 10), ten_bits(bits)))
    });
    for tone in 0..tones {
        for stream in 0..streams {
            for chain in 0..chains {
                let place = (chain * streams + stream) * tones + tone;
                if let (Some(sample), Some(pair)) = (samples.get_mut(place), pairs.next()) {
                    *sample = pair;
                }
            }
        }
    }
    samples
}

/// The lowest ten bits as a signed number.
fn ten_bits(bits: u64) -> f32 {
    let bits = (bits & 0x3FF) as u16;
    f32::from((bits << 6).cast_signed() >> 6)
}

/// Unwraps time through a log, and counts its frames.
#[derive(Clone, Debug)]
pub struct Decoder {
    order: ByteOrder,
    clock: WideClock,
    frames: u64,
}

impl Decoder {
    /// For a log of this byte order.
    #[must_use]
    pub fn new(order: ByteOrder) -> Self {
        Self {
            order,
            clock: WideClock::default(),
            frames: 0,
        }
    }

    /// Byte order of the log.
    #[must_use]
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// Decodes the next record.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn record(&mut self, record: &[u8]) -> Result<Option<(Header, Frame)>, Error> {
        let Some((header, mut frame)) = decode(record, self.order)? else {
            return Ok(None);
        };
        let time = self.clock.unwrap(header.timestamp_us);
        frame.device_time_us = Some(time);
        frame.receive_time_us = receive_time(Some(time));
        frame.sequence = self.frames;
        self.frames += 1;
        Ok(Some((header, frame)))
    }

    /// How often the clock was seen to start again.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.clock.restarts()
    }
}
