//! `pca`: rows projected onto the principal components of the rows so far, by [`dsp::pca`].
//!
//! Each link has components of its own, which are computed every so many rows; those before the first time are left out.
//! What was lost, repeated or late passes without values.

use std::collections::BTreeMap;

use dsp::pca::{Pca, State};
use serde::{Deserialize, Serialize};

use super::{StageError, StateError, Work, read, write};
use crate::processing::batch::{Batch, Fate, Links, Row};
use crate::processing::stage;

struct Series {
    pca: Pca,
    width: usize,
    rows: u64,
}

/// [`State`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "State")]
struct Written {
    frames: u64,
    mean: Vec<f32>,
    covariance: Vec<f32>,
    components: Vec<f32>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    width: usize,
    rows: u64,
    #[serde(with = "Written")]
    state: State,
}

/// The components, of each link for itself.
pub struct Components {
    count: usize,
    memory: f32,
    every: u64,
    series: BTreeMap<u32, Series>,
}

impl Components {
    #[allow(clippy::cast_precision_loss)]
    pub fn new(of: &stage::Pca) -> Self {
        Self {
            count: of.components,
            memory: of.memory_rows as f32,
            every: of.every_rows as u64,
            series: BTreeMap::new(),
        }
    }

    /// Whether there is anything to give.
    fn take(&mut self, row: &mut Row) -> bool {
        row.samples.clear();
        if row.fate != Fate::Taken {
            row.values.clear();
            return true;
        }
        let (width, memory) = (row.values.len(), self.memory);
        let series = self.series.entry(row.link).or_insert_with(|| Series {
            pca: Pca::new(width, memory),
            width,
            rows: 0,
        });
        if !series.pca.push(&row.values) {
            return false;
        }
        series.rows += 1;
        if series.rows.is_multiple_of(self.every) {
            series.pca.decompose();
        }
        if series.rows < self.every {
            return false;
        }
        let count = self.count.min(series.pca.channels());
        let values = std::mem::take(&mut row.values);
        series.pca.project(&values, 0..count, &mut row.values);
        true
    }
}

impl Work for Components {
    fn push(&mut self, batch: Batch, _: &mut Links) -> Result<Batch, StageError> {
        let Batch::Rows(mut rows) = batch else {
            return Err(StageError::Input);
        };
        rows.retain_mut(|row| self.take(row));
        Ok(Batch::Rows(rows))
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        let keep = |(link, series): (&u32, &Series)| {
            let kept = Kept {
                width: series.width,
                rows: series.rows,
                state: series.pca.state(),
            };
            (*link, kept)
        };
        let kept: BTreeMap<u32, Kept> = self.series.iter().map(keep).collect();
        write(&kept)
    }

    fn restore(&mut self, state: &[u8], _: &Links) -> Result<(), StateError> {
        let kept: BTreeMap<u32, Kept> = read(state)?;
        for (link, Kept { width, rows, state }) in kept {
            let mut pca = Pca::new(width, self.memory);
            if !pca.resume(state) {
                return Err(StateError::other());
            }
            self.series.insert(link, Series { pca, width, rows });
        }
        Ok(())
    }
}
