//! The one way of a frame from any source: whose it is, whether it may come in, whether there is room; then it waits for
//! the bus. Identification, faults and counts are here, once, for all sources.

mod heard;
mod wrong;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::{Name, Timestamp};
use hashbrown::HashMap;
use opentelemetry::metrics::Counter;
use tokio::sync::{Notify, mpsc};

use crate::config::{Admission, Config};
use crate::faults::Faults;
use crate::lifecycle::{Connection, Devices, Sender};
use crate::registry::{Place, Verdict};
use crate::source::identity::{Claims, Standing};
use crate::source::lanes::Lanes;
use crate::source::meters::Tally;
use crate::source::rate::Bucket;
use crate::source::signed::{Keys, Refusal};
use crate::track::Order;

pub use heard::{Change, Claim, Gate, Heard, Manner, Right, Waiting};
use wrong::shown;
pub use wrong::{device_name, source_device};

/// A source that can wait does so while more frames than this wait for the bus.
const ROOM: usize = 256;
/// Devices of which `open` admission is under way.
const MAX_ADMISSIONS: usize = 1024;
/// An admission that led to nothing is asked for again after so long, microseconds.
const ADMIT_AGAIN_US: i64 = 5_000_000;
/// What a frame takes beside its samples, bytes, about.
const FRAME_BYTES: usize = 400;

/// Everything that is decided under one lock.
#[derive(Debug)]
struct State {
    claims: Claims,
    keys: Keys,
    lanes: Lanes<Place, Waiting>,
    buckets: HashMap<Place, Bucket>,
    admissions: HashMap<String, i64>,
    shed: HashMap<Name, u64>,
    limited: HashMap<Name, u64>,
}

/// The intake.
pub struct Intake {
    devices: Arc<Devices>,
    faults: Arc<Mutex<Faults>>,
    violations: Mutex<Faults>,
    changes: mpsc::Sender<Change>,
    admission: Admission,
    device_admission: std::collections::BTreeMap<String, Admission>,
    zone: Name,
    device_rate_hz: f64,
    state: Mutex<State>,
    arrived: Notify,
    room: Notify,
    shed: Counter<u64>,
}

impl Intake {
    /// The intake of a gateway.
    ///
    /// # Errors
    /// Where the keys cannot be read, or the zone is no name.
    pub fn new(
        config: &Config,
        devices: Arc<Devices>,
        faults: Arc<Mutex<Faults>>,
        changes: mpsc::Sender<Change>,
    ) -> anyhow::Result<Self> {
        let meter = opentelemetry::global::meter("hardware-gateway");
        Ok(Self {
            devices,
            faults,
            violations: Mutex::new(Faults::new(crate::micros(config.error_interval_s))),
            changes,
            admission: config.admission,
            device_admission: config.device_admission.clone(),
            zone: Name::new(&*config.zone)?,
            device_rate_hz: config.device_rate_hz,
            state: Mutex::new(State {
                claims: Claims::default(),
                keys: Keys::load(config.keys_file.as_deref(), config.keys_secret.text())?,
                lanes: Lanes::new(config.queue_frames, config.queue_bytes),
                buckets: HashMap::new(),
                admissions: HashMap::new(),
                shed: HashMap::new(),
                limited: HashMap::new(),
            }),
            arrived: Notify::new(),
            room: Notify::new(),
            shed: meter
                .u64_counter("gateway_shed_frames")
                .with_description("Frames that were not published because the bus or the rate limit did not take them")
                .build(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a frame, or counts why not.
    pub fn take(
        &self,
        manner: &Manner,
        mut heard: Heard<'_>,
        right: &mut Right<'_>,
        tally: &mut Tally,
        now_us: i64,
    ) {
        if let Some(place) = heard.place
            && self.devices.registry().owner(place).is_some()
        {
            heard.id = place;
            heard.place = None;
        }
        if !self.has_right(manner, heard.id, heard.address, right, now_us) {
            tally.refused += 1;
            return;
        }
        let open = self.admission(manner, heard.id) == Admission::Open;
        if !self.identified(&mut heard, now_us) {
            tally.refused += 1;
            return;
        }
        let verdict = self.devices.registry().frame(
            heard.id,
            heard.device_type,
            heard.address,
            &heard.frame,
            now_us,
        );
        match verdict {
            Verdict::Accepted {
                device,
                place,
                zone,
                connects,
                order,
            } => {
                if connects {
                    self.connected(manner, &device, &heard);
                }
                match order {
                    Order::Duplicate => {
                        tally.duplicates += 1;
                        return;
                    }
                    Order::Late(_) => tally.late += 1,
                    _ => {}
                }
                let Some(decision) = self.passes(manner, &device, place, &heard, now_us) else {
                    tally.limited += 1;
                    return;
                };
                tally.frames += 1;
                let waiting = Waiting {
                    source: heard.source(),
                    frame: heard.frame,
                    device,
                    zone,
                    decision,
                    ingest_time_us: now_us,
                };
                self.wait(place, waiting);
            }
            Verdict::Maintenance => {}
            Verdict::Unregistered { first } => {
                tally.unregistered += 1;
                self.unknown(manner, heard, open, first, now_us);
            }
        }
    }

    /// Keeps what a registered device says of itself. It must have the same right to come in as a frame.
    pub fn claim(
        &self,
        manner: &Manner,
        claim: Claim<'_>,
        right: &mut Right<'_>,
        tally: &mut Tally,
        now_us: i64,
    ) {
        if !self.has_right(manner, claim.id, claim.address, right, now_us) {
            tally.refused += 1;
            return;
        }
        let standing = self.state().claims.heard(claim.id, claim.from, now_us);
        if standing != Standing::Holder {
            tally.refused += 1;
            return;
        }
        if self
            .devices
            .registry()
            .claimed(claim.id, claim.report, now_us)
        {
            tally.edge_reports += 1;
        }
    }

    /// Whether what `id` sent may come in; a violation where it is not signed as it should be.
    fn has_right(
        &self,
        manner: &Manner,
        id: &str,
        address: &str,
        right: &mut Right<'_>,
        now_us: i64,
    ) -> bool {
        if self.admission(manner, id) != Admission::Signed {
            return true;
        }
        let Err(refusal) = self.signed(id, right) else {
            return true;
        };
        self.violation(id, refusal.code(), now_us, address, || {
            format!("a datagram of {id} from {address} was refused: {refusal}")
        });
        false
    }

    fn admission(&self, manner: &Manner, id: &str) -> Admission {
        let of_device = self.device_admission.get(id).copied();
        of_device.or(manner.admission).unwrap_or(self.admission)
    }

    fn signed(&self, id: &str, right: &mut Right<'_>) -> Result<(), Refusal> {
        match right {
            Right::Local => Ok(()),
            Right::Checked(checked) if checked == id => Ok(()),
            Right::Checked(_) => Err(Refusal::Unsigned),
            Right::Datagram(payload, trailer) => {
                self.state().keys.check(id, payload, trailer.as_ref())?;
                *right = Right::Checked(id.to_owned());
                Ok(())
            }
        }
    }

    /// Whether the frame is of the device that it names; a second device takes its place's name, where it has one.
    fn identified(&self, heard: &mut Heard<'_>, now_us: i64) -> bool {
        let standing = self.state().claims.heard(heard.id, heard.from, now_us);
        let Standing::Duplicate(holder) = standing else {
            return true;
        };
        let (id, from) = (heard.id, heard.from);
        let other = heard.place.take();
        let taken = other.map_or("are refused".to_owned(), |place| {
            format!("are taken as {place:?}")
        });
        self.fault(&self.label(id), "duplicate_identity", now_us, || {
            format!(
                "two devices are {id:?} at the same time: {} and {}; frames of the second {taken}",
                shown(holder),
                shown(from)
            )
        });
        let Some(place) = other else {
            return false;
        };
        heard.id = place;
        self.state().claims.heard(place, from, now_us) == Standing::Holder
    }

    fn connected(&self, manner: &Manner, device: &Name, heard: &Heard<'_>) {
        let link = Connection::of(
            &heard.frame,
            heard.address,
            manner.protocol,
            heard.source(),
            None,
        );
        if self
            .changes
            .try_send(Change::Connected(device.clone(), link))
            .is_err()
        {
            // The next frame asks again.
            self.devices.registry().set_changing(device, false);
        }
    }

    fn unknown(&self, manner: &Manner, heard: Heard<'_>, open: bool, first: bool, now_us: i64) {
        let admits = open && self.admits(heard.id, now_us);
        if !first && !admits {
            return;
        }
        let sender = Sender {
            hardware_id: heard.id.to_owned(),
            address: heard.address.to_owned(),
            device_type: heard.device_type,
        };
        let frame = Box::new(heard.frame);
        let change = if admits {
            let zone = manner.zone.as_ref().unwrap_or(&self.zone);
            Change::Admit(sender, frame, zone.clone())
        } else {
            Change::Discovered(sender, frame)
        };
        if self.changes.try_send(change).is_err() {
            tracing::warn!("too many senders at once: one was not announced");
        }
    }

    /// Whether this frame is the one that asks for its sender's registration.
    fn admits(&self, id: &str, now_us: i64) -> bool {
        let admissions = &mut self.state().admissions;
        if let Some(asked_us) = admissions.get_mut(id) {
            let again = now_us.saturating_sub(*asked_us) >= ADMIT_AGAIN_US;
            if again {
                *asked_us = now_us;
            }
            return again;
        }
        let room = admissions.len() < MAX_ADMISSIONS;
        if room {
            admissions.insert(id.to_owned(), now_us);
        }
        room
    }

    /// Rate limits, in the time of the input; whether the frame is announced.
    fn passes(
        &self,
        manner: &Manner,
        device: &Name,
        place: Place,
        heard: &Heard<'_>,
        now_us: i64,
    ) -> Option<(bool, u32)> {
        let time_us = heard.frame.receive_time_us;
        let by_device = {
            let mut state = self.state();
            match state.buckets.get_mut(&place) {
                Some(bucket) => bucket.take(time_us),
                None => {
                    let mut bucket = Bucket::new(self.device_rate_hz);
                    let passes = bucket.take(time_us);
                    state.buckets.insert(place, bucket);
                    passes
                }
            }
        };
        let mut gate = manner.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if by_device && gate.bucket.take(time_us) {
            return Some(gate.announcer.announce(time_us));
        }
        drop(gate);
        *self.state().limited.entry(device.clone()).or_default() += 1;
        if by_device {
            let name = source_device(&manner.name);
            self.fault(&name, "rate_limited", now_us, || {
                format!(
                    "source {:?} sends more than its rate_hz",
                    manner.name.as_str()
                )
            });
        } else {
            let limit = self.device_rate_hz;
            let what = || format!("more than device_rate_hz = {limit} frames per second");
            self.fault(device.as_str(), "rate_limited", now_us, what);
            self.violation(heard.id, "rate_limit", now_us, heard.address, what);
        }
        None
    }

    fn wait(&self, place: Place, waiting: Waiting) {
        let bytes = FRAME_BYTES + waiting.frame.samples.len() * 8;
        let mut state = self.state();
        for (_, gone) in state.lanes.push(&place, waiting, bytes) {
            *state.shed.entry(gone.device).or_default() += 1;
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Up to `most` frames that wait, devices in turn.
    pub fn next(&self, most: usize, into: &mut Vec<Waiting>) {
        let mut state = self.state();
        while into.len() < most {
            let Some(waiting) = state.lanes.pop() else {
                break;
            };
            into.push(waiting);
        }
        if state.lanes.len() < ROOM {
            self.room.notify_waiters();
        }
    }

    /// Waits until something waits for the bus.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Waits until there is room; for sources that lose nothing by waiting.
    pub async fn room(&self) {
        loop {
            let waiting = self.room.notified();
            tokio::pin!(waiting);
            waiting.as_mut().enable();
            if self.state().lanes.len() < ROOM {
                return;
            }
            waiting.await;
        }
    }
}

/// Now, microseconds since the Unix epoch.
#[must_use]
pub fn now_us() -> i64 {
    Timestamp::now().as_micros()
}
