//! Commands on devices: decide on the aggregate, append to its stream, apply what was appended. On a conflict the aggregate
//! is loaded again and decided again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bus::{Aggregate, AppendError, Bus};
use csi::Frame;
use events::hardware::{
    ConfigSource, DeviceConfigured, DeviceConnected, DeviceDisconnected, DeviceDiscovered,
    DeviceError, DisconnectReason, ErrorCategory,
};
use events::types::{DeviceCapabilities, DeviceConfig};
use events::{
    DataSource, DeviceId, DiscoveryId, DomainEvent, EventEnvelope, Metadata, Name, Timestamp,
};
use serde_json::json;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::device::{CHANGE, DEVICE_TYPE, Device, HARDWARE_ID, REQUEST_ID, State, ZONE};
use crate::error::Error;
use crate::faults::Report;
use crate::registry::{Entry, Registry};

/// How often a decision is made anew when other writers come first.
const MAX_CONFLICTS: usize = 8;
/// Namespace of the ids that the gateway derives from names.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x6fe2_8a9c_1d57_5c3e_9b1c_7d4a_ae60_31f5);

/// The devices, and the way to change them.
pub struct Devices {
    bus: Bus,
    source: String,
    registry: Mutex<Registry>,
    changes: broadcast::Sender<Name>,
}

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

impl Devices {
    /// Rebuilds the registry from the stored events.
    ///
    /// # Errors
    /// Where the events cannot be read.
    pub async fn load(bus: Bus, source: String) -> Result<Self, Error> {
        let mut registry = Registry::default();
        for stored in bus.replay("hardware.*.*", bus::From::Start).await? {
            let key = stored.subject.rsplit('.').next().unwrap_or_default();
            registry.apply(key, &stored.event, stored.stream_sequence);
        }
        let (changes, _) = broadcast::channel(256);
        Ok(Self {
            bus,
            source,
            registry: Mutex::new(registry),
            changes,
        })
    }

    /// The registry. Never held across an await.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of devices as they change.
    pub fn changes(&self) -> broadcast::Receiver<Name> {
        self.changes.subscribe()
    }

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
            return Ok(preview(settings));
        }
        let now = Timestamp::now();
        self.change(name, |entry| {
            if entry.is_some() {
                return Err(taken());
            }
            let mut event = self.configured(name, &settings, "created", now)?;
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
            return Ok(preview(settings));
        }
        self.change(name, |entry| {
            Ok(Some(self.configured(
                name,
                &decide(entry)?,
                "updated",
                now,
            )?))
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
            event.metadata.extra.insert(CHANGE.into(), json!("deleted"));
            Ok(Some(event))
        })
        .await
    }

    /// Notes that frames of a device arrive. Does nothing where it is connected already.
    ///
    /// # Errors
    /// Where the event could not be appended.
    pub async fn connected(&self, name: &Name, link: &Connection) -> Result<(), Error> {
        let result = self
            .change(name, |entry| match entry {
                Some(entry) if entry.device.state != State::Connected => {
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
                Some(entry) if entry.device.state == State::Connected => {
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

    /// Announces a sender that is not registered.
    ///
    /// # Errors
    /// Where the event could not be stored.
    pub async fn discovered(&self, sender: &Sender, frame: &Frame) -> Result<(), Error> {
        let id = Uuid::new_v5(&NAMESPACE, sender.hardware_id.as_bytes());
        let event = DeviceDiscovered {
            discovery_id: DiscoveryId(id),
            timestamp: Timestamp::from_micros(frame.receive_time_us),
            mac_address: sender.hardware_id.clone(),
            ip_address: Some(sender.address.clone()),
            device_type: sender.device_type.to_owned(),
            capabilities: DeviceCapabilities {
                max_subcarriers: u16::try_from(frame.layout.subcarriers.len()).ok(),
                max_antennas: Some(frame.antennas),
                supported_bandwidths: frame
                    .bandwidth_mhz
                    .iter()
                    .map(|mhz| format!("{mhz}MHz"))
                    .collect(),
                max_sampling_rate_hz: None,
            },
            firmware_version: None,
        };
        let mut envelope = self.envelope(
            Uuid::new_v5(&id, frame.receive_time_us.to_string().as_bytes()),
            &event,
        )?;
        envelope.metadata.data_source = Some(if frame.simulated {
            DataSource::Simulated
        } else {
            DataSource::Live
        });
        self.bus.publish(&envelope).await?;
        Ok(())
    }

    /// Announces errors of one device or sender.
    ///
    /// # Errors
    /// Where the event could not be stored, or the sender's name is no DNS label.
    pub async fn errors(&self, report: &Report) -> Result<(), Error> {
        let device_id = DeviceId::new(&*report.device).map_err(|source| Error::Name {
            field: "device",
            source,
        })?;
        let event = DeviceError {
            device_id,
            timestamp: Timestamp::from_micros(report.first_us),
            error_code: report.code.clone(),
            error_message: report.message.clone(),
            error_category: ErrorCategory::Protocol,
            operation: "decode".into(),
            stack_trace: None,
            recoverable: true,
            retry_after_ms: None,
        };
        let id = Uuid::new_v5(
            &NAMESPACE,
            format!("{}/{}/{}", report.device, report.code, report.first_us).as_bytes(),
        );
        let mut envelope = self.envelope(id, &event)?;
        envelope
            .metadata
            .extra
            .insert("count".into(), json!(report.count));
        self.bus.publish(&envelope).await?;
        Ok(())
    }

    fn entry(&self, name: &Name) -> Result<Entry, Error> {
        self.registry()
            .get(name)
            .cloned()
            .ok_or_else(|| Error::NotFound {
                kind: "device",
                name: name.to_string(),
            })
    }

    fn free(&self, hardware_id: &str, own: Option<&Name>) -> Result<(), Error> {
        match self.registry().owner(hardware_id) {
            Some(owner) if Some(owner) != own => Err(Error::Taken {
                what: "hardware id",
                name: hardware_id.to_owned(),
                by: format!(" as device {owner:?}", owner = owner.as_str()),
            }),
            _ => Ok(()),
        }
    }

    /// Appends what `decide` says, if anything, to the device's stream.
    async fn change(
        &self,
        name: &Name,
        decide: impl Fn(Option<&Entry>) -> Result<Option<EventEnvelope>, Error>,
    ) -> Result<(), Error> {
        let aggregate = Aggregate {
            context: "hardware".into(),
            key: name.to_string(),
        };
        for _ in 0..MAX_CONFLICTS {
            let (event, expected) = {
                let registry = self.registry();
                let Some(event) = decide(registry.get(name))? else {
                    return Ok(());
                };
                (event, registry.version(name))
            };
            match self
                .bus
                .append(&aggregate, expected, vec![event.clone()])
                .await
            {
                Ok(version) => {
                    let mut event = event;
                    event.sequence_number = version.number;
                    self.registry()
                        .apply(name.as_str(), &event, version.stream_sequence);
                    // No receiver is no fault: nobody watches.
                    let _ = self.changes.send(name.clone());
                    return Ok(());
                }
                Err(AppendError::Conflict { .. }) => {
                    let (events, version) =
                        self.bus.load_from_version(&aggregate, expected).await?;
                    self.registry().reload(name, &events, version);
                }
                Err(AppendError::Bus(error)) => return Err(error.into()),
            }
        }
        Err(Error::Changed {
            name: name.to_string(),
            etag: String::new(),
        })
    }

    fn configured(
        &self,
        name: &Name,
        settings: &Settings,
        change: &str,
        now: Timestamp,
    ) -> Result<EventEnvelope, Error> {
        let event = DeviceConfigured {
            device_id: DeviceId(name.clone()),
            timestamp: now,
            config: unknown_config(),
            previous_config: None,
            source: ConfigSource::Api,
        };
        let mut envelope = self.envelope(Uuid::now_v7(), &event)?;
        for (key, value) in [
            (ZONE, &*settings.zone),
            (HARDWARE_ID, &*settings.hardware_id),
            (DEVICE_TYPE, &*settings.device_type),
            (CHANGE, change),
        ] {
            envelope.metadata.extra.insert(key.into(), json!(value));
        }
        Ok(envelope)
    }

    #[allow(clippy::cast_possible_truncation)]
    fn ended(
        &self,
        name: &Name,
        entry: &Entry,
        reason: DisconnectReason,
        time: Timestamp,
    ) -> Result<EventEnvelope, Error> {
        let since = entry
            .device
            .connected
            .filter(|_| entry.device.state == State::Connected);
        let last = entry.track.last_frame_us.map(Timestamp::from_micros);
        let event = DeviceDisconnected {
            device_id: DeviceId(name.clone()),
            timestamp: time,
            reason,
            error_message: None,
            connected_since: since,
            uptime_seconds: since
                .zip(last)
                .map(|(since, last)| last.seconds_since(since).max(0.0)),
            frames_transmitted: entry.track.frames,
            errors_count: u32::try_from(entry.malformed).unwrap_or(u32::MAX),
        };
        let cause = format!("{name}/{}/disconnected", entry.version.number);
        self.envelope(Uuid::new_v5(&NAMESPACE, cause.as_bytes()), &event)
    }

    fn envelope<E: DomainEvent>(&self, id: Uuid, event: &E) -> Result<EventEnvelope, Error> {
        let metadata = Metadata {
            source: self.source.clone(),
            ..Metadata::default()
        };
        Ok(EventEnvelope::new(id, event, metadata)?)
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

/// A configuration of which nothing is known.
fn unknown_config() -> DeviceConfig {
    DeviceConfig {
        sampling_rate_hz: None,
        subcarriers: None,
        antennas: None,
        bandwidth: None,
        channel: None,
    }
}

fn settings_of(device: &Device) -> Settings {
    Settings {
        zone: device.zone.clone(),
        hardware_id: device.hardware_id.clone(),
        device_type: device.device_type.clone(),
    }
}

fn preview(settings: Settings) -> Entry {
    let device = Device {
        state: State::Provisioned,
        zone: settings.zone,
        hardware_id: settings.hardware_id,
        device_type: settings.device_type,
        ..Device::default()
    };
    Entry {
        device,
        ..Entry::default()
    }
}

fn current(name: &Name, entry: &Entry, etag: &str) -> Result<(), Error> {
    if etag.is_empty() || etag == entry.device.etag() {
        Ok(())
    } else {
        Err(Error::Changed {
            name: name.to_string(),
            etag: etag.to_owned(),
        })
    }
}

fn check(settings: &Settings) -> Result<(), Error> {
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
