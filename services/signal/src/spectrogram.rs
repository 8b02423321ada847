//! The Doppler spectrogram of the frames that came last: on request, not in the way of frames.

use std::collections::VecDeque;

use csi::Frame;
use dsp::clock::nominal_period_us;
use dsp::doppler::{Doppler, Shape, ShapeError, path_speed};
use dsp::gain::GainBlocks;
use uuid::Uuid;

use crate::link::LinkKey;

/// Seconds from one row to the next.
const HOP_S: f64 = 0.05;
/// Fewest frames that a rate is taken from.
const FEWEST: usize = 16;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Nothing came.
    #[error("{found} frames of its busiest link came lately; at least {FEWEST} are needed")]
    TooFew {
        /// Frames that came.
        found: usize,
    },
    /// The window does not fit the rate.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// No window is free of gaps.
    #[error("no window of {window_s} s is without a gap")]
    Gaps {
        /// Length of the window.
        window_s: f64,
    },
}

impl Fault {
    /// For machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooFew { .. } => "TOO_FEW_FRAMES",
            Self::Shape(_) => "RATE_DOES_NOT_FIT",
            Self::Gaps { .. } => "GAPS",
        }
    }
}

/// A spectrogram.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spectrogram {
    pub link: String,
    pub rate_hz: f64,
    pub frames: usize,
    pub frequencies_hz: Vec<f32>,
    pub path_speeds_m_s: Vec<f32>,
    pub times_us: Vec<i64>,
    /// Row after row.
    pub power: Vec<f32>,
}

struct Row {
    time_us: i64,
    sample_us: i64,
    link: usize,
    values: Vec<f32>,
}

struct Link {
    key: LinkKey,
    blocks: GainBlocks,
    carrier_mhz: Option<u32>,
}

/// The frames of the last seconds of a device, normalised.
pub(crate) struct Latest {
    span_us: i64,
    most: usize,
    run: Option<Uuid>,
    links: Vec<Link>,
    rows: VecDeque<Row>,
}

impl Latest {
    /// Keeps the frames of `span_us`, at most so many.
    pub fn new(span_us: i64, most: usize) -> Self {
        Self {
            span_us,
            most,
            run: None,
            links: Vec::new(),
            rows: VecDeque::new(),
        }
    }

    /// Takes a frame. Another run begins anew; a frame without a channel does not count.
    pub fn push(&mut self, frame: &Frame, run: Option<Uuid>) {
        if self.run != run {
            self.rows.clear();
            self.run = run;
        }
        let key = LinkKey::of(frame);
        let link = match self.links.iter().position(|link| link.key == key) {
            Some(link) => link,
            None => {
                let layout = &frame.layout;
                let antennas = usize::from(frame.antennas);
                self.links.push(Link {
                    key,
                    blocks: GainBlocks::new(&layout.subcarriers, &layout.valid, antennas),
                    carrier_mhz: frame.frequency_mhz,
                });
                self.links.len() - 1
            }
        };
        let mut values = Vec::new();
        let normalised = self
            .links
            .get(link)
            .map(|link| link.blocks.normalise(&frame.samples, &mut values));
        if !matches!(normalised, Some(Ok(_))) {
            return;
        }
        let time_us = frame.receive_time_us;
        let sample_us = frame
            .device_time_us
            .and_then(|time| i64::try_from(time).ok())
            .unwrap_or(time_us);
        self.rows.push_back(Row {
            time_us,
            sample_us,
            link,
            values,
        });
        while self.rows.len() > self.most
            || self
                .rows
                .front()
                .is_some_and(|oldest| oldest.time_us < time_us - self.span_us)
        {
            self.rows.pop_front();
        }
    }

    /// The spectrogram of the link with the most frames.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "frequencies and times fit"
    )]
    pub fn spectrogram(&self, window_s: f64) -> Result<Spectrogram, Fault> {
        let mut counts = vec![0_usize; self.links.len()];
        for row in &self.rows {
            if let Some(count) = counts.get_mut(row.link) {
                *count += 1;
            }
        }
        let busiest = counts.iter().enumerate().max_by_key(|(_, count)| **count);
        let too_few = |found| Fault::TooFew { found };
        let (place, found) = busiest
            .map(|(place, count)| (place, *count))
            .ok_or(too_few(0))?;
        let link = self.links.get(place).ok_or(too_few(0))?;
        let rows = || self.rows.iter().filter(|row| row.link == place);
        let times: Vec<i64> = rows().map(|row| row.sample_us).collect();
        let period = nominal_period_us(&times, &mut Vec::new()).filter(|_| found >= FEWEST);
        let rate_hz = 1e6 / period.ok_or(too_few(found))?;
        let shape = Shape {
            rate_hz,
            window_s,
            hop_s: HOP_S,
        };
        let mut doppler = Doppler::new(link.blocks.width(), shape)?;
        let (mut times_us, mut power) = (Vec::new(), Vec::new());
        let half_us = (window_s * 5e5) as i64;
        for row in rows() {
            if doppler.push(row.sample_us, &row.values) {
                times_us.push(row.time_us - half_us);
                power.extend_from_slice(doppler.power());
            }
        }
        if times_us.is_empty() {
            return Err(Fault::Gaps { window_s });
        }
        let bins = doppler.power().len();
        let frequency = |bin: usize| bin as f64 * doppler.bin_hz();
        let speeds = link.carrier_mhz.map(|mhz| {
            let carrier = f64::from(mhz) * 1e6;
            let speed = |bin| path_speed(frequency(bin), carrier) as f32;
            (0..bins).map(speed).collect()
        });
        Ok(Spectrogram {
            link: link.key.to_string(),
            rate_hz,
            frames: found,
            frequencies_hz: (0..bins).map(|bin| frequency(bin) as f32).collect(),
            path_speeds_m_s: speeds.unwrap_or_default(),
            times_us,
            power,
        })
    }
}
