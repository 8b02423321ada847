//! Breathing: rates against those of a phantom and of a person, and silence where there is none to be said.

use csi::Frame;
use dsp::breathing::Breathing;
use dsp::gain::GainBlocks;
use num_complex::Complex32;
use recordings::{Catalogue, Entry, Places, Recording};

use crate::measure::{LEAST_SESSIONS, Random, interval};
use crate::path;

/// Seconds between two estimates.
const HOP_S: f64 = 5.0;
/// Rates that the naive search knows, breaths a minute.
const NAIVE_BPM: (f64, f64) = (3.0, 30.0);

/// What one recording gave.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Session: the recording.
    pub name: String,
    /// True rate, breaths a minute; absent where none must be given.
    pub truth: Option<f64>,
    /// Windows.
    pub windows: usize,
    /// Rates that were given.
    pub rates: Vec<f64>,
    /// The strongest frequency of mean amplitude, whatever its strength: one for each window.
    pub naive: Vec<f64>,
}

/// What several recordings gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Key in the figures.
    pub key: String,
    /// Name in the tables.
    pub title: String,
    /// Length of the windows, seconds.
    pub window_s: f64,
    /// The recordings.
    pub subjects: Vec<Subject>,
}

impl Outcome {
    /// Windows of all.
    #[must_use]
    pub fn windows(&self) -> usize {
        self.subjects.iter().map(|subject| subject.windows).sum()
    }

    /// Rates of all.
    #[must_use]
    pub fn rates(&self) -> usize {
        self.subjects
            .iter()
            .map(|subject| subject.rates.len())
            .sum()
    }

    /// Share of the windows with a rate.
    #[must_use]
    pub fn coverage(&self) -> f64 {
        self.rates() as f64 / self.windows().max(1) as f64
    }

    /// Absolute errors of the service's rates, breaths a minute.
    #[must_use]
    pub fn errors(&self) -> Vec<f64> {
        let of = |subject: &Subject| errors(subject, &subject.rates);
        self.subjects.iter().flat_map(of).collect()
    }

    /// Mean absolute error of the naive search.
    #[must_use]
    pub fn naive_error(&self) -> Option<f64> {
        let of = |subject: &Subject| errors(subject, &subject.naive);
        mean(&self.subjects.iter().flat_map(of).collect::<Vec<_>>())
    }

    /// 95 % interval of the mean absolute error, recordings resampled.
    #[must_use]
    pub fn interval(&self) -> Option<(f64, f64)> {
        if self.subjects.len() < LEAST_SESSIONS {
            return None;
        }
        let mut random = Random::new(11);
        let mut means = Vec::new();
        for _ in 0..1000 {
            let drawn = (0..self.subjects.len())
                .filter_map(|_| self.subjects.get(random.below(self.subjects.len())))
                .flat_map(|subject| errors(subject, &subject.rates))
                .collect::<Vec<_>>();
            means.extend(mean(&drawn));
        }
        interval(means)
    }
}

fn errors(subject: &Subject, rates: &[f64]) -> Vec<f64> {
    let Some(truth) = subject.truth else {
        return Vec::new();
    };
    rates.iter().map(|rate| (rate - truth).abs()).collect()
}

/// Mean; absent of nothing.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// All that can be measured of breathing. `None` where the recordings are not to be had.
///
/// # Errors
/// Where one is damaged.
pub fn measure(places: &Places) -> anyhow::Result<Option<Vec<Outcome>>> {
    let catalogue = Catalogue::built_in()?;
    let find = |name: &str| match catalogue.entry(name) {
        Some(entry) => match catalogue.find(&entry.name, places) {
            Ok(recording) => Ok(Some(recording)),
            Err(recordings::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(anyhow::Error::from(error)),
        },
        None => Ok(None),
    };
    let mut outcomes = Vec::new();
    for window_s in [30.0, 60.0] {
        let mut subjects = Vec::new();
        for bpm in (3..30).step_by(2) {
            let part = |part: &str| find(&format!("breathsense-{bpm:02}-{part}"));
            let (Some(real), Some(imag), Some(status)) =
                (part("real")?, part("imag")?, part("status")?)
            else {
                return Ok(None);
            };
            subjects.push(phantom(f64::from(bpm), window_s, &real, &imag, &status)?);
        }
        outcomes.push(Outcome {
            key: format!("breathing.phantom_{window_s}s"),
            title: "phantom, 3 to 29 breaths/min, 1 mm (jugal-ahir-breathsense)".to_owned(),
            window_s,
            subjects,
        });
    }
    let person: &[(&str, Option<f64>)] = &[("csi-respiration-4-19-sn1", Some(14.65))];
    let moving: &[(&str, Option<f64>)] = &[("csi-respiration-4-19-mn1", None)];
    let of_names = |names: &[(&str, Option<f64>)]| -> anyhow::Result<Option<Vec<Subject>>> {
        let mut subjects = Vec::new();
        for (name, truth) in names {
            let Some(recording) = find(name)? else {
                return Ok(None);
            };
            subjects.push(recorded(&recording, *truth)?);
        }
        Ok(Some(subjects))
    };
    let empty: Vec<(&str, Option<f64>)> = catalogue
        .entries()
        .iter()
        .filter(|entry: &&Entry| entry.source == "ialr" && entry.label() == Some("empty"))
        .map(|entry| (entry.name.as_str(), None))
        .collect();
    for (key, title, names) in [
        (
            "person",
            "a person sitting still, 14.65 breaths/min by the phone (jiamulea-csi-respiration sn1)",
            person,
        ),
        (
            "moving",
            "a person who moves (mn1): none must be given",
            moving,
        ),
        (
            "empty",
            "empty rooms (ialr): none must be given",
            empty.as_slice(),
        ),
    ] {
        let Some(subjects) = of_names(names)? else {
            return Ok(None);
        };
        outcomes.push(Outcome {
            key: format!("breathing.{key}"),
            title: title.to_owned(),
            window_s: 30.0,
            subjects,
        });
    }
    for (key, title, names) in [
        (
            "service_person",
            "the same person, by the service as a whole",
            person,
        ),
        (
            "service_moving",
            "the person who moves, by the service as a whole: none must be given",
            moving,
        ),
        (
            "service_empty",
            "empty rooms (ialr), by the service as a whole: none must be given",
            empty.as_slice(),
        ),
    ] {
        let mut subjects = Vec::new();
        for (name, truth) in names {
            let Some(recording) = find(name)? else {
                return Ok(None);
            };
            subjects.push(of_service(&recording, *truth)?);
        }
        outcomes.push(Outcome {
            key: format!("breathing.{key}"),
            title: title.to_owned(),
            window_s: 2.0,
            subjects,
        });
    }
    Ok(Some(outcomes))
}

/// What the service says, window by window; its own rules decide when a rate is looked for, and over what time.
fn of_service(recording: &Recording, truth: Option<f64>) -> anyhow::Result<Subject> {
    let windows = path::windows(&path::frames(recording)?);
    Ok(Subject {
        name: recording.entry.name.clone(),
        truth,
        windows: windows.len(),
        rates: windows.iter().filter_map(|window| window.breaths).collect(),
        naive: Vec::new(),
    })
}

/// A recording on its way through the meter.
struct Course {
    blocks: GainBlocks,
    meter: Breathing,
    row: Vec<f32>,
    mean: Vec<(f64, f64)>,
    window_s: f64,
    next_us: Option<i64>,
    subject: Subject,
}

impl Course {
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
            mean: Vec::new(),
            window_s,
            next_us: None,
            subject: Subject::default(),
        }
    }

    fn push(&mut self, time_us: i64, samples: &[Complex32]) {
        let next = *self
            .next_us
            .get_or_insert(time_us + (self.window_s * 1e6) as i64);
        if time_us >= next {
            self.subject.windows += 1;
            if let Ok(rate) = self.meter.estimate(next, self.window_s, true) {
                self.subject.rates.push(rate.bpm);
            }
            let begin = next as f64 / 1e6 - self.window_s;
            self.subject.naive.extend(strongest(&self.mean, begin));
            self.next_us = Some(next + (HOP_S * 1e6) as i64);
        }
        let sum: f32 = samples.iter().map(|sample| sample.norm()).sum();
        let amplitude = f64::from(sum) / samples.len().max(1) as f64;
        self.mean.push((time_us as f64 / 1e6, amplitude));
        if self.blocks.normalise(samples, &mut self.row).is_ok() {
            self.meter.push(time_us, &self.row, samples);
        }
    }
}

/// The frequency with the largest Fourier coefficient of mean amplitude, breaths a minute.
fn strongest(series: &[(f64, f64)], begin: f64) -> Option<f64> {
    let within: Vec<(f64, f64)> = series
        .iter()
        .filter(|(time, _)| *time >= begin)
        .copied()
        .collect();
    let level = mean(&within.iter().map(|(_, value)| *value).collect::<Vec<_>>())?;
    let power = |bpm: f64| {
        let turn = std::f64::consts::TAU * bpm / 60.0;
        let (mut re, mut im) = (0.0, 0.0);
        for (time, value) in &within {
            let (sin, cos) = (turn * (time - begin)).sin_cos();
            re += (value - level) * cos;
            im += (value - level) * sin;
        }
        re * re + im * im
    };
    let steps = ((NAIVE_BPM.1 - NAIVE_BPM.0) / 0.1) as u32;
    let rates = (0..=steps).map(|step| NAIVE_BPM.0 + 0.1 * f64::from(step));
    rates.max_by(|a, b| power(*a).total_cmp(&power(*b)))
}

/// The 20 MHz part of the first two transmit streams: 3 chains x 2 streams x 56 subcarriers.
fn phantom(
    bpm: f64,
    window_s: f64,
    real: &Recording,
    imag: &Recording,
    status: &Recording,
) -> anyhow::Result<Subject> {
    let subcarriers: Vec<i16> = (-28..=28).filter(|k| *k != 0).collect();
    let mut course = Course::new(&subcarriers, &[true; 56], 3, 2, window_s);
    let text = |recording: &Recording| String::from_utf8_lossy(&recording.contents).into_owned();
    let (real, imag, status) = (text(real), text(imag), text(status));
    for ((real, imag), status) in real.lines().zip(imag.lines()).zip(status.lines()) {
        let time: f64 = status.split(',').next().unwrap_or_default().parse()?;
        let mut samples = Vec::with_capacity(336);
        for (column, (re, im)) in real.split(',').zip(imag.split(',')).enumerate() {
            if column % 114 < 56 && column / 114 % 3 < 2 {
                samples.push(Complex32::new(re.parse()?, im.parse()?));
            }
        }
        course.push((time * 1e6) as i64, &samples);
    }
    Ok(Subject {
        name: format!("{bpm} breaths/min"),
        truth: Some(bpm),
        ..course.subject
    })
}

/// A recording that `csi::read` reads: its most frequent transmitter and layout.
fn recorded(recording: &Recording, truth: Option<f64>) -> anyhow::Result<Subject> {
    let frames = path::frames(recording)?;
    let kind = |frame: &Frame| {
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
    let most = counts
        .iter()
        .max_by_key(|(_, count)| **count)
        .map(|(kind, _)| *kind);
    let mut course: Option<Course> = None;
    for frame in frames.iter().filter(|frame| Some(kind(frame)) == most) {
        let streams = usize::from(frame.transmit_streams.max(1));
        let chains = usize::from(frame.antennas) / streams;
        let layout = &frame.layout;
        course
            .get_or_insert_with(|| {
                Course::new(&layout.subcarriers, &layout.valid, chains, streams, 30.0)
            })
            .push(frame.time_us(), &frame.samples);
    }
    Ok(Subject {
        name: recording.entry.name.clone(),
        truth,
        ..course.map(|course| course.subject).unwrap_or_default()
    })
}
