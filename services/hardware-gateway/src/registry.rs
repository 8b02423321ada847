//! The devices that are registered, and the senders that are not. In memory; rebuilt from the events at start. Pure.

mod entries;

use std::collections::BTreeMap;
use std::sync::Arc;

use bus::{EventSourced, Version};
use csi::Frame;
use csi::decode::adr018::EdgeReport;
use events::hardware::DeviceDiscovered;
use events::{DataSource, DomainEvent, EventEnvelope, Name, Timestamp};
use hashbrown::HashMap;
use uuid::Uuid;

use crate::claims::Claims;
use crate::device::{Device, State};
use crate::faults::Report;
use crate::health::gate::Holds;
use crate::health::meter::{Measured, Meter};
use crate::health::{Calibrated, Change, Expected, ExpectedRate, Health, Status};
use crate::track::{Order, Track};
use entries::Entries;
pub use entries::Place;

/// Senders that are remembered without being registered; beyond it new ones are only counted.
const MAX_DISCOVERED: usize = 1024;
/// Senders of which the last fault is remembered.
const MAX_FAULTS: usize = 64;

/// One registered device.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// The aggregate.
    pub device: Device,
    /// The device's zone once more: each frame takes it along.
    pub(crate) zone: Arc<str>,
    /// Its version, for the next append.
    pub version: Version,
    /// What was counted since the start of the service.
    pub track: Track,
    /// Malformed datagrams since the start of the service.
    pub malformed: u64,
    /// Frames that were not published because they came faster than the bus took them; since the start of the service.
    pub shed: u64,
    /// Frames that were not published because they were above a rate limit; since the start of the service.
    pub limited: u64,
    /// Wall clock of the newest frame, microseconds: for time-outs of live devices.
    pub heard_us: Option<i64>,
    /// Address of the newest datagram.
    pub address: Option<String>,
    /// Where the newest frame came from.
    pub source: Option<DataSource>,
    /// The replay that feeds it now.
    pub run: Option<Uuid>,
    /// A connect or disconnect of it is being appended.
    pub changing: bool,
    /// What was measured over the last seconds, of live frames.
    pub meter: Meter,
    /// The judgement on it.
    pub health: Health,
    /// Counts of the present or last connection: frames, malformed datagrams.
    pub connection: (u64, u64),
    /// Frames that were counted and not published, in maintenance.
    pub suppressed: u64,
    /// How its calibrations in use stand to what it sends.
    pub calibrated: Calibrated,
    /// What it concludes itself.
    pub claims: Claims,
}

impl Entry {
    fn is_live(&self) -> bool {
        self.device.is_connected() && self.run.is_none() && self.source != Some(DataSource::Replay)
    }

    /// What the device is held against.
    #[must_use]
    pub fn expected(&self) -> Expected {
        let config = self.device.config.as_ref();
        let configured = config.and_then(|config| config.sampling_rate_hz);
        Expected {
            rate: match configured {
                Some(hz) => Some(ExpectedRate::Configured(f64::from(hz))),
                None => self.meter.learned_hz().map(ExpectedRate::Learned),
            },
            bandwidth_mhz: config
                .and_then(|config| config.bandwidth.as_deref())
                .and_then(|text| text.strip_suffix("MHz")?.parse().ok()),
            channel: config.and_then(|config| config.channel).map(u32::from),
            calibrated: self.calibrated,
        }
    }

    /// What was measured before `now_us`; nothing of recordings, whose time is their own.
    #[must_use]
    pub fn measured(&self, window: u32, now_us: i64) -> Option<Measured> {
        (self.source != Some(DataSource::Replay)).then(|| self.meter.measured(window, now_us))
    }
}

/// A sender that is not registered.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// Address of the newest datagram.
    pub address: String,
    /// Family of the sender.
    pub device_type: String,
    /// First datagram.
    pub first_seen: Timestamp,
    /// Newest datagram.
    pub last_seen: Timestamp,
    /// Valid frames since the start of the service.
    pub frames: u64,
}

/// What becomes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs to a registered device.
    Accepted {
        /// The device.
        device: Name,
        /// Where it is among all.
        place: Place,
        /// Its zone.
        zone: Arc<str>,
        /// It is the first since registration or a disconnect.
        connects: bool,
        /// How it stands to the frames before it.
        order: Order,
    },
    /// It belongs to a device in maintenance: counted, and not to be published.
    Maintenance,
    /// Its sender is not registered.
    Unregistered {
        /// It was never heard before.
        first: bool,
    },
}

/// What reached the gateway since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reception {
    /// Frames that could be decoded.
    pub frames: u64,
    /// Those of senders that are not registered.
    pub unregistered: u64,
    /// Those of devices in maintenance.
    pub suppressed: u64,
    /// What could not be decoded.
    pub malformed: u64,
    /// Wall clock of the newest frame, microseconds.
    pub last_frame_us: Option<i64>,
}

/// All that the gateway knows of devices.
#[derive(Debug, Default)]
pub struct Registry {
    devices: Entries,
    /// Each registered device by its hardware id.
    by_hardware: HashMap<String, (Name, Place)>,
    discovered: BTreeMap<String, Discovered>,
    reception: Reception,
    faults: BTreeMap<String, Report>,
}

impl Registry {
    /// Applies one stored event: at start, and after each append of our own.
    pub fn apply(&mut self, key: &str, event: &EventEnvelope, stream_sequence: u64) {
        if event.event_type == DeviceDiscovered::EVENT_TYPE {
            self.remember_discovered(event);
            return;
        }
        let Ok(name) = Name::new(key) else { return };
        let place = self.devices.place(&name);
        let Some(entry) = self.devices.at(place) else {
            return;
        };
        let before = entry.device.hardware_id.clone();
        entry.device.apply(event);
        if *entry.zone != *entry.device.zone {
            entry.zone = entry.device.zone.as_str().into();
        }
        entry.version.stream_sequence = stream_sequence.max(entry.version.stream_sequence);
        entry.version.number = entry.device.version;
        let (exists, after) = (entry.device.exists(), entry.device.hardware_id.clone());
        if before != after || !exists {
            self.by_hardware.remove(&before);
        }
        if exists {
            self.discovered.remove(&after);
            self.by_hardware.insert(after, (name, place));
        }
    }

    fn remember_discovered(&mut self, event: &EventEnvelope) {
        let id = event.aggregate_id.clone();
        if self.by_hardware.contains_key(&id) || self.discovered.len() >= MAX_DISCOVERED {
            return;
        }
        let field = |name: &str| {
            event
                .payload
                .get(name)
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        self.discovered.entry(id).or_insert_with(|| Discovered {
            address: field("ip_address"),
            device_type: field("device_type"),
            first_seen: event.occurred_at,
            last_seen: event.occurred_at,
            frames: 0,
        });
    }

    /// Decides on a frame of the sender `hardware_id`, heard from `address` at `now_us` (wall clock).
    pub fn frame(
        &mut self,
        hardware_id: &str,
        device_type: &str,
        address: &str,
        frame: &Frame,
        now_us: i64,
    ) -> Verdict {
        self.reception.frames += 1;
        self.reception.last_frame_us = Some(now_us);
        if let Some((name, place)) = self.by_hardware.get(hardware_id).cloned() {
            let source = if frame.simulated {
                DataSource::Simulated
            } else {
                DataSource::Live
            };
            let note = |entry: &mut Entry| {
                entry.heard_us = Some(now_us);
                if entry.address.as_deref() != Some(address) {
                    entry.address = Some(address.to_owned());
                }
            };
            return self.accept(name, place, frame, source, Some(now_us), note);
        }
        self.reception.unregistered += 1;
        let seen = Timestamp::from_micros(now_us);
        if let Some(known) = self.discovered.get_mut(hardware_id) {
            known.last_seen = seen;
            known.frames += 1;
            return Verdict::Unregistered { first: false };
        }
        if self.discovered.len() >= MAX_DISCOVERED {
            return Verdict::Unregistered { first: false };
        }
        let fresh = Discovered {
            address: address.to_owned(),
            device_type: device_type.to_owned(),
            first_seen: seen,
            last_seen: seen,
            frames: 1,
        };
        self.discovered.insert(hardware_id.to_owned(), fresh);
        Verdict::Unregistered { first: true }
    }

    /// Counts a frame of the replay `run`, which is played as `name`.
    pub fn replayed(
        &mut self,
        name: &Name,
        frame: &Frame,
        source: DataSource,
        run: Uuid,
    ) -> Verdict {
        let note = |entry: &mut Entry| {
            if entry.run != Some(run) {
                entry.run = Some(run);
                entry.track = Track::default();
            }
        };
        let place = self.devices.place(name);
        self.accept(name.clone(), place, frame, source, None, note)
    }

    /// Notes that a replay no longer feeds the device.
    pub fn end_run(&mut self, name: &Name) {
        if let Some(entry) = self.devices.get_mut(name) {
            entry.run = None;
        }
    }

    fn accept(
        &mut self,
        name: Name,
        place: Place,
        frame: &Frame,
        source: DataSource,
        arrived_us: Option<i64>,
        note: impl FnOnce(&mut Entry),
    ) -> Verdict {
        let Some(entry) = self.devices.at(place) else {
            return Verdict::Unregistered { first: false };
        };
        note(entry);
        if entry.source != Some(source) {
            // Counts of live and of simulated frames are not of one sequence.
            entry.source = Some(source);
            entry.track = Track::default();
        }
        let lost = entry.track.lost;
        let order = entry.track.push(frame);
        let connects = entry.device.awaits_frames() && !entry.changing;
        entry.changing |= connects;
        if connects {
            entry.connection = (0, 0);
            entry.meter.restart();
            entry.health = Health::default();
        }
        entry.connection.0 += 1;
        if let Some(now_us) = arrived_us {
            let missing = entry.track.lost.cast_signed() - lost.cast_signed();
            if order != Order::Duplicate {
                entry.meter.frame(frame, missing, now_us);
            }
            if entry.device.state == State::Maintenance {
                entry.suppressed += 1;
                self.reception.suppressed += 1;
                return Verdict::Maintenance;
            }
        }
        Verdict::Accepted {
            zone: Arc::clone(&entry.zone),
            device: name,
            place,
            connects,
            order,
        }
    }

    /// Keeps what a registered device says of itself; false for an unknown sender.
    pub fn claimed(&mut self, hardware_id: &str, report: EdgeReport, now_us: i64) -> bool {
        let known = self.by_hardware.get(hardware_id);
        let Some(entry) = known.and_then(|(_, place)| self.devices.at(*place)) else {
            return false;
        };
        entry.claims.push(report, now_us);
        true
    }

    /// Counts a malformed datagram and says under which name: the device's, or one made from the sender's address.
    pub fn malformed(&mut self, hardware_id: Option<&str>, address: &str, now_us: i64) -> String {
        self.reception.malformed += 1;
        let name = hardware_id.and_then(|id| self.owner(id)).or_else(|| {
            let mut at_address = self
                .devices
                .iter()
                .filter(|(_, e)| e.device.exists() && e.address.as_deref() == Some(address));
            match (at_address.next(), at_address.next()) {
                (Some((name, _)), None) => Some(name),
                _ => None,
            }
        });
        let Some(name) = name.cloned() else {
            return sender_name(address);
        };
        if let Some(entry) = self.devices.get_mut(&name) {
            entry.malformed += 1;
            entry.connection.1 += 1;
            entry.meter.malformed(now_us);
        }
        name.to_string()
    }

    /// Counts frames of a device that were shed.
    pub fn shed(&mut self, name: &Name, frames: u64) {
        if let Some(entry) = self.devices.get_mut(name) {
            entry.shed += frames;
        }
    }

    /// Counts frames of a device that were above a rate limit.
    pub fn limited(&mut self, name: &Name, frames: u64) {
        if let Some(entry) = self.devices.get_mut(name) {
            entry.limited += frames;
        }
    }

    /// Connected devices that were not heard for `timeout_us`.
    #[must_use]
    pub fn silent(&self, now_us: i64, timeout_us: i64, started_us: i64) -> Vec<Name> {
        self.devices
            .iter()
            .filter(|(_, entry)| {
                let heard = entry.heard_us.unwrap_or(started_us);
                entry.device.is_connected()
                    && !entry.changing
                    && entry.run.is_none()
                    && now_us.saturating_sub(heard) >= timeout_us
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Devices that are connected, and that no recording feeds.
    #[must_use]
    pub fn live(&self) -> Vec<Name> {
        let live = self.devices.iter().filter(|(_, entry)| entry.is_live());
        live.map(|(name, _)| name.clone()).collect()
    }

    /// Notes how the calibrations in use of a device stand to what it sends.
    pub fn set_calibrated(&mut self, name: &Name, calibrated: Calibrated) {
        if let Some(entry) = self.devices.get_mut(name) {
            entry.calibrated = calibrated;
        }
    }

    /// Judges each connected device that lives at `now_us`: those whose health changed, and how.
    pub fn judge(&mut self, window: u32, holds: Holds, now_us: i64) -> Vec<(Name, Change)> {
        self.devices.filter_map(|name, entry| {
            if !entry.is_live() || entry.changing {
                return None;
            }
            let measured = entry.meter.measured(window, now_us);
            if measured.seconds < window {
                return None; // nothing to judge by yet
            }
            let expected = entry.expected();
            let change = entry.health.judge(&measured, &expected, holds, now_us)?;
            let before = entry.device.health.unwrap_or(Status::Healthy);
            let changed = change.status != before || !change.findings.is_empty();
            changed.then(|| (name.clone(), change))
        })
    }

    /// What reached the gateway.
    #[must_use]
    pub fn reception(&self) -> Reception {
        self.reception
    }

    /// The newest fault of each sender.
    pub fn faults(&self) -> impl Iterator<Item = &Report> {
        self.faults.values()
    }

    /// Remembers what could not be decoded, with the count of all.
    pub fn remember_fault(&mut self, report: &Report) {
        let known = self.faults.get(&report.device).map(|known| known.count);
        if known.is_none() && self.faults.len() >= MAX_FAULTS {
            return;
        }
        let count = known.unwrap_or(0).saturating_add(report.count);
        let report = Report {
            count,
            ..report.clone()
        };
        self.faults.insert(report.device.clone(), report);
    }

    /// A registered device.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&Entry> {
        self.devices.get(name).filter(|entry| entry.device.exists())
    }

    /// Version to append to, also for a device that does not exist (any more).
    #[must_use]
    pub fn version(&self, name: &Name) -> Version {
        self.devices
            .get(name)
            .map(|entry| entry.version)
            .unwrap_or_default()
    }

    /// The device that a sender is registered as.
    #[must_use]
    pub fn owner(&self, hardware_id: &str) -> Option<&Name> {
        self.by_hardware.get(hardware_id).map(|(name, _)| name)
    }

    /// Marks that a connect or disconnect is being appended, or no longer.
    pub fn set_changing(&mut self, name: &Name, changing: bool) {
        if let Some(entry) = self.devices.get_mut(name) {
            entry.changing = changing;
        }
    }

    /// Replaces an aggregate by one that was loaded again after a conflict.
    pub fn reload(&mut self, name: &Name, events: &[EventEnvelope], version: Version) {
        for event in events {
            self.apply(name.as_str(), event, version.stream_sequence);
        }
        if let Some(entry) = self.devices.get_mut(name) {
            entry.version = version;
        }
    }

    /// Registered devices after `after`, by name.
    pub fn list<'a>(&'a self, after: &'a str) -> impl Iterator<Item = (&'a Name, &'a Entry)> {
        self.devices
            .iter()
            .filter(move |(name, entry)| entry.device.exists() && name.as_str() > after)
    }

    /// Unregistered senders after `after`, by hardware id.
    pub fn list_discovered<'a>(
        &'a self,
        after: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a Discovered)> {
        self.discovered
            .iter()
            .filter(move |(id, _)| id.as_str() > after)
    }
}

/// A DNS label for a sender that has no name: `sender-127-0-0-1`.
pub(crate) fn sender_name(address: &str) -> String {
    let mut name = String::from("sender-");
    name.extend(address.chars().take(50).map(|c| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    }));
    name.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests;
