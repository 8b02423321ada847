//! The service from the outside.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use events::EventEnvelope;
use pose::package::Package;
use proto::pose::v1::get_model_status_response::State;
use proto::pose::v1::model_service_client::ModelServiceClient;
use proto::pose::v1::pose_service_client::PoseServiceClient;
use proto::pose::v1::{
    GetActivityRequest, GetActivityResponse, GetModelStatusRequest, GetModelStatusResponse,
};
use runtime::{Process, Settings, Started};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::sandbox::{FAILED, STORAGE_SCALE, Sandbox, library, package_directory, windows};

const CHANGED: &str = "pose.activity_changed";

async fn start(sandbox: &Sandbox, library: &Path, package: &Path) -> (Process, Started) {
    let mut settings = Settings::explicit("").unwrap();
    settings.set("nats.url", &sandbox.server.url()).unwrap();
    settings
        .set("nats.storage_scale", &STORAGE_SCALE.to_string())
        .unwrap();
    for bound in ["nats.connect_timeout_s", "nats.publish_timeout_s"] {
        settings.set(bound, "60").unwrap();
    }
    settings
        .set("pose.onnxruntime", library.to_str().unwrap())
        .unwrap();
    settings
        .set("pose.model", package.to_str().unwrap())
        .unwrap();
    let process = Process::new(settings).unwrap();
    let started = process.start("pose", pose::start).await.unwrap();
    (process, started)
}

fn url(address: Option<SocketAddr>) -> String {
    format!("http://{}", address.unwrap())
}

async fn model_status(started: &Started) -> GetModelStatusResponse {
    let mut client = ModelServiceClient::connect(url(started.grpc))
        .await
        .unwrap();
    client
        .get_model_status(GetModelStatusRequest {})
        .await
        .unwrap()
        .into_inner()
}

async fn activity(started: &Started, zone: &str) -> Result<GetActivityResponse, Status> {
    let mut client = PoseServiceClient::connect(url(started.grpc)).await.unwrap();
    let request = GetActivityRequest {
        zone: zone.to_owned(),
    };
    client
        .get_activity(request)
        .await
        .map(tonic::Response::into_inner)
}

fn story(events: &[EventEnvelope]) -> Vec<String> {
    let text = |event: &EventEnvelope| {
        let payload = &event.payload;
        format!(
            "{} {}>{} {}",
            payload["zone_id"].as_str().unwrap(),
            payload["previous_activity"].as_str().unwrap(),
            payload["new_activity"].as_str().unwrap(),
            payload["timestamp"].as_str().unwrap(),
        )
    };
    events.iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_become_activities() {
    let Some(library) = library() else { return };
    let sandbox = Sandbox::start().await;
    let (process, started) = start(&sandbox, &library, &package_directory()).await;

    let loaded = sandbox.wait_for("model.loaded", 1).await;
    assert_eq!(loaded[0].payload["model_id"], "activity-lr");
    assert_eq!(loaded[0].payload["process_id"], std::process::id());
    assert!(loaded[0].payload["memory_mb"].as_f64().unwrap() >= 0.0);

    let run = Some(Uuid::from_u128(42));
    sandbox
        .publish(&windows("hall", run, "iiiiiiimmmmmmm"))
        .await;
    sandbox.publish(&windows("attic", None, "mmmmmm")).await;
    let events = sandbox.wait_for(CHANGED, 3).await;
    let mut said = story(&events);
    said.sort();
    assert_eq!(
        said,
        [
            "attic unknown>moving 1970-01-01T00:00:02.000000Z",
            "hall inactive>moving 1970-01-01T00:00:05.500000Z",
            "hall unknown>inactive 1970-01-01T00:00:02.000000Z",
        ]
    );
    let hall: Vec<_> = events
        .iter()
        .filter(|event| event.payload["zone_id"] == "hall")
        .collect();
    assert_eq!([hall[0].sequence_number, hall[1].sequence_number], [1, 2]);
    assert_eq!(hall[1].correlation_id, run);
    assert_eq!(hall[1].payload["previous_activity_duration_seconds"], 3.5);
    assert!(hall[1].payload["confidence"].as_f64().unwrap() > 0.9);
    let digest = Package::read(&package_directory())
        .unwrap()
        .manifest
        .weights
        .sha256;
    assert_eq!(
        hall[1].metadata.method.as_deref(),
        Some(format!("model activity-lr@1.0.0 sha256:{digest}").as_str())
    );
    assert_eq!(
        hall[1].metadata.data_source,
        Some(events::DataSource::Replay)
    );

    let status = model_status(&started).await;
    assert_eq!(status.state(), State::Loaded);
    assert_eq!(
        (status.name.as_str(), status.digest.as_str()),
        ("activity-lr", digest.as_str())
    );
    assert_eq!(status.classes, ["inactive", "moving"]);
    assert!(status.metrics_json.contains("balanced_accuracy"));
    let known = activity(&started, "hall").await.unwrap();
    assert_eq!(known.activity, "moving");
    assert_eq!(known.since.unwrap().seconds, 5);
    assert_eq!(
        activity(&started, "cellar").await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        activity(&started, "No Name").await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(process.stop().await, runtime::Exit::Clean);

    // What was concluded is known again before any window comes.
    let (process, started) = start(&sandbox, &library, &package_directory()).await;
    let known = activity(&started, "hall").await.unwrap();
    assert_eq!(
        (known.activity.as_str(), known.since.unwrap().seconds),
        ("moving", 5)
    );
    assert_eq!(process.stop().await, runtime::Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_it_is_ready_and_silent() {
    let sandbox = Sandbox::start().await;
    let nowhere = sandbox.directory("nowhere");
    let package = sandbox.directory("package");
    std::fs::write(package.join("manifest.json"), "{}").unwrap();
    let cases = [
        (
            nowhere.join("libonnxruntime.so"),
            package_directory(),
            "make tools",
        ),
        (nowhere.clone(), nowhere.join("package"), "pose.model"),
        (nowhere.clone(), package, "no manifest"),
    ];
    for (library, package, expected) in cases {
        let (process, started) = start(&sandbox, &library, &package).await;
        sandbox.publish(&windows("hall", None, "mmmmmmmm")).await;
        let status = model_status(&started).await;
        assert_eq!(status.state(), State::None);
        assert!(status.reason.contains(expected), "{}", status.reason);
        let refused = activity(&started, "hall").await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(process.stop().await, runtime::Exit::Clean);
    }
    assert!(sandbox.stored(CHANGED).await.is_empty());
    assert!(sandbox.stored("model.loaded").await.is_empty());
}

/// The service as a process, so that it can be killed.
fn spawn(sandbox: &Sandbox, library: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_pose"))
        .args([
            "--nats",
            &sandbox.server.url(),
            "--grpc-listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .arg("--set")
        .arg(format!("pose.onnxruntime={}", library.display()))
        .args([
            "--set",
            "nats.connect_timeout_s=60",
            "--set",
            "nats.publish_timeout_s=60",
        ])
        .arg("--set")
        .arg(format!("nats.storage_scale={STORAGE_SCALE}"))
        .arg("--set")
        .arg(format!("pose.model={}", package_directory().display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_it_loses_and_doubles_nothing() {
    let Some(library) = library() else { return };
    let sandbox = Sandbox::start().await;
    let run = Some(Uuid::from_u128(7));
    let all = windows(
        "hall",
        run,
        "iiiiiimmmmmmmmiiiiiiimmmmmmmmmmuuuuuuuuuuuuummmmmmmmii",
    );
    let expected = [
        "hall unknown>inactive 1970-01-01T00:00:02.000000Z",
        "hall inactive>moving 1970-01-01T00:00:05.000000Z",
        "hall moving>inactive 1970-01-01T00:00:09.000000Z",
        "hall inactive>moving 1970-01-01T00:00:12.500000Z",
        "hall moving>unknown 1970-01-01T00:00:20.500000Z",
        "hall unknown>moving 1970-01-01T00:00:24.000000Z",
    ];
    // Killed with a candidate open (window 16), and again in the middle of nothing known (window 35).
    let parts = [(0..17, 2), (17..36, 4), (36..all.len(), 6)];
    for (part, events) in parts {
        let mut service = spawn(&sandbox, &library);
        sandbox.publish(&all[part]).await;
        let stored = sandbox.wait_for(CHANGED, events).await;
        assert_eq!(story(&stored), expected[..events]);
        service.kill().unwrap();
        service.wait().unwrap();
    }
    // A last life reads again what the checkpoint still holds, and then a window that shows that it came through.
    let mut service = spawn(&sandbox, &library);
    sandbox.publish(&windows("attic", None, "mmmmmm")).await;
    let stored = sandbox.wait_for(CHANGED, 7).await;
    service.kill().unwrap();
    service.wait().unwrap();
    assert_eq!(story(&stored[..6]), expected);
    assert_eq!(stored[6].payload["zone_id"], "attic");
    let numbers: Vec<u64> = stored[..6]
        .iter()
        .map(|event| event.sequence_number)
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert_eq!(sandbox.stored(CHANGED).await.len(), 7, "within {FAILED:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_replay_tells_the_same_story_again() {
    let Some(library) = library() else { return };
    let sandbox = Sandbox::start().await;
    let (process, _) = start(&sandbox, &library, &package_directory()).await;
    let mut stories = Vec::new();
    for run in [1_u128, 2] {
        let windows = windows("hall", Some(Uuid::from_u128(run)), "iiiiiimmmmmm");
        sandbox.publish(&windows).await;
        let stored = sandbox.wait_for(CHANGED, 2 * run as usize).await;
        stories.push(story(&stored[stored.len() - 2..]));
    }
    assert_eq!(stories[0], stories[1]);
    assert_eq!(process.stop().await, runtime::Exit::Clean);
}
