//! What can be set, in the section `[hardware_gateway]`.

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use events::Name;
use serde::{Deserialize, Serialize};

use crate::health::gate::Holds;
pub use sources::{Admission, Framing, From, Kind, Plan, Reach, SourceConfig};

/// The gateway's own configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where CSI datagrams arrive.
    pub udp: Udp,
    /// Further sources.
    pub sources: Vec<SourceConfig>,
    /// Which senders may publish, where a source or `device_admission` does not say otherwise.
    pub admission: Admission,
    /// The same for single devices, by hardware id.
    pub device_admission: BTreeMap<String, Admission>,
    /// Zone of devices that `open` admission registers.
    pub zone: String,
    /// File with a line `HARDWARE_ID HEX_KEY` for each device that signs; nobody but its owner may read it (0600).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_file: Option<PathBuf>,
    /// The same lines, separated by commas: for the environment, `FRESNEL_HARDWARE_GATEWAY__KEYS_SECRET`.
    pub keys_secret: Secret,
    /// Frames per second that are taken of one device, with bursts of two seconds' worth; 0 is no limit.
    pub device_rate_hz: f64,
    /// Frames of all devices that may wait for the bus; beyond it the oldest of the device with the most are shed.
    pub queue_frames: usize,
    /// The same in bytes.
    pub queue_bytes: usize,
    /// Seconds without a frame after which a connected device counts as disconnected.
    pub device_timeout_s: f64,
    /// Announcements (`signal.csi_frame_received`) per second of input time; above it one frame in N is announced.
    pub announce_budget_per_s: u32,
    /// Publishes that may be waiting for their acks at once.
    pub in_flight: usize,
    /// Seconds for which errors of one device and code are gathered into one event.
    pub error_interval_s: f64,
    /// How devices are judged.
    pub health: Health,
    /// Days after which a calibration counts as expired, where its request does not say.
    pub calibration_valid_days: f64,
    /// Seconds between two looks at what devices with a calibration send: whether it is still of use.
    pub calibration_check_s: f64,
    /// Looks that must all find more motion than the empty room had, before that is called drift.
    pub calibration_drift_windows: usize,
    /// Largest recording that is accepted, in bytes.
    pub max_recording_bytes: u64,
    /// Where recordings lie, and how long one may become.
    pub recordings: Recordings,
}

/// Recordings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recordings {
    /// Directory for recordings that have ended; without one they are kept in the object store.
    pub directory: Option<PathBuf>,
    /// Directory for what is being recorded, uploaded or replayed. It must outlast the process, so that a recording that
    /// was interrupted can be stored. Without one `fresnel-recordings` in the system's directory for temporary files.
    pub spool: Option<PathBuf>,
    /// Longest recording, seconds.
    pub max_seconds: u64,
}

impl Recordings {
    /// The directory for what is under way.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.spool
            .clone()
            .unwrap_or_else(|| std::env::temp_dir().join("fresnel-recordings"))
    }
}

impl Default for Recordings {
    fn default() -> Self {
        Self {
            directory: None,
            spool: None,
            max_seconds: 3600,
        }
    }
}

/// How the health of devices is judged.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// Full seconds that rate, loss, jitter and signal are measured over; at most 60.
    pub window_s: u32,
    /// Seconds that something must be wrong before it is said.
    pub raise_after_s: f64,
    /// Seconds that it must be right again before that is said.
    pub clear_after_s: f64,
}

impl Health {
    /// The hold times.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)]
    pub fn holds(&self) -> Holds {
        Holds {
            raise_us: (self.raise_after_s * 1e6) as i64,
            clear_us: (self.clear_after_s * 1e6) as i64,
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            window_s: 5,
            raise_after_s: 3.0,
            clear_after_s: 10.0,
        }
    }
}

/// The UDP listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Udp {
    /// Whether there is one.
    pub enabled: bool,
    /// Address; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Size asked of the kernel for the socket's buffer, bytes. What is granted is logged at start.
    pub receive_buffer_bytes: usize,
}

/// A text that is never shown.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            udp: Udp::default(),
            sources: Vec::new(),
            admission: Admission::Known,
            device_admission: BTreeMap::new(),
            zone: "unassigned".into(),
            keys_file: None,
            keys_secret: Secret::default(),
            device_rate_hz: 5_000.0,
            queue_frames: 8_192,
            queue_bytes: 32 * 1024 * 1024,
            device_timeout_s: 5.0,
            announce_budget_per_s: 1000,
            in_flight: 4096,
            error_interval_s: 10.0,
            health: Health::default(),
            calibration_valid_days: 30.0,
            calibration_check_s: 30.0,
            calibration_drift_windows: 20,
            max_recording_bytes: 256 * 1024 * 1024,
            recordings: Recordings::default(),
        }
    }
}

impl Default for Udp {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from(([127, 0, 0, 1], 5005)),
            receive_buffer_bytes: sources::BUFFER_BYTES,
        }
    }
}

impl Config {
    /// All sources, the UDP listener first.
    ///
    /// # Errors
    /// A sentence that names the source and the field.
    pub fn plans(&self) -> Result<Vec<Plan>, String> {
        let mut plans = Vec::new();
        if self.udp.enabled {
            plans.push(Plan {
                name: Name::new("udp").map_err(|error| error.to_string())?,
                kind: Kind::Udp,
                reach: Reach::Datagrams {
                    listen: self.udp.listen,
                    buffer_bytes: self.udp.receive_buffer_bytes,
                },
                hardware_id: None,
                admission: None,
                zone: None,
                rate_hz: None,
            });
        }
        for (index, source) in self.sources.iter().enumerate() {
            plans.push(source.plan(index)?);
        }
        let mut names = BTreeSet::new();
        for plan in &plans {
            if !names.insert(plan.name.clone()) {
                return Err(format!(
                    "sources: two have the name {:?}: give one of them another `name`",
                    plan.name.as_str()
                ));
            }
        }
        Ok(plans)
    }
}

impl runtime::ServiceConfig for Config {
    fn validate(&self) -> Result<(), String> {
        let positive = |key: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                Err(format!(
                    "{key} = {value}: must be a positive number of seconds"
                ))
            }
        };
        positive("device_timeout_s", self.device_timeout_s)?;
        positive("error_interval_s", self.error_interval_s)?;
        positive("health.raise_after_s", self.health.raise_after_s)?;
        positive("health.clear_after_s", self.health.clear_after_s)?;
        if !(1..=60).contains(&self.health.window_s) {
            return Err(format!(
                "health.window_s = {}: must be 1 to 60",
                self.health.window_s
            ));
        }
        positive("calibration_valid_days", self.calibration_valid_days)
            .map_err(|fault| fault.replace("seconds", "days"))?;
        positive("calibration_check_s", self.calibration_check_s)?;
        if !(1..=1000).contains(&self.calibration_drift_windows) {
            return Err(format!(
                "calibration_drift_windows = {}: must be 1 to 1000",
                self.calibration_drift_windows
            ));
        }
        if self.in_flight == 0 {
            return Err("in_flight = 0: at least 1".into());
        }
        if self.announce_budget_per_s == 0 {
            return Err(
                "announce_budget_per_s = 0: at least 1 (all frames stay on the data plane)".into(),
            );
        }
        if self.recordings.max_seconds == 0 {
            return Err("recordings.max_seconds = 0: at least 1".into());
        }
        if !(self.device_rate_hz.is_finite() && self.device_rate_hz >= 0.0) {
            return Err(format!(
                "device_rate_hz = {}: must be 0 (no limit) or more",
                self.device_rate_hz
            ));
        }
        if self.queue_frames == 0 || self.queue_bytes == 0 {
            return Err("queue_frames and queue_bytes: at least 1".into());
        }
        Name::new(&*self.zone).map_err(|error| format!("zone: {error}"))?;
        self.plans().map(|_| ())
    }
}
