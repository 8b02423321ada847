//! How frames of a device begin and cease to arrive.

use csi::Frame;
use events::hardware::{DeviceConnected, DeviceDisconnected, DisconnectReason};
use events::types::DeviceConfig;
use events::{DataSource, DeviceId, EventEnvelope, Name, Timestamp};
use uuid::Uuid;

use super::{Devices, NAMESPACE};
use crate::error::Error;
use crate::registry::Entry;

impl Devices {
    /// Notes that frames of a device arrive. Does nothing where it is connected already.
    ///
    /// # Errors
    /// Where the event could not be appended.
    pub async fn connected(&self, name: &Name, link: &Connection) -> Result<(), Error> {
        let result = self
            .change(name, |entry| match entry {
                Some(entry) if entry.device.awaits_frames() => {
                    let event = DeviceConnected {
                        device_id: DeviceId(name.clone()),
                        timestamp: link.time,
                        ip_address: (!link.address.is_empty()).then(|| link.address.clone()),
                        protocol: link.protocol.to_owned(),
                        connection_time_ms: None,
                        firmware_version: None,
                        current_config: link.config.clone(),
                    };
                    let mut envelope =
                        self.envelope(link.id(name, entry.version.number), &event)?;
                    envelope.metadata.data_source = Some(link.source);
                    Ok(Some(envelope.correlated(link.run)))
                }
                _ => Ok(None),
            })
            .await;
        self.registry().set_changing(name, false);
        result
    }

    /// Notes that frames of a device no longer arrive. Does nothing where it is not connected.
    ///
    /// # Errors
    /// Where the event could not be appended.
    pub async fn disconnected(
        &self,
        name: &Name,
        reason: DisconnectReason,
        time: Timestamp,
        run: Option<Uuid>,
    ) -> Result<(), Error> {
        self.registry().set_changing(name, true);
        let result = self
            .change(name, |entry| match entry {
                Some(entry) if entry.device.is_connected() => {
                    let mut event = self.ended(name, entry, reason, time)?;
                    event.metadata.data_source = entry.source;
                    Ok(Some(event.correlated(run)))
                }
                _ => Ok(None),
            })
            .await;
        self.registry().set_changing(name, false);
        result
    }

    pub(super) fn ended(
        &self,
        name: &Name,
        entry: &Entry,
        reason: DisconnectReason,
        time: Timestamp,
    ) -> Result<EventEnvelope, Error> {
        let since = entry
            .device
            .connected
            .filter(|_| entry.device.is_connected());
        let last = entry.track.last_frame_us.map(Timestamp::from_micros);
        let (frames, malformed) = entry.connection;
        let event = DeviceDisconnected {
            device_id: DeviceId(name.clone()),
            timestamp: time,
            reason,
            error_message: None,
            connected_since: since,
            uptime_seconds: since
                .zip(last)
                .map(|(since, last)| last.seconds_since(since).max(0.0)),
            frames_transmitted: if since.is_some() { frames } else { 0 },
            errors_count: u32::try_from(malformed).unwrap_or(u32::MAX),
        };
        let cause = format!("{name}/{}/disconnected", entry.version.number);
        self.envelope(Uuid::new_v5(&NAMESPACE, cause.as_bytes()), &event)
    }
}

/// Who sent a frame without being registered.
#[derive(Clone, Debug)]
pub struct Sender {
    /// What identifies it.
    pub hardware_id: String,
    /// Address of the datagram.
    pub address: String,
    /// Family.
    pub device_type: &'static str,
}

/// How frames of a device began to arrive.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Time of the first frame.
    pub time: Timestamp,
    /// Address of the sender; empty for a recording.
    pub address: String,
    /// `udp` or `replay`.
    pub protocol: &'static str,
    /// What the first frame shows; what it cannot show (the sampling rate) is absent.
    pub config: DeviceConfig,
    /// Where the frames come from.
    pub source: DataSource,
    /// The replay that they belong to.
    pub run: Option<Uuid>,
}

impl Connection {
    /// From the first frame.
    #[must_use]
    pub fn of(
        frame: &Frame,
        address: &str,
        protocol: &'static str,
        source: DataSource,
        run: Option<Uuid>,
    ) -> Self {
        Self {
            time: Timestamp::from_micros(frame.receive_time_us),
            address: address.to_owned(),
            protocol,
            config: DeviceConfig {
                sampling_rate_hz: None,
                subcarriers: u16::try_from(frame.layout.subcarriers.len()).ok(),
                antennas: Some(frame.antennas),
                bandwidth: frame.bandwidth_mhz.map(|mhz| format!("{mhz}MHz")),
                channel: frame.channel,
            },
            source,
            run,
        }
    }

    fn id(&self, name: &Name, version: u64) -> Uuid {
        let cause = match self.run {
            Some(run) => format!("{name}/{run}/connected"),
            None => format!("{name}/{version}/{}/connected", self.time.as_micros()),
        };
        Uuid::new_v5(&NAMESPACE, cause.as_bytes())
    }
}
