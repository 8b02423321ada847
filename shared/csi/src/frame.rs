//! One CSI frame: the channel that was measured on one packet.

use std::sync::Arc;

use num_complex::Complex32;

/// Format of the packet (PPDU) that the channel was measured on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ppdu {
    /// The source does not say.
    #[default]
    Unknown,
    /// 802.11a/g.
    NonHt,
    /// 802.11n.
    Ht,
    /// 802.11ac.
    Vht,
    /// 802.11ax.
    He,
    /// 802.11be.
    Eht,
}

/// The smallest number format that holds the samples without loss; also their form on the data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SampleFormat {
    /// Complex, 8-bit integers.
    Ci8,
    /// Complex, 16-bit integers.
    Ci16,
    /// Complex, 32-bit floats.
    Cf32,
    /// Amplitudes only, in the real parts: the source gave no phase.
    Af32,
}

/// Receive chain and spatial stream that a frame was measured on, where a device reports each on its own (Nexmon): frames of
/// one transmission that differ here are different paths through the room, and never belong in one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Chain {
    /// Receive chain (core), from 0.
    pub core: u8,
    /// Spatial stream, from 0.
    pub stream: u8,
}

/// Which subcarrier each sample of one antenna lies on. Shared by all frames of the same layout.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Name of the layout, e.g. `esp32-lltf64`, `esp32-lltf64-ht64`.
    pub name: &'static str,
    /// Subcarrier index of each sample (0 = DC). Where a buffer holds several training fields the indices repeat.
    pub subcarriers: Box<[i16]>,
    /// Whether the sample carries a channel estimate (not DC, guard band, or a word that the hardware spoils).
    pub valid: Box<[bool]>,
}

/// The channel measured on one packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Sequence number, as the device counts; for a source that does not count, the index in the stream.
    pub sequence: u64,
    /// Whether `sequence` was counted by the device, so that gaps are losses.
    pub counted: bool,
    /// Device clock in microseconds since an arbitrary start, unwrapped; absent where the source has none.
    pub device_time_us: Option<u64>,
    /// Time of reception in microseconds since the Unix epoch. For a recording, its own wall time, or where it has none the
    /// device time (a recording that says no date begins in 1970).
    pub receive_time_us: i64,
    /// RSSI of each antenna in dBm, or one value for all; empty where not measured.
    pub rssi_dbm: Vec<i8>,
    /// Noise floor in dBm.
    pub noise_floor_dbm: Option<i8>,
    /// Gain setting as the hardware reports it.
    pub agc: Option<u8>,
    /// Frequency of the primary channel in MHz.
    pub frequency_mhz: Option<u32>,
    /// Channel number.
    pub channel: Option<u8>,
    /// Bandwidth in MHz.
    pub bandwidth_mhz: Option<u16>,
    /// Packet format.
    pub ppdu: Ppdu,
    /// Antennas that the samples hold: receive chains x [`Frame::transmit_streams`], the chain outer, the stream inner.
    pub antennas: u8,
    /// Transmit streams among the antennas, at least 1: antenna `chain * transmit_streams + stream` is what one receive
    /// chain heard of one stream. 1 where the source has one or says nothing.
    pub transmit_streams: u8,
    /// Subcarriers of one antenna.
    pub layout: Arc<Layout>,
    /// `antennas x layout.subcarriers` samples, antenna-major.
    pub samples: Vec<Complex32>,
    /// How the samples travel without loss.
    pub format: SampleFormat,
    /// Factor from the samples, which stay as the hardware stored them, to absolute units, where the source's own formula
    /// gives one; the decoder of the source says which units. Finite and above 0.
    pub scale: Option<f32>,
    /// Size in bytes of what the hardware sent.
    pub raw_size: u32,
    /// MAC address of the transmitter.
    pub transmitter: Option<[u8; 6]>,
    /// The frame says of itself that it is simulated.
    pub simulated: bool,
    /// The one receive chain and stream of this frame, where frames of several arrive one by one; absent where a frame holds
    /// all that the device measured.
    pub chain: Option<Chain>,
}

impl Layout {
    /// Number of subcarriers, the ones without a measurement included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.subcarriers.len()
    }

    /// Whether there is no subcarrier at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subcarriers.is_empty()
    }

    /// Positions and subcarrier indices of the samples that carry a channel estimate, in the order of the samples.
    pub fn measured(&self) -> impl Iterator<Item = (usize, i16)> + '_ {
        let all = self.subcarriers.iter().zip(self.valid.iter()).enumerate();
        all.filter(|(_, (_, valid))| **valid)
            .map(|(position, (subcarrier, _))| (position, *subcarrier))
    }
}

impl Frame {
    /// Receive chains that the samples hold.
    #[must_use]
    pub fn receive_chains(&self) -> u8 {
        self.antennas / self.transmit_streams.max(1)
    }

    /// Samples of one antenna, in the order of the layout; empty for an antenna that the frame does not hold.
    #[must_use]
    pub fn antenna(&self, antenna: u8) -> &[Complex32] {
        let each = self.layout.len();
        let start = usize::from(antenna) * each;
        self.samples.get(start..start + each).unwrap_or_default()
    }

    /// Sample of one antenna at a position of the layout.
    #[must_use]
    pub fn sample(&self, antenna: u8, position: usize) -> Option<Complex32> {
        self.antenna(antenna).get(position).copied()
    }

    /// Writes the power of every sample of one antenna that carries a channel estimate to `powers`, in the order of the
    /// layout, and drops what `powers` held before. Units are those of the hardware, squared.
    pub fn powers(&self, antenna: u8, powers: &mut Vec<f32>) {
        powers.clear();
        let samples = self.antenna(antenna).iter().zip(self.layout.valid.iter());
        powers.extend(
            samples
                .filter(|(_, valid)| **valid)
                .map(|(sample, _)| sample.norm_sqr()),
        );
    }

    /// The level at which the frame was received, dBm: the mean over the antennas of what was measured (in steps of 1 dB); absent
    /// where nothing was.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn level_dbm(&self) -> Option<f32> {
        let sum: f32 = self.rssi_dbm.iter().map(|rssi| f32::from(*rssi)).sum();
        (!self.rssi_dbm.is_empty()).then(|| sum / self.rssi_dbm.len() as f32)
    }

    /// Time of the frame in microseconds: the device's clock where it has one, otherwise the time of reception.
    #[must_use]
    pub fn time_us(&self) -> i64 {
        let device = self
            .device_time_us
            .and_then(|time| i64::try_from(time).ok());
        device.unwrap_or(self.receive_time_us)
    }
}

/// Channel number that a frequency in MHz is the centre of, in the 2.4 and 5 GHz bands (IEEE 802.11-2020, annex E).
#[must_use]
pub fn channel_of(frequency_mhz: u32) -> Option<u8> {
    match frequency_mhz {
        2484 => Some(14),
        2412..=2472 if (frequency_mhz - 2407).is_multiple_of(5) => {
            u8::try_from((frequency_mhz - 2407) / 5).ok()
        }
        5160..=5885 if frequency_mhz.is_multiple_of(5) => {
            u8::try_from((frequency_mhz - 5000) / 5).ok()
        }
        _ => None,
    }
}

/// Centre frequency in MHz of a channel number in the 2.4 and 5 GHz bands (IEEE 802.11-2020, annex E).
#[must_use]
pub fn frequency_of(channel: u8) -> Option<u32> {
    match channel {
        1..=13 => Some(2407 + 5 * u32::from(channel)),
        14 => Some(2484),
        32..=177 => Some(5000 + 5 * u32::from(channel)),
        _ => None,
    }
}
