//! What goes wrong at the intake: named, counted and, from time to time, announced.

use std::sync::PoisonError;

use events::Name;
use opentelemetry::KeyValue;

use super::{ADMIT_AGAIN_US, Intake};
use crate::registry::sender_name;
use crate::source::identity::From;

impl Intake {
    /// What is to be looked at from time to time: moves, and what was shed.
    pub fn tick(&self, now_us: i64) {
        let (moved, shed, limited) = {
            let mut state = self.state();
            state
                .admissions
                .retain(|_, asked_us| now_us.saturating_sub(*asked_us) < ADMIT_AGAIN_US);
            (
                state.claims.moved(now_us),
                std::mem::take(&mut state.shed),
                std::mem::take(&mut state.limited),
            )
        };
        for moved in moved {
            self.fault(&self.label(&moved.id), "address_changed", now_us, || {
                format!(
                    "{} is heard from {} now, before from {}",
                    moved.id,
                    shown(moved.now),
                    shown(moved.before)
                )
            });
        }
        for (device, frames) in shed {
            self.count_shed(&device, frames, "bus");
            self.devices.registry().shed(&device, frames);
            self.faults(device.as_str(), "shed", frames, now_us, || {
                "frames were shed: they came faster than the bus took them".to_owned()
            });
        }
        for (device, frames) in limited {
            self.count_shed(&device, frames, "rate");
            self.devices.registry().limited(&device, frames);
        }
    }

    fn count_shed(&self, device: &Name, frames: u64, reason: &'static str) {
        let labels = [
            KeyValue::new("device", device.to_string()),
            KeyValue::new("reason", reason),
        ];
        self.shed.add(frames, &labels);
    }

    /// Violations that are due.
    pub fn violations_due(&self, now_us: i64, all: bool) -> Vec<crate::faults::Report> {
        self.violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .due(now_us, all)
    }

    /// Counts an error of a device, or of something that has a name like one.
    pub fn fault(&self, device: &str, code: &str, now_us: i64, message: impl FnOnce() -> String) {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(device, code, now_us, message);
    }

    /// Counts several errors at once.
    pub fn faults(
        &self,
        device: &str,
        code: &str,
        count: u64,
        now_us: i64,
        message: impl FnOnce() -> String,
    ) {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_many(device, code, count, now_us, || (message(), None));
    }

    pub(super) fn violation(
        &self,
        principal: &str,
        kind: &str,
        now_us: i64,
        address: &str,
        message: impl FnOnce() -> String,
    ) {
        let address = address
            .parse::<std::net::IpAddr>()
            .is_ok()
            .then(|| address.to_owned());
        self.violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_many(principal, kind, 1, now_us, || (message(), address));
    }

    /// Counts something that could not be decoded.
    pub fn malformed(
        &self,
        id: Option<&str>,
        address: &str,
        code: &str,
        now_us: i64,
        message: impl FnOnce() -> String,
    ) {
        let device = self.devices.registry().malformed(id, address, now_us);
        self.fault(&device, code, now_us, message);
    }

    /// Counts a clock that jumped.
    pub fn clock_jump(&self, id: &str, now_us: i64, message: impl FnOnce() -> String) {
        self.fault(&self.label(id), "clock_jump", now_us, message);
    }

    /// Name for a sender in events: the registered one, or one made from its id.
    pub(super) fn label(&self, id: &str) -> String {
        self.devices
            .registry()
            .owner(id)
            .map_or_else(|| device_name(id), ToString::to_string)
    }
}

/// Name under which errors of a source are announced.
#[must_use]
pub fn source_device(source: &Name) -> String {
    let mut name = format!("source-{source}");
    name.truncate(63);
    name.trim_end_matches('-').to_owned()
}

/// A DNS label made from a hardware id: `adr018-7`.
#[must_use]
pub fn device_name(hardware_id: &str) -> String {
    let name = sender_name(hardware_id);
    let name = name.strip_prefix("sender-").unwrap_or(&name);
    let name = name.trim_matches('-');
    if name.is_empty() {
        "sender".to_owned()
    } else {
        name.to_owned()
    }
}

pub(super) fn shown(from: From) -> String {
    match from {
        From::Net(address) => address.to_string(),
        From::Local(number) => format!("local source {number}"),
    }
}
