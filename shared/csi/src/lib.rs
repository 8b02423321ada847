//! CSI frames, and the decoders that make them from what hardware sends.
//!
//! SKELETON: the types and signatures below are the contract that the services are written against.

pub mod frame;

pub use frame::{Frame, Layout, Ppdu, SampleFormat};
