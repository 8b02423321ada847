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
    /// Receive antennas (or antenna pairs) that the samples hold.
    pub antennas: u8,
    /// Subcarriers of one antenna.
    pub layout: Arc<Layout>,
    /// `antennas x layout.subcarriers` samples, antenna-major.
    pub samples: Vec<Complex32>,
    /// How the samples travel without loss.
    pub format: SampleFormat,
    /// Size in bytes of what the hardware sent.
    pub raw_size: u32,
    /// MAC address of the transmitter.
    pub transmitter: Option<[u8; 6]>,
    /// The frame says of itself that it is simulated.
    pub simulated: bool,
}
