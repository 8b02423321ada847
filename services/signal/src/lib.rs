//! signal: validates frames, cuts windows, decides on motion.
//!
//! [`order`] places each frame of a [`device`], [`link`] keeps the frames of one transmitter and layout in a [`window`],
//! [`detector`] judges each window, [`zone`] puts the links of a zone together, [`outputs`] puts it into words, and
//! [`pipeline`] is all of it as one function from frame to outputs: pure, with time from the frames. [`handler`] connects it
//! to the bus, `grpc` to callers.

pub mod config;
pub mod detector;
pub mod device;
mod grpc;
pub mod handler;
pub mod link;
pub mod order;
pub mod outputs;
pub mod pipeline;
pub mod window;
pub mod zone;

pub use config::{Config, Settings};
pub use handler::start;
pub use pipeline::{Input, Output, Pipeline, What};
