//! `fresnel watch`, `devices` and `replay` as people call them, on services that run in this process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod devices;
mod replay;
mod system;
mod watch;
