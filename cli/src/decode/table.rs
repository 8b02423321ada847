//! A recording for people: its first frames, and what it holds in all.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::Table;
use csi::Frame;
use csi::read::{Format, Reader};

use super::shown;

/// What is known after all frames.
pub(super) struct Summary {
    format: Format,
    has_time: bool,
    rows: Table,
    limit: u64,
    frames: u64,
    simulated: bool,
    /// Layout with its subcarriers and measured subcarriers, and frames of it.
    layouts: BTreeMap<(&'static str, usize, usize), u64>,
    nodes: BTreeMap<u8, u64>,
    transmitters: BTreeMap<[u8; 6], u64>,
    channels: BTreeMap<u8, u64>,
    rssi_dbm: Option<(i8, i8)>,
    time_us: Option<(i64, i64)>,
}

impl Summary {
    pub(super) fn new(reader: &Reader, limit: u64) -> Self {
        let mut rows = Table::new();
        rows.load_style(comfy_table::presets::NOTHING);
        rows.set_header([
            "index",
            "time s",
            "rssi dBm",
            "noise dBm",
            "channel",
            "MHz",
            "layout",
            "first samples",
        ]);
        Self {
            format: reader.format(),
            has_time: reader.has_time(),
            rows,
            limit,
            frames: 0,
            simulated: false,
            layouts: BTreeMap::new(),
            nodes: BTreeMap::new(),
            transmitters: BTreeMap::new(),
            channels: BTreeMap::new(),
            rssi_dbm: None,
            time_us: None,
        }
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    pub(super) fn add(&mut self, frame: &Frame, node: Option<u8>, raw: bool) {
        if self.has_time {
            let time = frame.time_us();
            let (first, last) = self.time_us.unwrap_or((time, time));
            self.time_us = Some((first.min(time), last.max(time)));
        }
        if self.frames < self.limit {
            self.row(frame, raw);
        }
        self.frames += 1;
        self.simulated |= frame.simulated;
        let layout = &frame.layout;
        *self
            .layouts
            .entry((layout.name, layout.len(), layout.measured().count()))
            .or_default() += 1;
        for rssi in &frame.rssi_dbm {
            let (least, most) = self.rssi_dbm.unwrap_or((*rssi, *rssi));
            self.rssi_dbm = Some((least.min(*rssi), most.max(*rssi)));
        }
        if let Some(node) = node {
            *self.nodes.entry(node).or_default() += 1;
        }
        if let Some(mac) = frame.transmitter {
            *self.transmitters.entry(mac).or_default() += 1;
        }
        if let Some(channel) = frame.channel {
            *self.channels.entry(channel).or_default() += 1;
        }
    }

    fn row(&mut self, frame: &Frame, raw: bool) {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let first = self.time_us.map_or(0, |(first, _)| first);
        let time = self
            .has_time
            .then(|| format!("{:.6}", seconds(frame.time_us() - first)));
        let mut samples = shown(frame, raw).filter_map(|(position, _)| frame.sample(0, position));
        let samples: Vec<String> = samples
            .by_ref()
            .take(4)
            .map(|sample| sample.to_string())
            .collect();
        let rssi: Vec<String> = frame.rssi_dbm.iter().map(ToString::to_string).collect();
        self.rows.add_row([
            self.frames.to_string(),
            or_dash(time),
            or_dash((!rssi.is_empty()).then(|| rssi.join(" "))),
            or_dash(frame.noise_floor_dbm.map(|noise| noise.to_string())),
            or_dash(frame.channel.map(|channel| channel.to_string())),
            or_dash(frame.bandwidth_mhz.map(|bandwidth| bandwidth.to_string())),
            frame.layout.name.to_owned(),
            samples.join(" "),
        ]);
    }

    /// The table and the summary. `malformed`: places that are no frames; `restarts`: of the device.
    pub(super) fn finish(&self, malformed: u64, restarts: u32) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(malformed, restarts, &mut text);
        text
    }

    fn write(&self, malformed: u64, restarts: u32, text: &mut String) -> std::fmt::Result {
        if self.frames > 0 && self.limit > 0 {
            writeln!(text, "{}\n", self.rows)?;
        }
        let stamp = if self.simulated { ", simulated" } else { "" };
        writeln!(text, "format      {}{stamp}", self.format)?;
        writeln!(
            text,
            "frames      {}, malformed places {malformed}",
            self.frames
        )?;
        match self.time_us {
            Some((first, last)) if last > first => {
                let (duration, intervals) = (seconds(last - first), self.frames.saturating_sub(1));
                // Frames are far below 2^52.
                #[allow(clippy::cast_precision_loss)]
                let rate = intervals as f64 / duration;
                writeln!(
                    text,
                    "duration    {duration:.3} s, {rate:.1} frames per second"
                )?;
            }
            _ if !self.has_time => {
                writeln!(text, "duration    unknown: no time stamps; give --rate")?
            }
            _ => {}
        }
        if restarts > 0 {
            writeln!(
                text,
                "restarts    the device started again {restarts} times; times behind that are lower bounds"
            )?;
        }
        for ((name, subcarriers, measured), frames) in &self.layouts {
            writeln!(
                text,
                "layout      {name}: {frames} frames of {subcarriers} samples, {measured} measured"
            )?;
        }
        for (node, frames) in &self.nodes {
            writeln!(text, "node        {node}: {frames} frames")?;
        }
        for (mac, frames) in &self.transmitters {
            let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
            writeln!(text, "transmitter {mac}: {frames} frames")?;
        }
        for (channel, frames) in &self.channels {
            writeln!(text, "channel     {channel}: {frames} frames")?;
        }
        match self.rssi_dbm {
            Some((least, most)) => writeln!(text, "RSSI        {least} to {most} dBm"),
            None => writeln!(text, "RSSI        not measured"),
        }
    }
}

// Microseconds of a recording are far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}
