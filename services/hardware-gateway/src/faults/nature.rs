//! What kind of error a code is, and what a person can do about it.

use events::hardware::ErrorCategory;

/// What `hardware.device_error` says beside code and message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nature {
    /// Its category.
    pub category: ErrorCategory,
    /// During what it happened.
    pub operation: &'static str,
    /// What a person can do; metadata `recommended_action`.
    pub action: Option<&'static str>,
}

/// By code; what no entry names is an error of decoding.
#[must_use]
pub fn nature(code: &str) -> Nature {
    let (category, operation, action) = match code {
        "source_failed" => (
            ErrorCategory::Connection,
            "read",
            Some("check cable, path and rights of the source; it is tried again by itself"),
        ),
        "kernel_drops" => (
            ErrorCategory::Resource,
            "receive",
            Some(
                "raise the limit of socket buffers: sysctl -w net.core.rmem_max=16777216, and restart the gateway",
            ),
        ),
        "shed" => (
            ErrorCategory::Resource,
            "publish",
            Some("send fewer frames, or give nats-server and gateway more CPU"),
        ),
        "rate_limited" => (
            ErrorCategory::Resource,
            "admit",
            Some("lower the device's rate, or raise hardware_gateway.device_rate_hz"),
        ),
        "publish_failed" => (
            ErrorCategory::Resource,
            "publish",
            Some("see whether nats-server runs and its streams have room: fresnel doctor"),
        ),
        "duplicate_identity" => (
            ErrorCategory::Configuration,
            "identify",
            Some(
                "give each device a node number or MAC address of its own, or register it by its address",
            ),
        ),
        "address_changed" => (ErrorCategory::Connection, "identify", None),
        "clock_jump" => (
            ErrorCategory::Hardware,
            "timestamp",
            Some(
                "the device restarted or its clock jumped: check its power supply if this goes on",
            ),
        ),
        "too_many_connections" => (
            ErrorCategory::Resource,
            "accept",
            Some("raise max_connections of the source"),
        ),
        _ => (ErrorCategory::Protocol, "decode", None),
    };
    Nature {
        category,
        operation,
        action,
    }
}
