//! From frames to what is said about them: pure, deterministic, with time from the frames.
//!
//! Windows end at multiples of the hop on the input's own time axis, so they do not depend on when the service began. Ids
//! follow from the ids of frames, so the same frames give the same events, however often they are read.
//!
//! A crash loses nothing: [`Pipeline::needs`] says from where the stream must be read again, [`Pipeline::kept`] what must be
//! remembered besides (whether links are in motion, when motion began). After [`Pipeline::resume`] frames that were
//! processed before rebuild the windows silently, and the first new one finds everything as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use csi::Frame;
use csi::wire::Published;
use events::{DataSource, EventEnvelope};
use proto::signal::v1::SignalWindow;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::calibration::Calibrated;
use crate::config::Settings;
use crate::device::{Closed, Device, Fate, KeptLink, Onset};
use crate::link::Bench;
use crate::masks::Masks;
use crate::outputs::{Origin, Outputs};
use crate::presence::{Rules, State};
use crate::thresholds::Thresholds;
use crate::zone::{KeptZone, Zones};

/// One frame with its place in the stream.
#[derive(Clone, Debug)]
pub struct Input {
    /// Sequence in the stream; rises.
    pub stream_sequence: u64,
    /// The frame.
    pub frame: Frame,
    /// What the gateway added.
    pub published: Published,
    /// W3C `traceparent` of the message, carried through unread.
    pub trace: Option<Arc<str>>,
}

/// Something to be published, with the trace that it belongs to.
#[derive(Clone, Debug)]
pub struct Output {
    /// What.
    pub what: What,
    /// W3C `traceparent` of the frame that it follows from.
    pub trace: Option<Arc<str>>,
}

/// What is to be published.
#[derive(Clone, Debug)]
pub enum What {
    /// A domain event. `validation_time_us` and `processing_time_ms` in it are still to be measured: they are 0.
    Event(Box<EventEnvelope>),
    /// A window, for `data.signal.{zone}.{device}`.
    Window(Box<SignalWindow>),
    /// The state of this zone, or its evidence, changed.
    Zone {
        /// Its name.
        zone: String,
        /// The state itself changed.
        changed: bool,
    },
}

/// How long a device may be silent before its open windows are given up, by where its data comes from: seconds of wall time.
const LIVE_SILENCE_S: i64 = 5;
const REPLAY_SILENCE_S: i64 = 600;
/// Devices at most; more are refused.
const MOST_DEVICES: usize = 4096;

type Key = (String, String);

/// What must be remembered over a restart besides the frames.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Frames of the stream up to this sequence are processed, and what follows from them is published.
    pub processed_through: u64,
    /// The devices.
    pub devices: Vec<KeptDevice>,
    /// The zones.
    pub zones: Vec<KeptZone>,
}

/// What must be remembered of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptDevice {
    /// Its zone.
    pub zone: String,
    /// Its name.
    pub device: String,
    /// The run that its frames belong to.
    pub run: Option<Uuid>,
    /// Where they come from.
    pub source: DataSource,
    /// Motion, where there is any.
    pub onset: Option<Onset>,
    /// When each failure was last announced.
    pub failures: BTreeMap<String, i64>,
    /// Its links.
    pub links: Vec<KeptLink>,
}

/// The state of all devices and zones.
pub struct Pipeline {
    settings: Settings,
    outputs: Outputs,
    devices: BTreeMap<Key, Device>,
    /// Empty-room calibrations in use, by device.
    calibrations: BTreeMap<String, Arc<Calibrated>>,
    /// Settings of zones that differ, by zone.
    chosen: BTreeMap<String, Arc<Settings>>,
    /// Wall time at which a tick first saw each device silent.
    silent: BTreeMap<Key, (u64, i64)>,
    zones: Zones,
    /// Distance from the empty room below which a link's baseline may follow.
    near: f64,
    masks: Masks,
    bench: Bench,
    closed: Vec<Closed>,
    key: Key,
    processed_through: u64,
    /// What was kept, until all frames that were processed before have been read again.
    resuming: Option<Kept>,
}

impl Pipeline {
    /// With presence as configured by default. `service` goes into `metadata.source` of each event.
    #[must_use]
    pub fn new(settings: Settings, service: impl Into<String>) -> Self {
        Self::with(settings, Rules::default(), service)
    }

    /// `service` goes into `metadata.source` of each event.
    #[must_use]
    pub fn with(settings: Settings, rules: Rules, service: impl Into<String>) -> Self {
        Self {
            outputs: Outputs::new(service.into(), &settings),
            settings,
            devices: BTreeMap::new(),
            calibrations: BTreeMap::new(),
            chosen: BTreeMap::new(),
            silent: BTreeMap::new(),
            near: rules.near,
            masks: Masks::default(),
            zones: Zones::new(rules),
            bench: Bench::default(),
            closed: Vec::new(),
            key: Key::default(),
            processed_through: 0,
            resuming: None,
        }
    }

    /// The same, with what is not to be looked at.
    #[must_use]
    pub fn masked(mut self, masks: Masks) -> Self {
        self.masks = masks;
        self
    }

    /// Takes a frame and gives what follows from it.
    pub fn push(&mut self, input: &Input) -> Vec<Output> {
        let mut out = Vec::new();
        if self
            .resuming
            .as_ref()
            .is_some_and(|kept| input.stream_sequence > kept.processed_through)
        {
            self.resume_now();
        }
        let silent = self.resuming.is_some();
        self.processed_through = self.processed_through.max(input.stream_sequence);
        self.take(input, &mut out);
        if silent {
            out.clear();
        }
        out
    }

    fn take(&mut self, input: &Input, out: &mut Vec<Output>) {
        // Its memory is used again: a frame that closes no window allocates nothing.
        let mut key = std::mem::take(&mut self.key);
        key.0.clone_from(&input.published.zone);
        key.1.clone_from(&input.published.device);
        self.take_of(&key, input, out);
        self.key = key;
    }

    fn take_of(&mut self, key: &Key, input: &Input, out: &mut Vec<Output>) {
        let (frame, published) = (&input.frame, &input.published);
        if self.devices.get(key).is_none_or(|device| {
            device.run != published.run_id || device.source != published.source
        }) {
            if self.devices.len() >= MOST_DEVICES && !self.devices.contains_key(key) {
                return;
            }
            self.zones.forget_device(&key.0, &key.1);
            let masks = self.masks.of(&key.0, &key.1);
            let mut device = Device::new(published.source, published.run_id, masks);
            device.calibrate(self.calibrations.get(&published.device).cloned());
            device.chosen = self.chosen.get(&published.zone).cloned();
            self.devices.insert(key.clone(), device);
        }
        let Some(device) = self.devices.get_mut(key) else {
            return;
        };
        if self
            .zones
            .touch(&key.0, published.source, frame.receive_time_us)
        {
            out.push(zone_output(&key.0, true));
        }
        self.closed.clear();
        let chosen = device.chosen.clone();
        let settings = chosen.as_deref().unwrap_or(&self.settings);
        let fate = device.push(
            settings,
            frame,
            published,
            input.stream_sequence,
            input.trace.as_ref(),
            &mut self.bench,
            &mut self.closed,
        );
        let unremarkable = matches!(fate, Fate::Taken { .. }) && !published.announced;
        if unremarkable && self.closed.is_empty() && !published.last_of_run {
            return;
        }
        let origin = Origin::of(published);
        let axis = (published.source, published.run_id);
        let told = update_zone(&mut self.zones, settings, key, axis, &mut self.closed);
        if told.is_some() && self.zones.presence(&key.0) == State::Empty {
            device.follow(self.settings.hop_s, self.near);
        }
        self.outputs
            .windows(device, &origin, &self.closed, false, out);
        out.extend(told.map(|changed| zone_output(&key.0, changed)));
        self.outputs.frame(device, input, &origin, fate, out);
        if published.last_of_run {
            self.closed.clear();
            device.finish(settings, &mut self.bench, &mut self.closed);
            let told = update_zone(&mut self.zones, settings, key, axis, &mut self.closed);
            self.outputs
                .windows(device, &origin, &self.closed, true, out);
            out.extend(told.map(|changed| zone_output(&key.0, changed)));
        }
        debug_assert!(
            !matches!(fate, Fate::Faulty(_)) || device.newest_in_stream == input.stream_sequence
        );
    }

    /// Wall time passed without (or with) input: zones that nothing came from for `stale_us` become unknown, and devices
    /// that are silent give up their open windows.
    pub fn tick(&mut self, now_us: i64, stale_us: i64) -> Vec<Output> {
        let mut changed = BTreeSet::new();
        for (key, device) in &mut self.devices {
            let (at, since) = *self
                .silent
                .entry(key.clone())
                .or_insert((device.newest_in_stream, now_us));
            if at != device.newest_in_stream {
                self.silent
                    .insert(key.clone(), (device.newest_in_stream, now_us));
                continue;
            }
            let patience = match device.source {
                DataSource::Live => LIVE_SILENCE_S,
                DataSource::Replay | DataSource::Simulated => REPLAY_SILENCE_S,
            };
            if now_us.saturating_sub(since) >= patience * 1_000_000 {
                device.begin_anew();
                if self.zones.silence(&key.0, &key.1) {
                    changed.insert(key.0.clone());
                }
            }
        }
        changed.extend(self.zones.tick(now_us, stale_us));
        changed.iter().map(|zone| zone_output(zone, true)).collect()
    }

    /// The windows of `device` that close from now on are held against this calibration, or none.
    pub fn calibrate(&mut self, device: &str, calibrated: Option<Calibrated>) {
        let calibrated = calibrated.map(Arc::new);
        match &calibrated {
            Some(calibrated) => {
                if self.calibrations.len() >= MOST_DEVICES
                    && !self.calibrations.contains_key(device)
                {
                    return;
                }
                self.calibrations
                    .insert(device.to_owned(), Arc::clone(calibrated));
            }
            None => {
                self.calibrations.remove(device);
            }
        }
        for ((_, name), state) in &mut self.devices {
            if name == device {
                state.calibrate(calibrated.clone());
            }
        }
    }

    /// The windows of these zones that close from now on are held against settings of their own. A replay in hand keeps those
    /// that it began with.
    pub fn choose(&mut self, thresholds: &BTreeMap<String, Thresholds>) {
        let chosen = thresholds.iter().filter_map(|(zone, thresholds)| {
            let settings = thresholds.settings(&self.settings)?;
            Some((zone.clone(), Arc::new(settings)))
        });
        self.chosen = chosen.collect();
        for ((zone, _), device) in &mut self.devices {
            if device.run.is_none() {
                device.chosen = self.chosen.get(zone).cloned();
            }
        }
    }

    /// The zones.
    #[must_use]
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    /// The stream's messages up to and including this one are no longer needed.
    #[must_use]
    pub fn checkpoint(&self) -> u64 {
        let needed = self.devices.values().filter_map(Device::needs).min();
        needed.map_or(self.processed_through, |needed| {
            needed.saturating_sub(1).min(self.processed_through)
        })
    }

    /// What must be kept so that a restart goes on as if it had not been. To be stored before the checkpoint.
    #[must_use]
    pub fn kept(&self) -> Kept {
        if let Some(kept) = &self.resuming {
            return kept.clone();
        }
        let keep = |((zone, device), state): (&Key, &Device)| KeptDevice {
            zone: zone.clone(),
            device: device.clone(),
            run: state.run,
            source: state.source,
            onset: state.onset,
            failures: state.failures.clone(),
            links: state.kept_links(),
        };
        Kept {
            processed_through: self.processed_through,
            devices: self.devices.iter().map(keep).collect(),
            zones: self.zones.kept(),
        }
    }

    /// Goes on from what was kept: the stream is to be read again from the checkpoint.
    pub fn resume(&mut self, kept: Kept) {
        self.zones.resume(&kept.zones);
        self.resuming = Some(kept);
    }

    fn resume_now(&mut self) {
        let Some(kept) = self.resuming.take() else {
            return;
        };
        for kept in kept.devices {
            let calibration = self.calibrations.get(&kept.device).cloned();
            let masks = self.masks.of(&kept.zone, &kept.device);
            let chosen = self.chosen.get(&kept.zone).cloned();
            let device = self
                .devices
                .entry((kept.zone, kept.device))
                .or_insert_with(|| Device::new(kept.source, kept.run, masks));
            device.calibrate(calibration);
            device.chosen = chosen;
            device.onset = kept.onset;
            device.failures = kept.failures;
            device.resume_links(&kept.links);
        }
        self.zones.resume(&kept.zones);
    }

    /// The stream was made anew: its sequences begin again, and nothing of the old one can be read.
    pub fn stream_restarted(&mut self) {
        self.processed_through = 0;
        self.resuming = None;
        self.devices.values_mut().for_each(Device::begin_anew);
    }
}

fn zone_output(zone: &str, changed: bool) -> Output {
    Output {
        what: What::Zone {
            zone: zone.to_owned(),
            changed,
        },
        trace: None,
    }
}

/// Windows that end together are one update of their zone. Gives whether its state changed, where there was any.
fn update_zone(
    zones: &mut Zones,
    settings: &Settings,
    (zone, device): &Key,
    axis: (DataSource, Option<Uuid>),
    closed: &mut [Closed],
) -> Option<bool> {
    let mut told = None;
    for together in closed.chunk_by_mut(|a, b| a.end_us == b.end_us) {
        let changed = zones.update(settings, zone, device, axis, together);
        told = Some(told.unwrap_or(false) || changed);
    }
    told
}
