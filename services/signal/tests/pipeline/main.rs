//! The pipeline as a whole: on labelled recordings, on everything that is not motion, and over restarts.

// A test may panic: that is how it fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod anti_truth;
mod breathing;
mod fusion;
mod lasting;
mod level;
mod links;
mod movers;
mod packed;
mod pairs;
mod presence;
mod processing;
mod recordings_of_rooms;
mod restart;
mod source;
mod stages;
