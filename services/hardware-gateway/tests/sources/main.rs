//! The gateway's sources from the outside: real sockets, ptys and files, a real nats-server.

// A test may panic: that is how it fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod admission;
mod bytes;
mod cards;
mod identity;
mod kinds;
mod sandbox;
mod status;
