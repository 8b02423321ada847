//! Why a process ends, as its exit code: `sysexits.h` where it has a fitting one.

use std::process::ExitCode;

use crate::config::ConfigError;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: asked to stop, and everything stopped in time.
    Clean,
    /// 64: a configuration that cannot be used; nothing was started.
    Config,
    /// 69: a dependency was not reachable within its start-up time. Starting again may help.
    Unavailable,
    /// 70: a fault of the program: a task panicked, failed, or did not stop.
    Fault,
    /// 130: a second signal cut the drain short.
    Aborted,
}

impl Exit {
    /// The number that the parent process sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Config => 64,
            Self::Unavailable => 69,
            Self::Fault => 70,
            Self::Aborted => 130,
        }
    }

    /// What an error that ended the start means: the first cause in its chain that says so, otherwise a fault.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        for cause in error.chain() {
            if cause.is::<ConfigError>() {
                return Self::Config;
            }
            if cause.is::<Unreachable>() {
                return Self::Unavailable;
            }
        }
        Self::Fault
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A dependency that was not reachable within its start-up time: the process exits 69.
#[derive(Debug, thiserror::Error)]
#[error("{what} is not reachable: {reason}")]
pub struct Unreachable {
    /// The dependency and its address, e.g. `NATS at nats://127.0.0.1:4222`.
    pub what: String,
    /// What happened when it was tried.
    pub reason: String,
}
