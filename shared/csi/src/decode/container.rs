//! ADR-018 datagrams in a file, each behind its length as a little-endian u32. The container has no time stamps.
//!
//! Where no length and magic number stand, reading goes on at the next place where they do: damage costs the datagrams that it
//! hits.

/// Why a place in the file is no datagram.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file ends in a length or a datagram.
    #[error("truncated: expected {expected} bytes of {what}, found {found}")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Its bytes.
        expected: usize,
        /// Bytes that there are.
        found: usize,
    },
    /// A length that no datagram has.
    #[error("absurd datagram length: expected at most 65507, found {found}")]
    AbsurdLength {
        /// The length.
        found: u32,
    },
}

impl Error {
    /// A stable name for counting.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::AbsurdLength { .. } => "absurd_length",
        }
    }
}

/// Longest UDP payload over IPv4.
const MAX_DATAGRAM: u32 = 65_507;

/// The datagram that begins at `offset` of `file`, and where the next one begins; `None` at the end. An error says what is there
/// instead: the file is cut off, or the length absurd.
pub fn next(file: &[u8], offset: usize) -> Option<(Result<&[u8], Error>, usize)> {
    let rest = file.get(offset..).filter(|rest| !rest.is_empty())?;
    let datagram = datagram(rest);
    let behind = datagram.as_ref().map_or(0, |datagram| 4 + datagram.len());
    let follows = rest
        .get(behind..)
        .is_some_and(|rest| rest.len() < HEAD || begins(rest));
    let next = if behind > 0 && begins(rest) {
        // A length that is too long would swallow the datagrams behind this one.
        let within = resume(rest).filter(|next| *next < behind && !follows);
        within.unwrap_or(behind)
    } else {
        resume(rest).unwrap_or(rest.len())
    };
    Some((datagram, offset + next))
}

fn datagram(rest: &[u8]) -> Result<&[u8], Error> {
    let Some((length, rest)) = rest.split_first_chunk() else {
        return Err(Error::Truncated {
            what: "length",
            expected: 4,
            found: rest.len(),
        });
    };
    let length = u32::from_le_bytes(*length);
    if length > MAX_DATAGRAM {
        return Err(Error::AbsurdLength { found: length });
    }
    let expected = length as usize;
    rest.get(..expected).ok_or(Error::Truncated {
        what: "datagram",
        expected,
        found: rest.len(),
    })
}

/// A length and a magic number.
const HEAD: usize = 8;

/// Whether a datagram of the family stands here, behind its length; it may be cut off.
fn begins(rest: &[u8]) -> bool {
    matches!(rest, [_, _, 0, 0, _, _, 0x11, 0xC5, ..])
}

/// The places behind the first byte at which a datagram begins.
fn starts(rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    let magics = memchr::memmem::find_iter(rest, &[0x11, 0xC5]);
    let starts = magics.filter_map(|magic| magic.checked_sub(6).filter(|start| *start > 0));
    starts
        .filter_map(|start| rest.get(start..))
        .filter(|rest| begins(rest))
}

/// The next place behind the first byte at which a datagram begins.
fn resume(rest: &[u8]) -> Option<usize> {
    Some(rest.len() - starts(rest).next()?.len())
}

/// Whether `beginning` holds a datagram and another one behind it: a file whose first bytes are damaged.
#[must_use]
pub fn begins_later(beginning: &[u8]) -> bool {
    starts(beginning).any(|rest| {
        let datagram = datagram(rest).ok();
        datagram.is_some_and(|datagram| rest.get(4 + datagram.len()..).is_some_and(begins))
    })
}
