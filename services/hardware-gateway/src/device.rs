//! The device aggregate: one registered sender of frames, rebuilt from its events. Pure.
//!
//! The catalogue has no event of its own for registration: a device exists from its first `hardware.device_configured`,
//! whose metadata carry what is not configuration (`zone`, `hardware_id`, `device_type`), and is gone after the
//! `hardware.device_disconnected` whose metadata say `change: deleted`.

use bus::EventSourced;
use events::hardware::{DeviceConfigured, DeviceConnected, DeviceDisconnected};
use events::{DomainEvent, EventEnvelope, Timestamp};
use serde_json::Value;

/// Metadata key: the device's zone.
pub const ZONE: &str = "zone";
/// Metadata key: what identifies the sender.
pub const HARDWARE_ID: &str = "hardware_id";
/// Metadata key: family of the sender.
pub const DEVICE_TYPE: &str = "device_type";
/// Metadata key: the `request_id` that registered the device, where one was given.
pub const REQUEST_ID: &str = "request_id";
/// Metadata key: `created`, `updated` or `deleted`.
pub const CHANGE: &str = "change";

/// Where a registered device stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// No such device, or deleted.
    #[default]
    Absent,
    /// Registered, no frame yet.
    Provisioned,
    /// Frames arrive.
    Connected,
    /// Frames no longer arrive.
    Disconnected,
}

/// The state that a device's events add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Device {
    /// Where it stands.
    pub state: State,
    /// Zone that its frames belong to.
    pub zone: String,
    /// What identifies the sender, e.g. `adr018:7`.
    pub hardware_id: String,
    /// Family of the sender.
    pub device_type: String,
    /// The `request_id` that registered it; empty where none was given.
    pub request_id: String,
    /// Number of its last event; the resource's etag.
    pub version: u64,
    /// First registration.
    pub created: Timestamp,
    /// Last event.
    pub updated: Timestamp,
    /// Start of the present or last connection.
    pub connected: Option<Timestamp>,
}

impl Device {
    /// Whether it is registered.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.state != State::Absent
    }

    /// Etag of the resource: the version of the aggregate.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("{}", self.version)
    }
}

fn text(event: &EventEnvelope, key: &str) -> Option<String> {
    event
        .metadata
        .extra
        .get(key)
        .and_then(Value::as_str)
        .map(str::to_owned)
}

impl EventSourced for Device {
    fn apply(&mut self, event: &EventEnvelope) {
        match event.event_type.as_str() {
            DeviceConfigured::EVENT_TYPE => {
                if !self.exists() {
                    *self = Self {
                        state: State::Provisioned,
                        created: event.occurred_at,
                        ..Self::default()
                    };
                }
                for (field, key) in [
                    (&mut self.zone, ZONE),
                    (&mut self.hardware_id, HARDWARE_ID),
                    (&mut self.device_type, DEVICE_TYPE),
                    (&mut self.request_id, REQUEST_ID),
                ] {
                    if let Some(value) = text(event, key) {
                        *field = value;
                    }
                }
            }
            DeviceConnected::EVENT_TYPE if self.exists() => {
                self.state = State::Connected;
                self.connected = Some(event.occurred_at);
            }
            DeviceDisconnected::EVENT_TYPE if self.exists() => {
                self.state = if text(event, CHANGE).as_deref() == Some("deleted") {
                    State::Absent
                } else {
                    State::Disconnected
                };
            }
            _ => return,
        }
        self.version = event.sequence_number;
        self.updated = event.occurred_at;
    }
}
