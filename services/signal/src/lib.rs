//! signal: validates frames, cuts windows, decides on motion and presence.
//!
//! [`order`] places each frame of a [`device`], [`link`] keeps the frames of one transmitter and layout in a [`window`],
//! [`detector`] judges each window, [`breathing`] listens for a breath in the still time, [`baseline`] holds the channel against
//! that of the empty room, [`zone`] puts the links of a zone together and asks [`presence`] about it, [`outputs`] puts it into words, and
//! [`pipeline`] is all of it as one function from frame to outputs: pure, with time from the frames. `worker` connects one to the frames
//! of a partition, [`handler`] shares the partitions among processes, `board` shows the zones to callers, `grpc` serves them.

pub mod baseline;
mod board;
pub mod breathing;
pub mod calibration;
pub mod config;
pub mod detector;
pub mod device;
pub mod false_alarms;
pub mod fusion;
mod grpc;
pub mod handler;
pub mod history;
pub mod link;
pub mod masks;
pub mod onset;
pub mod order;
pub mod outputs;
pub mod pipeline;
pub mod presence;
pub mod processing;
mod spectrogram;
pub mod thresholds;
mod watch;
pub mod window;
mod worker;
pub mod zone;

pub use config::{Config, Settings};
pub use handler::start;
pub use pipeline::{Input, Output, Pipeline, What};
