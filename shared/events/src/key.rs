//! Keys: the third token of an event's subject.

use uuid::Uuid;

use crate::id::{ProcessingId, SessionId, WorkflowId};

/// `text` as one subject token. Letters, digits, `-`, `_`, `=` and `@` stay; every other byte becomes `%` and two hex digits,
/// so that no text of a user can be a wildcard or a second token. An empty text is `%`.
#[must_use]
pub fn token(text: &str) -> String {
    if text.is_empty() {
        return "%".into();
    }
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'=' | b'@' => {
                token.push(char::from(byte))
            }
            _ => token.push_str(&format!("%{byte:02x}")),
        }
    }
    token
}

/// A MAC address without `:`, `-` and `.`, in lower case.
pub(crate) fn without_separators(address: &str) -> String {
    let bare: String = address
        .chars()
        .filter(|c| !matches!(c, ':' | '-' | '.'))
        .collect();
    token(&bare.to_ascii_lowercase())
}

/// The first 16 hex digits of the SHA-256 of `text`: a key that names a principal without telling who it is.
pub(crate) fn hashed(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text.as_bytes())
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// An id of a session, run or workflow, which may be absent.
pub(crate) trait Belongs {
    fn to(&self) -> Option<Uuid>;
}

macro_rules! belongs {
    ($($id:ident),+) => {$(
        impl Belongs for $id {
            fn to(&self) -> Option<Uuid> {
                Some(self.0)
            }
        }
        impl Belongs for Option<$id> {
            fn to(&self) -> Option<Uuid> {
                self.map(|id| id.0)
            }
        }
    )+};
}

belongs!(SessionId, ProcessingId, WorkflowId);
