//! Recordings: what there is, how it comes to be (recorded here, or uploaded), and where its bytes lie.
//!
//! What is known of a recording stands in KV (`recordings`), its bytes in the object store under their SHA-256, or, where
//! `recordings.directory` is set, in a file there. Nothing here holds a recording in memory: it is written to the spool, and
//! read through a file; only [`frames`] loads a file whole, where its format cannot be read in pieces.

pub mod frames;
pub mod library;
pub mod recorder;
pub mod upload;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;

use events::{DataSource, Timestamp};
use serde::{Deserialize, Serialize};

/// How a recording stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Frames are being written.
    Recording,
    /// It has ended and is stored.
    Completed,
    /// The gateway was killed meanwhile; what it had written is stored.
    Interrupted,
    /// Nothing could be stored.
    Failed,
}

/// Frames of one device in a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its name, or `node-N` where the format numbers its nodes; empty where it says nothing.
    pub device: String,
    /// Its zone, where the recording says.
    pub zone: String,
    /// Frames.
    pub frames: u64,
    /// What the frames were when they were recorded; simulated where one of them was.
    pub source: DataSource,
    /// Frames that the device counted and that are not there.
    pub lost: u64,
}

/// What is known of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// SHA-256 of an upload, UUID of what was recorded here.
    pub id: String,
    /// File name.
    pub name: String,
    /// Format.
    pub format: String,
    /// How it stands.
    pub state: State,
    /// Bytes.
    pub size_bytes: u64,
    /// SHA-256, hex; empty while it is being recorded.
    pub sha256: String,
    /// Frames of all devices.
    pub frames: u64,
    /// Places that are no frames.
    pub malformed: u64,
    /// The devices, in the order of their first frames.
    pub devices: Vec<Device>,
    /// When it was begun or uploaded.
    pub created: Timestamp,
    /// Seconds of recorded time.
    pub duration_s: f64,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// What ended it.
    pub ended_by: String,
    /// The file that holds it; where there is none the object store does.
    pub file: Option<PathBuf>,
    /// The gateway that recorded it, `service/instance`; empty for an upload, and of former versions.
    #[serde(default)]
    pub gateway: String,
    /// The operation that makes or made it; empty where it was none.
    #[serde(default)]
    pub operation: String,
}

impl Recording {
    /// One that begins now.
    #[must_use]
    pub fn new(id: String, name: String, labels: BTreeMap<String, String>) -> Self {
        Self {
            id,
            name,
            format: csi::read::Format::Mcap.to_string(),
            state: State::Recording,
            size_bytes: 0,
            sha256: String::new(),
            frames: 0,
            malformed: 0,
            devices: Vec::new(),
            created: Timestamp::now(),
            duration_s: 0.0,
            labels,
            ended_by: String::new(),
            file: None,
            gateway: String::new(),
            operation: String::new(),
        }
    }

    /// Takes over what a scan found.
    pub fn describe(&mut self, scan: frames::Scan) {
        self.format = scan.format.to_string();
        self.frames = scan.devices.iter().map(|device| device.frames).sum();
        self.malformed = scan.malformed;
        self.duration_s = scan.duration_s();
        self.devices = scan.devices;
    }
}
