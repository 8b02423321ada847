//! What can be set, in the section `[signal]`.

use dsp::motion::THRESHOLD;
use serde::{Deserialize, Serialize};

use crate::masks::{Mask, Masks};
use crate::presence;

/// The signal service's own configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How motion is decided.
    pub motion: Settings,
    /// How presence is decided.
    pub presence: presence::Rules,
    /// What is not looked at.
    pub masks: Vec<Mask>,
    /// Frames taken from the data plane at once.
    pub batch: usize,
    /// Publishes that may be waiting for their acks at once.
    pub in_flight: usize,
    /// Seconds between two checkpoints: what a crash repeats at most, besides the open windows.
    pub checkpoint_interval_s: f64,
    /// Seconds of wall time without input after which the state of a zone is unknown.
    pub stale_after_s: f64,
    /// Watchers of features at most; more are refused.
    pub max_watchers: usize,
    /// Spectrograms that are computed at once at most; more are refused.
    pub max_spectrograms: usize,
    /// Runs of pipelines over recordings.
    pub processing: Processing,
}

/// What runs of pipelines may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Processing {
    /// Runs that work at once.
    pub concurrent: usize,
    /// Runs that wait or work at most; more are refused.
    pub max_queued: usize,
    /// Seconds that a chunk should take: what a pause waits for, and a crash repeats.
    pub chunk_s: f64,
    /// Bytes of samples that a chunk may have in memory.
    pub max_chunk_bytes: u64,
    /// Bytes that a stage may keep between two chunks.
    pub max_state_bytes: u64,
    /// Bytes that a recording may unpack to.
    pub max_recording_bytes: u64,
    /// Bytes that the output of a run may have.
    pub max_output_bytes: u64,
    /// Seconds that a run may work.
    pub max_run_s: f64,
}

impl Default for Processing {
    fn default() -> Self {
        Self {
            concurrent: 2,
            max_queued: 64,
            chunk_s: 0.5,
            max_chunk_bytes: 32 << 20,
            max_state_bytes: 64 << 20,
            max_recording_bytes: 1 << 30,
            max_output_bytes: 96 << 20,
            max_run_s: 86_400.0,
        }
    }
}

impl Processing {
    fn validate(&self) -> Result<(), String> {
        for (key, value) in [
            ("concurrent", self.concurrent as u64),
            ("max_queued", self.max_queued as u64),
            ("max_chunk_bytes", self.max_chunk_bytes),
            ("max_state_bytes", self.max_state_bytes),
            ("max_recording_bytes", self.max_recording_bytes),
            ("max_output_bytes", self.max_output_bytes),
        ] {
            if value == 0 {
                return Err(format!("processing.{key} = 0: must be at least 1"));
            }
        }
        for (key, value) in [("chunk_s", self.chunk_s), ("max_run_s", self.max_run_s)] {
            if !(value > 0.0 && value <= 1e7) {
                return Err(format!(
                    "processing.{key} = {value}: must be above 0, at most 10000000 seconds"
                ));
            }
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            motion: Settings::default(),
            presence: presence::Rules::default(),
            masks: Vec::new(),
            batch: 512,
            in_flight: 4096,
            checkpoint_interval_s: 0.5,
            stale_after_s: 5.0,
            max_watchers: 64,
            max_spectrograms: 2,
            processing: Processing::default(),
        }
    }
}

/// How windows are cut and motion is decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Length of a window in seconds of input time; a multiple of `hop_s`.
    pub window_s: f64,
    /// A window ends at every multiple of this many seconds.
    pub hop_s: f64,
    /// Motion statistic from which a window is motion.
    pub threshold: f64,
    /// False alarms a week and link at most. Where a device has an empty-room calibration the threshold follows from it;
    /// elsewhere `threshold` stands, and how often it is passed by nobody is not known.
    pub false_alarms_per_week: Option<f64>,
    /// A link that is in motion stays there while the statistic is at least this.
    pub release: f64,
    /// Lowest frame rate (1 / median interval), Hz, at which motion can be told from noise.
    pub min_rate_hz: f64,
    /// Fewest frames in a window; half as many below [`dsp::motion::FAST_HZ`], where the statistic does not rest on pairs of
    /// neighbouring frames.
    pub min_frames: usize,
    /// Largest share of a window's frames that may be lost.
    pub max_missing: f64,
    /// Longest time without a frame inside a window, seconds.
    pub max_gap_s: f64,
    /// While motion goes on, `pose.motion_detected` is repeated at most this often, in seconds of input time.
    pub refresh_s: f64,
    /// Seconds of input time without motion after which the next motion is a new onset.
    pub rearm_s: f64,
    /// Failures of one device and code are announced at most this often, in seconds of input time.
    pub failure_interval_s: f64,
    /// Frame ids that `signal.signal_processed` names at most: the newest announced ones.
    pub max_source_frames: usize,
    /// The threshold was set for this very zone: a calibration's does not stand in for it.
    #[serde(skip)]
    pub threshold_is_chosen: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window_s: 2.0,
            hop_s: 0.5,
            threshold: THRESHOLD,
            false_alarms_per_week: None,
            release: 0.15,
            min_rate_hz: 8.0,
            min_frames: 32,
            max_missing: 0.35,
            max_gap_s: 0.5,
            refresh_s: 10.0,
            rearm_s: 3.0,
            failure_interval_s: 10.0,
            max_source_frames: 32,
            threshold_is_chosen: false,
        }
    }
}

/// Windows of at most so many hops.
const MOST_HOPS: i64 = 64;

impl Settings {
    /// Hop in microseconds.
    #[must_use]
    pub fn hop_us(&self) -> i64 {
        micros(self.hop_s)
    }

    /// Hops in a window.
    #[must_use]
    pub fn hops(&self) -> i64 {
        (micros(self.window_s) / self.hop_us().max(1)).clamp(1, MOST_HOPS)
    }

    /// What the statistic of a link is held against; `moving`: it was in motion until now.
    #[must_use]
    pub fn bar(&self, moving: bool) -> f64 {
        if moving { self.release } else { self.threshold }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        let within = |key: &str, value: f64, least: f64, most: f64| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(format!(
                    "motion.{key} = {value}: must be from {least} to {most}"
                ))
            }
        };
        within("hop_s", self.hop_s, 0.1, 10.0)?;
        within("window_s", self.window_s, 0.5, 60.0)?;
        within("threshold", self.threshold, 0.01, 1.0)?;
        if let Some(per_week) = self.false_alarms_per_week {
            within("false_alarms_per_week", per_week, 0.001, 10_000.0)?;
        }
        within("release", self.release, 0.0, self.threshold)?;
        within("min_rate_hz", self.min_rate_hz, 1.0, 10_000.0)?;
        within("max_missing", self.max_missing, 0.0, 1.0)?;
        within("max_gap_s", self.max_gap_s, 0.01, self.window_s)?;
        within("refresh_s", self.refresh_s, self.hop_s, 86_400.0)?;
        within("rearm_s", self.rearm_s, 0.0, 3_600.0)?;
        within("failure_interval_s", self.failure_interval_s, 0.0, 86_400.0)?;
        let (window, hop) = (micros(self.window_s), self.hop_us());
        if window % hop != 0 || window / hop > MOST_HOPS {
            return Err(format!(
                "motion.window_s = {}: must be 1 to {MOST_HOPS} times motion.hop_s = {}",
                self.window_s, self.hop_s
            ));
        }
        if self.min_frames < 16 {
            return Err(format!(
                "motion.min_frames = {}: must be at least 16",
                self.min_frames
            ));
        }
        Ok(())
    }
}

/// Seconds as whole microseconds.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn micros(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}

impl runtime::ServiceConfig for Config {
    fn validate(&self) -> Result<(), String> {
        self.motion.validate()?;
        self.presence.validate()?;
        Masks::read(&self.masks)?;
        self.processing.validate()?;
        if self.batch == 0 {
            return Err("batch = 0: must be at least 1".to_owned());
        }
        for (key, value) in [
            ("in_flight", self.in_flight),
            ("max_watchers", self.max_watchers),
            ("max_spectrograms", self.max_spectrograms),
        ] {
            if value == 0 {
                return Err(format!("{key} = 0: must be at least 1"));
            }
        }
        for (key, value) in [
            ("checkpoint_interval_s", self.checkpoint_interval_s),
            ("stale_after_s", self.stale_after_s),
        ] {
            if !(value > 0.0 && value <= 3600.0) {
                return Err(format!(
                    "{key} = {value}: must be above 0, at most 3600 seconds"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::ServiceConfig;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn a_fault_is_named() {
        let faulty = |change: fn(&mut Settings)| {
            let mut config = Config::default();
            change(&mut config.motion);
            config.validate().unwrap_err()
        };
        assert!(faulty(|s| s.threshold = f64::NAN).contains("motion.threshold"));
        assert!(
            faulty(|s| s.false_alarms_per_week = Some(0.0))
                .contains("motion.false_alarms_per_week")
        );
        assert!(faulty(|s| s.release = 0.9).contains("motion.release"));
        assert!(faulty(|s| s.window_s = 1.7).contains("motion.window_s"));
        assert!(faulty(|s| s.min_frames = 1).contains("motion.min_frames"));
    }
}
