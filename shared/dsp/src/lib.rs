//! Signal processing on channel state information: pure functions and small state machines over slices of numbers.
//!
//! [`gain`] makes rows of normalised power from frames, [`clock`] puts them on a regular clock, [`autocorrelation`],
//! [`tone`] and [`motion`] decide whether anything moves, [`activity`] describes how. Nothing here reads a clock, logs,
//! or allocates per sample.

pub mod activity;
pub mod autocorrelation;
pub mod breathing;
pub mod butterworth;
pub mod clock;
pub mod gain;
pub mod hampel;
pub mod motion;
pub mod phase;
pub mod tone;
