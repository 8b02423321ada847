//! Long-running operations, as callers and the next process see them; on a real nats-server.

use std::time::Duration;

use bus::server::{self, Server, ServerConfig};
use bus::{Bus, From};
use events::EventEnvelope;
use prost::Message;
use proto::google::longrunning::operation::Result as Outcome;
use proto::google::longrunning::operations_client::OperationsClient;
use proto::google::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest,
    Operation, WaitOperationRequest,
};
use proto::operations::v1::OperationMetadata;
use runtime::{Begun, NewWorkflow, Process, Run, Runtime, Settings, Workflow, Workflows};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tonic::Code;
use tonic::transport::Channel;

struct Sandbox {
    server: Server,
    _data: TempDir,
}

struct Service {
    process: Process,
    workflows: Workflows,
    /// What a former process left and this one goes on with.
    unfinished: Vec<Run>,
    client: OperationsClient<Channel>,
}

impl Sandbox {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let binary = server::find(None).unwrap();
        let config = ServerConfig::new(binary, data.path().to_owned());
        let server = Server::start(config).await.unwrap();
        Self {
            server,
            _data: data,
        }
    }

    async fn service(&self, resumable: fn(&Workflow) -> bool) -> Service {
        let mut settings = Settings::explicit("").unwrap();
        settings.set("nats.url", &self.server.url()).unwrap();
        settings.set("nats.storage_scale", "0.1").unwrap();
        settings.set("nats.connect_timeout_s", "60").unwrap();
        let process = Process::new(settings).unwrap();
        let (give, taken) = oneshot::channel();
        let start = async move |_: crate::sample::Config, rt: &mut Runtime| {
            let (workflows, unfinished) = rt.workflows(resumable).await?;
            let routes = tonic::service::Routes::new(workflows.operations());
            rt.serve_grpc(routes, &[runtime::OPERATIONS]).await?;
            assert!(give.send((workflows, unfinished)).is_ok());
            Ok(())
        };
        let started = process.start("signal", start).await.unwrap();
        let (workflows, unfinished) = taken.await.unwrap();
        let address = format!("http://{}", started.grpc.unwrap());
        let client = OperationsClient::connect(address).await.unwrap();
        Service {
            process,
            workflows,
            unfinished,
            client,
        }
    }

    async fn events(&self) -> Vec<EventEnvelope> {
        let config = bus::Config {
            url: self.server.url(),
            ..bus::Config::default()
        };
        let bus = Bus::connect(config).await.unwrap();
        let stored = bus.replay("workflow.*.*", From::Start).await.unwrap();
        stored.into_iter().map(|delivery| delivery.event).collect()
    }
}

impl Service {
    async fn begin(&self, request_id: &str) -> Run {
        let new = NewWorkflow {
            kind: "test",
            subject: "devices/esp".into(),
            request_id: request_id.into(),
            parameters: json!({"seconds": 5}),
            ..NewWorkflow::default()
        };
        match self.workflows.start(new).await.unwrap() {
            Begun::New(run) => run,
            Begun::Known(known) => panic!("{known:?} is known"),
        }
    }

    async fn wait(&mut self, name: &str, seconds: i64) -> Operation {
        let request = WaitOperationRequest {
            name: name.to_owned(),
            timeout: Some(prost_types::Duration { seconds, nanos: 0 }),
        };
        self.client
            .wait_operation(request)
            .await
            .unwrap()
            .into_inner()
    }
}

fn name(run: &Run) -> String {
    format!("operations/{}", run.id())
}

fn metadata(operation: &Operation) -> OperationMetadata {
    OperationMetadata::decode(&*operation.metadata.as_ref().unwrap().value).unwrap()
}

fn error(operation: &Operation) -> (Code, String) {
    match &operation.result {
        Some(Outcome::Error(status)) => (Code::from(status.code), status.message.clone()),
        other => panic!("{other:?} is no error"),
    }
}

#[tokio::test]
async fn an_operation_is_watched_waited_for_listed_and_forgotten() {
    let sandbox = Sandbox::start().await;
    let mut service = sandbox.service(|_| false).await;
    let mut run = service.begin("").await;
    let (name, id) = (name(&run), run.id());
    // Many steps of progress at once are one event; those who look see the newest.
    for percent in 0..50_u8 {
        run.step("collecting", Some(f32::from(percent))).await;
    }
    let seen = service.wait(&name, 0).await;
    assert!(!seen.done);
    assert_eq!(metadata(&seen).progress_percent, Some(49.0));
    assert_eq!(metadata(&seen).state, "collecting");
    let known = service
        .workflows
        .start(NewWorkflow {
            kind: "test",
            request_id: "r1".into(),
            ..NewWorkflow::default()
        })
        .await
        .unwrap();
    let Begun::New(other) = known else {
        panic!("r1 is new");
    };
    let again = NewWorkflow {
        kind: "test",
        request_id: "r1".into(),
        ..NewWorkflow::default()
    };
    let Begun::Known(known) = service.workflows.start(again).await.unwrap() else {
        panic!("r1 began twice");
    };
    assert_eq!(known.id, other.id());
    let running = DeleteOperationRequest { name: name.clone() };
    let refused = service.client.delete_operation(running).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);

    let waiting = {
        let mut client = service.client.clone();
        let name = name.clone();
        tokio::spawn(async move {
            let request = WaitOperationRequest {
                name,
                timeout: None,
            };
            client.wait_operation(request).await.unwrap().into_inner()
        })
    };
    run.complete(json!({"frames": 3, "of": ["a"]})).await;
    let done = waiting.await.unwrap();
    let Some(Outcome::Response(response)) = &done.result else {
        panic!("{done:?}");
    };
    assert_eq!(
        response.type_url,
        "type.googleapis.com/google.protobuf.Struct"
    );
    let fields = prost_types::Struct::decode(&*response.value)
        .unwrap()
        .fields;
    assert_eq!(
        fields["frames"].kind,
        Some(prost_types::value::Kind::NumberValue(3.0))
    );

    let list = ListOperationsRequest {
        filter: "kind=test AND done=true".into(),
        ..ListOperationsRequest::default()
    };
    let listed = service
        .client
        .list_operations(list)
        .await
        .unwrap()
        .into_inner();
    let names: Vec<_> = listed.operations.iter().map(|o| &*o.name).collect();
    assert_eq!(names, [&*name]);
    let forget = DeleteOperationRequest { name: name.clone() };
    service.client.delete_operation(forget).await.unwrap();
    let get = GetOperationRequest { name };
    let gone = service.client.get_operation(get).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);

    let of_it: Vec<_> = sandbox
        .events()
        .await
        .into_iter()
        .filter(|event| event.aggregate_id == id.to_string())
        .collect();
    let types: Vec<_> = of_it.iter().map(|e| &*e.event_type).collect();
    let numbers: Vec<_> = of_it.iter().map(|e| e.sequence_number).collect();
    assert_eq!(types.first(), Some(&"workflow.started"));
    assert_eq!(types[types.len() - 2], "workflow.completed");
    // started, the step's first, the end, the deletion; and one more each second that the machine took.
    assert!((4..20).contains(&types.len()), "{types:?}");
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    drop(other);
    service.process.stop().await;
}

#[tokio::test]
async fn cancelled_failed_and_abandoned_operations_say_so() {
    let sandbox = Sandbox::start().await;
    let mut service = sandbox.service(|_| false).await;
    let run = service.begin("").await;
    let cancelled = name(&run);
    let token = run.cancellation();
    let task = tokio::spawn(async move {
        token.cancelled().await;
        run.cancelled().await;
    });
    let cancel = CancelOperationRequest {
        name: cancelled.clone(),
    };
    service
        .client
        .cancel_operation(cancel.clone())
        .await
        .unwrap();
    task.await.unwrap();
    let seen = service.wait(&cancelled, 30).await;
    assert_eq!(error(&seen).0, Code::Cancelled);
    assert!(metadata(&seen).end_time.is_some());
    // Cancelling what has ended changes nothing.
    service.client.cancel_operation(cancel).await.unwrap();

    let run = service.begin("").await;
    let failed = name(&run);
    run.fail(Code::FailedPrecondition, "motion", "somebody moved")
        .await;
    assert_eq!(
        error(&service.wait(&failed, 30).await),
        (Code::FailedPrecondition, "somebody moved".to_owned())
    );

    let run = service.begin("").await;
    let abandoned = name(&run);
    let panicked = tokio::spawn(async move {
        let _run = run;
        panic!("the task's own fault");
    });
    assert!(panicked.await.is_err());
    assert_eq!(error(&service.wait(&abandoned, 30).await).0, Code::Internal);

    for bad in ["", "operations/x", "operations/"] {
        let get = GetOperationRequest { name: bad.into() };
        let refused = service.client.get_operation(get).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{bad:?}");
    }
    service.process.stop().await;
}

#[tokio::test]
async fn after_a_restart_operations_go_on_or_are_interrupted() {
    let sandbox = Sandbox::start().await;
    let service = sandbox.service(|_| false).await;
    let (mut lost, kept) = (service.begin("lost").await, service.begin("kept").await);
    lost.step("half way", Some(50.0)).await;
    let (lost_name, kept_name) = (name(&lost), name(&kept));
    lost.suspend();
    kept.suspend();
    service.process.stop().await;

    let mut service = sandbox
        .service(|workflow| workflow.state == "started" && workflow.parameters["seconds"] == 5)
        .await;
    let (code, message) = error(&service.wait(&lost_name, 30).await);
    assert_eq!(code, Code::Aborted);
    assert!(message.contains("start it again"), "{message}");
    let mut unfinished = std::mem::take(&mut service.unfinished);
    let run = unfinished.pop().unwrap();
    assert!(unfinished.is_empty());
    assert_eq!(name(&run), kept_name);
    run.complete(json!({})).await;
    assert!(service.wait(&kept_name, 30).await.done);
    service.process.stop().await;

    // What has ended is read back as it ended, and stays so.
    let mut service = sandbox.service(|_| true).await;
    assert!(service.unfinished.is_empty());
    assert_eq!(error(&service.wait(&lost_name, 1).await).0, Code::Aborted);
    let limit = tokio::time::timeout(Duration::from_secs(30), service.wait(&kept_name, 20));
    assert!(matches!(
        limit.await.unwrap().result,
        Some(Outcome::Response(_))
    ));
    service.process.stop().await;
}
