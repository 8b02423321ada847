//! The records of a file, as bytes.
//!
//! Read here and not by the crate that writes: its parsers take lengths that a file claims for granted in places (they
//! panic on an attachment shorter than its header, and on a record longer than its chunk), and give nothing of a chunk that
//! was cut off.

use std::collections::BTreeMap;
use std::io::{self, Read};

/// Longest record but a chunk, in bytes; longer ones cannot be ours.
pub(super) const MAX_RECORD: u64 = 16 << 20;
/// Longest chunk, packed or unpacked, in bytes.
pub(super) const MAX_CHUNK: u64 = 32 << 20;
/// Longest name of a compression.
const MAX_COMPRESSION: u32 = 64;
/// zstd may look back so far (a power of two): no more than a chunk may hold.
const MAX_WINDOW_LOG: u32 = 25;

pub(super) const FOOTER: u8 = 0x02;
pub(super) const SCHEMA: u8 = 0x03;
pub(super) const CHANNEL: u8 = 0x04;
pub(super) const MESSAGE: u8 = 0x05;
pub(super) const CHUNK: u8 = 0x06;
pub(super) const METADATA: u8 = 0x0C;

/// Why a place in an MCAP file is no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not the first bytes of such a file.
    #[error("no MCAP file: expected its magic, found \"{found}\"")]
    Magic {
        /// The first bytes.
        found: String,
    },
    /// The file has no end: whoever wrote it was interrupted.
    #[error("the recording was interrupted: the file ends in {what}")]
    Interrupted {
        /// What was being read.
        what: &'static str,
    },
    /// A length that nothing of ours has.
    #[error("{what} of {found} bytes: expected at most {limit}")]
    TooLong {
        /// What is so long.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// The length.
        found: u64,
    },
    /// The fields of a record do not fit into it.
    #[error("{what} does not fit into its record")]
    Field {
        /// What does not fit.
        what: &'static str,
    },
    /// Packed in a way that is not supported.
    #[error("a chunk is compressed with {found:?}: expected zstd or nothing")]
    Compression {
        /// The way.
        found: String,
    },
    /// A chunk that cannot be unpacked.
    #[error("a chunk cannot be unpacked: {problem}")]
    Unpack {
        /// What is wrong.
        problem: String,
    },
    /// A chunk that is not what was written.
    #[error("a chunk is damaged: expected checksum {expected:08x}, found {found:08x}")]
    Checksum {
        /// What the file says.
        expected: u32,
        /// What the bytes give.
        found: u32,
    },
    /// A message on a channel that the file does not describe.
    #[error("a message on channel {channel}, which was not described")]
    NoChannel {
        /// Its number.
        channel: u16,
    },
    /// A message that is no frame.
    #[error("{problem}")]
    Frame {
        /// What is wrong.
        problem: String,
    },
    /// The file cannot be read.
    #[error("the file cannot be read: {problem}")]
    Io {
        /// What the system says.
        problem: String,
    },
}

impl Error {
    /// A stable name for counting.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Magic { .. } => "bad_magic",
            Self::Interrupted { .. } => "interrupted",
            Self::TooLong { .. } => "too_long",
            Self::Field { .. } => "bad_record",
            Self::Compression { .. } => "unsupported_compression",
            Self::Unpack { .. } => "not_unpackable",
            Self::Checksum { .. } => "bad_checksum",
            Self::NoChannel { .. } => "unknown_channel",
            Self::Frame { .. } => "bad_frame",
            Self::Io { .. } => "unreadable",
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io {
            problem: error.to_string(),
        }
    }
}

/// The fields of a record, little-endian, one after another.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn take(&mut self, bytes: usize, what: &'static str) -> Result<&'a [u8], Error> {
        let (taken, rest) = self
            .0
            .split_at_checked(bytes)
            .ok_or(Error::Field { what })?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Error::Field { what })?;
        self.0 = rest;
        Ok(*taken)
    }

    pub fn u16(&mut self, what: &'static str) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub fn text(&mut self, what: &'static str) -> Result<&'a str, Error> {
        let length = self.u32(what)? as usize;
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map_err(|_| Error::Field { what })
    }

    pub fn map(&mut self, what: &'static str) -> Result<BTreeMap<String, String>, Error> {
        let length = self.u32(what)? as usize;
        let mut pairs = Self(self.take(length, what)?);
        let mut map = BTreeMap::new();
        while !pairs.0.is_empty() {
            let key = pairs.text(what)?.to_owned();
            map.insert(key, pairs.text(what)?.to_owned());
        }
        Ok(map)
    }
}

/// Reads up to `length` bytes: fewer where the file ends before. Memory grows with what is there, not with the length.
pub(super) fn read(input: &mut impl Read, length: u64, out: &mut Vec<u8>) -> io::Result<bool> {
    out.clear();
    input.take(length).read_to_end(out)?;
    Ok(out.len() as u64 == length)
}

/// Passes over `length` bytes; false where the file ends before.
pub(super) fn skip(input: &mut impl Read, length: u64) -> io::Result<bool> {
    Ok(io::copy(&mut input.take(length), &mut io::sink())? == length)
}

/// What stands before the messages of a chunk.
pub(super) struct ChunkHeader {
    pub unpacked: u64,
    pub checksum: u32,
    pub compression: String,
    pub packed: u64,
    /// Bytes of the header itself.
    pub length: u64,
}

impl ChunkHeader {
    /// Reads it; `None` where the file ends before.
    pub fn read(input: &mut impl Read) -> Result<Option<Self>, Error> {
        let mut fixed = Vec::with_capacity(32);
        if !read(input, 32, &mut fixed)? {
            return Ok(None);
        }
        let mut fields = Fields(&fixed);
        fields.take(16, "chunk")?;
        let unpacked = fields.u64("chunk")?;
        let checksum = fields.u32("chunk")?;
        let name = fields.u32("chunk")?;
        if name > MAX_COMPRESSION {
            return Err(Error::TooLong {
                what: "the name of a compression",
                limit: MAX_COMPRESSION.into(),
                found: name.into(),
            });
        }
        let mut rest = Vec::with_capacity(72);
        if !read(input, u64::from(name) + 8, &mut rest)? {
            return Ok(None);
        }
        let mut fields = Fields(&rest);
        let compression =
            String::from_utf8_lossy(fields.take(name as usize, "chunk")?).into_owned();
        Ok(Some(Self {
            unpacked,
            checksum,
            compression,
            packed: fields.u64("chunk")?,
            length: 40 + u64::from(name),
        }))
    }

    /// The records in `packed`, of which the end may be missing (`cut`): then what can be had without it.
    pub fn unpack(&self, packed: Vec<u8>, cut: bool) -> Result<Vec<u8>, Error> {
        for length in [self.unpacked, self.packed] {
            if length > MAX_CHUNK {
                return Err(Error::TooLong {
                    what: "a chunk",
                    limit: MAX_CHUNK,
                    found: length,
                });
            }
        }
        let unpacked = match self.compression.as_str() {
            "" => packed,
            "zstd" => self.unzstd(&packed, cut)?,
            other => {
                return Err(Error::Compression {
                    found: other.to_owned(),
                });
            }
        };
        if cut {
            return Ok(unpacked);
        }
        if unpacked.len() as u64 != self.unpacked {
            return Err(Error::Unpack {
                problem: format!("expected {} bytes, found {}", self.unpacked, unpacked.len()),
            });
        }
        let mut checksum = flate2::Crc::new();
        checksum.update(&unpacked);
        if self.checksum != 0 && checksum.sum() != self.checksum {
            return Err(Error::Checksum {
                expected: self.checksum,
                found: checksum.sum(),
            });
        }
        Ok(unpacked)
    }

    fn unzstd(&self, packed: &[u8], cut: bool) -> Result<Vec<u8>, Error> {
        let problem = |error: io::Error| Error::Unpack {
            problem: error.to_string(),
        };
        let mut unpacked = Vec::new();
        let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(problem)?;
        decoder.window_log_max(MAX_WINDOW_LOG).map_err(problem)?;
        // One byte more shows that there is more.
        match decoder.take(self.unpacked + 1).read_to_end(&mut unpacked) {
            Err(error) if !cut => Err(problem(error)),
            _ => Ok(unpacked),
        }
    }
}
