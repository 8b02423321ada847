//! The types of stages, what each takes and gives, and whether a list of them fits together.
//!
//! A new stage is a variant of [`Type`] with its parameters, a line in each of [`Type::name`], [`Type::description`],
//! [`Type::signatures`] and [`Type::defaults`], and its work in [`super::stages`].

mod check;

use std::fmt;

use dsp::butterworth::{Band, design};
use dsp::doppler::{Doppler, Shape};
use dsp::pca::MOST_CHANNELS;
use dsp::phase;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::Settings;

pub use self::check::{Misfit, check, rate_hz};

/// Stages of a pipeline at most.
pub const MOST_STAGES: usize = 32;

/// What goes from one stage to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Frames as they were recorded.
    Frames,
    /// Rows of normalised power at the times of frames.
    Power,
    /// Rows on a regular clock.
    Regular,
    /// Rows of principal components at the times of frames.
    Components,
    /// Rows of principal components on a regular clock.
    RegularComponents,
    /// Spectra of power over Doppler frequency.
    Spectra,
    /// Rows of sanitised phase at the times of frames.
    Phases,
    /// Windows of rows: nothing concluded.
    Windows,
    /// Windows with the motion statistic.
    Motion,
    /// Windows with a decision.
    Decisions,
}

impl Kind {
    /// In a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::Power => "power",
            Self::Regular => "regular",
            Self::Components => "components",
            Self::RegularComponents => "regular components",
            Self::Spectra => "spectra",
            Self::Phases => "phases",
            Self::Windows => "windows",
            Self::Motion => "motion",
            Self::Decisions => "decisions",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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

impl From<Line> for phase::Line {
    fn from(line: Line) -> Self {
        match line {
            Line::Each => Self::Each,
            Line::SharedSlope => Self::SharedSlope,
        }
    }
}

/// What a stage does, with its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Type {
    /// Puts frames in order; counts the lost, repeated and late ones.
    Validate(Validate),
    /// Rows of power with the receiver's gain divided out.
    Gain(Gain),
    /// Replaces outliers.
    Hampel(Hampel),
    /// Lays rows on a regular clock.
    Clock(Clock),
    /// Lets low frequencies through.
    LowPass(LowPass),
    /// Lets high frequencies through.
    HighPass(HighPass),
    /// Lets a band of frequencies through.
    BandPass(BandPass),
    /// Makes few streams of many.
    Pca(Pca),
    /// Measures Doppler spectra.
    Doppler(Spectrum),
    /// Takes the receiver's line off the phase.
    Phase(Phase),
    /// Cuts windows.
    Window(Window),
    /// Measures the motion statistic of windows.
    Motion(MotionStatistic),
    /// Decides on motion.
    Decision(Decision),
    /// Measures the breathing rate of links that are still.
    Breathing(Breathing),
    /// Measures the activity features of windows.
    Activity(Activity),
}

/// One step of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Its name, unique in the pipeline.
    pub name: String,
    /// What it does.
    #[serde(flatten)]
    pub does: Type,
}

impl Type {
    /// One of each type with its defaults, in the order in which a pipeline would have them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![
            Self::Validate(Validate::default()),
            Self::Gain(Gain::default()),
            Self::Hampel(Hampel::default()),
            Self::Clock(Clock::default()),
            Self::LowPass(LowPass::default()),
            Self::HighPass(HighPass::default()),
            Self::BandPass(BandPass::default()),
            Self::Pca(Pca::default()),
            Self::Doppler(Spectrum::default()),
            Self::Phase(Phase::default()),
            Self::Window(Window::default()),
            Self::Motion(MotionStatistic::default()),
            Self::Decision(Decision::default()),
            Self::Breathing(Breathing::default()),
            Self::Activity(Activity::default()),
        ]
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Validate(_) => "validate",
            Self::Gain(_) => "gain",
            Self::Hampel(_) => "hampel",
            Self::Clock(_) => "clock",
            Self::LowPass(_) => "low_pass",
            Self::HighPass(_) => "high_pass",
            Self::BandPass(_) => "band_pass",
            Self::Pca(_) => "pca",
            Self::Doppler(_) => "doppler",
            Self::Phase(_) => "phase",
            Self::Window(_) => "window",
            Self::Motion(_) => "motion",
            Self::Decision(_) => "decision",
            Self::Breathing(_) => "breathing",
            Self::Activity(_) => "activity",
        }
    }

    /// All names, for a message.
    #[must_use]
    pub fn names() -> String {
        let names: Vec<_> = Self::all().iter().map(Self::name).collect();
        names.join(", ")
    }

    /// What it does, in a sentence.
    #[must_use]
    pub fn description(&self) -> &'static str {
        match self {
            Self::Validate(_) => {
                "Puts the frames of each device in order; counts those that were lost, repeated or late."
            }
            Self::Gain(_) => {
                "Rows of power with the receiver's gain divided out, one for each frame."
            }
            Self::Hampel(_) => {
                "Replaces outliers in time by the local median, each subcarrier for itself."
            }
            Self::Clock(_) => {
                "Lays rows on a regular clock by interpolation; ticks inside gaps are left out, not invented."
            }
            Self::LowPass(_) => {
                "Lets what is slower than an edge through, each stream for itself; begins anew behind a gap."
            }
            Self::HighPass(_) => {
                "Lets what is faster than an edge through, each stream for itself; begins anew behind a gap."
            }
            Self::BandPass(_) => {
                "Lets a band of frequencies through, each subcarrier for itself; begins anew behind a gap."
            }
            Self::Pca(_) => {
                "Projects rows onto the principal components of the rows so far, those of most variance first."
            }
            Self::Doppler(_) => {
                "Measures the spectrum of the last window over Doppler frequency, mean over all streams; none reaches across a gap."
            }
            Self::Phase(_) => {
                "Rows of phase less the receiver's line over the subcarriers, antenna by antenna in ascending subcarrier index, not a number in a null."
            }
            Self::Window(_) => {
                "Cuts windows of rows, aligned on the input's time, and counts what is in them."
            }
            Self::Motion(_) => "Measures the motion statistic of each window.",
            Self::Decision(_) => {
                "Decides on each window: motion, still, or unknown with the reason."
            }
            Self::Breathing(_) => {
                "Measures the breathing rate of each link over its still time so far, 30 to 60 s, or says why there is none."
            }
            Self::Activity(_) => {
                "Measures the activity features of each window; where it was decided on, only of those that are not unknown."
            }
        }
    }

    /// What it takes, and what it then gives.
    #[must_use]
    pub fn signatures(&self) -> &'static [(Kind, Kind)] {
        use Kind::{
            Components, Decisions, Frames, Motion, Phases, Power, Regular, RegularComponents,
            Spectra, Windows,
        };
        match self {
            Self::Validate(_) => &[(Frames, Frames)],
            Self::Gain(_) => &[(Frames, Power)],
            Self::Hampel(_) => &[(Power, Power)],
            Self::Clock(_) => &[(Power, Regular), (Components, RegularComponents)],
            Self::LowPass(_) | Self::HighPass(_) | Self::BandPass(_) => {
                &[(Regular, Regular), (RegularComponents, RegularComponents)]
            }
            Self::Pca(_) => &[(Power, Components), (Regular, RegularComponents)],
            Self::Doppler(_) => &[(Regular, Spectra), (RegularComponents, Spectra)],
            Self::Phase(_) => &[(Frames, Phases)],
            // Not of a regular clock: rows that were interpolated resemble their neighbours, which is what motion looks like.
            Self::Window(_) => &[(Power, Windows)],
            Self::Motion(_) => &[(Windows, Motion)],
            Self::Decision(_) => &[(Motion, Decisions)],
            Self::Breathing(_) => &[(Decisions, Decisions)],
            Self::Activity(_) => &[(Windows, Windows), (Motion, Motion), (Decisions, Decisions)],
        }
    }

    /// The parameters as they are.
    #[must_use]
    pub fn parameters(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(mut fields)) => {
                fields.remove("type");
                fields
            }
            _ => Map::new(),
        }
    }

    /// Checks the values of the parameters.
    fn check(&self) -> Result<(), String> {
        let within = |key: &str, value: f64, least: f64, most: f64| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(format!("{key} = {value}: must be from {least} to {most}"))
            }
        };
        let whole = |key: &str, value: usize, most: usize| {
            if (1..=most).contains(&value) {
                Ok(())
            } else {
                Err(format!("{key} = {value}: must be from 1 to {most}"))
            }
        };
        match self {
            Self::Validate(of) => within("max_faulty", of.max_faulty, 0.0, 1.0),
            Self::Hampel(of) => {
                whole("half", of.half, 64)?;
                within("k", of.k, 0.5, 100.0)
            }
            Self::Clock(of) => within("rate_hz", of.rate_hz, 0.1, 10_000.0),
            Self::Pca(of) => {
                whole("components", of.components, MOST_CHANNELS)?;
                whole("memory_rows", of.memory_rows, 1_000_000)?;
                whole("every_rows", of.every_rows, 100_000)
            }
            Self::Doppler(of) => {
                within("window_s", of.window_s, 0.001, 60.0)?;
                within("hop_s", of.hop_s, 0.001, 60.0)
            }
            Self::Window(of) => check_settings(&Settings {
                window_s: of.window_s,
                hop_s: of.hop_s,
                // Not of this stage: such that they are right for any window.
                max_gap_s: of.window_s,
                refresh_s: 86_400.0,
                ..Settings::default()
            }),
            Self::Decision(of) => check_settings(&Settings {
                window_s: 60.0,
                hop_s: 1.0,
                ..of.settings()
            }),
            // Bands are held against the rate of the clock before them.
            Self::LowPass(_)
            | Self::HighPass(_)
            | Self::BandPass(_)
            | Self::Gain(_)
            | Self::Phase(_)
            | Self::Motion(_)
            | Self::Breathing(_)
            | Self::Activity(_) => Ok(()),
        }
    }

    /// Checks what depends on the rate of the clock before it.
    fn check_at(&self, rate_hz: f64) -> Result<(), String> {
        if let Some((order, band)) = self.band() {
            design(order, band, rate_hz).map_err(|error| error.to_string())?;
        }
        if let Self::Doppler(of) = self {
            Doppler::new(1, of.shape(rate_hz))
                .map_err(|error| format!("window_s = {}: {error}", of.window_s))?;
            if of.hop_s * rate_hz < 0.5 {
                return Err(format!(
                    "hop_s = {}: shorter than a tick at {rate_hz} Hz",
                    of.hop_s
                ));
            }
        }
        Ok(())
    }

    /// Order and band, where it is a filter.
    #[must_use]
    pub fn band(&self) -> Option<(usize, Band)> {
        match self {
            Self::LowPass(of) => Some((of.order, Band::Low(of.edge_hz))),
            Self::HighPass(of) => Some((of.order, Band::High(of.edge_hz))),
            Self::BandPass(of) => Some((of.order, Band::Pass(of.low_hz, of.high_hz))),
            _ => None,
        }
    }
}

/// The live service's check of the same values; there they stand in the section `motion`.
fn check_settings(settings: &Settings) -> Result<(), String> {
    settings
        .validate()
        .map_err(|problem| problem.replace("motion.", ""))
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

impl Stage {
    /// Reads a stage as a file or a request has it: `place` is its place in the list from 0, for messages; an empty name
    /// stands for the type's.
    ///
    /// # Errors
    /// Where there is no such type, or no such parameter, or a value of another type.
    pub fn read(
        place: usize,
        name: &str,
        kind: &str,
        parameters: Map<String, Value>,
    ) -> Result<Self, Misfit> {
        let name = if name.is_empty() { kind } else { name }.to_owned();
        let place = place + 1;
        if !Type::all().iter().any(|known| known.name() == kind) {
            return Err(Misfit::Type {
                place,
                name,
                found: kind.to_owned(),
            });
        }
        let mut fields = parameters;
        for value in fields.values_mut() {
            whole(value);
        }
        fields.insert("type".to_owned(), json!(kind));
        match serde_json::from_value(Value::Object(fields)) {
            Ok(does) => Ok(Self { name, does }),
            Err(error) => Err(Misfit::Parameter {
                place,
                name,
                problem: error.to_string(),
            }),
        }
    }
}

/// A whole number that came as a float (as all numbers of a protobuf Struct do) is one again.
fn whole(value: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Some(number) = value
        .as_f64()
        .filter(|number| value.is_f64() && number.fract() == 0.0 && number.abs() <= EXACT)
    {
        #[allow(clippy::cast_possible_truncation)]
        let number = number as i64;
        *value = json!(number);
    }
}

#[cfg(test)]
mod tests;
