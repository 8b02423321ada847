//! Events of `model`.

use crate::Timestamp;
use crate::declare::{choices, events};
use crate::id::ModelId;

choices! {
    /// Why a model left the memory.
    pub enum UnloadReason {
        LruEviction = "lru_eviction",
        Requested = "requested",
        Replaced = "replaced",
        Unhealthy = "unhealthy",
        Shutdown = "shutdown",
    }
}

events! {
    /// A model is known from now on.
    "model.registered" v1 of "model" model_id, key(model_id), by "pose", flags(sourced),
    when "RegisterModel: the package was checked and stored";
    pub struct ModelRegistered {
        pub model_id: ModelId,
        pub timestamp: Timestamp,
        pub task_type: String,
        pub version: String,
    }

    /// A model has another version.
    "model.version_added" v1 of "model" model_id, key(model_id), by "pose", flags(sourced),
    when "AddModelVersion";
    pub struct ModelVersionAdded {
        pub model_id: ModelId,
        pub timestamp: Timestamp,
        pub version: String,
        pub checksum: String,
    }

    /// A model is no longer known.
    "model.unregistered" v1 of "model" model_id, key(model_id), by "pose", flags(sourced),
    when "UnregisterModel; refused while it is the active one";
    pub struct ModelUnregistered {
        pub model_id: ModelId,
        pub timestamp: Timestamp,
    }

    /// A model is in memory and warmed up.
    "model.loaded" v1 of "model" model_id, key(model_id), by "pose", flags(),
    when "an instance has it in memory, warmed up";
    pub struct ModelLoaded {
        pub model_id: ModelId,
        pub timestamp: Timestamp,
        pub version: String,
        pub memory_mb: f64,
        pub process_id: u32,
    }

    /// A model left the memory.
    "model.unloaded" v1 of "model" model_id, key(model_id), by "pose", flags(),
    when "dropped from memory";
    pub struct ModelUnloaded {
        pub model_id: ModelId,
        pub timestamp: Timestamp,
        pub version: String,
        pub reason: UnloadReason,
        pub uptime_seconds: u64,
    }

    /// A model works better or worse than before.
    "model.health_changed" v1 of "model" model_id, key(model_id), by "pose", flags(),
    when "its self-test or its error rate crossed a threshold";
    pub struct ModelHealthChanged {
        pub model_id: ModelId,
        pub timestamp: Timestamp,
        pub previous_state: String,
        pub new_state: String,
        pub error_message: Option<String>,
    }
}
