//! Holds the calibrations in use against what the devices send, one device after another.

use std::collections::BTreeMap;
use std::time::Duration;

use csi::wire::Decoder;
use events::{Name, Timestamp};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Calibrations;
use super::collect::Collector;
use super::empty_room::{HOP_US, WINDOW_US};
use super::fit::Watched;
use crate::error::{Error, chain};
use crate::health::Calibrated;

/// Frames of so many seconds hold a whole window wherever they begin.
#[allow(clippy::cast_precision_loss)]
const SECONDS: f64 = (WINDOW_US + HOP_US) as f64 / 1e6 + 0.1;
/// How long such frames are waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Frames taken at once.
const BATCH: usize = 512;

/// Looks at all devices, again and again, until the service drains.
pub async fn run(calibrations: &Calibrations) {
    let mut watched: BTreeMap<Name, Watched> = BTreeMap::new();
    loop {
        let pause = Instant::now() + calibrations.check.every;
        let devices = calibrations.devices.registry().live();
        watched.retain(|name, _| devices.contains(name));
        for device in devices {
            let looking = look(calibrations, &device, &mut watched);
            tokio::select! {
                () = calibrations.stop.cancelled() => return,
                looked = looking => if let Err(error) = looked {
                    tracing::warn!(%device, error = chain(&error), "the calibration in use could not be checked");
                }
            }
        }
        tokio::select! {
            () = calibrations.stop.cancelled() => return,
            () = calibrations.changed.notified() => {}
            () = sleep_until(pause) => {}
        }
    }
}

async fn look(
    calibrations: &Calibrations,
    device: &Name,
    watched: &mut BTreeMap<Name, Watched>,
) -> Result<(), Error> {
    let in_use = calibrations.store.in_use(device.as_str()).await?;
    let calibrated = if in_use.is_empty() {
        watched.remove(device);
        Calibrated::default()
    } else {
        let gathered = gather(calibrations, device).await?;
        let now_us = Timestamp::now().as_micros();
        let watched = watched.entry(device.clone()).or_default();
        watched.look(&in_use, &gathered, calibrations.check.windows, now_us)
    };
    calibrations
        .devices
        .registry()
        .set_calibrated(device, calibrated);
    Ok(())
}

/// The frames of the next seconds, or what came of them in time.
async fn gather(calibrations: &Calibrations, device: &Name) -> Result<Collector, Error> {
    let mut collector = Collector::new(SECONDS);
    let mut decoder = Decoder::default();
    let mut tap = calibrations
        .bus
        .tap(&[format!("data.csi.*.{device}")])
        .await?;
    let until = Instant::now() + PATIENCE;
    while !collector.complete() {
        let Ok(batch) = timeout_at(until, tap.next_batch(BATCH)).await else {
            break;
        };
        for message in batch {
            let Ok((frame, published)) = decoder.decode(&message.payload) else {
                continue;
            };
            // A recording of another day says nothing of today.
            if published.run_id.is_none() && collector.push(&frame, &published).is_err() {
                return Ok(Collector::new(SECONDS));
            }
        }
    }
    Ok(collector)
}
