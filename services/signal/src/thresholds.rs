//! Thresholds that were set for single zones: in the KV bucket `config`, under `thresholds/ZONE`; the revision is the etag.
//!
//! Every instance reads all of them when it starts, and again when one says that it changed some, or after a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Kv};
use bytes::Bytes;
use events::{Name, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;

const PREFIX: &str = "thresholds/";
/// What instances tell one another: read again.
const TOPIC: &str = "signal.thresholds";
/// They are read again this often whatever was heard.
const EVERY: Duration = Duration::from_secs(30);

/// What is set for one zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Motion statistic from which a window is motion; absent where nothing is set.
    pub motion: Option<f64>,
    /// When it was set.
    pub updated: Option<Timestamp>,
}

impl Thresholds {
    /// The settings of the zone; absent where nothing is set for it. The level of release stays in ratio to the threshold.
    #[must_use]
    pub fn settings(&self, default: &Settings) -> Option<Settings> {
        let threshold = self.motion?;
        Some(Settings {
            threshold,
            release: default.release / default.threshold * threshold,
            threshold_is_chosen: true,
            ..default.clone()
        })
    }

    /// Checks the values.
    ///
    /// # Errors
    /// A sentence that names what would be right.
    pub fn validate(&self) -> Result<(), String> {
        match self.motion {
            Some(motion) if !(0.01..=1.0).contains(&motion) => {
                Err(format!("{motion}: must be from 0.01 to 1"))
            }
            _ => Ok(()),
        }
    }
}

/// What is set, by zone.
pub type ByZone = Arc<BTreeMap<String, Thresholds>>;

/// Where thresholds are kept.
#[derive(Clone)]
pub struct Store {
    bus: Bus,
    kv: Kv,
    known: watch::Sender<ByZone>,
}

impl Store {
    /// Reads what is set.
    ///
    /// # Errors
    /// Where NATS cannot be reached.
    pub async fn open(bus: &Bus) -> Result<Self, bus::Error> {
        let store = Self {
            bus: bus.clone(),
            kv: bus.kv("config").await?,
            known: watch::Sender::new(ByZone::default()),
        };
        store.read_all().await?;
        Ok(store)
    }

    /// What is set, and every change of it.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ByZone> {
        self.known.subscribe()
    }

    /// Follows what other instances change, until `stop`.
    ///
    /// # Errors
    /// Where the connection is closed for good.
    pub async fn follow(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut heard = self.bus.listen(TOPIC).await?;
        let mut due = tokio::time::interval(EVERY);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                word = heard.next() => if word.is_none() { return Ok(()) },
                _ = due.tick() => {}
            }
            if let Err(error) = self.read_all().await {
                tracing::warn!(%error, "the zones' thresholds could not be read; those in use stay");
            }
        }
    }

    async fn read_all(&self) -> Result<(), bus::Error> {
        let mut found = BTreeMap::new();
        for key in self.kv.keys().await? {
            let Some(zone) = key.strip_prefix(PREFIX) else {
                continue;
            };
            if let Some((thresholds, _)) = self.read(&key).await? {
                found.insert(zone.to_owned(), thresholds);
            }
        }
        self.known.send_if_modified(|known| {
            let changed = **known != found;
            if changed {
                *known = Arc::new(found);
            }
            changed
        });
        Ok(())
    }

    /// Those of a zone and their revision; 0 where nothing was ever set.
    ///
    /// # Errors
    /// Where NATS cannot be reached.
    pub async fn get(&self, zone: &Name) -> Result<(Thresholds, u64), bus::Error> {
        Ok(self.read(&key(zone)).await?.unwrap_or_default())
    }

    /// Sets them over `revision`; the new revision, or None where somebody else was first.
    ///
    /// # Errors
    /// Where NATS cannot be reached.
    pub async fn set(
        &self,
        zone: &Name,
        thresholds: &Thresholds,
        revision: u64,
    ) -> Result<Option<u64>, bus::Error> {
        let value = serde_json::to_vec(thresholds).map_err(|error| bus::Error::Encode {
            what: format!("thresholds of zone {zone}"),
            reason: error.to_string(),
        })?;
        let set = self
            .kv
            .update(&key(zone), Bytes::from(value), revision)
            .await?;
        if set.is_some() {
            self.read_all().await?;
            self.bus.say(TOPIC, Bytes::new()).await?;
        }
        Ok(set)
    }

    async fn read(&self, key: &str) -> Result<Option<(Thresholds, u64)>, bus::Error> {
        let Some((value, revision)) = self.kv.get(key).await? else {
            return Ok(None);
        };
        let read: Result<Thresholds, String> = serde_json::from_slice(&value)
            .map_err(|error| error.to_string())
            .and_then(|read: Thresholds| read.validate().map(|()| read));
        match read {
            Ok(thresholds) => Ok(Some((thresholds, revision))),
            Err(error) => {
                tracing::warn!(
                    key,
                    error,
                    "thresholds are not readable: as if none were set"
                );
                Ok(Some((Thresholds::default(), revision)))
            }
        }
    }
}

fn key(zone: &Name) -> String {
    format!("{PREFIX}{zone}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_stand_in_for_the_service_s_own() {
        let default = Settings::default();
        assert_eq!(Thresholds::default().settings(&default), None);
        let set = Thresholds {
            motion: Some(0.4),
            updated: None,
        };
        let settings = set.settings(&default).unwrap();
        assert_eq!(
            (settings.threshold, settings.threshold_is_chosen),
            (0.4, true)
        );
        assert!((settings.release - 0.4 * 0.15 / 0.2).abs() < 1e-12);
        assert_eq!(settings.validate(), Ok(()));
    }

    #[test]
    fn what_cannot_be_a_threshold_is_refused() {
        for motion in [0.0, -1.0, 1.5, f64::NAN] {
            let thresholds = Thresholds {
                motion: Some(motion),
                updated: None,
            };
            assert!(thresholds.validate().unwrap_err().contains("0.01"));
        }
    }
}
