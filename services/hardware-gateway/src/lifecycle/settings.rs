//! What a user may set of a device, and what is refused.

use events::Name;
use events::hardware::DeviceConfig;

use crate::device::{Device, State};
use crate::error::Error;
use crate::registry::Entry;

/// What a user may set of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Zone, a DNS label.
    pub zone: String,
    /// What identifies the sender; unique among the registered devices.
    pub hardware_id: String,
    /// Family of the sender.
    pub device_type: String,
}

/// A configuration of which nothing is known.
pub(super) fn unknown_config() -> DeviceConfig {
    DeviceConfig {
        sampling_rate_hz: None,
        subcarriers: None,
        antennas: None,
        bandwidth: None,
        channel: None,
    }
}

pub(super) fn settings_of(device: &Device) -> Settings {
    Settings {
        zone: device.zone.clone(),
        hardware_id: device.hardware_id.clone(),
        device_type: device.device_type.clone(),
    }
}

/// The device that a command would give: for `validate_only`.
pub(super) fn preview(device: Device, settings: Settings) -> Entry {
    let state = match device.state {
        State::Absent => State::Provisioning,
        state => state,
    };
    let device = Device {
        state,
        zone: settings.zone,
        hardware_id: settings.hardware_id,
        device_type: settings.device_type,
        ..device
    };
    Entry {
        device,
        ..Entry::default()
    }
}

pub(super) fn current(name: &Name, entry: &Entry, etag: &str) -> Result<(), Error> {
    if etag.is_empty() || etag == entry.device.etag() {
        Ok(())
    } else {
        Err(Error::Changed {
            kind: "device",
            name: name.to_string(),
            etag: etag.to_owned(),
        })
    }
}

pub(super) fn check(settings: &Settings) -> Result<(), Error> {
    Name::new(&*settings.zone).map_err(|source| Error::Name {
        field: "device.zone",
        source,
    })?;
    let id = &settings.hardware_id;
    if id.is_empty() || id.len() > 100 || !id.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Error::Invalid {
            field: "device.hardware_id",
            problem: format!(
                "{id:?} must be 1 to 100 visible ASCII characters, such as adr018:7 or a MAC address"
            ),
        });
    }
    Ok(())
}

/// Fastest rate that is expected of any device, Hz.
const MAX_RATE_HZ: u32 = 10_000;

/// Whether a configuration is one that some device could have.
pub(super) fn check_config(config: &DeviceConfig) -> Result<(), Error> {
    let invalid = |field: &'static str, problem: String| Err(Error::Invalid { field, problem });
    if let Some(hz) = config.sampling_rate_hz
        && !(1..=MAX_RATE_HZ).contains(&hz)
    {
        return invalid(
            "configuration.sampling_rate_hz",
            format!("{hz} must be 1 to {MAX_RATE_HZ} Hz"),
        );
    }
    if let Some(bandwidth) = &config.bandwidth
        && !["20MHz", "40MHz", "80MHz", "160MHz"].contains(&bandwidth.as_str())
    {
        return invalid(
            "configuration.bandwidth_mhz",
            format!("{bandwidth} must be 20, 40, 80 or 160 MHz"),
        );
    }
    if let Some(channel) = config.channel
        && csi::frame::frequency_of(channel).is_none()
    {
        return invalid(
            "configuration.channel",
            format!("{channel} is no channel of the 2.4 or 5 GHz band (1 to 14, 32 to 177)"),
        );
    }
    Ok(())
}
