//! Writes what the probes of activities see, for Python: `cargo run --locked -p accuracy --example dump -- FOLDER`.
//!
//! For each recording of thu4n, csi-har (with the unseen subjects, where they are to be had) and fition `NAME.windows.csv` has a line for each window with features (begin and end in
//! seconds, whether it is a sample of thu4n's probes, statistic, features, course, profile), and `NAME.f32` its frames: time in
//! seconds, then the power of each sample, little-endian; of the kind of frames (transmitter, layout, antennas) that is most
//! frequent. `recordings.csv` lists them with label, session, room and the samples of a frame.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use accuracy::path;
use accuracy::sets::{Set, Take};
use anyhow::Context as _;
use csi::Frame;
use recordings::{Catalogue, Places};

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).context("which folder?")?;
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder)?;
    let places = Places::from_environment();
    let catalogue = Catalogue::built_in()?;
    let mut list = String::from("set,name,label,session,room,length_s,samples,valid\n");
    for set in [
        Set::Thu4n,
        Set::CsiHar,
        Set::CsiHarUnseen,
        Set::CsiHarUnseenMore,
        Set::Fition,
    ] {
        for take in set.takes(&places)?.unwrap_or_default() {
            let recording = catalogue.find(&take.entry.name, &places)?;
            let (samples, valid) = frames(&path::frames(&recording)?, &take.entry.name, &folder)?;
            windows(&take, &folder)?;
            writeln!(
                list,
                "{},{},{},{},{},{},{samples},{valid}",
                set.source(),
                take.entry.name,
                take.entry.label().unwrap_or_default(),
                take.session,
                take.entry.room.as_deref().unwrap_or_default(),
                take.length_s,
            )?;
        }
    }
    std::fs::write(folder.join("recordings.csv"), list)?;
    Ok(())
}

fn windows(take: &Take, folder: &Path) -> anyhow::Result<()> {
    let mut text = String::new();
    for window in &take.windows {
        if window.features.is_empty() {
            continue;
        }
        let sample = u8::from(take.truth(window).is_some());
        write!(text, "{},{},{sample}", window.start_s, window.end_s)?;
        write!(text, ",{}", window.score.unwrap_or_default())?;
        for value in window
            .features
            .iter()
            .chain(&window.course)
            .chain(&window.profile)
        {
            write!(text, ",{value}")?;
        }
        text.push('\n');
    }
    std::fs::write(
        folder.join(format!("{}.windows.csv", take.entry.name)),
        text,
    )?;
    Ok(())
}

/// Writes the frames of the most frequent kind; gives the samples of a frame and which are valid, as a string of 0 and 1.
fn frames(frames: &[Frame], name: &str, folder: &Path) -> anyhow::Result<(usize, String)> {
    let all: Vec<&Frame> = frames.iter().collect();
    let (kind, chosen) =
        path::most_frequent_kind(&all).with_context(|| format!("{name} has no frames"))?;
    let begin = frames.first().map_or(0, |frame| frame.receive_time_us);
    let mut bytes = Vec::new();
    for frame in chosen {
        let time = (frame.receive_time_us - begin) as f64 / 1e6;
        bytes.extend_from_slice(&(time as f32).to_le_bytes());
        for sample in &frame.samples {
            bytes.extend_from_slice(&sample.norm_sqr().to_le_bytes());
        }
    }
    std::fs::write(folder.join(format!("{name}.f32")), bytes)?;
    let valid = kind
        .layout
        .valid
        .iter()
        .map(|valid| u8::from(*valid).to_string());
    Ok((kind.samples.len(), valid.collect()))
}
