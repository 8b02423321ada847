//! The versions that are kept, and the one in use: bucket `calibrations`.

use bus::calibration::{Pointer, pointer_key, version_key};
use bus::{Bus, Kv};
use bytes::Bytes;
use prost::Message as _;
use proto::gateway::v1 as pb;

use super::Kind;
use crate::error::Error;

/// Tries of a compare-and-set.
const TRIES: usize = 16;

/// The calibrations that are kept.
#[derive(Clone)]
pub struct Store {
    kv: Kv,
}

impl Store {
    /// Opens the bucket.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn open(bus: &Bus) -> Result<Self, Error> {
        Ok(Self {
            kv: bus.kv(bus::table::CALIBRATIONS).await?,
        })
    }

    /// Stores `calibration` as the next version of its device and kind, and puts it into use where `activate`.
    ///
    /// # Errors
    /// Where the server cannot be reached, or others store at the same time, repeatedly.
    pub async fn add(
        &self,
        mut calibration: pb::Calibration,
        kind: Kind,
        activate: bool,
    ) -> Result<pb::Calibration, Error> {
        let device = calibration.device.clone();
        // The number is claimed first; one that was claimed and not written stays unused.
        calibration.version = self
            .edit(&device, kind, |pointer| {
                pointer.newest += 1;
                pointer.newest
            })
            .await?;
        let key = version_key(&device, kind.as_str(), calibration.version);
        let value = Bytes::from(calibration.encode_to_vec());
        self.kv.put(&key, value).await?;
        if activate {
            let version = calibration.version;
            self.edit(&device, kind, |pointer| pointer.put_into_use(version))
                .await?;
            calibration.in_use = true;
        }
        Ok(calibration)
    }

    /// Changes the pointer by compare-and-set, again and again where others change it too.
    async fn edit<T>(
        &self,
        device: &str,
        kind: Kind,
        change: impl Fn(&mut Pointer) -> T,
    ) -> Result<T, Error> {
        for _ in 0..TRIES {
            let (mut pointer, revision) = self.pointer(device, kind).await?;
            let given = change(&mut pointer);
            if self.set(device, kind, &pointer, revision).await? {
                return Ok(given);
            }
        }
        Err(changed(device))
    }

    /// A version; 0 is the one in use.
    ///
    /// # Errors
    /// [`Error::NotFound`], or where it cannot be read.
    pub async fn get(
        &self,
        device: &str,
        kind: Kind,
        version: u32,
    ) -> Result<pb::Calibration, Error> {
        let (pointer, _) = self.pointer(device, kind).await?;
        let version = if version == 0 {
            pointer.in_use.unwrap_or(0)
        } else {
            version
        };
        let missing = || Error::NotFound {
            kind: "calibration",
            name: format!("{device} {} {version}", kind.as_str()),
        };
        let key = version_key(device, kind.as_str(), version);
        let (bytes, _) = self.kv.get(&key).await?.ok_or_else(missing)?;
        let mut found = pb::Calibration::decode(bytes).map_err(|_| missing())?;
        found.in_use = pointer.in_use == Some(version);
        Ok(found)
    }

    /// The one in use of each kind.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub async fn in_use(&self, device: &str) -> Result<Vec<(Kind, pb::Calibration)>, Error> {
        let mut found = Vec::new();
        for kind in Kind::ALL {
            match self.get(device, kind, 0).await {
                Ok(calibration) => found.push((kind, calibration)),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Puts a version into use; 0 is the one that was in use before.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Changed`] where another one was put into use in between.
    pub async fn activate(
        &self,
        device: &str,
        kind: Kind,
        version: u32,
    ) -> Result<pb::Calibration, Error> {
        let (mut pointer, revision) = self.pointer(device, kind).await?;
        let version = if version == 0 {
            pointer.before.unwrap_or(0)
        } else {
            version
        };
        if version == 0 {
            return Err(Error::NotFound {
                kind: "calibration",
                name: format!("{device} {}: none was in use before", kind.as_str()),
            });
        }
        let mut found = self.get(device, kind, version).await?;
        pointer.put_into_use(version);
        if !self.set(device, kind, &pointer, revision).await? {
            return Err(changed(device));
        }
        found.in_use = true;
        Ok(found)
    }

    /// Removes a version.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InUse`] unless `force`.
    pub async fn delete(
        &self,
        device: &str,
        kind: Kind,
        version: u32,
        force: bool,
    ) -> Result<(), Error> {
        let found = self.get(device, kind, version).await?;
        let (mut pointer, revision) = self.pointer(device, kind).await?;
        if pointer.in_use == Some(found.version) {
            if !force {
                return Err(Error::InUse {
                    device: device.to_owned(),
                    version: found.version,
                });
            }
            pointer.in_use = None;
            if !self.set(device, kind, &pointer, revision).await? {
                return Err(changed(device));
            }
        }
        let key = version_key(device, kind.as_str(), found.version);
        Ok(self.kv.delete(&key).await?)
    }

    /// All versions by device, kind and version.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub async fn list(&self) -> Result<Vec<pb::Calibration>, Error> {
        let mut all = Vec::new();
        for key in self.kv.keys().await? {
            let Some((device, kind, version)) = bus::calibration::parse_version_key(&key) else {
                continue;
            };
            let Some(kind) = Kind::parse(kind) else {
                continue;
            };
            match self.get(device, kind, version).await {
                Ok(found) => all.push(found),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    async fn pointer(&self, device: &str, kind: Kind) -> Result<(Pointer, u64), Error> {
        let found = self.kv.get(&pointer_key(device, kind.as_str())).await?;
        Ok(match found {
            Some((bytes, revision)) => (serde_json::from_slice(&bytes)?, revision),
            None => (Pointer::default(), 0),
        })
    }

    async fn set(
        &self,
        device: &str,
        kind: Kind,
        pointer: &Pointer,
        revision: u64,
    ) -> Result<bool, Error> {
        let value = Bytes::from(serde_json::to_vec(pointer)?);
        let key = pointer_key(device, kind.as_str());
        Ok(self.kv.update(&key, value, revision).await?.is_some())
    }
}

fn changed(device: &str) -> Error {
    Error::Changed {
        kind: "calibration",
        name: device.to_owned(),
        etag: String::new(),
    }
}
