//! gRPC: parse, call the domain, render.

mod calibrations;
mod devices;
mod recordings;
mod zones;

use std::pin::Pin;
use std::sync::Arc;

use events::{Name, Timestamp};
use futures::{Stream, StreamExt};
use proto::gateway::v1::calibration_service_server::CalibrationServiceServer;
use proto::gateway::v1::device_service_server::DeviceServiceServer;
use proto::gateway::v1::recording_service_server::RecordingServiceServer;
use proto::gateway::v1::zone_service_server::ZoneServiceServer;
use runtime::{Runtime, Workflows, invalid_argument, next_page, page_items};
use tonic::{Response, Status};
use uuid::Uuid;

use self::calibrations::CalibrationApi;
use self::devices::DeviceApi;
use self::recordings::RecordingApi;
use self::zones::ZoneApi;
use crate::calibration::Calibrations;
use crate::error::Error;
use crate::lifecycle::Devices;
use crate::recording::library::Library;
use crate::recording::recorder::Recorders;
use crate::source;
use crate::source::replay::Replays;
use crate::zone::store::Zones;

type Reply<T> = Result<Response<T>, Status>;
type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the services speak for.
pub struct Apis {
    pub devices: Arc<Devices>,
    pub sources: Vec<Arc<source::status::Status>>,
    pub library: Arc<Library>,
    pub recorders: Arc<Recorders>,
    pub replays: Arc<Replays>,
    pub calibrations: Arc<Calibrations>,
    pub workflows: Workflows,
}

pub async fn serve(rt: &mut Runtime, apis: Apis) -> anyhow::Result<()> {
    let Apis {
        devices,
        sources,
        library,
        recorders,
        replays,
        calibrations,
        workflows,
    } = apis;
    let mut routes = tonic::service::Routes::builder();
    let zones = Arc::new(Zones::open(Arc::clone(&devices)).await?);
    routes.add_service(ZoneServiceServer::new(ZoneApi { zones }));
    routes.add_service(DeviceServiceServer::new(DeviceApi { sources, devices }));
    routes.add_service(RecordingServiceServer::new(RecordingApi {
        library,
        recorders,
        replays,
    }));
    routes.add_service(CalibrationServiceServer::new(CalibrationApi {
        calibrations,
    }));
    routes.add_service(workflows.operations());
    rt.serve_grpc(
        routes.routes(),
        &[
            "fresnel.gateway.v1.DeviceService",
            "fresnel.gateway.v1.ZoneService",
            "fresnel.gateway.v1.RecordingService",
            "fresnel.gateway.v1.CalibrationService",
            runtime::OPERATIONS,
        ],
    )
    .await?;
    Ok(())
}

/// A bounded stream that `produce` writes; it ends when the client goes away.
fn async_stream<T, F, Fut>(produce: F) -> BoxStream<T>
where
    T: Send + 'static,
    F: FnOnce(tokio::sync::mpsc::Sender<Result<T, Status>>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    tokio::spawn(produce(sender));
    tokio_stream::wrappers::ReceiverStream::new(receiver).boxed()
}

fn parse_name(field: &'static str, text: &str) -> Result<Name, Status> {
    Name::new(text).map_err(|source| Error::Name { field, source }.into())
}

fn parse_id(field: &str, text: &str) -> Result<Uuid, Status> {
    Uuid::parse_str(text)
        .map_err(|error| invalid_argument(field, format!("{text:?} is no UUID: {error}")))
}

fn time(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default(),
    }
}
