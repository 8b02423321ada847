//! `low_pass`, `high_pass` and `band_pass`: Butterworth filters over rows on a regular clock, by [`dsp::butterworth`].
//!
//! A series begins, and begins anew behind a gap, as if its first row had stood there for ever: no transient from 0.

use std::collections::BTreeMap;

use dsp::butterworth::{Band, Filter, Section, design};
use serde::{Deserialize, Serialize};

use super::{StageError, StateError, Work, read, write};
use crate::processing::batch::{Batch, Links, Row};

/// Ticks that are more than so many periods apart have a gap between them.
const GAP: f64 = 1.5;

struct Series {
    filter: Filter,
    latest_us: i64,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    width: usize,
    first: Vec<f64>,
    second: Vec<f64>,
    latest_us: i64,
}

/// The filter, one for each link.
pub struct Butterworth {
    sections: Vec<Section>,
    period_us: f64,
    series: BTreeMap<u32, Series>,
}

impl Butterworth {
    /// For rows of `rate_hz` ticks a second. The band was checked before: one that is not possible would let all through.
    pub fn new((order, band): (usize, Band), rate_hz: f64) -> Self {
        Self {
            sections: design(order, band, rate_hz).unwrap_or_default(),
            period_us: 1e6 / rate_hz,
            series: BTreeMap::new(),
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn take(&mut self, row: &mut Row) {
        let begin = || Series {
            filter: Filter::new(self.sections.clone(), row.values.len()),
            latest_us: i64::MIN,
        };
        let series = self.series.entry(row.link).or_insert_with(begin);
        let since = row.sample_us.saturating_sub(series.latest_us) as f64;
        if !(0.0..=GAP * self.period_us).contains(&since) {
            series.filter.settle(&row.values);
        }
        series.latest_us = row.sample_us;
        series.filter.push(&mut row.values);
    }
}

impl Work for Butterworth {
    fn push(&mut self, batch: Batch, _: &mut Links) -> Result<Batch, StageError> {
        let Batch::Rows(mut rows) = batch else {
            return Err(StageError::Input);
        };
        for row in &mut rows {
            self.take(row);
        }
        Ok(Batch::Rows(rows))
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        let keep = |(link, series): (&u32, &Series)| {
            let (first, second) = series.filter.state();
            let kept = Kept {
                width: series.filter.width(),
                first: first.to_vec(),
                second: second.to_vec(),
                latest_us: series.latest_us,
            };
            (*link, kept)
        };
        let kept: BTreeMap<u32, Kept> = self.series.iter().map(keep).collect();
        write(&kept)
    }

    fn restore(&mut self, state: &[u8], _: &Links) -> Result<(), StateError> {
        let kept: BTreeMap<u32, Kept> = read(state)?;
        for (link, kept) in kept {
            let mut filter = Filter::new(self.sections.clone(), kept.width);
            filter.resume(&kept.first, &kept.second);
            let latest_us = kept.latest_us;
            self.series.insert(link, Series { filter, latest_us });
        }
        Ok(())
    }
}
