//! An empty room is calibrated from a recording of one; what follows names the calibration. A room in motion is refused, and
//! so is a second calibration at the same time; one that is cancelled says so.

use std::collections::BTreeSet;

use anyhow::Context;
use bus::{Bus, From};
use e2e::clients::{channel, register, replay, replayed, within};
use e2e::sandbox::Sandbox;
use events::{DataSource, EventEnvelope};
use proto::gateway::v1 as pb;
use proto::gateway::v1::calibration_service_client::CalibrationServiceClient;
use proto::google::longrunning::operation::Result as Outcome;
use proto::google::longrunning::operations_client::OperationsClient;
use proto::google::longrunning::{CancelOperationRequest, Operation, WaitOperationRequest};
use tonic::Code;
use tonic::transport::Channel;

const QUIET: &str = "espectre-baseline-c3-20260329-130303";
const MOVING: &str = "espectre-movement-c3-20260329-130321";

fn request(kind: pb::CalibrationKind) -> pb::StartCalibrationRequest {
    pb::StartCalibrationRequest {
        kind: kind.into(),
        device: "esp".into(),
        seconds: 8.0,
        activate: true,
        ..pb::StartCalibrationRequest::default()
    }
}

async fn ended(channel: &Channel, operation: &Operation) -> anyhow::Result<Operation> {
    let mut client = OperationsClient::new(channel.clone());
    let wait = async {
        loop {
            let request = WaitOperationRequest {
                name: operation.name.clone(),
                timeout: None,
            };
            let seen = client.wait_operation(request).await?.into_inner();
            if seen.done {
                return anyhow::Ok(seen);
            }
        }
    };
    within("the end of the operation", wait).await?
}

fn error(operation: &Operation) -> (Code, String) {
    match &operation.result {
        Some(Outcome::Error(status)) => (Code::from(status.code), status.message.clone()),
        other => panic!("{other:?} is no error"),
    }
}

async fn stored(bus: &Bus, filter: &str) -> anyhow::Result<Vec<EventEnvelope>> {
    let stored = bus.replay(filter, From::Start).await?;
    Ok(stored.into_iter().map(|delivery| delivery.event).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_room_is_calibrated_and_its_events_name_it() -> anyhow::Result<()> {
    let (Some(quiet), Some(moving)) = (recordings::for_test(QUIET)?, recordings::for_test(MOVING)?)
    else {
        return Ok(());
    };
    let sandbox = Sandbox::of(&["signal", "hardware-gateway"], &[], &[]).await?;
    let bus = Bus::connect(bus::Config {
        url: sandbox.nats.url(),
        ..bus::Config::default()
    })
    .await?;
    let address = sandbox.address("hardware-gateway", "grpc")?;
    let channel = channel(&address).await?;
    let mut client = CalibrationServiceClient::new(channel.clone());
    let play = async |path: &std::path::Path| {
        let run = replay(&channel, path, "esp", "lab", 0.0).await?;
        replayed(&address, &run.replay_id).await
    };

    let absent = client
        .start_calibration(request(pb::CalibrationKind::EmptyRoom))
        .await
        .map_err(|status| status.code());
    assert_eq!(absent.err(), Some(Code::NotFound));
    register(&channel, "esp", "lab", "recording:esp").await?;

    let started = client
        .start_calibration(request(pb::CalibrationKind::EmptyRoom))
        .await?
        .into_inner();
    let second = client
        .start_calibration(request(pb::CalibrationKind::NoiseFloor))
        .await
        .map_err(|status| status.code());
    assert_eq!(second.err(), Some(Code::AlreadyExists));
    play(&quiet.path).await?;
    let done = ended(&channel, &started).await?;
    assert!(
        matches!(done.result, Some(Outcome::Response(_))),
        "{done:?}"
    );
    let asked = pb::GetCalibrationRequest {
        device: "esp".into(),
        kind: pb::CalibrationKind::EmptyRoom.into(),
        version: 0,
    };
    let made = client.get_calibration(asked).await?.into_inner();
    let made = made.calibration.context("no calibration")?;
    assert_eq!(made.source(), proto::csi::v1::DataSource::Replay);
    assert_eq!((made.version, made.in_use, made.links.len()), (1, true, 1));
    assert!(made.frames_used > 500, "{} frames", made.frames_used);
    let link = made.links.first().context("no link")?;
    let Some(pb::link_calibration::Result::EmptyRoom(room)) = &link.result else {
        panic!("{link:?}");
    };
    assert!(
        (0.1..=0.6).contains(&room.motion_threshold),
        "{}",
        room.motion_threshold
    );
    let median = room.motion_quantiles.first().copied();
    assert!(median.is_some_and(|m| m < 0.1), "{median:?}");
    // A few seconds are too few for a rate; the bound says how little is known.
    assert_eq!(room.false_alarm_rate, None);
    assert!(room.false_alarm_bound > 0.5, "{}", room.false_alarm_bound);
    assert!(room.amplitude.iter().any(|a| *a > 0.5));
    assert_eq!(room.amplitude.len(), room.phase.len());

    // What is seen from here on names it; what was seen before does not.
    let id = made.calibration_id.clone();
    let run = play(&moving.path).await?;
    let mut follow = bus
        .follow(&["signal.signal_processed".to_owned()], From::Start)
        .await?;
    let of_run = |event: &EventEnvelope| {
        event.correlation_id.map(|id| id.to_string()) == Some(run.replay_id.clone())
    };
    let first = async {
        loop {
            let event = follow.next().await?.event;
            if of_run(&event) {
                return anyhow::Ok(event);
            }
        }
    };
    within("an event of the moving room", first).await??;
    let motion = async {
        let mut follow = bus
            .follow(&["pose.motion_detected".to_owned()], From::Start)
            .await?;
        loop {
            let event = follow.next().await?.event;
            if of_run(&event) {
                return anyhow::Ok(event);
            }
        }
    };
    let motion = within("motion", motion).await??;
    assert_eq!(
        motion.metadata.extra.get("calibration_id"),
        Some(&id.clone().into())
    );
    assert_eq!(motion.metadata.data_source, Some(DataSource::Replay));
    let named: BTreeSet<_> = stored(&bus, "signal.signal_processed.*")
        .await?
        .iter()
        .map(|event| {
            let named = event.metadata.extra.contains_key("calibration_id");
            (of_run(event), named)
        })
        .collect();
    assert_eq!(named, BTreeSet::from([(false, false), (true, true)]));

    // A room in motion is no empty room; one antenna has no phase to another.
    for (kind, reason) in [
        (pb::CalibrationKind::EmptyRoom, "something moved"),
        (pb::CalibrationKind::AntennaPhase, "one antenna"),
    ] {
        let started = client.start_calibration(request(kind)).await?.into_inner();
        play(&moving.path).await?;
        let (code, message) = error(&ended(&channel, &started).await?);
        assert_eq!(code, Code::FailedPrecondition, "{message}");
        assert!(message.contains(reason), "{message}");
    }
    let started = client
        .start_calibration(request(pb::CalibrationKind::NoiseFloor))
        .await?
        .into_inner();
    let cancel = CancelOperationRequest {
        name: started.name.clone(),
    };
    OperationsClient::new(channel.clone())
        .cancel_operation(cancel)
        .await?;
    assert_eq!(error(&ended(&channel, &started).await?).0, Code::Cancelled);

    let ends: Vec<_> = stored(&bus, "hardware.device_calibrated.*")
        .await?
        .iter()
        .map(|event| {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            (
                text(&event.payload["calibration_type"]),
                event.payload["success"].as_bool().unwrap_or_default(),
                event
                    .metadata
                    .extra
                    .get("reason")
                    .map(text)
                    .unwrap_or_default(),
            )
        })
        .collect();
    let end = |kind: &str, success, reason: &str| (kind.to_owned(), success, reason.to_owned());
    assert_eq!(
        ends,
        [
            end("empty_room", true, ""),
            end("empty_room", false, "motion"),
            end("antenna_phase", false, "one_antenna"),
            end("noise_floor", false, "cancelled"),
        ]
    );

    let delete = pb::DeleteCalibrationRequest {
        device: "esp".into(),
        kind: pb::CalibrationKind::EmptyRoom.into(),
        version: 1,
        force: false,
    };
    let in_use = client
        .delete_calibration(delete.clone())
        .await
        .map_err(|status| status.code());
    assert_eq!(in_use.err(), Some(Code::FailedPrecondition));
    client
        .delete_calibration(pb::DeleteCalibrationRequest {
            force: true,
            ..delete
        })
        .await?;
    let left = client
        .list_calibrations(pb::ListCalibrationsRequest::default())
        .await?
        .into_inner();
    assert!(left.calibrations.is_empty(), "{left:?}");
    Ok(())
}
