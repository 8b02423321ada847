//! The envelope that every domain event travels in, and what makes a type a domain event.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::Timestamp;

/// Where the data of an event came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataSource {
    /// Hardware, now.
    Live,
    /// A recording of hardware.
    Replay,
    /// The simulator, now or recorded.
    Simulated,
}

/// A fact of the domain. Implemented by the catalogue's declarations, never by hand.
pub trait DomainEvent: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// `{context}.{event}`, e.g. `pose.motion_detected`.
    const EVENT_TYPE: &'static str;
    /// What the event is about, e.g. `motion`.
    const AGGREGATE_TYPE: &'static str;
    /// Schema version of the payload that this type is.
    const VERSION: u32;
    /// Whether the aggregate's state is rebuilt from these events.
    const SOURCED: bool;

    /// Id of the aggregate, from the payload.
    fn aggregate_id(&self) -> String;
    /// The third subject token: one thing's events in order.
    fn key(&self) -> String;
    /// When it happened, in the time of the input.
    fn occurred_at(&self) -> Timestamp;
    /// Session, run or workflow that it belongs to, where the payload names one.
    fn correlation_id(&self) -> Option<Uuid> {
        None
    }
}

/// Who made the event and where the data came from; plus free keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// Service and instance: `service.name/service.instance.id`.
    pub source: String,
    /// Tenant, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// User whose command led to the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Where the data came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_source: Option<DataSource>,
    /// How it was concluded: the algorithm, or a model's name, version and digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Of how many this one is announced, where announcements are sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled_one_in: Option<u32>,
    /// Anything else.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// The envelope: what every consumer can read without knowing the event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventEnvelope {
    /// Id of the event.
    pub id: Uuid,
    /// `{context}.{event}`.
    pub event_type: String,
    /// Id of the aggregate.
    pub aggregate_id: String,
    /// Type of the aggregate.
    pub aggregate_type: String,
    /// Version of the aggregate after this event; 0 where it is not sourced.
    pub sequence_number: u64,
    /// When it happened, in the time of the input.
    pub occurred_at: Timestamp,
    /// Session, run or workflow that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Uuid>,
    /// Event or command that led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<Uuid>,
    /// Schema version of the payload.
    pub version: u32,
    /// Who and where.
    pub metadata: Metadata,
    /// The event itself.
    pub payload: Value,
    /// Third token of its subject `{event_type}.{key}`: the thing whose events lie in order. It is carried by the subject,
    /// not by the JSON; `bus` fills it in on reading.
    #[serde(skip)]
    pub key: String,
    /// Fields that we do not know, from a newer release: carried along.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

impl EventEnvelope {
    /// Reads an envelope, whatever the event: unknown types, newer versions and unknown fields are kept as they are.
    ///
    /// # Errors
    /// Where `bytes` are no JSON, or lack a field of the envelope; the error names line and column.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The JSON of the envelope.
    ///
    /// # Errors
    /// None that a value of this type can cause.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// `{event_type}.{key}`.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("{}.{}", self.event_type, self.key)
    }

    /// The payload as `E`, upgraded where its version is an older one; `None` where it is another event, or of a newer version
    /// than ours.
    ///
    /// # Errors
    /// Where it says that it is an `E` and is not.
    pub fn read<E: DomainEvent>(&self) -> Result<Option<E>, crate::DecodeError> {
        if self.event_type != E::EVENT_TYPE || self.version > E::VERSION {
            return Ok(None);
        }
        let read = if self.version < E::VERSION {
            E::deserialize(self.clone().upgraded().payload)
        } else {
            E::deserialize(&self.payload)
        };
        read.map(Some).map_err(|source| crate::DecodeError {
            id: self.id,
            event_type: self.event_type.clone(),
            version: self.version,
            source,
        })
    }

    /// The same with another third subject token: of a thing that the payload does not name, such as the zone of a
    /// processed window.
    #[must_use]
    pub fn keyed(mut self, key: &str) -> Self {
        self.key = crate::token(key);
        self
    }

    /// The same in the newest version that we know; as it is where the type is unknown, the version is ours or newer, or the
    /// payload is no object. `metadata.upgraded_from` then tells the version that it was.
    #[must_use]
    pub fn upgraded(mut self) -> Self {
        let Some(info) = crate::catalogue::find(&self.event_type) else {
            return self;
        };
        let was = self.version;
        let behind = usize::try_from(info.version.saturating_sub(was)).unwrap_or(usize::MAX);
        let Some(first) = info.upgrades.len().checked_sub(behind) else {
            return self;
        };
        let Value::Object(payload) = &mut self.payload else {
            return self;
        };
        if behind == 0 {
            return self;
        }
        for upgrade in info.upgrades.iter().skip(first) {
            *payload = upgrade(std::mem::take(payload));
        }
        self.version = info.version;
        self.metadata
            .extra
            .entry("upgraded_from".into())
            .or_insert(was.into());
        self
    }

    /// Puts `event` into an envelope.
    ///
    /// `id` is made by the caller: derived (UUID v5) from the input's id where the event follows from another, so that a
    /// redelivered input makes no second event.
    ///
    /// # Errors
    /// Where the payload cannot be written as JSON (a number that is not finite, say).
    pub fn new<E: DomainEvent>(
        id: Uuid,
        event: &E,
        metadata: Metadata,
    ) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id,
            event_type: E::EVENT_TYPE.to_owned(),
            aggregate_id: event.aggregate_id(),
            aggregate_type: E::AGGREGATE_TYPE.to_owned(),
            sequence_number: 0,
            occurred_at: event.occurred_at(),
            correlation_id: event.correlation_id(),
            causation_id: None,
            version: E::VERSION,
            metadata,
            payload: serde_json::to_value(event)?,
            key: event.key(),
            extra: BTreeMap::new(),
        })
    }

    /// The same, caused by `cause`.
    #[must_use]
    pub fn caused_by(mut self, cause: Uuid) -> Self {
        self.causation_id = Some(cause);
        self
    }

    /// The same, belonging to `run`.
    #[must_use]
    pub fn correlated(mut self, run: Option<Uuid>) -> Self {
        self.correlation_id = run.or(self.correlation_id);
        self
    }
}
