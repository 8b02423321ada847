//! What the binary logs of network cards have in common: records behind one another, each saying its own length.
//!
//! None of these files has a header, and none has a sum over its records. Where a record makes no sense the walker looks for
//! the next place at which the fields of one agree, so that damage costs the records that it hits and no more.

use num_complex::Complex32;
use serde::Serialize;

use super::{atheros, feitcsi, intel5300, picoscenes};

/// Why a place in a log is no record, or a record no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The log ends in a record.
    #[error("truncated {format} record: expected {expected} bytes, found {found}")]
    Truncated {
        /// Of which format.
        format: &'static str,
        /// Bytes that it should have, or at least.
        expected: usize,
        /// Bytes that there are.
        found: usize,
    },
    /// Here should be a record and is none.
    #[error("no {format} record: {skipped} bytes are passed over")]
    Lost {
        /// Of which format.
        format: &'static str,
        /// Bytes up to the next record, or to the end.
        skipped: usize,
    },
    /// A field of a record holds what it cannot hold.
    #[error("{format} {field}: expected {expected}, found {found}")]
    Field {
        /// Of which format.
        format: &'static str,
        /// Its name.
        field: &'static str,
        /// What it can hold.
        expected: String,
        /// What it holds.
        found: String,
    },
}

impl Error {
    /// A stable name for counting.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::Lost { .. } => "lost",
            Self::Field { .. } => "bad_field",
        }
    }
}

/// A maker of errors about the fields of one format.
pub(super) fn bad(
    format: &'static str,
    field: &'static str,
    expected: impl ToString,
    found: impl ToString,
) -> Error {
    Error::Field {
        format,
        field,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// What a record said of itself, as it stands there, under the names that the formats' own tools use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Header {
    /// Of the Intel 5300.
    Intel5300(intel5300::Header),
    /// Of the Atheros CSI Tool.
    Atheros(atheros::Header),
    /// Of PicoScenes.
    PicoScenes(Box<picoscenes::Header>),
    /// Of FeitCSI.
    FeitCsi(feitcsi::Header),
}

/// How the records of a format are told from other bytes.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Name of the format, for messages.
    pub format: &'static str,
    /// Bytes that must be there before a record's length is known.
    pub head: usize,
    /// Length of the record that begins here, its length field included; `None` where fewer than `head` bytes are left.
    pub length: fn(&[u8]) -> Option<usize>,
    /// Whether the fields of the record that begins here agree so far that it can hardly be anything else.
    pub signature: fn(&[u8]) -> bool,
    /// Whether a record may begin here that does not show the signature: judged by its first bytes.
    pub possible: fn(&[u8]) -> bool,
    /// Bytes that `possible` judges by. Fewer behind the last record are what is left of one more.
    pub judged: usize,
    /// Whether a record of a kind that is passed over may begin here: too little to go by, so that it counts only where a record
    /// that shows the signature follows.
    pub other: fn(&[u8]) -> bool,
}

impl Shape {
    /// The record that begins at `offset` of `log`, and where the next one begins; `None` at the end. An error says what lies
    /// between. Time is linear in the bytes that are passed over; memory constant.
    pub fn next<'a>(
        &self,
        log: &'a [u8],
        offset: usize,
    ) -> Option<(Result<&'a [u8], Error>, usize)> {
        let rest = log.get(offset..).filter(|rest| !rest.is_empty())?;
        let length = (self.length)(rest);
        if let Some(length) = length
            && let Some((record, after)) = rest.split_at_checked(length)
            && !record.is_empty()
            && ((self.signature)(rest)
                || ((self.possible)(rest) && self.may_follow(after))
                || ((self.other)(rest) && (self.signature)(after)))
        {
            return Some((Ok(record), offset + length));
        }
        let signed = |at: &usize| rest.get(*at..).is_some_and(self.signature);
        let next = (1..rest.len()).find(signed);
        let (format, found) = (self.format, rest.len());
        let error = match (next, length) {
            (None, None) => Error::Truncated {
                format,
                expected: self.head,
                found,
            },
            (None, Some(expected)) if expected > found => Error::Truncated {
                format,
                expected,
                found,
            },
            _ => Error::Lost {
                format,
                skipped: next.unwrap_or(found),
            },
        };
        Some((Err(error), offset + next.unwrap_or(found)))
    }

    fn may_follow(&self, after: &[u8]) -> bool {
        after.len() < self.judged || (self.signature)(after) || (self.possible)(after)
    }

    /// Whether a log begins like this: with a record that shows the signature, or with possible ones that lead to it, however
    /// many they are. Time is linear in the records before the first that shows it.
    #[must_use]
    pub fn begins(&self, log: &[u8]) -> bool {
        let mut rest = log;
        loop {
            if (self.signature)(rest) {
                return true;
            }
            let length = (self.length)(rest).filter(|length| *length > 0);
            let Some(after) = length.and_then(|length| rest.get(length..)) else {
                return false;
            };
            if !(self.possible)(rest) {
                return (self.other)(rest) && (self.signature)(after);
            }
            rest = after;
        }
    }

    /// Whether `beginning` holds a record that shows the signature and, where there is room for it, another one behind it:
    /// a log whose first bytes are damaged.
    #[must_use]
    pub fn begins_later(&self, beginning: &[u8]) -> bool {
        (1..beginning.len()).any(|at| {
            let Some(rest) = beginning.get(at..).filter(|rest| (self.signature)(rest)) else {
                return false;
            };
            let after = (self.length)(rest).and_then(|length| rest.get(length..));
            after.is_some_and(|after| (self.signature)(after))
        })
    }
}

/// `N` bytes at an offset.
pub(super) fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

/// Little-endian, as all of these but lengths of the Intel 5300 and records of big-endian routers.
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    at(bytes, offset).map(u16::from_le_bytes)
}

/// Little-endian.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    at(bytes, offset).map(u32::from_le_bytes)
}

/// Appends pairs of 16-bit integers, the real part first.
pub(super) fn push_i16_pairs(buffer: &[u8], samples: &mut Vec<Complex32>) {
    let (pairs, _) = buffer.as_chunks::<4>();
    let complex = |[a, b, c, d]: &[u8; 4]| {
        Complex32::new(
            f32::from(i16::from_le_bytes([*a, *b])),
            f32::from(i16::from_le_bytes([*c, *d])),
        )
    };
    samples.extend(pairs.iter().map(complex));
}

/// Address of the station that sent an 802.11 data or management frame (IEEE 802.11-2020, 9.3: the second one).
pub(super) fn transmitter_of(mpdu: &[u8]) -> Option<[u8; 6]> {
    let control = mpdu.first()?;
    let (version, kind) = (control & 3, control >> 2 & 3);
    let address: [u8; 6] = at(mpdu, 10)?;
    let [first, ..] = address;
    (version == 0 && matches!(kind, 0 | 2) && first & 1 == 0 && address != [0; 6])
        .then_some(address)
}

/// RSSI for a frame: one value for each antenna where there are as many as receive chains; otherwise the one of all together.
pub(super) fn rssi_list(
    each: impl Iterator<Item = i32>,
    chains: u8,
    together: Option<i32>,
) -> Vec<i8> {
    let narrow = |value: i32| i8::try_from(value.clamp(-128, 127)).unwrap_or(i8::MIN);
    let each: Vec<i8> = each.map(narrow).collect();
    if each.len() == usize::from(chains) {
        each
    } else {
        together.map(narrow).into_iter().collect()
    }
}

/// 64-bit clock of a card whose driver may fill it from a 32-bit one: readings below 2^32 are unwrapped.
#[derive(Clone, Debug, Default)]
pub(super) struct WideClock(super::clock::DeviceClock);

impl WideClock {
    pub(super) fn unwrap(&mut self, reading: u64) -> u64 {
        u32::try_from(reading).map_or(reading, |narrow| self.0.unwrap(narrow))
    }

    pub(super) fn restarts(&self) -> u32 {
        self.0.restarts()
    }
}

/// Times in a log are the card's own: it begins in 1970, or when the card was started.
pub(super) fn receive_time(device_time_us: Option<u64>) -> i64 {
    device_time_us
        .and_then(|time| i64::try_from(time).ok())
        .unwrap_or(0)
}
