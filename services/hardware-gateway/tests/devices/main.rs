//! Devices and zones from the outside: a real nats-server, real gRPC, real datagrams.

// A test may panic: that is how it fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod calibration;
mod configuration;
mod edge;
mod health;
mod maintenance;
mod moving;
mod sandbox;
mod simulated;
mod zones;
