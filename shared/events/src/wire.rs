//! How the types of the catalogue are written, and what the catalogue calls them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::ser::{Error, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Timestamp;

/// A type that a field of an event may have.
pub trait Wire: Serialize {
    /// The type in the words of the catalogue: `uuid`, `time`, `name`, `f32?`, `string[]`, `info|warning|critical`.
    fn wire_type() -> String;

    /// Writes the value.
    ///
    /// # Errors
    /// Where it cannot be written, such as a number that is not finite.
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }
}

/// Every field of an event is written through this.
pub(crate) fn write<T: Wire, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.write(serializer)
}

macro_rules! plain {
    ($($type:ty = $name:literal),+ $(,)?) => {$(
        impl Wire for $type {
            fn wire_type() -> String {
                $name.into()
            }
        }
    )+};
}

plain! {
    bool = "bool", u8 = "u8", u16 = "u16", u32 = "u32", u64 = "u64", String = "string", Timestamp = "time",
    serde_json::Value = "json", Base64 = "bytes", BTreeMap<String, String> = "string{}",
}

impl Wire for f64 {
    fn wire_type() -> String {
        "f64".into()
    }
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.is_finite() {
            return Err(S::Error::custom(format_args!(
                "{self} is not a finite number and JSON has no way to write it"
            )));
        }
        serializer.serialize_f64(*self)
    }
}

impl Wire for f32 {
    fn wire_type() -> String {
        "f32".into()
    }
    /// Written with the digits of the f32 (0.8, not 0.800000011920929).
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shortest = self.to_string().parse().unwrap_or(f64::from(*self));
        f64::write(&shortest, serializer)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn wire_type() -> String {
        T::wire_type() + "?"
    }
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => value.write(serializer),
            None => serializer.serialize_none(),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn wire_type() -> String {
        T::wire_type() + "[]"
    }
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Written<'a, T>(&'a T);
        impl<T: Wire> Serialize for Written<'_, T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.write(serializer)
            }
        }
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        for value in self {
            list.serialize_element(&Written(value))?;
        }
        list.end()
    }
}

/// Bytes; in JSON a string in base64 (RFC 4648 section 4, padded).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Base64(pub Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD
            .decode(&text)
            .map_err(|error| serde::de::Error::custom(format_args!("not base64: {error}")))?;
        Ok(Self(bytes))
    }
}

impl JsonSchema for Base64 {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Base64".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "contentEncoding": "base64"})
    }
}

/// A text that is none of an enum's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not one of {choices}")]
pub struct ChoiceError {
    text: String,
    choices: String,
}

impl ChoiceError {
    pub(crate) fn new(text: &str, choices: String) -> Self {
        let text = text.chars().take(80).collect();
        Self { text, choices }
    }
}
