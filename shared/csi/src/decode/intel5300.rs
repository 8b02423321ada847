//! Intel 5300, logs of the Linux 802.11n CSI Tool (`.dat`).
//!
//! A record is a big-endian u16 length, a code, and that many bytes less one. Code `0xBB` is CSI: a header of 20 bytes, then a
//! little-endian bit stream of 30 subcarriers, each 3 bits of padding and, for every receive antenna (outer) and transmit
//! stream (inner), an i8 real and an i8 imaginary part. D. Halperin et al., Tool release: gathering 802.11n traces with channel
//! state information, CCR 41(1), 2011.
//!
//! Samples stay the stored integers. [`crate::Frame::scale`] times a sample is the channel in units of the noise: its square is the
//! signal-to-noise ratio of the subcarrier, thermal noise and quantisation taken together, as the tool's `get_scaled_csi`.
//! The record says neither channel nor transmitter. The WSR Toolbox (N. Jadhav et al., A wireless signal-based sensing
//! framework for robotics, IJRR 2022) puts 18 bytes in front of the CSI that say when and from whom, see [`Wsr`]. Of records
//! that are longer for another reason the bytes behind the CSI are passed over, and so are records with other codes.

use num_complex::Complex32;
use serde::Serialize;

use super::clock::DeviceClock;
use super::record::{Error, Shape, at, bad, receive_time, rssi_list, u16_at, u32_at};
use crate::layout::{Tones, tones};
use crate::{Frame, Ppdu, SampleFormat};

/// Code of a record that holds CSI.
pub const CODE_CSI: u8 = 0xBB;
/// Code of a record that holds a received packet.
pub const CODE_PAYLOAD: u8 = 0xC1;
const FORMAT: &str = "Intel 5300";
/// Length, code and header.
const HEAD: usize = 23;
const SUBCARRIERS: usize = 30;
/// What the WSR Toolbox adds to a record.
const WSR_BYTES: usize = 18;
/// Most bytes behind the CSI of a record that still shows the signature.
const MOST_BEHIND: usize = 64;
/// What the tool writes where the noise is unknown.
const NOISE_UNKNOWN: i8 = -127;
/// What the tool takes the noise for then, in dBm.
const NOISE_ASSUMED: f64 = -92.0;

/// Header of a record, as it stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Header {
    /// Microseconds, wraps after 71 min 35 s.
    pub timestamp_low_us: u32,
    /// Counts the records since the driver was loaded; wraps.
    pub bfee_count: u16,
    /// Receive antennas.
    pub n_rx: u8,
    /// Transmit streams.
    pub n_tx: u8,
    /// dB above -44 dBm less the gain, 0 where the antenna is not in use.
    pub rssi_a: u8,
    /// As `rssi_a`.
    pub rssi_b: u8,
    /// As `rssi_a`.
    pub rssi_c: u8,
    /// dBm; -127 where unknown.
    pub noise_dbm: i8,
    /// Gain in dB.
    pub agc_db: u8,
    /// Antenna of each receive stream, as the record says; applied where it is a permutation.
    pub antenna_perm: [u8; 3],
    /// Rate and flags: bit 8 HT, bit 11 40 MHz, low bits the MCS.
    pub rate_flags: u16,
    /// What the WSR Toolbox adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wsr: Option<Wsr>,
}

/// What the WSR Toolbox puts between the header and the CSI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wsr {
    /// Time of reception by the host's clock: seconds since the Unix epoch.
    pub seconds: u32,
    /// And microseconds.
    pub micros: u32,
    /// Address of the transmitter.
    pub transmitter: [u8; 6],
    /// Number of the packet.
    pub packet: u32,
}

/// How records are found.
pub const SHAPE: Shape = Shape {
    format: FORMAT,
    head: 3,
    length: |rest| Some(2 + usize::from(u16::from_be_bytes(at(rest, 0)?))),
    signature: |rest| {
        let count = |chains: u8| (1..=3).contains(&chains);
        match (rest.get(2), rest.get(11), rest.get(12), u16_at(rest, 19)) {
            (Some(&CODE_CSI), Some(&n_rx), Some(&n_tx), Some(bytes)) => {
                let expected = csi_bytes(n_rx, n_tx);
                let length = at(rest, 0).map_or(0, u16::from_be_bytes);
                count(n_rx)
                    && count(n_tx)
                    && usize::from(bytes) == expected
                    && (expected + HEAD - 2..=expected + HEAD - 2 + MOST_BEHIND)
                        .contains(&usize::from(length))
            }
            _ => false,
        }
    },
    possible: |rest| {
        let length = at(rest, 0).map_or(0, u16::from_be_bytes);
        length > 0 && matches!(rest.get(2), Some(&(CODE_CSI | CODE_PAYLOAD)))
    },
    judged: 3,
    other: |rest| at(rest, 0).map_or(0, u16::from_be_bytes) > 0,
};

/// Bytes of CSI that so many antennas and streams have.
fn csi_bytes(n_rx: u8, n_tx: u8) -> usize {
    (SUBCARRIERS * (usize::from(n_rx) * usize::from(n_tx) * 16 + 3)).div_ceil(8)
}

/// Decodes one record, its length included; `None` for one that holds no CSI. Time and sequence are the 32 and 16 bits of the
/// record; a [`Decoder`] unwraps them.
///
/// # Errors
/// Where the record is cut off, or its counts and length do not agree.
pub fn decode(record: &[u8]) -> Result<Option<(Header, Frame)>, Error> {
    let truncated = || Error::Truncated {
        format: FORMAT,
        expected: HEAD,
        found: record.len(),
    };
    if *record.get(2).ok_or_else(truncated)? != CODE_CSI {
        return Ok(None);
    }
    let (mut header, bytes) = read_header(record).ok_or_else(truncated)?;
    let (n_rx, n_tx) = (header.n_rx, header.n_tx);
    if !(1..=3).contains(&n_rx) || !(1..=3).contains(&n_tx) {
        let found = format!("{n_rx} x {n_tx}");
        return Err(bad(FORMAT, "antennas", "1 to 3 x 1 to 3", found));
    }
    let expected = csi_bytes(n_rx, n_tx);
    if usize::from(bytes) != expected {
        let expected = format!("{expected} for {n_rx} x {n_tx} antennas");
        return Err(bad(FORMAT, "CSI length", expected, bytes));
    }
    let wsr = (record.len() == HEAD + WSR_BYTES + expected)
        .then(|| read_wsr(record))
        .flatten();
    let begin = HEAD + wsr.as_ref().map_or(0, |_| WSR_BYTES);
    let csi = record
        .get(begin..begin + expected)
        .ok_or(Error::Truncated {
            format: FORMAT,
            expected: HEAD + expected,
            found: record.len(),
        })?;
    header.wsr = wsr;
    let samples = unpack(csi, n_rx, n_tx, permutation(&header.antenna_perm, n_rx));
    let wide = header.rate_flags & 0x800 != 0;
    let device_time_us = Some(u64::from(header.timestamp_low_us));
    let frame = Frame {
        sequence: u64::from(header.bfee_count),
        counted: true,
        device_time_us,
        receive_time_us: header
            .host_time_us()
            .unwrap_or_else(|| receive_time(device_time_us)),
        rssi_dbm: rssi_dbm(&header),
        noise_floor_dbm: Some(header.noise_dbm).filter(|noise| *noise != NOISE_UNKNOWN),
        agc: Some(header.agc_db),
        frequency_mhz: None,
        channel: None,
        bandwidth_mhz: Some(if wide { 40 } else { 20 }),
        ppdu: if header.rate_flags & 0x100 != 0 {
            Ppdu::Ht
        } else {
            Ppdu::NonHt
        },
        antennas: n_rx * n_tx,
        transmit_streams: n_tx,
        chain: None,
        layout: tones(
            if wide {
                Tones::Grouped40
            } else {
                Tones::Grouped20
            },
            false,
        ),
        scale: scale(&header, &samples),
        samples,
        format: SampleFormat::Ci8,
        raw_size: u32::try_from(record.len()).unwrap_or(u32::MAX),
        transmitter: header.wsr.as_ref().map(|wsr| wsr.transmitter),
        simulated: false,
    };
    Ok(Some((header, frame)))
}

/// The header, and the length of the CSI that it states.
fn read_header(record: &[u8]) -> Option<(Header, u16)> {
    let [n_rx, n_tx, rssi_a, rssi_b, rssi_c, noise, agc_db, select]: [u8; 8] = at(record, 11)?;
    let header = Header {
        timestamp_low_us: u32_at(record, 3)?,
        bfee_count: u16_at(record, 7)?,
        n_rx,
        n_tx,
        rssi_a,
        rssi_b,
        rssi_c,
        noise_dbm: noise.cast_signed(),
        agc_db,
        antenna_perm: [select & 3, select >> 2 & 3, select >> 4 & 3],
        rate_flags: u16_at(record, 21)?,
        wsr: None,
    };
    Some((header, u16_at(record, 19)?))
}

/// `None` where what stands there is no time.
fn read_wsr(record: &[u8]) -> Option<Wsr> {
    Some(Wsr {
        seconds: u32_at(record, HEAD).filter(|seconds| *seconds > 0)?,
        micros: u32_at(record, HEAD + 4).filter(|micros| *micros < 1_000_000)?,
        transmitter: at(record, HEAD + 8)?,
        packet: u32_at(record, HEAD + 14)?,
    })
}

/// Antenna of each receive stream: what the record says where that is a permutation, otherwise the order of the streams.
fn permutation(said: &[u8; 3], n_rx: u8) -> [u8; 3] {
    let mut seen = 0_u8;
    for antenna in said.iter().take(n_rx.into()) {
        seen |= 1 << antenna;
    }
    if seen == (1 << n_rx) - 1 {
        *said
    } else {
        [0, 1, 2]
    }
}

/// CSI of a bit stream, antenna-major. `antennas`: where each receive stream goes. Bits that are missing read as 0; the caller
/// has looked at the length.
pub(super) fn unpack(csi: &[u8], n_rx: u8, n_tx: u8, antennas: [u8; 3]) -> Vec<Complex32> {
    let (n_rx, n_tx) = (usize::from(n_rx), usize::from(n_tx));
    let mut samples = vec![Complex32::default(); SUBCARRIERS * n_rx * n_tx];
    let mut bit = 0;
    for subcarrier in 0..SUBCARRIERS {
        bit += 3;
        let antennas = antennas.into_iter().map(usize::from).chain(3..);
        for antenna in antennas.take(n_rx) {
            for stream in 0..n_tx {
                let [low, mid, high] = at(csi, bit / 8).unwrap_or_else(|| {
                    // Behind the last sample of the stream there may be no third byte.
                    let [low, mid] = at(csi, bit / 8).unwrap_or_default();
                    [low, mid, 0]
                });
                let bits = u32::from_le_bytes([low, mid, high, 0]) >> (bit % 8);
                let [re, im, ..] = bits.to_le_bytes();
                let place = (antenna * n_tx + stream) * SUBCARRIERS + subcarrier;
                if let Some(sample) = samples.get_mut(place) {
                    *sample =
                        Complex32::new(f32::from(re.cast_signed()), f32::from(im.cast_signed()));
                }
                bit += 16;
            }
        }
    }
    samples
}

impl Header {
    /// Microseconds since the Unix epoch by the host's clock, where the record has them.
    fn host_time_us(&self) -> Option<i64> {
        let wsr = self.wsr.as_ref()?;
        Some(i64::from(wsr.seconds) * 1_000_000 + i64::from(wsr.micros))
    }

    fn rssi(&self) -> impl Iterator<Item = u8> {
        [self.rssi_a, self.rssi_b, self.rssi_c]
            .into_iter()
            .filter(|rssi| *rssi != 0)
    }

    /// Power that all antennas received together, in dBm; `None` where none says so.
    #[must_use]
    pub fn total_rssi_dbm(&self) -> Option<f64> {
        let power: f64 = self
            .rssi()
            .map(|rssi| 10_f64.powf(f64::from(rssi) / 10.0))
            .sum();
        (power > 0.0).then(|| 10.0 * power.log10() - 44.0 - f64::from(self.agc_db))
    }
}

fn rssi_dbm(header: &Header) -> Vec<i8> {
    let each = header
        .rssi()
        .map(|rssi| i32::from(rssi) - 44 - i32::from(header.agc_db));
    // Of the order of -100 to 0.
    #[allow(clippy::cast_possible_truncation)]
    let together = header.total_rssi_dbm().map(|dbm| dbm.round() as i32);
    rssi_list(each, header.n_rx, together)
}

/// Factor from the stored samples to the channel in units of the noise, as `get_scaled_csi` of the tool computes it:
/// `sqrt(s / (thermal + s * n_rx * n_tx))` with `s` the received power over the mean power of a subcarrier, and `sqrt(2)` or
/// 4.5 dB more for two and three streams, over which the transmitter divides its power. `None` where no power was measured.
#[must_use]
pub fn scale(header: &Header, samples: &[Complex32]) -> Option<f32> {
    // Whole numbers far below 2^24: exact.
    let sum: f32 = samples.iter().map(Complex32::norm_sqr).sum();
    let rssi = header.total_rssi_dbm()?;
    if sum == 0.0 {
        return None;
    }
    let power = 10_f64.powf(rssi / 10.0) / (f64::from(sum) / 30.0);
    let noise_dbm = match header.noise_dbm {
        NOISE_UNKNOWN => NOISE_ASSUMED,
        noise => f64::from(noise),
    };
    let antennas = f64::from(header.n_rx) * f64::from(header.n_tx);
    let noise = 10_f64.powf(noise_dbm / 10.0) + power * antennas;
    let streams = match header.n_tx {
        2 => 2.0,
        3 => 10_f64.powf(0.45),
        _ => 1.0,
    };
    // A factor near 1.
    #[allow(clippy::cast_possible_truncation)]
    let scale = (power / noise * streams).sqrt() as f32;
    (scale.is_finite() && scale > 0.0).then_some(scale)
}

/// Unwraps time and sequence through a log.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    clock: DeviceClock,
    /// Newest count, and where it stands.
    count: Option<(u16, u64)>,
}

impl Decoder {
    /// Steps back of the counter up to this are records that come late, or twice.
    const LATE: u16 = 64;

    /// Decodes the next record.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn record(&mut self, record: &[u8]) -> Result<Option<(Header, Frame)>, Error> {
        let Some((header, mut frame)) = decode(record)? else {
            return Ok(None);
        };
        let time = self.clock.unwrap(header.timestamp_low_us);
        frame.device_time_us = Some(time);
        if header.wsr.is_none() {
            frame.receive_time_us = receive_time(Some(time));
        }
        frame.sequence = self.sequence(header.bfee_count);
        Ok(Some((header, frame)))
    }

    fn sequence(&mut self, count: u16) -> u64 {
        let Some((newest, sequence)) = self.count else {
            self.count = Some((count, u64::from(count)));
            return u64::from(count);
        };
        let late = newest.wrapping_sub(count);
        if late > 0 && late <= Self::LATE {
            return sequence.saturating_sub(late.into());
        }
        let sequence = sequence + u64::from(count.wrapping_sub(newest));
        self.count = Some((count, sequence));
        sequence
    }

    /// How often the clock was seen to start again.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.clock.restarts()
    }
}
