//! The runtime as its users see it: processes with exit codes, and gRPC, HTTP and OTLP over loopback.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod edge;
mod in_process;
mod otlp;
mod process;
#[path = "../sample/sample.rs"]
mod sample;
mod settings;
mod workflows;
