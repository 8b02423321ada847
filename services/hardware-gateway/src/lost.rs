//! What the bus did not acknowledge in time: counted, and announced when it takes something again. Most of it is lost; a server
//! that hung may have stored some of it all the same.

use std::sync::{Mutex, PoisonError};

use bus::Pipeline;
use opentelemetry::metrics::Counter;

use crate::faults::Faults;

/// Name under which the gateway's own errors are announced.
const GATEWAY: &str = "hardware-gateway";
/// Code of what was not acknowledged.
const CODE: &str = "publish_failed";

/// Watches the pipeline of the live frames.
pub struct Lost {
    pipeline: Pipeline,
    counted: u64,
    meter: Counter<u64>,
}

impl Lost {
    /// Of this pipeline.
    pub fn new(pipeline: Pipeline) -> Self {
        let meter = opentelemetry::global::meter("hardware-gateway")
            .u64_counter("gateway_unacknowledged_messages")
            .with_description("Frames and announcements that the bus did not acknowledge within its time: most likely lost")
            .build();
        meter.add(0, &[]);
        Self {
            pipeline,
            counted: 0,
            meter,
        }
    }

    /// Counts what was lost since the last call, with the reason of the first.
    pub fn count(&mut self, faults: &Mutex<Faults>, now_us: i64) {
        let (_, failed) = self.pipeline.counts();
        let new = failed.saturating_sub(self.counted);
        if new == 0 {
            return;
        }
        self.counted = failed;
        self.meter.add(new, &[]);
        let failures = self.pipeline.take_failures();
        let first = failures.first();
        let what = || {
            let reason = first.map_or_else(String::new, |error| format!(": {error}"));
            (
                format!(
                    "the bus did not acknowledge frames or their announcements, which may be lost{reason}"
                ),
                None,
            )
        };
        faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_many(GATEWAY, CODE, new, now_us, what);
    }
}
