//! A regular clock: frames are added up in cells of [`CELL_US`].

use super::{CELL_US, Insufficient, MIN_CELLS, MIN_FILLED};

/// A ring of cells, each with a row of sums; cell `i` of the clock lies at `i` modulo their number.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    cells: Vec<Cell>,
    /// Values of a row.
    width: usize,
    sums: Vec<f32>,
    newest: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    index: i64,
    frames: u32,
}

const EMPTY: Cell = Cell {
    index: i64::MIN,
    frames: 0,
};

/// A cell that holds frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filled<'a> {
    pub index: i64,
    pub frames: u32,
    /// The row added up over its frames.
    pub sums: &'a [f32],
}

impl Grid {
    /// A clock that reaches `cells` cells back from the newest.
    pub fn new(cells: usize, width: usize) -> Self {
        Self {
            cells: vec![EMPTY; cells],
            width,
            sums: vec![0.0; cells * width],
            newest: None,
        }
    }

    /// Begins anew with rows of another width.
    pub fn begin(&mut self, width: usize) {
        self.clear();
        self.width = width;
        self.sums.clear();
        self.sums.resize(self.cells.len() * width, 0.0);
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.cells.fill(EMPTY);
        self.newest = None;
    }

    /// Counts a frame of that time, and gives the sums of its cell. A clock that jumps back further than the cells reach begins
    /// anew.
    pub fn add(&mut self, time_us: i64) -> Option<&mut [f32]> {
        let index = time_us.div_euclid(CELL_US);
        let reach = self.cells.len() as i64;
        match self.newest {
            Some(newest) if index <= newest.saturating_sub(reach) => {
                self.clear();
                self.newest = Some(index);
            }
            newest => self.newest = Some(newest.map_or(index, |n| n.max(index))),
        }
        let slot = usize::try_from(index.checked_rem_euclid(reach)?).ok()?;
        let cell = self.cells.get_mut(slot)?;
        let row = self
            .sums
            .get_mut(slot * self.width..(slot + 1) * self.width)?;
        if cell.index != index {
            *cell = Cell { index, frames: 0 };
            row.fill(0.0);
        }
        cell.frames += 1;
        Some(row)
    }

    /// The filled cells of the window from `start_us` (inclusive) to `end_us` (exclusive), oldest first; only whole cells count.
    ///
    /// # Errors
    /// Where the window is too short or too long, or too few of its cells hold a frame.
    pub fn window(
        &self,
        start_us: i64,
        end_us: i64,
    ) -> Result<impl Iterator<Item = Filled<'_>>, Insufficient> {
        let first = start_us.saturating_add(CELL_US - 1).div_euclid(CELL_US);
        let span = end_us.div_euclid(CELL_US).saturating_sub(first);
        let cells = usize::try_from(span).unwrap_or(0);
        if !(MIN_CELLS..=self.cells.len()).contains(&cells) {
            return Err(Insufficient::Span { cells });
        }
        let needed = (MIN_FILLED * cells as f64).ceil() as usize;
        let window = (first..first.saturating_add(span)).filter_map(|index| self.at(index));
        let filled = window.clone().count();
        if filled < needed {
            return Err(Insufficient::Cells {
                filled,
                cells,
                needed,
            });
        }
        Ok(window)
    }

    fn at(&self, index: i64) -> Option<Filled<'_>> {
        let slot = usize::try_from(index.checked_rem_euclid(self.cells.len() as i64)?).ok()?;
        let cell = self.cells.get(slot)?;
        let sums = self.sums.get(slot * self.width..(slot + 1) * self.width)?;
        (cell.index == index && cell.frames > 0).then_some(Filled {
            index,
            frames: cell.frames,
            sums,
        })
    }
}
