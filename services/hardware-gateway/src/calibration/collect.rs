//! The frames of one device while it is calibrated, link by link. Pure: time from the frames.

use std::sync::Arc;

use csi::wire::Published;
use csi::{Chain, Frame, Layout, Ppdu, SampleFormat};
use events::DataSource;
use num_complex::Complex32;
use uuid::Uuid;

use super::Refusal;

/// Links of one device at most; frames of others are passed over.
const MOST_LINKS: usize = 16;
/// Bytes of samples of one device at most.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// Sequence numbers that jump further than this are a restart, no loss.
const LARGEST_LOSS: u64 = 10_000;

/// The frames of one transmitter in one layout.
#[derive(Clone, Debug)]
pub struct LinkFrames {
    /// Subcarriers of one antenna.
    pub layout: Arc<Layout>,
    /// Antennas.
    pub antennas: u8,
    /// Packet format.
    pub ppdu: Ppdu,
    /// Transmitter, where known.
    pub transmitter: Option<[u8; 6]>,
    /// Receive chain and spatial stream, where the device reports each on its own.
    pub chain: Option<Chain>,
    /// How the samples came.
    pub format: SampleFormat,
    /// Channel of the newest frame.
    pub channel: Option<u8>,
    /// Bandwidth of the newest frame, MHz.
    pub bandwidth_mhz: Option<u16>,
    /// Time of reception of each frame, microseconds, ascending.
    pub receive_us: Vec<i64>,
    /// Time of each frame by the device's clock where it has one.
    pub sample_us: Vec<i64>,
    /// The level of each frame, dBm; not a number where it was not measured.
    pub levels_dbm: Vec<f32>,
    /// `antennas x layout` samples of each frame.
    pub samples: Vec<Complex32>,
    /// Noise floors as reported, dBm.
    pub noise_dbm: Vec<f64>,
}

impl LinkFrames {
    fn new(frame: &Frame) -> Self {
        Self {
            layout: Arc::clone(&frame.layout),
            antennas: frame.antennas,
            ppdu: frame.ppdu,
            transmitter: frame.transmitter,
            chain: frame.chain,
            format: frame.format,
            channel: None,
            bandwidth_mhz: None,
            receive_us: Vec::new(),
            sample_us: Vec::new(),
            levels_dbm: Vec::new(),
            samples: Vec::new(),
            noise_dbm: Vec::new(),
        }
    }

    fn fits(&self, frame: &Frame) -> bool {
        self.transmitter == frame.transmitter
            && self.ppdu == frame.ppdu
            && self.antennas == frame.antennas
            && self.chain == frame.chain
            && self.format == frame.format
            && self.layout == frame.layout
    }

    /// Samples of one frame.
    #[must_use]
    pub fn width(&self) -> usize {
        self.layout.len() * usize::from(self.antennas)
    }

    /// The samples, frame by frame.
    pub fn frames(&self) -> std::slice::ChunksExact<'_, Complex32> {
        self.samples.chunks_exact(self.width().max(1))
    }
}

/// What has come of one device.
#[derive(Clone, Debug)]
pub struct Collector {
    want_us: i64,
    /// Where the frames come from, and the replay that they belong to.
    pub origin: Option<(DataSource, Option<Uuid>)>,
    /// Zone of the newest frame.
    pub zone: String,
    /// The links.
    pub links: Vec<LinkFrames>,
    /// Times of the first and newest frame, microseconds.
    pub span_us: Option<(i64, i64)>,
    /// Frames taken.
    pub frames: u64,
    /// Frames lost by the device's count; absent where it does not count.
    pub missed: Option<u64>,
    newest: Option<u64>,
    bytes: usize,
}

impl Collector {
    /// Wants frames over `seconds` of their time.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)]
    pub fn new(seconds: f64) -> Self {
        Self {
            want_us: (seconds * 1e6) as i64,
            origin: None,
            zone: String::new(),
            links: Vec::new(),
            span_us: None,
            frames: 0,
            missed: None,
            newest: None,
            bytes: 0,
        }
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// Where the frames cannot be of one measurement, or are too many.
    pub fn push(&mut self, frame: &Frame, published: &Published) -> Result<(), Refusal> {
        let origin = (published.source, published.run_id);
        if *self.origin.get_or_insert(origin) != origin {
            return Err(Refusal::new(
                "source_changed",
                "the device's frames changed between live, simulated or another recording; one measurement cannot mix them",
            ));
        }
        let time = frame.receive_time_us;
        let (first, last) = *self.span_us.get_or_insert((time, time));
        if time < last {
            return Ok(());
        }
        if frame.counted {
            let lost = self
                .newest
                .and_then(|newest| frame.sequence.checked_sub(newest + 1))
                .filter(|lost| *lost < LARGEST_LOSS);
            self.missed = Some(self.missed.unwrap_or(0) + lost.unwrap_or(0));
            self.newest = Some(frame.sequence);
        }
        let place = match self.links.iter().position(|link| link.fits(frame)) {
            Some(place) => place,
            None if self.links.len() >= MOST_LINKS => return Ok(()),
            None => {
                self.links.push(LinkFrames::new(frame));
                self.links.len() - 1
            }
        };
        let Some(link) = self.links.get_mut(place) else {
            return Ok(());
        };
        if frame.samples.len() != link.width() {
            return Ok(());
        }
        self.bytes += std::mem::size_of_val(&*frame.samples);
        if self.bytes > MOST_BYTES {
            return Err(Refusal::new(
                "too_many_frames",
                format!(
                    "the frames of {:.0} s take more than {} MiB: calibrate for a shorter time, or lower the frame rate",
                    seconds(last - first),
                    MOST_BYTES >> 20
                ),
            ));
        }
        self.span_us = Some((first, time));
        self.frames += 1;
        self.zone.clone_from(&published.zone);
        link.channel = frame.channel.or(link.channel);
        link.bandwidth_mhz = frame.bandwidth_mhz.or(link.bandwidth_mhz);
        link.receive_us.push(time);
        let device = frame.device_time_us.and_then(|t| i64::try_from(t).ok());
        link.sample_us.push(device.unwrap_or(time));
        link.levels_dbm.push(frame.level_dbm().unwrap_or(f32::NAN));
        link.samples.extend_from_slice(&frame.samples);
        link.noise_dbm.extend(frame.noise_floor_dbm.map(f64::from));
        Ok(())
    }

    /// Seconds covered.
    #[must_use]
    pub fn covered_s(&self) -> f64 {
        self.span_us
            .map_or(0.0, |(first, last)| seconds(last - first))
    }

    /// Share of what is wanted, 0 to 1.
    #[must_use]
    pub fn progress(&self) -> f64 {
        (self.covered_s() / seconds(self.want_us).max(1e-9)).min(1.0)
    }

    /// Whether that is enough.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.span_us
            .is_some_and(|(first, last)| last - first >= self.want_us)
    }

    /// The links that carry at least a tenth of the frames, the strongest first.
    #[must_use]
    pub fn main_links(&self) -> Vec<&LinkFrames> {
        let all: usize = self.links.iter().map(|link| link.receive_us.len()).sum();
        let mut links: Vec<&LinkFrames> = self
            .links
            .iter()
            .filter(|link| link.receive_us.len() * 10 >= all)
            .collect();
        links.sort_by_key(|link| std::cmp::Reverse(link.receive_us.len()));
        links
    }
}

#[allow(clippy::cast_precision_loss)]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}
