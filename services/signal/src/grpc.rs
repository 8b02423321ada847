//! gRPC: parse, ask for the zones' states, render.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use events::Name;
use futures::{Stream, StreamExt, stream};
use proto::csi::v1::DataSource as WireSource;
use proto::signal::v1 as pb;
use proto::signal::v1::signal_service_server::{SignalService, SignalServiceServer};
use runtime::{Runtime, invalid_argument, refuse};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use crate::detector::LinkState;
use crate::zone::{Evidence, Zone};

/// Zones in a page where the request does not say, and at most.
const PAGE_SIZE: usize = 100;
const MAX_PAGE_SIZE: usize = 1000;
/// Updates that a slow watcher may lag behind before it is given the states anew.
const LAG: usize = 256;

/// One update of a zone.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    changed: bool,
    state: pb::ZoneState,
}

/// The zones' states as callers see them.
#[derive(Clone)]
pub(crate) struct Board {
    states: Arc<RwLock<BTreeMap<String, pb::ZoneState>>>,
    updates: broadcast::Sender<Arc<Update>>,
    method: Arc<str>,
}

impl Board {
    /// Nothing known; `method` says in each evidence how it was concluded.
    pub(crate) fn new(method: &str) -> Self {
        Self {
            states: Arc::default(),
            updates: broadcast::channel(LAG).0,
            method: method.into(),
        }
    }

    /// The zone's state, or what it rests on, is now this.
    pub(crate) fn put(&self, name: &str, zone: &Zone, changed: bool) {
        let state = render(name, zone, &self.method);
        let mut states = self.states.write().unwrap_or_else(PoisonError::into_inner);
        states.insert(name.to_owned(), state.clone());
        // Nobody watching is no fault.
        let _ = self.updates.send(Arc::new(Update { changed, state }));
    }

    fn get(&self, zone: &str) -> Option<pb::ZoneState> {
        self.states
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(zone)
            .cloned()
    }

    fn matching(&self, zone: &str) -> Vec<pb::ZoneState> {
        let states = self.states.read().unwrap_or_else(PoisonError::into_inner);
        states
            .values()
            .filter(|state| zone.is_empty() || state.zone == zone)
            .cloned()
            .collect()
    }
}

/// Serves `SignalService`.
pub(crate) async fn serve(rt: &mut Runtime, board: Board) -> anyhow::Result<()> {
    let mut routes = tonic::service::Routes::builder();
    routes.add_service(SignalServiceServer::new(Api {
        board,
        stop: rt.shutdown(),
    }));
    rt.serve_grpc(routes.routes(), &["fresnel.signal.v1.SignalService"])
        .await?;
    Ok(())
}

struct Api {
    board: Board,
    stop: CancellationToken,
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl SignalService for Api {
    async fn get_zone_state(
        &self,
        request: Request<pb::GetZoneStateRequest>,
    ) -> Reply<pb::GetZoneStateResponse> {
        let zone = zone_name(request.into_inner().zone)?;
        let state = self.board.get(zone.as_str()).ok_or_else(|| {
            refuse(
                Code::NotFound,
                "ZONE_NOT_FOUND",
                format!(
                    "no frame was ever seen in zone {zone:?}",
                    zone = zone.as_str()
                ),
            )
        })?;
        Ok(Response::new(pb::GetZoneStateResponse {
            state: Some(state),
        }))
    }

    async fn list_zone_states(
        &self,
        request: Request<pb::ListZoneStatesRequest>,
    ) -> Reply<pb::ListZoneStatesResponse> {
        let pb::ListZoneStatesRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let size = match usize::try_from(page_size) {
            Ok(0) => PAGE_SIZE,
            Ok(size) => size.min(MAX_PAGE_SIZE),
            Err(_) => return Err(invalid_argument("page_size", "must not be negative")),
        };
        // The token is the last name of the page before.
        let mut states = self.board.matching("");
        states.retain(|state| page_token.is_empty() || state.zone > page_token);
        let more = states.len() > size;
        states.truncate(size);
        let next_page_token = states
            .last()
            .filter(|_| more)
            .map(|state| state.zone.clone())
            .unwrap_or_default();
        Ok(Response::new(pb::ListZoneStatesResponse {
            states,
            next_page_token,
        }))
    }

    type WatchZoneStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchZoneResponse, Status>> + Send>>;

    async fn watch_zone(
        &self,
        request: Request<pb::WatchZoneRequest>,
    ) -> Reply<Self::WatchZoneStream> {
        let pb::WatchZoneRequest { zone, every_update } = request.into_inner();
        let zone = if zone.is_empty() {
            zone
        } else {
            zone_name(zone)?.as_str().to_owned()
        };
        // Subscribed before the states are read: nothing falls between.
        let updates = BroadcastStream::new(self.board.updates.subscribe());
        let now = self.board.matching(&zone);
        let board = self.board.clone();
        let later = updates.flat_map(move |update| {
            stream::iter(match update {
                Ok(update) => {
                    let wanted = (zone.is_empty() || update.state.zone == zone)
                        && (every_update || update.changed);
                    if wanted {
                        vec![update.state.clone()]
                    } else {
                        Vec::new()
                    }
                }
                // Too slow: what was missed is made up for by the states as they are.
                Err(_) => board.matching(&zone),
            })
        });
        let states = stream::iter(now)
            .chain(later)
            .map(|state| Ok(pb::WatchZoneResponse { state: Some(state) }));
        Ok(Response::new(Box::pin(
            states.take_until(self.stop.clone().cancelled_owned()),
        )))
    }
}

fn zone_name(zone: String) -> Result<Name, Status> {
    Name::new(zone).map_err(|error| invalid_argument("zone", error.to_string()))
}

fn render(name: &str, zone: &Zone, method: &str) -> pb::ZoneState {
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
            .flat_map(|(device, links)| links.iter().map(|link| evidence(device, link, method)))
            .collect(),
        source: match zone.source {
            events::DataSource::Live => WireSource::Live,
            events::DataSource::Replay => WireSource::Replay,
            events::DataSource::Simulated => WireSource::Simulated,
        }
        .into(),
    }
}

fn evidence(device: &str, link: &Evidence, method: &str) -> pb::LinkEvidence {
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
        method: method.to_owned(),
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

fn timestamp(micros: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default();
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos,
    }
}
