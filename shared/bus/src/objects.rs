//! Object stores: recordings and model packages.

use std::time::Duration;

use async_nats::jetstream::object_store::{
    DeleteErrorKind, GetErrorKind, InfoErrorKind, ObjectStore,
};
use bytes::Bytes;
use futures::FutureExt as _;
use tokio::io::AsyncReadExt as _;

use crate::connect::{Core, chain};
use crate::error::Attempt;
use crate::{Error, table};

/// An object may be large: the time that it may take on its way.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(120);

/// An object store.
#[derive(Clone)]
pub struct Objects {
    core: Core,
    name: &'static str,
    store: ObjectStore,
}

impl Objects {
    pub(crate) async fn open(core: &Core, name: &str) -> Result<Self, Error> {
        let Some(spec) = table::STORES.iter().find(|known| known.name == name) else {
            let known: Vec<&str> = table::STORES.iter().map(|store| store.name).collect();
            return Err(Error::Unknown {
                kind: "object store",
                name: name.to_owned(),
                known: known.join(", "),
            });
        };
        let what = format!("open object store {name}");
        let store = core
            .persist(&what, |_| {
                async move {
                    core.js
                        .get_object_store(spec.name)
                        .await
                        .map_err(|error| Attempt::Transient(chain(&error)))
                }
                .boxed()
            })
            .await?;
        Ok(Self {
            core: core.clone(),
            name: spec.name,
            store,
        })
    }

    /// Stores (overwrites) an object.
    ///
    /// # Errors
    /// Where the server cannot be reached in time, or has no room.
    pub async fn put(&self, name: &str, data: Bytes) -> Result<(), Error> {
        let what = format!("put {name} in {}", self.name);
        let limit = self.core.patience().max(TRANSFER_TIMEOUT);
        self.core
            .persist_within(&what, limit, limit, |_| {
                let (name, data) = (name.to_owned(), data.clone());
                async move {
                    let mut reader: &[u8] = &data;
                    self.store
                        .put(name.as_str(), &mut reader)
                        .await
                        .map(|_| ())
                        .map_err(|error| Attempt::Transient(chain(&error)))
                }
                .boxed()
            })
            .await
    }

    /// Reads an object whole.
    ///
    /// # Errors
    /// Where the server cannot be reached in time, or the object's digest is not right.
    pub async fn get(&self, name: &str) -> Result<Option<Bytes>, Error> {
        let what = format!("get {name} of {}", self.name);
        let limit = self.core.patience().max(TRANSFER_TIMEOUT);
        self.core
            .persist_within(&what, limit, limit, |_| {
                let name = name.to_owned();
                async move {
                    let mut object = match self.store.get(name).await {
                        Ok(object) => object,
                        Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
                        Err(error) => return Err(Attempt::Transient(chain(&error))),
                    };
                    let mut data = Vec::with_capacity(object.info().size);
                    object
                        .read_to_end(&mut data)
                        .await
                        .map_err(|error| Attempt::Transient(chain(&error)))?;
                    Ok(Some(Bytes::from(data)))
                }
                .boxed()
            })
            .await
    }

    /// Removes an object; one that is not there is no fault.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let what = format!("delete {name} of {}", self.name);
        self.core
            .persist(&what, |_| {
                let name = name.to_owned();
                async move {
                    match self.store.delete(name).await {
                        Ok(()) => Ok(()),
                        Err(error) if error.kind() == DeleteErrorKind::NotFound => Ok(()),
                        Err(error) => Err(Attempt::Transient(chain(&error))),
                    }
                }
                .boxed()
            })
            .await
    }

    /// Whether it is there, and its size in bytes.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn size(&self, name: &str) -> Result<Option<u64>, Error> {
        let what = format!("size of {name} in {}", self.name);
        self.core
            .persist(&what, |_| {
                let name = name.to_owned();
                async move {
                    match self.store.info(name).await {
                        Ok(info) if info.deleted => Ok(None),
                        Ok(info) => Ok(Some(info.size as u64)),
                        Err(error) if error.kind() == InfoErrorKind::NotFound => Ok(None),
                        Err(error) => Err(Attempt::Transient(chain(&error))),
                    }
                }
                .boxed()
            })
            .await
    }
}
