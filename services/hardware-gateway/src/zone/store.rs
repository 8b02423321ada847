//! Zones in the KV bucket `config`, under `zones/NAME`; the revision is the etag.

use std::sync::Arc;

use bus::Kv;
use bytes::Bytes;
use events::{Name, Timestamp};
use tokio::sync::{Mutex, broadcast};

use crate::error::Error;
use crate::lifecycle::Devices;
use crate::zone::Zone;

const PREFIX: &str = "zones/";
/// How often a change is made anew when other writers come first.
const MAX_CONFLICTS: usize = 8;

/// The zones.
pub struct Zones {
    kv: Kv,
    devices: Arc<Devices>,
    changes: broadcast::Sender<Name>,
    /// Deleting looks at the devices first: one at a time.
    deleting: Mutex<()>,
}

/// A zone and its revision.
pub type Kept = (Zone, u64);

impl Zones {
    /// Opens the bucket.
    ///
    /// # Errors
    /// Where it cannot be reached.
    pub async fn open(devices: Arc<Devices>) -> Result<Self, Error> {
        let (changes, _) = broadcast::channel(256);
        Ok(Self {
            kv: devices.bus().kv("config").await?,
            devices,
            changes,
            deleting: Mutex::new(()),
        })
    }

    /// Names of zones as they change.
    pub fn changes(&self) -> broadcast::Receiver<Name> {
        self.changes.subscribe()
    }

    /// Names of the registered devices in a zone.
    #[must_use]
    pub fn devices_in(&self, zone: &Name) -> Vec<String> {
        self.devices
            .registry()
            .list("")
            .filter(|(_, entry)| entry.device.zone == zone.as_str())
            .map(|(name, _)| name.to_string())
            .collect()
    }

    /// A zone.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get(&self, name: &Name) -> Result<Kept, Error> {
        self.read(name).await?.ok_or_else(|| Error::NotFound {
            kind: "zone",
            name: name.to_string(),
        })
    }

    /// Names of all zones, in order.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub async fn names(&self) -> Result<Vec<Name>, Error> {
        let keys = self.kv.keys().await?;
        let names = keys.iter().filter_map(|key| key.strip_prefix(PREFIX));
        Ok(names.filter_map(|name| Name::new(name).ok()).collect())
    }

    /// Makes a zone.
    ///
    /// # Errors
    /// [`Error::Taken`], [`Error::Invalid`].
    pub async fn create(
        &self,
        name: &Name,
        mut zone: Zone,
        validate_only: bool,
    ) -> Result<Kept, Error> {
        zone.check()?;
        let taken = || Error::Taken {
            what: "zone",
            name: name.to_string(),
            by: String::new(),
        };
        let repeated =
            |known: &Zone| !known.request_id.is_empty() && known.request_id == zone.request_id;
        if let Some((known, revision)) = self.read(name).await? {
            // AIP-155: the same request again gets the same answer.
            return if repeated(&known) {
                Ok((known, revision))
            } else {
                Err(taken())
            };
        }
        zone.created = Timestamp::now();
        zone.updated = zone.created;
        if validate_only {
            return Ok((zone, 0));
        }
        let revision = self.kv.update(&key(name), encode(&zone)?, 0).await?;
        let revision = revision.ok_or_else(taken)?;
        self.tell(name);
        Ok((zone, revision))
    }

    /// Changes a zone.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Changed`], [`Error::Invalid`].
    pub async fn update(
        &self,
        name: &Name,
        etag: &str,
        validate_only: bool,
        edit: impl Fn(&mut Zone) -> Result<(), Error> + Sync,
    ) -> Result<Kept, Error> {
        for _ in 0..MAX_CONFLICTS {
            let (mut zone, revision) = self.get(name).await?;
            current(name, etag, revision)?;
            edit(&mut zone)?;
            zone.check()?;
            zone.updated = Timestamp::now();
            if validate_only {
                return Ok((zone, revision));
            }
            if let Some(revision) = self.kv.update(&key(name), encode(&zone)?, revision).await? {
                self.tell(name);
                return Ok((zone, revision));
            }
        }
        Err(changed(name, etag))
    }

    /// Removes a zone that has no devices.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Changed`], [`Error::Refused`] where devices are in it.
    pub async fn delete(&self, name: &Name, etag: &str) -> Result<(), Error> {
        let _one = self.deleting.lock().await;
        let (_, revision) = self.get(name).await?;
        current(name, etag, revision)?;
        let devices = self.devices_in(name);
        if !devices.is_empty() {
            return Err(Error::Refused {
                reason: "ZONE_HAS_DEVICES",
                problem: format!(
                    "zone {:?} has devices ({}): move them (`fresnel devices update NAME --zone ZONE`) or delete them first",
                    name.as_str(),
                    devices.join(", ")
                ),
            });
        }
        self.kv.delete(&key(name)).await?;
        self.tell(name);
        Ok(())
    }

    async fn read(&self, name: &Name) -> Result<Option<Kept>, Error> {
        let Some((bytes, revision)) = self.kv.get(&key(name)).await? else {
            return Ok(None);
        };
        Ok(Some((serde_json::from_slice(&bytes)?, revision)))
    }

    fn tell(&self, name: &Name) {
        // No receiver is no fault: nobody watches.
        let _ = self.changes.send(name.clone());
    }
}

fn key(name: &Name) -> String {
    format!("{PREFIX}{name}")
}

fn encode(zone: &Zone) -> Result<Bytes, Error> {
    Ok(Bytes::from(serde_json::to_vec(zone)?))
}

fn current(name: &Name, etag: &str, revision: u64) -> Result<(), Error> {
    if etag.is_empty() || etag == revision.to_string() {
        Ok(())
    } else {
        Err(changed(name, etag))
    }
}

fn changed(name: &Name, etag: &str) -> Error {
    Error::Changed {
        kind: "zone",
        name: name.to_string(),
        etag: etag.to_owned(),
    }
}
