//! Frames on a regular clock: means of cells, and ticks interpolated between the cells' true mean times.

use crate::lanes;

use super::{LONGEST_WINDOW_S, RATE_HZ, SHORTEST_WINDOW_S, Unknown};

/// Length of a cell, microseconds.
const CELL_US: i64 = 100_000;
/// Cells kept: the longest window and some.
const CELLS: usize = (LONGEST_WINDOW_S * RATE_HZ) as usize + 40;
/// Streams whose sums are read together: they lie side by side.
const TOGETHER: usize = 16;
/// A tick is measured where the cells on both sides lie at most so many cells apart.
const LONGEST_BRIDGE: f64 = 3.5;

/// One cell of the clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Number of the cell since time 0.
    pub index: i64,
    /// Frames in it.
    pub frames: u32,
    /// Sum of the times after the cell's beginning, microseconds.
    pub after_us: i64,
    /// Sum over frames and amplitude streams of the squares.
    pub squares: f64,
}

const EMPTY: Cell = Cell {
    index: i64::MIN,
    frames: 0,
    after_us: 0,
    squares: 0.0,
};

/// What a window holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub span_s: f64,
    pub coverage: f64,
    pub frames_per_tick: f64,
}

/// A ring of cells with the sums of each stream: amplitudes, then pairs as real and imaginary parts.
#[derive(Clone, Debug)]
pub struct Cells {
    amplitudes: usize,
    pairs: usize,
    cells: Vec<Cell>,
    sums: Vec<f32>,
    newest: Option<i64>,
}

/// The ticks of the window that was chosen last, over a link's cells; serves any number of links, one after the other.
#[derive(Debug, Default)]
pub struct Ticks {
    /// Slots of the window's filled cells in order, and their mean times in cells after the window's first tick.
    filled: Vec<(usize, f64)>,
    /// For each tick: the place in `filled` before it and the weight of the one after it.
    ticks: Vec<(usize, f32)>,
    covered: Vec<bool>,
    column: Vec<f32>,
}

impl Ticks {
    /// Which ticks of the window have measured neighbours.
    pub fn covered(&self) -> &[bool] {
        &self.covered
    }
}

impl Cells {
    pub fn new(amplitudes: usize, pairs: usize) -> Self {
        Self {
            amplitudes,
            pairs,
            cells: vec![EMPTY; CELLS],
            sums: vec![0.0; CELLS * (amplitudes + 2 * pairs)],
            newest: None,
        }
    }

    fn width(&self) -> usize {
        self.amplitudes + 2 * self.pairs
    }

    pub fn push(&mut self, time_us: i64, values: &[f32]) -> bool {
        let index = time_us.div_euclid(CELL_US);
        let reach = CELLS as i64;
        match self.newest {
            Some(newest) if index <= newest.saturating_sub(reach) => {
                self.clear();
                self.newest = Some(index);
            }
            newest => self.newest = Some(newest.map_or(index, |n| n.max(index))),
        }
        let slot = index.rem_euclid(reach) as usize;
        let width = self.width();
        let (Some(cell), Some(sums)) = (
            self.cells.get_mut(slot),
            self.sums.get_mut(slot * width..(slot + 1) * width),
        ) else {
            return false;
        };
        if cell.index != index {
            *cell = Cell { index, ..EMPTY };
            sums.fill(0.0);
        }
        cell.frames += 1;
        cell.after_us += time_us.rem_euclid(CELL_US);
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
        let amplitudes = values.get(..self.amplitudes).unwrap_or_default();
        cell.squares += f64::from(lanes::sum(amplitudes, |value: f32| value * value));
        true
    }

    /// The cells that hold a frame, each with its sums.
    pub fn kept(&self) -> Vec<(Cell, Vec<f32>)> {
        let width = self.width();
        let filled = self.cells.iter().enumerate();
        let filled = filled.filter(|(_, cell)| cell.frames > 0);
        filled
            .map(|(slot, cell)| {
                let sums = self.sums.get(slot * width..(slot + 1) * width);
                (*cell, sums.unwrap_or_default().to_vec())
            })
            .collect()
    }

    /// Takes up what [`kept`](Self::kept) gave.
    pub fn resume(&mut self, kept: &[(Cell, Vec<f32>)]) -> bool {
        let width = self.width();
        self.clear();
        for (cell, sums) in kept {
            let slot = cell.index.rem_euclid(CELLS as i64) as usize;
            let (Some(place), Some(into)) = (
                self.cells.get_mut(slot),
                self.sums.get_mut(slot * width..(slot + 1) * width),
            ) else {
                return false;
            };
            if sums.len() != width || place.frames > 0 {
                return false;
            }
            *place = *cell;
            into.copy_from_slice(sums);
            self.newest = self.newest.max(Some(cell.index));
        }
        true
    }

    pub fn clear(&mut self) {
        self.cells.fill(EMPTY);
        self.newest = None;
    }

    /// Chooses the window that ends at `end_us` and lays its ticks: in the middle of each cell, from the first filled one.
    pub fn window(&self, end_us: i64, window_s: f64, into: &mut Ticks) -> Result<Window, Unknown> {
        let end = end_us.div_euclid(CELL_US);
        let asked = ((window_s * RATE_HZ) as i64).min(CELLS as i64);
        let mut frames = 0_u64;
        into.filled.clear();
        let mut first = None;
        for index in end.saturating_sub(asked)..end {
            let slot = index.rem_euclid(CELLS as i64) as usize;
            let Some(cell) = self.cells.get(slot) else {
                continue;
            };
            if cell.index != index || cell.frames == 0 {
                continue;
            }
            let first = *first.get_or_insert(index);
            let after = cell.after_us as f64 / f64::from(cell.frames) / CELL_US as f64;
            into.filled
                .push((slot, (index - first) as f64 + after - 0.5));
            frames += u64::from(cell.frames);
        }
        let ticks = usize::try_from(first.map_or(0, |first| end - first)).unwrap_or(0);
        let span_s = ticks as f64 / RATE_HZ;
        if span_s < SHORTEST_WINDOW_S - 1e-9 {
            return Err(Unknown::TooShort { span_s });
        }
        into.ticks.clear();
        into.covered.clear();
        let at = |place: usize| into.filled.get(place).map(|(_, time)| *time);
        let mut left = 0;
        for tick in 0..ticks {
            let time = tick as f64;
            while at(left + 1).is_some_and(|next| next <= time) {
                left += 1;
            }
            let Some(before) = at(left) else { break };
            let (weight, covered) = match at(left + 1) {
                Some(after) => (
                    ((time - before) / (after - before)).clamp(0.0, 1.0),
                    after - before <= LONGEST_BRIDGE,
                ),
                None => (0.0, time - before <= LONGEST_BRIDGE),
            };
            into.ticks.push((left, weight as f32));
            into.covered.push(covered);
        }
        let covered = into.covered.iter().filter(|covered| **covered).count();
        Ok(Window {
            span_s,
            coverage: covered as f64 / (window_s * RATE_HZ).min(ticks as f64).max(1.0),
            frames_per_tick: frames as f64 / into.filled.len().max(1) as f64,
        })
    }

    /// Writes the amplitude streams of the window, one after the other, and gives their mean variance inside cells.
    pub fn amplitudes(&self, ticks: &mut Ticks, out: &mut Vec<f32>) -> f64 {
        out.clear();
        let width = self.width();
        let filled = ticks.filled.len();
        for begin in (0..self.amplitudes).step_by(TOGETHER) {
            let streams = begin..(begin + TOGETHER).min(self.amplitudes);
            ticks.column.clear();
            ticks.column.resize(filled * streams.len(), 0.0);
            for (place, (slot, _)) in ticks.filled.iter().enumerate() {
                let sums = slot * width + streams.start..slot * width + streams.end;
                let (Some(cell), Some(sums)) = (self.cells.get(*slot), self.sums.get(sums)) else {
                    continue;
                };
                let scale = (cell.frames as f32).recip();
                let column = ticks.column.iter_mut().skip(place).step_by(filled.max(1));
                column.zip(sums).for_each(|(mean, sum)| *mean = sum * scale);
            }
            for column in ticks.column.chunks_exact(filled.max(1)) {
                interpolate(&ticks.ticks, column, out);
            }
        }
        let (mut inside, mut freedom) = (0.0, 0.0);
        for (slot, _) in &ticks.filled {
            let sums = self.sums.get(slot * width..slot * width + self.amplitudes);
            let (Some(cell), Some(sums)) = (self.cells.get(*slot), sums) else {
                continue;
            };
            let squares = lanes::sum(sums, |sum: f32| f64::from(sum) * f64::from(sum));
            inside += cell.squares - squares / f64::from(cell.frames);
            freedom += f64::from(cell.frames - 1);
        }
        (inside / (freedom * self.amplitudes as f64).max(1.0)).max(0.0)
    }

    /// Writes the phase streams of the window, unwrapped over time, and gives their mean variance inside cells (of small
    /// angles: `2 (1 - length of the mean of unit vectors)`).
    pub fn phases(&self, ticks: &mut Ticks, out: &mut Vec<f32>) -> f64 {
        out.clear();
        let width = self.width();
        let (mut inside, mut count) = (0.0, 0.0);
        for pair in 0..self.pairs {
            let place = self.amplitudes + 2 * pair;
            ticks.column.clear();
            let mut previous = 0.0_f64;
            for (slot, _) in &ticks.filled {
                let (Some(cell), Some([re, im])) = (
                    self.cells.get(*slot),
                    self.sums
                        .get(slot * width + place..slot * width + place + 2),
                ) else {
                    continue;
                };
                let (re, im) = (f64::from(*re), f64::from(*im));
                if re != 0.0 || im != 0.0 {
                    previous += crate::phase::wrap(im.atan2(re) - previous);
                }
                ticks.column.push(previous as f32);
                inside += 2.0 * (1.0 - re.hypot(im) / f64::from(cell.frames));
                count += 1.0;
            }
            interpolate(&ticks.ticks, &ticks.column, out);
        }
        inside / f64::max(count, 1.0)
    }
}

fn interpolate(ticks: &[(usize, f32)], column: &[f32], out: &mut Vec<f32>) {
    out.extend(ticks.iter().map(|(left, weight)| {
        let before = column.get(*left).copied().unwrap_or_default();
        let after = column.get(left + 1).copied().unwrap_or(before);
        before + weight * (after - before)
    }));
}
