//! `hampel`: outliers in time, subcarrier by subcarrier, as [`dsp::hampel`] has them over the whole series.
//!
//! A row is looked at once `half` rows of its link have followed, so rows leave that much later. The order of all rows is
//! kept. A link that falls silent holds nothing up: once [`SILENT_US`] have passed its rows are taken as its last ones.

use std::collections::{BTreeMap, VecDeque};

use dsp::hampel::{Scratch, hampel};
use serde::{Deserialize, Serialize};

use super::{StageError, StateError, Work, read, write};
use crate::processing::batch::{Batch, Fate, Links, Row};
use crate::processing::stage;

/// Input time after which a link's series is taken to have ended, microseconds.
const SILENT_US: i64 = 2_000_000;

/// A series of one link: its latest rows as they came.
#[derive(Default, Serialize, Deserialize)]
struct Series {
    /// Original values of up to `2 * half + 1` rows, oldest first.
    originals: VecDeque<Vec<f32>>,
    /// How many of them were looked at.
    done: usize,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    /// Rows in order; true: it may leave.
    waiting: VecDeque<(Row, bool)>,
    series: BTreeMap<u32, Series>,
}

/// The filter.
pub struct Hampel {
    half: usize,
    k: f32,
    state: State,
    scratch: Scratch,
    column: Vec<f32>,
}

impl Hampel {
    #[allow(clippy::cast_possible_truncation)]
    pub fn new(of: &stage::Hampel) -> Self {
        Self {
            half: of.half,
            k: of.k as f32,
            state: State::default(),
            scratch: Scratch::default(),
            column: Vec::new(),
        }
    }

    fn take(&mut self, row: Row, out: &mut Vec<Row>) {
        let (link, counts) = (row.link, row.fate == Fate::Taken);
        let silent = |(oldest, ready): &(Row, bool)| {
            !ready && row.time_us.saturating_sub(oldest.time_us) >= SILENT_US
        };
        while let Some(ended) = self.state.waiting.iter().find(|one| silent(one)) {
            let ended = ended.0.link;
            self.look(ended, true);
        }
        if counts {
            let series = self.state.series.entry(link).or_default();
            // Another layout has another number, so that rows of a link are of one length.
            series.originals.push_back(row.values.clone());
        }
        self.state.waiting.push_back((row, !counts));
        if counts {
            self.look(link, false);
        }
        while self.state.waiting.front().is_some_and(|(_, ready)| *ready) {
            out.extend(self.state.waiting.pop_front().map(|(row, _)| row));
        }
    }

    /// Filters the rows of the link that have all their neighbours; with `ended`, those that will get no more.
    fn look(&mut self, link: u32, ended: bool) {
        let Some(series) = self.state.series.get_mut(&link) else {
            return;
        };
        loop {
            let count = series.originals.len();
            let center = series.done;
            if center >= count || (!ended && center + self.half >= count) {
                break;
            }
            let begin = center.saturating_sub(self.half);
            let waiting = self
                .state
                .waiting
                .iter_mut()
                .find(|(row, ready)| !ready && row.link == link);
            if let Some((row, ready)) = waiting {
                *ready = true;
                for (column, value) in row.values.iter_mut().enumerate() {
                    self.column.clear();
                    let around = series
                        .originals
                        .iter()
                        .skip(begin)
                        .take(center + self.half + 1 - begin);
                    self.column
                        .extend(around.filter_map(|values| values.get(column)));
                    hampel(&mut self.column, self.half, self.k, &mut self.scratch);
                    if let Some(filtered) = self.column.get(center - begin) {
                        *value = *filtered;
                    }
                }
            }
            series.done += 1;
            if series.done > self.half {
                series.originals.pop_front();
                series.done -= 1;
            }
        }
        if ended {
            self.state.series.remove(&link);
        }
    }
}

impl Work for Hampel {
    fn push(&mut self, batch: Batch, _: &mut Links) -> Result<Batch, StageError> {
        let Batch::Rows(rows) = batch else {
            return Err(StageError::Input);
        };
        let mut out = Vec::with_capacity(rows.len());
        for row in rows {
            self.take(row, &mut out);
        }
        Ok(Batch::Rows(out))
    }

    fn finish(&mut self, _: &mut Links) -> Result<Option<Batch>, StageError> {
        let links: Vec<u32> = self.state.series.keys().copied().collect();
        for link in links {
            self.look(link, true);
        }
        let rest = self.state.waiting.drain(..).map(|(row, _)| row);
        Ok(Some(Batch::Rows(rest.collect())))
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        write(&self.state)
    }

    fn restore(&mut self, state: &[u8], _: &Links) -> Result<(), StateError> {
        self.state = read(state)?;
        Ok(())
    }
}
