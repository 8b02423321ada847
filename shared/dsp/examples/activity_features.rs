//! Writes the activity features of recordings as CSV, for `training/train_activity.py`: the very numbers that the model is
//! given when it runs.
//!
//! `cargo run -p dsp --example activity_features -- FILE... > features.csv`: one row for each window of
//! [`activity::WINDOW_US`], every second of the recording's time. Windows without enough frames have no row.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use csi::read::{Format, Options, Reader};
use dsp::activity::{self, Extractor};

const HOP_US: i64 = 1_000_000;

/// The frames of one transmitter in one layout and packet format: what a window may not mix.
struct Link {
    extractor: Extractor,
    next_end_us: i64,
}

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let mut run = || -> Result<(), String> {
        writeln!(
            out,
            "file,link,start_us,end_us,{}",
            activity::NAMES.join(",")
        )
        .map_err(|e| e.to_string())?;
        for file in std::env::args().skip(1) {
            recording(&file, &mut out).map_err(|error| format!("{file}: {error}"))?;
        }
        Ok(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn recording(file: &str, out: &mut impl Write) -> Result<(), String> {
    let bytes = std::fs::read(file).map_err(|e| e.to_string())?;
    let reader = Reader::new(bytes.into(), file, Format::Auto, Options::default())
        .map_err(|e| e.to_string())?;
    let mut links: BTreeMap<String, Link> = BTreeMap::new();
    let (mut powers, mut features, mut malformed) = (Vec::new(), Vec::new(), 0_u32);
    for frame in reader {
        let Ok(frame) = frame else {
            malformed += 1;
            continue;
        };
        let name = format!(
            "{:02x?}/{}/{:?}",
            frame.transmitter.unwrap_or_default(),
            frame.layout.name,
            frame.ppdu
        )
        .replace(", ", ":");
        let time_us = frame.receive_time_us;
        let link = links.entry(name.clone()).or_insert_with(|| Link {
            extractor: Extractor::new(&frame.layout.subcarriers, frame.antennas.into()),
            next_end_us: (time_us.div_euclid(HOP_US) + 1) * HOP_US,
        });
        while time_us >= link.next_end_us {
            let (start, end) = (link.next_end_us - activity::WINDOW_US, link.next_end_us);
            if link.extractor.window(start, end, &mut features).is_ok() {
                let values: Vec<String> = features.iter().map(f32::to_string).collect();
                writeln!(out, "{file},{name},{start},{end},{}", values.join(","))
                    .map_err(|e| e.to_string())?;
            }
            // After a gap the windows in between hold nothing.
            let behind = (time_us - link.next_end_us).div_euclid(HOP_US);
            link.next_end_us += HOP_US * if behind > 10 { behind } else { 1 };
        }
        powers.clear();
        powers.extend(frame.samples.iter().map(num_complex::Complex32::norm_sqr));
        link.extractor.push(time_us, &powers, &frame.layout.valid);
    }
    if malformed > 0 {
        eprintln!("{file}: {malformed} malformed frames left out");
    }
    Ok(())
}
