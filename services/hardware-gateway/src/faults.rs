//! Errors of senders, gathered: at most one event per device, code and interval, with the count. Pure.

mod nature;

use std::collections::BTreeMap;

pub use nature::{Nature, nature};

/// Senders and codes that are kept apart; beyond it they share one entry, so that a flood of made-up senders costs nothing.
const MAX_ENTRIES: usize = 1024;
/// The name under which senders are counted when there are too many.
const OVERFLOW: &str = "other-senders";
/// An error is announced when it has been gathered for so long, microseconds: a burst is one event with its count.
const GATHER_US: i64 = 1_000_000;

/// What is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Registered device, or a name made from the sender's address.
    pub device: String,
    /// Stable snake_case code.
    pub code: String,
    /// Message of the first error.
    pub message: String,
    /// How many there were.
    pub count: u64,
    /// Time of the first, microseconds.
    pub first_us: i64,
    /// Address that the first came from, where that is known.
    pub address: Option<String>,
}

#[derive(Clone, Debug)]
struct Entry {
    message: String,
    address: Option<String>,
    count: u64,
    first_us: i64,
    /// Before this time nothing more is announced of it.
    quiet_until_us: i64,
}

/// Gathers errors.
#[derive(Debug)]
pub struct Faults {
    interval_us: i64,
    entries: BTreeMap<(String, String), Entry>,
}

impl Faults {
    /// At most one report per device, code and `interval_us`.
    #[must_use]
    pub fn new(interval_us: i64) -> Self {
        Self {
            interval_us: interval_us.max(1),
            entries: BTreeMap::new(),
        }
    }

    /// Counts an error at `now_us`. `message` is only made for the first of its kind.
    pub fn push(
        &mut self,
        device: &str,
        code: &str,
        now_us: i64,
        message: impl FnOnce() -> String,
    ) {
        self.push_many(device, code, 1, now_us, || (message(), None));
    }

    /// Counts `count` errors; `first` makes message and address, for the first of its kind.
    pub fn push_many(
        &mut self,
        device: &str,
        code: &str,
        count: u64,
        now_us: i64,
        first: impl FnOnce() -> (String, Option<String>),
    ) {
        let mut key = (device.to_owned(), code.to_owned());
        if !self.entries.contains_key(&key) && self.entries.len() >= MAX_ENTRIES {
            key.0 = OVERFLOW.to_owned();
        }
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            message: String::new(),
            address: None,
            count: 0,
            first_us: now_us,
            quiet_until_us: i64::MIN,
        });
        if entry.count == 0 {
            (entry.message, entry.address) = first();
            entry.first_us = now_us;
        }
        entry.count += count;
    }

    /// Takes a report back that could not be announced: it is due again after the interval, with what was counted since.
    pub fn again(&mut self, report: Report) {
        let Report {
            device,
            code,
            message,
            count,
            first_us,
            address,
        } = report;
        if let Some(entry) = self.entries.get_mut(&(device.clone(), code.clone())) {
            entry.count += count;
            (entry.message, entry.address, entry.first_us) = (message, address, first_us);
            return;
        }
        self.push_many(&device, &code, count, first_us, || (message, address));
    }

    /// The reports that are due at `now_us`; with `all`, also those that are still being gathered.
    pub fn due(&mut self, now_us: i64, all: bool) -> Vec<Report> {
        let interval = self.interval_us;
        let mut reports = Vec::new();
        self.entries.retain(|(device, code), entry| {
            let gathered = now_us.saturating_sub(entry.first_us) >= GATHER_US.min(interval);
            if entry.count > 0 && (all || (gathered && now_us >= entry.quiet_until_us)) {
                reports.push(Report {
                    device: device.clone(),
                    code: code.clone(),
                    message: std::mem::take(&mut entry.message),
                    count: std::mem::take(&mut entry.count),
                    first_us: entry.first_us,
                    address: entry.address.take(),
                });
                entry.quiet_until_us = entry.first_us.saturating_add(interval);
            }
            entry.count > 0 || now_us < entry.quiet_until_us
        });
        reports
    }
}

#[cfg(test)]
mod tests;
