//! Identifiers. A `Name` is the only kind of user-chosen text that can become a subject token.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::wire::Wire;

/// A DNS label (RFC 1123): 1 to 63 of `a-z`, `0-9` and `-`, beginning and ending with a letter or digit.
///
/// Checked on construction, so that nothing else can become a subject token, a KV key or a resource name. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// Why a text is no [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text was empty.
    #[error("a name must not be empty")]
    Empty,
    /// Longer than a DNS label.
    #[error("name {name:?} has {length} characters; at most 63 are allowed")]
    TooLong {
        /// The text, shortened to 63 characters.
        name: String,
        /// Its length in characters.
        length: usize,
    },
    /// A character that a DNS label cannot hold.
    #[error("name {name:?}: {character:?} at position {position} is not one of a-z, 0-9 and '-'")]
    Character {
        /// The text.
        name: String,
        /// The first character at fault.
        character: char,
        /// Where it stands, from 0.
        position: usize,
    },
    /// Begins or ends with a hyphen.
    #[error("name {name:?} must begin and end with a letter or digit")]
    Hyphen {
        /// The text.
        name: String,
    },
}

impl Name {
    /// Checks `text` and makes a name of it.
    ///
    /// # Errors
    /// Where `text` is not a DNS label; the error names the place.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let name = text.into();
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        let length = name.chars().count();
        if length > 63 {
            let name = name.chars().take(63).collect();
            return Err(NameError::TooLong { name, length });
        }
        let fault = name
            .chars()
            .enumerate()
            .find(|(_, c)| !matches!(c, 'a'..='z' | '0'..='9' | '-'));
        if let Some((position, character)) = fault {
            return Err(NameError::Character {
                name,
                character,
                position,
            });
        }
        if name.starts_with('-') || name.ends_with('-') {
            return Err(NameError::Hyphen { name });
        }
        Ok(Self(name.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        (*name.0).to_owned()
    }
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A DNS label (RFC 1123).",
            "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
        })
    }
}

macro_rules! name_ids {
    ($($(#[$doc:meta])+ $id:ident),+ $(,)?) => {$(
        $(#[$doc])+
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $id(pub Name);

        impl $id {
            /// Checks `text` and makes an id of it.
            ///
            /// # Errors
            /// Where `text` is not a DNS label.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                Name::new(text).map(Self)
            }
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $id {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl Wire for $id {
            fn wire_type() -> String {
                "name".into()
            }
        }
    )+};
}

name_ids! {
    /// A registered device.
    DeviceId,
    /// A zone: a room, or a part of one.
    ZoneId,
    /// A named list of processing stages.
    PipelineId,
    /// A model.
    ModelId,
    /// An alert rule.
    RuleId,
    /// A receiver of notifications.
    ReceiverId,
}

macro_rules! uuid_ids {
    ($($(#[$doc:meta])+ $id:ident),+ $(,)?) => {$(
        $(#[$doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $id(pub Uuid);

        impl $id {
            /// A new time-ordered id (UUID v7).
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
            /// The id that follows from `self`'s kind, a cause and a name (UUID v5): the same cause gives the same id.
            #[must_use]
            pub fn derive(cause: Uuid, name: &str) -> Self {
                Self(Uuid::new_v5(&cause, name.as_bytes()))
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<Uuid> for $id {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl Wire for $id {
            fn wire_type() -> String {
                "uuid".into()
            }
        }
    )+};
}

uuid_ids! {
    /// An event: also what makes a repeated publish the same message.
    EventId,
    /// A CSI frame.
    FrameId,
    /// A processed window.
    SignalId,
    /// A session of a client, or a run of a replay or recording.
    SessionId,
    /// A person's track.
    PersonId,
    /// A pose estimate.
    EstimateId,
    /// A client's stream.
    StreamId,
    /// A message to a client.
    MessageId,
    /// An alert.
    AlertId,
    /// A notification of an alert.
    NotificationId,
    /// A calibration run.
    CalibrationId,
    /// A discovery of an unregistered device.
    DiscoveryId,
    /// A processing run of a pipeline.
    ProcessingId,
    /// A stage of a processing run.
    StageId,
    /// A chunk of a processing run.
    ChunkId,
    /// An inference job.
    JobId,
    /// A long-running operation.
    WorkflowId,
}
