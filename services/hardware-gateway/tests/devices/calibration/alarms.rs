use bus::Follow;
use events::EventEnvelope;
use proto::gateway::v1 as pb;

use super::{client, ended, request, start, stored, succeeded};
use crate::sandbox::{Sandbox, next};
use crate::simulated::{Stream, room, two_antennas};

fn names(event: &EventEnvelope, cause: &str) -> bool {
    let causes = event
        .metadata
        .extra
        .get("causes")
        .and_then(|c| c.as_array());
    causes.is_some_and(|causes| causes.iter().any(|found| found == cause))
}

/// The next change of health that names the cause, or does not any more.
async fn health(events: &mut Follow, cause: &str, named: bool) -> EventEnvelope {
    loop {
        let event = next(events, cause).await;
        if names(&event, cause) == named {
            return event;
        }
    }
}

async fn alarms(sandbox: &Sandbox) -> Vec<(u32, String, String)> {
    let mut client = client(sandbox);
    let kept = client.list_calibrations(pb::ListCalibrationsRequest::default());
    let kept = kept.await.unwrap().into_inner().calibrations;
    let alarms = kept.into_iter().flat_map(|kept| {
        let alarms = kept.alarms.into_iter();
        alarms.map(move |alarm| (kept.version, alarm.code, alarm.action))
    });
    alarms.collect()
}

async fn calibrate(sandbox: &Sandbox, request: pb::StartCalibrationRequest) {
    let started = start(sandbox, request).await.unwrap();
    succeeded(&ended(sandbox, &started).await);
}

/// How often a cause was told to have come up.
async fn told(sandbox: &Sandbox, cause: &str) -> usize {
    let events = stored(&sandbox.bus, "hardware.device_health_changed.lamp").await;
    let named: Vec<bool> = events.iter().map(|event| names(event, cause)).collect();
    let first = usize::from(named.first() == Some(&true));
    first
        + named
            .windows(2)
            .filter(|pair| pair == &[false, true])
            .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_calibration_is_told_until_there_is_another() {
    const CAUSE: &str = "calibration_expired";
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;
    let stream = Stream::of(&sandbox, room("empty", 7));
    let mut events = sandbox.follow("hardware.device_health_changed.lamp").await;
    let short = pb::StartCalibrationRequest {
        valid_days: 1e-5,
        ..request(pb::CalibrationKind::NoiseFloor, 1.0)
    };
    calibrate(&sandbox, short).await;
    let event = health(&mut events, CAUSE, true).await;
    let action = event.payload["recommended_action"].as_str().unwrap();
    assert_ne!(event.payload["new_status"], "healthy");
    let device = sandbox.get("lamp").await;
    let cause = device.causes.iter().find(|cause| cause.cause == CAUSE);
    let said = &cause.unwrap().action;
    assert!(
        said.starts_with("its noise_floor calibration has expired")
            && said.contains("fresnel calibrate noise-floor --device NAME"),
        "{said}"
    );
    // A busy machine may find the frames spaced unevenly, which comes first.
    if event.payload["failure_count"] == 1 {
        assert_eq!(action, said);
    }
    assert_eq!(
        alarms(&sandbox).await,
        [(1, CAUSE.to_owned(), said.clone())]
    );

    calibrate(&sandbox, request(pb::CalibrationKind::NoiseFloor, 1.0)).await;
    health(&mut events, CAUSE, false).await;
    assert_eq!(alarms(&sandbox).await, []);
    assert_eq!(told(&sandbox, CAUSE).await, 1);
    stream.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_changes_its_layout_does_not_fit_its_calibration_any_more() {
    const CAUSE: &str = "calibration_misfit";
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;
    let mut events = sandbox.follow("hardware.device_health_changed.lamp").await;
    let stream = Stream::of(&sandbox, two_antennas(7));
    calibrate(&sandbox, request(pb::CalibrationKind::AntennaPhase, 1.0)).await;
    stream.stop().await;

    let stream = Stream::of(&sandbox, room("empty", 7));
    health(&mut events, CAUSE, true).await;
    let alarms = alarms(&sandbox).await;
    let (version, code, action) = alarms.first().unwrap();
    assert_eq!((*version, code.as_str()), (1, CAUSE));
    assert!(
        action.starts_with("0 % of its frames are of a link that its antenna_phase calibration"),
        "{action}"
    );
    stream.stop().await;

    let stream = Stream::of(&sandbox, two_antennas(7));
    health(&mut events, CAUSE, false).await;
    assert_eq!(told(&sandbox, CAUSE).await, 1);
    stream.stop().await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_never_as_quiet_again_is_told() {
    const CAUSE: &str = "calibration_drift";
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;
    let mut events = sandbox.follow("hardware.device_health_changed.lamp").await;
    let stream = Stream::of(&sandbox, room("empty", 7));
    calibrate(&sandbox, request(pb::CalibrationKind::EmptyRoom, 9.5)).await;
    stream.stop().await;

    let stream = Stream::of(&sandbox, room("walk", 7));
    health(&mut events, CAUSE, true).await;
    let alarms = alarms(&sandbox).await;
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(
        alarms[0]
            .2
            .contains("calibrate again with nobody in the room"),
        "{alarms:?}"
    );
    assert_eq!(told(&sandbox, CAUSE).await, 1);
    stream.stop().await;
    sandbox.stop().await;
}
