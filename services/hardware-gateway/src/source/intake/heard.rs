//! What a source hands to the intake, and what the intake hands on.

use std::sync::{Arc, Mutex};

use csi::Frame;
use csi::decode::adr018::EdgeReport;
use events::{DataSource, Name};

use crate::config::Admission;
use crate::lifecycle::{Connection, Sender};
use crate::source::identity::From;
use crate::source::rate::Bucket;
use crate::source::signed::Trailer;
use crate::track::Announcer;

/// What the sources leave to the lifecycle task, so that a frame never waits for a command.
#[derive(Debug)]
pub enum Change {
    /// First frame of a registered device.
    Connected(Name, Connection),
    /// First frame of an unknown sender.
    Discovered(Sender, Box<Frame>),
    /// Frame of an unknown sender that is to be registered, in this zone.
    Admit(Sender, Box<Frame>, Name),
}

/// A frame that waits for the bus.
#[derive(Debug)]
pub struct Waiting {
    /// The frame.
    pub frame: Frame,
    /// Its device.
    pub device: Name,
    /// The device's zone.
    pub zone: Arc<str>,
    /// Where it comes from.
    pub source: DataSource,
    /// Whether it is announced, and for how many it stands.
    pub decision: (bool, u32),
    /// Wall clock at reading, microseconds.
    pub ingest_time_us: i64,
}

/// A decoded frame and what is known of its sender.
pub struct Heard<'a> {
    /// The frame.
    pub frame: Frame,
    /// What identifies the sender.
    pub id: &'a str,
    /// Another id, which goes first where a device is registered under it, and is taken where `id` is somebody else's.
    pub place: Option<&'a str>,
    /// Family.
    pub device_type: &'static str,
    /// Where it was heard.
    pub from: From,
    /// The same, as text without a port.
    pub address: &'a str,
    /// From a file as it was found, not as it grew.
    pub recorded: bool,
}

/// What a device concludes itself, and what is known of its sender.
pub struct Claim<'a> {
    /// What it says.
    pub report: EdgeReport,
    /// What identifies the sender.
    pub id: &'a str,
    /// Where it was heard.
    pub from: From,
    /// The same, as text without a port.
    pub address: &'a str,
}

/// What a datagram says of its right to come in.
pub enum Right<'a> {
    /// There is no way to sign on this source, and nobody reaches it over the network.
    Local,
    /// Payload, and the trailer if there is one.
    Datagram(&'a [u8], Option<Trailer>),
    /// Checked already, for this id: a further line of the same datagram.
    Checked(String),
}

/// What one source says of its frames.
#[derive(Debug)]
pub struct Manner {
    /// Name of the source.
    pub name: Name,
    /// `udp`, `tcp`, ...
    pub protocol: &'static str,
    /// Instead of the gateway's.
    pub admission: Option<Admission>,
    /// Instead of the gateway's.
    pub zone: Option<Name>,
    /// Rate limit and sampling of announcements.
    pub gate: Mutex<Gate>,
}

/// Rate limit of a source, and which of its frames are announced.
#[derive(Debug)]
pub struct Gate {
    /// The limit.
    pub bucket: Bucket,
    /// The sampling.
    pub announcer: Announcer,
}

impl Heard<'_> {
    /// Where its frame comes from.
    #[must_use]
    pub fn source(&self) -> DataSource {
        match (self.frame.simulated, self.recorded) {
            (true, _) => DataSource::Simulated,
            (false, true) => DataSource::Replay,
            (false, false) => DataSource::Live,
        }
    }
}
