//! The reader.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use events::DataSource;

use super::record::{self, ChunkHeader, Error, Fields, MAX_RECORD, read, skip};
use super::{Channel, MAGIC, PROTOBUF, SCHEMA};
use crate::wire::{Decoder, Published};
use crate::{Frame, Layout};

/// Channels and schemas that are remembered; a file of ours has a few for each device.
const MOST_CHANNELS: usize = 4096;
/// Notes that are kept.
const MOST_NOTES: usize = 64;
/// Names of layouts that a process learns from files, and how long one may be.
const MOST_NAMES: usize = 256;
const MAX_NAME: usize = 64;

/// A frame of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The frame.
    pub frame: Frame,
    /// What the gateway said of it when it was recorded.
    pub published: Published,
    /// The channel that it stands in.
    pub channel: Arc<Channel>,
    /// Offset in the file of the chunk or message that it stands in.
    pub offset: u64,
}

/// Reads a recording from its start to its end. It holds one chunk in memory (at most 32 MiB), however long the file is.
///
/// Messages that are no frames (other schemas) are passed over.
pub struct Reader<R> {
    input: R,
    offset: u64,
    /// Bytes that may still be unpacked.
    budget: u64,
    chunk: Option<Chunk>,
    schemas: HashSet<u16>,
    channels: HashMap<u16, Option<Known>>,
    notes: BTreeMap<String, BTreeMap<String, String>>,
    decoder: Decoder,
    ended: bool,
    buffer: Vec<u8>,
}

struct Chunk {
    records: Bytes,
    offset: u64,
    /// The file ends in it.
    cut: bool,
}

struct Known {
    channel: Arc<Channel>,
    /// A layout as the message gives it, and with its name as the channel gives it.
    layout: Option<(Arc<Layout>, Arc<Layout>)>,
}

impl<R> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("offset", &self.offset)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// Opens a recording that unpacks to at most `max_bytes`.
    ///
    /// # Errors
    /// Where it is no MCAP file.
    pub fn open(mut input: R, max_bytes: u64) -> Result<Self, Error> {
        let mut buffer = Vec::with_capacity(64);
        read(&mut input, MAGIC.len() as u64, &mut buffer)?;
        if buffer != MAGIC {
            return Err(Error::Magic {
                found: buffer.escape_ascii().to_string(),
            });
        }
        Ok(Self {
            input,
            offset: MAGIC.len() as u64,
            budget: max_bytes,
            chunk: None,
            schemas: HashSet::new(),
            channels: HashMap::new(),
            notes: BTreeMap::new(),
            decoder: Decoder::default(),
            ended: false,
            buffer,
        })
    }

    /// The facts that the file gives under each name, as far as it was read.
    #[must_use]
    pub fn notes(&self) -> &BTreeMap<String, BTreeMap<String, String>> {
        &self.notes
    }

    fn end<T>(&mut self, error: Error) -> Result<T, (u64, Error)> {
        self.ended = true;
        self.chunk = None;
        Err((self.offset, error))
    }

    /// Reads on to the next frame.
    fn step(&mut self) -> Result<Option<Recorded>, (u64, Error)> {
        loop {
            if let Some(chunk) = &mut self.chunk {
                let offset = chunk.offset;
                match next_in_chunk(&mut chunk.records) {
                    Some((op, body)) => match self.record(op, &body, offset) {
                        Ok(Some(recorded)) => return Ok(Some(recorded)),
                        Ok(None) => {}
                        Err(error) => return Err((offset, error)),
                    },
                    None => {
                        let (cut, rest) = (chunk.cut, chunk.records.len());
                        self.chunk = None;
                        if cut {
                            self.ended = true;
                            return Err((offset, Error::Interrupted { what: "a chunk" }));
                        }
                        if rest > 0 {
                            return Err((offset, Error::Field { what: "a message" }));
                        }
                    }
                }
                continue;
            }
            if self.ended {
                return Ok(None);
            }
            if let Some(recorded) = self.top()? {
                return Ok(Some(recorded));
            }
        }
    }

    /// Reads one record of the file itself.
    fn top(&mut self) -> Result<Option<Recorded>, (u64, Error)> {
        let start = self.offset;
        let mut head = std::mem::take(&mut self.buffer);
        let whole = read(&mut self.input, 9, &mut head);
        self.buffer = head;
        match whole {
            Err(error) => return self.end(error.into()),
            Ok(false) if self.buffer.is_empty() => {
                return self.end(Error::Interrupted { what: "its data" });
            }
            Ok(false) => return self.end(Error::Interrupted { what: "a record" }),
            Ok(true) => {}
        }
        let mut fields = Fields(&self.buffer);
        let head = fields
            .take(1, "a record")
            .map(|op| op.first().copied().unwrap_or_default())
            .and_then(|op| Ok((op, fields.u64("a record")?)));
        let (op, length) = head.map_err(|error| (start, error))?;
        self.offset = start.saturating_add(9).saturating_add(length);
        match op {
            // Where a system crashed the end may have been left as zeros.
            0 => {
                self.offset = start;
                self.end(Error::Interrupted { what: "zeros" })
            }
            record::FOOTER => {
                let whole = skip(&mut self.input, length)
                    .and_then(|whole| Ok(whole && read(&mut self.input, 8, &mut self.buffer)?));
                match whole {
                    Err(error) => self.end(error.into()),
                    Ok(true) if self.buffer == MAGIC => {
                        self.ended = true;
                        Ok(None)
                    }
                    Ok(_) => self.end(Error::Interrupted { what: "its footer" }),
                }
            }
            record::CHUNK => self.open_chunk(start, length),
            record::SCHEMA | record::CHANNEL | record::MESSAGE | record::METADATA
                if length <= MAX_RECORD =>
            {
                match read(&mut self.input, length, &mut self.buffer) {
                    Err(error) => self.end(error.into()),
                    Ok(false) => self.end(Error::Interrupted { what: "a record" }),
                    Ok(true) => {
                        let body = Bytes::copy_from_slice(&self.buffer);
                        self.record(op, &body, start)
                            .map_err(|error| (start, error))
                    }
                }
            }
            _ => match skip(&mut self.input, length) {
                Err(error) => self.end(error.into()),
                Ok(false) => self.end(Error::Interrupted { what: "a record" }),
                Ok(true) if op == record::MESSAGE => Err((
                    start,
                    Error::TooLong {
                        what: "a message",
                        limit: MAX_RECORD,
                        found: length,
                    },
                )),
                Ok(true) => Ok(None),
            },
        }
    }

    fn open_chunk(&mut self, start: u64, length: u64) -> Result<Option<Recorded>, (u64, Error)> {
        let header = match ChunkHeader::read(&mut self.input) {
            Ok(Some(header)) => header,
            Ok(None) => return self.end(Error::Interrupted { what: "a chunk" }),
            // How long the header is cannot be told, so neither where the next record begins.
            Err(error) => return self.end(error),
        };
        let Some(padding) = length
            .checked_sub(header.length)
            .and_then(|rest| rest.checked_sub(header.packed))
        else {
            return self.end(Error::Field { what: "a chunk" });
        };
        let wanted = header.packed.min(record::MAX_CHUNK);
        let mut packed = Vec::new();
        let read_on = (|| -> io::Result<(bool, bool)> {
            let whole = read(&mut self.input, wanted, &mut packed)?;
            // What is too long is passed over, and refused below.
            Ok((
                whole,
                skip(&mut self.input, header.packed - wanted + padding)?,
            ))
        })();
        let (whole, behind) = match read_on {
            Ok(read_on) => read_on,
            Err(error) => return self.end(error.into()),
        };
        let cut = !whole;
        self.budget = match self.budget.checked_sub(header.unpacked) {
            Some(left) => left,
            None => {
                return self.end(Error::TooLong {
                    what: "the rest of the file, unpacked,",
                    limit: self.budget,
                    found: header.unpacked,
                });
            }
        };
        match header.unpack(packed, cut) {
            Ok(records) => {
                self.chunk = Some(Chunk {
                    records: records.into(),
                    offset: start,
                    cut: cut || !behind,
                });
                Ok(None)
            }
            Err(_) if cut => self.end(Error::Interrupted { what: "a chunk" }),
            Err(error) => Err((start, error)),
        }
    }

    fn record(&mut self, op: u8, body: &Bytes, offset: u64) -> Result<Option<Recorded>, Error> {
        let mut fields = Fields(body);
        match op {
            record::SCHEMA => {
                let id = fields.u16("a schema")?;
                let ours =
                    fields.text("a schema")? == SCHEMA && fields.text("a schema")? == PROTOBUF;
                if ours && self.schemas.len() < MOST_CHANNELS {
                    self.schemas.insert(id);
                }
            }
            record::CHANNEL => {
                let (id, schema) = (fields.u16("a channel")?, fields.u16("a channel")?);
                let _topic = fields.text("a channel")?;
                let encoding = fields.text("a channel")?;
                let facts = fields.map("a channel")?;
                let ours = encoding == PROTOBUF && self.schemas.contains(&schema);
                if self.channels.len() < MOST_CHANNELS || self.channels.contains_key(&id) {
                    self.channels.insert(id, ours.then(|| Known::new(&facts)));
                }
            }
            record::METADATA => {
                let name = fields.text("a note")?;
                let facts = fields.map("a note")?;
                if self.notes.len() < MOST_NOTES {
                    self.notes.insert(name.to_owned(), facts);
                }
            }
            record::MESSAGE => return self.message(body, offset),
            _ => {}
        }
        Ok(None)
    }

    fn message(&mut self, body: &Bytes, offset: u64) -> Result<Option<Recorded>, Error> {
        let mut fields = Fields(body);
        let channel = fields.u16("a message")?;
        fields.take(20, "a message")?;
        let payload = body.slice_ref(fields.0);
        let known = self
            .channels
            .get_mut(&channel)
            .ok_or(Error::NoChannel { channel })?;
        let Some(known) = known else {
            return Ok(None);
        };
        let (mut frame, mut published) =
            self.decoder
                .decode(&payload)
                .map_err(|error| Error::Frame {
                    problem: error.to_string(),
                })?;
        frame.layout = known.named(frame.layout);
        if known.channel.source == DataSource::Simulated {
            published.source = DataSource::Simulated;
            frame.simulated = true;
        }
        Ok(Some(Recorded {
            frame,
            published,
            channel: Arc::clone(&known.channel),
            offset,
        }))
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Recorded, (u64, Error)>;

    /// The next frame, or the place (an offset) that is none and why.
    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// The next whole record of a chunk; `None` where there is no other.
fn next_in_chunk(records: &mut Bytes) -> Option<(u8, Bytes)> {
    let mut fields = Fields(records);
    let op = fields.take(1, "").ok()?.first().copied()?;
    let length = usize::try_from(fields.u64("").ok()?).ok()?;
    let end = length.checked_add(9).filter(|end| *end <= records.len())?;
    let mut record = records.split_to(end);
    Some((op, record.split_off(9)))
}

impl Known {
    fn new(facts: &BTreeMap<String, String>) -> Self {
        let fact = |name: &str| facts.get(name).cloned().unwrap_or_default();
        let source = match fact("data_source").as_str() {
            "simulated" => DataSource::Simulated,
            "replay" => DataSource::Replay,
            _ => DataSource::Live,
        };
        Self {
            channel: Arc::new(Channel {
                zone: fact("zone"),
                device: fact("device"),
                layout: fact("layout"),
                hardware: fact("hardware"),
                source,
            }),
            layout: None,
        }
    }

    /// The layout with the name that the channel gives it, where that says more than the message can.
    fn named(&mut self, layout: Arc<Layout>) -> Arc<Layout> {
        if layout.name == self.channel.layout || self.channel.layout.is_empty() {
            return layout;
        }
        if let Some((from, to)) = &self.layout
            && Arc::ptr_eq(from, &layout)
        {
            return Arc::clone(to);
        }
        let named = Arc::new(Layout {
            name: learn(&self.channel.layout),
            ..Layout::clone(&layout)
        });
        self.layout = Some((layout, Arc::clone(&named)));
        named
    }
}

/// The name as a constant. Those that a process has met are kept: there are few, and no more than [`MOST_NAMES`].
fn learn(name: &str) -> &'static str {
    static LEARNT: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut learnt = LEARNT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = learnt.iter().find(|known| **known == name) {
        return known;
    }
    if learnt.len() >= MOST_NAMES || name.len() > MAX_NAME {
        return "other";
    }
    let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
    learnt.push(kept);
    kept
}
