//! Breathing on recordings: a phantom at known rates, a person with a reference, and rooms in which nobody sits still.

use csi::read::{Format, Options, Reader};
use dsp::breathing::{Breathing, Rate, Source, Unknown};
use dsp::gain::GainBlocks;
use num_complex::Complex32;
use recordings::{Recording, require_or_skip};

/// A recording on its way through a meter.
struct Subject {
    blocks: GainBlocks,
    meter: Breathing,
    row: Vec<f32>,
    results: Vec<Result<Rate, Unknown>>,
    window_s: f64,
    next_us: Option<i64>,
}

const HOP_US: i64 = 5_000_000;

impl Subject {
    fn new(
        subcarriers: &[i16],
        valid: &[bool],
        chains: usize,
        streams: usize,
        window_s: f64,
    ) -> Self {
        let blocks = GainBlocks::new(subcarriers, valid, chains * streams);
        let pairs: Vec<_> = dsp::breathing::pairs(chains, streams).collect();
        Self {
            meter: Breathing::new(&blocks, chains * streams, &pairs),
            blocks,
            row: Vec::new(),
            results: Vec::new(),
            window_s,
            next_us: None,
        }
    }

    fn push(&mut self, time_us: i64, samples: &[Complex32]) {
        let next = *self
            .next_us
            .get_or_insert(time_us + (self.window_s * 1e6) as i64);
        if time_us >= next {
            self.results
                .push(self.meter.estimate(next, self.window_s, true));
            self.next_us = Some(next + HOP_US);
        }
        if self.blocks.normalise(samples, &mut self.row).is_ok() {
            self.meter.push(time_us, &self.row, samples);
        }
    }

    fn rates(&self) -> Vec<Rate> {
        self.results
            .iter()
            .filter_map(|result| result.as_ref().ok().copied())
            .collect()
    }
}

/// The 20 MHz part of the first two transmit streams: 3 chains x 2 streams x 56 subcarriers.
fn phantom(
    bpm: u32,
    window_s: f64,
    real: &Recording,
    imag: &Recording,
    status: &Recording,
) -> Subject {
    let subcarriers: Vec<i16> = (-28..=28).filter(|k| *k != 0).collect();
    let mut subject = Subject::new(&subcarriers, &[true; 56], 3, 2, window_s);
    let text = |recording: &Recording| String::from_utf8(recording.contents.clone()).unwrap();
    let (real, imag, status) = (text(real), text(imag), text(status));
    let mut frames = 0;
    for ((real, imag), status) in real.lines().zip(imag.lines()).zip(status.lines()) {
        let time: f64 = status.split(',').next().unwrap().parse().unwrap();
        let columns = real.split(',').zip(imag.split(',')).enumerate();
        let samples: Vec<Complex32> = columns
            .filter(|(column, _)| column % 114 < 56 && column / 114 % 3 < 2)
            .map(|(_, (re, im))| Complex32::new(re.parse().unwrap(), im.parse().unwrap()))
            .collect();
        assert_eq!(samples.len(), 6 * 56, "{bpm}");
        subject.push((time * 1e6) as i64, &samples);
        frames += 1;
    }
    assert_eq!(frames, 600, "{bpm}");
    subject
}

#[test]
fn the_phantom_breathes_at_its_rate() {
    for (window_s, most_error, least_coverage) in [(30.0, 0.06, 0.75), (60.0, 0.03, 0.9)] {
        let (mut windows, mut errors) = (0, Vec::new());
        for bpm in (3..30).step_by(2) {
            let part = |part: &str| format!("breathsense-{bpm:02}-{part}");
            let subject = phantom(
                bpm,
                window_s,
                &require_or_skip!(&part("real")),
                &require_or_skip!(&part("imag")),
                &require_or_skip!(&part("status")),
            );
            windows += subject.results.len();
            for rate in subject.rates() {
                assert_eq!(rate.source, Source::Phase);
                errors.push((rate.bpm - f64::from(bpm)).abs());
            }
            println!("{bpm} over {window_s} s: {:?}", subject.results.first());
        }
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        let worst = errors.iter().copied().fold(0.0, f64::max);
        println!(
            "{window_s} s: {} of {windows} windows, mean error {mean:.4}, worst {worst:.3} breaths/min",
            errors.len()
        );
        assert!(mean < most_error, "{window_s} s: {mean}");
        assert!(worst < 0.5, "{window_s} s: {worst}");
        assert!(
            errors.len() as f64 >= least_coverage * windows as f64,
            "{window_s} s: {}",
            errors.len()
        );
    }
}

/// The rates over one recording: of each window for its most frequent transmitter and layout, from whole frames alone.
fn rates(recording: &Recording, window_s: f64) -> Subject {
    let reader = Reader::new(
        recording.contents.clone().into(),
        &recording.file_name(),
        Format::Auto,
        Options::default(),
    );
    let frames: Vec<_> = reader.unwrap().filter_map(Result::ok).collect();
    let kind = |frame: &csi::Frame| {
        (
            frame.transmitter,
            frame.layout.name,
            frame.ppdu as u8,
            frame.antennas,
        )
    };
    let mut counts = std::collections::BTreeMap::new();
    for frame in &frames {
        *counts.entry(kind(frame)).or_insert(0) += 1;
    }
    let most = *counts.iter().max_by_key(|(_, count)| **count).unwrap().0;
    let mut subject: Option<Subject> = None;
    for frame in frames.iter().filter(|frame| kind(frame) == most) {
        let streams = usize::from(frame.transmit_streams.max(1));
        let chains = usize::from(frame.antennas) / streams;
        let layout = &frame.layout;
        subject
            .get_or_insert_with(|| {
                Subject::new(
                    &layout.subcarriers,
                    &layout.valid,
                    chains,
                    streams,
                    window_s,
                )
            })
            .push(frame.time_us(), &frame.samples);
    }
    subject.unwrap()
}

#[test]
fn rooms_without_a_sleeper_have_no_rate() {
    let parts = [
        "part-1",
        "part-2",
        "part-3",
        "part-4",
        "part-5",
        "room2-part-1",
    ];
    let mut windows = 0;
    for name in parts.map(|part| format!("ialr-{part}-empty")) {
        let subject = rates(&require_or_skip!(&name), 30.0);
        assert_eq!(subject.rates(), [], "{name}");
        windows += subject.results.len();
    }
    println!("{windows} windows of 30 s in empty rooms");
    assert!(windows > 100);
    // Nobody says that these are empty: a body that does nothing may breathe there, but not so slowly.
    for name in ["thu4n-tvat-na-1", "thu4n-tvat-na-4"] {
        let subject = rates(&require_or_skip!(name), 30.0);
        println!("{name}: {:?}", subject.results);
        assert!(subject.rates().iter().all(|rate| rate.bpm > 6.0), "{name}");
    }
}
