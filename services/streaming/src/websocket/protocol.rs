//! The messages of `/v1/stream`.

use axum::extract::ws::Message as Frame;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What a client wants, as its URL or its first message says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Subscribe {
    pub(super) subjects: Vec<String>,
    pub(super) offset: Option<String>,
    pub(super) since: Option<String>,
    pub(super) min_confidence: Option<f32>,
    pub(super) client_id: Option<String>,
}

/// The same in a URL, where lists are separated by commas.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Parameters {
    pub(super) subjects: String,
    pub(super) offset: Option<String>,
    pub(super) since: Option<String>,
    pub(super) min_confidence: Option<f32>,
    pub(super) client_id: Option<String>,
}

/// A client's first message.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FirstMessage {
    pub(super) subscribe: Subscribe,
}

/// What the server says, events apart.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Answer<'a> {
    Subscribed {
        session_id: String,
        subjects: &'a [String],
        offset: &'a str,
    },
    Error {
        code: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        field: Option<&'a str>,
        message: String,
    },
}

/// An event; apart from [`Answer`], because a tagged enum cannot carry raw JSON.
#[derive(Serialize)]
pub(super) struct Event<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) subject: &'a str,
    pub(super) offset: &'a str,
    pub(super) envelope: &'a RawValue,
}

/// A message as a text frame.
pub(super) fn text<T: Serialize>(message: &T) -> Frame {
    // Strings, numbers and JSON that was read as such: nothing in them that could not be written.
    Frame::Text(serde_json::to_string(message).unwrap_or_default().into())
}

impl Subscribe {
    /// `other` counts where it says something.
    pub(super) fn overlay(&mut self, other: Self) {
        if !other.subjects.is_empty() {
            self.subjects = other.subjects;
        }
        self.offset = other.offset.or(self.offset.take());
        self.since = other.since.or(self.since.take());
        self.min_confidence = other.min_confidence.or(self.min_confidence);
        self.client_id = other.client_id.or(self.client_id.take());
    }
}

impl From<Parameters> for Subscribe {
    fn from(parameters: Parameters) -> Self {
        Self {
            subjects: parameters
                .subjects
                .split(',')
                .filter(|s| !s.is_empty())
                .map(str::to_owned)
                .collect(),
            offset: parameters.offset,
            since: parameters.since,
            min_confidence: parameters.min_confidence,
            client_id: parameters.client_id,
        }
    }
}
