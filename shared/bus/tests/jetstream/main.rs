//! The bus against a real nats-server: one file per story. Without a server the tests fail and say how to get one.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod batches;
mod consumers;
mod data_plane;
mod followers;
mod outages;
mod partitions;
mod publishing;
mod sandbox;
mod servers;
mod stores;
mod streams;
mod tracing_headers;
