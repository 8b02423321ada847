//! What goes from one stage to the next.

use std::fmt;

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
    /// Rows of the quotients of two receive chains, at the times of frames.
    Ratios,
    /// Rows of the conjugate products of two receive chains, at the times of frames.
    Products,
    /// Rows of the conjugate products on a regular clock.
    RegularProducts,
    /// Windows of rows: nothing concluded.
    Windows,
    /// Windows of the subcarriers that were chosen, or of their combination.
    Selected,
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
            Self::Ratios => "ratios",
            Self::Products => "products",
            Self::RegularProducts => "regular products",
            Self::Windows => "windows",
            Self::Selected => "selected windows",
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
