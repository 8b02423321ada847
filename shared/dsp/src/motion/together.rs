//! Frames that come in bursts, put together.

use crate::autocorrelation::Series;

/// Frames within so many microseconds of the first of a burst are of it.
pub const BURST_US: i64 = 5_000;

/// The means of bursts; keeps its memory.
#[derive(Debug, Default)]
pub(super) struct Together {
    times_us: Vec<i64>,
    rows: Vec<f32>,
    levels_db: Vec<f32>,
}

impl Together {
    /// Puts the rows of `series` together, and their levels where there is one for each row.
    pub fn take(&mut self, series: Series<'_>, levels_db: &[f32]) {
        self.times_us.clear();
        self.rows.clear();
        self.levels_db.clear();
        let levelled = levels_db.len() == series.times_us.len();
        let mut levels = levels_db.iter();
        let (mut first_us, mut count, mut since_us) = (None, 0_u32, 0);
        for (row, time_us) in series.iter().zip(series.times_us) {
            let level = levels.next().copied().filter(|_| levelled);
            let first = *first_us.get_or_insert(*time_us);
            if count > 0 && time_us.saturating_sub(first) < BURST_US {
                let begin = self.rows.len().saturating_sub(series.width);
                let sums = self.rows.get_mut(begin..).unwrap_or_default();
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                if let (Some(sum), Some(level)) = (self.levels_db.last_mut(), level) {
                    *sum += level;
                }
                since_us += time_us.saturating_sub(first);
                count += 1;
                continue;
            }
            self.close(series.width, count, since_us);
            self.times_us.push(*time_us);
            self.rows.extend_from_slice(row);
            self.levels_db.extend(level);
            (first_us, count, since_us) = (Some(*time_us), 1, 0);
        }
        self.close(series.width, count, since_us);
    }

    /// Makes means of the sums of the burst taken last.
    fn close(&mut self, width: usize, count: u32, since_us: i64) {
        if count < 2 {
            return;
        }
        let share = (1.0 / f64::from(count)) as f32;
        let begin = self.rows.len().saturating_sub(width);
        let sums = self.rows.get_mut(begin..).unwrap_or_default();
        sums.iter_mut().for_each(|sum| *sum *= share);
        if let Some(sum) = self.levels_db.last_mut() {
            *sum *= share;
        }
        if let Some(time) = self.times_us.last_mut() {
            *time += since_us / i64::from(count);
        }
    }

    /// What was taken last, of rows of `width`.
    pub fn series(&self, width: usize) -> (Series<'_>, &[f32]) {
        let series = Series {
            times_us: &self.times_us,
            rows: &self.rows,
            width,
        };
        (series, &self.levels_db)
    }
}
