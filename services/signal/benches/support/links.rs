//! Links whose channel moves, for measuring: everything is made beforehand but time and sequence, and the samples are
//! copied into place, so that what is measured is the pipeline.

use std::sync::Arc;

use csi::wire::Published;
use csi::{Frame, Layout, Ppdu, SampleFormat};
use events::DataSource;
use num_complex::Complex32;
use signal::Input;
use uuid::Uuid;

/// Frames per second of each link.
pub const RATE_HZ: usize = 100;
/// Frames made beforehand: 10 s.
const POOL: usize = 1000;
const PERIOD_US: i64 = 1_000_000 / RATE_HZ as i64;

/// Antennas and subcarriers that are measured.
pub const SHAPES: [(u8, u16); 4] = [(1, 64), (3, 30), (4, 64), (4, 256)];

/// Links that send in turn.
pub struct Links {
    pool: Vec<Vec<Complex32>>,
    inputs: Vec<Input>,
    /// The samples of the frame at hand: in the service too they are fresh from the decoder, and lie in no link's own memory.
    samples: Vec<Complex32>,
    /// Whose they are now.
    holder: usize,
    sent: usize,
}

impl Links {
    /// So many devices of one link each, five to a zone, with a body that walks about.
    pub fn new((antennas, subcarriers): (u8, u16), links: usize) -> Self {
        let pool = pool(usize::from(antennas), usize::from(subcarriers), 1.0);
        let half = i16::try_from(subcarriers / 2).expect("few subcarriers");
        let last = i16::try_from(subcarriers).expect("few subcarriers") - half;
        let layout = Arc::new(Layout {
            name: "measured",
            subcarriers: (-half..last).collect(),
            valid: vec![true; usize::from(subcarriers)].into(),
        });
        let input = |index: usize| Input {
            stream_sequence: 0,
            frame: Frame {
                sequence: 0,
                counted: true,
                device_time_us: None,
                receive_time_us: 0,
                rssi_dbm: vec![-50],
                noise_floor_dbm: Some(-92),
                agc: None,
                frequency_mhz: Some(2437),
                channel: Some(6),
                bandwidth_mhz: Some(20),
                ppdu: Ppdu::Ht,
                antennas,
                transmit_streams: 1,
                layout: Arc::clone(&layout),
                samples: Vec::new(),
                format: SampleFormat::Ci8,
                scale: None,
                raw_size: 20 + 2 * u32::from(antennas) * u32::from(subcarriers),
                transmitter: None,
                simulated: false,
                chain: None,
            },
            published: Published {
                frame_id: Uuid::nil(),
                device: format!("device-{index:04}"),
                zone: format!("zone-{:03}", index / 5),
                source: DataSource::Live,
                run_id: None,
                announced: false,
                sampled_one_in: 1,
                ingest_time_us: 0,
                last_of_run: false,
            },
            trace: None,
        };
        Self {
            inputs: (0..links).map(input).collect(),
            samples: pool[0].clone(),
            holder: 0,
            pool,
            sent: 0,
        }
    }

    /// The room is empty instead.
    #[allow(dead_code)] // Not in each program that this file is part of.
    pub fn still(mut self) -> Self {
        let frame = &self.inputs[0].frame;
        let (antennas, subcarriers) = (usize::from(frame.antennas), frame.layout.len());
        self.pool = pool(antennas, subcarriers, 0.0);
        self
    }

    /// Each frame is announced as an event.
    #[allow(dead_code)] // Not in each program that this file is part of.
    pub fn announced(mut self) -> Self {
        for input in &mut self.inputs {
            input.published.announced = true;
        }
        self
    }

    /// The next frame: each link in turn.
    pub fn next(&mut self) -> &Input {
        let links = self.inputs.len();
        let (turn, link) = (self.sent / links, self.sent % links);
        self.sent += 1;
        let time_us = turn as i64 * PERIOD_US + link as i64 * PERIOD_US / links as i64;
        if self.sent > 1 {
            self.samples = std::mem::take(&mut self.inputs[self.holder].frame.samples);
        }
        self.holder = link;
        let input = &mut self.inputs[link];
        input.frame.samples = std::mem::take(&mut self.samples);
        input.stream_sequence = self.sent as u64;
        input.frame.sequence = turn as u64;
        input.frame.receive_time_us = time_us;
        input.published.frame_id = Uuid::from_u128(self.sent as u128);
        let samples = &self.pool[(turn + 37 * link) % POOL];
        input.frame.samples.copy_from_slice(samples);
        input
    }
}

/// A body that walks about (`change` 1; 0 for none), in receiver noise, rounded to 8 bits.
fn pool(antennas: usize, subcarriers: usize, change: f32) -> Vec<Vec<Complex32>> {
    let mut state = 1_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    let mut sample = |t: f32, k: f32| {
        let sway = (6.0 * t + 2.5 * (1.7 * t).sin() + k / 6.0).cos();
        let sway = 0.2 * sway + 0.08 * (11.0 * t - k / 4.0).cos();
        let size = 40.0 * (1.0 + change * sway);
        let (sin, cos) = (0.3 * k).sin_cos();
        let part = |value: f32, noise: f32| (value + 2.0 * noise).round();
        Complex32::new(part(size * cos, noise()), part(size * sin, noise()))
    };
    (0..POOL)
        .map(|turn| {
            let t = turn as f32 / RATE_HZ as f32;
            (0..antennas * subcarriers)
                .map(|k| sample(t, k as f32))
                .collect()
        })
        .collect()
}
