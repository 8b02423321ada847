//! Recordings of any supported format, frame by frame.

mod capture;
mod format;
mod header;
mod records;

use std::fmt;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::Frame;
use crate::decode::adr018::{self, Packet};
use crate::decode::pcap::Capture;
use crate::decode::{self, container, esp32_csv, espectre_npz, ialr_csv, nexmon, ruview_jsonl};
use crate::mcap;

pub use format::{Format, UnknownFormat};
use records::Records;

/// How a recording is read.
#[derive(Clone, Debug)]
pub struct Options {
    /// Frames per second, for a format without time stamps ([`Format::Adr018`]).
    pub rate_hz: Option<f64>,
    /// Only the frames of this node, where the format tells nodes apart.
    pub node: Option<u8>,
    /// What the recording may unpack to, in bytes.
    pub max_bytes: u64,
    /// The chip that Nexmon datagrams come from, where they are not to be asked.
    pub nexmon_chip: Option<nexmon::Chip>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rate_hz: None,
            node: None,
            max_bytes: 1 << 30,
            nexmon_chip: None,
        }
    }
}

/// Why a recording cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No format fits the first bytes.
    #[error(
        "{file_name} is in no supported format ({}); it begins with \"{beginning}\"",
        Format::names()
    )]
    Unknown {
        /// Name of the file.
        file_name: String,
        /// Its first bytes.
        beginning: String,
    },
    /// It holds nothing.
    #[error("{file_name} is empty")]
    Empty {
        /// Name of the file.
        file_name: String,
    },
    /// It is compressed and cannot be unpacked.
    #[error("{file_name} cannot be decompressed")]
    Gzip {
        /// Name of the file.
        file_name: String,
        /// What is wrong.
        source: std::io::Error,
    },
    /// It unpacks to more than is allowed.
    #[error("{file_name} unpacks to more than {limit} bytes")]
    TooLarge {
        /// Name of the file.
        file_name: String,
        /// The limit.
        limit: u64,
    },
    /// The rate is no rate.
    #[error("a rate of {rate_hz} frames per second: expected a number above 0, at most 1000000")]
    Rate {
        /// The rate.
        rate_hz: f64,
    },
    /// The header of the capture.
    #[error("{file_name} is no pcap or pcapng file")]
    Pcap {
        /// Name of the file.
        file_name: String,
        /// What is wrong.
        source: decode::pcap::Error,
    },
    /// The archive.
    #[error("{file_name} is no archive of ESPectre")]
    EspectreNpz {
        /// Name of the file.
        file_name: String,
        /// What is wrong.
        source: espectre_npz::Error,
    },
    /// The beginning of the MCAP file.
    #[error("{file_name} is no MCAP file")]
    Mcap {
        /// Name of the file.
        file_name: String,
        /// What is wrong.
        source: mcap::Error,
    },
}

/// Where in a recording something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Number of a line, from 1.
    Line(u64),
    /// Offset of a byte, in the unpacked recording.
    Offset(u64),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Offset(offset) => write!(f, "offset {offset}"),
        }
    }
}

/// A place in a recording that is no frame. Reading goes on behind it, where the format lets one find the next frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {error}")]
pub struct Malformed {
    /// Where it is.
    pub position: Position,
    /// What is wrong.
    pub error: decode::Error,
}

/// Frames of a recording, in its order.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
    format: Format,
    source: Source,
    only_node: Option<u8>,
    rate_hz: Option<f64>,
    /// Frames so far.
    frames: u64,
    last_node: Option<u8>,
    last_position: Position,
    last_channel: Option<Arc<mcap::Channel>>,
    nexmon_chip: Option<nexmon::Chip>,
    last_header: Option<nexmon::Header>,
    /// Where the last line stands.
    last_line: Range<usize>,
}

#[derive(Debug)]
enum Source {
    Container {
        offset: usize,
    },
    Pcap(Capture),
    Lines {
        offset: usize,
        number: u64,
        /// Lines of data so far, the damaged ones included.
        data: u64,
        kind: Lines,
    },
    Espectre {
        recording: espectre_npz::Recording,
        next: usize,
    },
    Mcap(Box<mcap::Reader<Cursor<Bytes>>>),
    Records(Records),
}

#[derive(Debug)]
enum Lines {
    Esp32(Box<esp32_csv::Decoder>),
    Ialr,
    Ruview,
}

type Item = Result<(Option<u8>, Frame), Malformed>;

impl Reader {
    /// Opens a recording: `bytes` is the whole file, gzip-compressed or not, `file_name` its name for messages.
    /// [`Format::Auto`] looks at the first bytes.
    ///
    /// # Errors
    /// Where no format fits, the file cannot be unpacked within `options.max_bytes`, or its header is damaged.
    pub fn new(
        bytes: Bytes,
        file_name: &str,
        format: Format,
        options: Options,
    ) -> Result<Self, Error> {
        let file_name = || file_name.to_owned();
        if let Some(rate_hz) = options
            .rate_hz
            .filter(|rate| !(*rate > 0.0 && *rate <= 1e6))
        {
            return Err(Error::Rate { rate_hz });
        }
        let bytes = if bytes.starts_with(&[0x1F, 0x8B]) {
            unpack(&bytes, &file_name(), options.max_bytes)?
        } else {
            bytes
        };
        if bytes.is_empty() {
            return Err(Error::Empty {
                file_name: file_name(),
            });
        }
        let format = match format {
            Format::Auto => Format::detect(&bytes).ok_or_else(|| Error::Unknown {
                file_name: file_name(),
                beginning: bytes.get(..24).unwrap_or(&bytes).escape_ascii().to_string(),
            })?,
            given => given,
        };
        // Editors on Windows put a mark in front of text.
        let offset = if bytes.starts_with(b"\xEF\xBB\xBF") {
            3
        } else {
            0
        };
        let lines = |kind| Source::Lines {
            offset,
            number: 0,
            data: 0,
            kind,
        };
        let source = match format {
            Format::Auto | Format::Adr018 => Source::Container { offset: 0 },
            Format::Pcap | Format::NexmonPcap => {
                Source::Pcap(Capture::open(&bytes).map_err(|source| Error::Pcap {
                    file_name: file_name(),
                    source,
                })?)
            }
            Format::Esp32Csv => lines(Lines::Esp32(Box::default())),
            Format::IalrCsv => lines(Lines::Ialr),
            Format::RuviewJsonl => lines(Lines::Ruview),
            Format::Intel5300 | Format::Atheros | Format::PicoScenes | Format::FeitCsi => {
                Source::Records(Records::open(format, &bytes))
            }
            Format::EspectreNpz => Source::Espectre {
                recording: espectre_npz::Recording::open(bytes.clone(), options.max_bytes)
                    .map_err(|source| Error::EspectreNpz {
                        file_name: file_name(),
                        source,
                    })?,
                next: 0,
            },
            Format::Mcap => {
                let opened = mcap::Reader::open(Cursor::new(bytes.clone()), options.max_bytes);
                Source::Mcap(Box::new(opened.map_err(|source| Error::Mcap {
                    file_name: file_name(),
                    source,
                })?))
            }
        };
        Ok(Self {
            bytes,
            format,
            source,
            only_node: options.node,
            rate_hz: options.rate_hz,
            frames: 0,
            last_node: None,
            last_position: Position::Offset(0),
            last_channel: None,
            nexmon_chip: options.nexmon_chip,
            last_header: None,
            last_line: 0..0,
        })
    }

    /// The format, as given or as found.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether the frames have times. Where not, `receive_time_us` is 0 throughout, and a rate is needed to make use of them.
    #[must_use]
    pub fn has_time(&self) -> bool {
        self.format != Format::Adr018 || self.rate_hz.is_some()
    }

    /// Node that the last frame came from, where the format says.
    #[must_use]
    pub fn node(&self) -> Option<u8> {
        self.last_node
    }

    /// Device that the last frame came from, where the format says (MCAP), and what else it says of it.
    #[must_use]
    pub fn channel(&self) -> Option<&mcap::Channel> {
        self.last_channel.as_deref()
    }

    /// Where the last frame stood.
    #[must_use]
    pub fn position(&self) -> Position {
        self.last_position
    }

    /// What the source's own header says of `frame`, which must be the last one read: by the names that the reference decodings
    /// of public recordings use. Empty for a format of which a [`Frame`] holds everything.
    #[must_use]
    pub fn header_fields(&self, frame: &Frame) -> Map<String, Value> {
        match (&self.source, self.last_node) {
            (Source::Pcap(_), None) => self
                .last_header
                .map(|header| header::nexmon(&header, frame))
                .unwrap_or_default(),
            (Source::Container { .. } | Source::Pcap(_), Some(node)) => header::adr018(node, frame),
            (
                Source::Lines {
                    data,
                    kind: Lines::Esp32(decoder),
                    ..
                },
                _,
            ) => {
                let line = self.bytes.get(self.last_line.clone()).unwrap_or_default();
                let mut fields = decoder.fields(line);
                fields.extend(header::line(data.saturating_sub(1), frame));
                fields
            }
            _ => Map::new(),
        }
    }

    /// What the record of the last frame said of itself, in a network card's log.
    #[must_use]
    pub fn header(&self) -> Option<&decode::record::Header> {
        match &self.source {
            Source::Records(records) => records.header(),
            _ => None,
        }
    }

    /// How often the device was seen to start again so far.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        match &self.source {
            Source::Lines {
                kind: Lines::Esp32(decoder),
                ..
            } => decoder.restarts(),
            Source::Records(records) => records.restarts(),
            _ => 0,
        }
    }

    /// The next thing that is a frame or should be one.
    fn step(&mut self) -> Option<Item> {
        loop {
            let found = match &mut self.source {
                Source::Container { offset } => {
                    let position = Position::Offset(*offset as u64);
                    self.last_position = position;
                    let (datagram, next) = container::next(&self.bytes, *offset)?;
                    *offset = next;
                    datagram
                        .map_err(decode::Error::from)
                        .and_then(|datagram| csi_of(datagram, 0))
                        .map_err(|error| Malformed { position, error })
                }
                Source::Pcap(pcap) => {
                    let next = pcap.next(&self.bytes)?;
                    let offset = next
                        .as_ref()
                        .map_or(self.bytes.len(), |captured| captured.offset);
                    let position = Position::Offset(offset as u64);
                    self.last_position = position;
                    match next {
                        Err(error) => Err(Malformed {
                            position,
                            error: error.into(),
                        }),
                        Ok(captured) => {
                            let only_nexmon = self.format == Format::NexmonPcap;
                            capture::frame(&captured, only_nexmon, self.nexmon_chip, self.frames)
                                .map(|found| {
                                    found.map(|(node, header, frame)| {
                                        self.last_header = header;
                                        (node, frame)
                                    })
                                })
                                .map_err(|error| Malformed { position, error })
                        }
                    }
                }
                Source::Lines {
                    offset,
                    number,
                    data,
                    kind,
                } => {
                    let rest = self.bytes.get(*offset..).filter(|rest| !rest.is_empty())?;
                    let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
                    let line = rest.get(..end).unwrap_or(rest);
                    self.last_line = *offset..*offset + end;
                    *offset += end;
                    *number += 1;
                    let position = Position::Line(*number);
                    self.last_position = position;
                    let line = line.trim_ascii_end();
                    let frame = match kind {
                        Lines::Esp32(decoder) => decoder
                            .line(line, None)
                            .map(unnamed)
                            .map_err(decode::Error::from),
                        Lines::Ialr => ialr_csv::decode(line, self.frames)
                            .map(unnamed)
                            .map_err(Into::into),
                        Lines::Ruview => ruview_jsonl::decode(line, self.frames)
                            .map(|found| found.map(|(node, frame)| (Some(node), frame)))
                            .map_err(Into::into),
                    };
                    let is_data = line.starts_with(b"CSI_DATA") || matches!(frame, Ok(Some(_)));
                    *data += u64::from(is_data);
                    frame.map_err(|error| Malformed { position, error })
                }
                Source::Records(records) => {
                    let (offset, found) = records.next(&self.bytes)?;
                    let position = Position::Offset(offset as u64);
                    self.last_position = position;
                    found.map(unnamed).map_err(|error| Malformed {
                        position,
                        error: error.into(),
                    })
                }
                Source::Espectre { recording, next } => {
                    let frame = recording.frame(*next)?;
                    *next += 1;
                    Ok(Some((None, frame)))
                }
                Source::Mcap(recording) => match recording.next()? {
                    Ok(recorded) => {
                        self.last_position = Position::Offset(recorded.offset);
                        self.last_channel = Some(recorded.channel);
                        Ok(Some((None, recorded.frame)))
                    }
                    Err((offset, error)) => {
                        let position = Position::Offset(offset);
                        self.last_position = position;
                        Err(Malformed {
                            position,
                            error: error.into(),
                        })
                    }
                },
            };
            match found {
                Ok(Some(found)) => return Some(Ok(found)),
                Ok(None) => {}
                Err(malformed) => return Some(Err(malformed)),
            }
        }
    }
}

fn unnamed(frame: Option<Frame>) -> Option<(Option<u8>, Frame)> {
    frame.map(|frame| (None, frame))
}

fn csi_of(datagram: &[u8], time_us: i64) -> Result<Option<(Option<u8>, Frame)>, decode::Error> {
    match adr018::decode(datagram, time_us)? {
        Packet::Csi { node, frame, .. } => Ok(Some((Some(node), frame))),
        Packet::Edge(_) | Packet::Mesh => Ok(None),
    }
}

fn unpack(bytes: &[u8], file_name: &str, limit: u64) -> Result<Bytes, Error> {
    let mut unpacked = Vec::new();
    let mut decoder = flate2::bufread::MultiGzDecoder::new(bytes).take(limit.saturating_add(1));
    let file_name = || file_name.to_owned();
    decoder
        .read_to_end(&mut unpacked)
        .map_err(|source| Error::Gzip {
            file_name: file_name(),
            source,
        })?;
    if unpacked.len() as u64 > limit {
        return Err(Error::TooLarge {
            file_name: file_name(),
            limit,
        });
    }
    Ok(unpacked.into())
}

impl Iterator for Reader {
    type Item = Result<Frame, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (node, mut frame) = match self.step()? {
                Ok(found) => found,
                Err(malformed) => return Some(Err(malformed)),
            };
            if self.only_node.is_some() && node.is_some() && node != self.only_node {
                continue;
            }
            if let (Format::Adr018, Some(rate_hz)) = (self.format, self.rate_hz) {
                // Both are far below 2^52.
                #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
                let time = (self.frames as f64 * 1e6 / rate_hz).round() as i64;
                frame.receive_time_us = time;
            }
            self.frames += 1;
            self.last_node = node;
            return Some(Ok(frame));
        }
    }
}

#[cfg(test)]
mod tests;
