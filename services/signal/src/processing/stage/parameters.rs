//! The parameters of each type of stage, with their defaults.

use dsp::doppler::Shape;
use dsp::phase;
use serde::{Deserialize, Serialize};

use crate::config::Settings;

macro_rules! parameters {
    ($($(#[$doc:meta])+ $name:ident { $($(#[$field_doc:meta])+ $field:ident: $type:ty = $default:expr),* $(,)? })+) => {$(
        $(#[$doc])+
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $($(#[$field_doc])+ pub $field: $type),* }

        #[allow(clippy::derivable_impls)]
        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }
    )+};
}

parameters! {
    /// Parameters of `validate`.
    Validate {
        /// The largest share of a recording's places that may be no usable frame, 0 to 1; beyond it the stage gives up.
        /// Looked at from 1,000 places on.
        max_faulty: f64 = 1.0,
    }
    /// Parameters of `gain`: none.
    Gain {}
    /// Parameters of `hampel`, see [`dsp::hampel`].
    Hampel {
        /// Rows looked at on each side.
        half: usize = 3,
        /// Deviations, in estimated standard deviations, from which a value is an outlier.
        k: f64 = 3.0,
    }
    /// Parameters of `clock`.
    Clock {
        /// Ticks per second.
        rate_hz: f64 = 100.0,
    }
    /// Parameters of `low_pass`, see [`dsp::butterworth`].
    LowPass {
        /// Edge, Hz: what is slower passes.
        edge_hz: f64 = 10.0,
        /// Order.
        order: usize = 4,
    }
    /// Parameters of `high_pass`, see [`dsp::butterworth`].
    HighPass {
        /// Edge, Hz: what is faster passes.
        edge_hz: f64 = 2.0,
        /// Order.
        order: usize = 4,
    }
    /// Parameters of `band_pass`, see [`dsp::butterworth`].
    BandPass {
        /// Lower edge, Hz.
        low_hz: f64 = 0.1,
        /// Upper edge, Hz.
        high_hz: f64 = 0.6,
        /// Order of each edge.
        order: usize = 2,
    }
    /// Parameters of `pca`, see [`dsp::pca`].
    Pca {
        /// Components kept, those of most variance first.
        components: usize = 5,
        /// Rows after which a row counts for a third: the time constant of forgetting.
        memory_rows: usize = 1000,
        /// Rows from one decomposition to the next; rows before the first are left out.
        every_rows: usize = 100,
    }
    /// Parameters of `doppler`, see [`dsp::doppler`].
    Spectrum {
        /// Length of the Hann window, seconds.
        window_s: f64 = 0.5,
        /// Seconds from one spectrum to the next.
        hop_s: f64 = 0.05,
    }
    /// Parameters of `phase`, see [`dsp::phase`].
    Phase {
        /// The line that is taken off.
        line: Line = Line::Each,
    }
    /// Parameters of `csi_ratio` and `conjugate_product`, see [`dsp::phase`].
    Chains {
        /// The receive chain above, from 0.
        first: usize = 0,
        /// The one that it is held against.
        second: usize = 1,
    }
    /// Parameters of `window`.
    Window {
        /// Length in seconds of input time; a multiple of `hop_s`.
        window_s: f64 = Settings::default().window_s,
        /// A window ends at every multiple of this many seconds.
        hop_s: f64 = Settings::default().hop_s,
    }
    /// Parameters of `motion`: none.
    MotionStatistic {}
    /// Parameters of `decision`: those of the live service, with its defaults.
    Decision {
        /// Motion statistic from which a window is motion.
        threshold: f64 = Settings::default().threshold,
        /// A link that is in motion stays there while the statistic is at least this.
        release: f64 = Settings::default().release,
        /// Lowest frame rate, Hz.
        min_rate_hz: f64 = Settings::default().min_rate_hz,
        /// Fewest frames in a window.
        min_frames: usize = Settings::default().min_frames,
        /// Largest share of a window's frames that may be lost.
        max_missing: f64 = Settings::default().max_missing,
        /// Longest time without a frame inside a window, seconds.
        max_gap_s: f64 = Settings::default().max_gap_s,
    }
    /// Parameters of `select`, see [`dsp::select`].
    Select {
        /// Subcarriers kept, those of most weight.
        count: usize = 16,
        /// Puts them together, by their weights, into one stream.
        combine: bool = false,
    }
    /// Parameters of `speed`, see [`dsp::speed`].
    Speed {
        /// Carrier frequency, MHz; absent: what the recording says of it.
        carrier_mhz: Option<f64> = None,
    }
    /// Parameters of `change_points`, see [`dsp::cusum`].
    ChangePoints {
        /// What is watched.
        of: LevelOf = LevelOf::Amplitude,
        /// Deviations that do not count.
        slack: f64 = 0.5,
        /// Sum of deviations from which it is a change.
        limit: f64 = 8.0,
        /// Seconds within which the level that values are held against follows.
        time_constant_s: f64 = 60.0,
        /// Least spread of the level that is believed: decibels, or statistic.
        floor: f64 = 0.1,
    }
    /// Parameters of `breathing`: none.
    Breathing {}
    /// Parameters of `activity`: none.
    Activity {}
}

/// The line that `phase` takes off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// Each antenna's own.
    Each,
    /// One slope for all antennas, and the offset of the first.
    SharedSlope,
}

/// What `change_points` watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LevelOf {
    /// Mean amplitude of the window, decibels.
    Amplitude,
    /// Its motion statistic.
    Statistic,
}

impl From<Line> for phase::Line {
    fn from(line: Line) -> Self {
        match line {
            Line::Each => Self::Each,
            Line::SharedSlope => Self::SharedSlope,
        }
    }
}

impl Spectrum {
    /// The transform of rows of `rate_hz` ticks a second.
    #[must_use]
    pub fn shape(&self, rate_hz: f64) -> Shape {
        Shape {
            rate_hz,
            window_s: self.window_s,
            hop_s: self.hop_s,
        }
    }
}

impl Decision {
    /// As the live service has them.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            threshold: self.threshold,
            release: self.release,
            min_rate_hz: self.min_rate_hz,
            min_frames: self.min_frames,
            max_missing: self.max_missing,
            max_gap_s: self.max_gap_s,
            ..Settings::default()
        }
    }
}
