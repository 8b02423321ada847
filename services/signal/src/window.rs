//! The frames of one link that its windows still need.

use dsp::split::Split;
use num_complex::Complex32;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Numbers kept for one link at most: 8 MB in a link's ring, 16 MB in [`Rows`].
pub const MOST_NUMBERS: usize = 4 << 20;
/// One row in so many may lie dropped in front before the rest moves up.
const KEPT_FOR_EACH: usize = 8;

/// What is kept of a frame besides its row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Time on the windows' axis, microseconds.
    pub time_us: i64,
    /// Natural logarithm of the RMS amplitude.
    pub log_rms: f32,
    /// 1 / mean power, for the rounding's variance.
    pub inverse_power: f32,
    /// The level at which the frame was received, dBm; absent where it was not measured.
    pub level_dbm: Option<f32>,
    /// The row repeats the one before it.
    pub identical: bool,
    /// Id of the frame where it was announced.
    pub announced: Option<Uuid>,
}

/// The levels of the frames, dBm, into `levels`, which is cleared first: none where one of them was not measured.
pub(crate) fn levels(marks: &[Mark], levels: &mut Vec<f32>) {
    levels.clear();
    levels.extend(marks.iter().filter_map(|mark| mark.level_dbm));
    if levels.len() < marks.len() {
        levels.clear();
    }
}

/// Rows of normalised power with their times, oldest first, in one contiguous piece.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Rows {
    width: usize,
    /// Rows that were dropped but still lie in front.
    start: usize,
    values: Vec<f32>,
    /// Time by the device's clock where it has one, else as `Mark::time_us`.
    sample_us: Vec<i64>,
    marks: Vec<Mark>,
}

impl Rows {
    /// For rows of `width` values.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self {
            width,
            ..Self::default()
        }
    }

    /// Appends a row of `width` values. Gives false, and keeps nothing, where the bound on memory is reached.
    pub fn push(&mut self, row: &[f32], sample_us: i64, mark: Mark) -> bool {
        if row.len() != self.width || self.values.len() + row.len() > MOST_NUMBERS {
            return false;
        }
        make_room(&mut self.values, row.len());
        self.values.extend_from_slice(row);
        self.sample_us.push(sample_us);
        self.marks.push(mark);
        true
    }

    /// Whether `row` is the newest row once more, to the last bit.
    #[must_use]
    pub fn repeats(&self, row: &[f32]) -> bool {
        let Some(begin) = self.values.len().checked_sub(self.width) else {
            return false;
        };
        self.marks.len() > self.start && self.values.get(begin..) == Some(row)
    }

    /// Forgets the rows before `time_us`.
    pub fn drop_before(&mut self, time_us: i64) {
        let rest = self.marks.get(self.start..).unwrap_or_default();
        self.start += rest.partition_point(|mark| mark.time_us < time_us);
        if self.start * KEPT_FOR_EACH > self.marks.len() {
            self.values
                .drain(..(self.start * self.width).min(self.values.len()));
            self.sample_us.drain(..self.start.min(self.sample_us.len()));
            self.marks.drain(..self.start.min(self.marks.len()));
            self.start = 0;
        }
    }

    /// The rows from `start_us` on and before `end_us`: sample times, values, marks.
    #[must_use]
    pub fn between(&self, start_us: i64, end_us: i64) -> (&[i64], &[f32], &[Mark]) {
        let first = self
            .marks
            .partition_point(|mark| mark.time_us < start_us)
            .max(self.start);
        let last = self
            .marks
            .partition_point(|mark| mark.time_us < end_us)
            .max(first);
        (
            self.sample_us.get(first..last).unwrap_or_default(),
            self.values
                .get(first * self.width..last * self.width)
                .unwrap_or_default(),
            self.marks.get(first..last).unwrap_or_default(),
        )
    }

    /// Values of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }
}

/// Makes room for `more` numbers: an eighth beyond what is there, not as much again. This is most of what a link holds.
fn make_room(values: &mut Vec<f32>, more: usize) {
    if values.capacity() - values.len() < more {
        values.reserve_exact(more.max(values.len() / 8));
    }
}

/// Samples by their length: numbers of modulus 1, or 0 where there is none.
#[derive(Debug, Default)]
pub struct Phasors {
    /// 1 / length of each sample.
    scales: Vec<f32>,
    re: Vec<f32>,
    im: Vec<f32>,
}

impl Phasors {
    /// Takes those of a frame.
    pub fn take(&mut self, split: &Split) {
        let scale = |power: &f32| {
            let scale = power.sqrt().recip();
            if *power > 0.0 { scale } else { 0.0 }
        };
        self.scales.clear();
        self.scales.extend(split.power().iter().map(scale));
        let scaled = |(part, scale): (&f32, &f32)| part * scale;
        self.re.clear();
        self.re
            .extend(split.re().iter().zip(&self.scales).map(scaled));
        self.im.clear();
        self.im
            .extend(split.im().iter().zip(&self.scales).map(scaled));
    }

    /// The turn from each to the next.
    fn turns(&self) -> impl Iterator<Item = Complex32> + '_ {
        let one = self.re.iter().zip(&self.im);
        let next = self.re.iter().skip(1).zip(self.im.iter().skip(1));
        one.zip(next).map(|((re, im), (next_re, next_im))| {
            Complex32::new(re * next_re + im * next_im, re * next_im - im * next_re)
        })
    }
}

/// How steady the phase between neighbouring subcarriers is: sums of unit phasors, hop by hop.
///
/// The phase of one subcarrier against its neighbour does not see the receiver's random common phase. Its circular
/// variance over a window is `1 - mean over k of abs(mean over t of u[t,k])`, 0 for a constant one and 1 for chaos
/// (Mardia and Jupp, Directional Statistics, 2.3.1).
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct PhaseSteadiness {
    hops: std::collections::VecDeque<(i64, u32, Vec<Complex32>)>,
    #[serde(skip)]
    spare: Vec<Vec<Complex32>>,
    /// In use where the caller has no memory that links share.
    #[serde(skip)]
    own: (Split, Phasors),
}

impl PhaseSteadiness {
    /// Adds a frame of the hop `slot`; `places` are the valid samples in order.
    pub fn push(&mut self, slot: i64, samples: &[Complex32], places: &[usize]) {
        let (mut split, mut phasors) = std::mem::take(&mut self.own);
        split.clear();
        for place in places {
            split.extend(samples.get(*place..=*place).unwrap_or_default());
        }
        phasors.take(&split);
        self.add(slot, &phasors);
        self.own = (split, phasors);
    }

    /// Adds a frame of the hop `slot`.
    pub fn add(&mut self, slot: i64, phasors: &Phasors) {
        if self
            .hops
            .back()
            .is_none_or(|(newest, _, _)| *newest != slot)
        {
            let mut sums = self.spare.pop().unwrap_or_default();
            sums.clear();
            sums.resize(phasors.re.len().saturating_sub(1), Complex32::default());
            self.hops.push_back((slot, 0, sums));
        }
        let Some((_, frames, sums)) = self.hops.back_mut() else {
            return;
        };
        *frames += 1;
        sums.iter_mut()
            .zip(phasors.turns())
            .for_each(|(sum, turn)| *sum += turn);
    }

    /// Forgets the hops before `slot`.
    pub fn drop_before(&mut self, slot: i64) {
        while self
            .hops
            .front()
            .is_some_and(|(oldest, _, _)| *oldest < slot)
        {
            self.spare
                .extend(self.hops.pop_front().map(|(_, _, sums)| sums));
            self.spare.truncate(4);
        }
    }

    /// The circular variance over the hops from `first` to `last`; absent without frames.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn variance(&self, first: i64, last: i64) -> Option<f32> {
        let hops = || {
            self.hops
                .iter()
                .filter(|(slot, _, _)| (first..=last).contains(slot))
        };
        let frames: u32 = hops().map(|(_, frames, _)| *frames).sum();
        let width = hops().map(|(_, _, sums)| sums.len()).min()?;
        if frames == 0 || width == 0 {
            return None;
        }
        let length = |k: usize| {
            hops()
                .filter_map(|(_, _, sums)| sums.get(k))
                .sum::<Complex32>()
                .norm_sqr()
                .sqrt()
        };
        let mean = (0..width).map(length).sum::<f32>() / (width as f32 * frames as f32);
        Some((1.0 - mean).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(time_us: i64) -> Mark {
        Mark {
            time_us,
            log_rms: 0.0,
            inverse_power: 1.0,
            level_dbm: None,
            identical: false,
            announced: None,
        }
    }

    #[test]
    fn keeps_what_lies_in_the_window_contiguously() {
        let mut rows = Rows::new(2);
        for time in 0..10_i64 {
            assert!(rows.push(&[time as f32, 0.0], time + 100, mark(time)));
        }
        rows.drop_before(7);
        assert!(rows.push(&[10.0, 0.0], 110, mark(10)));
        let (times, values, marks) = rows.between(8, 11);
        assert_eq!(times, [108, 109, 110]);
        assert_eq!(values, [8.0, 0.0, 9.0, 0.0, 10.0, 0.0]);
        assert_eq!(marks.len(), 3);
        assert_eq!(rows.between(0, 7).0.len(), 0);
    }

    #[test]
    fn is_bounded() {
        let mut rows = Rows::new(1 << 20);
        let row = vec![1.0; 1 << 20];
        let taken = (0..10)
            .filter(|time| rows.push(&row, *time, mark(*time)))
            .count();
        assert_eq!(taken, 4);
    }

    #[test]
    fn a_constant_channel_has_no_phase_variance_whatever_the_common_phase() {
        let mut steady = PhaseSteadiness::default();
        for t in 0..20 {
            let frame: Vec<_> = (0..4)
                .map(|k| Complex32::from_polar(2.0, t as f32 * 1.3 + k as f32))
                .collect();
            steady.push(t / 5, &frame, &[0, 1, 2, 3]);
        }
        assert!(steady.variance(0, 3).unwrap() < 1e-6);
        let mut chaos = PhaseSteadiness::default();
        for t in 0..200 {
            let frame: Vec<_> = (0..4)
                .map(|k| Complex32::from_polar(1.0, (t * t * (k + 1)) as f32 * 0.7))
                .collect();
            chaos.push(0, &frame, &[0, 1, 2, 3]);
        }
        assert!(chaos.variance(0, 0).unwrap() > 0.7);
        assert_eq!(chaos.variance(5, 6), None);
    }
}
