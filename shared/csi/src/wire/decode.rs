//! The reader.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use events::DataSource;
use proto::csi::v1 as message;
use uuid::Uuid;

use super::protobuf::{Fields, Value, push_varint, unzigzag};
use super::{Error, Published, field, samples};
use crate::layout::find_or_make;
use crate::{Chain, Frame, Layout, Ppdu, SampleFormat};

/// Layouts that one decoder remembers; a stream has a handful.
pub(super) const MOST_LAYOUTS: usize = 32;

/// A layout, and the bytes that say so.
#[derive(Debug)]
struct Known {
    subcarriers: Box<[u8]>,
    valid: Box<[u8]>,
    layout: Arc<Layout>,
}

/// Reads messages, and gives the frames of one layout the same `Arc<Layout>`.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Newest first.
    layouts: Vec<Known>,
}

/// The fields of a message, as they stand in it.
#[derive(Default)]
struct Message<'a> {
    frame_id: &'a [u8],
    device: &'a [u8],
    zone: &'a [u8],
    sequence: u64,
    device_time_us: Option<u64>,
    receive_time_us: i64,
    rssi_dbm: Vec<i8>,
    noise_floor_dbm: Option<u64>,
    frequency_mhz: Option<u64>,
    channel: Option<u64>,
    bandwidth_mhz: Option<u64>,
    ppdu_type: u64,
    antennas: u64,
    /// Packed numbers.
    subcarriers: Cow<'a, [u8]>,
    valid: &'a [u8],
    sample_format: u64,
    samples: &'a [u8],
    raw_size: u64,
    source: u64,
    run_id: &'a [u8],
    transmitter_mac: &'a [u8],
    agc: Option<u64>,
    ingest_time_us: i64,
    sampled_one_in: u64,
    announced: bool,
    last_of_run: bool,
    sequence_counted: bool,
    transmit_streams: u64,
    scale: Option<f32>,
    core: Option<u64>,
    spatial_stream: Option<u64>,
}

fn bad(field: &'static str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Field {
        field,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

impl<'a> Message<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut message = Self::default();
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match value {
                Value::Varint(value) => message.number(number, value)?,
                Value::Bytes(bytes) => message.bytes(number, bytes)?,
                Value::Fixed32(value) => message.fixed32(number, value)?,
                Value::Fixed64 if number <= field::LAST => {
                    return Err(bad("wire type", "another", "eight bytes"));
                }
                Value::Fixed64 => {}
            }
        }
        Ok(message)
    }

    fn number(&mut self, number: u32, value: u64) -> Result<(), Error> {
        match number {
            field::SEQUENCE => self.sequence = value,
            field::DEVICE_TIME_US => self.device_time_us = Some(value),
            field::RECEIVE_TIME_US => self.receive_time_us = value.cast_signed(),
            field::NOISE_FLOOR_DBM => self.noise_floor_dbm = Some(value),
            field::FREQUENCY_MHZ => self.frequency_mhz = Some(value),
            field::CHANNEL => self.channel = Some(value),
            field::BANDWIDTH_MHZ => self.bandwidth_mhz = Some(value),
            field::PPDU_TYPE => self.ppdu_type = value,
            field::ANTENNAS => self.antennas = value,
            field::SAMPLE_FORMAT => self.sample_format = value,
            field::RAW_SIZE => self.raw_size = value,
            field::SOURCE => self.source = value,
            field::AGC => self.agc = Some(value),
            field::INGEST_TIME_US => self.ingest_time_us = value.cast_signed(),
            field::SAMPLED_ONE_IN => self.sampled_one_in = value,
            field::ANNOUNCED => self.announced = value != 0,
            field::LAST_OF_RUN => self.last_of_run = value != 0,
            field::SEQUENCE_COUNTED => self.sequence_counted = value != 0,
            field::TRANSMIT_STREAMS => self.transmit_streams = value,
            field::CORE => self.core = Some(value),
            field::SPATIAL_STREAM => self.spatial_stream = Some(value),
            // One by one, as a writer may that knows no packed fields.
            field::RSSI_DBM => self.rssi_dbm.push(signed(value, "rssi_dbm")?),
            field::SUBCARRIERS => push_varint(self.subcarriers.to_mut(), value),
            number if number <= field::LAST => {
                return Err(bad(
                    "wire type",
                    "bytes",
                    format!("a number in field {number}"),
                ));
            }
            _ => {}
        }
        Ok(())
    }

    fn fixed32(&mut self, number: u32, value: [u8; 4]) -> Result<(), Error> {
        match number {
            field::SCALE => self.scale = Some(f32::from_le_bytes(value)),
            number if number <= field::LAST => {
                return Err(bad(
                    "wire type",
                    "another",
                    format!("four bytes in field {number}"),
                ));
            }
            _ => {}
        }
        Ok(())
    }

    fn bytes(&mut self, number: u32, bytes: &'a [u8]) -> Result<(), Error> {
        match number {
            field::FRAME_ID => self.frame_id = bytes,
            field::DEVICE => self.device = bytes,
            field::ZONE => self.zone = bytes,
            field::VALID => self.valid = bytes,
            field::SAMPLES => self.samples = bytes,
            field::RUN_ID => self.run_id = bytes,
            field::TRANSMITTER_MAC => self.transmitter_mac = bytes,
            // In one piece from every writer, in several from one that streams.
            field::SUBCARRIERS if self.subcarriers.is_empty() => {
                self.subcarriers = Cow::Borrowed(bytes)
            }
            field::SUBCARRIERS => self.subcarriers.to_mut().extend_from_slice(bytes),
            field::RSSI_DBM => {
                let mut numbers = Fields::new(bytes);
                while !numbers.is_empty() {
                    self.rssi_dbm.push(signed(numbers.varint()?, "rssi_dbm")?);
                }
            }
            number if number <= field::LAST => {
                return Err(bad(
                    "wire type",
                    "a number",
                    format!("bytes in field {number}"),
                ));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Decoder {
    /// Reads a message. Fields that are not known here are passed over.
    ///
    /// # Errors
    /// Where it is no such message, or its counts, mask and samples do not agree.
    pub fn decode(&mut self, payload: &Bytes) -> Result<(Frame, Published), Error> {
        let message = Message::read(payload)?;
        let antennas = u8::try_from(message.antennas)
            .ok()
            .filter(|antennas| *antennas > 0);
        let antennas = antennas.ok_or_else(|| bad("antennas", "1 to 255", message.antennas))?;
        // A writer that knows no streams says nothing.
        let transmit_streams = u8::try_from(message.transmit_streams.max(1))
            .ok()
            .filter(|streams| antennas.is_multiple_of(*streams));
        let transmit_streams = transmit_streams.ok_or_else(|| {
            let expected = format!("a divisor of {antennas} antennas");
            bad("transmit_streams", expected, message.transmit_streams)
        })?;
        if let Some(scale) = message
            .scale
            .filter(|scale| !(scale.is_finite() && *scale > 0.0))
        {
            return Err(bad("scale", "a finite number above 0", scale));
        }
        let format = read_sample_format(message.sample_format)?;
        let layout = self.layout(&message.subcarriers, message.valid)?;
        let expected = usize::from(antennas) * layout.len() * samples::bytes_of_one(format);
        if message.samples.len() != expected {
            let expected = format!("{expected} bytes for {antennas} x {} samples", layout.len());
            return Err(bad("samples", expected, message.samples.len()));
        }
        let samples = samples::unpack(message.samples, format);
        let integers = matches!(format, SampleFormat::Ci8 | SampleFormat::Ci16);
        if !integers && !samples.iter().all(|sample| sample.is_finite()) {
            return Err(bad("samples", "finite numbers", "NaN or infinity"));
        }
        let source = read_source(message.source)?;
        let core: Option<u8> = optional(message.core, "core")?;
        let stream: Option<u8> = optional(message.spatial_stream, "spatial_stream")?;
        let chain = core
            .zip(stream)
            .map(|(core, stream)| Chain { core, stream });
        let frame = Frame {
            sequence: message.sequence,
            counted: message.sequence_counted,
            device_time_us: message.device_time_us,
            receive_time_us: message.receive_time_us,
            rssi_dbm: message.rssi_dbm,
            noise_floor_dbm: message
                .noise_floor_dbm
                .map(|noise| signed(noise, "noise_floor_dbm"))
                .transpose()?,
            agc: optional(message.agc, "agc")?,
            frequency_mhz: optional(message.frequency_mhz, "frequency_mhz")?,
            channel: optional(message.channel, "channel")?,
            bandwidth_mhz: optional(message.bandwidth_mhz, "bandwidth_mhz")?,
            ppdu: read_ppdu(message.ppdu_type)?,
            antennas,
            transmit_streams,
            scale: message.scale,
            samples,
            layout,
            format,
            raw_size: unsigned(message.raw_size, "raw_size")?,
            transmitter: match message.transmitter_mac {
                [] => None,
                mac => Some(
                    mac.try_into()
                        .map_err(|_| bad("transmitter_mac", "0 or 6 bytes", mac.len()))?,
                ),
            },
            simulated: source == DataSource::Simulated,
            chain,
        };
        let published = Published {
            frame_id: read_uuid(message.frame_id, "frame_id")?,
            run_id: if message.run_id.is_empty() {
                None
            } else {
                Some(read_uuid(message.run_id, "run_id")?)
            },
            source,
            device: read_text(message.device, "device")?,
            zone: read_text(message.zone, "zone")?,
            announced: message.announced,
            sampled_one_in: unsigned(message.sampled_one_in, "sampled_one_in")?,
            ingest_time_us: message.ingest_time_us,
            last_of_run: message.last_of_run,
        };
        Ok((frame, published))
    }

    fn layout(&mut self, subcarriers: &[u8], valid: &[u8]) -> Result<Arc<Layout>, Error> {
        let same = |known: &Known| *known.subcarriers == *subcarriers && *known.valid == *valid;
        if let Some(place) = self.layouts.iter().position(same) {
            if let Some(newer) = self.layouts.get_mut(..=place) {
                newer.rotate_right(1);
            }
        } else {
            let layout = read_layout(subcarriers, valid)?;
            self.layouts.truncate(MOST_LAYOUTS - 1);
            self.layouts.insert(
                0,
                Known {
                    subcarriers: subcarriers.into(),
                    valid: valid.into(),
                    layout,
                },
            );
        }
        let newest = self.layouts.first().map(|known| Arc::clone(&known.layout));
        newest.ok_or_else(|| bad("subcarriers", "a layout", "none"))
    }

    /// Layouts that are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.layouts.len()
    }
}

fn read_layout(subcarriers: &[u8], valid: &[u8]) -> Result<Arc<Layout>, Error> {
    let mut indices = Vec::new();
    let mut numbers = Fields::new(subcarriers);
    while !numbers.is_empty() {
        let number = numbers.varint()?;
        let index = u32::try_from(number)
            .ok()
            .and_then(|number| i16::try_from(unzigzag(number)).ok());
        indices.push(index.ok_or_else(|| bad("subcarriers", "16-bit indices", number))?);
    }
    if indices.is_empty() {
        return Err(bad("subcarriers", "at least one", 0));
    }
    let expected = indices.len().div_ceil(8);
    if valid.len() != expected {
        let expected = format!("{expected} bytes for {} subcarriers", indices.len());
        return Err(bad("valid", expected, valid.len()));
    }
    let bit = |position: usize| {
        valid
            .get(position / 8)
            .is_some_and(|byte| byte >> (position % 8) & 1 == 1)
    };
    let mask: Vec<bool> = (0..indices.len()).map(bit).collect();
    Ok(find_or_make(&indices, &mask))
}

fn unsigned<T: TryFrom<u64>>(value: u64, field: &'static str) -> Result<T, Error> {
    T::try_from(value).map_err(|_| bad(field, "a smaller number", value))
}

fn optional<T: TryFrom<u64>>(value: Option<u64>, field: &'static str) -> Result<Option<T>, Error> {
    value.map(|value| unsigned(value, field)).transpose()
}

fn signed(value: u64, field: &'static str) -> Result<i8, Error> {
    let number = u32::try_from(value)
        .ok()
        .and_then(|number| i8::try_from(unzigzag(number)).ok());
    number.ok_or_else(|| bad(field, "-128 to 127", value))
}

fn read_uuid(bytes: &[u8], field: &'static str) -> Result<Uuid, Error> {
    Uuid::from_slice(bytes).map_err(|_| bad(field, "16 bytes", bytes.len()))
}

fn read_text(bytes: &[u8], field: &'static str) -> Result<String, Error> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| bad(field, "UTF-8", "other bytes"))
}

/// The variant of a number.
fn variant<T: TryFrom<i32>>(value: u64) -> Option<T> {
    i32::try_from(value)
        .ok()
        .and_then(|value| T::try_from(value).ok())
}

fn read_source(source: u64) -> Result<DataSource, Error> {
    match variant(source) {
        Some(message::DataSource::Live) => Ok(DataSource::Live),
        Some(message::DataSource::Replay) => Ok(DataSource::Replay),
        Some(message::DataSource::Simulated) => Ok(DataSource::Simulated),
        Some(message::DataSource::Unspecified) | None => {
            Err(bad("source", "live, replay or simulated", source))
        }
    }
}

fn read_ppdu(ppdu: u64) -> Result<Ppdu, Error> {
    match variant(ppdu) {
        Some(message::PpduType::Unspecified) => Ok(Ppdu::Unknown),
        Some(message::PpduType::NonHt) => Ok(Ppdu::NonHt),
        Some(message::PpduType::Ht) => Ok(Ppdu::Ht),
        Some(message::PpduType::Vht) => Ok(Ppdu::Vht),
        Some(message::PpduType::He) => Ok(Ppdu::He),
        Some(message::PpduType::Eht) => Ok(Ppdu::Eht),
        None => Err(bad("ppdu_type", "a known type", ppdu)),
    }
}

fn read_sample_format(format: u64) -> Result<SampleFormat, Error> {
    match variant(format) {
        Some(message::SampleFormat::Ci8) => Ok(SampleFormat::Ci8),
        Some(message::SampleFormat::Ci16) => Ok(SampleFormat::Ci16),
        Some(message::SampleFormat::Cf32) => Ok(SampleFormat::Cf32),
        Some(message::SampleFormat::Af32) => Ok(SampleFormat::Af32),
        Some(message::SampleFormat::Unspecified) | None => {
            Err(bad("sample_format", "a known format", format))
        }
    }
}
