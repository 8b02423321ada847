//! The domain events of Fresnel: one declaration per event, from which type names, subjects, streams and schemas follow.
//!
//! To add an event, declare it in the file of its context (`pose.rs`, say), in the macro `events!`; then
//! `FRESNEL_WRITE_WIRE=1 cargo test -p events` writes its bytes into `tests/wire/`, where they stay decodable for ever.

pub mod alerting;
pub mod auth;
pub mod hardware;
pub mod job;
pub mod model;
pub mod pipeline;
pub mod pose;
pub mod security;
pub mod signal;
pub mod streaming;
pub mod types;
pub mod workflow;

mod asyncapi;
pub mod catalogue;
mod declare;
pub mod envelope;
mod event;
pub mod id;
mod key;
mod outgoing;
mod schema;
pub mod time;
mod upgrade;
pub mod wire;

pub use asyncapi::asyncapi;
pub use catalogue::{EventInfo, StreamInfo, catalogue, find, stream_of, streams};
pub use envelope::{DataSource, DomainEvent, EventEnvelope, Metadata};
pub use event::{DecodeError, Event};
pub use id::*;
pub use key::token;
pub use outgoing::OutgoingEvent;
pub use schema::{any_envelope_schema, envelope_schema};
pub use time::{Timestamp, TimestampError};
pub use wire::Base64;
