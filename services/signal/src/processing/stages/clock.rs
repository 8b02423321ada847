//! `clock`: rows on a regular clock, as [`dsp::clock::RegularClock`] lays it over the whole series.
//!
//! The ticks of a link begin with its first row. A tick inside a gap of more than [`LONGEST_BRIDGE`] periods is left out.

use std::collections::BTreeMap;

use dsp::clock::LONGEST_BRIDGE;
use serde::{Deserialize, Serialize};

use super::{StageError, StateError, Work, read, write};
use crate::processing::batch::{Batch, Fate, Links, Row};
use crate::processing::stage;

/// Ticks between two rows at most: a clock that jumps is no reason to make millions of nothing.
const MOST_TICKS: f64 = 10_000_000.0;

#[derive(Serialize, Deserialize)]
struct Beat {
    /// Time of the first tick.
    first_us: i64,
    /// Number of the next tick.
    next: u64,
    before: Row,
}

/// The clock.
pub struct Clock {
    period_us: f64,
    beats: BTreeMap<u32, Beat>,
}

impl Clock {
    pub fn new(of: &stage::Clock) -> Self {
        Self {
            period_us: 1e6 / of.rate_hz,
            beats: BTreeMap::new(),
        }
    }
}

impl Work for Clock {
    fn push(&mut self, batch: Batch, _: &mut Links) -> Result<Batch, StageError> {
        let Batch::Rows(rows) = batch else {
            return Err(StageError::Input);
        };
        let mut out = Vec::with_capacity(rows.len());
        for row in rows.into_iter().filter(|row| row.fate == Fate::Taken) {
            take(&mut self.beats, self.period_us, row, &mut out)?;
        }
        Ok(Batch::Rows(out))
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        write(&self.beats)
    }

    fn finish(&mut self, _: &mut Links) -> Result<Option<Batch>, StageError> {
        // A tick that falls on the last row, where that row came exactly on time.
        let mut out = Vec::new();
        for beat in self.beats.values_mut() {
            let at = beat.next as f64 * self.period_us;
            let last = (beat.before.sample_us - beat.first_us) as f64;
            if at <= last + 1e-9 {
                out.push(tick(beat, at, beat.before.values.clone()));
                beat.next += 1;
            }
        }
        Ok(Some(Batch::Rows(out)))
    }

    fn restore(&mut self, state: &[u8], _: &Links) -> Result<(), StateError> {
        self.beats = read(state)?;
        Ok(())
    }
}

#[allow(clippy::cast_possible_truncation)]
fn tick(beat: &Beat, at: f64, values: Vec<f32>) -> Row {
    let time_us = beat.first_us.saturating_add(at.round() as i64);
    let ahead = beat.before.time_us.saturating_sub(beat.before.sample_us);
    Row {
        values,
        time_us: time_us.saturating_add(ahead),
        sample_us: time_us,
        samples: Vec::new(),
        ..beat.before.clone()
    }
}

/// The ticks from the row before up to `row`, which is left to the next call: a tick on it is its own.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn take(
    beats: &mut BTreeMap<u32, Beat>,
    period_us: f64,
    mut row: Row,
    out: &mut Vec<Row>,
) -> Result<(), StageError> {
    row.samples.clear();
    let link = row.link;
    let begin = |row: Row| Beat {
        first_us: row.sample_us,
        next: 0,
        before: row,
    };
    let Some(beat) = beats.get_mut(&link) else {
        beats.insert(link, begin(row));
        return Ok(());
    };
    if row.restarted || row.sample_us < beat.before.sample_us {
        // The device's clock began anew.
        *beat = begin(row);
        return Ok(());
    }
    let before = (beat.before.sample_us - beat.first_us) as f64;
    let after = (row.sample_us - beat.first_us) as f64;
    let ticks = (after - before) / period_us;
    if ticks > MOST_TICKS {
        return Err(StageError::TooManyTicks {
            link,
            seconds: ((after - before) / 1e6) as u64,
            ticks: ticks as u64,
            most: MOST_TICKS as u64,
        });
    }
    let gap = after - before > LONGEST_BRIDGE * period_us;
    loop {
        let at = beat.next as f64 * period_us;
        if at >= after {
            break;
        }
        if !gap || at == before {
            let weight = ((at - before) / (after - before)) as f32;
            let values = if gap || weight <= 0.0 {
                beat.before.values.clone()
            } else {
                let pairs = beat.before.values.iter().zip(&row.values);
                pairs
                    .map(|(one, other)| one + weight * (other - one))
                    .collect()
            };
            out.push(tick(beat, at, values));
        } else {
            // Nothing is invented: on to the first tick that lies at the row or behind it.
            beat.next = beat.next.max((after / period_us).ceil() as u64);
            break;
        }
        beat.next += 1;
    }
    beat.before = row;
    Ok(())
}
