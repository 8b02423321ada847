//! Brings the server to the table: creates what is missing, changes what differs, and leaves alone what is right.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, Republish, RetentionPolicy, StorageType, SubjectTransform,
};
use async_nats::jetstream::{kv, object_store};
use futures::future::try_join_all;
use futures::{FutureExt as _, TryStreamExt as _};
use tracing::{debug, info};

use crate::connect::{Core, chain};
use crate::error::Attempt;
use crate::table::{self, BucketSpec, Kind, Storage, StoreSpec, StreamSpec};
use crate::{BoxFuture, Error};

/// One request tells what is there; then everything that is not right is done at once.
pub(crate) async fn reconcile(core: &Core) -> Result<(), Error> {
    core.persist("reconcile the streams", |_| attempt(core).boxed())
        .await?;
    core.reconciled.store(true, Ordering::Relaxed);
    Ok(())
}

async fn attempt(core: &Core) -> Result<(), Attempt> {
    let infos: Vec<Info> = core
        .js
        .streams()
        .try_collect()
        .await
        .map_err(|error| Attempt::Transient(chain(&error)))?;
    let present: HashMap<String, Config> = infos
        .into_iter()
        .map(|info| (info.config.name.clone(), info.config))
        .collect();
    let scale = core.config.storage_scale;
    let mut work: Vec<BoxFuture<'_, Result<(), Attempt>>> = Vec::new();
    for spec in table::STREAMS {
        match present.get(spec.name) {
            Some(config) => {
                if let Some(wanted) = change(config, &wanted(spec, scale))? {
                    work.push(update(core, wanted).boxed());
                }
            }
            None => work.push(create(core, wanted(spec, scale)).boxed()),
        }
    }
    for bucket in table::BUCKETS
        .iter()
        .filter(|bucket| !present.contains_key(&format!("KV_{}", bucket.name)))
    {
        work.push(create_bucket(core, bucket, scale).boxed());
    }
    for store in table::STORES
        .iter()
        .filter(|store| !present.contains_key(&format!("OBJ_{}", store.name)))
    {
        work.push(create_store(core, store, scale).boxed());
    }
    let changes = work.len();
    try_join_all(work).await?;
    debug!(changes, "streams are as the table says");
    Ok(())
}

/// The stream as the table wants it.
fn wanted(spec: &StreamSpec, scale: f64) -> Config {
    let republished = matches!(spec.kind, Kind::Events | Kind::Announcements);
    Config {
        name: spec.name.to_owned(),
        subjects: spec
            .subjects
            .iter()
            .map(|&subject| subject.to_owned())
            .collect(),
        max_age: spec.max_age,
        max_bytes: table::scaled(spec.max_bytes, scale),
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        max_message_size: -1,
        storage: storage(spec.storage),
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        num_replicas: 1,
        duplicate_window: spec.duplicate_window,
        allow_direct: true,
        allow_atomic_publish: republished,
        allow_batch_publish: spec.batched,
        republish: republished.then(|| Republish {
            source: "*.*.*".to_owned(),
            destination: "{{wildcard(1)}}.{{wildcard(2)}}".to_owned(),
            headers_only: false,
        }),
        subject_transform: spec.partitioned.map(|partitioned| SubjectTransform {
            source: partitioned.published.to_owned(),
            destination: partitioned.stored.to_owned(),
        }),
        ..Config::default()
    }
}

/// What the present stream must become, or nothing where it is right. What the table does not speak of (replicas,
/// placement) stays as its operator set it.
fn change(present: &Config, wanted: &Config) -> Result<Option<Config>, Error> {
    let fixed = |what: &str| Error::Reconcile {
        name: format!("stream {}", wanted.name),
        reason: format!(
            "its {what} differs, which the server cannot change: delete the stream, and what it holds, to have it made anew"
        ),
    };
    if present.storage != wanted.storage {
        return Err(fixed("storage"));
    }
    if present.retention != wanted.retention {
        return Err(fixed("retention policy"));
    }
    let target = Config {
        subjects: wanted.subjects.clone(),
        max_age: wanted.max_age,
        max_bytes: wanted.max_bytes,
        discard: wanted.discard,
        duplicate_window: wanted.duplicate_window,
        allow_direct: wanted.allow_direct,
        allow_atomic_publish: wanted.allow_atomic_publish,
        allow_batch_publish: wanted.allow_batch_publish,
        republish: wanted.republish.clone(),
        subject_transform: wanted.subject_transform.clone(),
        ..present.clone()
    };
    Ok((target != *present).then_some(target))
}

async fn create(core: &Core, wanted: Config) -> Result<(), Attempt> {
    match core.js.create_stream(wanted.clone()).await {
        Ok(_) => Ok(()),
        // Another service was first, with other settings: the next round compares.
        Err(error) if code(&error) == Some(10058) => Err(Attempt::Transient(
            "somebody else made the stream".to_owned(),
        )),
        Err(error) => Err(refusal("stream", &wanted.name, &error)),
    }
}

async fn update(core: &Core, wanted: Config) -> Result<(), Attempt> {
    info!(
        stream = wanted.name,
        "stream is brought to the table's form"
    );
    match core.js.update_stream(&wanted).await {
        Ok(_) => Ok(()),
        Err(error) => Err(refusal("stream", &wanted.name, &error)),
    }
}

async fn create_bucket(core: &Core, bucket: &BucketSpec, scale: f64) -> Result<(), Attempt> {
    let config = kv::Config {
        bucket: bucket.name.to_owned(),
        description: bucket.description.to_owned(),
        history: bucket.history,
        max_bytes: table::scaled(bucket.max_bytes, scale),
        storage: storage(bucket.storage),
        num_replicas: 1,
        ..kv::Config::default()
    };
    match core.js.create_key_value(config).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Attempt::Transient(format!(
            "bucket {}: {}",
            bucket.name,
            chain(&error)
        ))),
    }
}

async fn create_store(core: &Core, store: &StoreSpec, scale: f64) -> Result<(), Attempt> {
    let config = object_store::Config {
        bucket: store.name.to_owned(),
        description: Some(store.description.to_owned()),
        max_bytes: table::scaled(store.max_bytes, scale),
        storage: StorageType::File,
        num_replicas: 1,
        ..object_store::Config::default()
    };
    match core.js.create_object_store(config).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Attempt::Transient(format!(
            "object store {}: {}",
            store.name,
            chain(&error)
        ))),
    }
}

fn storage(storage: Storage) -> StorageType {
    match storage {
        Storage::File => StorageType::File,
        Storage::Memory => StorageType::Memory,
    }
}

fn code(error: &CreateStreamError) -> Option<u64> {
    match error.kind() {
        CreateStreamErrorKind::JetStream(error) => Some(error.error_code().0),
        _ => None,
    }
}

fn refusal(kind: &str, name: &str, error: &CreateStreamError) -> Attempt {
    match error.kind() {
        CreateStreamErrorKind::JetStream(inner) if inner.code() != 503 => {
            Attempt::Fatal(Error::Reconcile {
                name: format!("{kind} {name}"),
                reason: match inner.error_code().0 {
                    10023 | 10028 | 10047 => {
                        format!("{inner}; a smaller nats.storage_scale makes it fit")
                    }
                    _ => inner.to_string(),
                },
            })
        }
        _ => Attempt::Transient(chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_right_is_left_alone() {
        let spec = table::stream("POSE").unwrap();
        let table = wanted(spec, 1.0);
        let scaled_out = Config {
            num_replicas: 3,
            ..table.clone()
        };
        assert_eq!(change(&scaled_out, &table).unwrap(), None);
        let old = Config {
            max_bytes: 1,
            num_replicas: 3,
            ..table.clone()
        };
        let target = change(&old, &table).unwrap().unwrap();
        assert_eq!(
            (target.max_bytes, target.num_replicas),
            (table.max_bytes, 3)
        );
    }

    #[test]
    fn what_the_server_cannot_change_is_said() {
        let table = wanted(table::stream("POSE").unwrap(), 1.0);
        let other = Config {
            storage: StorageType::Memory,
            ..table.clone()
        };
        let error = change(&other, &table).unwrap_err().to_string();
        assert!(
            error.contains("POSE") && error.contains("storage"),
            "{error}"
        );
    }
}
