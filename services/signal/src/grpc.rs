//! gRPC: parse, ask for the zones' states, render.

mod past;
mod pipelines;
mod places;
mod spectrum;

use std::pin::Pin;
use std::sync::Arc;

use events::Name;
use futures::{Stream, StreamExt, stream};
use proto::signal::v1 as pb;
use proto::signal::v1::pipeline_service_server::PipelineServiceServer;
use proto::signal::v1::signal_service_server::{SignalService, SignalServiceServer};
use runtime::{Runtime, invalid_argument, next_page, page_items, refuse};
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

pub(crate) use self::past::Past;
use self::pipelines::PipelineApi;
use self::places::Places;
use crate::board::Board;
use crate::config::Config;
use crate::processing::error::chain;
use crate::processing::runs::Runs;
use crate::processing::store::Pipelines;

/// Serves `SignalService` and `PipelineService`.
pub(crate) async fn serve(
    rt: &mut Runtime,
    config: &Config,
    board: Board,
    past: Past,
    (pipelines, runs): (Arc<Pipelines>, Arc<Runs>),
) -> anyhow::Result<()> {
    let mut routes = tonic::service::Routes::builder();
    routes.add_service(SignalServiceServer::new(Api {
        board,
        past,
        watchers: Places::new(
            config.max_watchers,
            "watchers of features",
            "TOO_MANY_WATCHERS",
            "signal.max_watchers",
        ),
        spectrograms: Places::new(
            config.max_spectrograms,
            "spectrograms",
            "TOO_MANY_SPECTROGRAMS",
            "signal.max_spectrograms",
        ),
        stop: rt.shutdown(),
    }));
    routes.add_service(PipelineServiceServer::new(PipelineApi {
        pipelines,
        runs,
        stop: rt.shutdown(),
    }));
    rt.serve_grpc(
        routes.routes(),
        &[
            "fresnel.signal.v1.SignalService",
            "fresnel.signal.v1.PipelineService",
        ],
    )
    .await?;
    Ok(())
}

struct Api {
    board: Board,
    past: Past,
    watchers: Places,
    spectrograms: Places,
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
        let size = page_items(page_size)?;
        // The token is the last name of the page before.
        let mut states = self.board.matching("");
        states.retain(|state| page_token.is_empty() || state.zone > page_token);
        let next_page_token = next_page(&mut states, size, |state| state.zone.clone());
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
        let updates = BroadcastStream::new(self.board.updates());
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

    async fn get_thresholds(
        &self,
        request: Request<pb::GetThresholdsRequest>,
    ) -> Reply<pb::GetThresholdsResponse> {
        let zone = zone_name(request.into_inner().zone)?;
        let thresholds = self.past.thresholds(&zone).await?;
        Ok(Response::new(pb::GetThresholdsResponse {
            thresholds: Some(thresholds),
        }))
    }

    async fn update_thresholds(
        &self,
        request: Request<pb::UpdateThresholdsRequest>,
    ) -> Reply<pb::UpdateThresholdsResponse> {
        let answer = self.past.update(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    type WatchFeaturesStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchFeaturesResponse, Status>> + Send>>;

    async fn watch_features(
        &self,
        request: Request<pb::WatchFeaturesRequest>,
    ) -> Reply<Self::WatchFeaturesStream> {
        let pb::WatchFeaturesRequest { zone, device } = request.into_inner();
        let zone = zone_name(zone)?;
        let device = device_name(device)?;
        let place = self.watchers.take()?;
        let windows = spectrum::features(&self.past.bus, &zone, device, place).await?;
        Ok(Response::new(Box::pin(
            windows.take_until(self.stop.clone().cancelled_owned()),
        )))
    }

    async fn get_spectrogram(
        &self,
        request: Request<pb::GetSpectrogramRequest>,
    ) -> Reply<pb::GetSpectrogramResponse> {
        let answer =
            spectrum::spectrogram(&self.past.bus, &self.spectrograms, request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}

/// A device's name; None where it is empty.
fn device_name(device: String) -> Result<Option<Name>, Status> {
    if device.is_empty() {
        return Ok(None);
    }
    let name = Name::new(device);
    name.map(Some)
        .map_err(|error| invalid_argument("device", error.to_string()))
}

/// NATS does not answer, or refuses.
fn unavailable(error: &bus::Error) -> Status {
    refuse(Code::Unavailable, "BUS_UNAVAILABLE", chain(error))
}

fn zone_name(zone: String) -> Result<Name, Status> {
    Name::new(zone).map_err(|error| invalid_argument("zone", error.to_string()))
}
