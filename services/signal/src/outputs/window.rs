//! A window as it travels on the data plane.

use dsp::level::Level;
use events::DataSource;
use proto::csi::v1::DataSource as WireSource;
use proto::signal::v1::{LinkState as WireState, PresenceState, SignalWindow};
use uuid::Uuid;

use super::{Origin, narrow};
use crate::detector::{LinkState, Reason};
use crate::device::Closed;
use crate::link::{Evaluation, Link};
use crate::presence::State;

/// The id of a window: of its newest frame, its link and its end. The same frames give the same id.
pub(super) fn signal_id(window: &Closed, origin: &Origin) -> Uuid {
    let name = format!(
        "window {} {} {} {}",
        origin.zone, origin.device, window.key, window.end_us
    );
    Uuid::new_v5(&window.newest_frame, name.as_bytes())
}

fn count(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The window as protobuf.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
pub(super) fn wire(
    window: &Closed,
    origin: &Origin,
    signal_id: Uuid,
    last_of_run: bool,
) -> SignalWindow {
    let Evaluation {
        verdict,
        counts,
        quality,
        features,
        course: (course, profile),
        between: (pair_course, pair_profile),
        level_dbm,
        breath,
        distance,
        motion,
        ..
    } = &window.evaluation;
    let copy = |id: Uuid| bytes::Bytes::copy_from_slice(id.as_bytes());
    SignalWindow {
        signal_id: copy(signal_id),
        device: origin.device.clone(),
        zone: origin.zone.clone(),
        window_start_us: window.start_us,
        window_end_us: window.end_us,
        frames_seen: count(counts.received()),
        frames_missed: counts.missed.map(count),
        frame_rate_hz: (counts.received() as f64 * 1e6 / counts.window_us.max(1) as f64) as f32,
        motion_score: verdict.statistic.map(narrow),
        motion_threshold: narrow(verdict.threshold),
        window_score: motion.map(|motion| narrow(motion.statistic)),
        shape_score: motion.map(|motion| narrow(motion.shape)),
        level_change_db: motion.and_then(|motion| motion.level).map(change_db),
        state: link_state(verdict.state).into(),
        reason: verdict.reason.map_or("", Reason::code).to_owned(),
        quality: *quality,
        feature_schema: schema(Link::feature_schema(), features),
        course_schema: schema(dsp::activity::course::SCHEMA, course),
        pair_schema: schema(dsp::activity::pairs::SCHEMA, pair_course),
        features: features.clone(),
        course: course.clone(),
        profile: profile.clone(),
        pair_course: pair_course.clone(),
        pair_profile: pair_profile.clone(),
        level_dbm: *level_dbm,
        source: match origin.source {
            DataSource::Live => WireSource::Live,
            DataSource::Replay => WireSource::Replay,
            DataSource::Simulated => WireSource::Simulated,
        }
        .into(),
        run_id: origin.run.map(copy).unwrap_or_default(),
        ingest_time_us: window.ingest_time_us,
        last_of_run,
        presence: presence_state(window.presence.state).into(),
        presence_reason: window.presence.reason.clone(),
        link: window.key.to_string(),
        breaths_per_minute: breath.rate.ok().map(|rate| narrow(rate.bpm)),
        baseline_distance: distance.ok().map(narrow),
        zone_state: link_state(window.zone_state).into(),
        noise: window.limit.noise.map(narrow),
        learnt_threshold: window.limit.learnt.map(narrow),
    }
}

/// The name of a layout, where there are values in it.
fn schema(name: &str, values: &[f32]) -> String {
    if values.is_empty() { "" } else { name }.to_owned()
}

/// The coherent change of the level, dB.
fn change_db(level: Level) -> f32 {
    narrow(level.coherent_db2.max(0.0).sqrt())
}

fn link_state(state: LinkState) -> WireState {
    match state {
        LinkState::Unknown => WireState::Unknown,
        LinkState::Still => WireState::Still,
        LinkState::Motion => WireState::Motion,
    }
}

/// Presence as protobuf.
pub(crate) fn presence_state(state: State) -> PresenceState {
    match state {
        State::Unknown => PresenceState::Unknown,
        State::Empty => PresenceState::Empty,
        State::Present => PresenceState::Present,
    }
}

/// The state of a window in a word.
#[must_use]
pub fn state_name(window: &SignalWindow) -> &'static str {
    match window.state() {
        WireState::Motion => LinkState::Motion.as_str(),
        WireState::Still => LinkState::Still.as_str(),
        WireState::Unknown | WireState::Unspecified => LinkState::Unknown.as_str(),
    }
}
