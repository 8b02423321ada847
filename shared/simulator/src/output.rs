//! The forms in which simulated frames leave: datagrams, pcap, CSV, truth.

mod csv;
mod datagram;
mod pcap;
mod truth;

pub use csv::CsvFile;
pub use datagram::{DatagramLoop, datagram};
pub use pcap::PcapFile;
pub use truth::TruthFile;

/// Why an output could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The file.
    #[error("the output cannot be written")]
    Io(#[from] std::io::Error),
    /// The truth.
    #[error("the truth cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The scenario.
    #[error("the scenario is wrong")]
    Scenario(#[from] crate::scenario::ScenarioError),
    /// The frame does not fit the format.
    #[error("frame {sequence} of node {node} does not fit {format}: {reason}")]
    Frame {
        /// ADR-018 node.
        node: u8,
        /// Sequence number.
        sequence: u64,
        /// Format.
        format: &'static str,
        /// Why not.
        reason: String,
    },
}
