//! Stories of the whole system: real processes, a real nats-server, real recordings, clients as others write them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod anti_truth;
mod calibration;
mod command_line;
mod kill_and_restart;
mod live;
mod malformed;
mod processing;
mod recording_to_alert;
mod reflection;
mod scale_out;
mod soak;
mod tracing_story;
