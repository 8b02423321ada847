//! The sample service.

use std::net::SocketAddr;
use std::pin::Pin;

use proto::signal::v1::signal_service_server::{SignalService, SignalServiceServer};
use proto::signal::v1::{
    GetSpectrogramRequest, GetSpectrogramResponse, GetThresholdsRequest, GetThresholdsResponse,
    GetZoneStateRequest, GetZoneStateResponse, ListZoneStatesRequest, ListZoneStatesResponse,
    UpdateThresholdsRequest, UpdateThresholdsResponse, WatchFeaturesRequest, WatchFeaturesResponse,
    WatchZoneRequest, WatchZoneResponse, ZoneState,
};
use runtime::{Runtime, ServiceConfig, invalid_argument, refuse};
use serde::{Deserialize, Serialize};
use tonic::{Code, Request, Response, Status};

/// What the sample can be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub window_s: f64,
    pub label: String,
    pub api_token: Option<String>,
    pub nats: bool,
    pub fault: Fault,
    pub udp: Udp,
    pub receivers: Vec<Receiver>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Udp {
    pub listen: SocketAddr,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Receiver {
    pub name: String,
    pub url: String,
}

/// How the sample fails, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    None,
    Error,
    Panic,
    /// A task that does not heed the shutdown.
    Hang,
    /// Every worker thread blocks for ever.
    Stuck,
}

impl Default for Udp {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5005)),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window_s: 2.0,
            label: "sample".into(),
            api_token: None,
            nats: false,
            fault: Fault::None,
            udp: Udp::default(),
            receivers: Vec::new(),
        }
    }
}

impl ServiceConfig for Config {
    fn validate(&self) -> Result<(), String> {
        if self.window_s > 0.0 {
            Ok(())
        } else {
            Err(format!("window_s = {}: must be more than 0", self.window_s))
        }
    }
}

pub async fn start(config: Config, rt: &mut Runtime) -> anyhow::Result<()> {
    if config.nats {
        rt.bus().await?;
    }
    let stop = rt.shutdown();
    let fault = config.fault;
    rt.spawn("work", async move {
        match fault {
            Fault::None => stop.cancelled().await,
            Fault::Error => anyhow::bail!("the input ended"),
            #[allow(clippy::panic)]
            Fault::Panic => panic!("index 7 of 5"),
            Fault::Hang => std::future::pending().await,
            Fault::Stuck => {
                stop.cancelled().await;
                for _ in 0..64 {
                    tokio::spawn(async {
                        loop {
                            std::thread::park()
                        }
                    });
                }
                loop {
                    std::thread::park();
                }
            }
        }
        Ok(())
    });
    let service = SignalServiceServer::new(Zones);
    rt.serve_grpc(
        tonic::service::Routes::new(service),
        &["fresnel.signal.v1.SignalService"],
    )
    .await?;
    rt.announce("udp", config.udp.listen);
    Ok(())
}

struct Zones;

#[tonic::async_trait]
impl SignalService for Zones {
    async fn get_zone_state(
        &self,
        request: Request<GetZoneStateRequest>,
    ) -> Result<Response<GetZoneStateResponse>, Status> {
        let zone = request.into_inner().zone;
        match zone.as_str() {
            "" => Err(invalid_argument("zone", "must not be empty")),
            "absent" => Err(refuse(
                Code::NotFound,
                "ZONE_NOT_FOUND",
                "no frame was ever seen in zone absent",
            )),
            "broken" => Err(Status::internal("the state is lost")),
            #[allow(clippy::panic)]
            "panic" => panic!("in a handler"),
            "slow" => std::future::pending().await,
            _ => Ok(Response::new(GetZoneStateResponse {
                state: Some(ZoneState {
                    zone,
                    ..ZoneState::default()
                }),
            })),
        }
    }

    async fn list_zone_states(
        &self,
        _request: Request<ListZoneStatesRequest>,
    ) -> Result<Response<ListZoneStatesResponse>, Status> {
        Ok(Response::new(ListZoneStatesResponse::default()))
    }

    async fn get_thresholds(
        &self,
        _request: Request<GetThresholdsRequest>,
    ) -> Result<Response<GetThresholdsResponse>, Status> {
        Ok(Response::new(GetThresholdsResponse::default()))
    }

    async fn update_thresholds(
        &self,
        _request: Request<UpdateThresholdsRequest>,
    ) -> Result<Response<UpdateThresholdsResponse>, Status> {
        Ok(Response::new(UpdateThresholdsResponse::default()))
    }

    type WatchFeaturesStream =
        Pin<Box<dyn futures::Stream<Item = Result<WatchFeaturesResponse, Status>> + Send>>;

    async fn watch_features(
        &self,
        _request: Request<WatchFeaturesRequest>,
    ) -> Result<Response<Self::WatchFeaturesStream>, Status> {
        Ok(Response::new(Box::pin(futures::stream::empty())))
    }

    async fn get_spectrogram(
        &self,
        _request: Request<GetSpectrogramRequest>,
    ) -> Result<Response<GetSpectrogramResponse>, Status> {
        Ok(Response::new(GetSpectrogramResponse::default()))
    }

    type WatchZoneStream =
        Pin<Box<dyn futures::Stream<Item = Result<WatchZoneResponse, Status>> + Send>>;

    /// One answer, then silence, also during a drain.
    async fn watch_zone(
        &self,
        _request: Request<WatchZoneRequest>,
    ) -> Result<Response<Self::WatchZoneStream>, Status> {
        use futures::StreamExt as _;
        let first = futures::stream::once(async { Ok(WatchZoneResponse::default()) });
        Ok(Response::new(
            first.chain(futures::stream::pending()).boxed(),
        ))
    }
}
