//! KV buckets with revisions for compare-and-set.

use async_nats::jetstream::kv::{CreateErrorKind, Operation, Store, UpdateErrorKind};
use bytes::Bytes;
use futures::{FutureExt as _, TryStreamExt as _};

use crate::connect::{Core, chain};
use crate::error::Attempt;
use crate::{Error, table};

/// A KV bucket with revisions for compare-and-set.
#[derive(Clone)]
pub struct Kv {
    core: Core,
    store: Store,
}

impl Kv {
    pub(crate) async fn open(core: &Core, bucket: &str) -> Result<Self, Error> {
        if !table::BUCKETS.iter().any(|known| known.name == bucket) {
            let known: Vec<&str> = table::BUCKETS.iter().map(|bucket| bucket.name).collect();
            return Err(Error::Unknown {
                kind: "bucket",
                name: bucket.to_owned(),
                known: known.join(", "),
            });
        }
        let what = format!("open bucket {bucket}");
        let store = core
            .persist(&what, |_| {
                let bucket = bucket.to_owned();
                async move {
                    core.js
                        .get_key_value(bucket)
                        .await
                        .map_err(|error| Attempt::Transient(chain(&error)))
                }
                .boxed()
            })
            .await?;
        Ok(Self {
            core: core.clone(),
            store,
        })
    }

    /// Value and revision.
    ///
    /// # Errors
    /// Where the key cannot be one, or the server cannot be reached.
    pub async fn get(&self, key: &str) -> Result<Option<(Bytes, u64)>, Error> {
        let what = self.what("get", key)?;
        let entry = self
            .core
            .persist(&what, |_| {
                let key = key.to_owned();
                async move {
                    self.store
                        .entry(key)
                        .await
                        .map_err(|error| Attempt::Transient(chain(&error)))
                }
                .boxed()
            })
            .await?;
        Ok(entry
            .filter(|entry| entry.operation == Operation::Put)
            .map(|entry| (entry.value, entry.revision)))
    }

    /// Sets, whatever was there; the new revision.
    ///
    /// # Errors
    /// Where the key cannot be one, or the server cannot be reached.
    pub async fn put(&self, key: &str, value: Bytes) -> Result<u64, Error> {
        let what = self.what("put", key)?;
        self.core
            .persist(&what, |_| {
                let (key, value) = (key.to_owned(), value.clone());
                async move {
                    self.store
                        .put(key, value)
                        .await
                        .map_err(|error| Attempt::Transient(chain(&error)))
                }
                .boxed()
            })
            .await
    }

    /// Sets only over `revision` (0: only where absent); the new revision, or None on a conflict.
    ///
    /// # Errors
    /// Where the key cannot be one, or the server cannot be reached.
    pub async fn update(
        &self,
        key: &str,
        value: Bytes,
        revision: u64,
    ) -> Result<Option<u64>, Error> {
        let what = self.what("update", key)?;
        let mut attempts = 0;
        let set = self
            .core
            .persist(&what, |number| {
                attempts = number;
                let (key, value) = (key.to_owned(), value.clone());
                async move { self.set(&key, value, revision).await }.boxed()
            })
            .await?;
        if set.is_none() && attempts > 0 {
            // The first attempt may have been the one that set it, and its answer lost.
            return Ok(self
                .get(key)
                .await?
                .filter(|(kept, _)| *kept == value)
                .map(|(_, revision)| revision));
        }
        Ok(set)
    }

    async fn set(&self, key: &str, value: Bytes, revision: u64) -> Result<Option<u64>, Attempt> {
        if revision == 0 {
            return match self.store.create(key, value).await {
                Ok(revision) => Ok(Some(revision)),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
                Err(error) => Err(Attempt::Transient(chain(&error))),
            };
        }
        match self.store.update(key, value, revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(Attempt::Transient(chain(&error))),
        }
    }

    /// Removes.
    ///
    /// # Errors
    /// Where the key cannot be one, or the server cannot be reached.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let what = self.what("delete", key)?;
        self.core
            .persist(&what, |_| {
                let key = key.to_owned();
                async move {
                    self.store
                        .delete(key)
                        .await
                        .map_err(|error| Attempt::Transient(chain(&error)))
                }
                .boxed()
            })
            .await
    }

    /// All keys, sorted.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn keys(&self) -> Result<Vec<String>, Error> {
        let what = format!("keys of {}", self.store.name);
        let mut keys: Vec<String> = self
            .core
            .persist(&what, |_| {
                async move {
                    let keys = self
                        .store
                        .keys()
                        .await
                        .map_err(|error| Attempt::Transient(chain(&error)))?;
                    keys.try_collect()
                        .await
                        .map_err(|error| Attempt::Transient(chain(&error)))
                }
                .boxed()
            })
            .await?;
        keys.sort();
        Ok(keys)
    }

    /// What is done, for errors; refuses what can be no key.
    fn what(&self, verb: &str, key: &str) -> Result<String, Error> {
        let what = format!("{verb} {key} in {}", self.store.name);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '=' | '.' | '/');
        if key.is_empty()
            || key.starts_with('.')
            || key.ends_with('.')
            || key.contains("..")
            || !key.chars().all(plain)
        {
            return Err(Error::Refused {
                what,
                reason: "a key is letters, digits and -_=/. without empty parts".to_owned(),
            });
        }
        Ok(what)
    }
}
