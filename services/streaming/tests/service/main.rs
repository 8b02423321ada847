//! The service against a real nats-server, with real gRPC and WebSocket clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod endings;
mod grpc;
mod support;
mod websocket;
