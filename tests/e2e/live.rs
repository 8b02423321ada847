//! Live datagrams: a sender is discovered, registered, heard, and missed.

use std::time::Duration;

use e2e::clients::{PATIENCE, channel, register, within};
use e2e::datagram;
use e2e::sandbox::Sandbox;
use futures::StreamExt;
use proto::gateway::v1::device_service_client::DeviceServiceClient;
use proto::gateway::v1::{
    DeviceState, GetDeviceRequest, ListDiscoveredDevicesRequest, WatchDevicesRequest,
};
use serde_json::Value;

async fn next(subscription: &mut async_nats::Subscriber, what: &str) -> anyhow::Result<Value> {
    let message = within(what, subscription.next()).await?.unwrap();
    Ok(serde_json::from_slice(&message.payload)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_is_discovered_registered_heard_and_missed() -> anyhow::Result<()> {
    let sandbox = Sandbox::of(
        &["hardware-gateway"],
        &["hardware_gateway.device_timeout_s=1.0"],
        &[],
    )
    .await?;
    let third_party = sandbox.third_party().await?;
    let mut discovered = third_party.subscribe("hardware.device_discovered").await?;
    let mut connected = third_party.subscribe("hardware.device_connected").await?;
    let mut disconnected = third_party
        .subscribe("hardware.device_disconnected")
        .await?;
    let mut received = third_party.subscribe("signal.csi_frame_received").await?;
    third_party.flush().await?;
    let socket = datagram::sender(&sandbox.address("hardware-gateway", "udp")?)?;
    let iq: Vec<i8> = (0..128).map(|k| i8::try_from(k % 50).unwrap()).collect();

    for sequence in 0..5 {
        socket.send(&datagram::csi(7, sequence, &iq))?;
    }
    let event = next(&mut discovered, "hardware.device_discovered").await?;
    assert_eq!(event["payload"]["mac_address"], "adr018:7");
    assert_eq!(event["payload"]["ip_address"], "127.0.0.1");
    assert_eq!(event["metadata"]["data_source"], "live");
    let gateway = channel(&sandbox.address("hardware-gateway", "grpc")?).await?;
    let mut devices = DeviceServiceClient::new(gateway.clone());
    let list = devices
        .list_discovered_devices(ListDiscoveredDevicesRequest::default())
        .await?
        .into_inner()
        .devices;
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].hardware_id, "adr018:7");

    register(&gateway, "lamp", "hall", "adr018:7").await?;
    for sequence in 5..10 {
        socket.send(&datagram::csi(7, sequence, &iq))?;
    }
    let event = next(&mut connected, "hardware.device_connected").await?;
    assert_eq!(event["payload"]["device_id"], "lamp");
    assert_eq!(event["sequence_number"], 2);
    for sequence in 5..10 {
        let event = next(&mut received, "signal.csi_frame_received").await?;
        assert_eq!(event["payload"]["device_id"], "lamp");
        assert_eq!(event["payload"]["sequence_number"], sequence);
        assert_eq!(event["payload"]["snr_db"], 42.0);
        assert_eq!(event["payload"]["num_subcarriers"], 64);
        assert_eq!(event["metadata"]["data_source"], "live");
    }

    let event = next(&mut disconnected, "hardware.device_disconnected").await?;
    assert_eq!(event["payload"]["reason"], "timeout");
    assert_eq!(event["payload"]["frames_transmitted"], 5);
    // The event is out before the registry has its ack: watch until it has.
    let request = WatchDevicesRequest {
        name: "lamp".into(),
    };
    let mut watch = devices.watch_devices(request).await?.into_inner();
    let gone = async {
        while let Some(answer) = watch.message().await? {
            if answer.device.unwrap_or_default().state() == DeviceState::Offline {
                return Ok(());
            }
        }
        anyhow::bail!("the watch ended")
    };
    within("the disconnected state", gone).await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_survives_kill_9() -> anyhow::Result<()> {
    let mut sandbox = Sandbox::of(&["hardware-gateway"], &[], &[]).await?;
    let address = sandbox.address("hardware-gateway", "grpc")?;
    let before = register(&channel(&address).await?, "lamp", "hall", "adr018:7").await?;
    sandbox.kill_and_restart("hardware-gateway").await?;
    let gateway = channel(&address).await?;
    let request = GetDeviceRequest {
        name: "lamp".into(),
    };
    let after = DeviceServiceClient::new(gateway.clone())
        .get_device(request)
        .await?
        .into_inner()
        .device
        .unwrap();
    assert_eq!(after, before);
    let again = register(&gateway, "door", "hall", "adr018:7")
        .await
        .unwrap_err();
    assert!(again.to_string().contains("adr018:7"), "{again}");
    assert!(again.to_string().contains("lamp"), "{again}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn simulated_datagrams_say_so_on_every_event() -> anyhow::Result<()> {
    let sandbox = Sandbox::of(&["signal", "hardware-gateway"], &[], &[]).await?;
    let third_party = sandbox.third_party().await?;
    let mut all = futures::stream::select_all([
        third_party.subscribe("hardware.*").await?,
        third_party.subscribe("signal.*").await?,
        third_party.subscribe("pose.*").await?,
    ]);
    third_party.flush().await?;
    let gateway = channel(&sandbox.address("hardware-gateway", "grpc")?).await?;
    register(&gateway, "lamp", "hall", "adr018:1").await?;
    let udp = sandbox.address("hardware-gateway", "udp")?;
    let status = tokio::process::Command::new(e2e::process::binary("fresnel")?)
        .args([
            "simulate",
            "--scenario",
            "walk",
            "--seconds",
            "8",
            "--rate",
            "100",
            "--udp",
            &udp,
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()?;
    let mut status = status;
    let mut kinds = std::collections::BTreeSet::new();
    let found = async {
        while let Some(message) = all.next().await {
            let event: Value = serde_json::from_slice(&message.payload)?;
            let kind = event["event_type"].as_str().unwrap_or_default().to_owned();
            let from_data = kind.starts_with("signal.")
                || kind.starts_with("pose.")
                || kind == "hardware.device_connected";
            if from_data {
                assert_eq!(event["metadata"]["data_source"], "simulated", "{event}");
            }
            let motion = kind == "pose.motion_detected";
            kinds.insert(kind);
            if motion {
                break;
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, found)
        .await
        .map_err(|_| anyhow::anyhow!("no motion; saw {kinds:?}"))??;
    assert!(kinds.contains("signal.signal_processed"), "{kinds:?}");
    tokio::time::timeout(Duration::from_secs(30), status.wait()).await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_creates_once_and_another_is_refused() -> anyhow::Result<()> {
    use proto::gateway::v1::{CreateDeviceRequest, Device};

    let sandbox = Sandbox::of(&["hardware-gateway"], &[], &[]).await?;
    let gateway = channel(&sandbox.address("hardware-gateway", "grpc")?).await?;
    let mut devices = DeviceServiceClient::new(gateway);
    let request = |request_id: &str| CreateDeviceRequest {
        device: Some(Device {
            name: "lamp".into(),
            zone: "hall".into(),
            ..Device::default()
        }),
        request_id: request_id.into(),
        validate_only: false,
    };
    let first = devices.create_device(request("a")).await?.into_inner();
    let again = devices.create_device(request("a")).await?.into_inner();
    assert_eq!(first, again);
    let other = devices.create_device(request("b")).await.unwrap_err();
    assert_eq!(other.code(), tonic::Code::AlreadyExists);
    let none = devices.create_device(request("")).await.unwrap_err();
    assert_eq!(none.code(), tonic::Code::AlreadyExists);
    Ok(())
}
