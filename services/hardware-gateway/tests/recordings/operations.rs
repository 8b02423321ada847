//! The operations of recordings.

use prost::Message as _;
use proto::gateway::v1::Recording;
use proto::google::longrunning::operation::Result as Outcome;
use proto::google::longrunning::operations_client::OperationsClient;
use proto::google::longrunning::{
    CancelOperationRequest, ListOperationsRequest, Operation, WaitOperationRequest,
};
use proto::operations::v1::OperationMetadata;
use tonic::Code;

use crate::gateway::{Gateway, within};

/// The operation of a recording, once it has ended.
pub async fn ended(gateway: &Gateway, recording: &Recording) -> Operation {
    let mut client = OperationsClient::new(gateway.channel().await);
    within("the end of the operation", async {
        loop {
            let request = WaitOperationRequest {
                name: recording.operation.clone(),
                timeout: None,
            };
            let seen = client.wait_operation(request).await.unwrap().into_inner();
            if seen.done {
                return seen;
            }
        }
    })
    .await
}

pub async fn list(gateway: &Gateway) -> Vec<Operation> {
    let mut client = OperationsClient::new(gateway.channel().await);
    let request = ListOperationsRequest {
        filter: "kind=recording".into(),
        ..ListOperationsRequest::default()
    };
    let answer = client.list_operations(request).await.unwrap();
    answer.into_inner().operations
}

pub async fn cancel(gateway: &Gateway, recording: &Recording) {
    let mut client = OperationsClient::new(gateway.channel().await);
    let name = recording.operation.clone();
    let cancelled = client.cancel_operation(CancelOperationRequest { name });
    cancelled.await.unwrap();
}

pub fn metadata(operation: &Operation) -> OperationMetadata {
    OperationMetadata::decode(&*operation.metadata.as_ref().unwrap().value).unwrap()
}

pub fn error(operation: &Operation) -> (Code, String) {
    match &operation.result {
        Some(Outcome::Error(status)) => (Code::from(status.code), status.message.clone()),
        other => panic!("{other:?} is no error"),
    }
}

/// A field of the result, as text.
pub fn result(operation: &Operation, field: &str) -> String {
    let Some(Outcome::Response(response)) = &operation.result else {
        panic!("{operation:?}");
    };
    let result = prost_types::Struct::decode(&*response.value).unwrap();
    match result.fields[field].kind.clone().unwrap() {
        prost_types::value::Kind::NumberValue(number) => number.to_string(),
        prost_types::value::Kind::StringValue(text) => text,
        other => panic!("{other:?}"),
    }
}
