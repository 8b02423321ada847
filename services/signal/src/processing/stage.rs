//! The types of stages, what each takes and gives, and whether a list of them fits together.
//!
//! A new stage is a variant of [`Type`] with its parameters, a line in each of [`Type::all`], [`Type::name`],
//! [`Type::description`] and [`Type::signatures`], and its work in [`super::stages`].

mod check;
mod describe;
mod kind;
mod parameters;

use dsp::butterworth::Band;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use self::check::{Misfit, check, rate_hz};
pub use self::kind::Kind;
pub use self::parameters::{
    Activity, BandPass, Breathing, Chains, ChangePoints, Clock, Decision, Gain, Hampel, HighPass,
    LevelOf, Line, LowPass, MotionStatistic, Pca, Phase, Select, Spectrum, Speed, Validate, Window,
};

/// Stages of a pipeline at most.
pub const MOST_STAGES: usize = 32;

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
    /// Divides one receive chain by another.
    CsiRatio(Chains),
    /// Multiplies one receive chain by the conjugate of another.
    ConjugateProduct(Chains),
    /// Cuts windows.
    Window(Window),
    /// Chooses the subcarriers that something moves in.
    Select(Select),
    /// Measures the motion statistic of windows.
    Motion(MotionStatistic),
    /// Decides on motion.
    Decision(Decision),
    /// Measures the speed of a body.
    Speed(Speed),
    /// Says when a level changed.
    ChangePoints(ChangePoints),
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
            Self::CsiRatio(Chains::default()),
            Self::ConjugateProduct(Chains::default()),
            Self::Window(Window::default()),
            Self::Select(Select::default()),
            Self::Motion(MotionStatistic::default()),
            Self::Decision(Decision::default()),
            Self::Speed(Speed::default()),
            Self::ChangePoints(ChangePoints::default()),
            Self::Breathing(Breathing::default()),
            Self::Activity(Activity::default()),
        ]
    }

    /// All names, for a message.
    #[must_use]
    pub fn names() -> String {
        let names: Vec<_> = Self::all().iter().map(Self::name).collect();
        names.join(", ")
    }

    /// What it takes, and what it then gives.
    #[must_use]
    pub fn signatures(&self) -> &'static [(Kind, Kind)] {
        use Kind::{
            Components, Decisions, Frames, Motion, Phases, Power, Products, Ratios, Regular,
            RegularComponents, RegularProducts, Selected, Spectra, Windows,
        };
        match self {
            Self::Validate(_) => &[(Frames, Frames)],
            Self::Gain(_) => &[(Frames, Power)],
            Self::Hampel(_) => &[(Power, Power)],
            Self::Clock(_) => &[
                (Power, Regular),
                (Components, RegularComponents),
                (Products, RegularProducts),
            ],
            Self::LowPass(_) | Self::HighPass(_) | Self::BandPass(_) => &[
                (Regular, Regular),
                (RegularComponents, RegularComponents),
                (RegularProducts, RegularProducts),
            ],
            Self::Pca(_) => &[
                (Power, Components),
                (Regular, RegularComponents),
                (RegularProducts, RegularComponents),
            ],
            Self::Doppler(_) => &[
                (Regular, Spectra),
                (RegularComponents, Spectra),
                (RegularProducts, Spectra),
            ],
            Self::CsiRatio(_) => &[(Frames, Ratios)],
            Self::ConjugateProduct(_) => &[(Frames, Products)],
            // Not before `motion`: its threshold is for the mean over all subcarriers.
            Self::Select(_) => &[(Windows, Selected)],
            Self::Speed(_) => &[
                (Windows, Windows),
                (Selected, Selected),
                (Motion, Motion),
                (Decisions, Decisions),
            ],
            Self::ChangePoints(_) => {
                &[(Windows, Windows), (Motion, Motion), (Decisions, Decisions)]
            }
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
