//! The truth beside an output, as JSON lines: first what was simulated, then one line for each frame.

use std::io::Write;

use serde::Serialize;

use super::OutputError;
use crate::scenario::Scenario;
use crate::simulation::SimulatedFrame;
use crate::truth::{Interval, Truth};

/// Writes a truth file.
pub struct TruthFile<W: Write> {
    out: W,
}

#[derive(Serialize)]
struct Head<'a> {
    simulated: bool,
    generator: &'static str,
    seed: u64,
    intervals: Vec<Interval>,
    scenario: &'a Scenario,
}

#[derive(Serialize)]
struct Line<'a> {
    node: u8,
    sequence: u64,
    receive_time_us: i64,
    device_time_us: Option<u64>,
    gain_db: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    snr_db: Option<f64>,
    clipped: u32,
    #[serde(flatten)]
    truth: &'a Truth,
}

impl<W: Write> TruthFile<W> {
    /// Begins a file: writes the scenario, the seed and the intervals of motion.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn new(mut out: W, scenario: &Scenario, seed: u64) -> Result<Self, OutputError> {
        let head = Head {
            simulated: true,
            generator: concat!("fresnel ", env!("CARGO_PKG_VERSION")),
            seed,
            intervals: scenario.intervals(),
            scenario,
        };
        serde_json::to_writer(&mut out, &head)?;
        out.write_all(b"\n")?;
        Ok(Self { out })
    }

    /// Appends the truth of one frame.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write(&mut self, simulated: &SimulatedFrame) -> Result<(), OutputError> {
        let line = Line {
            node: simulated.node,
            sequence: simulated.frame.sequence,
            receive_time_us: simulated.frame.receive_time_us,
            device_time_us: simulated.frame.device_time_us,
            gain_db: simulated.gain_db,
            snr_db: simulated.snr_db,
            clipped: simulated.clipped,
            truth: &simulated.truth,
        };
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// Flushes, and gives the writer back.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn finish(mut self) -> Result<W, OutputError> {
        self.out.flush()?;
        Ok(self.out)
    }
}
