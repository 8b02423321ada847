//! One frame as one line of JSON.

use std::fmt::{Display, Write as _};

use serde_json::{Map, Value};

use csi::decode::record::Header;
use csi::{Frame, Ppdu, SampleFormat};

use super::shown;

/// Appends a line: `index`, `device_time_us`, `rssi_dbm`, `noise_floor_dbm`, `channel`, `bandwidth_mhz`, `antennas`,
/// `subcarriers`, `re`, `im`, and what else the frame says. What was not measured is null; with one antenna `rssi_dbm` is a
/// number, with several a list. `re` and `im` are antenna by antenna; whole numbers are written without a point.
///
/// With `raw` and the header of a network card's record, `re` and `im` are subcarrier by subcarrier, for each receive chain
/// (outer) and transmit stream (inner); and the line has `n_rx`, `n_tx`, `shape` (of `re` and `im`) and the fields of the header
/// as they stand there.
pub(super) fn write(
    frame: &Frame,
    index: u64,
    node: Option<u8>,
    has_time: bool,
    raw: bool,
    header: Option<&Header>,
    line: &mut String,
) {
    // Writing to a String cannot fail.
    let _ = write_all(frame, index, node, has_time, raw, header, line);
}

/// Adds fields of the source's own header to a line, where the line does not have a field of that name yet.
pub(super) fn add(fields: &Map<String, Value>, line: &mut String) {
    let Some(rest) = line.strip_suffix("}\n").map(str::len) else {
        return;
    };
    line.truncate(rest);
    for (name, value) in fields {
        if !line.contains(&format!("\"{name}\":")) {
            // Writing to a String cannot fail.
            let _ = write!(line, ",\"{name}\":{value}");
        }
    }
    line.push_str("}\n");
}

fn write_all(
    frame: &Frame,
    index: u64,
    node: Option<u8>,
    has_time: bool,
    raw: bool,
    header: Option<&Header>,
    line: &mut String,
) -> std::fmt::Result {
    write!(line, "{{\"index\":{index},\"sequence\":")?;
    optional(line, frame.counted.then_some(frame.sequence))?;
    line.push_str(",\"device_time_us\":");
    optional(line, frame.device_time_us)?;
    line.push_str(",\"receive_time_us\":");
    optional(line, has_time.then_some(frame.receive_time_us))?;
    line.push_str(",\"rssi_dbm\":");
    match frame.rssi_dbm.as_slice() {
        [] => line.push_str("null"),
        [one] => write!(line, "{one}")?,
        several => list(line, several)?,
    }
    line.push_str(",\"noise_floor_dbm\":");
    optional(line, frame.noise_floor_dbm)?;
    line.push_str(",\"agc\":");
    optional(line, frame.agc)?;
    line.push_str(",\"channel\":");
    optional(line, frame.channel)?;
    line.push_str(",\"frequency_mhz\":");
    optional(line, frame.frequency_mhz)?;
    line.push_str(",\"bandwidth_mhz\":");
    optional(line, frame.bandwidth_mhz)?;
    let ppdu = match frame.ppdu {
        Ppdu::Unknown => "null",
        Ppdu::NonHt => "\"non_ht\"",
        Ppdu::Ht => "\"ht\"",
        Ppdu::Vht => "\"vht\"",
        Ppdu::He => "\"he\"",
        Ppdu::Eht => "\"eht\"",
    };
    write!(line, ",\"ppdu\":{ppdu},\"node\":")?;
    optional(line, node)?;
    line.push_str(",\"transmitter\":");
    match frame.transmitter {
        Some(mac) => write!(
            line,
            "\"{}\"",
            mac.map(|byte| format!("{byte:02x}")).join(":")
        )?,
        None => line.push_str("null"),
    }
    line.push_str(",\"core\":");
    optional(line, frame.chain.map(|chain| chain.core))?;
    line.push_str(",\"stream\":");
    optional(line, frame.chain.map(|chain| chain.stream))?;
    let (antennas, layout) = (frame.antennas, frame.layout.name);
    write!(
        line,
        ",\"simulated\":{},\"layout\":\"{layout}\",\"antennas\":{antennas}",
        frame.simulated
    )?;
    line.push_str(",\"subcarriers\":");
    list(line, shown(frame, raw).map(|(_, subcarrier)| subcarrier))?;
    let header = header.filter(|_| raw);
    let by_subcarrier = header.is_some();
    let parts = || {
        let inner = if by_subcarrier {
            usize::from(antennas)
        } else {
            shown(frame, raw).count()
        };
        let positions: Vec<usize> = shown(frame, raw).map(|(position, _)| position).collect();
        (0..usize::from(antennas) * positions.len()).filter_map(move |place| {
            let (outer, inner) = (place / inner, place % inner);
            let (antenna, position) = if by_subcarrier {
                (inner, outer)
            } else {
                (outer, inner)
            };
            frame.sample(antenna.try_into().ok()?, *positions.get(position)?)
        })
    };
    if let Some(header) = header {
        write_header(frame, header, line)?;
    }
    line.push_str(",\"re\":");
    list(line, parts().map(|sample| sample.re))?;
    line.push_str(",\"im\":");
    // A source of amplitudes has measured no imaginary part.
    match frame.format {
        SampleFormat::Af32 => line.push_str("null"),
        SampleFormat::Ci8 | SampleFormat::Ci16 | SampleFormat::Cf32 => {
            list(line, parts().map(|sample| sample.im))?
        }
    }
    line.push_str("}\n");
    Ok(())
}

fn write_header(frame: &Frame, header: &Header, line: &mut String) -> std::fmt::Result {
    let (n_rx, n_tx) = (frame.receive_chains(), frame.transmit_streams);
    let tones = frame.layout.len();
    write!(
        line,
        ",\"n_rx\":{n_rx},\"n_tx\":{n_tx},\"shape\":[{tones},{n_rx},{n_tx}],\"scale\":"
    )?;
    optional(line, frame.scale)?;
    // A struct of numbers and texts: always an object.
    if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(header) {
        let fields = fields
            .iter()
            .filter(|(key, _)| !["n_rx", "n_tx"].contains(&key.as_str()));
        for (key, value) in fields {
            write!(line, ",\"{key}\":{value}")?;
        }
    }
    Ok(())
}

fn optional(line: &mut String, value: Option<impl Display>) -> std::fmt::Result {
    match value {
        Some(value) => write!(line, "{value}"),
        None => line.write_str("null"),
    }
}

/// `Display` writes a float with the fewest digits that read the same, and a whole one without a point.
fn list(line: &mut String, values: impl IntoIterator<Item = impl Display>) -> std::fmt::Result {
    line.push('[');
    for (index, value) in values.into_iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        write!(line, "{value}")?;
    }
    line.push(']');
    Ok(())
}
