//! Writers of network cards' records, for tests and seeds: what the decoders read, the other way round.

// Each user of this file uses some of it.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

use csi::decode::atheros::ByteOrder;
use csi::layout::{Tones, tones};
use csi::{Frame, Ppdu, SampleFormat};
use num_complex::Complex32;

/// Address that the writers put where a format has room for one.
pub const TRANSMITTER: [u8; 6] = [2, 0, 0, 0, 0, 7];

/// A frame with samples of `bits` bits made from `seed`.
pub fn frame(kind: Tones, pilots: bool, chains: u8, streams: u8, bits: u32, seed: u64) -> Frame {
    let layout = tones(kind, pilots);
    let mut state = seed;
    let mut value = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        f32::from((state >> 48) as u16 as i16 >> (16 - bits))
    };
    let samples = usize::from(chains) * usize::from(streams) * layout.len();
    Frame {
        sequence: seed >> 20 & 0xFFFF,
        counted: true,
        device_time_us: Some(seed >> 8 & 0xFFFF_FFFF),
        receive_time_us: (seed >> 8 & 0xFFFF_FFFF) as i64,
        rssi_dbm: vec![-40; usize::from(chains)],
        noise_floor_dbm: Some(-90),
        agc: Some(30),
        frequency_mhz: Some(5180),
        channel: Some(36),
        bandwidth_mhz: Some(match kind {
            Tones::Grouped40 | Tones::Ht40 | Tones::He40 => 40,
            Tones::Vht80 | Tones::He80 => 80,
            Tones::Vht160 | Tones::He160 => 160,
            Tones::Eht320 => 320,
            _ => 20,
        }),
        ppdu: match kind {
            Tones::Legacy20 => Ppdu::NonHt,
            Tones::Vht80 | Tones::Vht160 => Ppdu::Vht,
            Tones::He20 | Tones::He40 | Tones::He80 | Tones::He160 => Ppdu::He,
            Tones::Eht320 => Ppdu::Eht,
            _ => Ppdu::Ht,
        },
        antennas: chains * streams,
        transmit_streams: streams,
        chain: None,
        samples: (0..samples)
            .map(|_| Complex32::new(value(), value()))
            .collect(),
        layout,
        format: if bits == 8 {
            SampleFormat::Ci8
        } else {
            SampleFormat::Ci16
        },
        scale: None,
        raw_size: 0,
        transmitter: Some(TRANSMITTER),
        simulated: false,
    }
}

/// Bits of a little-endian stream.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: usize,
}

impl Bits {
    fn push(&mut self, value: i32, bits: usize) {
        for bit in 0..bits {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= ((value >> bit & 1) as u8) << (self.used % 8);
            self.used += 1;
        }
    }
}

/// CSI of a 5300, receive streams in the order of `antennas`.
pub fn bfee(frame: &Frame, antennas: [u8; 3]) -> Vec<u8> {
    let mut bits = Bits::default();
    for tone in 0..30 {
        bits.push(0, 3);
        for antenna in &antennas[..usize::from(frame.receive_chains())] {
            for stream in 0..frame.transmit_streams {
                let antenna = antenna * frame.transmit_streams + stream;
                let sample = frame.sample(antenna, tone).unwrap();
                bits.push(sample.re as i32, 8);
                bits.push(sample.im as i32, 8);
            }
        }
    }
    // The tool rounds up, and gives a byte more where that would come out even.
    let chains = usize::from(frame.antennas);
    bits.bytes.resize((30 * (chains * 16 + 3)).div_ceil(8), 0);
    bits.bytes
}

/// A record of the Linux 802.11n CSI Tool.
pub fn intel5300(frame: &Frame, antennas: [u8; 3]) -> Vec<u8> {
    let csi = bfee(frame, antennas);
    let mut record = ((csi.len() + 21) as u16).to_be_bytes().to_vec();
    record.push(0xBB);
    record.extend((frame.device_time_us.unwrap() as u32).to_le_bytes());
    record.extend((frame.sequence as u16).to_le_bytes());
    record.extend([0, 0, frame.receive_chains(), frame.transmit_streams]);
    // -40 dBm with the gain of 30 is 34.
    for chain in 0..3 {
        record.push(if chain < frame.receive_chains() {
            34
        } else {
            0
        });
    }
    let select = antennas[0] | antennas[1] << 2 | antennas[2] << 4;
    record.extend([frame.noise_floor_dbm.unwrap() as u8, 30, select]);
    record.extend((csi.len() as u16).to_le_bytes());
    let wide = frame.bandwidth_mhz == Some(40);
    record.extend(if wide { 0x900_u16 } else { 0x100 }.to_le_bytes());
    record.extend(csi);
    record
}

/// The same with what the WSR Toolbox puts in front of the CSI: 14 November 2023, 22:13:20.25, and the number of the packet.
pub fn intel5300_wsr(frame: &Frame, antennas: [u8; 3]) -> Vec<u8> {
    let mut added = [1_700_000_000_u32.to_le_bytes(), 250_000_u32.to_le_bytes()].concat();
    added.extend(TRANSMITTER);
    added.extend(77_u32.to_le_bytes());
    let mut record = intel5300(frame, antennas);
    record.splice(23..23, added);
    let length = (record.len() - 2) as u16;
    record[..2].copy_from_slice(&length.to_be_bytes());
    record
}

/// CSI of an Atheros chip.
pub fn ten_bits(frame: &Frame) -> Vec<u8> {
    let mut bits = Bits::default();
    for tone in 0..frame.layout.len() {
        for stream in 0..frame.transmit_streams {
            for chain in 0..frame.receive_chains() {
                let antenna = chain * frame.transmit_streams + stream;
                let sample = frame.sample(antenna, tone).unwrap();
                bits.push(sample.im as i32, 10);
                bits.push(sample.re as i32, 10);
            }
        }
    }
    bits.bytes
}

/// The beginning of a data frame: its second address is the transmitter's.
fn mpdu() -> Vec<u8> {
    let mut mpdu = vec![0x88, 1, 0, 0, 2, 0, 0, 0, 0, 9];
    mpdu.extend(TRANSMITTER);
    mpdu.extend([0xEE; 24]);
    mpdu
}

/// A record of the Atheros CSI Tool.
pub fn atheros(frame: &Frame, order: ByteOrder) -> Vec<u8> {
    let two = |value: u16| match order {
        ByteOrder::Little => value.to_le_bytes(),
        ByteOrder::Big => value.to_be_bytes(),
    };
    let (csi, payload) = (ten_bits(frame), mpdu());
    let mut record = two((25 + csi.len() + payload.len()) as u16).to_vec();
    let time = frame.device_time_us.unwrap();
    record.extend(match order {
        ByteOrder::Little => time.to_le_bytes(),
        ByteOrder::Big => time.to_be_bytes(),
    });
    record.extend(two(csi.len() as u16));
    record.extend(two(frame.frequency_mhz.unwrap() as u16));
    let wide = u8::from(frame.bandwidth_mhz == Some(40));
    let tones = frame.layout.len() as u8;
    let (chains, streams) = (frame.receive_chains(), frame.transmit_streams);
    // -90 of noise and 50 above it.
    record.extend([0, (-90_i8) as u8, 135, wide, tones, chains, streams, 50]);
    record.extend((0..3).map(|chain| if chain < chains { 50 } else { 128 }));
    record.extend(two(payload.len() as u16));
    record.extend(csi);
    record.extend(payload);
    record
}

fn i16_pairs(frame: &Frame) -> Vec<u8> {
    let parts = frame
        .samples
        .iter()
        .flat_map(|sample| [sample.re, sample.im]);
    parts.flat_map(|part| (part as i16).to_le_bytes()).collect()
}

/// Rate and flags of an AX card.
fn rate_n_flags(frame: &Frame) -> u32 {
    let ppdu = match frame.ppdu {
        Ppdu::Unknown => 7,
        Ppdu::NonHt => 1,
        Ppdu::Ht => 2,
        Ppdu::Vht => 3,
        Ppdu::He => 4,
        Ppdu::Eht => 5,
    };
    ppdu << 8
        | u32::from(frame.bandwidth_mhz.unwrap() / 40)
            .min(8)
            .ilog2_or(0)
            << 11
}

trait Ilog2Or {
    fn ilog2_or(self, zero: u32) -> u32;
}

impl Ilog2Or for u32 {
    /// 0, 1, 2, 4, 8 become 0, 1, 2, 3, 4.
    fn ilog2_or(self, zero: u32) -> u32 {
        self.checked_ilog2().map_or(zero, |log| log + 1)
    }
}

/// The firmware's header.
fn ax_header(frame: &Frame, csi: usize) -> Vec<u8> {
    let mut head = vec![0; 272];
    let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(csi as u32).to_le_bytes());
    put(46, &[frame.receive_chains(), frame.transmit_streams]);
    put(52, &(frame.layout.len() as u32).to_le_bytes());
    put(60, &40_u32.to_le_bytes());
    if frame.receive_chains() > 1 {
        put(64, &40_u32.to_le_bytes());
    }
    put(68, &TRANSMITTER);
    put(88, &(frame.device_time_us.unwrap() as u32).to_le_bytes());
    put(92, &rate_n_flags(frame).to_le_bytes());
    head
}

/// A record of FeitCSI.
pub fn feitcsi(frame: &Frame) -> Vec<u8> {
    let csi = i16_pairs(frame);
    let mut record = ax_header(frame, csi.len());
    record.extend(csi);
    record
}

fn segment(name: &str, version: u16, data: &[u8]) -> Vec<u8> {
    let mut segment = ((3 + name.len() + 1 + data.len()) as u32)
        .to_le_bytes()
        .to_vec();
    segment.push(name.len() as u8 + 1);
    segment.extend(name.as_bytes());
    segment.push(0);
    segment.extend(version.to_le_bytes());
    segment.extend(data);
    segment
}

/// The matrix of a software radio.
fn matrix(frame: &Frame) -> Vec<u8> {
    let mut buffer: Vec<u8> = Vec::new();
    let indices = frame.layout.subcarriers.iter();
    buffer.extend(indices.flat_map(|index| index.to_le_bytes()));
    buffer.extend(b"BBv2\x03");
    let sizes = [
        frame.layout.len(),
        frame.transmit_streams.into(),
        frame.receive_chains().into(),
    ];
    buffer.extend(
        sizes
            .into_iter()
            .flat_map(|size| (size as u64).to_le_bytes()),
    );
    buffer.extend([b'C', b'D', 64, b'C']);
    let parts = frame
        .samples
        .iter()
        .flat_map(|sample| [sample.re, sample.im]);
    buffer.extend(parts.flat_map(|part| f64::from(part).to_le_bytes()));
    buffer
}

/// A record of PicoScenes: `device` decides the form of the CSI, the versions those of RxSBasic and CSI.
pub fn picoscenes(frame: &Frame, device: u16, basic_version: u16, csi_version: u16) -> Vec<u8> {
    let (chains, streams) = (frame.receive_chains(), frame.transmit_streams);
    let format = match frame.ppdu {
        Ppdu::Unknown => 0xFF,
        Ppdu::NonHt => 0,
        Ppdu::Ht => 1,
        Ppdu::Vht => 2,
        Ppdu::He => 3,
        Ppdu::Eht => 5,
    };
    let width = frame.bandwidth_mhz.unwrap().to_le_bytes();
    let ax = matches!(device, 0x2000 | 0x2100);
    let radio = matches!(device, 0x1234 | 0x24D2 | 0x1000);
    let time = match device {
        _ if radio => 1000 * frame.device_time_us.unwrap(),
        _ if ax => 0,
        _ => frame.device_time_us.unwrap(),
    };
    let frequency = (frame.frequency_mhz.unwrap() as u16).to_le_bytes();
    let mut basic: Vec<u8> = device.to_le_bytes().to_vec();
    basic.extend(time.to_le_bytes());
    if basic_version >= 4 {
        basic.extend((1000 * frame.receive_time_us as u64 + 999).to_le_bytes());
    }
    basic.extend(frequency);
    if basic_version >= 5 {
        basic.extend(frequency);
    }
    if basic_version >= 3 {
        basic.extend(frequency);
        basic.extend(width);
        basic.push(format);
        basic.extend(width);
    } else {
        basic.push(format);
        basic.extend(width);
    }
    basic.extend([0x20, 3, 5, streams, 0, chains]);
    if basic_version >= 2 {
        basic.extend([1, 0]);
    }
    let rssi = if basic_version == 1 {
        50
    } else {
        (-40_i8) as u8
    };
    basic.extend([(-90_i8) as u8, rssi]);
    let most = if basic_version >= 5 { 8 } else { 3 };
    basic.extend((0..most).map(|chain| if chain < chains { rssi } else { 0x80 }));
    let buffer = match device {
        0x5300 => bfee(frame, [0, 1, 2]),
        0x9300 => ten_bits(frame),
        _ if radio => matrix(frame),
        _ => i16_pairs(frame),
    };
    let mut csi: Vec<u8> = device.to_le_bytes().to_vec();
    if csi_version >= 4 {
        csi.push(67);
    }
    csi.push(format);
    csi.extend(width);
    csi.extend(5_180_000_000_u64.to_le_bytes());
    csi.extend(20_000_000_u64.to_le_bytes());
    csi.extend(312_500_u32.to_le_bytes());
    csi.extend((frame.layout.len() as u16).to_le_bytes());
    csi.extend([streams, chains, 0]);
    if csi_version >= 3 {
        csi.extend([1, 0]);
    }
    csi.push(0);
    if csi_version >= 2 {
        csi.extend([0, 0]);
    }
    csi.extend((buffer.len() as u32).to_le_bytes());
    csi.extend(buffer);
    let mut record = vec![0, 0, 0, 0, 0x15, 3, 0x15, 0x20, 1, 0, 3 + u8::from(ax)];
    record.extend(segment("RxSBasic", basic_version, &basic));
    record.extend(segment("ExtraInfo", 1, &[0; 28]));
    if ax {
        let mut extra = 272_u16.to_le_bytes().to_vec();
        extra.extend(ax_header(frame, 0));
        record.extend(segment("MVMExtra", 1, &extra));
    }
    record.extend(segment("CSI", csi_version, &csi));
    record.extend(mpdu());
    let length = (record.len() - 4) as u32;
    record[..4].copy_from_slice(&length.to_le_bytes());
    record
}
