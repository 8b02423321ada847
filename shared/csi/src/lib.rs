//! CSI frames, and the decoders that make them from what hardware sends.
//!
//! [`Frame`] is the channel as it was measured on one packet; [`Layout`] says which subcarrier each sample lies on and which
//! of them are measurements. [`decode`] has one module for each form in which hardware delivers CSI, [`read`] walks through
//! a whole recording of any of them, and [`wire`] is the form of a frame on the data plane.
//!
//! Everything here is synchronous, reads no clock, and treats its input as hostile: a damaged packet or line is an error
//! that says what was expected, what was found and where, and never a panic or an allocation by an unchecked count.

pub mod decode;
pub mod frame;
pub mod layout;
pub mod mcap;
pub mod read;
pub mod wire;

pub use frame::{Chain, Frame, Layout, Ppdu, SampleFormat};
