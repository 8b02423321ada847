//! Events of `hardware`.

use crate::Timestamp;
use crate::declare::{choices, events};
use crate::id::{CalibrationId, DeviceId, DiscoveryId};
pub use crate::types::{DeviceCapabilities, DeviceConfig};

choices! {
    /// Why a device is no longer connected.
    pub enum DisconnectReason {
        Graceful = "graceful",
        ConnectionLost = "connection_lost",
        Timeout = "timeout",
        Error = "error",
        MaintenanceMode = "maintenance_mode",
    }
    /// Who set a configuration.
    pub enum ConfigSource {
        Api = "api",
        AutoConfig = "auto_config",
        Calibration = "calibration",
        Default = "default",
    }
    /// What kind of error a device had.
    pub enum ErrorCategory {
        Connection = "connection",
        Configuration = "configuration",
        Hardware = "hardware",
        Firmware = "firmware",
        Protocol = "protocol",
        Resource = "resource",
        Unknown = "unknown",
    }
}

events! {
    /// A device that is not registered was heard for the first time.
    "hardware.device_discovered" v2 from [crate::upgrade::device_discovered_1] of "device" mac_address, key(mac_address without separators),
    by "hardware-gateway", flags(),
    when "first datagram, serial line or mDNS answer from a device that is not registered";
    pub struct DeviceDiscovered {
        pub discovery_id: DiscoveryId,
        pub timestamp: Timestamp,
        pub mac_address: String,
        pub ip_address: Option<String>,
        pub device_type: String,
        pub capabilities: DeviceCapabilities,
        pub firmware_version: Option<String>,
    }

    /// A registered device began to send.
    "hardware.device_connected" v2 from [crate::upgrade::device_connected_1] of "device" device_id, key(device_id),
    by "hardware-gateway", flags(sourced),
    when "first valid frame after registration, or after a disconnect";
    pub struct DeviceConnected {
        pub device_id: DeviceId,
        pub timestamp: Timestamp,
        pub ip_address: Option<String>,
        pub protocol: String,
        pub connection_time_ms: Option<u64>,
        pub firmware_version: Option<String>,
        pub current_config: DeviceConfig,
    }

    /// A device no longer sends.
    "hardware.device_disconnected" v2 from [crate::upgrade::device_disconnected_1] of "device" device_id, key(device_id),
    by "hardware-gateway", flags(sourced),
    when "no frame for the device's timeout, an operator's request, maintenance mode, or a socket or serial error";
    pub struct DeviceDisconnected {
        pub device_id: DeviceId,
        pub timestamp: Timestamp,
        pub reason: DisconnectReason,
        pub error_message: Option<String>,
        pub connected_since: Option<Timestamp>,
        pub uptime_seconds: Option<f64>,
        pub frames_transmitted: u64,
        pub errors_count: u32,
    }

    /// A configuration was accepted for a device.
    "hardware.device_configured" v2 from [crate::upgrade::device_configured_1] of "device" device_id, key(device_id),
    by "hardware-gateway", flags(sourced),
    when "a configuration was accepted for the device";
    pub struct DeviceConfigured {
        pub device_id: DeviceId,
        pub timestamp: Timestamp,
        pub config: DeviceConfig,
        pub previous_config: Option<DeviceConfig>,
        pub source: ConfigSource,
    }

    /// A calibration run of a device ended, well or badly.
    "hardware.device_calibrated" v2 from [crate::upgrade::device_calibrated_1] of "device" device_id, key(device_id),
    by "hardware-gateway", flags(sourced),
    when "a calibration run ended, well or badly";
    pub struct DeviceCalibrated {
        pub device_id: DeviceId,
        pub calibration_id: CalibrationId,
        pub timestamp: Timestamp,
        pub success: bool,
        pub calibration_type: String,
        pub duration_seconds: f64,
        pub noise_floor_db: Option<f64>,
        pub antenna_offsets: Vec<f64>,
        pub phase_correction: Vec<f64>,
        pub quality_before: Option<f32>,
        pub quality_after: Option<f32>,
        pub improvement_percent: Option<f32>,
    }

    /// A device's health crossed a threshold.
    "hardware.device_health_changed" v1 of "device" device_id, key(device_id),
    by "hardware-gateway", flags(sourced),
    when "loss, rate, RSSI or error rate crossed a health threshold (with hysteresis)";
    pub struct DeviceHealthChanged {
        pub device_id: DeviceId,
        pub timestamp: Timestamp,
        pub previous_status: String,
        pub new_status: String,
        pub cpu_usage_percent: Option<f32>,
        pub memory_usage_percent: Option<f32>,
        pub temperature_celsius: Option<f32>,
        pub error_rate: Option<f32>,
        pub failure_count: u8,
        pub recommended_action: Option<String>,
    }

    /// Something went wrong with a device; reports are limited in rate and carry a count.
    "hardware.device_error" v1 of "device" device_id, key(device_id),
    by "hardware-gateway", flags(),
    when "a malformed frame, an unsupported format, a lost socket: at most one per device, code and 10 s, with a count";
    pub struct DeviceError {
        pub device_id: DeviceId,
        pub timestamp: Timestamp,
        pub error_code: String,
        pub error_message: String,
        pub error_category: ErrorCategory,
        pub operation: String,
        pub stack_trace: Option<String>,
        pub recoverable: bool,
        pub retry_after_ms: Option<u64>,
    }
}
