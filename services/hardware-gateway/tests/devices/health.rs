use std::time::Duration;

use proto::gateway::v1 as pb;
use tokio_util::sync::CancellationToken;

use crate::sandbox::{Sandbox, datagram, next};

pub struct Stream {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<u32>,
}

impl Stream {
    /// How many were sent.
    pub async fn stop(self) -> u32 {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

/// Sends frames of node 7 at `hz` until it is stopped.
pub fn stream(sandbox: &Sandbox, hz: u32) -> Stream {
    let stop = CancellationToken::new();
    let (socket, stopped) = (sandbox.socket.try_clone().unwrap(), stop.clone());
    let task = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / hz);
        let mut sequence = 0;
        while !stopped.is_cancelled() {
            pace.tick().await;
            socket.send(&datagram(sequence, -50)).unwrap();
            sequence += 1;
        }
        sequence
    });
    Stream { stop, task }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_device_degrades_with_an_action_and_a_silent_one_is_offline() {
    let mut sandbox = Sandbox::start().await;
    let device = sandbox.create("lamp", "hall", "adr018:7").await;
    assert_eq!(device.state(), pb::DeviceState::Provisioning);
    assert!(
        device.recommended_action.contains("ping it at 100 Hz"),
        "{device:?}"
    );
    let configure = pb::ConfigureDeviceRequest {
        name: "lamp".into(),
        configuration: Some(pb::DeviceConfiguration {
            sampling_rate_hz: Some(200),
            ..pb::DeviceConfiguration::default()
        }),
        ..pb::ConfigureDeviceRequest::default()
    };
    sandbox.devices.configure_device(configure).await.unwrap();
    let mut events = sandbox.follow("hardware.*.lamp").await;

    let slow = stream(&sandbox, 20);
    let connected = next(&mut events, "the connection").await;
    assert_eq!(connected.event_type, "hardware.device_connected");
    assert_eq!(
        connected.payload["current_config"],
        serde_json::json!({"antennas": 1, "bandwidth": "20MHz", "channel": 6, "subcarriers": 64})
    );
    assert_eq!(connected.payload.get("connection_time_ms"), None);
    let event = next(&mut events, "the change of health").await;
    assert_eq!(event.event_type, "hardware.device_health_changed");
    assert_eq!(event.payload["previous_status"], "unknown");
    assert_eq!(event.payload["new_status"], "unhealthy");
    assert_eq!(event.payload["error_rate"], 0.0);
    // A busy machine also spaces the frames unevenly.
    let causes = event.metadata.extra["causes"].as_array().unwrap();
    assert_eq!(causes[0], "rate");
    assert_eq!(event.payload["failure_count"], causes.len());
    let action = event.payload["recommended_action"].as_str().unwrap();
    assert!(
        action.contains("of 200 expected (configured)") && action.contains("ping it at 200 Hz"),
        "{action}"
    );
    let device = sandbox.get("lamp").await;
    assert_eq!(
        (device.state(), device.health()),
        (pb::DeviceState::Degraded, pb::HealthStatus::Unhealthy)
    );
    assert_eq!(device.expected_rate_hz, Some(200.0));
    assert_eq!(device.expected_rate_source(), pb::RateSource::Configured);
    assert_eq!(
        (device.loss, device.snr_db, device.error_rate),
        (Some(0.0), Some(42.0), Some(0.0))
    );
    assert_eq!(device.causes[0].cause, "rate");

    let sent = slow.stop().await;
    let mut gone = next(&mut events, "the disconnect").await;
    while gone.event_type == "hardware.device_health_changed" {
        gone = next(&mut events, "the disconnect").await;
    }
    assert_eq!(gone.event_type, "hardware.device_disconnected");
    assert_eq!(gone.payload["reason"], "timeout");
    assert_eq!(gone.payload["frames_transmitted"], sent);
    let event = next(&mut events, "the change of health").await;
    assert_eq!(
        (
            &event.payload["previous_status"],
            &event.payload["new_status"]
        ),
        (&"unhealthy".into(), &"offline".into())
    );
    let action = event.payload["recommended_action"].as_str().unwrap();
    assert!(action.starts_with("no frames"), "{action}");
    assert_eq!(sandbox.get("lamp").await.state(), pb::DeviceState::Offline);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn losses_are_seen_and_forgiven() {
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;
    let mut health = sandbox.follow("hardware.device_health_changed.lamp").await;
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let (mut sequence, mut every) = (0, 2);
    let (mut lossy, mut healthy) = (None, None);
    while healthy.is_none() {
        tokio::select! {
            _ = pace.tick() => {
                sandbox.send(sequence);
                sequence += every;
            }
            event = health.next() => {
                let event = event.unwrap().event;
                if lossy.is_none() {
                    (lossy, every) = (Some(event), 1);
                } else {
                    healthy = Some(event).filter(|event| event.payload["new_status"] == "healthy");
                }
            }
        }
    }
    let lossy = lossy.unwrap();
    assert_eq!(lossy.metadata.extra["causes"][0], "loss");
    let action = lossy.payload["recommended_action"].as_str().unwrap();
    assert!(
        action.starts_with("losing 4") || action.starts_with("losing 5"),
        "{action}"
    );
    assert_eq!(healthy.unwrap().payload.get("recommended_action"), None);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_of_rubbish_is_told_from_a_silent_one() {
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;
    let mut errors = sandbox.follow("hardware.device_error.*").await;
    for sequence in 0..5 {
        sandbox.send(sequence);
        sandbox.socket.send(&datagram(sequence, -50)[..30]).unwrap();
    }
    let error = next(&mut errors, "the error").await;
    assert_eq!(error.payload["device_id"], "lamp");
    let reception = sandbox
        .devices
        .get_reception(pb::GetReceptionRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!((reception.frames, reception.malformed), (5, 5));
    assert_eq!(reception.faults.len(), 1);
    assert_eq!(reception.faults[0].sender, "lamp");
    sandbox.stop().await;
}
