//! PicoScenes (`.csi`): Intel 5300, QCA9300, Intel AX200 and AX210, and software radios behind one container.
//!
//! A record is a u32 length that does not count itself, a magic number, a version and the number of its segments; then the
//! segments, each with name and version, and the received packet. RxSBasic (versions 1 to 5) says how the packet was received,
//! CSI (1 to 4) holds the channel in the form of the card that measured it, MVMExtra the firmware header of an AX card. Other
//! segments are passed over. From version 4 of RxSBasic on the host's clock is there too, and is the time of reception; before
//! that it is the card's own. Z. Jiang et al., Eliminating the barriers: demystifying Wi-Fi baseband design and introducing the
//! PicoScenes Wi-Fi sensing platform, IEEE IoT Journal 9(6), 2022.
//!
//! The receive chains of a 5300 stay in the order of the streams: the antenna selection is in [`CsiHeader::antsel`] and is not
//! applied, as the format's own tools do not apply it; in these files it often names fewer antennas than the streams.

mod matrix;
mod segment;

use std::sync::Arc;

use num_complex::Complex32;
use serde::Serialize;

use super::record::{
    Error, Shape, WideClock, bad, push_i16_pairs, receive_time, rssi_list, transmitter_of, u32_at,
};
use super::{atheros, feitcsi, intel5300};
use crate::frame::channel_of;
use crate::layout::{Tones, find_or_make, positions, tones};
use crate::{Frame, Layout, Ppdu, SampleFormat};

pub use segment::{CsiHeader, MvmExtra, RxBasic};
use segment::{Fields, Segment};

const FORMAT: &str = "PicoScenes";
/// The number behind the length, little-endian.
pub const MAGIC: [u8; 4] = [0x15, 0x03, 0x15, 0x20];
/// Length, magic number, version, number of segments.
const HEAD: usize = 11;

/// Cards, as [`RxBasic::device_type`] names them.
pub mod device {
    /// Intel 5300.
    pub const IWL5300: u16 = 0x5300;
    /// Atheros QCA9300.
    pub const QCA9300: u16 = 0x9300;
    /// Intel AX200.
    pub const AX200: u16 = 0x2000;
    /// Intel AX210.
    pub const AX210: u16 = 0x2100;
    /// A software radio: a USRP.
    pub const SDR: u16 = 0x1234;
    /// A software radio behind SoapySDR (HackRF One, LimeSDR, BladeRF).
    pub const SOAPY_SDR: u16 = 0x24D2;
    /// A software radio that plays back a file.
    pub const VIRTUAL_SDR: u16 = 0x1000;

    /// Whether it is a software radio.
    #[must_use]
    pub fn is_radio(device: u16) -> bool {
        matches!(device, SDR | SOAPY_SDR | VIRTUAL_SDR)
    }
}

/// What a record says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Header {
    /// Name, version and bytes of each segment.
    pub segments: Vec<String>,
    /// How the packet was received.
    pub rx_basic: RxBasic,
    /// What stands before the CSI.
    pub csi_header: CsiHeader,
    /// Of an AX card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mvm_extra: Option<MvmExtra>,
}

/// How records are found.
pub const SHAPE: Shape = Shape {
    format: FORMAT,
    head: HEAD,
    length: |rest| {
        rest.get(..HEAD)?;
        Some((u32_at(rest, 0)? as usize).saturating_add(4))
    },
    signature: |rest| {
        rest.get(4..8) == Some(MAGIC.as_slice())
            && u32_at(rest, 0).is_some_and(|length| length >= 7)
    },
    possible: |_| false,
    judged: HEAD,
    other: |_| false,
};

/// CSI of a segment, antenna-major.
struct Csi {
    layout: Arc<Layout>,
    chains: u8,
    streams: u8,
    samples: Vec<Complex32>,
    format: SampleFormat,
}

/// Decodes one record, its length included; `None` for one without CSI. The time is as the record has it; a [`Decoder`] unwraps
/// it. The sequence is 0: the format counts nothing that all cards have.
///
/// # Errors
/// Where the record is cut off, a version or a card is not known, or counts and lengths do not agree.
pub fn decode(record: &[u8]) -> Result<Option<(Header, Frame)>, Error> {
    let truncated = |expected| Error::Truncated {
        format: FORMAT,
        expected,
        found: record.len(),
    };
    let head = record.get(..HEAD).ok_or_else(|| truncated(HEAD))?;
    let count = head.last().copied().unwrap_or(0);
    let mut fields = Fields(record.get(HEAD..).unwrap_or_default());
    let (mut names, mut basic, mut csi, mut mvm) = (Vec::new(), None, None, None);
    for _ in 0..count {
        let segment = Segment::next(&mut fields)
            .ok_or_else(|| bad(FORMAT, "segments", count, format!("{} whole", names.len())))?;
        let Segment {
            name,
            version,
            data,
        } = &segment;
        names.push(format!("{name} v{version} ({} B)", data.len()));
        let cut = || {
            bad(
                FORMAT,
                "segment",
                "all of its fields",
                names.last().map_or("", |n| n),
            )
        };
        match name.as_str() {
            "RxSBasic" => basic = Some(RxBasic::read(known(*version, 5)?, data).ok_or_else(cut)?),
            "CSI" if csi.is_none() => {
                csi = Some(CsiHeader::read(known(*version, 4)?, data).ok_or_else(cut)?);
            }
            "MVMExtra" => mvm = MvmExtra::read(data),
            _ => {}
        }
    }
    let Some((csi_header, buffer)) = csi else {
        return Ok(None);
    };
    let rx_basic = basic.ok_or_else(|| bad(FORMAT, "segments", "RxSBasic", names.join(", ")))?;
    let csi = read_csi(&csi_header, buffer)?;
    let header = Header {
        segments: names,
        rx_basic,
        csi_header,
        mvm_extra: mvm,
    };
    let frame = frame_of(&header, csi, record.len(), fields.0);
    Ok(Some((header, frame)))
}

fn known(version: u16, newest: u16) -> Result<u16, Error> {
    if (1..=newest).contains(&version) {
        Ok(version)
    } else {
        Err(bad(
            FORMAT,
            "segment version",
            format!("1 to {newest}"),
            version,
        ))
    }
}

fn frame_of(header: &Header, csi: Csi, raw_size: usize, mpdu: &[u8]) -> Frame {
    let (basic, csi_header) = (&header.rx_basic, &header.csi_header);
    let frequency = u32::from(basic.control_freq.unwrap_or(basic.freq));
    let device_time_us = device_time(header);
    Frame {
        sequence: 0,
        counted: false,
        device_time_us,
        receive_time_us: host_time_us(basic).unwrap_or_else(|| receive_time(device_time_us)),
        rssi_dbm: rssi_dbm(basic, csi.chains),
        noise_floor_dbm: Some(basic.noise).filter(|noise| *noise < 0 && *noise > -127),
        agc: None,
        frequency_mhz: Some(frequency).filter(|frequency| *frequency > 0),
        channel: channel_of(frequency),
        bandwidth_mhz: Some(csi_header.cbw).filter(|width| *width > 0),
        ppdu: ppdu(csi_header.packet_format),
        antennas: csi.chains.saturating_mul(csi.streams),
        transmit_streams: csi.streams,
        chain: None,
        layout: csi.layout,
        scale: None,
        samples: csi.samples,
        format: csi.format,
        raw_size: u32::try_from(raw_size).unwrap_or(u32::MAX),
        transmitter: transmitter_of(mpdu),
        simulated: false,
    }
}

fn ppdu(packet_format: i8) -> Ppdu {
    match packet_format {
        0 => Ppdu::NonHt,
        1 => Ppdu::Ht,
        2 => Ppdu::Vht,
        3 | 4 => Ppdu::He,
        5 => Ppdu::Eht,
        _ => Ppdu::Unknown,
    }
}

/// Microseconds since the Unix epoch by the host's clock, where the record has them.
fn host_time_us(basic: &RxBasic) -> Option<i64> {
    let nanoseconds = basic.system_time.filter(|time| *time > 0)?;
    i64::try_from(nanoseconds / 1000).ok()
}

/// Microseconds of the card's clock, which may be the one of 32 bits in MVMExtra.
fn device_time(header: &Header) -> Option<u64> {
    let basic = &header.rx_basic;
    match (basic.timestamp, &header.mvm_extra) {
        (0, Some(extra)) => Some(extra.mu_clock_us.into()),
        (nanoseconds, _) if device::is_radio(basic.device_type) => Some(nanoseconds / 1000),
        (time, _) => Some(time),
    }
}

/// Version 1 counts from the noise floor; of a 5300 it does so for all chains together only. -128 is absent.
fn rssi_dbm(basic: &RxBasic, chains: u8) -> Vec<i8> {
    let above_noise = basic.version == 1 || (basic.version == 2 && basic.rssi > 0);
    let floor = if above_noise {
        i32::from(basic.noise)
    } else {
        0
    };
    let absolute = |rssi: i8| (rssi != i8::MIN).then(|| i32::from(rssi) + floor);
    let of_5300 = basic.device_type == device::IWL5300 && above_noise;
    let each = basic
        .rssi_ctl
        .iter()
        .copied()
        .filter(|_| !of_5300)
        .filter_map(absolute);
    let together = Some(basic.rssi).filter(|rssi| *rssi != 0);
    rssi_list(each, chains, together.and_then(absolute))
}

fn read_csi(header: &CsiHeader, buffer: &[u8]) -> Result<Csi, Error> {
    if header.nrx == 0 || header.nt == 0 {
        let found = format!("{} x {}", header.nrx, header.nt);
        return Err(bad(FORMAT, "chains x subcarriers", "at least 1 x 1", found));
    }
    let csi = match header.device_type {
        device::IWL5300 => of_5300(header, buffer)?,
        device::QCA9300 => of_9300(header, buffer)?,
        device::AX200 | device::AX210 => of_ax(header, buffer)?,
        radio if device::is_radio(radio) => of_radio(header, buffer)?,
        other => {
            let expected = "0x5300, 0x9300, 0x2000, 0x2100, 0x1234, 0x24d2 or 0x1000";
            return Err(bad(FORMAT, "device", expected, format!("{other:#06x}")));
        }
    };
    let expected = usize::from(csi.chains) * usize::from(csi.streams) * csi.layout.len();
    if csi.chains.checked_mul(csi.streams).is_none() || csi.samples.len() != expected {
        let found = format!("{} samples", csi.samples.len());
        return Err(bad(FORMAT, "CSI", format!("{expected} samples"), found));
    }
    Ok(Csi {
        layout: shifted(csi.layout, header.scoff),
        ..csi
    })
}

/// Streams that a buffer of `bytes` holds where one takes `one`.
fn streams_of(bytes: usize, one: usize) -> Result<u8, Error> {
    let streams = bytes
        .checked_div(one)
        .and_then(|streams| u8::try_from(streams).ok());
    let whole = streams.filter(|streams| *streams > 0 && usize::from(*streams) * one == bytes);
    whole.ok_or_else(|| bad(FORMAT, "CSI length", format!("1 to 255 times {one}"), bytes))
}

fn of_5300(header: &CsiHeader, buffer: &[u8]) -> Result<Csi, Error> {
    if header.nrx > 3 || header.nt != 30 {
        let found = format!("{} x {}", header.nrx, header.nt);
        return Err(bad(FORMAT, "chains x subcarriers", "1 to 3 x 30", found));
    }
    // The padding takes 12 bytes; what else is there is 60 for each chain and stream.
    let bytes = buffer.len().saturating_sub(12);
    let streams = streams_of(bytes, 60 * usize::from(header.nrx))?;
    let wide = if header.cbw >= 40 {
        Tones::Grouped40
    } else {
        Tones::Grouped20
    };
    Ok(Csi {
        layout: tones(wide, false),
        chains: header.nrx,
        streams,
        samples: intel5300::unpack(buffer, header.nrx, streams, [0, 1, 2]),
        format: SampleFormat::Ci8,
    })
}

fn of_9300(header: &CsiHeader, buffer: &[u8]) -> Result<Csi, Error> {
    let kind = match header.nt {
        56 => Tones::Ht20,
        114 => Tones::Ht40,
        other => return Err(bad(FORMAT, "subcarriers of a QCA9300", "56 or 114", other)),
    };
    let subcarriers = usize::from(header.nt);
    let one = atheros::packed_bytes(subcarriers) * usize::from(header.nrx);
    let streams = streams_of(buffer.len(), one)?;
    Ok(Csi {
        layout: tones(kind, false),
        chains: header.nrx,
        streams,
        samples: atheros::unpack(buffer, subcarriers, header.nrx, streams),
        format: SampleFormat::Ci16,
    })
}

fn of_ax(header: &CsiHeader, buffer: &[u8]) -> Result<Csi, Error> {
    let subcarriers = usize::from(header.nt);
    let streams = streams_of(buffer.len(), 4 * subcarriers * usize::from(header.nrx))?;
    let mut samples = Vec::with_capacity(buffer.len() / 4);
    push_i16_pairs(buffer, &mut samples);
    let width = Some(header.cbw);
    let layout = feitcsi::layout_of(subcarriers, ppdu(header.packet_format), width);
    Ok(Csi {
        layout: layout.ok_or_else(|| bad(FORMAT, "subcarriers", "at most 32768", subcarriers))?,
        chains: header.nrx,
        streams,
        samples,
        format: SampleFormat::Ci16,
    })
}

/// Sizes are subcarriers, streams, chains, measurements, the first one fastest. Several measurements of one packet count as
/// streams of it.
fn of_radio(header: &CsiHeader, buffer: &[u8]) -> Result<Csi, Error> {
    let subcarriers = usize::from(header.nt);
    let matrix = matrix::Matrix::read(buffer, subcarriers)
        .map_err(|problem| bad(FORMAT, "matrix", "one of complex numbers", problem))?;
    let mut sizes = matrix.sizes.iter().copied();
    let chains = u64::from(header.nrx);
    let (rows, streams, columns) = (sizes.next(), sizes.next(), sizes.next());
    if rows != Some(u64::from(header.nt)) || columns.unwrap_or(1) != chains {
        let expected = format!("{subcarriers} x streams x {chains}");
        return Err(bad(
            FORMAT,
            "matrix",
            expected,
            format!("{:?}", matrix.sizes),
        ));
    }
    let all = streams_of(matrix.samples.len(), subcarriers * usize::from(header.nrx))?;
    let each = streams
        .and_then(|streams| usize::try_from(streams).ok())
        .unwrap_or(1);
    let (chains, all_streams) = (usize::from(header.nrx), usize::from(all));
    let mut samples = Vec::with_capacity(matrix.samples.len());
    for chain in 0..chains {
        for stream in 0..all_streams {
            let (measurement, stream) = (stream / each.max(1), stream % each.max(1));
            let block = (measurement * chains + chain) * each + stream;
            let block = matrix.samples.get(block * subcarriers..);
            let block = block.and_then(|block| block.get(..subcarriers));
            samples.extend_from_slice(block.unwrap_or_default());
        }
    }
    Ok(Csi {
        layout: find_or_make(&matrix.subcarriers, &vec![true; subcarriers]),
        chains: header.nrx,
        streams: all,
        samples,
        format: SampleFormat::Cf32,
    })
}

/// The layout with `offset` added to its indices.
fn shifted(layout: Arc<Layout>, offset: i16) -> Arc<Layout> {
    if offset == 0 {
        return layout;
    }
    let indices: Option<Vec<i16>> = layout
        .subcarriers
        .iter()
        .map(|index| index.checked_add(offset))
        .collect();
    match indices {
        Some(indices) => find_or_make(&indices, &layout.valid),
        None => positions(layout.len(), false).unwrap_or(layout),
    }
}

/// Unwraps time through a log, counts its frames, and gives those of one layout the same one.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    clock: WideClock,
    frames: u64,
    layout: Option<Arc<Layout>>,
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
        let time = frame.device_time_us.map(|time| self.clock.unwrap(time));
        frame.device_time_us = time;
        if host_time_us(&header.rx_basic).is_none() {
            frame.receive_time_us = receive_time(time);
        }
        frame.sequence = self.frames;
        self.frames += 1;
        match &self.layout {
            Some(last) if Arc::ptr_eq(last, &frame.layout) => {}
            Some(last) if *last == frame.layout => frame.layout = Arc::clone(last),
            _ => self.layout = Some(Arc::clone(&frame.layout)),
        }
        Ok(Some((header, frame)))
    }

    /// How often the clock was seen to start again.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.clock.restarts()
    }
}
