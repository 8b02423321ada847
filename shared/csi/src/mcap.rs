//! Recordings in MCAP: frames of any number of devices in one file, with the schema inside.
//!
//! A message is the protobuf message of the data plane (`fresnel.csi.v1.CsiFrame`), so that a frame is written and read again
//! without loss. There is a channel for each device, and one more for each further layout and data source of it: what a
//! channel's metadata say holds for all of its messages. `log_time` is the time of reception, `publish_time` the device's clock
//! or, where it has none, the time of reception; both in nanoseconds.
//!
//! A chunk reaches the file in one piece and is compressed with zstd. A file that was cut off anywhere can be read up to there.
//! Format: <https://mcap.dev/spec>.

mod read;
mod record;
mod write;

use std::collections::BTreeMap;

use events::DataSource;

pub use read::{Reader, Recorded};
pub use record::Error;
pub use write::{WriteError, Writer};

/// The first bytes of a file, and the last.
pub const MAGIC: [u8; 8] = *b"\x89MCAP0\r\n";
/// Name of the message, as the schema record gives it.
pub const SCHEMA: &str = "fresnel.csi.v1.CsiFrame";
/// `message_encoding` of the channels and `encoding` of the schema.
const PROTOBUF: &str = "protobuf";

/// What holds for all messages of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Channel {
    /// Zone that the device observes.
    pub zone: String,
    /// Name of the device.
    pub device: String,
    /// Name of the frames' layout.
    pub layout: String,
    /// What the device is: a hardware id or a format; empty where it was not said.
    pub hardware: String,
    /// Where the frames came from when they were recorded. A replay of simulated frames is simulated, too.
    pub source: DataSource,
}

impl Channel {
    /// Name of the topic: `csi/{zone}/{device}`.
    #[must_use]
    pub fn topic(&self) -> String {
        format!("csi/{}/{}", self.zone, self.device)
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        let pairs = [
            ("zone", self.zone.as_str()),
            ("device", &self.device),
            ("layout", &self.layout),
            ("hardware", &self.hardware),
            ("data_source", source_name(self.source)),
        ];
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }
}

fn source_name(source: DataSource) -> &'static str {
    match source {
        DataSource::Live => "live",
        DataSource::Replay => "replay",
        DataSource::Simulated => "simulated",
    }
}

#[cfg(test)]
mod tests;
