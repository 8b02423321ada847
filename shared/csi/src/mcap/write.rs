//! The writer.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use ::mcap::records::{MessageHeader, Metadata};
use ::mcap::write::NoSeek;
use ::mcap::{Compression, McapError, WriteOptions};
use prost::Message as _;

use super::{Channel, PROTOBUF, SCHEMA};
use crate::Frame;
use crate::wire::{self, Published};

/// Bytes of messages after which a chunk is compressed and written.
const CHUNK_BYTES: u64 = 1 << 20;

/// Why a recording cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file, or what it can hold.
    #[error("the MCAP file cannot be written")]
    Mcap(#[from] McapError),
    /// The program was built without the schema.
    #[error("the schema of {SCHEMA} is not in this program")]
    NoSchema,
}

/// Writes a recording. Nothing is ever changed that was written before, so a pipe does as well as a file.
///
/// What is not [finished](Self::finish) is finished when the writer is dropped, as far as that goes.
pub struct Writer<W: Write> {
    inner: ::mcap::Writer<NoSeek<W>>,
    schema: u16,
    channels: HashMap<Channel, u16>,
    frames: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn new(out: W) -> Result<Self, WriteError> {
        let options = WriteOptions::new()
            .profile("fresnel")
            .library(concat!("fresnel ", env!("CARGO_PKG_VERSION")))
            .compression(Some(Compression::Zstd))
            .compression_threads(0)
            .chunk_size(Some(CHUNK_BYTES))
            .disable_seeking(true);
        let mut inner = options.create(NoSeek::new(out))?;
        let schema = inner.add_schema(SCHEMA, PROTOBUF, &schema()?)?;
        Ok(Self {
            inner,
            schema,
            channels: HashMap::new(),
            frames: 0,
        })
    }

    /// Writes a frame. `hardware` says what the device is.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn frame(
        &mut self,
        frame: &Frame,
        published: &Published,
        hardware: &str,
    ) -> Result<(), WriteError> {
        self.message(frame, published, hardware, &wire::encode(frame, published))
    }

    /// Writes a frame that is there as a message already: `payload` is what [`wire::encode`] makes of it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn message(
        &mut self,
        frame: &Frame,
        published: &Published,
        hardware: &str,
        payload: &[u8],
    ) -> Result<(), WriteError> {
        let known = self.channels.iter().find(|(channel, _)| {
            channel.device == published.device
                && channel.zone == published.zone
                && channel.source == published.source
                && channel.layout == frame.layout.name
                && channel.hardware == hardware
        });
        let channel_id = match known {
            Some((_, id)) => *id,
            None => self.channel(frame, published, hardware)?,
        };
        let nanos = |micros: u64| micros.saturating_mul(1000);
        let log_time = nanos(u64::try_from(frame.receive_time_us).unwrap_or_default());
        let header = MessageHeader {
            channel_id,
            // The field is narrower than ours, which is in the message.
            #[allow(clippy::cast_possible_truncation)]
            sequence: frame.sequence as u32,
            log_time,
            publish_time: frame.device_time_us.map_or(log_time, nanos),
        };
        self.inner.write_to_known_channel(&header, payload)?;
        self.frames += 1;
        Ok(())
    }

    fn channel(
        &mut self,
        frame: &Frame,
        published: &Published,
        hardware: &str,
    ) -> Result<u16, WriteError> {
        let channel = Channel {
            zone: published.zone.clone(),
            device: published.device.clone(),
            layout: frame.layout.name.to_owned(),
            hardware: hardware.to_owned(),
            source: published.source,
        };
        let id =
            self.inner
                .add_channel(self.schema, &channel.topic(), PROTOBUF, &channel.metadata())?;
        self.channels.insert(channel, id);
        Ok(id)
    }

    /// Writes facts about the recording under a name. Ends the chunk.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn note(&mut self, name: &str, facts: BTreeMap<String, String>) -> Result<(), WriteError> {
        let metadata = Metadata {
            name: name.to_owned(),
            metadata: facts,
        };
        Ok(self.inner.write_metadata(&metadata)?)
    }

    /// Ends the chunk: what was written until now can be read from the file, whatever happens.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        Ok(self.inner.flush()?)
    }

    /// Frames written.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Channels so far.
    pub fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.keys()
    }

    /// Writes the end, with its index, and gives the output back.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.inner.finish()?;
        let mut out = self.inner.into_inner().into_inner();
        out.flush().map_err(McapError::from)?;
        Ok(out)
    }
}

/// A `FileDescriptorSet` of the message, as the readers of others want it.
fn schema() -> Result<Vec<u8>, WriteError> {
    let all = prost_types::FileDescriptorSet::decode(proto::DESCRIPTORS)
        .map_err(|_| WriteError::NoSchema)?;
    let package = SCHEMA.rsplit_once('.').map_or("", |(package, _)| package);
    let file: Vec<_> = all
        .file
        .into_iter()
        .filter(|file| file.package() == package)
        .collect();
    if file.is_empty() {
        return Err(WriteError::NoSchema);
    }
    Ok(prost_types::FileDescriptorSet { file }.encode_to_vec())
}
