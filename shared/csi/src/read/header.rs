//! What a source's own header says beyond what a frame holds, by the names that the reference decodings of public recordings
//! use: for `fresnel decode --raw --json`.

use serde_json::{Map, Value, json};

use crate::Frame;
use crate::decode::nexmon;

/// The fields of the header of a Nexmon datagram, which made `frame`.
pub(super) fn nexmon(header: &nexmon::Header, frame: &Frame) -> Map<String, Value> {
    let time_us = frame.receive_time_us;
    object(json!({
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
    }))
}

/// The fields of an ADR-018 datagram of `node`, which made `frame`.
pub(super) fn adr018(node: u8, frame: &Frame) -> Map<String, Value> {
    object(json!({
        "node_id": node,
        "n_antennas": frame.antennas,
        "n_subcarriers": frame.layout.len(),
        "freq_mhz": frame.frequency_mhz,
        "seq": frame.sequence,
        "rssi": frame.rssi_dbm.first(),
        "noise_floor": frame.noise_floor_dbm,
        "packet_len": frame.raw_size,
    }))
}

/// What belongs to a line of text: its number among the lines of data, counted from 0, and the counts of its list.
pub(super) fn line(line: u64, frame: &Frame) -> Map<String, Value> {
    object(json!({
        "line": line,
        "values": 2 * frame.samples.len(),
        "shape": [frame.layout.len()],
    }))
}

fn object(fields: Value) -> Map<String, Value> {
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
