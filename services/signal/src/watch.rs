//! Which empty-room calibrations are in use: looked up when a device begins to send, and again from time to time.
//!
//! A replay keeps for all of its frames what was in use when it began, so that it gives the same events whenever it is read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bus::Kv;
use bus::calibration::{Pointer, pointer_key, version_key};
use csi::wire::Published;
use events::DataSource;
use prost::Message as _;
use proto::gateway::v1::Calibration;
use uuid::Uuid;

use crate::calibration::Calibrated;

const KIND: &str = "empty_room";
/// How often those of live devices are looked up again.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// Devices that are remembered.
const MOST_DEVICES: usize = 4096;

type Origin = (DataSource, Option<Uuid>);

pub(crate) struct Calibrations {
    kv: Kv,
    seen: BTreeMap<String, Origin>,
    renewed: Instant,
}

impl Calibrations {
    pub fn new(kv: Kv) -> Self {
        Self {
            kv,
            seen: BTreeMap::new(),
            renewed: Instant::now(),
        }
    }

    /// Whether the device begins to send, or begins another recording: its calibration is to be looked up.
    pub fn unseen(&mut self, published: &Published) -> bool {
        let origin = (published.source, published.run_id);
        if self.seen.get(&published.device) == Some(&origin) {
            return false;
        }
        if self.seen.len() >= MOST_DEVICES {
            self.seen.clear();
        }
        self.seen.insert(published.device.clone(), origin);
        true
    }

    /// The one in use. Where it cannot be read, nothing is known of it: that is logged, and it is looked up again.
    pub async fn of(&mut self, device: &str) -> Option<Option<Calibrated>> {
        let found = self.look_up(device).await;
        if found.is_none() {
            self.seen.remove(device);
        }
        found
    }

    async fn look_up(&self, device: &str) -> Option<Option<Calibrated>> {
        match self.read(device).await {
            Ok(found) => Some(found.as_ref().and_then(Calibrated::of)),
            Err(error) => {
                tracing::warn!(device, %error, "the calibration in use could not be read");
                None
            }
        }
    }

    /// Those of live devices, where it is time to look. What cannot be read now stays as it was.
    pub async fn renewed(&mut self) -> Vec<(String, Option<Calibrated>)> {
        if self.renewed.elapsed() < RENEW_EVERY {
            return Vec::new();
        }
        self.renewed = Instant::now();
        let mut found = Vec::new();
        for (device, (_, run)) in &self.seen {
            if run.is_none()
                && let Some(calibrated) = self.look_up(device).await
            {
                found.push((device.clone(), calibrated));
            }
        }
        found
    }

    async fn read(&self, device: &str) -> anyhow::Result<Option<Calibration>> {
        let Some((pointer, _)) = self.kv.get(&pointer_key(device, KIND)).await? else {
            return Ok(None);
        };
        let pointer: Pointer = serde_json::from_slice(&pointer)?;
        let Some(version) = pointer.in_use else {
            return Ok(None);
        };
        let kept = self.kv.get(&version_key(device, KIND, version)).await?;
        Ok(kept
            .map(|(bytes, _)| Calibration::decode(bytes))
            .transpose()?)
    }
}
