//! One row for each frame.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};

use events::DataSource;
use hardware_gateway::recording::frames::Item;

/// The columns.
const HEADER: &str = "device,zone,data_source,sequence,counted,receive_time_us,device_time_us,rssi_dbm,noise_floor_dbm,agc,\
    channel,frequency_mhz,bandwidth_mhz,ppdu,antennas,layout,subcarriers,valid,re,im";

/// Writes the frames, one after another.
pub fn write(items: impl Iterator<Item = Item>, mut out: impl Write) -> io::Result<()> {
    writeln!(out, "{HEADER}")?;
    let mut line = String::new();
    for item in items {
        line.clear();
        row(&item, &mut line);
        line.push('\n');
        out.write_all(line.as_bytes())?;
    }
    out.flush()
}

fn row(item: &Item, line: &mut String) {
    let frame = &item.frame;
    let source = match item.source {
        DataSource::Live => "live",
        DataSource::Replay => "replay",
        DataSource::Simulated => "simulated",
    };
    text(&item.from, line);
    line.push(',');
    text(&item.zone, line);
    // Writing to a String cannot fail.
    let _ = write!(
        line,
        ",{source},{},{},{},{},",
        frame.sequence,
        u8::from(frame.counted),
        frame.receive_time_us,
        absent(frame.device_time_us)
    );
    list(&frame.rssi_dbm, line);
    let _ = write!(
        line,
        ",{},{},{},{},{},{:?},{},",
        absent(frame.noise_floor_dbm),
        absent(frame.agc),
        absent(frame.channel),
        absent(frame.frequency_mhz),
        absent(frame.bandwidth_mhz),
        frame.ppdu,
        frame.antennas
    );
    text(frame.layout.name, line);
    line.push(',');
    list(&frame.layout.subcarriers, line);
    line.push(',');
    list(
        frame.layout.valid.iter().map(|valid| u8::from(*valid)),
        line,
    );
    line.push(',');
    list(frame.samples.iter().map(|sample| sample.re), line);
    line.push(',');
    list(frame.samples.iter().map(|sample| sample.im), line);
}

fn absent(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn list(values: impl IntoIterator<Item = impl Display>, line: &mut String) {
    for (index, value) in values.into_iter().enumerate() {
        let blank = if index == 0 { "" } else { " " };
        let _ = write!(line, "{blank}{value}");
    }
}

/// Text that may hold what CSV (RFC 4180) gives a meaning.
fn text(text: &str, line: &mut String) {
    if text.contains([',', '"', '\n', '\r']) {
        let _ = write!(line, "\"{}\"", text.replace('"', "\"\""));
    } else {
        line.push_str(text);
    }
}
