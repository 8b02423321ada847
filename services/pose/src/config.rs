//! What can be set, in the section `[pose]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The pose service's own configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Directory of the model package. A relative one is looked for in the working directory and the directories above it,
    /// then in those above the program.
    pub model: PathBuf,
    /// `libonnxruntime.so`; where absent, `$ORT_DYLIB_PATH`, then the nearest `.tools` above the working directory or the
    /// program.
    pub onnxruntime: Option<PathBuf>,
    /// Seconds, in the time of the input, for which another activity must last before it counts.
    pub debounce_s: f64,
    /// Seconds without a usable window after which the activity is unknown.
    pub unknown_after_s: f64,
    /// Seconds after which the latest window of a link no longer counts in its zone.
    pub link_stale_s: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model: PathBuf::from("models/activity"),
            onnxruntime: None,
            debounce_s: 2.0,
            unknown_after_s: 5.0,
            link_stale_s: 3.0,
        }
    }
}

impl runtime::ServiceConfig for Config {
    fn validate(&self) -> Result<(), String> {
        for (key, value) in [
            ("debounce_s", self.debounce_s),
            ("unknown_after_s", self.unknown_after_s),
            ("link_stale_s", self.link_stale_s),
        ] {
            if !(value > 0.0 && value <= 3600.0) {
                return Err(format!(
                    "{key} = {value}: must be above 0 and at most 3600 seconds"
                ));
            }
        }
        Ok(())
    }
}
