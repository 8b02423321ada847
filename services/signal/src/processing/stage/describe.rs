//! Names and words for the types of stages.

use super::Type;

impl Type {
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
            Self::CsiRatio(_) => "csi_ratio",
            Self::ConjugateProduct(_) => "conjugate_product",
            Self::Window(_) => "window",
            Self::Select(_) => "select",
            Self::Motion(_) => "motion",
            Self::Decision(_) => "decision",
            Self::Speed(_) => "speed",
            Self::ChangePoints(_) => "change_points",
            Self::Breathing(_) => "breathing",
            Self::Activity(_) => "activity",
        }
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
            Self::CsiRatio(_) => {
                "Divides one receive chain by another, which takes the receiver's phase and gain out; not a number in a null. Needs two chains on one clock."
            }
            Self::ConjugateProduct(_) => {
                "Multiplies one receive chain by the conjugate of another, which takes the receiver's phase out. Needs two chains on one clock."
            }
            Self::Window(_) => {
                "Cuts windows of rows, aligned on the input's time, and counts what is in them."
            }
            Self::Motion(_) => "Measures the motion statistic of each window.",
            Self::Decision(_) => {
                "Decides on each window: motion, still, or unknown with the reason."
            }
            Self::Select(_) => {
                "Keeps the subcarriers of each window that something moves in, with the weights of maximum-ratio combining, or their combination."
            }
            Self::Speed(_) => {
                "Measures the speed of a moving body in each window, from 100 frames/s on, or says why there is none."
            }
            Self::ChangePoints(_) => {
                "Says when the level of a link changed (CUSUM), and follows its drift: mean amplitude of windows, or motion statistic."
            }
            Self::Breathing(_) => {
                "Measures the breathing rate of each link over its still time so far, 30 to 60 s, or says why there is none."
            }
            Self::Activity(_) => {
                "Measures the activity features of each window; where it was decided on, only of those that are not unknown."
            }
        }
    }
}
