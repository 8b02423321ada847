//! A physical source of CSI: for machines without a recording, for load, and for exact truth.
//!
//! A [`Scenario`] says what is in the room: walls, a transmitter, receivers, furniture, people who walk or breathe, and how
//! good the radios are. [`Simulation`] turns it into frames, one after another, each with the [`Truth`] of its instant. The
//! same scenario and seed give the same frames; no clock is read.
//!
//! What is modelled: the direct path and the wall reflections up to a chosen order (image method, Allen and Berkley 1979),
//! each body as a point scatterer with a radar cross-section (bistatic radar equation), seen directly and by way of one
//! wall; per-packet common phase, carrier offset, packet-detection delay, gain steps, thermal noise, 8-bit numbers, lost and
//! late packets. What is not: shadowing of a path by a body, diffraction, furniture that a body hides, polarisation,
//! interference, and several scattering bodies in a row.
//!
//! Everything that leaves this crate is stamped as simulated: [`csi::Frame::simulated`], bit 7 of byte 19 of an ADR-018
//! datagram, the first line of a CSV file, the first line of a truth file.

mod body;
mod channel;
mod geometry;
mod output;
mod presets;
mod radio;
mod random;
mod scenario;
mod simulation;
mod truth;

pub use body::{Body, Breathing, Furniture, Walking};
pub use channel::{HT20_SPACING_HZ, Link, SPEED_OF_LIGHT_M_S, carrier_hz};
pub use geometry::Room;
pub use output::{CsvFile, DatagramLoop, OutputError, PcapFile, TruthFile, datagram};
pub use presets::PRESETS;
pub use scenario::{Layout, Radio, Receiver, Scenario, ScenarioError, Traffic, Transmitter};
pub use simulation::{SimulatedFrame, Simulation};
pub use truth::{BodyTruth, Interval, Truth};

#[cfg(test)]
mod tests;
