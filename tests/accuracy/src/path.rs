//! A recording on the code path of the service: decoded by `csi::read`, judged by `signal::Pipeline` with its defaults.

use anyhow::Context as _;
use bytes::Bytes;
use csi::Frame;
use csi::read::{Format, Options, Reader};
use csi::wire::Published;
use dsp::autocorrelation::{Autocorrelation, Part, Series};
use dsp::clock::nominal_period_us;
use dsp::gain::GainBlocks;
use events::DataSource;
use num_complex::Complex32;
use proto::signal::v1::{LinkState, PresenceState, SignalWindow};
use recordings::Recording;
use signal::{Input, Pipeline, Settings, What};
use uuid::Uuid;

/// Naive scores of one window, on the frames of its most frequent kind: larger is more like motion.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Naive {
    /// Standard deviation over time of each subcarrier's amplitude by its mean, averaged over subcarriers; no gain is taken
    /// out.
    pub amplitude: Option<f64>,
    /// Standard deviation of the RSSI, dB; absent where none is measured.
    pub rssi: Option<f64>,
    /// First-lag autocorrelation of power, each frame divided by its mean power; nothing explained away.
    pub autocorrelation: Option<f64>,
}

/// What the service says of one window of a device: of all links together, as its zone puts them together.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Beginning, seconds after the first frame.
    pub start_s: f64,
    /// End.
    pub end_s: f64,
    /// Motion where any link sees motion; unknown where no link can say.
    pub state: LinkState,
    /// Why.
    pub reason: String,
    /// The highest statistic of the links that can say.
    pub score: Option<f64>,
    /// Activity features of the link with most frames; empty where the window earned none.
    pub features: Vec<f32>,
    /// Its course, where there are features.
    pub course: Vec<f32>,
    /// The profile of its channel, where there are features.
    pub profile: Vec<f32>,
    /// Its course and its profile between antennas that share a clock; empty where there are none.
    pub pairs: (Vec<f32>, Vec<f32>),
    /// Mean level of its frames, dBm, where it was measured.
    pub level_dbm: Option<f32>,
    /// What the baselines say.
    pub naive: Naive,
    /// Whether anybody is there, by all links of the zone.
    pub presence: PresenceState,
    /// Breaths a minute, where a link gives them.
    pub breaths: Option<f64>,
}

/// Decodes a recording.
///
/// # Errors
/// Where it cannot be opened.
pub fn frames(recording: &Recording) -> anyhow::Result<Vec<Frame>> {
    let contents = Bytes::from(recording.contents.clone());
    let reader = Reader::new(
        contents,
        &recording.file_name(),
        Format::Auto,
        Options::default(),
    )
    .with_context(|| format!("recording {}", recording.entry.name))?;
    Ok(reader.filter_map(Result::ok).collect())
}

/// What the service says of these frames, in its default settings.
#[must_use]
pub fn windows(frames: &[Frame]) -> Vec<Window> {
    let mut said = Vec::new();
    run(frames, |window| said.push(window.clone()));
    let begin = frames.first().map_or(0, |frame| frame.receive_time_us);
    let mut baselines = Baselines::default();
    let mut all: Vec<Window> = Vec::new();
    for links in said.chunk_by(|a, b| a.window_end_us == b.window_end_us) {
        let (Some(first), Some(largest)) = (
            links.first(),
            links.iter().max_by_key(|link| link.frames_seen),
        ) else {
            continue;
        };
        let state = links
            .iter()
            .map(SignalWindow::state)
            .max_by_key(|state| *state as i32)
            .unwrap_or_default();
        let known = links
            .iter()
            .filter(|link| link.state() != LinkState::Unknown);
        let of_frames = baselines.of(frames, first.window_start_us, first.window_end_us);
        all.push(Window {
            start_s: (first.window_start_us - begin) as f64 / 1e6,
            end_s: (first.window_end_us - begin) as f64 / 1e6,
            state,
            reason: largest.reason.clone(),
            score: known
                .filter_map(|link| link.motion_score)
                .map(f64::from)
                .max_by(f64::total_cmp),
            features: largest.features.clone(),
            course: largest.course.clone(),
            profile: largest.profile.clone(),
            pairs: (largest.pair_course.clone(), largest.pair_profile.clone()),
            level_dbm: largest.level_dbm,
            naive: of_frames,
            presence: largest.presence(),
            breaths: links
                .iter()
                .find_map(|link| link.breaths_per_minute)
                .map(f64::from),
        });
    }
    all
}

/// Pushes the frames through a pipeline as the gateway would publish them in a replay.
fn run(frames: &[Frame], mut said: impl FnMut(&SignalWindow)) {
    let mut pipeline = Pipeline::new(Settings::default(), "accuracy");
    for (index, frame) in frames.iter().enumerate() {
        let input = Input {
            stream_sequence: index as u64 + 1,
            published: Published {
                frame_id: Uuid::from_u64_pair(1, index as u64),
                device: "recording".to_owned(),
                zone: "recording".to_owned(),
                source: DataSource::Replay,
                run_id: None,
                announced: false,
                sampled_one_in: 0,
                ingest_time_us: 0,
                last_of_run: index + 1 == frames.len(),
            },
            frame: frame.clone(),
            trace: None,
        };
        for output in pipeline.push(&input) {
            if let What::Window(window) = &output.what {
                said(window);
            }
        }
    }
}

/// A frame of the most frequent kind (transmitter, layout, antennas), and all of that kind.
#[must_use]
pub fn most_frequent_kind<'a>(frames: &[&'a Frame]) -> Option<(&'a Frame, Vec<&'a Frame>)> {
    let alike = |a: &Frame, b: &Frame| {
        a.transmitter == b.transmitter
            && a.ppdu == b.ppdu
            && a.antennas == b.antennas
            && a.chain == b.chain
            && a.layout == b.layout
    };
    let mut kinds: Vec<(&Frame, usize)> = Vec::new();
    for frame in frames {
        match kinds.iter_mut().find(|(kind, _)| alike(kind, frame)) {
            Some((_, count)) => *count += 1,
            None => kinds.push((frame, 1)),
        }
    }
    let (kind, _) = kinds.into_iter().max_by_key(|(_, count)| *count)?;
    let chosen = frames.iter().copied().filter(|frame| alike(frame, kind));
    Some((kind, chosen.collect()))
}

/// Computes the baselines; keeps its memory.
#[derive(Default)]
struct Baselines {
    sums: Autocorrelation,
    rows: Vec<f32>,
    row: Vec<f32>,
    times: Vec<i64>,
    intervals: Vec<i64>,
}

impl Baselines {
    fn of(&mut self, frames: &[Frame], start_us: i64, end_us: i64) -> Naive {
        let within = |frame: &&Frame| (start_us..end_us).contains(&frame.receive_time_us);
        // A recording's frames come nearly in the order of time; those far off are of no window of it.
        let first = frames.partition_point(|frame| frame.receive_time_us < start_us - 1_000_000);
        let near = frames.get(first..).unwrap_or_default();
        let near = near
            .iter()
            .take_while(|frame| frame.receive_time_us < end_us + 1_000_000);
        let inside: Vec<&Frame> = near.filter(within).collect();
        let Some((kind, chosen)) = most_frequent_kind(&inside) else {
            return Naive::default();
        };
        if chosen.len() < 4 {
            return Naive::default();
        }
        let rssi: Vec<f64> = chosen
            .iter()
            .filter_map(|frame| frame.rssi_dbm.first().copied().map(f64::from))
            .collect();
        Naive {
            amplitude: amplitude(kind, &chosen),
            rssi: (rssi.len() == chosen.len()).then(|| deviation(&rssi).1),
            autocorrelation: self.autocorrelation(kind, &chosen),
        }
    }

    fn autocorrelation(&mut self, kind: &Frame, chosen: &[&Frame]) -> Option<f64> {
        let layout = &kind.layout;
        let blocks = GainBlocks::new(
            &layout.subcarriers,
            &layout.valid,
            usize::from(kind.antennas),
        );
        self.rows.clear();
        self.times.clear();
        for frame in chosen {
            if blocks.normalise(&frame.samples, &mut self.row).is_ok() {
                self.rows.extend_from_slice(&self.row);
                self.times.push(frame.time_us());
            }
        }
        let period = nominal_period_us(&self.times, &mut self.intervals)?;
        let series = Series {
            times_us: &self.times,
            rows: &self.rows,
            width: blocks.width(),
        };
        let lag = self
            .sums
            .first_lag(series, |_| Part::First, 2.5 * period, 0.0, None);
        lag.map(|lag| lag.phi)
    }
}

/// Mean over the valid samples of the standard deviation of the amplitude by its mean.
fn amplitude(kind: &Frame, chosen: &[&Frame]) -> Option<f64> {
    let each = kind.layout.len();
    let valid = |place: usize| {
        kind.layout
            .valid
            .get(place % each.max(1))
            .copied()
            .unwrap_or(false)
    };
    let (mut sum, mut count) = (0.0, 0_u32);
    for place in (0..kind.samples.len()).filter(|place| valid(*place)) {
        let amplitudes: Vec<f64> = chosen
            .iter()
            .filter_map(|frame| frame.samples.get(place))
            .map(|sample| f64::from(Complex32::norm(*sample)))
            .collect();
        let (mean, deviation) = deviation(&amplitudes);
        if mean > 0.0 {
            sum += deviation / mean;
            count += 1;
        }
    }
    (count > 0).then(|| sum / f64::from(count))
}

/// Mean and standard deviation.
fn deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}
