//! A frame as it travels on the data plane: protobuf, `fresnel.csi.v1.CsiFrame`.

mod decode;
mod encode;
mod protobuf;
mod samples;

use events::DataSource;
use uuid::Uuid;

pub use decode::Decoder;
pub use encode::{Encoder, encode};
pub use protobuf::NotProtobuf;

/// What the gateway adds to a frame when it publishes it. `S` is how the names are held: a writer may borrow them.
#[derive(Clone, Debug, PartialEq)]
pub struct Published<S = String> {
    /// Id of the frame.
    pub frame_id: Uuid,
    /// Registered name of the device.
    pub device: S,
    /// Zone that the device belongs to.
    pub zone: S,
    /// Where the data came from.
    pub source: DataSource,
    /// The replay, recording session or simulation run that the frame belongs to.
    pub run_id: Option<Uuid>,
    /// Whether this frame was announced as an event.
    pub announced: bool,
    /// One in so many frames is announced; 0 and 1 both mean each.
    pub sampled_one_in: u32,
    /// Wall clock of the gateway when the frame was read, microseconds since the Unix epoch: for latency accounting only.
    pub ingest_time_us: i64,
    /// The last frame of a replay.
    pub last_of_run: bool,
}

/// Why a message is no frame.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the protobuf message.
    #[error("no protobuf message of type fresnel.csi.v1.CsiFrame")]
    Protobuf(#[from] NotProtobuf),
    /// A field holds what it cannot hold.
    #[error("field {field}: expected {expected}, found {found}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What it can hold.
        expected: String,
        /// What it holds.
        found: String,
    },
}

impl Error {
    /// A stable name for counting.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Protobuf(_) => "not_protobuf",
            Self::Field { .. } => "bad_field",
        }
    }
}

/// Numbers of the fields, as `csi.proto` has them; a test compares with the generated code.
mod field {
    pub(super) const FRAME_ID: u32 = 1;
    pub(super) const DEVICE: u32 = 2;
    pub(super) const ZONE: u32 = 3;
    pub(super) const SEQUENCE: u32 = 4;
    pub(super) const DEVICE_TIME_US: u32 = 5;
    pub(super) const RECEIVE_TIME_US: u32 = 6;
    pub(super) const RSSI_DBM: u32 = 7;
    pub(super) const NOISE_FLOOR_DBM: u32 = 8;
    pub(super) const FREQUENCY_MHZ: u32 = 9;
    pub(super) const CHANNEL: u32 = 10;
    pub(super) const BANDWIDTH_MHZ: u32 = 11;
    pub(super) const PPDU_TYPE: u32 = 12;
    pub(super) const ANTENNAS: u32 = 13;
    pub(super) const SUBCARRIERS: u32 = 14;
    pub(super) const VALID: u32 = 15;
    pub(super) const SAMPLE_FORMAT: u32 = 16;
    pub(super) const SAMPLES: u32 = 17;
    pub(super) const RAW_SIZE: u32 = 18;
    pub(super) const SOURCE: u32 = 19;
    pub(super) const RUN_ID: u32 = 20;
    pub(super) const TRANSMITTER_MAC: u32 = 21;
    pub(super) const AGC: u32 = 22;
    pub(super) const INGEST_TIME_US: u32 = 23;
    pub(super) const SAMPLED_ONE_IN: u32 = 24;
    pub(super) const ANNOUNCED: u32 = 25;
    pub(super) const LAST_OF_RUN: u32 = 26;
    pub(super) const SEQUENCE_COUNTED: u32 = 27;
    pub(super) const TRANSMIT_STREAMS: u32 = 28;
    pub(super) const SCALE: u32 = 29;
    pub(super) const CORE: u32 = 30;
    pub(super) const SPATIAL_STREAM: u32 = 31;
    /// The last one that is known here.
    pub(super) const LAST: u32 = SPATIAL_STREAM;
}

#[cfg(test)]
mod tests;
