//! `motion`: the motion statistic of each window, by [`dsp::motion`].

use dsp::autocorrelation::Series;
use dsp::motion::MotionMeter;

use super::{StageError, Work};
use crate::processing::batch::{Batch, Links};

/// Measures. It keeps memory, and nothing of the past.
#[derive(Default)]
pub struct Statistic {
    meter: MotionMeter,
}

impl Work for Statistic {
    fn push(&mut self, batch: Batch, _: &mut Links) -> Result<Batch, StageError> {
        let Batch::Windows(mut windows) = batch else {
            return Err(StageError::Input);
        };
        for window in &mut windows {
            let series = Series {
                times_us: &window.sample_us,
                rows: &window.values,
                width: window.width,
            };
            let levels = &window.levels_dbm;
            window.motion = self
                .meter
                .measure_with_level(series, window.rounding, levels);
        }
        Ok(Batch::Windows(windows))
    }
}
