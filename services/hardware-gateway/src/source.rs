//! Where frames come from.

pub mod replay;
pub mod udp;
