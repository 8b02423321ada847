use proto::gateway::v1 as pb;
use proto::google::longrunning::Operation;
use tonic::Code;

use super::{announced, cancel, client, ended, error, request, start, told};
use crate::sandbox::{Sandbox, next};
use crate::simulated::{Stream, room};

const KIND: pb::CalibrationKind = pb::CalibrationKind::NoiseFloor;

/// How it ended, held against what the events say of it: code, reason and sentence.
async fn end(sandbox: &Sandbox, operation: &Operation) -> (Code, String, String) {
    let (code, message) = error(&ended(sandbox, operation).await);
    let event = announced(&sandbox.bus, "lamp").await;
    assert_eq!(event.payload["success"], false);
    assert_eq!(event.metadata.extra["operation"], operation.name);
    let reason = event.metadata.extra["reason"].as_str().unwrap().to_owned();
    let last = told(&sandbox.bus, operation).await.pop();
    assert_eq!(last, Some(format!("failed: {reason}")));
    (code, reason, message)
}

/// Waits until frames are being gathered.
async fn gathering(sandbox: &Sandbox, operation: &Operation) {
    let id = operation.name.strip_prefix("operations/").unwrap();
    let mut steps = sandbox
        .follow(&format!("workflow.state_changed.{id}"))
        .await;
    loop {
        let step = next(&mut steps, "progress").await;
        if step.payload["progress_percent"].as_f64() > Some(0.0) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_a_calibration_is_said_and_the_next_one_can_begin() {
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;

    let silent = pb::StartCalibrationRequest {
        timeout_seconds: 0.5,
        ..request(KIND, 60.0)
    };
    let silent = start(&sandbox, silent).await.unwrap();
    let (code, reason, message) = end(&sandbox, &silent).await;
    assert_eq!((code, &*reason), (Code::DeadlineExceeded, "no_frames"));
    assert_eq!(message, "lamp: no frame came within 0.5 s");

    let stream = Stream::of(&sandbox, room("empty", 7));
    let slow = pb::StartCalibrationRequest {
        timeout_seconds: 1.0,
        ..request(KIND, 60.0)
    };
    let slow = start(&sandbox, slow).await.unwrap();
    let (code, reason, message) = end(&sandbox, &slow).await;
    assert_eq!((code, &*reason), (Code::DeadlineExceeded, "timeout"));
    assert!(
        message.starts_with("lamp: the time was up after ") && message.ends_with(" of 60 s"),
        "{message}"
    );

    let unwanted = start(&sandbox, request(KIND, 60.0)).await.unwrap();
    gathering(&sandbox, &unwanted).await;
    cancel(&sandbox, &unwanted).await;
    let (code, reason, message) = end(&sandbox, &unwanted).await;
    assert_eq!((code, &*reason), (Code::Cancelled, "cancelled"));
    assert_eq!(message, "the operation was cancelled");

    let lost = start(&sandbox, request(KIND, 60.0)).await.unwrap();
    gathering(&sandbox, &lost).await;
    stream.stop().await;
    let (code, reason, message) = end(&sandbox, &lost).await;
    assert_eq!((code, &*reason), (Code::Unavailable, "device_lost"));
    assert!(
        message.starts_with("lamp: no frame came any more after "),
        "{message}"
    );

    let stream = Stream::of(&sandbox, room("empty", 7));
    let cut = start(&sandbox, request(KIND, 60.0)).await.unwrap();
    gathering(&sandbox, &cut).await;
    sandbox.restart().await;
    stream.stop().await;
    let (code, reason, message) = end(&sandbox, &cut).await;
    assert_eq!((code, &*reason), (Code::Aborted, "interrupted"));
    assert!(
        message.ends_with("start the calibration again"),
        "{message}"
    );

    // Nothing was kept of any of them.
    let mut client = client(&sandbox);
    let kept = client.list_calibrations(pb::ListCalibrationsRequest::default());
    assert_eq!(kept.await.unwrap().into_inner().calibrations, []);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_gateway_leaves_a_calibration_alone() {
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;
    let stream = Stream::of(&sandbox, room("empty", 7));
    let running = start(&sandbox, request(KIND, 60.0)).await.unwrap();
    gathering(&sandbox, &running).await;
    let other = sandbox.another("other").await;
    let steps = told(&sandbox.bus, &running).await;
    assert!(
        !steps.iter().any(|step| step.starts_with("failed")),
        "{steps:?}"
    );
    cancel(&sandbox, &running).await;
    let (code, reason, _) = end(&sandbox, &running).await;
    assert_eq!((code, &*reason), (Code::Cancelled, "cancelled"));
    other.stop().await;
    stream.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_zone_what_could_be_measured_is_kept() {
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;
    sandbox.create("mute", "hall", "adr018:8").await;
    let stream = Stream::of(&sandbox, room("empty", 7));
    let zone = pb::StartCalibrationRequest {
        device: String::new(),
        zone: "hall".into(),
        timeout_seconds: 3.0,
        ..request(KIND, 1.0)
    };
    let started = start(&sandbox, zone).await.unwrap();
    super::succeeded(&ended(&sandbox, &started).await);
    assert_eq!(
        announced(&sandbox.bus, "lamp").await.payload["success"],
        true
    );
    let mute = announced(&sandbox.bus, "mute").await;
    assert_eq!(mute.payload["success"], false);
    assert_eq!(mute.metadata.extra["reason"], "no_frames");
    stream.stop().await;
    sandbox.stop().await;
}
