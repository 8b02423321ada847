//! FeitCSI (`.csi`): Intel AX200, AX210 and their successors, all packet formats from legacy to EHT.
//!
//! A record is the firmware's header of 272 bytes, little-endian, and its CSI: for each receive chain, transmit stream and
//! subcarrier an i16 real and an i16 imaginary part. FeitCSI, <https://feitcsi.kuskosoft.com>. The card writes zero
//! at the pilots; they are stored and counted as no measurement. The record does not say the channel.

use num_complex::Complex32;
use serde::Serialize;

use super::clock::DeviceClock;
use super::record::{Error, Shape, at, bad, push_i16_pairs, receive_time, rssi_list, u32_at};
use crate::layout::{Tones, positions, tones};
use crate::{Frame, Layout, Ppdu, SampleFormat};

const FORMAT: &str = "FeitCSI";
/// Bytes of the header.
pub const HEAD: usize = 272;
/// More subcarriers than any packet has.
const MOST_SUBCARRIERS: u32 = 4096;

/// Header of a record, as far as its fields are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Header {
    /// Bytes of CSI.
    pub csi_bytes: u32,
    /// Clock of 320 MHz, wraps.
    pub ftm_clock: u32,
    /// Receive chains.
    pub n_rx: u8,
    /// Transmit streams.
    pub n_tx: u8,
    /// Subcarriers.
    pub n_sub: u32,
    /// RSSI of the first chain in dBm, negated.
    pub rssi_1_neg_dbm: u32,
    /// The same of the second.
    pub rssi_2_neg_dbm: u32,
    /// Address of the transmitter, in hexadecimal.
    pub source_mac: String,
    /// Clock in microseconds, wraps.
    pub mu_clock_us: u32,
    /// Rate and flags: bits 8 to 10 the packet format, bits 11 to 13 the width.
    pub rate_n_flags: u32,
}

/// How records are found.
pub const SHAPE: Shape = Shape {
    format: FORMAT,
    head: HEAD,
    length: |rest| {
        rest.get(..HEAD)?;
        Some(HEAD.saturating_add(u32_at(rest, 0)? as usize))
    },
    signature,
    possible: |rest| {
        // A header without CSI.
        let counts = (u32_at(rest, 0), u32_at(rest, 52));
        rest.len() >= HEAD && matches!(counts, (Some(0), Some(0..=MOST_SUBCARRIERS)))
    },
    judged: HEAD,
    other: |_| false,
};

/// The counts of the first bytes make the length of the CSI.
fn signature(rest: &[u8]) -> bool {
    let (Some(bytes), Some([n_rx, n_tx]), Some(n_sub)) =
        (u32_at(rest, 0), at(rest, 46), u32_at(rest, 52))
    else {
        return false;
    };
    (1..=4).contains(&n_rx)
        && (1..=8).contains(&n_tx)
        && (1..=MOST_SUBCARRIERS).contains(&n_sub)
        && bytes == 4 * u32::from(n_rx) * u32::from(n_tx) * n_sub
}

/// Width in MHz and format of the packet that rate and flags name.
pub(super) fn packet(rate_n_flags: u32) -> (Option<u16>, Ppdu) {
    let width = match rate_n_flags >> 11 & 7 {
        width @ 0..=4 => Some(20 << width),
        _ => None,
    };
    let ppdu = match rate_n_flags >> 8 & 7 {
        0 | 1 => Ppdu::NonHt,
        2 => Ppdu::Ht,
        3 => Ppdu::Vht,
        4 => Ppdu::He,
        5 => Ppdu::Eht,
        _ => Ppdu::Unknown,
    };
    (width, ppdu)
}

/// Layout of what these cards report, the pilots masked; positions where the number of subcarriers is none that is known.
pub(super) fn layout_of(
    subcarriers: usize,
    ppdu: Ppdu,
    bandwidth_mhz: Option<u16>,
) -> Option<std::sync::Arc<Layout>> {
    match Tones::of(subcarriers, ppdu, bandwidth_mhz.unwrap_or(0)) {
        Some(known) => Some(tones(known, true)),
        None => positions(subcarriers, false),
    }
}

fn read_header(record: &[u8]) -> Option<Header> {
    record.get(..HEAD)?;
    let [n_rx, n_tx] = at(record, 46)?;
    Some(Header {
        csi_bytes: u32_at(record, 0)?,
        ftm_clock: u32_at(record, 8)?,
        n_rx,
        n_tx,
        n_sub: u32_at(record, 52)?,
        rssi_1_neg_dbm: u32_at(record, 60)?,
        rssi_2_neg_dbm: u32_at(record, 64)?,
        source_mac: hex::encode(at::<6>(record, 68)?),
        mu_clock_us: u32_at(record, 88)?,
        rate_n_flags: u32_at(record, 92)?,
    })
}

/// Decodes one record; `None` for one without CSI. The time is the 32 bits of the record; a [`Decoder`] unwraps them. The
/// sequence is 0: the format counts nothing.
///
/// # Errors
/// Where the record is cut off, or its counts and length do not agree.
pub fn decode(record: &[u8]) -> Result<Option<(Header, Frame)>, Error> {
    let truncated = |expected| Error::Truncated {
        format: FORMAT,
        expected,
        found: record.len(),
    };
    let header = read_header(record).ok_or_else(|| truncated(HEAD))?;
    if header.csi_bytes == 0 {
        return Ok(None);
    }
    let (n_rx, n_tx) = (header.n_rx, header.n_tx);
    let antennas = n_rx.checked_mul(n_tx).filter(|antennas| *antennas > 0);
    let antennas = antennas.ok_or_else(|| {
        bad(
            FORMAT,
            "chains x streams",
            "1 to 255",
            format!("{n_rx} x {n_tx}"),
        )
    })?;
    let subcarriers = Some(header.n_sub).filter(|n_sub| *n_sub <= MOST_SUBCARRIERS);
    let subcarriers = subcarriers
        .ok_or_else(|| bad(FORMAT, "subcarriers", "at most 4096", header.n_sub))?
        as usize;
    let expected = 4 * usize::from(antennas) * subcarriers;
    if header.csi_bytes as usize != expected {
        let expected = format!("{expected} for {n_rx} x {n_tx} x {subcarriers} samples");
        return Err(bad(FORMAT, "CSI length", expected, header.csi_bytes));
    }
    let end = HEAD + expected;
    let csi = record.get(HEAD..end).ok_or_else(|| truncated(end))?;
    let (bandwidth_mhz, ppdu) = packet(header.rate_n_flags);
    let layout = layout_of(subcarriers, ppdu, bandwidth_mhz)
        .ok_or_else(|| bad(FORMAT, "subcarriers", "at least one", subcarriers))?;
    let mut samples: Vec<Complex32> = Vec::with_capacity(expected / 4);
    push_i16_pairs(csi, &mut samples);
    let device_time_us = Some(u64::from(header.mu_clock_us));
    let frame = Frame {
        sequence: 0,
        counted: false,
        device_time_us,
        receive_time_us: receive_time(device_time_us),
        rssi_dbm: rssi_dbm(&header),
        noise_floor_dbm: None,
        agc: None,
        frequency_mhz: None,
        channel: None,
        bandwidth_mhz,
        ppdu,
        antennas,
        transmit_streams: n_tx,
        chain: None,
        layout,
        scale: None,
        samples,
        format: SampleFormat::Ci16,
        raw_size: u32::try_from(record.len()).unwrap_or(u32::MAX),
        transmitter: at(record, 68).filter(|mac| *mac != [0; 6]),
        simulated: false,
    };
    Ok(Some((header, frame)))
}

fn rssi_dbm(header: &Header) -> Vec<i8> {
    let each = [header.rssi_1_neg_dbm, header.rssi_2_neg_dbm]
        .into_iter()
        .filter(|negated| (1..=127).contains(negated))
        .map(|negated| -i32::try_from(negated).unwrap_or(0));
    let strongest = each.clone().max();
    rssi_list(each, header.n_rx, strongest)
}

/// Unwraps time through a log, and counts its frames.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    clock: DeviceClock,
    frames: u64,
}

impl Decoder {
    /// Decodes the next record.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn record(&mut self, record: &[u8]) -> Result<Option<(Header, Frame)>, Error> {
        let Some((header, mut frame)) = decode(record)? else {
            return Ok(None);
        };
        let time = self.clock.unwrap(header.mu_clock_us);
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
