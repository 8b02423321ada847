//! The course of what lies between antennas: where receive chains hang on one clock, the phase from one to the other is the
//! channel's own, and tells movements apart that the amplitude does not.
//!
//! A receiver's common phase, its frequency offset and its sampling clock turn all of its chains alike, and fall out of the
//! conjugate product of two of them (K. Qian, C. Wu, Y. Zhang, G. Zhang, Z. Yang, Y. Liu, "Widar2.0", MobiSys 2018; Y. Zeng, D. Wu,
//! J. Xiong, E. Yi, R. Gao, D. Zhang, "`FarSense`", IMWUT 2019, whose ratio has the same phase, and poles besides). For each pair of
//! antennas `a`, `b` the products are divided by the frame's RMS on each, so a gain is nothing, and averaged over [`BANDS`] equal
//! parts of the subcarriers and over the frames of a cell of 100 ms:
//!
//! `q[t,p] = mean over frames and subcarriers of H_a conj(H_b) / sqrt(mean |H_a|^2 mean |H_b|^2)`
//!
//! With the deviations `z = q - mean_t q` and the changes `d[t] = z[t+1] - z[t]` over pairs of filled cells, a window says, in the
//! order of [`names`]: `std`, the root of `mean |z|^2`; `diff`, the root of `mean |d|^2`; and the values of [`course::NAMES`] for the
//! Gram matrix `G[s,t] = mean_p Re z[s,p] conj(z[t,p])`, with `c` = 1. Their **profile** is the mean of `q` over the window, for each
//! pair the real parts and then the imaginary ones: it belongs to the place, and to the chains' phase offsets, which some receivers draw
//! anew when they start.

#[cfg(test)]
mod tests;

use std::ops::Range;

use super::course::{self, BANDS, Course, Deviations};
use super::grid::Grid;
use super::{Insufficient, MAX_CELLS, MIN_CELLS};
use crate::gain::GainBlocks;
use crate::lanes;
use crate::split::Split;

/// Name and version of the layout of the course and the profile.
pub const SCHEMA: &str = "activity-pairs/1";
/// Pairs of antennas that are looked at, at most.
pub const MOST_PAIRS: usize = 3;
/// Parts of a complex number.
const PARTS: usize = 2;

/// Names of the values of the course in order. All without unit.
pub fn names() -> impl Iterator<Item = &'static str> {
    ["std", "diff"]
        .into_iter()
        .chain(course::NAMES.iter().copied())
}

/// Collects one link's frames and gives the course between its antennas.
///
/// Memory: its cells ([`MAX_CELLS`] at most) times two numbers for each pair and subcarrier, which are put together to parts only where a window
/// is evaluated: a frame is added in vector instructions. Nothing is allocated after the first window.
#[derive(Clone, Debug)]
pub struct Pairs {
    /// Places of the first samples of both antennas in a row.
    pairs: Vec<(usize, usize)>,
    /// Valid samples of one antenna.
    each: usize,
    /// Samples of a row.
    samples: usize,
    /// The subcarriers of each part.
    bands: [Range<usize>; BANDS],
    grid: Grid,
}

/// Memory that is in use only while a window is evaluated.
#[derive(Clone, Debug, Default)]
pub(super) struct Work {
    indices: Vec<i64>,
    /// `q`, then `z`: one row for each filled cell.
    rows: Vec<f64>,
    means: Vec<f64>,
}

impl Pairs {
    /// For frames of `antennas` antennas whose rows `blocks` makes; of `pairs`, the antennas that share a clock (see
    /// [`breathing::pairs`](crate::breathing::pairs)), the first [`MOST_PAIRS`] that there are. Windows begin at most `cells` cells before the end
    /// of the newest frame's.
    #[must_use]
    pub fn new(
        blocks: &GainBlocks,
        antennas: usize,
        pairs: impl IntoIterator<Item = (usize, usize)>,
        cells: usize,
    ) -> Self {
        let each = blocks.width() / antennas.max(1);
        let there = |(one, other): &(usize, usize)| *one.max(other) < antennas && one != other;
        let pairs: Vec<(usize, usize)> = pairs
            .into_iter()
            .filter(there)
            .filter(|_| each > 0)
            .map(|(one, other)| (one * each, other * each))
            .take(MOST_PAIRS)
            .collect();
        // As the profile has it: the sample of rank `r` is of the part `r * BANDS / each`.
        let begin = |band: usize| (band * each).div_ceil(BANDS);
        let width = pairs.len() * each * PARTS;
        Self {
            each,
            samples: blocks.width(),
            bands: std::array::from_fn(|band| begin(band)..begin(band + 1)),
            grid: Grid::new(cells.clamp(MIN_CELLS, MAX_CELLS), width),
            pairs,
        }
    }

    /// Takes a frame: its time on the axis that windows are asked on, and its valid samples; `product` is overwritten. Gives whether it counted:
    /// without pairs, and where an antenna has no power, or something that is not a number, it does not.
    pub fn push(&mut self, time_us: i64, split: &Split, product: &mut Split) -> bool {
        if self.pairs.is_empty() || split.len() != self.samples {
            return false;
        }
        let mut scales = [0.0_f32; MOST_PAIRS];
        for ((one, other), scale) in self.pairs.iter().zip(&mut scales) {
            let [one, other] = [one, other].map(|first| self.power(split, *first));
            *scale = self.each as f32 / (one.sqrt() * other.sqrt());
            if !(*scale > 0.0 && scale.is_finite()) {
                return false;
            }
        }
        let each = self.each;
        let Some(sums) = self.grid.add(time_us) else {
            return false;
        };
        let of_pairs = sums.chunks_exact_mut(each * PARTS);
        for (((one, other), scale), sums) in self.pairs.iter().zip(scales).zip(of_pairs) {
            let [one, other] = [one, other].map(|first| antenna(split, *first, each));
            product.conjugate_product(one, other);
            let (re, im) = sums.split_at_mut(each);
            for (sums, parts) in [(re, product.re()), (im, product.im())] {
                for (sum, part) in sums.iter_mut().zip(parts) {
                    *sum += part * scale;
                }
            }
        }
        true
    }

    /// The sum of an antenna's powers.
    fn power(&self, split: &Split, first: usize) -> f32 {
        let powers = split.power().get(first..first + self.each);
        lanes::sum(powers.unwrap_or_default(), |power: f32| power)
    }

    /// The course of the window from `start_us` (inclusive) to `end_us` (exclusive) in the order of [`names`], and its profile: for each pair [`BANDS`]
    /// real parts and as many imaginary ones. Both are empty where there is no pair.
    ///
    /// # Errors
    /// Where too little was measured; both are then empty.
    pub fn window_in(
        &self,
        work: &mut super::Work,
        start_us: i64,
        end_us: i64,
        course: &mut Vec<f32>,
        profile: &mut Vec<f32>,
    ) -> Result<(), Insufficient> {
        course.clear();
        profile.clear();
        if self.pairs.is_empty() {
            return Ok(());
        }
        let super::Work {
            pairs: memory,
            course: of_window,
            ..
        } = work;
        memory.indices.clear();
        memory.rows.clear();
        memory.means.clear();
        memory.means.resize(self.pairs.len() * BANDS * PARTS, 0.0);
        for cell in self.grid.window(start_us, end_us)? {
            memory.indices.push(cell.index);
            let frames = f64::from(cell.frames);
            let parts = cell.sums.chunks_exact(self.each.max(1));
            let parts = parts.flat_map(|part| {
                let of_band = |band: &Range<usize>| part.get(band.clone()).unwrap_or_default();
                self.bands.iter().map(of_band)
            });
            for (part, mean) in parts.zip(&mut memory.means) {
                let sum: f32 = part.iter().sum();
                let value = f64::from(sum) / (frames * part.len().max(1) as f64);
                *mean += value;
                memory.rows.push(value);
            }
        }
        let cells = memory.indices.len().max(1) as f64;
        memory.means.iter_mut().for_each(|mean| *mean /= cells);
        for row in memory.rows.chunks_exact_mut(memory.means.len()) {
            for (value, mean) in row.iter_mut().zip(&memory.means) {
                *value -= mean;
            }
        }
        profile.extend(memory.means.iter().map(|mean| *mean as f32));
        of_window.sizes_and_course(
            &Deviations {
                rows: &memory.rows,
                width: memory.means.len(),
                // A complex number is one value.
                values: memory.means.len() / PARTS,
                indices: &memory.indices,
                coherent: 1.0,
            },
            course,
        );
        Ok(())
    }
}

impl Course {
    /// Appends `std` and `diff`, then the values of [`course::NAMES`].
    fn sizes_and_course(&mut self, of: &Deviations<'_>, out: &mut Vec<f32>) {
        self.fill(of);
        out.extend(self.sizes(of.indices).map(|square| square.sqrt() as f32));
        self.append(of, out);
    }
}

/// The valid samples of one antenna: real parts and imaginary ones.
fn antenna(split: &Split, first: usize, each: usize) -> (&[f32], &[f32]) {
    let range = first..first + each;
    (
        split.re().get(range.clone()).unwrap_or_default(),
        split.im().get(range).unwrap_or_default(),
    )
}
