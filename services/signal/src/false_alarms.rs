//! Thresholds in terms of false alarms: what a link's empty room says of how often a threshold is passed.
//!
//! The model is an exponential tail: above its 90 % quantile `u` the motion statistic of the empty room passes `s` with the
//! probability `0.1 exp(-(s - u) / b)`, where `b` is the larger of the two slopes `(u - q50) / ln 5` and `(q99 - u) / ln 10`
//! of what the calibration measured (the peaks-over-threshold method with shape 0: J. Pickands, "Statistical Inference Using
//! Extreme Order Statistics", Annals of Statistics 3 (1975)). Every window counts as a trial, though windows overlap, which
//! rather overstates the rate. A minute of calibration holds some 80 windows; a week holds a million: the rate is an
//! extrapolation of what was there in that minute, and knows nothing of pets, doors and interference that were not.

use serde::{Deserialize, Serialize};

/// Least scale of a tail: a room that was perfectly quiet for a minute is no more certain than this.
const LEAST_SCALE: f64 = 0.005;
const WEEK_S: f64 = 604_800.0;
/// Largest threshold that a rate leads to: above it a walk would be missed.
pub const HIGHEST: f64 = 0.6;

/// The upper tail of the motion statistic in an empty room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tail {
    from: f64,
    scale: f64,
}

impl Tail {
    /// Of the quantiles 0.5, 0.9 and 0.99; absent where they are none.
    #[must_use]
    pub fn of(quantiles: &[f64]) -> Option<Self> {
        let [half, most, nearly, ..] = quantiles else {
            return None;
        };
        let rises = half <= most && most <= nearly && nearly.is_finite() && half.is_finite();
        let scale = ((most - half) / 5.0_f64.ln()).max((nearly - most) / 10.0_f64.ln());
        rises.then_some(Self {
            from: *most,
            scale: scale.max(LEAST_SCALE),
        })
    }

    /// Windows a week at `threshold` or above, with a window every `hop_s` seconds.
    #[must_use]
    pub fn per_week(&self, threshold: f64, hop_s: f64) -> f64 {
        let beyond = (threshold - self.from).max(0.0) / self.scale;
        0.1 * (-beyond).exp() * WEEK_S / hop_s
    }

    /// The threshold that is passed `per_week` times a week, with a window every `hop_s` seconds.
    #[must_use]
    pub fn threshold(&self, per_week: f64, hop_s: f64) -> f64 {
        let trials = 0.1 * WEEK_S / hop_s;
        self.from + self.scale * (trials / per_week).max(1.0).ln()
    }
}

/// Where a threshold comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The setting `threshold`.
    #[default]
    Settings,
    /// The empty-room calibration.
    Calibration,
    /// It was set for the zone.
    Zone,
    /// The setting `false_alarms_per_week`, by what the calibration says of the empty room.
    FalseAlarms,
}

impl Origin {
    /// snake_case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Calibration => "calibration",
            Self::Zone => "zone",
            Self::FalseAlarms => "false_alarms",
        }
    }
}

/// The threshold of a link, and what is known of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limit {
    /// Motion statistic from which a window is motion.
    pub threshold: f64,
    /// Where it comes from.
    pub origin: Origin,
    /// Windows a week that pass it with nobody there, by the model; absent without a calibration.
    pub per_week: Option<f64>,
    /// Windows of the empty room that this rests on.
    pub windows: u32,
    /// The 99 % quantile of the statistic with nobody there, where it was measured.
    pub noise: Option<f64>,
    /// The threshold that the calibration leads to where none is set for the zone; absent without a calibration.
    pub learnt: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exponential_tail_is_found_again() {
        // P(S > s) = exp(-s / 0.02): quantile q at -0.02 ln(1 - q).
        let quantiles = [0.5, 0.9, 0.99, 0.999].map(|q: f64| -0.02 * (1.0 - q).ln());
        let tail = Tail::of(&quantiles).unwrap();
        let threshold = tail.threshold(1.0, 0.5);
        let truly = WEEK_S / 0.5 * (-threshold / 0.02).exp();
        assert!((truly - 1.0).abs() < 1e-6, "{truly}");
        assert!((tail.per_week(threshold, 0.5) - 1.0).abs() < 1e-9);
        // Ten times rarer costs ln 10 scales more.
        let rarer = tail.threshold(0.1, 0.5) - threshold;
        assert!((rarer - 0.02 * 10.0_f64.ln()).abs() < 1e-9);
    }

    #[test]
    fn the_wider_slope_counts_and_perfect_silence_is_not_believed() {
        let wide = Tail::of(&[0.01, 0.02, 0.10, 0.2]).unwrap();
        assert!((wide.scale - 0.08 / 10.0_f64.ln()).abs() < 1e-12);
        let silent = Tail::of(&[0.0; 4]).unwrap();
        assert!(silent.threshold(1.0, 0.5) > 0.05);
        assert_eq!(Tail::of(&[0.1, 0.2]), None);
        assert_eq!(Tail::of(&[0.1, f64::NAN, 0.2, 0.3]), None);
        assert_eq!(Tail::of(&[0.3, 0.2, 0.1, 0.1]), None);
    }
}
