use proto::gateway::v1 as pb;

use crate::sandbox::{Sandbox, next, within};

#[tokio::test(flavor = "multi_thread")]
async fn in_maintenance_frames_are_counted_and_not_published() {
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;
    let mut events = sandbox.follow("hardware.*.lamp").await;
    let mut data = sandbox.data("test", &["data.csi.hall.lamp"]).await;
    sandbox.send(0);
    assert_eq!(
        next(&mut events, "the connection").await.event_type,
        "hardware.device_connected"
    );
    let enter = pb::EnterMaintenanceRequest {
        name: "lamp".into(),
        ..pb::EnterMaintenanceRequest::default()
    };
    let device = sandbox
        .devices
        .enter_maintenance(enter.clone())
        .await
        .unwrap()
        .into_inner()
        .device
        .unwrap();
    assert_eq!(device.state(), pb::DeviceState::Maintenance);
    let event = next(&mut events, "the disconnect").await;
    assert_eq!(event.payload["reason"], "maintenance_mode");
    assert_eq!(event.payload["frames_transmitted"], 1);
    let again = sandbox.devices.enter_maintenance(enter).await.unwrap();
    assert_eq!(
        again.into_inner().device.unwrap().etag,
        device.etag,
        "nothing changed"
    );

    for sequence in 1..=10 {
        sandbox.send(sequence);
    }
    let counted = async {
        while sandbox.get("lamp").await.frames_suppressed < 10 {
            tokio::task::yield_now().await;
        }
    };
    within("ten frames in maintenance", counted).await;
    let device = sandbox.get("lamp").await;
    assert_eq!(
        (device.frames_received, device.state()),
        (11, pb::DeviceState::Maintenance)
    );

    // It survives a restart, and ends on demand.
    sandbox.restart().await;
    assert_eq!(
        sandbox.get("lamp").await.state(),
        pb::DeviceState::Maintenance
    );
    let leave = pb::LeaveMaintenanceRequest {
        name: "lamp".into(),
        ..pb::LeaveMaintenanceRequest::default()
    };
    let device = sandbox.devices.leave_maintenance(leave).await.unwrap();
    assert_eq!(
        device.into_inner().device.unwrap().state(),
        pb::DeviceState::Offline
    );
    sandbox.send(100);
    let types = async {
        loop {
            let event = events.next().await.unwrap().event;
            if event.event_type == "hardware.device_connected" {
                return;
            }
        }
    };
    within("the connection", types).await;
    let mut published = Vec::new();
    while published.last() != Some(&100) {
        let batch = within("frames", data.next_batch(100)).await.unwrap();
        published.extend(batch.iter().map(|message| {
            let (frame, _) = csi::wire::Decoder::default()
                .decode(&message.payload)
                .unwrap();
            frame.sequence
        }));
    }
    assert_eq!(published, [0, 100]);
    sandbox.stop().await;
}
