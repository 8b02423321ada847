//! Windows and their summary, as JSON lines or for people.

use std::io::{self, Write};

use proto::signal::v1::LinkState;
use serde_json::{Value, json};
use signal::Settings;

use super::combine::Combined;

/// Writes lines.
pub struct Lines<W> {
    out: W,
    json: bool,
    features: bool,
    header: bool,
}

impl<W: Write> Lines<W> {
    /// To `out`; `features` adds those of each window to the JSON.
    pub fn new(out: W, json: bool, features: bool) -> Self {
        Self {
            out,
            json,
            features,
            header: false,
        }
    }

    /// One window.
    pub fn window(&mut self, window: &Combined) -> io::Result<()> {
        if self.json {
            return writeln!(self.out, "{}", self.object(window));
        }
        if !self.header {
            self.header = true;
            writeln!(
                self.out,
                "{:>8} {:>8}  {:<8} {:>6} {:>7}  {:>6}  WHY",
                "START", "END", "STATE", "SCORE", "QUALITY", "FRAMES"
            )?;
        }
        let score = window
            .deciding
            .motion_score
            .map_or_else(|| "-".to_owned(), |score| format!("{score:.2}"));
        let device = if window.device == "recording" {
            String::new()
        } else {
            format!(" ({})", window.device)
        };
        let line = format!(
            "{:>8.1} {:>8.1}  {:<8} {score:>6} {:>7.2}  {:>6}  {}{device}",
            seconds(window.start_us),
            seconds(window.end_us),
            state(window),
            window.deciding.quality,
            window.frames,
            window.deciding.reason,
        );
        writeln!(self.out, "{}", line.trim_end())
    }

    fn object(&self, window: &Combined) -> Value {
        let deciding = &window.deciding;
        let mut object = json!({
            "start_s": seconds(window.start_us),
            "end_s": seconds(window.end_us),
            "state": state(window),
            "threshold": rounded(deciding.motion_threshold),
            "quality": rounded(deciding.quality),
            "frames": window.frames,
            "frame_rate_hz": rounded(deciding.frame_rate_hz),
            "device": window.device,
        });
        let Some(fields) = object.as_object_mut() else {
            return object;
        };
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        if let Some(score) = deciding.motion_score {
            put("motion_score", rounded(score));
        }
        if let Some(missed) = deciding.frames_missed {
            put("frames_missed", missed.into());
        }
        if !deciding.reason.is_empty() {
            put("reason", deciding.reason.clone().into());
        }
        if window.links > 1 {
            put("links", window.links.into());
        }
        if self.features && !deciding.features.is_empty() {
            put("feature_schema", deciding.feature_schema.clone().into());
            put(
                "features",
                deciding
                    .features
                    .iter()
                    .map(|value| rounded(*value))
                    .collect(),
            );
        }
        object
    }

    /// The last line.
    pub fn summary(&mut self, summary: &Summary, malformed: u64) -> io::Result<()> {
        if self.json {
            writeln!(
                self.out,
                "{}",
                json!({ "summary": summary.object(malformed) })
            )?;
        } else {
            let motion = summary.first_motion_us.map_or_else(
                || "no motion".to_owned(),
                |time_us| format!("motion first in the window from {:.1} s", seconds(time_us)),
            );
            writeln!(
                self.out,
                "\n{} frames in {:.1} s, {malformed} malformed; motion {:.1} s, still {:.1} s, unknown {:.1} s; {motion}",
                summary.frames,
                summary.duration_s,
                summary.motion_s,
                summary.still_s,
                summary.unknown_s
            )?;
        }
        self.out.flush()
    }
}

/// What was seen of the whole.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    frames: u64,
    duration_s: f64,
    windows: u64,
    motion_s: f64,
    still_s: f64,
    unknown_s: f64,
    first_motion_us: Option<i64>,
    hop_s: f64,
    window_s: f64,
    threshold: f64,
    newest_end_us: Option<i64>,
}

impl Summary {
    /// Nothing so far.
    pub fn new(settings: &Settings) -> Self {
        Self {
            hop_s: settings.hop_s,
            window_s: settings.window_s,
            threshold: settings.threshold,
            ..Self::default()
        }
    }

    /// A frame so many seconds after the first.
    pub fn frame(&mut self, second: f64) {
        self.frames += 1;
        self.duration_s = self.duration_s.max(second);
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// A window. Windows overlap: each counts for the time that it adds.
    pub fn window(&mut self, window: &Combined) {
        self.windows += 1;
        let length = seconds(window.end_us - window.start_us);
        let adds = match self.newest_end_us {
            None => length,
            Some(newest) => seconds(window.end_us - newest).clamp(0.0, length),
        };
        self.newest_end_us = Some(
            self.newest_end_us
                .map_or(window.end_us, |newest| newest.max(window.end_us)),
        );
        match window.deciding.state() {
            LinkState::Motion => {
                self.motion_s += adds;
                self.first_motion_us.get_or_insert(window.start_us);
            }
            LinkState::Still => self.still_s += adds,
            LinkState::Unknown | LinkState::Unspecified => self.unknown_s += adds,
        }
    }

    fn object(&self, malformed: u64) -> Value {
        let mut object = json!({
            "frames": self.frames,
            "malformed": malformed,
            "duration_s": self.duration_s,
            "windows": self.windows,
            "window_s": self.window_s,
            "hop_s": self.hop_s,
            "threshold": self.threshold,
            "seconds": { "motion": self.motion_s, "still": self.still_s, "unknown": self.unknown_s },
        });
        if let (Some(time_us), Some(fields)) = (self.first_motion_us, object.as_object_mut()) {
            fields.insert("first_motion_s".to_owned(), seconds(time_us).into());
        }
        object
    }
}

fn state(window: &Combined) -> &'static str {
    signal::outputs::state_name(&window.deciding)
}

#[allow(clippy::cast_precision_loss)]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// Six decimals: more is the noise of `f32`.
fn rounded(value: f32) -> Value {
    ((f64::from(value) * 1e6).round() / 1e6).into()
}
