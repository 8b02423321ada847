//! `speed`: the speed of a body in each window, by [`dsp::speed`].

use dsp::autocorrelation::Series;
use dsp::speed::SpeedMeter;

use super::{StageError, Work};
use crate::detector::LinkState;
use crate::processing::batch::{Batch, Links, NoSpeed};
use crate::processing::stage;

/// Metres a microsecond that light makes.
const LIGHT_M_US: f64 = 299.792_458;

/// Measures. It keeps memory, and nothing of the past.
pub struct Speed {
    carrier_mhz: Option<f64>,
    meter: SpeedMeter,
}

impl Speed {
    pub fn new(of: &stage::Speed) -> Self {
        Self {
            carrier_mhz: of.carrier_mhz,
            meter: SpeedMeter::default(),
        }
    }
}

impl Work for Speed {
    fn push(&mut self, batch: Batch, links: &mut Links) -> Result<Batch, StageError> {
        let Batch::Windows(mut windows) = batch else {
            return Err(StageError::Input);
        };
        for window in &mut windows {
            let of_link = links.get(window.link).and_then(|link| link.frequency_mhz);
            let carrier = self.carrier_mhz.or(of_link.map(f64::from));
            let unknown = window
                .verdict
                .is_some_and(|verdict| verdict.state == LinkState::Unknown);
            let series = Series {
                times_us: &window.sample_us,
                rows: &window.values,
                width: window.width,
            };
            window.speed = Some(match carrier {
                _ if unknown => Err(NoSpeed::Unknown),
                None => Err(NoSpeed::NoCarrier),
                Some(mhz) => self
                    .meter
                    .measure(series, LIGHT_M_US / mhz)
                    .map_err(NoSpeed::Unmeasured),
            });
        }
        Ok(Batch::Windows(windows))
    }
}
