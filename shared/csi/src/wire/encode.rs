//! The writer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use events::DataSource;
use proto::csi::v1 as pb;

use super::protobuf::{Writer, zigzag};
use super::{Published, field, samples};
use crate::{Frame, Layout, Ppdu, SampleFormat};

/// Layouts that an [`Encoder`] remembers.
const KEPT: usize = 16;

/// Messages are cut out of pieces of memory of this size: about a hundred of 64 subcarriers.
const PIECE: usize = 32 << 10;

/// Writes frames as messages, and remembers how the layouts of the latest are written. A message keeps the piece of memory that it
/// shares with those written next to it.
#[derive(Debug)]
pub struct Encoder {
    /// Layouts with their fields as they are written.
    layouts: Vec<(Arc<Layout>, Vec<u8>)>,
    /// The message that is being written.
    written: Vec<u8>,
    piece: BytesMut,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            layouts: Vec::new(),
            written: Vec::new(),
            piece: BytesMut::with_capacity(PIECE),
        }
    }
}

impl Encoder {
    /// Writes a frame as [`encode`] does.
    #[must_use]
    pub fn encode<S: AsRef<str>>(&mut self, frame: &Frame, published: &Published<S>) -> Bytes {
        let mut out = Writer::over(std::mem::take(&mut self.written));
        let mut known = self.layouts.iter();
        // Decoders make a layout that has no name anew for each frame.
        let same = known.find(|(layout, _)| *layout == frame.layout);
        if let Some((_, fields)) = same {
            message(&mut out, frame, published, fields);
        } else {
            let fields = layout_fields(&frame.layout);
            message(&mut out, frame, published, &fields);
            if self.layouts.len() == KEPT {
                self.layouts.remove(0);
            }
            self.layouts.push((Arc::clone(&frame.layout), fields));
        }
        self.written = out.finish();
        self.piece.extend_from_slice(&self.written);
        self.piece.split().freeze()
    }
}

/// Writes a frame as a message.
///
/// Samples are written in the frame's [`SampleFormat`]; a value that does not fit it loses its excess, and its fraction (in eight bits
/// it is rounded).
#[must_use]
pub fn encode<S: AsRef<str>>(frame: &Frame, published: &Published<S>) -> Bytes {
    let mut out = Writer::over(Vec::new());
    message(&mut out, frame, published, &layout_fields(&frame.layout));
    out.finish().into()
}

/// The fields that are the same for all frames of a layout; they follow each other.
fn layout_fields(layout: &Layout) -> Vec<u8> {
    let mut out = Writer::over(Vec::new());
    out.reserve(layout.len() * 3 + 8);
    out.packed_sint(
        field::SUBCARRIERS,
        layout.subcarriers.iter().map(|index| i32::from(*index)),
    );
    out.written(field::VALID, layout.valid.len().div_ceil(8), |out| {
        let byte = |eight: &[bool]| {
            eight
                .iter()
                .rev()
                .fold(0_u8, |byte, bit| byte << 1 | u8::from(*bit))
        };
        out.extend(layout.valid.chunks(8).map(byte));
    });
    out.finish()
}

fn message<S: AsRef<str>>(
    out: &mut Writer,
    frame: &Frame,
    published: &Published<S>,
    layout: &[u8],
) {
    let (device, zone) = (published.device.as_ref(), published.zone.as_ref());
    let samples = frame.samples.len() * samples::bytes_of_one(frame.format);
    let names = device.len() + zone.len();
    out.reserve(160 + names + frame.rssi_dbm.len() * 2 + layout.len() + samples);
    out.bytes(field::FRAME_ID, published.frame_id.as_bytes());
    out.bytes(field::DEVICE, device.as_bytes());
    out.bytes(field::ZONE, zone.as_bytes());
    out.uint(field::SEQUENCE, frame.sequence);
    out.optional_uint(field::DEVICE_TIME_US, frame.device_time_us);
    out.uint(
        field::RECEIVE_TIME_US,
        frame.receive_time_us.cast_unsigned(),
    );
    out.packed_sint(
        field::RSSI_DBM,
        frame.rssi_dbm.iter().map(|rssi| i32::from(*rssi)),
    );
    let noise = frame
        .noise_floor_dbm
        .map(|noise| u64::from(zigzag(i32::from(noise))));
    out.optional_uint(field::NOISE_FLOOR_DBM, noise);
    out.optional_uint(field::FREQUENCY_MHZ, frame.frequency_mhz.map(u64::from));
    out.optional_uint(field::CHANNEL, frame.channel.map(u64::from));
    out.optional_uint(field::BANDWIDTH_MHZ, frame.bandwidth_mhz.map(u64::from));
    out.uint(field::PPDU_TYPE, number(ppdu_type(frame.ppdu) as i32));
    out.uint(field::ANTENNAS, u64::from(frame.antennas));
    out.fields(layout);
    out.uint(
        field::SAMPLE_FORMAT,
        number(sample_format(frame.format) as i32),
    );
    out.written(field::SAMPLES, samples, |out| {
        samples::pack(&frame.samples, frame.format, out)
    });
    out.uint(field::RAW_SIZE, u64::from(frame.raw_size));
    out.uint(field::SOURCE, number(source(published.source) as i32));
    out.bytes(
        field::RUN_ID,
        published.run_id.as_ref().map_or(&[], |run| run.as_bytes()),
    );
    out.bytes(
        field::TRANSMITTER_MAC,
        frame.transmitter.as_ref().map_or(&[], |mac| mac),
    );
    out.optional_uint(field::AGC, frame.agc.map(u64::from));
    out.uint(
        field::INGEST_TIME_US,
        published.ingest_time_us.cast_unsigned(),
    );
    out.uint(field::SAMPLED_ONE_IN, u64::from(published.sampled_one_in));
    out.uint(field::ANNOUNCED, u64::from(published.announced));
    out.uint(field::LAST_OF_RUN, u64::from(published.last_of_run));
    out.uint(field::SEQUENCE_COUNTED, u64::from(frame.counted));
    // One is the rule and travels as nothing.
    let streams = Some(frame.transmit_streams).filter(|streams| *streams > 1);
    out.uint(field::TRANSMIT_STREAMS, streams.map_or(0, u64::from));
    out.optional_float(field::SCALE, frame.scale);
    out.optional_uint(field::CORE, frame.chain.map(|chain| chain.core.into()));
    let stream = frame.chain.map(|chain| chain.stream.into());
    out.optional_uint(field::SPATIAL_STREAM, stream);
}

/// Number of a variant, as protobuf widens it.
fn number(variant: i32) -> u64 {
    i64::from(variant).cast_unsigned()
}

fn source(source: DataSource) -> pb::DataSource {
    match source {
        DataSource::Live => pb::DataSource::Live,
        DataSource::Replay => pb::DataSource::Replay,
        DataSource::Simulated => pb::DataSource::Simulated,
    }
}

fn ppdu_type(ppdu: Ppdu) -> pb::PpduType {
    match ppdu {
        Ppdu::Unknown => pb::PpduType::Unspecified,
        Ppdu::NonHt => pb::PpduType::NonHt,
        Ppdu::Ht => pb::PpduType::Ht,
        Ppdu::Vht => pb::PpduType::Vht,
        Ppdu::He => pb::PpduType::He,
        Ppdu::Eht => pb::PpduType::Eht,
    }
}

fn sample_format(format: SampleFormat) -> pb::SampleFormat {
    match format {
        SampleFormat::Ci8 => pb::SampleFormat::Ci8,
        SampleFormat::Ci16 => pb::SampleFormat::Ci16,
        SampleFormat::Cf32 => pb::SampleFormat::Cf32,
        SampleFormat::Af32 => pb::SampleFormat::Af32,
    }
}
