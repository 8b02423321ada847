//! Espressif's CSV with 25 columns. The first line says that the file is simulated.

use std::io::Write;

use csi::decode::esp32_csv::{SIMULATED_LINE, write_line};

use super::OutputError;
use crate::scenario::Scenario;
use crate::simulation::SimulatedFrame;

/// A CSV file of one receiver: the format names the transmitter of a frame, not its receiver.
pub struct CsvFile<W: Write> {
    out: W,
    line: String,
}

impl<W: Write> CsvFile<W> {
    /// Begins a file: writes its first line.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn new(mut out: W, scenario: &Scenario, seed: u64) -> Result<Self, OutputError> {
        let version = env!("CARGO_PKG_VERSION");
        // Debug form: a name with a line break in it stays on this line.
        writeln!(
            out,
            "{SIMULATED_LINE} {version}: scenario {:?}, seed {seed}",
            scenario.name
        )?;
        Ok(Self {
            out,
            line: String::new(),
        })
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// When the writer fails; [`OutputError::Frame`] where the samples are not 8-bit numbers.
    pub fn write(&mut self, simulated: &SimulatedFrame) -> Result<(), OutputError> {
        self.line.clear();
        write_line(&simulated.frame, &mut self.line).map_err(|error| OutputError::Frame {
            node: simulated.node,
            sequence: simulated.frame.sequence,
            format: "Espressif's CSV",
            reason: error.to_string(),
        })?;
        self.out.write_all(self.line.as_bytes())?;
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

#[cfg(test)]
mod tests {
    use csi::decode::esp32_csv::Decoder;

    use super::*;
    use crate::simulation::Simulation;

    #[test]
    fn a_file_reads_back_and_says_that_it_is_simulated() {
        let mut scenario = Scenario::preset("walk").expect("a preset");
        scenario.duration_s = 1.0;
        scenario.name = "two\nlines".into();
        let mut file = CsvFile::new(Vec::new(), &scenario, 7).expect("first line");
        let frames: Vec<_> = Simulation::new(&scenario, 7, 0).expect("valid").collect();
        for simulated in &frames {
            file.write(simulated).expect("a line");
        }
        let bytes = file.finish().expect("flush");
        let text = std::str::from_utf8(&bytes).expect("text");
        assert!(text.starts_with("# simulated by fresnel "), "{text:.60}");
        assert_eq!(text.lines().count(), frames.len() + 1);

        let mut decoder = Decoder::new();
        let mut decoded = Vec::new();
        for line in text.lines() {
            decoded.extend(decoder.line(line.as_bytes(), None).expect("a good line"));
        }
        assert_eq!(decoded.len(), frames.len());
        for (read, simulated) in decoded.iter().zip(&frames) {
            assert!(read.simulated);
            assert_eq!(read.samples, simulated.frame.samples);
            assert_eq!(read.layout, simulated.frame.layout);
            assert_eq!(read.rssi_dbm, simulated.frame.rssi_dbm);
            assert_eq!(read.sequence, simulated.frame.sequence);
            assert_eq!(read.transmitter, simulated.frame.transmitter);
        }
        let elapsed = |frame: &csi::Frame| frame.device_time_us.expect("a device clock");
        let (first, last) = (&decoded[0], &decoded[decoded.len() - 1]);
        assert_eq!(
            elapsed(last) - elapsed(first),
            elapsed(&frames[frames.len() - 1].frame) - elapsed(&frames[0].frame)
        );
    }
}
