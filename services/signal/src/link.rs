//! One radio link: the frames of one device from one transmitter in one layout. A window never mixes links.

mod key;

use std::collections::VecDeque;
use std::sync::Arc;

use csi::{Frame, SampleFormat};
use dsp::activity::{self, Extractor};
use dsp::autocorrelation::Series;
use dsp::clock::{longest_gap_us, nominal_period_us};
use dsp::gain::{Gain, GainBlocks, GainError};
use dsp::motion::{LEAST_FLUCTUATION, LONGEST_LAG, Motion, MotionMeter};
use dsp::mover::SteadyFinder;
use num_complex::Complex32;
use uuid::Uuid;

use crate::baseline::{Baseline, NoDistance};
use crate::breathing::{Breath, Monitor};
use crate::calibration::Calibrated;
use crate::config::Settings;
use crate::detector::{Counts, LinkState, Reason, Verdict, judge};
use crate::masks::Part;
use crate::window::{Mark, PhaseSteadiness, Rows};

pub(crate) use self::key::ppdu_name;
pub use self::key::{Kind, LinkKey};

/// What happened to a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Taken {
    /// It counts; how much of it is usable, 0 to 1.
    Row {
        /// Share of valid samples that are neither zero nor at the ends of the sample format.
        quality: f32,
        /// No part of the frame is empty.
        complete: bool,
    },
    /// The link holds all that it may.
    Full,
}

/// What one window of one link says.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// What the link says.
    pub verdict: Verdict,
    /// What was counted.
    pub counts: Counts,
    /// What was measured, where there was enough.
    pub motion: Option<Motion>,
    /// How much of what a window needs was there, 0 to 1.
    pub quality: f32,
    /// Mean RMS amplitude in units of the samples.
    pub amplitude_mean: f32,
    /// Its standard deviation over the window.
    pub amplitude_std: f32,
    /// Circular variance of the phase between neighbouring subcarriers; absent for amplitudes without phase.
    pub phase_variance: Option<f32>,
    /// Activity features; empty where the window did not earn any.
    pub features: Vec<f32>,
    /// The window's course and the channel's profile ([`dsp::activity::course`]), where there are features.
    pub course: (Vec<f32>, Vec<f32>),
    /// Ids of announced frames, oldest first.
    pub announced: Vec<Uuid>,
    /// What is known of breathing.
    pub breath: Breath,
    /// Distance from the empty room.
    pub distance: Result<f64, NoDistance>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    slot: i64,
    seen: usize,
    no_energy: usize,
    identical: usize,
    /// Late or repeated: left out.
    left_out: usize,
}

/// State of one link.
#[derive(Debug)]
pub struct Link {
    kind: Kind,
    blocks: GainBlocks,
    /// Samples of one antenna that are looked at: valid, and not masked.
    valid: Box<[bool]>,
    /// Where a mask leaves some out: places of the others in a row of all valid samples, and the width of that.
    kept: Option<(Vec<usize>, usize)>,
    rows: Rows,
    phase: PhaseSteadiness,
    extractor: Extractor,
    monitor: Monitor,
    baseline: Option<Baseline>,
    /// Why there is no baseline.
    no_baseline: NoDistance,
    tallies: VecDeque<Tally>,
    row: Vec<f32>,
    powers: Vec<f32>,
    /// Slot that the link's first window begins with.
    first_slot: i64,
    /// In motion in the latest window.
    pub moving: bool,
}

/// Memory shared by all links while windows are evaluated.
#[derive(Debug, Default)]
pub struct Bench {
    meter: MotionMeter,
    movers: SteadyFinder,
    breaths: dsp::breathing::Work,
    features: activity::Work,
    intervals: Vec<i64>,
}

impl Link {
    /// A link that begins with `frame` in the hop `slot`, without the subcarriers that `masks` leave out. Its windows are at most
    /// `window_us` long.
    #[must_use]
    pub fn new(frame: &Frame, slot: i64, masks: &[Part], window_us: i64) -> Self {
        let (layout, antennas) = (&frame.layout, usize::from(frame.antennas));
        let masked = |subcarrier: i16| {
            masks
                .iter()
                .any(|mask| mask.leaves_out(frame.transmitter, subcarrier))
        };
        let valid: Box<[bool]> = layout
            .subcarriers
            .iter()
            .zip(&layout.valid)
            .map(|(subcarrier, valid)| *valid && !masked(*subcarrier))
            .collect();
        let blocks = GainBlocks::new(&layout.subcarriers, &valid, antennas);
        let all = GainBlocks::new(&layout.subcarriers, &layout.valid, antennas);
        // One more, where a window does not begin with a cell.
        let cells = usize::try_from(window_us / activity::CELL_US + 1).unwrap_or_default();
        let kept = (blocks.width() < all.width()).then(|| {
            let places = all.places().iter().enumerate();
            let left = places.filter(|(_, place)| blocks.places().contains(place));
            (left.map(|(index, _)| index).collect(), all.width())
        });
        Self {
            valid,
            kept,
            kind: Kind::of(frame),
            rows: Rows::new(blocks.width()),
            phase: PhaseSteadiness::default(),
            extractor: Extractor::reaching(&layout.subcarriers, antennas, cells),
            monitor: Monitor::new(frame, &blocks),
            baseline: None,
            no_baseline: NoDistance::NotCalibrated,
            tallies: VecDeque::new(),
            row: Vec::with_capacity(blocks.width()),
            powers: Vec::with_capacity(blocks.samples()),
            blocks,
            first_slot: slot,
            moving: false,
        }
    }

    /// Whether `frame` belongs to this link.
    #[must_use]
    pub fn fits(&self, frame: &Frame) -> bool {
        self.kind.fits(frame)
    }

    /// Its key, in words.
    #[must_use]
    pub fn key(&self) -> LinkKey {
        self.kind.key()
    }

    /// Slot that the first window begins with.
    #[must_use]
    pub fn first_slot(&self) -> i64 {
        self.first_slot
    }

    /// Takes up the state kept over a restart.
    pub fn resume(&mut self, first_slot: i64, moving: bool, mover_uhz: Option<u64>) {
        self.first_slot = first_slot;
        self.moving = moving;
        self.monitor.resume(mover_uhz);
    }

    /// Frequency of something that moves steadily, microhertz.
    #[must_use]
    pub fn mover_uhz(&self) -> Option<u64> {
        self.monitor.mover_uhz()
    }

    /// The windows from now on are held against this calibration, or none. One that is in use already stays as it is.
    pub fn calibrate(&mut self, calibrated: Option<&Calibrated>) {
        let Some(calibrated) = calibrated else {
            (self.baseline, self.no_baseline) = (None, NoDistance::NotCalibrated);
            return;
        };
        let of_link = calibrated.link(&self.key());
        let learnt = of_link.map(|learnt| match &self.kept {
            Some((kept, width)) if learnt.amplitude.len() == *width => {
                Arc::new(learnt.at(kept, self.blocks.ends()))
            }
            _ => Arc::clone(learnt),
        });
        let fits = learnt.filter(|learnt| learnt.amplitude.len() == self.rows.width());
        match (fits, &self.baseline) {
            (Some(_), Some(baseline)) if baseline.calibration == calibrated.id => {}
            (Some(learnt), _) => {
                self.baseline = Some(Baseline::new(calibrated.id, learnt));
            }
            (None, _) => (self.baseline, self.no_baseline) = (None, NoDistance::OtherLayout),
        }
    }

    /// Nobody is there: the baseline follows the window that was evaluated last, where that is below the distance `near`.
    pub fn follow(&mut self, hop_s: f64, near: f64) {
        if let Some(baseline) = &mut self.baseline {
            baseline.follow(hop_s, near);
        }
    }

    /// Takes a frame of the hop `slot`.
    ///
    /// # Errors
    /// Where the frame holds no channel; it is counted, and nothing of it kept.
    pub fn push(
        &mut self,
        frame: &Frame,
        slot: i64,
        announced: Option<Uuid>,
    ) -> Result<Taken, GainError> {
        let gain = match self.blocks.normalise(&frame.samples, &mut self.row) {
            Ok(gain) => gain,
            Err(error) => {
                if matches!(error, GainError::NoEnergy { .. }) {
                    self.count(slot, |tally| tally.no_energy += 1);
                }
                return Err(error);
            }
        };
        let identical = self.rows.repeats(&self.row);
        let mark = self.mark(frame, gain, identical, announced);
        let sample_us = frame
            .device_time_us
            .and_then(|time| i64::try_from(time).ok())
            .unwrap_or(frame.receive_time_us);
        if !self.rows.push(&self.row, sample_us, mark) {
            return Ok(Taken::Full);
        }
        self.count(slot, |tally| {
            tally.seen += 1;
            tally.identical += usize::from(identical);
        });
        if frame.format != SampleFormat::Af32 {
            self.phase.push(slot, &frame.samples, self.blocks.places());
        }
        self.monitor.push(frame, &self.row);
        if let Some(baseline) = &mut self.baseline {
            baseline.push(slot, &self.row, (frame.channel, frame.bandwidth_mhz));
        }
        self.powers.clear();
        self.powers
            .extend(frame.samples.iter().map(Complex32::norm_sqr));
        self.extractor
            .push(frame.receive_time_us, &self.powers, &self.valid);
        Ok(Taken::Row {
            quality: self.usable(frame),
            complete: self.row.iter().any(|power| *power > 0.0),
        })
    }

    /// Counts a frame that came late.
    pub fn late(&mut self, slot: i64) {
        self.count(slot, |tally| tally.left_out += 1);
    }

    /// Counts a frame whose sequence number was seen already. A frame sent twice is the same to the last bit.
    pub fn repeat(&mut self, frame: &Frame, slot: i64) {
        let identical = self.blocks.normalise(&frame.samples, &mut self.row).is_ok()
            && self.rows.repeats(&self.row);
        self.count(slot, |tally| {
            tally.left_out += 1;
            tally.identical += usize::from(identical);
        });
    }

    fn mark(&self, frame: &Frame, gain: Gain, identical: bool, announced: Option<Uuid>) -> Mark {
        Mark {
            time_us: frame.receive_time_us,
            log_rms: gain.log_rms,
            inverse_power: gain.inverse_power,
            identical,
            announced,
        }
    }

    fn count(&mut self, slot: i64, add: impl FnOnce(&mut Tally)) {
        if self.tallies.back().is_none_or(|newest| newest.slot < slot) {
            self.tallies.push_back(Tally {
                slot,
                ..Tally::default()
            });
        }
        if let Some(tally) = self.tallies.back_mut() {
            add(tally);
        }
    }

    /// The share of valid samples that are neither zero nor at the ends of the sample format.
    #[allow(clippy::cast_precision_loss)]
    fn usable(&self, frame: &Frame) -> f32 {
        let rail = match frame.format {
            SampleFormat::Ci8 => f32::from(i8::MAX),
            SampleFormat::Ci16 => f32::from(i16::MAX),
            SampleFormat::Cf32 | SampleFormat::Af32 => f32::INFINITY,
        };
        let usable = |sample: &&Complex32| {
            let largest = sample.re.abs().max(sample.im.abs());
            largest > 0.0 && largest < rail
        };
        let places = self.blocks.places();
        let count = places
            .iter()
            .filter_map(|place| frame.samples.get(*place))
            .filter(usable)
            .count();
        count as f32 / places.len().max(1) as f32
    }

    /// Whether anything of the link lies in the hops from `first` to `last`.
    #[must_use]
    pub fn active(&self, first: i64, last: i64) -> bool {
        self.tallies
            .iter()
            .any(|tally| (first..=last).contains(&tally.slot))
    }

    /// Judges the window of the hops from `first` to `last`; `device` holds what was counted of the device in it. Of a
    /// `masked` link nothing is said.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    pub fn evaluate(
        &mut self,
        settings: &Settings,
        first: i64,
        last: i64,
        device: Counts,
        masked: bool,
        bench: &mut Bench,
    ) -> Evaluation {
        let hop = settings.hop_us();
        let (start_us, end_us) = (first * hop, (last + 1) * hop);
        let (sample_us, values, marks) = self.rows.between(start_us, end_us);
        let within = self
            .tallies
            .iter()
            .filter(|tally| (first..=last).contains(&tally.slot));
        let mut counts = Counts {
            window_us: end_us - start_us,
            ..device
        };
        for tally in within {
            counts.seen += tally.seen;
            counts.no_energy += tally.no_energy;
            counts.identical += tally.identical;
            counts.left_out += tally.left_out;
        }
        counts.period_us = nominal_period_us(sample_us, &mut bench.intervals);
        bench.intervals.clear();
        bench
            .intervals
            .extend(marks.iter().map(|mark| mark.time_us));
        counts.longest_gap_us = longest_gap_us(&bench.intervals, start_us, end_us);
        let series = Series {
            times_us: sample_us,
            rows: values,
            width: self.rows.width(),
        };
        let motion = match counts.obstacle(settings) {
            _ if masked => None,
            Some(_) => None,
            None => bench
                .meter
                .measure(series, rounding_of(self.kind.format, marks)),
        };
        let verdict = if masked {
            Verdict::unknown(settings.threshold, Reason::Masked)
        } else {
            judge(settings, &counts, motion.as_ref(), self.moving)
        };
        let verdict = without_mover(
            &mut self.monitor,
            verdict,
            motion.as_ref(),
            series,
            (end_us, hop),
            bench,
        );
        self.moving = verdict.state == LinkState::Motion;
        let breath = self.monitor.look(end_us, hop, &verdict, &mut bench.breaths);
        let distance = match &mut self.baseline {
            _ if masked => Err(NoDistance::Masked),
            Some(baseline) => baseline.distance(first, last),
            None => Err(self.no_baseline),
        };
        let mut features = Vec::new();
        let mut course = (Vec::new(), Vec::new());
        if verdict.state != LinkState::Unknown {
            let work = &mut bench.features;
            let found = self
                .extractor
                .window_in(work, start_us, end_us, &mut features);
            if found.is_ok() {
                self.extractor.course_in(work, &mut course.0, &mut course.1);
            }
        }
        let (amplitude_mean, amplitude_std) = amplitude(marks);
        let newest = marks
            .iter()
            .rev()
            .filter_map(|mark| mark.announced)
            .take(settings.max_source_frames);
        let mut announced: Vec<Uuid> = newest.collect();
        announced.reverse();
        Evaluation {
            quality: counts.quality(),
            verdict,
            counts,
            motion,
            amplitude_mean,
            amplitude_std,
            phase_variance: self.phase.variance(first, last),
            features,
            course,
            announced,
            breath,
            distance,
        }
    }

    /// Forgets what lies before the hop `slot`.
    pub fn drop_before(&mut self, slot: i64, hop_us: i64) {
        self.rows.drop_before(slot.saturating_mul(hop_us));
        self.phase.drop_before(slot);
        if let Some(baseline) = &mut self.baseline {
            baseline.drop_before(slot);
        }
        while self
            .tallies
            .front()
            .is_some_and(|oldest| oldest.slot < slot)
        {
            self.tallies.pop_front();
        }
    }

    /// Name of the features' layout.
    #[must_use]
    pub fn feature_schema() -> &'static str {
        activity::SCHEMA
    }
}

/// The verdict on what is left where something moves steadily over a long time and nothing else does: still.
fn without_mover(
    monitor: &mut Monitor,
    verdict: Verdict,
    motion: Option<&Motion>,
    series: Series<'_>,
    (end_us, hop_us): (i64, i64),
    bench: &mut Bench,
) -> Verdict {
    let (LinkState::Motion, Some(motion)) = (verdict.state, motion) else {
        return verdict;
    };
    let threshold = verdict.threshold;
    let steady = monitor.steady(
        end_us,
        hop_us,
        threshold,
        &mut bench.movers,
        &mut bench.breaths,
    );
    let Some(frequency_hz) = steady else {
        return verdict;
    };
    let longest_us = LONGEST_LAG * motion.period_us;
    let floor = LEAST_FLUCTUATION * LEAST_FLUCTUATION;
    let left = bench
        .movers
        .besides(series, frequency_hz, longest_us, floor);
    if left >= threshold {
        return verdict;
    }
    Verdict {
        state: LinkState::Still,
        statistic: Some(left),
        threshold,
        reason: Some(Reason::PeriodicMover),
    }
}

fn rounding_of(format: SampleFormat, marks: &[Mark]) -> f64 {
    match format {
        // Amplitudes come as whole numbers from every source known; where they do not, this is a little strict.
        SampleFormat::Ci8 | SampleFormat::Ci16 | SampleFormat::Af32 => rounding(marks),
        SampleFormat::Cf32 => 0.0,
    }
}

/// The variance that rounding the samples to whole numbers gives to normalised power.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn rounding(marks: &[Mark]) -> f64 {
    let sum: f64 = marks.iter().map(|mark| f64::from(mark.inverse_power)).sum();
    sum / (3.0 * marks.len().max(1) as f64)
}

/// Mean and standard deviation of the RMS amplitude, in units of the samples.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
pub(crate) fn amplitude(marks: &[Mark]) -> (f32, f32) {
    if marks.is_empty() {
        return (0.0, 0.0);
    }
    let amplitudes = || marks.iter().map(|mark| f64::from(mark.log_rms).exp());
    let count = marks.len() as f64;
    let mean = amplitudes().sum::<f64>() / count;
    let variance = amplitudes().map(|a| (a - mean).powi(2)).sum::<f64>() / count;
    (mean as f32, variance.sqrt() as f32)
}
