//! `google.longrunning.Operations`, served from a service's workflows.

use std::time::Duration;

use prost_types::value::Kind;
use prost_types::{Any, ListValue, Struct};
use proto::google::longrunning as pb;
use proto::google::longrunning::operation::Result as Outcome;
use proto::google::longrunning::operations_server::{Operations, OperationsServer};
use proto::google::rpc;
use proto::operations::v1::OperationMetadata;
use serde_json::Value;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use crate::status::{invalid_argument, refuse};
use crate::workflow::{self, Workflow, WorkflowError, Workflows};

/// Full name of the service, for health and reflection.
pub const OPERATIONS: &str = "google.longrunning.Operations";
/// Operations in a page where the request does not say, and at most.
const PAGE: (usize, usize) = (100, 1000);

impl Workflows {
    /// `google.longrunning.Operations` on these workflows, for the service's routes; [`OPERATIONS`] is its name.
    #[must_use]
    pub fn operations(&self) -> OperationsServer<OperationsApi> {
        OperationsServer::new(OperationsApi(self.clone()))
    }
}

/// The service.
pub struct OperationsApi(Workflows);

#[tonic::async_trait]
impl Operations for OperationsApi {
    async fn list_operations(
        &self,
        request: Request<pb::ListOperationsRequest>,
    ) -> Result<Response<pb::ListOperationsResponse>, Status> {
        let request = request.into_inner();
        let filter = Filter::parse(&request.filter)?;
        let size = match usize::try_from(request.page_size) {
            Ok(0) => PAGE.0,
            Ok(size) => size.min(PAGE.1),
            Err(_) => return Err(invalid_argument("page_size", "is negative")),
        };
        let after = match &*request.page_token {
            "" => None,
            token => Some(parse_id("page_token", token)?),
        };
        let all = self.0.list();
        let begin = match after {
            None => 0,
            Some(id) => match all.iter().position(|workflow| workflow.id == id) {
                Some(place) => place + 1,
                None => return Err(invalid_argument("page_token", "is no longer known")),
            },
        };
        let mut page: Vec<&Workflow> = all
            .iter()
            .skip(begin)
            .filter(|workflow| filter.takes(workflow))
            .take(size + 1)
            .collect();
        let more = page.len() > size;
        page.truncate(size);
        let next_page_token = page
            .last()
            .filter(|_| more)
            .map(|last| last.id.to_string())
            .unwrap_or_default();
        Ok(Response::new(pb::ListOperationsResponse {
            operations: page.into_iter().map(operation).collect(),
            next_page_token,
            unreachable: Vec::new(),
        }))
    }

    async fn get_operation(
        &self,
        request: Request<pb::GetOperationRequest>,
    ) -> Result<Response<pb::Operation>, Status> {
        let id = parse_name(&request.into_inner().name)?;
        Ok(Response::new(operation(&self.0.get(id).await?)))
    }

    async fn delete_operation(
        &self,
        request: Request<pb::DeleteOperationRequest>,
    ) -> Result<Response<()>, Status> {
        let id = parse_name(&request.into_inner().name)?;
        self.0.delete(id).await?;
        Ok(Response::new(()))
    }

    async fn cancel_operation(
        &self,
        request: Request<pb::CancelOperationRequest>,
    ) -> Result<Response<()>, Status> {
        let id = parse_name(&request.into_inner().name)?;
        self.0.cancel(id).await?;
        Ok(Response::new(()))
    }

    async fn wait_operation(
        &self,
        request: Request<pb::WaitOperationRequest>,
    ) -> Result<Response<pb::Operation>, Status> {
        let pb::WaitOperationRequest { name, timeout } = request.into_inner();
        let timeout = match timeout {
            None => Duration::MAX,
            Some(timeout) => Duration::try_from(timeout)
                .map_err(|error| invalid_argument("timeout", error.to_string()))?,
        };
        let workflow = self.0.wait(parse_name(&name)?, timeout).await?;
        Ok(Response::new(operation(&workflow)))
    }
}

/// The operation that callers see.
#[must_use]
pub fn operation(workflow: &Workflow) -> pb::Operation {
    let metadata = OperationMetadata {
        kind: workflow.kind.clone(),
        subject: workflow.subject.clone(),
        state: workflow.state.clone(),
        progress_percent: workflow.progress_percent,
        create_time: Some(time(workflow.started)),
        update_time: Some(time(workflow.updated)),
        end_time: workflow.ended().then(|| time(workflow.updated)),
        cancel_requested: workflow.cancel_requested,
        requested_by: workflow.requested_by.clone().unwrap_or_default(),
    };
    let result = match &workflow.outcome {
        workflow::Outcome::Running => None,
        workflow::Outcome::Completed(result) => Some(Outcome::Response(any(
            "google.protobuf.Struct",
            &structure(result),
        ))),
        workflow::Outcome::Failed {
            code,
            reason,
            message,
        } => {
            let info = tonic_types::pb::ErrorInfo {
                reason: reason.to_uppercase(),
                domain: "fresnel".to_owned(),
                ..Default::default()
            };
            Some(Outcome::Error(rpc::Status {
                code: i32::from(*code),
                message: message.clone(),
                details: vec![any("google.rpc.ErrorInfo", &info)],
            }))
        }
    };
    pb::Operation {
        name: format!("operations/{}", workflow.id),
        metadata: Some(any("fresnel.operations.v1.OperationMetadata", &metadata)),
        done: result.is_some(),
        result,
    }
}

impl From<WorkflowError> for Status {
    fn from(error: WorkflowError) -> Self {
        let message = error.to_string();
        match error {
            WorkflowError::Bus(_) => refuse(Code::Unavailable, "BUS_UNAVAILABLE", message),
            WorkflowError::Encode(_) => refuse(Code::Internal, "ENCODING", message),
            WorkflowError::NotFound(_) => refuse(Code::NotFound, "OPERATION_NOT_FOUND", message),
            WorkflowError::Running(_) => {
                refuse(Code::FailedPrecondition, "OPERATION_RUNNING", message)
            }
            WorkflowError::NotRunning(_) => {
                refuse(Code::FailedPrecondition, "OPERATION_NOT_RUNNING", message)
            }
            WorkflowError::Conflict(_) => refuse(Code::Aborted, "CONFLICT", message),
        }
    }
}

#[derive(Default)]
struct Filter {
    kind: Option<String>,
    done: Option<bool>,
}

impl Filter {
    fn parse(text: &str) -> Result<Self, Status> {
        let mut filter = Self::default();
        for term in text.split(" AND ").map(str::trim).filter(|t| !t.is_empty()) {
            match term
                .split_once('=')
                .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
            {
                Some(("kind", kind)) => filter.kind = Some(kind.to_owned()),
                Some(("done", "true")) => filter.done = Some(true),
                Some(("done", "false")) => filter.done = Some(false),
                _ => {
                    return Err(invalid_argument(
                        "filter",
                        format!("{term:?} is neither kind=NAME nor done=true or done=false"),
                    ));
                }
            }
        }
        Ok(filter)
    }

    fn takes(&self, workflow: &Workflow) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == workflow.kind)
            && self.done.is_none_or(|done| done == workflow.ended())
    }
}

fn parse_name(name: &str) -> Result<Uuid, Status> {
    parse_id("name", name.strip_prefix("operations/").unwrap_or(name))
}

fn parse_id(field: &str, text: &str) -> Result<Uuid, Status> {
    Uuid::parse_str(text).map_err(|_| {
        invalid_argument(
            field,
            format!("{text:?} is not of the form operations/UUID"),
        )
    })
}

fn any(name: &str, message: &impl prost::Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: message.encode_to_vec(),
    }
}

fn time(time: events::Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default(),
    }
}

/// A JSON object as a Struct; anything else as a Struct with the one field `value`.
fn structure(value: &Value) -> Struct {
    let fields = match value {
        Value::Object(fields) => fields.iter().map(|(k, v)| (k.clone(), plain(v))).collect(),
        Value::Null => Default::default(),
        other => [("value".to_owned(), plain(other))].into(),
    };
    Struct { fields }
}

fn plain(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or(f64::NAN)),
        Value::String(value) => Kind::StringValue(value.clone()),
        Value::Array(values) => Kind::ListValue(ListValue {
            values: values.iter().map(plain).collect(),
        }),
        Value::Object(_) => Kind::StructValue(structure(value)),
    };
    prost_types::Value { kind: Some(kind) }
}
