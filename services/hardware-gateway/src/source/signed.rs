//! Signed datagrams (docs/signed-datagrams.md): the trailer, the keys, and the window against replays.
//!
//! A trailer of 28 bytes stands behind the payload: u32 magic `0x31475346` ("FSG1"), u64 sequence, both little-endian, and
//! the first 16 bytes of HMAC-SHA256 (RFC 2104, FIPS 180-4) over payload and sequence with the device's key. The window
//! follows RFC 4303, 3.4.3: each sequence is taken once, and none that is more than 63 behind the newest.

use std::collections::HashMap;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// First bytes of the trailer, as a little-endian number.
pub const MAGIC: u32 = 0x3147_5346;
/// Bytes of the trailer.
pub const TRAILER_BYTES: usize = 28;
/// Bytes of the signature in it.
pub const TAG_BYTES: usize = 16;
/// Sequences behind the newest that are still taken.
const WINDOW: u64 = 64;
/// Shortest key, bytes: shorter ones can be searched for.
const MIN_KEY_BYTES: usize = 16;
/// Devices of which the window is kept.
const MAX_WINDOWS: usize = 4096;

/// A trailer as it stands in a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Counts up with each datagram, across restarts too.
    pub sequence: u64,
    /// First bytes of the HMAC.
    pub tag: [u8; TAG_BYTES],
}

/// Why a datagram is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no trailer.
    #[error("it carries no signature")]
    Unsigned,
    /// The gateway has no key of this device.
    #[error("there is no key for it")]
    NoKey,
    /// Made without the key, or changed on its way.
    #[error("its signature is wrong")]
    BadSignature,
    /// Seen before, or too old to tell.
    #[error("its sequence number was seen before, or is too old")]
    Replayed,
}

impl Refusal {
    /// A stable name for counting; the `violation_type` of `security.violation_detected`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Unsigned => "missing_signature",
            Self::NoKey => "no_key",
            Self::BadSignature => "bad_signature",
            Self::Replayed => "replayed_datagram",
        }
    }
}

/// Payload and trailer of a datagram; no trailer where its magic number is not there.
#[must_use]
pub fn split(datagram: &[u8]) -> (&[u8], Option<Trailer>) {
    let whole = (datagram, None);
    let Some((payload, trailer)) = datagram.split_last_chunk::<TRAILER_BYTES>() else {
        return whole;
    };
    let Some((magic, rest)) = trailer.split_first_chunk::<4>() else {
        return whole;
    };
    let Some((sequence, tag)) = rest.split_first_chunk::<8>() else {
        return whole;
    };
    let Some(tag) = tag.first_chunk::<TAG_BYTES>() else {
        return whole;
    };
    if u32::from_le_bytes(*magic) != MAGIC {
        return whole;
    }
    let trailer = Trailer {
        sequence: u64::from_le_bytes(*sequence),
        tag: *tag,
    };
    (payload, Some(trailer))
}

/// A key, made ready once.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(********)")
    }
}

impl Key {
    /// A key of any length.
    ///
    /// # Errors
    /// None that a slice can cause.
    pub fn new(bytes: &[u8]) -> Result<Self, hmac::digest::InvalidLength> {
        Ok(Self(Hmac::new_from_slice(bytes)?))
    }

    fn mac(&self, payload: &[u8], sequence: u64) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(payload);
        mac.update(&sequence.to_le_bytes());
        mac
    }

    /// Whether the trailer was made with this key, in constant time.
    #[must_use]
    pub fn made(&self, payload: &[u8], trailer: &Trailer) -> bool {
        self.mac(payload, trailer.sequence)
            .verify_truncated_left(&trailer.tag)
            .is_ok()
    }

    /// The datagram with its trailer, as a device writes it.
    #[must_use]
    pub fn sign(&self, payload: &[u8], sequence: u64) -> Vec<u8> {
        let tag = self.mac(payload, sequence).finalize().into_bytes();
        let mut datagram = payload.to_vec();
        datagram.extend(MAGIC.to_le_bytes());
        datagram.extend(sequence.to_le_bytes());
        datagram.extend(tag.iter().take(TAG_BYTES));
        datagram
    }
}

/// Which sequence numbers were seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    newest: u64,
    /// Bit n: `newest - n` was seen.
    seen: u64,
}

impl Window {
    /// Whether `sequence` may be taken now; it is not noted.
    #[must_use]
    pub fn fresh(&self, sequence: u64) -> bool {
        if self.seen == 0 || sequence > self.newest {
            return true;
        }
        let behind = self.newest - sequence;
        behind < WINDOW && self.seen >> behind & 1 == 0
    }

    /// Notes a sequence whose signature was right.
    pub fn note(&mut self, sequence: u64) {
        if self.seen == 0 || sequence > self.newest {
            let ahead = sequence
                - if self.seen == 0 {
                    sequence
                } else {
                    self.newest
                };
            self.seen = if ahead >= WINDOW {
                0
            } else {
                self.seen << ahead
            };
            self.seen |= 1;
            self.newest = sequence;
        } else if self.newest - sequence < WINDOW {
            self.seen |= 1 << (self.newest - sequence);
        }
    }
}

/// Keys by hardware id, and what was seen of each device.
#[derive(Debug, Default)]
pub struct Keys {
    keys: HashMap<String, Key>,
    windows: HashMap<String, Window>,
}

/// Why the keys cannot be used. Says nothing of the keys themselves.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file.
    #[error("keys_file = {path}: {problem}")]
    File {
        /// Its path.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// An entry.
    #[error("entry {entry} of {place}: {problem}")]
    Entry {
        /// Its number, from 1.
        entry: usize,
        /// Where it stands.
        place: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl Keys {
    /// Reads the keys of the file, which nobody but its owner may read, and those of the text.
    ///
    /// # Errors
    /// Where the file cannot be read, others may read it, or an entry is no id and key.
    pub fn load(file: Option<&Path>, text: &str) -> Result<Self, KeysError> {
        let mut keys = Self::default();
        if let Some(path) = file {
            let wrong = |problem: String| KeysError::File {
                path: path.display().to_string(),
                problem,
            };
            private(path).map_err(wrong)?;
            let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
            keys.add(&text, "keys_file")?;
        }
        keys.add(text, "keys_secret")?;
        Ok(keys)
    }

    fn add(&mut self, text: &str, place: &'static str) -> Result<(), KeysError> {
        let entries = text.split(['\n', ',']).map(str::trim);
        let entries = entries.filter(|entry| !entry.is_empty() && !entry.starts_with('#'));
        for (index, entry) in entries.enumerate() {
            let wrong = |problem: &str| KeysError::Entry {
                entry: index + 1,
                place,
                problem: problem.to_owned(),
            };
            let (id, key) = entry
                .split_once([' ', '\t', '='])
                .ok_or_else(|| wrong("expected a hardware id, a blank and a key in hex"))?;
            let bytes = hex::decode(key.trim()).map_err(|_| wrong("the key is no hex"))?;
            if bytes.len() < MIN_KEY_BYTES {
                return Err(wrong("the key has less than 16 bytes"));
            }
            let key = Key::new(&bytes).map_err(|error| wrong(&error.to_string()))?;
            if self.keys.insert(id.to_owned(), key).is_some() {
                return Err(wrong("this device has a key already"));
            }
        }
        Ok(())
    }

    /// Checks a datagram's trailer, and notes its sequence where all is well.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(
        &mut self,
        id: &str,
        payload: &[u8],
        trailer: Option<&Trailer>,
    ) -> Result<(), Refusal> {
        let trailer = trailer.ok_or(Refusal::Unsigned)?;
        let key = self.keys.get(id).ok_or(Refusal::NoKey)?;
        // The signature first: what nobody signed says nothing about replays.
        if !key.made(payload, trailer) {
            return Err(Refusal::BadSignature);
        }
        if !self.windows.contains_key(id) && self.windows.len() < MAX_WINDOWS {
            self.windows.insert(id.to_owned(), Window::default());
        }
        let window = self.windows.get_mut(id).ok_or(Refusal::Replayed)?;
        if !window.fresh(trailer.sequence) {
            return Err(Refusal::Replayed);
        }
        window.note(trailer.sequence);
        Ok(())
    }
}

/// Refuses a file that others may read.
fn private(path: &Path) -> Result<(), String> {
    let data = std::fs::metadata(path).map_err(|error| error.to_string())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = data.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(format!(
                "others may read it (mode {mode:04o}); run `chmod 600` on it"
            ));
        }
    }
    if data.is_file() {
        Ok(())
    } else {
        Err("is no file".into())
    }
}

#[cfg(test)]
mod tests;
