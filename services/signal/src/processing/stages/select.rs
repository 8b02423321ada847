//! `select`: the subcarriers of each window that something moves in, with the weights of maximum-ratio combining, by
//! [`dsp::select`].
//!
//! The window keeps the columns that were chosen, in the order in which they stood. The weights of the chosen ones add up to 1.
//! Where nothing changes coherently none is chosen.

use dsp::autocorrelation::Series;
use dsp::gain::GainBlocks;
use dsp::select::{Selector, combine};

use super::{StageError, Work};
use crate::processing::batch::{Batch, LinkInfo, Links, Selected, Window};
use crate::processing::stage;

/// Rows more than so many periods apart are no neighbours.
const LONGEST_LAG: f64 = dsp::motion::LONGEST_LAG;

/// Chooses. It keeps memory, and nothing of the past.
pub struct Select {
    count: usize,
    combine: bool,
    selector: Selector,
}

impl Select {
    pub fn new(of: &stage::Select) -> Self {
        Self {
            count: of.count,
            combine: of.combine,
            selector: Selector::default(),
        }
    }

    fn choose(&mut self, window: &mut Window, info: &LinkInfo) {
        let series = Series {
            times_us: &window.sample_us,
            rows: &window.values,
            width: window.width,
        };
        let longest_us = window.counts.period_us.unwrap_or_default() * LONGEST_LAG;
        self.selector.weigh(series, longest_us);
        let mut places = self.selector.best(self.count).to_vec();
        places.sort_unstable();
        let weight = |place: &usize| self.selector.weights().get(*place).copied();
        let mut weights: Vec<f32> = places.iter().filter_map(weight).collect();
        let sum: f32 = weights.iter().sum();
        if sum > 0.0 {
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        let mut values = Vec::with_capacity(series.iter().len() * places.len());
        let mut chosen = Vec::with_capacity(places.len());
        for row in series.iter() {
            chosen.clear();
            chosen.extend(places.iter().filter_map(|place| row.get(*place)));
            if self.combine {
                values.push(combine(&chosen, &weights));
            } else {
                values.extend_from_slice(&chosen);
            }
        }
        let blocks = GainBlocks::new(
            &info.subcarriers,
            &info.valid,
            usize::from(info.key.antennas),
        );
        let each = info.subcarriers.len().max(1);
        let of_frame = places
            .iter()
            .filter_map(|place| blocks.places().get(*place));
        let of_frame = of_frame.filter_map(|sample| {
            let subcarrier = info.subcarriers.get(sample % each)?;
            Some((sample / each, *subcarrier))
        });
        window.width = if self.combine && !places.is_empty() {
            1
        } else {
            places.len()
        };
        if window.width == 0 {
            values.clear();
        }
        window.values = values;
        window.selected = Some(Selected {
            samples: of_frame.collect(),
            weights,
        });
    }
}

impl Work for Select {
    fn push(&mut self, batch: Batch, links: &mut Links) -> Result<Batch, StageError> {
        let Batch::Windows(mut windows) = batch else {
            return Err(StageError::Input);
        };
        for window in &mut windows {
            if let Some(info) = links.get(window.link) {
                self.choose(window, info);
            }
        }
        Ok(Batch::Windows(windows))
    }
}
