//! Features of one link's window for the activity model: how much, how smoothly and how coherently the shape of the
//! channel over frequency changes.
//!
//! They rest on amplitude alone and on a regular 10 Hz grid, so that a source of 10 amplitude frames a second and one of 100
//! complex ones give the same kind of numbers. Three things make them independent of the hardware:
//!
//! - **Gain**: each frame's amplitude is divided by its RMS, separately for each *gain block*: an antenna, and within it
//!   each training field. (On an ESP32 the HT field jumps by 6 dB against the legacy field from frame to frame, with nobody
//!   in the room; one common RMS turns that into motion.)
//! - **Rate**: frames are averaged in cells of [`CELL_US`]; empty cells are left out, not filled in.
//! - **Noise**: where cells hold [`FRAMES_FOR_NOISE`] frames or more on average, the noise of a cell's mean is known from the
//!   spread inside the cells, and the coherent share `c = 1 - noise / variance between cells` (0 to 1) weights all features:
//!   what frames in any order would give as well is no movement. With fewer frames `c` is 1.
//!
//! With `y[t,k]` the mean normalised amplitude of cell `t` and subcarrier `k`, `m[k]` its mean over the window,
//! `z = y / m - 1` and `d[t,k] = z[t+1,k] - z[t,k]` over pairs of filled cells, the features are, in order:
//!
//! | name | formula |
//! |---|---|
//! | `std_q10`, `std_q50`, `std_q90` | quantiles over `k` of `sqrt(c) * std_t z` |
//! | `diff_q10`, `diff_q50`, `diff_q90` | quantiles over `k` of `sqrt(c) * rms_t d` |
//! | `smooth_std` | `sqrt(c * max(0, mean z[t,k] z[t,k+2]))`: the part that neighbouring subcarriers share |
//! | `smooth_diff` | `sqrt(c * max(0, mean d[t,k] d[t,k+2]))` |
//! | `lag_1`, `lag_2` | `c * (1 - mean (z[t+l] - z[t])^2 / (2 mean z^2))`: autocorrelation after 100 and 200 ms |
//! | `neighbour_1`, `neighbour_4` | `c * mean z[t,k] z[t,k+j] / mean z^2`: correlation over frequency |
//! | `diff_neighbour_1` | `c * mean d[t,k] d[t,k+1] / mean d^2` |
//!
//! `k + j` counts live subcarriers within one gain block. Subcarriers in a deep fade (`m < 0.2`) are left out: their relative
//! changes are quantisation. Quantiles interpolate linearly. A quotient of nothing by nothing is 0: constant input gives zeros.
//! Normalised amplitude and its spread over subcarriers follow `WiFall` and `CARM`; that movement is coherent over
//! neighbouring subcarriers and noise is not is the ground of `WiDetect`.

pub mod course;
mod grid;
pub mod pairs;
mod statistics;
#[cfg(test)]
mod tests;

use std::ops::Range;

use course::Course;
use grid::{Filled, Grid};
use statistics::Statistics;

use crate::lanes;

/// Name and version of the layout of the features.
pub const SCHEMA: &str = "activity-features/1";

/// Names of the features in order; formulas in the module's text. All without unit.
pub const NAMES: &[&str] = &[
    "std_q10",
    "std_q50",
    "std_q90",
    "diff_q10",
    "diff_q50",
    "diff_q90",
    "smooth_std",
    "smooth_diff",
    "lag_1",
    "lag_2",
    "neighbour_1",
    "neighbour_4",
    "diff_neighbour_1",
];

/// Length of the windows that the shipped model was trained on, microseconds: that of the signal service.
pub const WINDOW_US: i64 = 2_000_000;
/// Length of a cell of the time grid, microseconds.
pub const CELL_US: i64 = 100_000;
/// Cells kept: the longest window.
pub const MAX_CELLS: usize = 64;
/// Cells in the shortest window.
pub const MIN_CELLS: usize = 10;
/// Samples of a frame (antennas times subcarriers) at most.
pub const MAX_SAMPLES: usize = 8192;
/// Share of the window's cells that must hold a frame.
pub const MIN_FILLED: f64 = 0.6;
/// Live subcarriers that a window needs.
pub const MIN_SUBCARRIERS: usize = 8;
/// Frames per cell, on average, from which the noise of a cell's mean is estimated.
pub const FRAMES_FOR_NOISE: f64 = 3.0;
/// Mean normalised amplitude below which a subcarrier is left out.
const DEEP_FADE: f64 = 0.2;

/// Why a window has no features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Insufficient {
    /// Shorter or longer than the extractor can serve.
    #[error(
        "a window of {cells} cells of 100 ms; {MIN_CELLS} to {MAX_CELLS} are possible, and no more than are kept"
    )]
    Span {
        /// Whole cells inside the window asked for.
        cells: usize,
    },
    /// Too many cells without a frame.
    #[error("{filled} of {cells} cells of 100 ms hold a frame; {needed} are needed")]
    Cells {
        /// Cells that hold at least one frame.
        filled: usize,
        /// Cells of the window.
        cells: usize,
        /// Cells that must hold one.
        needed: usize,
    },
    /// Too few subcarriers carry a channel.
    #[error("{live} live subcarriers; {MIN_SUBCARRIERS} are needed")]
    Subcarriers {
        /// Valid subcarriers that are not in a deep fade.
        live: usize,
    },
}

/// Collects one link's frames (one device, transmitter and layout) and computes the features of its windows.
///
/// Memory is bounded by its cells ([`MAX_CELLS`] at most) times the samples of a frame, and as much again while a window is
/// evaluated, which extractors can share ([`Work`]); nothing is allocated after the first frame and window.
#[derive(Clone, Debug)]
pub struct Extractor {
    /// First sample of each gain block, ascending from 0.
    blocks: Vec<usize>,
    /// Samples of a frame; 0 before the first.
    samples: usize,
    valid: Vec<bool>,
    /// Sums of normalised amplitude, a row of `samples` for each cell.
    grid: Grid,
    /// The valid samples of each gain block that has any, as ranges of neighbours.
    runs: Vec<Vec<Range<usize>>>,
    scales: Vec<f32>,
    scratch: Statistics,
}

/// Memory that is in use only while a window is evaluated: one serves any number of extractors, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Work {
    statistics: Statistics,
    course: Course,
    pairs: pairs::Work,
}

impl Extractor {
    /// An extractor for frames with `antennas` times `subcarriers` samples, antenna-major. `subcarriers` are the indices of
    /// one antenna's samples; an index that repeats begins another training field, with a gain of its own.
    #[must_use]
    pub fn new(subcarriers: &[i16], antennas: usize) -> Self {
        Self::reaching(subcarriers, antennas, MAX_CELLS)
    }

    /// The same for windows that end with the newest frame's cell or before and begin at most `cells` cells before the end of
    /// it: what lies further back is not kept. Cut to [`MIN_CELLS`] and [`MAX_CELLS`].
    #[must_use]
    pub fn reaching(subcarriers: &[i16], antennas: usize, cells: usize) -> Self {
        Self {
            blocks: gain_blocks(subcarriers, antennas),
            samples: 0,
            valid: Vec::new(),
            grid: Grid::new(cells.clamp(MIN_CELLS, MAX_CELLS), 0),
            runs: Vec::new(),
            scales: Vec::new(),
            scratch: Statistics::default(),
        }
    }

    /// Takes a frame: `time_us` on the axis that windows are asked on, `powers` `abs(H)^2` of each sample in any unit, and
    /// whether each sample carries a channel estimate (as long as `powers`, or one antenna's worth, repeated).
    ///
    /// Gives whether the frame counted. One without power in a gain block, with a value that is not a number, or of more than
    /// [`MAX_SAMPLES`] samples does not. Another length or another validity than before begins anew: a window never mixes
    /// layouts. So does a clock that jumps back further than the cells reach.
    pub fn push(&mut self, time_us: i64, powers: &[f32], valid: &[bool]) -> bool {
        if powers.is_empty() || valid.is_empty() || powers.len() > MAX_SAMPLES {
            return false;
        }
        if powers.len() != self.samples || !self.same_validity(valid) {
            self.begin(powers.len(), valid);
        }
        if !self.normalise(powers) {
            return false;
        }
        let Some(row) = self.grid.add(time_us) else {
            return false;
        };
        for (runs, scale) in self.runs.iter().zip(&self.scales) {
            for run in runs {
                let (Some(row), Some(powers)) = (row.get_mut(run.clone()), powers.get(run.clone()))
                else {
                    continue;
                };
                for (sum, power) in row.iter_mut().zip(powers) {
                    *sum += (power * scale).sqrt();
                }
            }
        }
        true
    }

    /// Computes the features of the window from `start_us` (inclusive) to `end_us` (exclusive) into `out`, in the order of
    /// [`NAMES`]. Only whole cells of the grid count; bounds that are multiples of [`CELL_US`] lose nothing.
    ///
    /// # Errors
    /// Where too little was measured; `out` is then empty.
    pub fn window(
        &mut self,
        start_us: i64,
        end_us: i64,
        out: &mut Vec<f32>,
    ) -> Result<(), Insufficient> {
        out.clear();
        self.scratch.begin();
        for Filled {
            index,
            frames,
            sums,
        } in self.grid.window(start_us, end_us)?
        {
            self.scratch.push_cell(index, frames, sums);
        }
        let live = self.scratch.select(&self.valid, &self.blocks, DEEP_FADE);
        if live < MIN_SUBCARRIERS {
            return Err(Insufficient::Subcarriers { live });
        }
        self.scratch.features(out);
        Ok(())
    }

    /// As [`window`](Self::window), in memory that several extractors share.
    ///
    /// # Errors
    /// Where too little was measured; `out` is then empty.
    pub fn window_in(
        &mut self,
        work: &mut Work,
        start_us: i64,
        end_us: i64,
        out: &mut Vec<f32>,
    ) -> Result<(), Insufficient> {
        std::mem::swap(&mut self.scratch, &mut work.statistics);
        let found = self.window(start_us, end_us, out);
        std::mem::swap(&mut self.scratch, &mut work.statistics);
        found
    }

    /// The course and the profile ([`course`]) of the window that [`window_in`](Self::window_in) gave features of just before,
    /// with the same `work`: `course` gets the values of [`course::NAMES`], `profile` those of each gain block.
    pub fn course_in(&self, work: &mut Work, course: &mut Vec<f32>, profile: &mut Vec<f32>) {
        course.clear();
        profile.clear();
        work.course.of(&work.statistics.fluctuations(), course);
        course::profile(&work.statistics, &self.valid, &self.blocks, profile);
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.grid.clear();
    }

    fn same_validity(&self, valid: &[bool]) -> bool {
        if valid.len() == self.valid.len() {
            return valid == self.valid.as_slice();
        }
        self.valid
            .chunks(valid.len())
            .all(|antenna| valid.starts_with(antenna))
    }

    fn begin(&mut self, samples: usize, valid: &[bool]) {
        self.grid.begin(samples);
        self.samples = samples;
        self.valid.clear();
        self.valid
            .extend(valid.iter().copied().cycle().take(samples));
        let blocks = ranges(&self.blocks, samples).map(|block| runs(&self.valid, block));
        // A block without a valid sample has no gain to take out, and no part in the features.
        self.runs = blocks.filter(|runs| !runs.is_empty()).collect();
    }

    /// Finds what the powers of each gain block are to be multiplied by. Gives false where one has no power, or a value is not
    /// a number.
    fn normalise(&mut self, powers: &[f32]) -> bool {
        self.scales.clear();
        for runs in &self.runs {
            let Some(mean) = mean_power(powers, runs) else {
                return false;
            };
            self.scales.push(1.0 / mean);
        }
        true
    }
}

/// The valid samples of a block as ranges of neighbours.
fn runs(valid: &[bool], block: Range<usize>) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for place in block.filter(|place| valid.get(*place) == Some(&true)) {
        match runs.last_mut() {
            Some(run) if run.end == place => run.end += 1,
            _ => runs.push(place..place + 1),
        }
    }
    runs
}

/// First sample of each gain block of a frame with `antennas` times `subcarriers` samples: each antenna has its own amplifier,
/// and each training field within it (the subcarrier indices repeat there) may have its own scale.
#[must_use]
pub fn gain_blocks(subcarriers: &[i16], antennas: usize) -> Vec<usize> {
    let mut fields = vec![0];
    let mut seen: Vec<i16> = Vec::with_capacity(subcarriers.len());
    for (position, subcarrier) in subcarriers.iter().enumerate() {
        if seen.contains(subcarrier) {
            fields.push(position);
            seen.clear();
        }
        seen.push(*subcarrier);
    }
    let antennas = 0..antennas.clamp(1, MAX_SAMPLES);
    antennas
        .flat_map(|antenna| {
            fields
                .iter()
                .map(move |field| antenna * subcarriers.len() + field)
        })
        .collect()
}

/// The blocks as ranges of samples; what lies past the last block's start belongs to it.
fn ranges(blocks: &[usize], samples: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let ends = blocks
        .iter()
        .skip(1)
        .copied()
        .chain(std::iter::once(samples));
    blocks
        .iter()
        .copied()
        .zip(ends)
        .map(move |(start, end)| start.min(samples)..end.min(samples))
        .filter(|r| !r.is_empty())
}

/// Mean power over these samples; none where there is no power or a value is not a number.
fn mean_power(powers: &[f32], runs: &[Range<usize>]) -> Option<f32> {
    let (mut sum, mut count) = (0.0_f32, 0);
    for run in runs {
        let powers = powers.get(run.clone())?;
        if lanes::sum(powers, |power: f32| u32::from(power.is_nan())) > 0 {
            return None;
        }
        sum += lanes::sum(powers, |power: f32| power.max(0.0));
        count += powers.len();
    }
    let mean = sum / count.max(1) as f32;
    (mean.is_normal() && mean.is_finite()).then_some(mean)
}
