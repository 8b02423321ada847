//! One radio link: the frames of one device from one transmitter in one layout. A window never mixes links.

mod evaluation;
mod key;
mod ring;

use std::collections::VecDeque;
use std::sync::Arc;

use csi::{Frame, SampleFormat};
use dsp::activity::pairs::Pairs;
use dsp::activity::{self, Extractor};
use dsp::gain::{Gain, GainBlocks, GainError};
use dsp::motion::{Lasting, MotionMeter};
use dsp::mover::SteadyFinder;
use dsp::split::Split;
use num_complex::Complex32;
use uuid::Uuid;

use self::ring::{Ring, Unpacked};
use crate::baseline::{Baseline, NoDistance};
use crate::breathing::{self, Monitor};
use crate::calibration::Calibrated;
use crate::masks::Part;
use crate::window::{Mark, PhaseSteadiness, Phasors};

pub use self::evaluation::Evaluation;
pub(crate) use self::evaluation::{amplitude, rounding};
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
    ring: Ring,
    phase: PhaseSteadiness,
    extractor: Extractor,
    /// What lies between the antennas that share a clock.
    pairs: Pairs,
    monitor: Monitor,
    baseline: Option<Baseline>,
    /// Why there is no baseline.
    no_baseline: NoDistance,
    tallies: VecDeque<Tally>,
    /// Slot that the link's first window begins with.
    first_slot: i64,
    /// In motion in the latest window.
    pub moving: bool,
    /// What the latest windows leave to the next.
    lasting: Lasting,
}

/// Memory shared by all links while a frame is taken or a window evaluated: what a link holds itself is only what it needs from
/// one frame to the next.
#[derive(Debug, Default)]
pub struct Bench {
    split: Split,
    row: Vec<f32>,
    /// What the powers of each gain block are multiplied by in a row; then in a packed one.
    scales: Vec<f32>,
    packed: Vec<u16>,
    phasors: Phasors,
    product: Split,
    powers: Vec<f32>,
    unpacked: Unpacked,
    meter: MotionMeter,
    levels: Vec<f32>,
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
            ring: Ring::new(&blocks),
            phase: PhaseSteadiness::default(),
            extractor: Extractor::reaching(&layout.subcarriers, antennas, cells),
            pairs: Pairs::new(&blocks, antennas, breathing::pairs(frame), cells),
            monitor: Monitor::new(frame, &blocks),
            baseline: None,
            no_baseline: NoDistance::NotCalibrated,
            tallies: VecDeque::new(),
            blocks,
            first_slot: slot,
            moving: false,
            lasting: Lasting::default(),
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
    pub fn resume(
        &mut self,
        first_slot: i64,
        moving: bool,
        mover_uhz: Option<u64>,
        lasting: Lasting,
    ) {
        self.first_slot = first_slot;
        self.moving = moving;
        self.monitor.resume(mover_uhz);
        self.lasting = lasting;
    }

    /// What the latest windows leave to the next.
    #[must_use]
    pub fn lasting(&self) -> &Lasting {
        &self.lasting
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
        let fits = learnt.filter(|learnt| learnt.amplitude.len() == self.blocks.width());
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
        bench: &mut Bench,
    ) -> Result<Taken, GainError> {
        let gain = match self.normalise(frame, bench) {
            Ok(gain) => gain,
            Err(error) => {
                if matches!(error, GainError::NoEnergy { .. }) {
                    self.count(slot, |tally| tally.no_energy += 1);
                }
                return Err(error);
            }
        };
        let identical = self.ring.repeats(&self.blocks, &bench.row);
        let mark = self.mark(frame, gain, identical, announced);
        let sample_us = frame
            .device_time_us
            .and_then(|time| i64::try_from(time).ok())
            .unwrap_or(frame.receive_time_us);
        if !self
            .ring
            .push(&bench.packed, &bench.scales, sample_us, mark)
        {
            return Ok(Taken::Full);
        }
        self.count(slot, |tally| {
            tally.seen += 1;
            tally.identical += usize::from(identical);
        });
        if frame.format != SampleFormat::Af32 {
            bench.phasors.take(&bench.split);
            self.phase.add(slot, &bench.phasors);
        }
        let time_us = frame.receive_time_us;
        self.monitor
            .push(&mut bench.breaths, time_us, &bench.row, &bench.split);
        if let Some(baseline) = &mut self.baseline {
            baseline.push(slot, &bench.row, (frame.channel, frame.bandwidth_mhz));
        }
        let powers = if self.blocks.width() == self.blocks.samples() {
            bench.split.power()
        } else {
            bench.powers.clear();
            let powers = frame.samples.iter().map(Complex32::norm_sqr);
            bench.powers.extend(powers);
            &bench.powers
        };
        self.extractor.push(time_us, powers, &self.valid);
        self.pairs.push(time_us, &bench.split, &mut bench.product);
        Ok(Taken::Row {
            quality: usable(frame.format, &bench.split),
            complete: bench.row.iter().any(|power| *power > 0.0),
        })
    }

    /// Lays the frame's samples out, normalises them, and packs the row, all in `bench`.
    fn normalise(&self, frame: &Frame, bench: &mut Bench) -> Result<Gain, GainError> {
        let (split, row, scales) = (&mut bench.split, &mut bench.row, &mut bench.scales);
        self.blocks.split(&frame.samples, split)?;
        let gain = self.blocks.normalise_split(split, row, scales)?;
        self.blocks.pack(split, row, scales, &mut bench.packed);
        Ok(gain)
    }

    /// Counts a frame that came late.
    pub fn late(&mut self, slot: i64) {
        self.count(slot, |tally| tally.left_out += 1);
    }

    /// Counts a frame whose sequence number was seen already. A frame sent twice is the same to the last bit.
    pub fn repeat(&mut self, frame: &Frame, slot: i64, bench: &mut Bench) {
        let identical =
            self.normalise(frame, bench).is_ok() && self.ring.repeats(&self.blocks, &bench.row);
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
            level_dbm: frame.level_dbm(),
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

    /// Whether anything of the link lies in the hops from `first` to `last`.
    #[must_use]
    pub fn active(&self, first: i64, last: i64) -> bool {
        self.tallies
            .iter()
            .any(|tally| (first..=last).contains(&tally.slot))
    }

    /// Forgets what lies before the hop `slot`.
    pub fn drop_before(&mut self, slot: i64, hop_us: i64) {
        self.ring.drop_before(slot.saturating_mul(hop_us));
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

/// The share of samples that are neither zero nor at the ends of the sample format.
#[allow(clippy::cast_precision_loss)]
fn usable(format: SampleFormat, split: &Split) -> f32 {
    let rail = match format {
        SampleFormat::Ci8 => f32::from(i8::MAX),
        SampleFormat::Ci16 => f32::from(i16::MAX),
        SampleFormat::Cf32 | SampleFormat::Af32 => f32::INFINITY,
    };
    split.within(rail) as f32 / split.len().max(1) as f32
}
