//! What people ask of devices: register, change, configure, set aside, remove.

use events::hardware::{ConfigSource, DeviceConfig, DeviceConfigured, DisconnectReason};
use events::{DeviceId, EventEnvelope, Name, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::Devices;
use super::settings::{
    Settings, check, check_config, current, preview, settings_of, unknown_config,
};
use crate::device::{
    APPLIED, CHANGE, CONFIGURED, CREATED, DELETED, DEVICE_TYPE, Device, HARDWARE_ID,
    MAINTENANCE_LEFT, REQUEST_ID, State, UPDATED, ZONE,
};
use crate::driver::{self, Reach};
use crate::error::Error;
use crate::registry::Entry;

impl Devices {
    /// Registers a device.
    ///
    /// # Errors
    /// [`Error::Taken`] where the name or the hardware id is registered; [`Error::Name`] or [`Error::Invalid`] for bad values.
    pub async fn create(
        &self,
        name: &Name,
        settings: Settings,
        request_id: &str,
        validate_only: bool,
    ) -> Result<Entry, Error> {
        check(&settings)?;
        let taken = || Error::Taken {
            what: "device",
            name: name.to_string(),
            by: String::new(),
        };
        if let Some(entry) = self.registry().get(name) {
            // AIP-155: the same request again gets the same answer.
            let repeated = !request_id.is_empty() && entry.device.request_id == request_id;
            return if repeated {
                Ok(entry.clone())
            } else {
                Err(taken())
            };
        }
        self.free(&settings.hardware_id, None)?;
        if validate_only {
            return Ok(preview(Device::default(), settings));
        }
        let now = Timestamp::now();
        self.change(name, |entry| {
            if entry.is_some() {
                return Err(taken());
            }
            let mut event = self.configured(name, None, None, CREATED, now)?;
            settings.note(&mut event);
            if !request_id.is_empty() {
                event
                    .metadata
                    .extra
                    .insert(REQUEST_ID.into(), json!(request_id));
            }
            Ok(Some(event))
        })
        .await?;
        self.entry(name)
    }

    /// Changes a device's settings.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Changed`] where `etag` is given and not current, and those of `create`.
    pub async fn update(
        &self,
        name: &Name,
        etag: &str,
        validate_only: bool,
        edit: impl Fn(&mut Settings) -> Result<(), Error>,
    ) -> Result<Entry, Error> {
        let now = Timestamp::now();
        let decide = |entry: Option<&Entry>| {
            let Some(entry) = entry else {
                return Err(Error::NotFound {
                    kind: "device",
                    name: name.to_string(),
                });
            };
            current(name, entry, etag)?;
            let mut settings = settings_of(&entry.device);
            edit(&mut settings)?;
            check(&settings)?;
            Ok(settings)
        };
        let settings = decide(self.registry().get(name))?;
        self.free(&settings.hardware_id, Some(name))?;
        if validate_only {
            return Ok(preview(self.entry(name)?.device, settings));
        }
        self.change(name, |entry| {
            let settings = decide(entry)?;
            let config = entry.and_then(|entry| entry.device.config.clone());
            let mut event = self.configured(name, config.clone(), config, UPDATED, now)?;
            settings.note(&mut event);
            Ok(Some(event))
        })
        .await?;
        self.entry(name)
    }

    /// Removes a device from the registry; its history stays in the stream.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Changed`].
    pub async fn delete(&self, name: &Name, etag: &str) -> Result<(), Error> {
        let now = Timestamp::now();
        self.change(name, |entry| {
            let Some(entry) = entry else {
                return Err(Error::NotFound {
                    kind: "device",
                    name: name.to_string(),
                });
            };
            current(name, entry, etag)?;
            let mut event = self.ended(name, entry, DisconnectReason::Graceful, now)?;
            event.metadata.extra.insert(CHANGE.into(), json!(DELETED));
            Ok(Some(event))
        })
        .await
    }

    /// Says how a device is meant to run. No driver of today tells it to the device: it is an expectation.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Changed`], [`Error::Invalid`] for a bad value, [`Error::Refused`] where the family takes none.
    pub async fn configure(
        &self,
        name: &Name,
        etag: &str,
        request_id: &str,
        validate_only: bool,
        edit: impl Fn(&mut DeviceConfig) -> Result<(), Error>,
    ) -> Result<Entry, Error> {
        let now = Timestamp::now();
        let known = self.entry(name)?;
        // AIP-155: the same request again gets the same answer.
        if !request_id.is_empty() && known.device.configure_request_id == request_id {
            return Ok(known);
        }
        let decide = |entry: &Entry| {
            current(name, entry, etag)?;
            let driver = driver::of(&entry.device.device_type);
            if driver.reach == Reach::Refused {
                return Err(Error::Refused {
                    reason: "NOT_CONFIGURABLE",
                    problem: format!("device {:?}: {}", name.as_str(), driver.note),
                });
            }
            let mut config = entry.device.config.clone().unwrap_or_else(unknown_config);
            edit(&mut config)?;
            check_config(&config)?;
            Ok(config)
        };
        let config = decide(&known)?;
        if validate_only {
            let settings = settings_of(&known.device);
            let device = Device {
                config: Some(config),
                ..known.device
            };
            return Ok(preview(device, settings));
        }
        self.change(name, |entry| {
            let entry = entry.ok_or_else(|| missing(name))?;
            let previous = entry.device.config.clone();
            let mut event =
                self.configured(name, Some(decide(entry)?), previous, CONFIGURED, now)?;
            let extra = &mut event.metadata.extra;
            extra.insert(APPLIED.into(), json!(false));
            if !request_id.is_empty() {
                extra.insert(REQUEST_ID.into(), json!(request_id));
            }
            Ok(Some(event))
        })
        .await?;
        self.entry(name)
    }

    /// Sets a device aside: its frames are counted and not published. Does nothing where it is already.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Changed`].
    pub async fn enter_maintenance(
        &self,
        name: &Name,
        etag: &str,
        validate_only: bool,
    ) -> Result<Entry, Error> {
        let now = Timestamp::now();
        self.aside(name, etag, validate_only, State::Maintenance, |entry| {
            let mut event = self.ended(name, entry, DisconnectReason::MaintenanceMode, now)?;
            event.metadata.data_source = entry.source.filter(|_| entry.device.is_connected());
            Ok(event)
        })
        .await
    }

    /// Takes a device back: its next frame connects it. Does nothing where it is not in maintenance.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Changed`].
    pub async fn leave_maintenance(
        &self,
        name: &Name,
        etag: &str,
        validate_only: bool,
    ) -> Result<Entry, Error> {
        let now = Timestamp::now();
        self.aside(name, etag, validate_only, State::Offline, |entry| {
            let config = entry.device.config.clone();
            self.configured(name, config.clone(), config, MAINTENANCE_LEFT, now)
        })
        .await
    }

    /// Into maintenance, or out of it.
    async fn aside(
        &self,
        name: &Name,
        etag: &str,
        validate_only: bool,
        to: State,
        event: impl Fn(&Entry) -> Result<EventEnvelope, Error>,
    ) -> Result<Entry, Error> {
        let there = |entry: &Entry| {
            (entry.device.state == State::Maintenance) == (to == State::Maintenance)
        };
        if validate_only {
            let mut entry = self.entry(name)?;
            current(name, &entry, etag)?;
            if !there(&entry) {
                entry.device.state = to;
            }
            return Ok(entry);
        }
        self.change(name, |entry| {
            let entry = entry.ok_or_else(|| missing(name))?;
            current(name, entry, etag)?;
            if there(entry) {
                return Ok(None);
            }
            event(entry).map(Some)
        })
        .await?;
        self.entry(name)
    }

    fn configured(
        &self,
        name: &Name,
        config: Option<DeviceConfig>,
        previous_config: Option<DeviceConfig>,
        change: &str,
        now: Timestamp,
    ) -> Result<EventEnvelope, Error> {
        let event = DeviceConfigured {
            device_id: DeviceId(name.clone()),
            timestamp: now,
            config: config.unwrap_or_else(unknown_config),
            previous_config,
            source: ConfigSource::Api,
        };
        let mut envelope = self.envelope(Uuid::now_v7(), &event)?;
        envelope.metadata.extra.insert(CHANGE.into(), json!(change));
        Ok(envelope)
    }
}

impl Settings {
    /// What is not configuration travels in the metadata.
    fn note(&self, event: &mut EventEnvelope) {
        for (key, value) in [
            (ZONE, &self.zone),
            (HARDWARE_ID, &self.hardware_id),
            (DEVICE_TYPE, &self.device_type),
        ] {
            event.metadata.extra.insert(key.into(), json!(value));
        }
    }
}

fn missing(name: &Name) -> Error {
    Error::NotFound {
        kind: "device",
        name: name.to_string(),
    }
}
