//! Frames for the pipeline: from recordings, and made up.

use std::sync::Arc;

use bytes::Bytes;
use csi::read::{Format, Options, Reader};
use csi::wire::Published;
use csi::{Frame, Layout, Ppdu, SampleFormat};
use dsp::gain::GainBlocks;
use events::DataSource;
use num_complex::Complex32;
use proto::gateway::v1 as gateway;
use proto::signal::v1::SignalWindow;
use signal::calibration::Calibrated;
use signal::{Input, Output, Pipeline, Settings, What};
use uuid::Uuid;

pub const FRAME_IDS: Uuid = Uuid::from_u128(0x0e7d_1f8e_6d0b_4f55_9a3e_5d3a_7c11_90aa);
pub const RUN: Uuid = Uuid::from_u128(0x6c2d_4f0e_1111_4222_8333_4444_5555_6666);

/// Frames as the gateway would publish them in a replay, each announced.
pub fn inputs(frames: Vec<Frame>) -> Vec<Input> {
    let last = frames.len().saturating_sub(1);
    let input = |(index, frame): (usize, Frame)| Input {
        stream_sequence: 100 + index as u64,
        published: Published {
            frame_id: Uuid::new_v5(&FRAME_IDS, format!("frame {index}").as_bytes()),
            device: "node-1".to_owned(),
            zone: "lab".to_owned(),
            source: DataSource::Replay,
            run_id: Some(RUN),
            announced: true,
            sampled_one_in: 1,
            ingest_time_us: 0,
            last_of_run: index == last,
        },
        frame,
        trace: Some(Arc::from(format!(
            "00-{:032x}-{:016x}-01",
            index + 1,
            index + 1
        ))),
    };
    frames.into_iter().enumerate().map(input).collect()
}

/// Frames of several devices of one zone, in the order of their times, which all begin at the same one.
pub fn together(devices: Vec<Vec<Frame>>) -> Vec<Input> {
    let mut all = Vec::new();
    for (index, mut frames) in devices.into_iter().enumerate() {
        let begin = frames.first().map_or(0, |frame| frame.receive_time_us);
        for frame in &mut frames {
            frame.receive_time_us += 1_000_000_000 - begin;
        }
        let mut of_device = inputs(frames);
        for input in &mut of_device {
            input.published.device = format!("node-{index}");
            input.published.last_of_run = false;
            input.published.frame_id = Uuid::new_v5(&input.published.frame_id, &[index as u8]);
        }
        all.extend(of_device);
    }
    all.sort_by_key(|input| input.frame.receive_time_us);
    for (index, input) in all.iter_mut().enumerate() {
        input.stream_sequence = index as u64 + 1;
    }
    all
}

pub fn run(inputs: &[Input]) -> Vec<Output> {
    let mut pipeline = Pipeline::new(Settings::default(), "signal/test");
    inputs
        .iter()
        .flat_map(|input| pipeline.push(input))
        .collect()
}

pub fn windows(outputs: &[Output]) -> Vec<SignalWindow> {
    let window = |output: &Output| match &output.what {
        What::Window(window) => Some(window.as_ref().clone()),
        _ => None,
    };
    outputs.iter().filter_map(window).collect()
}

pub fn events(outputs: &[Output]) -> Vec<events::EventEnvelope> {
    let event = |output: &Output| match &output.what {
        What::Event(event) => Some(event.as_ref().clone()),
        _ => None,
    };
    outputs.iter().filter_map(event).collect()
}

pub fn recorded(recording: &recordings::Recording) -> Vec<Frame> {
    let contents = Bytes::from(recording.contents.clone());
    let reader = Reader::new(
        contents,
        &recording.file_name(),
        Format::Auto,
        Options::default(),
    )
    .unwrap();
    reader.filter_map(Result::ok).collect()
}

/// Deterministic noise.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
    pub fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, (self.uniform() * (index + 1) as f64) as usize);
        }
    }
}

pub fn layout() -> Arc<Layout> {
    let subcarriers: Box<[i16]> = (0..32).chain(-32..0).collect();
    let valid = subcarriers
        .iter()
        .map(|k| *k != 0 && k.abs() <= 26)
        .collect();
    Arc::new(Layout {
        name: "esp32-lltf64",
        subcarriers,
        valid,
    })
}

/// Frames of a room at 100 Hz for `seconds`: a static channel of about 30 units times `change(second, subcarrier)`, one
/// unit of noise, a random common phase per frame, rounded to 8 bits.
pub fn room(seconds: f64, seed: u64, change: impl Fn(f64, usize) -> f64) -> Vec<Frame> {
    let mut noise = Noise::new(seed);
    let layout = layout();
    (0..(seconds * 100.0) as u64)
        .map(|index| {
            let time = index as f64 / 100.0;
            let phase = noise.uniform() * std::f64::consts::TAU;
            let samples = (0..64)
                .map(|k| {
                    if !layout.valid[k] {
                        return Complex32::default();
                    }
                    let size = 30.0 * (1.0 + 0.4 * (k as f64 / 11.0).cos()) * change(time, k);
                    let (sin, cos) = (phase + k as f64 * 0.3).sin_cos();
                    let part = |value: f64, noise: &mut Noise| {
                        (value + noise.normal()).round().clamp(-128.0, 127.0) as f32
                    };
                    Complex32::new(part(size * cos, &mut noise), part(size * sin, &mut noise))
                })
                .collect();
            Frame {
                sequence: index,
                counted: true,
                device_time_us: None,
                receive_time_us: 1_000_000_000 + index as i64 * 10_000,
                rssi_dbm: vec![-50],
                noise_floor_dbm: Some(-95),
                agc: None,
                frequency_mhz: Some(2437),
                channel: Some(6),
                bandwidth_mhz: Some(20),
                ppdu: Ppdu::Ht,
                antennas: 1,
                transmit_streams: 1,
                layout: Arc::clone(&layout),
                samples,
                format: SampleFormat::Ci8,
                scale: None,
                raw_size: 148,
                transmitter: None,
                simulated: false,
                chain: None,
            }
        })
        .collect()
}

pub fn still(_: f64, _: usize) -> f64 {
    1.0
}

/// A body that walks about.
pub fn body(t: f64, k: usize) -> f64 {
    1.0 + 0.2 * (6.0 * t + 2.5 * (1.7 * t).sin() + k as f64 / 6.0).cos()
        + 0.08 * (11.0 * t - k as f64 / 4.0).cos()
}

/// The calibration that the gateway would make of these frames of an empty room: median and spread of amplitude of each
/// link, and this threshold.
pub fn calibration(frames: &[Frame], threshold: f64) -> Calibrated {
    calibrated_with(frames, threshold, &[])
}

/// The same, with these quantiles of the motion statistic.
pub fn calibrated_with(frames: &[Frame], threshold: f64, quantiles: &[f64]) -> Calibrated {
    let mut links: Vec<Vec<&Frame>> = Vec::new();
    for frame in frames {
        let same = |link: &&mut Vec<&Frame>| {
            link[0].layout == frame.layout
                && (link[0].transmitter, link[0].ppdu, link[0].antennas)
                    == (frame.transmitter, frame.ppdu, frame.antennas)
        };
        match links.iter_mut().find(same) {
            Some(link) => link.push(frame),
            None => links.push(vec![frame]),
        }
    }
    let links = links
        .iter()
        .map(|link| learnt(link, threshold, quantiles))
        .collect();
    Calibrated::of(&gateway::Calibration {
        calibration_id: Uuid::from_u128(7).to_string(),
        links,
        ..gateway::Calibration::default()
    })
    .unwrap()
}

fn learnt(frames: &[&Frame], threshold: f64, quantiles: &[f64]) -> gateway::LinkCalibration {
    let first = frames[0];
    let blocks = GainBlocks::new(
        &first.layout.subcarriers,
        &first.layout.valid,
        first.antennas.into(),
    );
    let mut columns = vec![Vec::new(); blocks.width()];
    let mut row = Vec::new();
    for frame in frames {
        if blocks.normalise(&frame.samples, &mut row).is_ok() {
            for (column, power) in columns.iter_mut().zip(&row) {
                column.push(f64::from(*power).sqrt());
            }
        }
    }
    let of = |column: &mut Vec<f64>| dsp::robust::median_and_spread(column).unwrap_or_default();
    let (amplitude, spread) = columns
        .iter_mut()
        .map(|column| {
            let (median, spread) = of(column);
            (median as f32, spread as f32)
        })
        .unzip();
    let ppdu = match first.ppdu {
        Ppdu::Unknown => "",
        Ppdu::NonHt => "non_ht",
        Ppdu::Ht => "ht",
        Ppdu::Vht => "vht",
        Ppdu::He => "he",
        Ppdu::Eht => "eht",
    };
    let room = gateway::EmptyRoom {
        amplitude,
        amplitude_spread: spread,
        motion_quantiles: quantiles.to_vec(),
        motion_threshold: threshold,
        window_seconds: 2.0,
        motion_method: dsp::motion::METHOD.to_owned(),
        windows: 100,
        ..gateway::EmptyRoom::default()
    };
    gateway::LinkCalibration {
        transmitter: first
            .transmitter
            .map(|mac| mac.to_vec().into())
            .unwrap_or_default(),
        layout: first.layout.name.to_owned(),
        subcarriers: first.layout.subcarriers.len() as u32,
        antennas: first.antennas.into(),
        ppdu: ppdu.to_owned(),
        channel: first.channel.map(u32::from),
        bandwidth_mhz: first.bandwidth_mhz.map(u32::from),
        frames: frames.len() as u64,
        result: Some(gateway::link_calibration::Result::EmptyRoom(room)),
        ..gateway::LinkCalibration::default()
    }
}

/// Frames of a simulated scenario.
pub fn simulated(scenario: &simulator::Scenario, seed: u64) -> Vec<Frame> {
    let simulation = simulator::Simulation::new(scenario, seed, 0).unwrap();
    simulation.map(|simulated| simulated.frame).collect()
}
