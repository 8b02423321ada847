//! `ModelService` and `PoseService`.

use std::sync::Arc;

use events::{Timestamp, ZoneId};
use proto::pose::v1::get_model_status_response::State;
use proto::pose::v1::model_service_server::{ModelService, ModelServiceServer};
use proto::pose::v1::pose_service_server::{PoseService, PoseServiceServer};
use proto::pose::v1::{
    GetActivityRequest, GetActivityResponse, GetModelStatusRequest, GetModelStatusResponse,
};
use tonic::{Code, Request, Response, Status};

use crate::status::{self, ModelState};

struct Server {
    status: Arc<status::Status>,
}

/// Serves both, and says where.
///
/// # Errors
/// Where the address cannot be had.
pub async fn serve(rt: &mut runtime::Runtime, status: Arc<status::Status>) -> anyhow::Result<()> {
    let routes = tonic::service::Routes::new(ModelServiceServer::new(Server {
        status: Arc::clone(&status),
    }))
    .add_service(PoseServiceServer::new(Server { status }));
    rt.serve_grpc(
        routes,
        &[
            "fresnel.pose.v1.ModelService",
            "fresnel.pose.v1.PoseService",
        ],
    )
    .await?;
    Ok(())
}

#[tonic::async_trait]
impl ModelService for Server {
    async fn get_model_status(
        &self,
        _: Request<GetModelStatusRequest>,
    ) -> Result<Response<GetModelStatusResponse>, Status> {
        let (windows_seen, inferences) = self.status.counts();
        let mut response = GetModelStatusResponse {
            windows_seen,
            inferences,
            ..GetModelStatusResponse::default()
        };
        match &self.status.model {
            ModelState::None(reason) => {
                response.set_state(State::None);
                response.reason.clone_from(reason);
            }
            ModelState::Loaded(manifest) => {
                response.set_state(State::Loaded);
                response.name = manifest.name.to_string();
                response.version.clone_from(&manifest.version);
                response.digest.clone_from(&manifest.weights.sha256);
                response.classes.clone_from(&manifest.output.classes);
                response.metrics_json = manifest.metrics.to_string();
            }
        }
        Ok(Response::new(response))
    }
}

#[tonic::async_trait]
impl PoseService for Server {
    async fn get_activity(
        &self,
        request: Request<GetActivityRequest>,
    ) -> Result<Response<GetActivityResponse>, Status> {
        let zone = ZoneId::new(request.into_inner().zone)
            .map_err(|error| runtime::invalid_argument("zone", error.to_string()))?;
        if let ModelState::None(reason) = &self.status.model {
            return Err(runtime::refuse(
                Code::FailedPrecondition,
                "NO_MODEL",
                reason.clone(),
            ));
        }
        let Some(activity) = self.status.activity(&zone) else {
            let message = format!("no window of zone {zone} was seen, and nothing is stored of it");
            return Err(runtime::refuse(Code::NotFound, "ZONE_NOT_FOUND", message));
        };
        Ok(Response::new(GetActivityResponse {
            zone: zone.to_string(),
            activity: activity.activity,
            confidence: activity.confidence,
            since: activity.since.map(timestamp),
            as_of: Some(timestamp(activity.as_of)),
        }))
    }
}

fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default();
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos,
    }
}
