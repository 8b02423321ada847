//! What can be set, in the section `[hardware_gateway]`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The gateway's own configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where CSI datagrams arrive.
    pub udp: Udp,
    /// Seconds without a frame after which a connected device counts as disconnected.
    pub device_timeout_s: f64,
    /// Announcements (`signal.csi_frame_received`) per second of input time; above it one frame in N is announced.
    pub announce_budget_per_s: u32,
    /// Publishes that may be waiting for their acks at once.
    pub in_flight: usize,
    /// Seconds for which errors of one device and code are gathered into one event.
    pub error_interval_s: f64,
    /// Largest recording that is accepted, in bytes.
    pub max_recording_bytes: u64,
}

/// The UDP listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Udp {
    /// Address; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Size asked of the kernel for the socket's buffer, bytes. What is granted is logged at start.
    pub receive_buffer_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            udp: Udp::default(),
            device_timeout_s: 5.0,
            announce_budget_per_s: 1000,
            in_flight: 4096,
            error_interval_s: 10.0,
            max_recording_bytes: 256 * 1024 * 1024,
        }
    }
}

impl Default for Udp {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5005)),
            receive_buffer_bytes: 8 * 1024 * 1024,
        }
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
        if self.in_flight == 0 {
            return Err("in_flight = 0: at least 1".into());
        }
        if self.announce_budget_per_s == 0 {
            return Err(
                "announce_budget_per_s = 0: at least 1 (all frames stay on the data plane)".into(),
            );
        }
        Ok(())
    }
}
