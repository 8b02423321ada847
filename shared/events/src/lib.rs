//! The domain events of Fresnel: one declaration per event, from which type names, subjects, streams and schemas follow.
pub mod envelope;
pub mod id;
pub mod time;

pub use envelope::{DataSource, DomainEvent, EventEnvelope, Metadata};
pub use id::{Name, NameError};
pub use time::{Timestamp, TimestampError};
