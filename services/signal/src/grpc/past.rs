//! Thresholds of zones, and what they would have made of the past.

use std::ops::ControlFlow;
use std::sync::Arc;

use bus::{Bus, From};
use bytes::Bytes;
use events::{Name, Timestamp};
use prost::Message as _;
use proto::csi::v1::DataSource;
use proto::signal::v1::{self as pb, WindowHistory};
use runtime::{invalid_argument, refuse};
use tokio::sync::Semaphore;
use tonic::{Code, Status};

use super::{unavailable, zone_name};
use crate::board::timestamp;
use crate::config::Settings;
use crate::history::in_hand::InHand;
use crate::history::what_if::{self, hours, per_week_at_most};
use crate::thresholds::{Store, Thresholds};

/// The past that is looked at where the request does not say, microseconds.
const WEEK_US: i64 = 7 * 86_400 * 1_000_000;
/// A stretch is stored so long after its first window at most, microseconds.
const STORED_WITHIN_US: i64 = 300_000_000;
/// Bytes of history that one request may look at: some 48 links over seven days, and as much as the stream holds by default.
const MOST_BYTES: usize = 256 << 20;
/// Requests that look at the past at once; others wait.
const AT_ONCE: usize = 1;

/// Where the zones' thresholds and their history lie.
pub(crate) struct Past {
    pub bus: Bus,
    pub thresholds: Store,
    /// The service's own settings.
    pub default: Settings,
    in_hand: InHand,
    places: Arc<Semaphore>,
}

impl Past {
    pub fn new(bus: Bus, thresholds: Store, default: Settings, in_hand: InHand) -> Self {
        Self {
            bus,
            thresholds,
            default,
            in_hand,
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    pub async fn thresholds(&self, zone: &Name) -> Result<pb::ZoneThresholds, Status> {
        let kept = self.thresholds.get(zone).await;
        let (thresholds, revision) = kept.map_err(|error| unavailable(&error))?;
        Ok(self.render(zone, &thresholds, revision))
    }

    fn render(&self, zone: &Name, thresholds: &Thresholds, revision: u64) -> pb::ZoneThresholds {
        pb::ZoneThresholds {
            zone: zone.to_string(),
            motion_threshold: thresholds.motion,
            etag: if revision == 0 {
                String::new()
            } else {
                revision.to_string()
            },
            update_time: thresholds.updated.map(|time| timestamp(time.as_micros())),
            default_motion_threshold: self.default.threshold,
        }
    }

    pub async fn update(
        &self,
        request: pb::UpdateThresholdsRequest,
    ) -> Result<pb::UpdateThresholdsResponse, Status> {
        let wanted = request
            .thresholds
            .clone()
            .ok_or_else(|| invalid_argument("thresholds", "is missing"))?;
        let zone = zone_name(wanted.zone.clone())?;
        let named = named(&request, &wanted)?;
        let (start_us, end_us) = span(&request)?;
        let kept = self.thresholds.get(&zone).await;
        let (mut thresholds, mut revision) = kept.map_err(|error| unavailable(&error))?;
        if !wanted.etag.is_empty() && wanted.etag != revision.to_string() {
            return Err(changed(&zone));
        }
        if named {
            thresholds.motion = wanted.motion_threshold;
        }
        thresholds
            .validate()
            .map_err(|problem| invalid_argument("thresholds.motion_threshold", problem))?;
        // Given back when the answer is there, whether or not anybody waits for it.
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| Status::unavailable("the service is stopping"))?;
        let (payloads, in_hand) = self.payloads(&zone, start_us).await?;
        let (default, per_week) = (self.default.clone(), request.false_alarms_per_week);
        let source = match request.source() {
            DataSource::Unspecified => DataSource::Live,
            source => source,
        };
        let judged = tokio::task::spawn_blocking(move || {
            let _place = place;
            let stored = payloads
                .into_iter()
                .filter_map(|payload| WindowHistory::decode(payload).ok());
            let stretches = stored
                .chain(in_hand)
                .filter(|stretch| stretch.source() == source && stretch.first_end_us < end_us);
            let past = what_if::Past::new(stretches.collect(), start_us, end_us);
            judge(&default, thresholds, per_week, &past, (start_us, end_us))
        });
        let judged = judged
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        let (mut thresholds, what_if) = judged?;
        if !request.validate_only && (named || per_week.is_some()) {
            thresholds.updated = Some(Timestamp::now());
            let set = self.thresholds.set(&zone, &thresholds, revision).await;
            let set = set.map_err(|error| unavailable(&error))?;
            revision = set.ok_or_else(|| changed(&zone))?;
        }
        Ok(pb::UpdateThresholdsResponse {
            thresholds: Some(self.render(&zone, &thresholds, revision)),
            what_if: Some(what_if),
        })
    }

    /// What is kept of the zone since some time before `start_us`, still undecoded, and what is in hand of it.
    async fn payloads(
        &self,
        zone: &Name,
        start_us: i64,
    ) -> Result<(Vec<Bytes>, Vec<WindowHistory>), Status> {
        // First what is in hand: what is full meanwhile is then read from the stream, and counts once.
        let in_hand = self.in_hand.read(zone.as_str()).await;
        let in_hand = in_hand.map_err(|error| unavailable(&error))?;
        // A replay's own time lies before its storing, a live one's right at it: nothing that counts was stored before it began.
        let from = From::Time(start_us.saturating_sub(STORED_WITHIN_US).max(0));
        let (mut payloads, mut bytes) = (Vec::new(), 0);
        let mut take = |message: bus::DataMessage| {
            bytes += message.payload.len();
            if bytes > MOST_BYTES {
                return ControlFlow::Break(());
            }
            payloads.push(message.payload);
            ControlFlow::Continue(())
        };
        let filter = format!("history.signal.{zone}.*");
        let read = self.bus.read_each(&filter, from, &mut take).await;
        read.map_err(|error| unavailable(&error))?;
        if bytes > MOST_BYTES {
            return Err(refuse(
                Code::ResourceExhausted,
                "HISTORY_TOO_LONG",
                format!(
                    "the history of zone {zone} in this span has more than {} MiB; ask for a shorter one",
                    MOST_BYTES >> 20
                ),
            ));
        }
        Ok((payloads, in_hand))
    }
}

/// Whether the motion threshold is to be set, or taken back.
fn named(
    request: &pb::UpdateThresholdsRequest,
    wanted: &pb::ZoneThresholds,
) -> Result<bool, Status> {
    let mut named = wanted.motion_threshold.is_some();
    if let Some(mask) = &request.update_mask {
        if let Some(path) = mask
            .paths
            .iter()
            .find(|path| !["motion_threshold", "*"].contains(&path.as_str()))
        {
            return Err(invalid_argument(
                "update_mask",
                format!("{path:?} cannot be changed; motion_threshold can"),
            ));
        }
        named = !mask.paths.is_empty();
    }
    match request.false_alarms_per_week {
        Some(_) if named => Err(invalid_argument(
            "false_alarms_per_week",
            "leads to a threshold, and there is one already: give one of the two",
        )),
        Some(rate) if !(0.0..=1e6).contains(&rate) => Err(invalid_argument(
            "false_alarms_per_week",
            format!("{rate}: must be from 0 to 1000000"),
        )),
        Some(_) if request.start_time.is_none() || request.end_time.is_none() => {
            Err(invalid_argument(
                "start_time",
                "and end_time say when nobody was there; without them no alarm is known to be false",
            ))
        }
        _ => Ok(named),
    }
}

fn span(request: &pb::UpdateThresholdsRequest) -> Result<(i64, i64), Status> {
    let micros_of = |time: &prost_types::Timestamp| {
        time.seconds
            .saturating_mul(1_000_000)
            .saturating_add(i64::from(time.nanos) / 1000)
    };
    let end_us = request
        .end_time
        .as_ref()
        .map_or_else(|| Timestamp::now().as_micros(), micros_of);
    let start_us = request
        .start_time
        .as_ref()
        .map_or(end_us.saturating_sub(WEEK_US), micros_of);
    if start_us >= end_us {
        return Err(invalid_argument("end_time", "must be after start_time"));
    }
    Ok((start_us, end_us))
}

fn changed(zone: &Name) -> Status {
    let message = format!("the thresholds of zone {zone} were changed meanwhile; read them again");
    refuse(Code::Aborted, "ETAG_MISMATCH", message)
}

/// What holds in a zone with these thresholds.
fn settings(default: &Settings, thresholds: &Thresholds) -> Settings {
    thresholds
        .settings(default)
        .unwrap_or_else(|| default.clone())
}

/// A threshold that was found, where the time observed is long enough to support the rate; else none below the service's own.
fn supported(default: &Settings, past: &what_if::Past, per_week: f64, found: f64) -> f64 {
    let with = Thresholds {
        motion: Some(found),
        updated: None,
    };
    let outcome = past.with(&settings(default, &with));
    match per_week_at_most(outcome.with.alarms, outcome.observed_us) {
        Some(most) if most <= per_week => found,
        _ => found.max(default.threshold),
    }
}

/// The threshold that was asked for, and what becomes of the past with it.
fn judge(
    default: &Settings,
    mut thresholds: Thresholds,
    per_week: Option<f64>,
    past: &what_if::Past,
    (start_us, end_us): (i64, i64),
) -> Result<(Thresholds, pb::WhatIf), Status> {
    if let Some(per_week) = per_week {
        let found = past.threshold_for(per_week, default);
        let found = found.ok_or_else(|| {
            refuse(
                Code::FailedPrecondition,
                "NO_THRESHOLD",
                "no threshold keeps to that rate in this span: nothing was observed in it, or something moved all the time",
            )
        })?;
        thresholds.motion = Some(supported(default, past, per_week, found));
    }
    let outcome = past.with(&settings(default, &thresholds));
    let most = per_week_at_most(outcome.with.alarms, outcome.observed_us);
    let what_if = pb::WhatIf {
        start_time: Some(timestamp(start_us)),
        end_time: Some(timestamp(end_us)),
        observed_hours: hours(outcome.observed_us),
        unknown_hours: hours(outcome.unknown_us),
        recorded_alarms: outcome.recorded.alarms,
        recorded_motion_hours: hours(outcome.recorded.duration_us),
        alarms: outcome.with.alarms,
        motion_hours: hours(outcome.with.duration_us),
        alarms_per_week_at_most: most,
        links: u32::try_from(past.links()).unwrap_or(u32::MAX),
    };
    Ok((thresholds, what_if))
}
