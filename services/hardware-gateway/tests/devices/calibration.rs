//! Calibrations of simulated devices: however one ends, the operation, the events and what is kept say so.

mod alarms;
mod ends;
mod kinds;

use bus::{Bus, From};
use events::EventEnvelope;
use proto::gateway::v1 as pb;
use proto::gateway::v1::calibration_service_client::CalibrationServiceClient;
use proto::google::longrunning::operation::Result as Outcome;
use proto::google::longrunning::operations_client::OperationsClient;
use proto::google::longrunning::{CancelOperationRequest, Operation, WaitOperationRequest};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::sandbox::{Sandbox, within};

pub fn request(kind: pb::CalibrationKind, seconds: f64) -> pb::StartCalibrationRequest {
    pb::StartCalibrationRequest {
        kind: kind.into(),
        device: "lamp".into(),
        seconds,
        activate: true,
        ..pb::StartCalibrationRequest::default()
    }
}

pub fn client(sandbox: &Sandbox) -> CalibrationServiceClient<Channel> {
    CalibrationServiceClient::new(sandbox.channel.clone())
}

pub async fn start(
    sandbox: &Sandbox,
    request: pb::StartCalibrationRequest,
) -> Result<Operation, Status> {
    let answer = client(sandbox).start_calibration(request).await;
    answer.map(tonic::Response::into_inner)
}

pub async fn ended(sandbox: &Sandbox, operation: &Operation) -> Operation {
    let mut operations = OperationsClient::new(sandbox.channel.clone());
    within("the end of the operation", async {
        loop {
            let request = WaitOperationRequest {
                name: operation.name.clone(),
                timeout: None,
            };
            let seen = operations.wait_operation(request).await.unwrap();
            let seen = seen.into_inner();
            if seen.done {
                return seen;
            }
        }
    })
    .await
}

pub async fn cancel(sandbox: &Sandbox, operation: &Operation) {
    let mut operations = OperationsClient::new(sandbox.channel.clone());
    let name = operation.name.clone();
    let cancelled = operations.cancel_operation(CancelOperationRequest { name });
    cancelled.await.unwrap();
}

/// The code and the sentence that it failed with.
pub fn error(operation: &Operation) -> (Code, String) {
    match &operation.result {
        Some(Outcome::Error(status)) => (Code::from(status.code), status.message.clone()),
        other => panic!("{other:?} is no error"),
    }
}

pub fn succeeded(operation: &Operation) {
    assert!(
        matches!(operation.result, Some(Outcome::Response(_))),
        "{operation:?}"
    );
}

pub async fn in_use(sandbox: &Sandbox, kind: pb::CalibrationKind) -> pb::Calibration {
    let request = pb::GetCalibrationRequest {
        device: "lamp".into(),
        kind: kind.into(),
        version: 0,
    };
    let answer = client(sandbox).get_calibration(request).await.unwrap();
    answer.into_inner().calibration.unwrap()
}

async fn stored(bus: &Bus, filter: &str) -> Vec<EventEnvelope> {
    let stored = bus.replay(filter, From::Start).await.unwrap();
    stored.into_iter().map(|delivery| delivery.event).collect()
}

/// The newest `hardware.device_calibrated` of a device.
pub async fn announced(bus: &Bus, device: &str) -> EventEnvelope {
    let filter = format!("hardware.device_calibrated.{device}");
    stored(bus, &filter).await.pop().unwrap()
}

/// What is told of an operation: the steps, then `completed` or the error's code.
pub async fn told(bus: &Bus, operation: &Operation) -> Vec<String> {
    let id = operation.name.strip_prefix("operations/").unwrap();
    let text = |event: &EventEnvelope, field: &str| {
        let value = event.payload[field].as_str();
        value.unwrap_or_default().to_owned()
    };
    let mut told: Vec<String> = stored(bus, &format!("workflow.*.{id}"))
        .await
        .iter()
        .map(|event| match event.event_type.as_str() {
            "workflow.state_changed" => text(event, "new_state"),
            "workflow.failed" => format!("failed: {}", text(event, "error_code")),
            other => other.trim_start_matches("workflow.").to_owned(),
        })
        .collect();
    told.dedup();
    told
}
