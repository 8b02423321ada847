//! The pose service on a real nats-server with the real ONNX Runtime, and its model package.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod model;
mod recordings;
mod sandbox;
mod stories;
