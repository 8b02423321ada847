use std::f64::consts::FRAC_PI_2;

use events::DataSource;
use proto::gateway::v1 as pb;
use proto::gateway::v1::link_calibration::Result::{AntennaPhase, NoiseFloor};
use tonic::Code;

use super::{announced, ended, error, in_use, request, start, succeeded, told};
use crate::sandbox::{Sandbox, reason};
use crate::simulated::{Stream, room, two_antennas};

#[tokio::test(flavor = "multi_thread")]
async fn noise_is_measured_and_a_second_calibration_of_the_device_is_refused_meanwhile() {
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;
    sandbox.create("desk", "hall", "adr018:8").await;
    let streams = [7, 8].map(|node| Stream::of(&sandbox, room("empty", node)));
    let asked = pb::StartCalibrationRequest {
        request_id: "once".into(),
        ..request(pb::CalibrationKind::NoiseFloor, 2.0)
    };
    let started = start(&sandbox, asked.clone()).await.unwrap();
    let again = start(&sandbox, asked).await.unwrap();
    assert_eq!(again.name, started.name);
    let refused = start(&sandbox, request(pb::CalibrationKind::EmptyRoom, 2.0)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert_eq!(reason(&refused), "CALIBRATION_RUNNING");
    let other = pb::StartCalibrationRequest {
        device: "desk".into(),
        ..request(pb::CalibrationKind::NoiseFloor, 2.0)
    };
    let other = start(&sandbox, other).await.unwrap();

    for operation in [&started, &other] {
        succeeded(&ended(&sandbox, operation).await);
        let steps = ["started", "collecting", "computing", "completed"];
        assert_eq!(told(&sandbox.bus, operation).await, steps);
    }
    let made = in_use(&sandbox, pb::CalibrationKind::NoiseFloor).await;
    assert_eq!(made.source(), proto::csi::v1::DataSource::Simulated);
    assert_eq!((made.version, made.links.len()), (1, 1));
    assert!(made.frames_used > 100, "{}", made.frames_used);
    assert_eq!(made.operation, started.name);
    let Some(NoiseFloor(floor)) = &made.links[0].result else {
        panic!("{made:?}");
    };
    // The simulator's own: 30 dB below the signal at best, and rounding to 8 bits.
    let below = floor.amplitude_to_noise_db;
    assert!((20.0..35.0).contains(&below), "{below}");

    let event = announced(&sandbox.bus, "lamp").await;
    assert_eq!(event.payload["success"], true);
    assert_eq!(event.payload["calibration_type"], "noise_floor");
    assert_eq!(event.payload["calibration_id"], made.calibration_id);
    assert_eq!(event.payload["noise_floor_db"].as_f64(), floor.reported_dbm);
    let seconds = event.payload["duration_seconds"].as_f64().unwrap();
    assert!((2.0..3.0).contains(&seconds), "{seconds}");
    assert_eq!(event.payload.get("quality_before"), None);
    assert_eq!(event.metadata.data_source, Some(DataSource::Simulated));
    assert_eq!(event.metadata.extra["operation"], started.name);
    assert_eq!(event.metadata.extra["version"], 1);

    // Who sees the end may begin the next one at once.
    let next = start(&sandbox, request(pb::CalibrationKind::NoiseFloor, 1.0)).await;
    succeeded(&ended(&sandbox, &next.unwrap()).await);
    let made = in_use(&sandbox, pb::CalibrationKind::NoiseFloor).await;
    assert_eq!(made.version, 2);
    for stream in streams {
        stream.stop().await;
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_phase_between_antennas_is_measured() {
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;
    let stream = Stream::of(&sandbox, two_antennas(7));
    let started = start(&sandbox, request(pb::CalibrationKind::AntennaPhase, 2.0)).await;
    let started = started.unwrap();
    succeeded(&ended(&sandbox, &started).await);
    let made = in_use(&sandbox, pb::CalibrationKind::AntennaPhase).await;
    let Some(AntennaPhase(phase)) = &made.links[0].result else {
        panic!("{made:?}");
    };
    assert_eq!((made.links[0].antennas, phase.offsets.len()), (2, 2));
    assert_eq!(phase.offsets[0], 0.0);
    assert!((phase.offsets[1] - FRAC_PI_2).abs() < 0.02, "{phase:?}");
    assert!(phase.steadiness > 0.95, "{}", phase.steadiness);
    // Coherence without it and with it.
    assert!(made.quality_before.unwrap() < 0.1, "{made:?}");
    assert!(made.quality_after.unwrap() > 0.95, "{made:?}");

    let event = announced(&sandbox.bus, "lamp").await;
    assert_eq!(event.payload["success"], true);
    assert_eq!(
        event.payload["antenna_offsets"],
        serde_json::json!(phase.offsets)
    );
    let corrections = event.payload["phase_correction"].as_array().unwrap();
    assert_eq!(corrections.len(), phase.corrections.len());
    stream.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_in_motion_is_refused() {
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;
    let stream = Stream::of(&sandbox, room("walk", 7));
    let started = start(&sandbox, request(pb::CalibrationKind::EmptyRoom, 9.5)).await;
    let started = started.unwrap();
    let (code, message) = error(&ended(&sandbox, &started).await);
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.starts_with("lamp: something moved"), "{message}");
    assert!(message.contains("calibrate with nobody in the room"));
    let steps = ["started", "collecting", "computing", "failed: motion"];
    assert_eq!(told(&sandbox.bus, &started).await, steps);
    let event = announced(&sandbox.bus, "lamp").await;
    assert_eq!(event.payload["success"], false);
    assert_eq!(event.metadata.extra["reason"], "motion");
    assert_eq!(event.metadata.extra.get("version"), None);
    stream.stop().await;
    sandbox.stop().await;
}
