//! A frame as it travels on the data plane: protobuf, `fresnel.csi.v1.CsiFrame`.

use std::sync::Arc;

use bytes::Bytes;
use events::DataSource;
use num_complex::Complex32;
use prost::Message;
use proto::csi::v1::{self as message, CsiFrame};
use uuid::Uuid;

use crate::layout::find_or_make;
use crate::{Frame, Layout, Ppdu, SampleFormat};

/// What the gateway adds to a frame when it publishes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Id of the frame.
    pub frame_id: Uuid,
    /// Registered name of the device.
    pub device: String,
    /// Zone that the device belongs to.
    pub zone: String,
    /// Where the data came from.
    pub source: DataSource,
    /// The replay, recording session or simulation run that the frame belongs to.
    pub run_id: Option<Uuid>,
    /// Whether this frame was announced as an event.
    pub announced: bool,
    /// One in so many frames is announced; 0 and 1 both mean each.
    pub sampled_one_in: u32,
    /// Wall clock of the gateway when the frame was read, microseconds since the Unix epoch: for latency accounting only.
    pub ingest_time_us: i64,
    /// The last frame of a replay.
    pub last_of_run: bool,
}

/// Why a message is no frame.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the protobuf message.
    #[error("no protobuf message of type fresnel.csi.v1.CsiFrame")]
    Protobuf(#[from] prost::DecodeError),
    /// A field holds what it cannot hold.
    #[error("field {field}: expected {expected}, found {found}")]
    Field {
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
            Self::Protobuf(_) => "not_protobuf",
            Self::Field { .. } => "bad_field",
        }
    }
}

fn bad(field: &'static str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Field {
        field,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

fn bytes_per_sample(format: SampleFormat) -> usize {
    match format {
        SampleFormat::Ci8 => 2,
        SampleFormat::Ci16 | SampleFormat::Af32 => 4,
        SampleFormat::Cf32 => 8,
    }
}

/// Writes a frame as a message.
///
/// Samples are written in the frame's [`SampleFormat`]; of a value that does not fit it the fraction or the excess is lost.
#[must_use]
pub fn encode(frame: &Frame, published: &Published) -> Bytes {
    let layout = &frame.layout;
    let message = CsiFrame {
        frame_id: Bytes::copy_from_slice(published.frame_id.as_bytes()),
        device: published.device.clone(),
        zone: published.zone.clone(),
        sequence: frame.sequence,
        device_time_us: frame.device_time_us,
        receive_time_us: frame.receive_time_us,
        rssi_dbm: frame.rssi_dbm.iter().map(|rssi| i32::from(*rssi)).collect(),
        noise_floor_dbm: frame.noise_floor_dbm.map(i32::from),
        frequency_mhz: frame.frequency_mhz,
        channel: frame.channel.map(u32::from),
        bandwidth_mhz: frame.bandwidth_mhz.map(u32::from),
        ppdu_type: ppdu_type(frame.ppdu).into(),
        antennas: u32::from(frame.antennas),
        subcarriers: layout
            .subcarriers
            .iter()
            .map(|index| i32::from(*index))
            .collect(),
        valid: pack_bits(&layout.valid).into(),
        sample_format: sample_format(frame.format).into(),
        samples: pack_samples(frame).into(),
        raw_size: frame.raw_size,
        source: match published.source {
            DataSource::Live => message::DataSource::Live,
            DataSource::Replay => message::DataSource::Replay,
            DataSource::Simulated => message::DataSource::Simulated,
        }
        .into(),
        run_id: published
            .run_id
            .map_or_else(Bytes::new, |run| Bytes::copy_from_slice(run.as_bytes())),
        transmitter_mac: frame
            .transmitter
            .map_or_else(Bytes::new, |mac| Bytes::copy_from_slice(&mac)),
        agc: frame.agc.map(u32::from),
        ingest_time_us: published.ingest_time_us,
        sampled_one_in: published.sampled_one_in,
        announced: published.announced,
        last_of_run: published.last_of_run,
        sequence_counted: frame.counted,
    };
    message.encode_to_vec().into()
}

fn ppdu_type(ppdu: Ppdu) -> message::PpduType {
    match ppdu {
        Ppdu::Unknown => message::PpduType::Unspecified,
        Ppdu::NonHt => message::PpduType::NonHt,
        Ppdu::Ht => message::PpduType::Ht,
        Ppdu::Vht => message::PpduType::Vht,
        Ppdu::He => message::PpduType::He,
    }
}

fn sample_format(format: SampleFormat) -> message::SampleFormat {
    match format {
        SampleFormat::Ci8 => message::SampleFormat::Ci8,
        SampleFormat::Ci16 => message::SampleFormat::Ci16,
        SampleFormat::Cf32 => message::SampleFormat::Cf32,
        SampleFormat::Af32 => message::SampleFormat::Af32,
    }
}

fn pack_bits(bits: &[bool]) -> Vec<u8> {
    let byte = |eight: &[bool]| {
        eight
            .iter()
            .rev()
            .fold(0_u8, |byte, bit| byte << 1 | u8::from(*bit))
    };
    bits.chunks(8).map(byte).collect()
}

// `as` from f32 to an integer truncates and saturates, as `encode` says.
#[allow(clippy::cast_possible_truncation)]
fn pack_samples(frame: &Frame) -> Vec<u8> {
    let samples = &frame.samples;
    match frame.format {
        SampleFormat::Ci8 => {
            let pair = |sample: &Complex32| {
                [sample.re, sample.im].map(|part| (part as i8).cast_unsigned())
            };
            samples.iter().flat_map(pair).collect()
        }
        SampleFormat::Ci16 => {
            let pair =
                |sample: &Complex32| [sample.re, sample.im].map(|part| (part as i16).to_le_bytes());
            samples.iter().flat_map(pair).flatten().collect()
        }
        SampleFormat::Cf32 => samples
            .iter()
            .flat_map(|sample| [sample.re, sample.im].map(f32::to_le_bytes))
            .flatten()
            .collect(),
        SampleFormat::Af32 => samples
            .iter()
            .flat_map(|sample| sample.re.to_le_bytes())
            .collect(),
    }
}

/// Layouts that one decoder remembers; a stream has a handful.
const MOST_LAYOUTS: usize = 32;

/// Reads messages, and gives the frames of one layout the same `Arc<Layout>`.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Newest first.
    layouts: Vec<Arc<Layout>>,
}

impl Decoder {
    /// Reads a message.
    ///
    /// # Errors
    /// Where it is no such message, or its counts, mask and samples do not agree.
    pub fn decode(&mut self, payload: &Bytes) -> Result<(Frame, Published), Error> {
        let message = CsiFrame::decode(payload.clone())?;
        let antennas = u8::try_from(message.antennas)
            .ok()
            .filter(|antennas| *antennas > 0);
        let antennas = antennas.ok_or_else(|| bad("antennas", "1 to 255", message.antennas))?;
        let format = read_sample_format(message.sample_format)?;
        let layout = self.layout(&message.subcarriers, &message.valid)?;
        let count = usize::from(antennas) * layout.len();
        let expected = count * bytes_per_sample(format);
        if message.samples.len() != expected {
            let expected = format!("{expected} bytes for {antennas} x {} samples", layout.len());
            return Err(bad("samples", expected, message.samples.len()));
        }
        let samples = unpack_samples(&message.samples, format);
        if matches!(format, SampleFormat::Cf32 | SampleFormat::Af32)
            && !samples.iter().all(|sample| sample.is_finite())
        {
            return Err(bad("samples", "finite numbers", "NaN or infinity"));
        }
        let frame = Frame {
            sequence: message.sequence,
            counted: message.sequence_counted,
            device_time_us: message.device_time_us,
            receive_time_us: message.receive_time_us,
            rssi_dbm: read_rssi(&message.rssi_dbm)?,
            noise_floor_dbm: small(message.noise_floor_dbm, "noise_floor_dbm")?,
            agc: small(message.agc, "agc")?,
            frequency_mhz: message.frequency_mhz,
            channel: small(message.channel, "channel")?,
            bandwidth_mhz: small(message.bandwidth_mhz, "bandwidth_mhz")?,
            ppdu: read_ppdu(message.ppdu_type)?,
            antennas,
            samples,
            layout,
            format,
            raw_size: message.raw_size,
            transmitter: match message.transmitter_mac.as_ref() {
                [] => None,
                mac => Some(
                    <[u8; 6]>::try_from(mac)
                        .map_err(|_| bad("transmitter_mac", "0 or 6 bytes", mac.len()))?,
                ),
            },
            simulated: message.source == i32::from(message::DataSource::Simulated),
        };
        let published = Published {
            frame_id: read_uuid(&message.frame_id, "frame_id")?,
            run_id: if message.run_id.is_empty() {
                None
            } else {
                Some(read_uuid(&message.run_id, "run_id")?)
            },
            source: read_source(message.source)?,
            device: message.device,
            zone: message.zone,
            announced: message.announced,
            sampled_one_in: message.sampled_one_in,
            ingest_time_us: message.ingest_time_us,
            last_of_run: message.last_of_run,
        };
        Ok((frame, published))
    }

    fn layout(&mut self, subcarriers: &[i32], valid: &[u8]) -> Result<Arc<Layout>, Error> {
        let bit = |position: usize| {
            valid
                .get(position / 8)
                .is_some_and(|byte| byte >> (position % 8) & 1 == 1)
        };
        let same = |layout: &Layout| {
            layout.len() == subcarriers.len()
                && layout
                    .subcarriers
                    .iter()
                    .zip(subcarriers)
                    .all(|(known, index)| i32::from(*known) == *index)
                && valid.len() == layout.len().div_ceil(8)
                && layout
                    .valid
                    .iter()
                    .enumerate()
                    .all(|(position, known)| *known == bit(position))
        };
        if let Some(place) = self.layouts.iter().position(|layout| same(layout)) {
            let (Some(layout), rest) = (
                self.layouts.get(place).cloned(),
                self.layouts.get_mut(..=place),
            ) else {
                return Err(bad("subcarriers", "a layout", "none"));
            };
            if let Some(newer) = rest {
                newer.rotate_right(1);
            }
            return Ok(layout);
        }
        if valid.len() != subcarriers.len().div_ceil(8) {
            let expected = format!(
                "{} bytes for {} subcarriers",
                subcarriers.len().div_ceil(8),
                subcarriers.len()
            );
            return Err(bad("valid", expected, valid.len()));
        }
        if subcarriers.is_empty() {
            return Err(bad("subcarriers", "at least one", 0));
        }
        let indices: Result<Vec<i16>, _> = subcarriers
            .iter()
            .map(|index| {
                i16::try_from(*index).map_err(|_| bad("subcarriers", "16-bit indices", index))
            })
            .collect();
        let mask: Vec<bool> = (0..subcarriers.len()).map(bit).collect();
        let layout = find_or_make(&indices?, &mask);
        self.layouts.truncate(MOST_LAYOUTS - 1);
        self.layouts.insert(0, Arc::clone(&layout));
        Ok(layout)
    }
}

fn small<T: Copy + ToString + TryInto<U>, U>(
    value: Option<T>,
    field: &'static str,
) -> Result<Option<U>, Error> {
    let narrow = |value: T| {
        value
            .try_into()
            .map_err(|_| bad(field, "a smaller number", value))
    };
    value.map(narrow).transpose()
}

fn read_rssi(rssi: &[i32]) -> Result<Vec<i8>, Error> {
    rssi.iter()
        .map(|rssi| i8::try_from(*rssi).map_err(|_| bad("rssi_dbm", "-128 to 127", rssi)))
        .collect()
}

fn read_uuid(bytes: &[u8], field: &'static str) -> Result<Uuid, Error> {
    Uuid::from_slice(bytes).map_err(|_| bad(field, "16 bytes", bytes.len()))
}

fn read_source(source: i32) -> Result<DataSource, Error> {
    match message::DataSource::try_from(source) {
        Ok(message::DataSource::Live) => Ok(DataSource::Live),
        Ok(message::DataSource::Replay) => Ok(DataSource::Replay),
        Ok(message::DataSource::Simulated) => Ok(DataSource::Simulated),
        Ok(message::DataSource::Unspecified) | Err(_) => {
            Err(bad("source", "live, replay or simulated", source))
        }
    }
}

fn read_ppdu(ppdu: i32) -> Result<Ppdu, Error> {
    match message::PpduType::try_from(ppdu) {
        Ok(message::PpduType::Unspecified) => Ok(Ppdu::Unknown),
        Ok(message::PpduType::NonHt) => Ok(Ppdu::NonHt),
        Ok(message::PpduType::Ht) => Ok(Ppdu::Ht),
        Ok(message::PpduType::Vht) => Ok(Ppdu::Vht),
        Ok(message::PpduType::He) => Ok(Ppdu::He),
        Err(_) => Err(bad("ppdu_type", "a known type", ppdu)),
    }
}

fn read_sample_format(format: i32) -> Result<SampleFormat, Error> {
    match message::SampleFormat::try_from(format) {
        Ok(message::SampleFormat::Ci8) => Ok(SampleFormat::Ci8),
        Ok(message::SampleFormat::Ci16) => Ok(SampleFormat::Ci16),
        Ok(message::SampleFormat::Cf32) => Ok(SampleFormat::Cf32),
        Ok(message::SampleFormat::Af32) => Ok(SampleFormat::Af32),
        Ok(message::SampleFormat::Unspecified) | Err(_) => {
            Err(bad("sample_format", "a known format", format))
        }
    }
}

/// `samples` has the right length: the caller looked.
fn unpack_samples(samples: &[u8], format: SampleFormat) -> Vec<Complex32> {
    match format {
        SampleFormat::Ci8 => {
            let (pairs, _) = samples.as_chunks::<2>();
            pairs
                .iter()
                .map(|pair| pair.map(|part| f32::from(part.cast_signed())))
                .map(complex)
                .collect()
        }
        SampleFormat::Ci16 => {
            let (pairs, _) = samples.as_chunks::<4>();
            let read = |[r0, r1, i0, i1]: &[u8; 4]| {
                [[*r0, *r1], [*i0, *i1]].map(|part| f32::from(i16::from_le_bytes(part)))
            };
            pairs.iter().map(read).map(complex).collect()
        }
        SampleFormat::Cf32 => {
            let (pairs, _) = samples.as_chunks::<8>();
            let read = |[r0, r1, r2, r3, i0, i1, i2, i3]: &[u8; 8]| {
                [[*r0, *r1, *r2, *r3], [*i0, *i1, *i2, *i3]].map(f32::from_le_bytes)
            };
            pairs.iter().map(read).map(complex).collect()
        }
        SampleFormat::Af32 => {
            let (amplitudes, _) = samples.as_chunks::<4>();
            amplitudes
                .iter()
                .map(|amplitude| complex([f32::from_le_bytes(*amplitude), 0.0]))
                .collect()
        }
    }
}

fn complex([re, im]: [f32; 2]) -> Complex32 {
    Complex32::new(re, im)
}

#[cfg(test)]
mod tests;
