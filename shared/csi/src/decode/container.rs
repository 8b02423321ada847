//! ADR-018 datagrams in a file, each behind its length as a little-endian u32. The container has no time stamps.

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

/// The datagram that begins at `offset` of `file`, and where the next one begins; `None` at the end.
///
/// # Errors
/// Where the file is cut off or the length absurd. Nothing can be read after that.
pub fn next(file: &[u8], offset: usize) -> Option<Result<(&[u8], usize), Error>> {
    let rest = file.get(offset..).filter(|rest| !rest.is_empty())?;
    let found = rest.len();
    let Some((length, rest)) = rest.split_first_chunk() else {
        return Some(Err(Error::Truncated {
            what: "length",
            expected: 4,
            found,
        }));
    };
    let length = u32::from_le_bytes(*length);
    if length > MAX_DATAGRAM {
        return Some(Err(Error::AbsurdLength { found: length }));
    }
    let expected = length as usize;
    match rest.get(..expected) {
        Some(datagram) => Some(Ok((datagram, offset + 4 + expected))),
        None => Some(Err(Error::Truncated {
            what: "datagram",
            expected,
            found: rest.len(),
        })),
    }
}
