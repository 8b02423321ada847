//! The rows of one link that its windows still need: a ring of rows in 16 bits a value, most of what a link holds.

use dsp::gain::GainBlocks;

use crate::window::{MOST_NUMBERS, Mark};

/// Rows that a ring grows by at least; an eighth of what is there, where that is more.
const GROWTH: usize = 16;

/// Rows of normalised power, packed ([`GainBlocks::pack`]), oldest first.
#[derive(Debug, Default)]
pub(super) struct Ring {
    width: usize,
    blocks: usize,
    /// Slot of the oldest row.
    first: usize,
    /// Rows kept.
    rows: usize,
    /// A row of `width` for each slot.
    values: Vec<u16>,
    /// One for each gain block of each slot.
    units: Vec<f32>,
    entries: Vec<Entry>,
}

/// What is kept of a frame besides its row.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Time by the device's clock where it has one, else as `Mark::time_us`.
    sample_us: i64,
    mark: Mark,
}

/// The rows of one window, in memory that links share.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    pub sample_us: Vec<i64>,
    pub values: Vec<f32>,
    pub marks: Vec<Mark>,
}

impl Ring {
    /// For the rows of `blocks`.
    pub fn new(blocks: &GainBlocks) -> Self {
        Self {
            width: blocks.width(),
            blocks: blocks.ends().len(),
            ..Self::default()
        }
    }

    /// Appends a packed row with its units. Gives false, and keeps nothing, where the bound on memory is reached.
    pub fn push(&mut self, packed: &[u16], units: &[f32], sample_us: i64, mark: Mark) -> bool {
        if packed.len() != self.width
            || units.len() != self.blocks
            || (self.rows + 1) * self.width > MOST_NUMBERS
        {
            return false;
        }
        if self.rows == self.entries.len() {
            self.grow(Entry { sample_us, mark });
        }
        let slot = self.slot(self.rows);
        let (values, of_blocks) = (slot * self.width, slot * self.blocks);
        let (Some(values), Some(of_blocks), Some(entry)) = (
            self.values.get_mut(values..values + self.width),
            self.units.get_mut(of_blocks..of_blocks + self.blocks),
            self.entries.get_mut(slot),
        ) else {
            return false;
        };
        values.copy_from_slice(packed);
        of_blocks.copy_from_slice(units);
        *entry = Entry { sample_us, mark };
        self.rows += 1;
        true
    }

    /// Makes room in a ring that is full: by little, as this is most of what a link holds.
    fn grow(&mut self, filler: Entry) {
        self.values.rotate_left(self.first * self.width);
        self.units.rotate_left(self.first * self.blocks);
        self.entries.rotate_left(self.first);
        self.first = 0;
        let slots = self.rows + (self.rows / 8).max(GROWTH);
        lengthen(&mut self.values, slots * self.width, 0);
        lengthen(&mut self.units, slots * self.blocks, 0.0);
        lengthen(&mut self.entries, slots, filler);
    }

    /// The slot of a row, counted from the oldest.
    fn slot(&self, row: usize) -> usize {
        let slot = self.first + row;
        let slots = self.entries.len();
        if slot < slots { slot } else { slot - slots }
    }

    fn packed(&self, slot: usize) -> (&[u16], &[f32]) {
        let (values, units) = (slot * self.width, slot * self.blocks);
        let values = self.values.get(values..values + self.width);
        let units = self.units.get(units..units + self.blocks);
        (values.unwrap_or_default(), units.unwrap_or_default())
    }

    /// Whether `row` is the newest row once more, to the last bit.
    pub fn repeats(&self, blocks: &GainBlocks, row: &[f32]) -> bool {
        let Some(newest) = self.rows.checked_sub(1) else {
            return false;
        };
        let (values, units) = self.packed(self.slot(newest));
        let mut begin = 0;
        row.len() == values.len()
            && blocks.ends().iter().zip(units).all(|(end, unit)| {
                let block = begin..*end;
                begin = *end;
                let (row, values) = (row.get(block.clone()), values.get(block));
                let pairs = row
                    .unwrap_or_default()
                    .iter()
                    .zip(values.unwrap_or_default());
                pairs
                    .into_iter()
                    .all(|(row, value)| *row == f32::from(*value) * unit)
            })
    }

    /// Forgets the rows before `time_us`.
    pub fn drop_before(&mut self, time_us: i64) {
        while self.rows > 0
            && self
                .entries
                .get(self.first)
                .is_some_and(|oldest| oldest.mark.time_us < time_us)
        {
            self.first = self.slot(1);
            self.rows -= 1;
        }
    }

    /// Unpacks the rows from `start_us` on and before `end_us`.
    pub fn window(&self, blocks: &GainBlocks, start_us: i64, end_us: i64, out: &mut Unpacked) {
        out.sample_us.clear();
        out.values.clear();
        out.marks.clear();
        for slot in (0..self.rows).map(|row| self.slot(row)) {
            let Some(entry) = self.entries.get(slot) else {
                continue;
            };
            if (start_us..end_us).contains(&entry.mark.time_us) {
                let (values, units) = self.packed(slot);
                out.sample_us.push(entry.sample_us);
                out.marks.push(entry.mark);
                blocks.unpack(values, units, &mut out.values);
            }
        }
    }

    /// Values of a row.
    pub fn width(&self) -> usize {
        self.width
    }
}

fn lengthen<T: Copy>(values: &mut Vec<T>, length: usize, filler: T) {
    values.reserve_exact(length.saturating_sub(values.len()));
    values.resize(length, filler);
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

    fn blocks(width: i16) -> GainBlocks {
        let subcarriers: Vec<i16> = (0..width).collect();
        GainBlocks::new(&subcarriers, &vec![true; subcarriers.len()], 2)
    }

    #[test]
    fn keeps_what_lies_in_the_window_in_order_however_often_it_goes_round() {
        let blocks = blocks(2);
        let mut ring = Ring::new(&blocks);
        let mut out = Unpacked::default();
        for time in 0..1000_i64 {
            // The number of rows kept rises, so that it grows while it goes round.
            ring.drop_before(time - time / 10);
            let number = u16::try_from(time).unwrap();
            assert!(ring.push(&[number, 1, number, 2], &[0.5, 2.0], time + 100, mark(time)));
            ring.window(&blocks, time - time / 20, time, &mut out);
            let times: Vec<i64> = (time - time / 20..time).collect();
            let marks: Vec<i64> = out.marks.iter().map(|mark| mark.time_us).collect();
            let shown: Vec<i64> = out.sample_us.iter().map(|time| time - 100).collect();
            let values: Vec<f32> = times
                .iter()
                .map(|t| *t as f32)
                .flat_map(|t| [0.5 * t, 0.5, 2.0 * t, 4.0])
                .collect();
            assert_eq!((&marks, &shown, &out.values), (&times, &times, &values));
        }
        assert!(ring.entries.len() < 130, "{}", ring.entries.len());
    }

    #[test]
    fn a_row_repeats_only_the_newest_one_and_to_the_last_bit() {
        let blocks = blocks(1);
        let mut ring = Ring::new(&blocks);
        assert!(!ring.repeats(&blocks, &[3.0, 4.0]));
        assert!(ring.push(&[3, 2], &[1.0, 2.0], 0, mark(0)));
        assert!(ring.repeats(&blocks, &[3.0, 4.0]));
        assert!(!ring.repeats(&blocks, &[3.0, 4.000_001]));
        assert!(ring.push(&[5, 2], &[1.0, 2.0], 1, mark(1)));
        assert!(!ring.repeats(&blocks, &[3.0, 4.0]));
        ring.drop_before(2);
        assert!(!ring.repeats(&blocks, &[5.0, 4.0]));
    }

    #[test]
    fn is_bounded() {
        let blocks = blocks(1 << 14);
        let mut ring = Ring::new(&blocks);
        let row = vec![1; 1 << 15];
        let taken = (0..200).filter(|time| ring.push(&row, &[1.0; 2], *time, mark(*time)));
        assert_eq!(taken.count(), 128);
    }
}
