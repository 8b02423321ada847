//! `doppler`: spectra of rows on a regular clock, by [`dsp::doppler`].
//!
//! A spectrum is a row whose values are the powers of its bins, at the time of the last row in its window.

use std::collections::BTreeMap;

use dsp::doppler::{Doppler, Shape, State};
use serde::{Deserialize, Serialize};

use super::{StageError, StateError, Work, read, write};
use crate::processing::batch::{Batch, Fate, Links, Row};

/// [`State`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "State")]
struct Written {
    ring: Vec<f32>,
    next: usize,
    filled: usize,
    since: usize,
    previous: Vec<f32>,
    previous_us: Option<i64>,
    tick_us: f64,
}

#[derive(Serialize, Deserialize)]
struct Kept(#[serde(with = "Written")] State);

/// The transform, one for each link.
pub struct Spectra {
    shape: Shape,
    series: BTreeMap<u32, Doppler>,
}

impl Spectra {
    /// Of a shape that was checked before.
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            series: BTreeMap::new(),
        }
    }

    fn take(&mut self, row: &mut Row) -> Result<bool, StageError> {
        let doppler = match self.series.get_mut(&row.link) {
            Some(doppler) => doppler,
            None => {
                let new = Doppler::new(row.values.len(), self.shape);
                let new = new.map_err(|_| StageError::Input)?;
                self.series.entry(row.link).or_insert(new)
            }
        };
        let fresh = doppler.push(row.sample_us, &row.values);
        if fresh {
            row.values.clear();
            row.values.extend_from_slice(doppler.power());
        }
        Ok(fresh)
    }
}

impl Work for Spectra {
    fn push(&mut self, batch: Batch, _: &mut Links) -> Result<Batch, StageError> {
        let Batch::Rows(rows) = batch else {
            return Err(StageError::Input);
        };
        let mut out = Vec::new();
        for mut row in rows.into_iter().filter(|row| row.fate == Fate::Taken) {
            if self.take(&mut row)? {
                out.push(row);
            }
        }
        Ok(Batch::Rows(out))
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        let keep = |(link, doppler): (&u32, &Doppler)| (*link, Kept(doppler.state()));
        let kept: BTreeMap<u32, Kept> = self.series.iter().map(keep).collect();
        write(&kept)
    }

    fn restore(&mut self, state: &[u8], _: &Links) -> Result<(), StateError> {
        let kept: BTreeMap<u32, Kept> = read(state)?;
        for (link, Kept(state)) in kept {
            let doppler = Doppler::new(state.previous.len(), self.shape).ok();
            let Some(mut doppler) = doppler else {
                return Err(StateError::other());
            };
            if !doppler.resume(state) {
                return Err(StateError::other());
            }
            self.series.insert(link, doppler);
        }
        Ok(())
    }
}
