//! The zones' states as callers see them: those that this process works, and those that other instances say.
//!
//! Any instance answers for any zone: while there are others, each says what becomes of its zones to those that listen, and
//! now and then all that it knows, for those that came late.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bus::Bus;
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;
use proto::csi::v1::DataSource as WireSource;
use proto::signal::v1 as pb;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::baseline::NoDistance;
use crate::breathing::{Absent, Breath};
use crate::detector::LinkState;
use crate::outputs::{method, presence_state};
use crate::presence::{Rules, State};
use crate::zone::{Evidence, Zone};

/// What instances say of their zones to one another.
const TOPIC: &str = "signal.zones";
/// How often an instance says all that it knows.
const ALL_EVERY: Duration = Duration::from_secs(5);
/// Updates that a slow watcher may lag behind before it is given the states anew.
const LAG: usize = 256;

/// One update of a zone.
#[derive(Clone, Debug)]
pub struct Update {
    /// The zone is in another state than before.
    pub changed: bool,
    /// What is known now.
    pub state: pb::ZoneState,
    /// This instance concluded it.
    own: bool,
}

#[derive(Debug)]
struct Known {
    state: pb::ZoneState,
    own: bool,
}

/// The zones' states as callers see them.
#[derive(Clone)]
pub struct Board {
    states: Arc<RwLock<BTreeMap<String, Known>>>,
    updates: broadcast::Sender<Arc<Update>>,
    shared: Arc<AtomicBool>,
    rules: Arc<Rules>,
}

impl Board {
    /// Nothing known; `rules` say what distances are held against.
    pub fn new(rules: &Rules) -> Self {
        Self {
            states: Arc::default(),
            updates: broadcast::channel(LAG).0,
            shared: Arc::default(),
            rules: Arc::new(rules.clone()),
        }
    }

    /// The zone's state, or what it rests on, is now this: a worker of this instance says so.
    pub fn put(&self, name: &str, zone: &Zone, changed: bool) {
        self.take(Update {
            changed,
            state: render(name, zone, &self.rules),
            own: true,
        });
    }

    /// Another instance works the zone from now on.
    pub fn disown(&self, name: &str) {
        let mut states = self.states.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = states.get_mut(name) {
            known.own = false;
        }
    }

    /// Whether there are other instances to tell.
    pub fn share(&self, shared: bool) {
        self.shared.store(shared, Ordering::Relaxed);
    }

    fn take(&self, update: Update) {
        let known = Known {
            state: update.state.clone(),
            own: update.own,
        };
        let mut states = self.states.write().unwrap_or_else(PoisonError::into_inner);
        states.insert(update.state.zone.clone(), known);
        // Nobody watching is no fault.
        let _ = self.updates.send(Arc::new(update));
    }

    /// Updates from now on.
    pub fn updates(&self) -> broadcast::Receiver<Arc<Update>> {
        self.updates.subscribe()
    }

    /// State of one zone.
    pub fn get(&self, zone: &str) -> Option<pb::ZoneState> {
        let states = self.states.read().unwrap_or_else(PoisonError::into_inner);
        states.get(zone).map(|known| known.state.clone())
    }

    /// States of the zone of that name, or of all, by name.
    pub fn matching(&self, zone: &str) -> Vec<pb::ZoneState> {
        let states = self.states.read().unwrap_or_else(PoisonError::into_inner);
        states
            .values()
            .filter(|known| zone.is_empty() || known.state.zone == zone)
            .map(|known| known.state.clone())
            .collect()
    }

    fn own(&self) -> Vec<pb::ZoneState> {
        let states = self.states.read().unwrap_or_else(PoisonError::into_inner);
        let own = states.values().filter(|known| known.own);
        own.map(|known| known.state.clone()).collect()
    }
}

/// Tells the other instances what becomes of this one's zones, and shows what they say of theirs, until `stop`.
///
/// # Errors
/// Where the connection is closed for good.
pub async fn mirror(
    bus: Bus,
    board: Board,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>>> {
    let me = Uuid::new_v4();
    let mut heard = bus.listen(TOPIC).await?;
    let mut updates = board.updates();
    Ok(async move {
        let mut all = tokio::time::interval(ALL_EVERY);
        loop {
            let told = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                message = heard.next() => {
                    let Some(message) = message else { return Ok(()) };
                    if let Some(update) = read(me, &message) {
                        board.take(update);
                    }
                    continue;
                }
                update = updates.recv() => match update {
                    Ok(update) if update.own => vec![(update.state.clone(), update.changed)],
                    Ok(_) => continue,
                    // Too many at once: all that is known makes up for it.
                    Err(RecvError::Lagged(_)) => board.own().into_iter().map(|state| (state, true)).collect(),
                    Err(RecvError::Closed) => return Ok(()),
                },
                _ = all.tick() => board.own().into_iter().map(|state| (state, false)).collect(),
            };
            if board.shared.load(Ordering::Relaxed) {
                for (state, changed) in told {
                    bus.say(TOPIC, written(me, &state, changed)).await?;
                }
            }
        }
    })
}

/// Who says it, whether the state changed, and the state.
fn written(me: Uuid, state: &pb::ZoneState, changed: bool) -> Bytes {
    let mut message = BytesMut::with_capacity(17 + state.encoded_len());
    message.put_slice(me.as_bytes());
    message.put_u8(u8::from(changed));
    message.put_slice(&state.encode_to_vec());
    message.freeze()
}

/// What another instance says; nothing where it is this one, or cannot be read.
fn read(me: Uuid, message: &[u8]) -> Option<Update> {
    let (who, rest) = message.split_at_checked(16)?;
    let (changed, state) = rest.split_first()?;
    if who == me.as_bytes() {
        return None;
    }
    let state = pb::ZoneState::decode(state)
        .inspect_err(
            |error| tracing::warn!(%error, "what another instance says of a zone is not readable"),
        )
        .ok()?;
    Some(Update {
        changed: *changed != 0,
        state,
        own: false,
    })
}

fn render(name: &str, zone: &Zone, rules: &Rules) -> pb::ZoneState {
    pb::ZoneState {
        zone: name.to_owned(),
        state: motion_state(zone.state).into(),
        score: zone.score().map(narrow),
        since: Some(timestamp(zone.since_us)),
        as_of: Some(timestamp(zone.as_of_us)),
        reason: if zone.state == LinkState::Unknown {
            zone.reason.clone()
        } else {
            String::new()
        },
        evidence: zone
            .evidence
            .iter()
            .flat_map(|(device, links)| links.iter().map(|link| evidence(device, link, rules)))
            .collect(),
        source: match zone.source {
            events::DataSource::Live => WireSource::Live,
            events::DataSource::Replay => WireSource::Replay,
            events::DataSource::Simulated => WireSource::Simulated,
        }
        .into(),
        presence: presence_state(zone.presence.state).into(),
        presence_since: Some(timestamp(zone.presence.since_us)),
        presence_reason: zone.presence.reason.clone(),
        presence_confidence: (zone.presence.state == State::Present)
            .then_some(zone.presence.confidence),
        breaths_per_minute: zone.breaths_per_minute().map(narrow),
    }
}

fn evidence(device: &str, link: &Evidence, rules: &Rules) -> pb::LinkEvidence {
    let count = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    pb::LinkEvidence {
        device: device.to_owned(),
        state: motion_state(link.state).into(),
        statistic: link.statistic.map(narrow),
        threshold: narrow(link.threshold),
        frames_seen: count(link.frames_seen),
        frames_missed: link.frames_missed.map(count),
        frame_rate_hz: narrow(link.frame_rate_hz),
        quality: link.quality,
        window_start: Some(timestamp(link.start_us)),
        window_end: Some(timestamp(link.end_us)),
        reason: link.reason.to_owned(),
        method: method(link.window_s(), &link.limit),
        calibration_id: link
            .calibration
            .map(|id| id.to_string())
            .unwrap_or_default(),
        false_alarms_per_week: link.limit.per_week.map(narrow),
        false_alarm_windows: link.limit.windows,
        breathing: Some(breathing(&link.breath)),
        baseline: Some(pb::BaselineEvidence {
            distance: link.distance.ok().map(narrow),
            near: narrow(rules.near),
            far: narrow(rules.far),
            reason: link.distance.err().map_or("", NoDistance::code).to_owned(),
        }),
    }
}

fn breathing(breath: &Breath) -> pb::BreathingEvidence {
    let rate = breath.rate.ok();
    pb::BreathingEvidence {
        breaths_per_minute: rate.map(|rate| narrow(rate.bpm)),
        snr_db: rate.map(|rate| narrow(rate.snr_db)),
        peak: rate.map(|rate| narrow(rate.peak)),
        window_seconds: narrow(breath.window_s),
        reason: breath.rate.err().map_or("", Absent::code).to_owned(),
    }
}

fn motion_state(state: LinkState) -> pb::MotionState {
    match state {
        LinkState::Unknown => pb::MotionState::Unknown,
        LinkState::Still => pb::MotionState::Still,
        LinkState::Motion => pb::MotionState::Motion,
    }
}

#[allow(clippy::cast_possible_truncation)]
fn narrow(value: f64) -> f32 {
    value as f32
}

pub(crate) fn timestamp(micros: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default();
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos,
    }
}
