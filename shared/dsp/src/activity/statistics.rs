//! The statistics of a window's cells: a matrix of time by subcarrier with gaps in time.

use std::ops::Range;

use super::FRAMES_FOR_NOISE;
use super::course::Deviations;
use crate::lanes;

/// Variance of relative amplitude below which nothing varies: far under the quantisation of any receiver.
const NOTHING: f64 = 1e-12;

/// One window. Its buffers are kept from window to window.
#[derive(Clone, Debug, Default)]
pub(super) struct Statistics {
    /// Grid index of each filled cell, ascending.
    indices: Vec<i64>,
    /// Frames in each filled cell.
    frames: Vec<u32>,
    /// Mean normalised amplitude, one row per filled cell, all samples of a frame.
    means: Vec<f64>,
    /// The sum of each column of `means`.
    columns: Vec<f64>,
    /// Samples of a row of `means`.
    samples: usize,
    /// Valid samples of a frame: the sum of its squared normalised amplitudes.
    valid: usize,
    /// Live subcarriers: position among the samples, and gain block.
    live: Vec<(usize, usize)>,
    /// Mean amplitude of each live subcarrier over the window.
    levels: Vec<f64>,
    /// The live subcarriers as ranges of neighbours.
    runs: Vec<Range<usize>>,
    /// Relative deviation `z`, one row per filled cell, live subcarriers only.
    deviations: Vec<f64>,
    /// Deviation of the live subcarriers that is not relative.
    fluctuations: Vec<f64>,
    /// Differences `d` of neighbouring filled cells.
    differences: Vec<f64>,
    /// One value per live subcarrier, for quantiles.
    spread: Vec<f64>,
    /// The coherent share of the window whose features were computed last.
    coherent: f64,
}

impl Statistics {
    pub(super) fn begin(&mut self) {
        self.indices.clear();
        self.frames.clear();
        self.means.clear();
    }

    /// Takes a filled cell: its sums over `frames` frames, one per sample.
    pub(super) fn push_cell(&mut self, index: i64, frames: u32, sums: &[f32]) {
        self.indices.push(index);
        self.frames.push(frames);
        self.samples = sums.len();
        let frames = f64::from(frames.max(1));
        self.means
            .extend(sums.iter().map(|sum| f64::from(*sum) / frames));
    }

    /// What the live subcarriers deviate by, of the window whose features were computed last: not relative to their mean as there, so
    /// that a weak one, whose noise is as large as a strong one's, counts for little.
    pub(super) fn fluctuations(&mut self) -> Deviations<'_> {
        let width = self.live.len();
        self.fluctuations.clear();
        for row in self.deviations.chunks_exact(width.max(1)) {
            let pairs = row.iter().zip(&self.levels);
            self.fluctuations.extend(pairs.map(|(z, level)| z * level));
        }
        Deviations {
            rows: &self.fluctuations,
            width,
            values: width,
            indices: &self.indices,
            coherent: self.coherent,
        }
    }

    /// Mean normalised amplitude of a sample over the window.
    pub(super) fn level(&self, position: usize) -> f64 {
        let sum = self.columns.get(position).copied().unwrap_or_default();
        sum / self.indices.len().max(1) as f64
    }

    /// Finds the live subcarriers, those valid and not in a deep fade, and gives their number.
    pub(super) fn select(&mut self, valid: &[bool], blocks: &[usize], deep_fade: f64) -> usize {
        self.live.clear();
        self.levels.clear();
        self.valid = valid.iter().filter(|valid| **valid).count();
        let cells = self.indices.len().max(1) as f64;
        self.sum_columns();
        let mut block = 0;
        for (position, (valid, sum)) in valid.iter().zip(&self.columns).enumerate() {
            while blocks.get(block + 1).is_some_and(|next| *next <= position) {
                block += 1;
            }
            let level = sum / cells;
            if *valid && level >= deep_fade {
                self.live.push((position, block));
                self.levels.push(level);
            }
        }
        self.live.len()
    }

    /// Sums each column of the cells' means.
    fn sum_columns(&mut self) {
        self.columns.clear();
        self.columns.resize(self.samples, 0.0);
        for row in self.means.chunks_exact(self.samples.max(1)) {
            for (sum, mean) in self.columns.iter_mut().zip(row) {
                *sum += mean;
            }
        }
    }

    /// Appends the features of the module's table to `out`. `select` must have found live subcarriers.
    pub(super) fn features(&mut self, out: &mut Vec<f32>) {
        let coherent = self.coherent_share();
        self.coherent = coherent;
        self.fill_deviations();
        self.fill_differences();
        let width = self.live.len();
        let variance = mean_square(&self.deviations);
        let change = mean_square(&self.differences);
        let scale = coherent.sqrt();

        for rows in [&self.deviations, &self.differences] {
            root_mean_squares(rows, width, &mut self.spread);
            out.extend([0.1, 0.5, 0.9].map(|q| (scale * quantile(&mut self.spread, q)) as f32));
        }
        let smooth = shared_with_neighbour(&self.deviations, &self.live, 2);
        out.push((scale * smooth.max(0.0).sqrt()) as f32);
        let smooth = shared_with_neighbour(&self.differences, &self.live, 2);
        out.push((scale * smooth.max(0.0).sqrt()) as f32);
        for lag in [1, 2] {
            out.push((coherent * self.autocorrelation(lag, variance)) as f32);
        }
        for lag in [1, 4] {
            let product = shared_with_neighbour(&self.deviations, &self.live, lag);
            out.push((coherent * quotient(product, variance)) as f32);
        }
        let product = shared_with_neighbour(&self.differences, &self.live, 1);
        out.push((coherent * quotient(product, change)) as f32);
    }

    /// The share of the variance between cells that noise inside the cells does not explain, 0 to 1.
    ///
    /// Every frame's normalised amplitudes have a mean square of 1 over the valid subcarriers, so the spread inside a cell
    /// follows from its mean alone; deep fades take part on both sides and change little.
    fn coherent_share(&self) -> f64 {
        let cells = self.indices.len().max(1) as f64;
        let frames: f64 = self.frames.iter().map(|n| f64::from(*n)).sum();
        if frames / cells < FRAMES_FOR_NOISE {
            return 1.0;
        }
        let (mut inside, mut freedom, mut share_of_mean) = (0.0, 0.0, 0.0);
        let (mut square, mut count) = (0.0, 0.0);
        let norm = self.valid as f64;
        for (row, &n) in self.means.chunks_exact(self.samples).zip(&self.frames) {
            let n = f64::from(n);
            let energy: f64 = lanes::sum(row, |y: f64| y * y);
            inside += n * (norm - energy).max(0.0);
            freedom += n - 1.0;
            share_of_mean += 1.0 / n;
            square += energy;
            count += 1.0;
        }
        let of_mean = lanes::sum(&self.columns, |sum: f64| sum * sum) / count;
        let between = (square - of_mean) / (count - 1.0_f64).max(1.0);
        if between <= NOTHING * norm || freedom <= 0.0 {
            return 0.0;
        }
        let noise = inside / freedom * share_of_mean / count;
        (1.0 - noise / between).clamp(0.0, 1.0)
    }

    fn fill_deviations(&mut self) {
        self.runs.clear();
        for run in self.live.chunk_by(|(one, _), (next, _)| one + 1 == *next) {
            let begin = run.first().map_or(0, |(position, _)| *position);
            self.runs.push(begin..begin + run.len());
        }
        self.deviations.clear();
        for row in self.means.chunks_exact(self.samples.max(1)) {
            let mut levels = self.levels.as_slice();
            for run in &self.runs {
                let row = row.get(run.clone()).unwrap_or_default();
                let (of_run, rest) = levels.split_at(row.len().min(levels.len()));
                levels = rest;
                let pairs = row.iter().zip(of_run);
                self.deviations
                    .extend(pairs.map(|(y, level)| y / level - 1.0));
            }
        }
    }

    fn fill_differences(&mut self) {
        let width = self.live.len();
        self.differences.clear();
        for (early, late) in pairs(&self.indices, 1) {
            let early = row(&self.deviations, early, width);
            let late = row(&self.deviations, late, width);
            self.differences
                .extend(late.iter().zip(early).map(|(late, early)| late - early));
        }
    }

    /// Autocorrelation of the deviations after `lag` cells, from the squared differences (the variogram: gaps do no harm).
    fn autocorrelation(&self, lag: i64, variance: f64) -> f64 {
        let width = self.live.len();
        let (mut sum, mut count) = (0.0, 0.0);
        for (early, late) in pairs(&self.indices, lag) {
            let early = row(&self.deviations, early, width);
            let late = row(&self.deviations, late, width);
            sum += lanes::sum_pairs(late, early, |late: f64, early: f64| {
                (late - early) * (late - early)
            });
            count += width as f64;
        }
        if count == 0.0 || variance <= NOTHING {
            return 0.0;
        }
        1.0 - sum / count / (2.0 * variance)
    }
}

/// Positions of the filled cells that lie `lag` cells apart.
fn pairs(indices: &[i64], lag: i64) -> impl Iterator<Item = (usize, usize)> + '_ {
    indices
        .iter()
        .enumerate()
        .filter_map(move |(early, index)| {
            let ahead = indices
                .iter()
                .enumerate()
                .skip(early + 1)
                .take(usize::try_from(lag).unwrap_or(0));
            ahead
                .into_iter()
                .find(|(_, later)| **later == index.saturating_add(lag))
                .map(|(late, _)| (early, late))
        })
}

fn row(values: &[f64], index: usize, width: usize) -> &[f64] {
    let range: Range<usize> = index * width..(index + 1) * width;
    values.get(range).unwrap_or(&[])
}

/// Mean over cells, and over pairs of live subcarriers `lag` apart in one gain block, of the product of their values.
fn shared_with_neighbour(values: &[f64], live: &[(usize, usize)], lag: usize) -> f64 {
    if live.is_empty() {
        return 0.0;
    }
    let (mut sum, mut count) = (0.0, 0.0);
    let mut begin = 0;
    for block in live.chunk_by(|(_, one), (_, next)| one == next) {
        let range = begin..begin + block.len();
        begin = range.end;
        for row in values.chunks_exact(live.len()) {
            let row = row.get(range.clone()).unwrap_or_default();
            let ahead = row.get(lag..).unwrap_or_default();
            sum += lanes::sum_pairs(row, ahead, |low: f64, high: f64| low * high);
            count += ahead.len() as f64;
        }
    }
    if count == 0.0 { 0.0 } else { sum / count }
}

/// Root of the mean square of each column.
fn root_mean_squares(values: &[f64], width: usize, out: &mut Vec<f64>) {
    out.clear();
    out.resize(width, 0.0);
    let mut rows = 0.0;
    for row in values.chunks_exact(width.max(1)) {
        for (sum, value) in out.iter_mut().zip(row) {
            *sum += value * value;
        }
        rows += 1.0;
    }
    for sum in out.iter_mut() {
        *sum = if rows == 0.0 {
            0.0
        } else {
            (*sum / rows).sqrt()
        };
    }
}

fn mean_square(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    lanes::sum(values, |value: f64| value * value) / values.len() as f64
}

fn quotient(part: f64, whole: f64) -> f64 {
    if whole <= NOTHING { 0.0 } else { part / whole }
}

/// Quantile of the values with linear interpolation between neighbours, 0 where there are none. Reorders them.
fn quantile(values: &mut [f64], q: f64) -> f64 {
    crate::robust::quantile(values, q).unwrap_or_default()
}
