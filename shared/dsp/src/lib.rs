//! Signal processing on channel state information: pure functions and small state machines over slices of numbers.
//!
//! [`split`] lays a frame out for vector instructions, [`gain`] makes rows of normalised power from frames and [`phase`] rows of what is left of the phase; [`hampel`] and
//! [`butterworth`] clean streams, [`clock`] puts them on a regular clock, [`select`] and [`pca`] make few of many.
//! [`autocorrelation`], [`tone`] and [`motion`] decide whether anything moves, [`speed`] and [`doppler`] how fast,
//! [`activity`] describes how, [`breathing`] finds the rate of one who keeps still, [`mover`] what turns steadily, [`cusum`] when a level changed. Nothing
//! here reads a clock, logs, or allocates per frame once it is warm.

pub mod activity;
pub mod autocorrelation;
pub mod breathing;
pub mod butterworth;
pub mod circular;
pub mod clock;
pub mod cusum;
pub mod doppler;
mod eigen;
pub mod gain;
pub mod hampel;
mod lanes;
pub mod level;
pub mod motion;
pub mod mover;
pub mod pca;
pub mod periodic;
mod periodogram;
pub mod phase;
pub mod robust;
pub mod select;
pub mod speed;
pub mod split;
pub mod tone;
