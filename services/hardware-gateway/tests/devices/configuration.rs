use proto::gateway::v1 as pb;
use tonic::Code;

use crate::sandbox::{Sandbox, next, reason};

fn request(rate: Option<u32>, channel: Option<u32>) -> pb::ConfigureDeviceRequest {
    pb::ConfigureDeviceRequest {
        name: "lamp".into(),
        configuration: Some(pb::DeviceConfiguration {
            sampling_rate_hz: rate,
            channel,
            ..pb::DeviceConfiguration::default()
        }),
        ..pb::ConfigureDeviceRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_is_an_expectation_that_survives_a_restart() {
    let mut sandbox = Sandbox::start().await;
    let created = sandbox.create("lamp", "hall", "adr018:7").await;
    assert_eq!(created.configuration, None, "nothing is expected yet");
    let mut configured = sandbox.follow("hardware.device_configured.lamp").await;

    let check = pb::ConfigureDeviceRequest {
        validate_only: true,
        ..request(Some(100), Some(11))
    };
    let preview = sandbox.devices.configure_device(check).await.unwrap();
    let preview = preview.into_inner().device.unwrap();
    assert_eq!(preview.configuration.unwrap().sampling_rate_hz, Some(100));
    assert_eq!(sandbox.get("lamp").await.configuration, None);

    let stale = pb::ConfigureDeviceRequest {
        etag: "999".into(),
        ..request(Some(100), None)
    };
    let refused = sandbox.devices.configure_device(stale).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Aborted, "ETAG_MISMATCH")
    );

    let set = pb::ConfigureDeviceRequest {
        etag: created.etag,
        request_id: "first".into(),
        ..request(Some(100), Some(11))
    };
    let device = sandbox.devices.configure_device(set.clone()).await.unwrap();
    let device = device.into_inner().device.unwrap();
    let event = next(&mut configured, "the configuration").await;
    assert_eq!(
        event.payload["config"],
        serde_json::json!({"sampling_rate_hz": 100, "channel": 11})
    );
    assert_eq!(event.payload["previous_config"], serde_json::json!({}));
    assert_eq!(event.metadata.extra["applied"], false);
    let again = sandbox.devices.configure_device(set).await.unwrap();
    assert_eq!(again.into_inner().device.unwrap(), device, "once");

    // Taken back by name; the other stays.
    let mut back = request(None, None);
    back.update_mask = Some(prost_types::FieldMask {
        paths: vec!["sampling_rate_hz".into()],
    });
    sandbox.devices.configure_device(back).await.unwrap();
    let event = next(&mut configured, "the configuration").await;
    assert_eq!(
        (&event.payload["config"], &event.payload["previous_config"]),
        (
            &serde_json::json!({"channel": 11}),
            &serde_json::json!({"sampling_rate_hz": 100, "channel": 11})
        )
    );

    sandbox.restart().await;
    let device = sandbox.get("lamp").await;
    let configuration = device.configuration.unwrap();
    assert_eq!(
        (configuration.sampling_rate_hz, configuration.channel),
        (None, Some(11))
    );
    assert!(!configuration.applied && configuration.driver_note.contains("no commands"));

    for (bad, field) in [
        (request(Some(0), None), "sampling_rate_hz"),
        (request(None, Some(15)), "channel"),
        (request(None, Some(300)), "channel"),
        (request(None, None), "configuration"),
    ] {
        let refused = sandbox.devices.configure_device(bad).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(field), "{refused}");
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_measured_otherwise_is_a_deviation_and_a_cause() {
    let mut sandbox = Sandbox::start().await;
    sandbox.create("lamp", "hall", "adr018:7").await;
    sandbox
        .devices
        .configure_device(request(None, Some(11)))
        .await
        .unwrap();
    let mut health = sandbox.follow("hardware.device_health_changed.lamp").await;
    let stream = crate::health::stream(&sandbox, 20);
    let event = next(&mut health, "the deviation").await;
    assert_eq!(event.payload["new_status"], "degraded");
    let action = event.payload["recommended_action"].as_str().unwrap();
    assert!(
        action.contains("channel 6, and 11 is configured"),
        "{action}"
    );
    let device = sandbox.get("lamp").await;
    stream.stop().await;
    assert_eq!(device.state(), pb::DeviceState::Degraded);
    assert_eq!(device.deviations.len(), 1);
    let deviation = &device.deviations[0];
    assert_eq!(
        (
            &*deviation.setting,
            &*deviation.expected,
            &*deviation.measured
        ),
        ("channel", "11", "6")
    );
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_takes_no_settings() {
    let mut sandbox = Sandbox::start().await;
    let request_of = pb::CreateDeviceRequest {
        device: Some(pb::Device {
            name: "lamp".into(),
            zone: "hall".into(),
            device_type: "recording".into(),
            ..pb::Device::default()
        }),
        ..pb::CreateDeviceRequest::default()
    };
    sandbox.devices.create_device(request_of).await.unwrap();
    let refused = sandbox
        .devices
        .configure_device(request(Some(100), None))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "NOT_CONFIGURABLE")
    );
    sandbox.stop().await;
}
