//! What one window of one link says.

use csi::SampleFormat;
use dsp::autocorrelation::Series;
use dsp::clock::{longest_gap_us, nominal_period_us};
use dsp::motion::{LEAST_FLUCTUATION, LONGEST_LAG, Motion};
use uuid::Uuid;

use super::ring::Unpacked;
use super::{Bench, Link};
use crate::baseline::NoDistance;
use crate::breathing::{Breath, Monitor};
use crate::config::Settings;
use crate::detector::{Counts, LinkState, Reason, Verdict, judge};
use crate::window::{Mark, levels};

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
    /// The same between antennas that share a clock ([`dsp::activity::pairs`]), where there are features and such antennas.
    pub between: (Vec<f32>, Vec<f32>),
    /// Mean level at which the frames were received, dBm; absent where one's was not measured.
    pub level_dbm: Option<f32>,
    /// Ids of announced frames, oldest first.
    pub announced: Vec<Uuid>,
    /// What is known of breathing.
    pub breath: Breath,
    /// Distance from the empty room.
    pub distance: Result<f64, NoDistance>,
}

impl Evaluation {
    /// Whether the link is in motion only by the shape of its channel and the level of its frames together.
    #[must_use]
    pub fn by_level(&self) -> bool {
        let motion = self.motion.as_ref();
        self.verdict.state == LinkState::Motion
            && motion.is_some_and(|motion| motion.by_level(self.verdict.threshold))
    }

    /// The statistic of this window, where the link is in motion only by it and the windows before together.
    #[must_use]
    pub fn by_lasting(&self) -> Option<f64> {
        let own = self.motion.as_ref()?.statistic;
        (self.verdict.state == LinkState::Motion && own < self.verdict.threshold).then_some(own)
    }
}

impl Link {
    /// Judges the window of the hops from `first` to `last`; `device` holds what was counted of the device in it. Of a
    /// `masked` link nothing is said.
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
        // Taken out, so that the rest of the shared memory can be used meanwhile.
        let mut unpacked = std::mem::take(&mut bench.unpacked);
        self.ring
            .window(&self.blocks, start_us, end_us, &mut unpacked);
        let evaluation = self.judge(settings, (first, last), device, masked, &unpacked, bench);
        bench.unpacked = unpacked;
        evaluation
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    fn judge(
        &mut self,
        settings: &Settings,
        (first, last): (i64, i64),
        device: Counts,
        masked: bool,
        rows: &Unpacked,
        bench: &mut Bench,
    ) -> Evaluation {
        let hop = settings.hop_us();
        let (start_us, end_us) = (first * hop, (last + 1) * hop);
        let (sample_us, marks) = (rows.sample_us.as_slice(), rows.marks.as_slice());
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
            rows: &rows.values,
            width: self.ring.width(),
        };
        levels(marks, &mut bench.levels);
        let motion = match counts.obstacle(settings) {
            _ if masked => None,
            Some(_) => None,
            None => {
                let rounding = rounding_of(self.kind.format, marks);
                bench
                    .meter
                    .measure_with_level(series, rounding, &bench.levels)
            }
        };
        let verdict = if masked {
            Verdict::unknown(settings.threshold, Reason::Masked)
        } else {
            let lasting = (&mut self.lasting, end_us, hop);
            judge(settings, &counts, motion.as_ref(), self.moving, lasting)
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
        let mut between = (Vec::new(), Vec::new());
        if verdict.state != LinkState::Unknown {
            let work = &mut bench.features;
            let found = self
                .extractor
                .window_in(work, start_us, end_us, &mut features);
            if found.is_ok() {
                self.extractor.course_in(work, &mut course.0, &mut course.1);
                // Both are empty where too little was measured.
                let (course, profile) = (&mut between.0, &mut between.1);
                let _ = self
                    .pairs
                    .window_in(work, start_us, end_us, course, profile);
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
            between,
            level_dbm: mean(&bench.levels),
            announced,
            breath,
            distance,
        }
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

#[allow(clippy::cast_precision_loss)]
fn mean(values: &[f32]) -> Option<f32> {
    (!values.is_empty()).then(|| values.iter().sum::<f32>() / values.len() as f32)
}

/// Mean and standard deviation of the RMS amplitude, in units of the samples.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
pub(crate) fn amplitude(marks: &[Mark]) -> (f32, f32) {
    let mut amplitudes = marks.iter().map(|mark| f64::from(mark.log_rms).exp());
    let Some(first) = amplitudes.next() else {
        return (0.0, 0.0);
    };
    // Against the first, so that one pass loses nothing.
    let (sum, squares) = amplitudes
        .map(|amplitude| amplitude - first)
        .fold((0.0, 0.0), |(sum, squares), d| (sum + d, squares + d * d));
    let count = marks.len() as f64;
    let mean = sum / count;
    let variance = (squares / count - mean * mean).max(0.0);
    ((first + mean) as f32, variance.sqrt() as f32)
}
