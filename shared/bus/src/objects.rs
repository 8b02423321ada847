//! Object stores: recordings and model packages.

use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::object_store::{
    DeleteErrorKind, GetErrorKind, InfoErrorKind, ObjectStore,
};
use bytes::Bytes;
use futures::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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

    /// Stores (overwrites) an object from a file, which is not held in memory.
    ///
    /// # Errors
    /// Where the file cannot be read, the server cannot be reached in time, or it has no room.
    pub async fn put_file(&self, name: &str, path: &Path) -> Result<(), Error> {
        let what = format!("put {name} in {}", self.name);
        let limit = self.core.patience().max(TRANSFER_TIMEOUT);
        self.core
            .persist_within(&what, limit, limit, |_| {
                let (name, path, what) = (name.to_owned(), path.to_owned(), what.clone());
                async move {
                    let mut file = tokio::fs::File::open(&path)
                        .await
                        .map_err(|error| local(&what, &path, &error))?;
                    self.store
                        .put(name.as_str(), &mut file)
                        .await
                        .map(|_| ())
                        .map_err(|error| Attempt::Transient(chain(&error)))
                }
                .boxed()
            })
            .await
    }

    /// Writes an object to a file, which is overwritten; it is not held in memory. False where there is no such object.
    ///
    /// # Errors
    /// Where the server cannot be reached in time, the object's digest is not right, or the file cannot be written.
    pub async fn get_file(&self, name: &str, path: &Path) -> Result<bool, Error> {
        let what = format!("get {name} of {}", self.name);
        let limit = self.core.patience().max(TRANSFER_TIMEOUT);
        self.core
            .persist_within(&what, limit, limit, |_| {
                let (name, path, what) = (name.to_owned(), path.to_owned(), what.clone());
                async move {
                    let mut object = match self.store.get(name).await {
                        Ok(object) => object,
                        Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(false),
                        Err(error) => return Err(Attempt::Transient(chain(&error))),
                    };
                    let mut file = tokio::fs::File::create(&path)
                        .await
                        .map_err(|error| local(&what, &path, &error))?;
                    let mut part = vec![0; 128 * 1024];
                    loop {
                        let read = object
                            .read(&mut part)
                            .await
                            .map_err(|error| Attempt::Transient(chain(&error)))?;
                        let Some(part) = part.get(..read).filter(|part| !part.is_empty()) else {
                            break;
                        };
                        file.write_all(part)
                            .await
                            .map_err(|error| local(&what, &path, &error))?;
                    }
                    file.flush()
                        .await
                        .map_err(|error| local(&what, &path, &error))?;
                    Ok(true)
                }
                .boxed()
            })
            .await
    }
}

/// A fault of our own disk, which no repetition mends.
fn local(what: &str, path: &Path, error: &std::io::Error) -> Attempt {
    Attempt::Fatal(Error::Refused {
        what: what.to_owned(),
        reason: format!("{}: {error}", path.display()),
    })
}
