//! The device aggregate: one registered sender of frames, rebuilt from its events. Pure.
//!
//! The catalogue has no event of its own for registration: a device exists from its first `hardware.device_configured`,
//! whose metadata carry what is not configuration (`zone`, `hardware_id`, `device_type`), and is gone after the
//! `hardware.device_disconnected` whose metadata say `change: deleted`. It is in maintenance from a disconnect for that reason
//! until a `hardware.device_configured` whose metadata say `change: maintenance_left`.

use bus::EventSourced;
use events::hardware::{
    DeviceCalibrated, DeviceConfig, DeviceConfigured, DeviceConnected, DeviceDisconnected,
    DeviceHealthChanged, DisconnectReason,
};
use events::{DomainEvent, EventEnvelope, Timestamp};
use serde_json::Value;

use crate::health::Status;

/// Metadata key: the device's zone.
pub const ZONE: &str = "zone";
/// Metadata key: what identifies the sender.
pub const HARDWARE_ID: &str = "hardware_id";
/// Metadata key: family of the sender.
pub const DEVICE_TYPE: &str = "device_type";
/// Metadata key: the `request_id` of the command that led to the event, where one was given.
pub const REQUEST_ID: &str = "request_id";
/// Metadata key: what a command did.
pub const CHANGE: &str = "change";
/// [`CHANGE`]: registered.
pub const CREATED: &str = "created";
/// [`CHANGE`]: zone, hardware id or type.
pub const UPDATED: &str = "updated";
/// [`CHANGE`]: what is expected of it.
pub const CONFIGURED: &str = "configured";
/// [`CHANGE`]: removed.
pub const DELETED: &str = "deleted";
/// [`CHANGE`]: no longer in maintenance.
pub const MAINTENANCE_LEFT: &str = "maintenance_left";
/// Metadata key of a configuration: whether the device was told.
pub const APPLIED: &str = "applied";
/// Metadata key of a health event: what is wrong, the worst first.
pub const CAUSES: &str = "causes";

/// Where a registered device stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// No such device, or deleted.
    #[default]
    Absent,
    /// Registered, no frame yet.
    Provisioning,
    /// Frames arrive.
    Active,
    /// Frames arrive, and not as they should.
    Degraded,
    /// Frames no longer arrive.
    Offline,
    /// Set aside by a person: frames are counted and not published.
    Maintenance,
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
    /// The `request_id` of the last configuration; empty where none was given.
    pub configure_request_id: String,
    /// What is expected of it; absent what nobody said.
    pub config: Option<DeviceConfig>,
    /// As it was last announced.
    pub health: Option<Status>,
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

    /// Whether frames of it arrive and are published.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Active | State::Degraded)
    }

    /// Whether a frame connects it.
    #[must_use]
    pub fn awaits_frames(&self) -> bool {
        matches!(self.state, State::Provisioning | State::Offline)
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
            DeviceConfigured::EVENT_TYPE => self.configured(event),
            DeviceConnected::EVENT_TYPE if self.exists() => {
                self.state = State::Active;
                self.connected = Some(event.occurred_at);
            }
            DeviceDisconnected::EVENT_TYPE if self.exists() => {
                let reason = event.payload.get("reason").and_then(Value::as_str);
                self.state = if text(event, CHANGE).as_deref() == Some(DELETED) {
                    State::Absent
                } else if reason == Some(DisconnectReason::MaintenanceMode.as_str()) {
                    State::Maintenance
                } else {
                    State::Offline
                };
            }
            DeviceHealthChanged::EVENT_TYPE if self.exists() => {
                let status = event.payload.get("new_status").and_then(Value::as_str);
                self.health = status.and_then(Status::of);
                self.state = match (self.state, self.health) {
                    (State::Active, Some(Status::Degraded | Status::Unhealthy)) => State::Degraded,
                    (State::Degraded, Some(Status::Healthy)) => State::Active,
                    (state, _) => state,
                };
            }
            DeviceCalibrated::EVENT_TYPE if self.exists() => {}
            _ => return,
        }
        self.version = event.sequence_number;
        self.updated = event.occurred_at;
    }
}

impl Device {
    fn configured(&mut self, event: &EventEnvelope) {
        if !self.exists() {
            *self = Self {
                state: State::Provisioning,
                created: event.occurred_at,
                ..Self::default()
            };
        }
        for (field, key) in [
            (&mut self.zone, ZONE),
            (&mut self.hardware_id, HARDWARE_ID),
            (&mut self.device_type, DEVICE_TYPE),
        ] {
            if let Some(value) = text(event, key) {
                *field = value;
            }
        }
        match text(event, CHANGE).as_deref() {
            Some(CONFIGURED) => {
                self.configure_request_id = text(event, REQUEST_ID).unwrap_or_default();
            }
            Some(MAINTENANCE_LEFT) => self.state = State::Offline,
            _ => {
                if let Some(request) = text(event, REQUEST_ID) {
                    self.request_id = request;
                }
            }
        }
        // An event of version 1 has zeros for what nobody said; its upgrade takes them away.
        if let Ok(Some(configured)) = event.read::<DeviceConfigured>() {
            self.config = Some(configured.config);
        }
    }
}
