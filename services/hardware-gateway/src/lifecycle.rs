//! Commands on devices: decide on the aggregate, append to its stream, apply what was appended. On a conflict the aggregate
//! is loaded again and decided again.

mod announce;
mod calibrated;
mod commands;
mod connection;
mod settings;

use std::sync::{Mutex, MutexGuard, PoisonError};

use bus::{Aggregate, AppendError, Bus};
use events::{DomainEvent, EventEnvelope, Metadata, Name};
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::config;
use crate::error::Error;
use crate::health::gate::Holds;
use crate::registry::{Entry, Registry};

pub use connection::{Connection, Sender};
pub use settings::Settings;

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
    /// Seconds that health is measured over.
    pub health_window: u32,
    /// How long something must be wrong, or right again.
    pub holds: Holds,
}

impl Devices {
    /// Rebuilds the registry from the stored events.
    ///
    /// # Errors
    /// Where the events cannot be read.
    pub async fn load(bus: Bus, source: String, health: config::Health) -> Result<Self, Error> {
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
            health_window: health.window_s,
            holds: health.holds(),
        })
    }

    /// The bus.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The registry. Never held across an await.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of devices as they change.
    pub fn changes(&self) -> broadcast::Receiver<Name> {
        self.changes.subscribe()
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
            kind: "device",
            name: name.to_string(),
            etag: String::new(),
        })
    }

    fn envelope<E: DomainEvent>(&self, id: Uuid, event: &E) -> Result<EventEnvelope, Error> {
        let metadata = Metadata {
            source: self.source.clone(),
            ..Metadata::default()
        };
        Ok(EventEnvelope::new(id, event, metadata)?)
    }
}
