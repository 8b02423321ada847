//! What a source's own header says beyond what a frame holds, by the names that the reference decodings of public recordings
//! use: for `fresnel decode --raw --json`.

use serde_json::{Map, Value, json};

use crate::Frame;
use crate::decode::nexmon;

/// The header of one frame, as its source has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Header {
    /// Of a Nexmon datagram.
    Nexmon(nexmon::Header),
}

impl Header {
    /// The fields of the header of `frame`, by name.
    #[must_use]
    pub fn fields(&self, frame: &Frame) -> Map<String, Value> {
        let fields = match self {
            Self::Nexmon(header) => {
                let time_us = frame.receive_time_us;
                json!({
                    "ts_sec": time_us.div_euclid(1_000_000),
                    "ts_usec": time_us.rem_euclid(1_000_000),
                    "magic": nexmon::MAGIC,
                    "rssi_byte": header.rssi,
                    "frame_control_byte": header.frame_control,
                    "mac": header.transmitter.map(|byte| format!("{byte:02x}")).concat(),
                    "seq": header.sequence_control,
                    "core_stream": header.core_stream,
                    "chanspec": header.chanspec,
                    "chip": header.chip_version,
                    "shape": [frame.layout.len()],
                })
            }
        };
        match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }
}
