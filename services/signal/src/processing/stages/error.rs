//! Why a stage gives up.

/// Why a stage gives up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// It was given what it does not take: the list of stages was not checked.
    #[error("the stage was given what it does not take")]
    Input,
    /// Too many places of the recording are no usable frame.
    #[error(
        "{faulty} of {places} places of the recording are no usable frame; at most {limit} of a thousand may be (max_faulty)"
    )]
    TooManyFaults {
        /// Places that are none.
        faulty: u64,
        /// Places looked at.
        places: u64,
        /// The limit in thousandths.
        limit: u64,
    },
    /// Too many links.
    #[error("the recording has more than {most} links")]
    TooManyLinks {
        /// The limit.
        most: usize,
    },
    /// The frames do not come from the chains that are to be held against one another.
    #[error(
        "link {link} has {chains} receive chain(s); chains {first} and {second} are asked for (first, second; counted from 0): two that share a clock are needed"
    )]
    TooFewChains {
        /// The link.
        link: u32,
        /// Receive chains that it has.
        chains: usize,
        /// The one asked for.
        first: usize,
        /// And the other.
        second: usize,
    },
    /// Amplitudes without phase.
    #[error(
        "link {link} has amplitudes without phase: nothing can be said of one chain against another"
    )]
    NoPhase {
        /// The link.
        link: u32,
    },
    /// Too many ticks.
    #[error(
        "link {link}: {seconds} s without a frame, then {ticks} ticks of the regular clock at once; at most {most} are possible"
    )]
    TooManyTicks {
        /// The link.
        link: u32,
        /// Time between two frames, whole seconds.
        seconds: u64,
        /// Ticks between them.
        ticks: u64,
        /// The limit.
        most: u64,
    },
    /// The stage's memory is at its limit.
    #[error(
        "the stage holds {bytes} bytes between chunks; at most {limit} are allowed (processing.max_state_bytes)"
    )]
    Memory {
        /// What it holds.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// It met a fault of its own.
    #[error("the stage met a fault of its own: {0}")]
    Panic(String),
}

impl StageError {
    /// The code in events.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::TooManyFaults { .. } => "too_many_faults",
            Self::TooManyLinks { .. } => "too_many_links",
            Self::TooFewChains { .. } => "too_few_chains",
            Self::NoPhase { .. } => "no_phase",
            Self::TooManyTicks { .. } => "too_many_ticks",
            Self::Memory { .. } => "memory",
            Self::Panic(_) => "panic",
        }
    }
}
