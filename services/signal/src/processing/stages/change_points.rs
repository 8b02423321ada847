//! `change_points`: when the level of a link changed, and where it drifts to, by [`dsp::cusum`].
//!
//! The level is the mean amplitude of a window in decibels, or its motion statistic. It is held against the level that the link had
//! so far, which follows slowly; after a change that is begun anew. Windows that overlap say the same thing several times: cut them
//! without overlap where the rate of false alarms of [`dsp::cusum::Cusum`] is to hold.

use std::collections::BTreeMap;

use dsp::cusum::{Cusum, Drift};
use serde::{Deserialize, Serialize};

use super::{StageError, StateError, Work, read, write};
use crate::processing::batch::{Batch, Level, Links, Window};
use crate::processing::stage::{self, LevelOf};

struct Series {
    cusum: Cusum,
    drift: Drift,
    latest_us: i64,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    cusum: (f32, f32, u32, u32),
    drift: (Option<f32>, f32, f32),
    latest_us: i64,
}

/// Watches each link for itself.
pub struct ChangePoints {
    of: stage::ChangePoints,
    series: BTreeMap<u32, Series>,
}

impl ChangePoints {
    pub fn new(of: &stage::ChangePoints) -> Self {
        Self {
            of: of.clone(),
            series: BTreeMap::new(),
        }
    }

    #[allow(clippy::cast_possible_truncation)]
    fn begin(&self) -> Series {
        Series {
            cusum: Cusum::new(self.of.slack as f32, self.of.limit as f32),
            drift: self.drift(),
            latest_us: i64::MIN,
        }
    }

    #[allow(clippy::cast_possible_truncation)]
    fn drift(&self) -> Drift {
        Drift::new(self.of.time_constant_s as f32, self.of.floor as f32)
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    fn look(&mut self, window: &Window) -> Option<Level> {
        let value = match self.of.of {
            LevelOf::Amplitude => {
                let amplitude = Some(window.amplitude_mean).filter(|mean| *mean > 0.0)?;
                20.0 * amplitude.log10()
            }
            LevelOf::Statistic => window.motion?.statistic as f32,
        };
        let begin = self.begin();
        let fresh = self.drift();
        let series = self.series.entry(window.link).or_insert(begin);
        let elapsed = window.end_us.saturating_sub(series.latest_us);
        let elapsed_s = if series.latest_us == i64::MIN {
            0.0
        } else {
            (elapsed as f64 * 1e-6) as f32
        };
        series.latest_us = window.end_us;
        let z = series.drift.z(value);
        let change = z.and_then(|z| series.cusum.push(z));
        if change.is_some() {
            series.drift = fresh;
        }
        series.drift.push(value, elapsed_s);
        Some(Level {
            value,
            level: series.drift.level().unwrap_or(value),
            spread: series.drift.spread(),
            z,
            change,
        })
    }
}

impl Work for ChangePoints {
    fn push(&mut self, batch: Batch, _: &mut Links) -> Result<Batch, StageError> {
        let Batch::Windows(mut windows) = batch else {
            return Err(StageError::Input);
        };
        for window in &mut windows {
            window.level = self.look(window);
        }
        Ok(Batch::Windows(windows))
    }

    fn save(&self) -> Result<Vec<u8>, StateError> {
        let keep = |(link, series): (&u32, &Series)| {
            let kept = Kept {
                cusum: series.cusum.state(),
                drift: series.drift.state(),
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
            let mut series = self.begin();
            series.cusum.resume(kept.cusum);
            series.drift.resume(kept.drift);
            series.latest_us = kept.latest_us;
            self.series.insert(link, series);
        }
        Ok(())
    }
}
