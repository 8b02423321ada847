//! How a window goes on in time, and how the channel is shaped meanwhile: what tells one movement from another, where
//! [`NAMES`](super::NAMES) tell movement from stillness.
//!
//! With `x[t,k] = y[t,k] - m[k]`, the deviation of the normalised amplitude in cell `t` and live subcarrier `k` from its mean over the window, everything
//! of the course follows from the Gram matrix `G[s,t] = mean_k x[s,k] x[t,k]` over the filled cells of the window, at most 64 x 64 numbers
//! whatever the number of subcarriers. It is not divided by `m`, as `z` of the module above is: noise is the same on all subcarriers, so the
//! weights `m^2` of maximal ratio combining are right. `c` is the coherent share as there. In order:
//!
//! | name | formula |
//! |---|---|
//! | `share_1`, `share_2`, `share_3` | the largest eigenvalues of `G` by its trace: the shares of the first principal components (CARM) |
//! | `spread` | `trace(G)^2 / sum G^2 / T`: effective number of components by the number of cells |
//! | `band_1` to `band_4` | shares of the power, Hann-windowed, at 0.5..1, 1.5..2, 2.5..3 and 3.5..5 Hz (multiples of 1/2 Hz) |
//! | `energy_2`, `energy_3`, `energy_4` | change `mean (x[t+1] - x[t])^2` of the quarters of the window by their sum, ascending, without the least |
//! | `step` | root of the mean square of (last quarter's mean - first quarter's mean): a changed posture stays changed |
//! | `lag_3` to `lag_10` | `c * (1 - mean (x[t+l] - x[t])^2 / (2 mean x^2))`: autocorrelation after 300 ms to 1 s |
//!
//! The lags go on where [`NAMES`](super::NAMES) end, up to half of the service's window: how fast the channel turns round, and
//! whether it comes back. Speed of path and rhythm belong to the movement, where the shares of components and the step belong
//! as much to the place (docs/accuracy.md has what each does on another day and in another room). A lag that no pair of cells
//! is apart is 0.
//!
//! Shares of nothing are 0. The **profile** is the natural logarithm of the mean normalised amplitude in [`BANDS`] equal
//! parts of each gain block's valid subcarriers: the shape of the channel itself, which belongs to the place and to where
//! the body is in it. It says nothing anywhere else.

use super::statistics::Statistics;
use crate::eigen::Eigen;
use crate::lanes;

/// Name and version of the layout of the course. Version 2 had relative deviations, version 1 no lags.
pub const SCHEMA: &str = "activity-course/3";
/// Names of the values of the course in order; formulas in the module's text. All without unit.
pub const NAMES: &[&str] = &[
    "share_1", "share_2", "share_3", "spread", "band_1", "band_2", "band_3", "band_4", "energy_2",
    "energy_3", "energy_4", "step", "lag_3", "lag_4", "lag_5", "lag_6", "lag_7", "lag_8", "lag_9",
    "lag_10",
];
/// The first lag of the course, cells, and how many there are.
const FIRST_LAG: usize = 3;
const LAGS: usize = 8;
/// Values of the profile for each gain block.
pub const BANDS: usize = 10;
/// Gain blocks that have a profile, at most.
pub const MOST_BLOCKS: usize = 8;
/// Amplitude that is added before the logarithm of the profile is taken: a fade has no depth that can be told.
const FLOOR: f64 = 0.05;
/// Cells in a second.
const RATE_HZ: f64 = 10.0;
/// Spacing of the frequencies at which power is taken, Hz, and which of them make each band.
const SPACING_HZ: f64 = 0.5;
const EDGES: [std::ops::RangeInclusive<u32>; 4] = [1..=2, 3..=4, 5..=6, 7..=10];
/// Trace below which nothing varies.
const NOTHING: f64 = 1e-12;

/// What varies in a window: one row for each filled cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deviations<'a> {
    /// The rows, one after the other; each column has the mean 0.
    pub rows: &'a [f64],
    /// Numbers of a row.
    pub width: usize,
    /// Values of a row, of which a mean is taken.
    pub values: usize,
    /// Grid index of each row's cell, ascending.
    pub indices: &'a [i64],
    /// The share that the lags are to be multiplied by.
    pub coherent: f64,
}

/// Memory of the computation.
#[derive(Clone, Debug, Default)]
pub(super) struct Course {
    /// One row for each filled cell.
    gram: Vec<f64>,
    cells: usize,
    /// Hann's window at each filled cell.
    weights: Vec<f64>,
    /// The weighted Gram matrix, summed along its diagonals.
    lags: Vec<f64>,
    eigen: Eigen,
}

impl Course {
    /// Appends the values of [`NAMES`] to `out`.
    pub(super) fn of(&mut self, of: &Deviations<'_>, out: &mut Vec<f32>) {
        self.fill(of);
        self.append(of, out);
    }

    /// The mean square of the deviations, and that of the change from cell to cell, after [`fill`](Self::fill).
    pub(super) fn sizes(&self, indices: &[i64]) -> [f64; 2] {
        let (mut sum, mut count) = (0.0, 0.0);
        for (cell, pair) in indices.windows(2).enumerate() {
            if let [early, late] = pair
                && late - early == 1
            {
                sum += self.change(cell);
                count += 1.0;
            }
        }
        let change = if count > 0.0 { sum / count } else { 0.0 };
        [self.trace() / self.cells.max(1) as f64, change]
    }

    /// The values of [`NAMES`] after [`fill`](Self::fill), which this takes apart.
    pub(super) fn append(&mut self, of: &Deviations<'_>, out: &mut Vec<f32>) {
        let cells = self.cells;
        let trace = self.trace();
        if trace <= NOTHING {
            out.extend(std::iter::repeat_n(0.0, NAMES.len()));
            return;
        }
        // Before the eigenvalues, which take the matrix apart.
        let square: f64 = self.gram.iter().map(|value| value * value).sum();
        let spread = trace * trace / square / cells as f64;
        let bands = self.bands(of.indices);
        let energies = self.energies(of.indices);
        let step = self.step();
        let lags = self.autocorrelations(of.indices, trace / cells as f64);
        let shares: [f64; 3] = self.eigen.largest(&mut self.gram, cells);
        out.extend(shares.map(|share| (share / trace) as f32));
        out.push(spread as f32);
        out.extend(bands.map(|share| share as f32));
        out.extend(energies.map(|share| share as f32));
        out.push(step as f32);
        out.extend(lags.map(|lag| (of.coherent * lag) as f32));
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.gram
            .get(row * self.cells + column)
            .copied()
            .unwrap_or_default()
    }

    fn trace(&self) -> f64 {
        (0..self.cells).map(|cell| self.at(cell, cell)).sum()
    }

    /// The mean square of the change from a cell to the next.
    fn change(&self, cell: usize) -> f64 {
        let own = self.at(cell, cell) + self.at(cell + 1, cell + 1);
        (own - 2.0 * self.at(cell, cell + 1)).max(0.0)
    }

    /// Computes the Gram matrix.
    pub(super) fn fill(&mut self, of: &Deviations<'_>) {
        let cells = of.indices.len();
        self.gram.clear();
        self.gram.resize(cells * cells, 0.0);
        self.cells = cells;
        let values = of.values.max(1) as f64;
        let rows = || of.rows.chunks_exact(of.width.max(1)).take(cells);
        for (row, early) in rows().enumerate() {
            for (column, late) in rows().enumerate().skip(row) {
                let sum = lanes::sum_pairs(early, late, |a: f64, b: f64| a * b);
                for place in [row * cells + column, column * cells + row] {
                    if let Some(value) = self.gram.get_mut(place) {
                        *value = sum / values;
                    }
                }
            }
        }
    }

    /// The shares of the four bands: `sum_st w_s w_t G[s,t] cos(2 pi f (s - t))` at each frequency, summed by `s - t` first.
    fn bands(&mut self, indices: &[i64]) -> [f64; 4] {
        let (Some(first), Some(last)) = (indices.first(), indices.last()) else {
            return [0.0; 4];
        };
        let length = (last - first + 2) as f64;
        self.weights.clear();
        self.weights.extend(indices.iter().map(|index| {
            let turn = std::f64::consts::TAU * ((index - first) as f64 + 1.0) / length;
            0.5 - 0.5 * turn.cos()
        }));
        self.lags.clear();
        self.lags
            .resize(usize::try_from(last - first + 1).unwrap_or_default(), 0.0);
        let rows = self.gram.chunks_exact(self.cells.max(1));
        for ((row, early), weight) in rows.zip(indices).zip(&self.weights) {
            for ((value, late), other) in row.iter().zip(indices).zip(&self.weights) {
                let apart = usize::try_from(early.abs_diff(*late)).unwrap_or(usize::MAX);
                if let Some(sum) = self.lags.get_mut(apart) {
                    *sum += value * weight * other;
                }
            }
        }
        let power = |step: u32| -> f64 {
            let turn = std::f64::consts::TAU * f64::from(step) * SPACING_HZ / RATE_HZ;
            // Chebyshev's recurrence, `cos (n + 1) x = 2 cos x cos n x - cos (n - 1) x`: one cosine for each frequency.
            let (mut before, mut cosine) = (turn.cos(), 1.0);
            let (twice, mut power) = (2.0 * before, 0.0);
            for sum in &self.lags {
                power += sum * cosine;
                (before, cosine) = (cosine, twice * cosine - before);
            }
            power.max(0.0)
        };
        let powers = EDGES.map(|steps| steps.map(power).sum::<f64>());
        let all: f64 = powers.iter().sum();
        powers.map(|power| if all <= NOTHING { 0.0 } else { power / all })
    }

    /// The shares of the quarters in the change from cell to cell, ascending, without the least.
    fn energies(&self, indices: &[i64]) -> [f64; 3] {
        let mut quarters = [0.0; 4];
        if let (Some(first), Some(last)) = (indices.first(), indices.last()) {
            let span = (last - first).max(1);
            for (cell, pair) in indices.windows(2).enumerate() {
                let [early, late] = pair else { continue };
                if late - early != 1 {
                    continue;
                }
                let quarter = usize::try_from(4 * (early - first) / span).unwrap_or(0);
                if let Some(sum) = quarters.get_mut(quarter.min(3)) {
                    *sum += self.change(cell);
                }
            }
        }
        quarters.sort_unstable_by(f64::total_cmp);
        let all: f64 = quarters.iter().sum();
        let [_, second, third, largest] = quarters;
        [second, third, largest].map(|sum| if all <= NOTHING { 0.0 } else { sum / all })
    }

    /// How far the mean of the last quarter of the cells lies from that of the first.
    fn step(&self) -> f64 {
        let cells = self.cells;
        let quarter = (cells / 4).max(1);
        let sign = |cell: usize| match cell {
            cell if cell < quarter => -1.0,
            cell if cell + quarter >= cells => 1.0,
            _ => 0.0,
        };
        let mut sum = 0.0;
        for (row, values) in self.gram.chunks_exact(cells.max(1)).enumerate() {
            let signed = values.iter().enumerate().map(|(cell, v)| sign(cell) * v);
            sum += sign(row) * signed.sum::<f64>();
        }
        sum.max(0.0).sqrt() / quarter as f64
    }

    /// Autocorrelation after each lag, from the squared differences: `mean_k (x[t] - x[s])^2 = G[s,s] + G[t,t] - 2 G[s,t]`.
    fn autocorrelations(&self, indices: &[i64], variance: f64) -> [f64; LAGS] {
        let mut squares = [(0.0, 0.0); LAGS];
        let rows = self.gram.chunks_exact(self.cells.max(1)).zip(indices);
        for (cell, (row, early)) in rows.enumerate() {
            let own = row.get(cell).copied().unwrap_or_default();
            let ahead = row.iter().zip(indices).enumerate().skip(cell + 1);
            // Cells do not share an index: what is further on in the row is at least as far apart.
            for (other, (value, late)) in ahead.take(FIRST_LAG + LAGS - 1) {
                let apart = usize::try_from(late - early).unwrap_or(usize::MAX);
                let lag = apart.checked_sub(FIRST_LAG);
                if let Some((sum, pairs)) = lag.and_then(|lag| squares.get_mut(lag)) {
                    *sum += own + self.at(other, other) - 2.0 * value;
                    *pairs += 1.0;
                }
            }
        }
        squares.map(|(sum, pairs)| {
            if pairs > 0.0 {
                1.0 - sum / pairs / (2.0 * variance)
            } else {
                0.0
            }
        })
    }
}

/// Appends the profile to `out`: [`BANDS`] values for each of the first [`MOST_BLOCKS`] gain blocks, which begin at `blocks`.
pub(super) fn profile(of: &Statistics, valid: &[bool], blocks: &[usize], out: &mut Vec<f32>) {
    let ends = blocks.iter().skip(1).copied().chain([valid.len()]);
    for (begin, end) in blocks.iter().copied().zip(ends).take(MOST_BLOCKS) {
        let block = || {
            let of_block = valid.iter().enumerate().take(end).skip(begin);
            of_block
                .filter(|(_, valid)| **valid)
                .map(|(place, _)| place)
        };
        let count = block().count();
        let mut sums = [(0.0, 0.0); BANDS];
        for (rank, place) in block().enumerate() {
            if let Some((sum, samples)) = sums.get_mut(rank * BANDS / count.max(1)) {
                *sum += of.level(place);
                *samples += 1.0;
            }
        }
        out.extend(sums.map(|(sum, samples)| {
            let mean: f64 = if samples > 0.0 { sum / samples } else { 0.0 };
            (mean + FLOOR).ln() as f32
        }));
    }
}
