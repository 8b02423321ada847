//! Clients of the system as others would write them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::jetstream::consumer::{AckPolicy, pull};
use bytes::Bytes;
use futures::StreamExt;
use proto::gateway::v1 as gateway;
use proto::gateway::v1::device_service_client::DeviceServiceClient;
use proto::gateway::v1::recording_service_client::RecordingServiceClient;
use serde_json::Value;
use tonic::transport::Channel;

/// How long a story waits for what must come. Only a failure takes so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A gRPC channel.
///
/// # Errors
/// Where nothing listens.
pub async fn channel(address: &str) -> anyhow::Result<Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?;
    endpoint
        .connect()
        .await
        .with_context(|| format!("nothing listens on {address}"))
}

/// Waits for `future`, within [`PATIENCE`].
///
/// # Errors
/// Where it did not come, naming `what`.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(PATIENCE, future)
        .await
        .with_context(|| format!("{what} did not come within {PATIENCE:?}"))
}

/// Registers a device.
///
/// # Errors
/// What the service answers.
pub async fn register(
    channel: &Channel,
    name: &str,
    zone: &str,
    hardware_id: &str,
) -> anyhow::Result<gateway::Device> {
    let device = gateway::Device {
        name: name.into(),
        zone: zone.into(),
        hardware_id: hardware_id.into(),
        device_type: "esp32-adr018".into(),
        ..gateway::Device::default()
    };
    let request = gateway::CreateDeviceRequest {
        device: Some(device),
        ..gateway::CreateDeviceRequest::default()
    };
    let answer = DeviceServiceClient::new(channel.clone())
        .create_device(request)
        .await?;
    answer
        .into_inner()
        .device
        .context("no device in the answer")
}

/// Uploads a recording and starts its replay.
///
/// # Errors
/// What the service answers.
pub async fn replay(
    channel: &Channel,
    file: &Path,
    device: &str,
    zone: &str,
    speed: f64,
) -> anyhow::Result<gateway::Replay> {
    let bytes = Bytes::from(std::fs::read(file)?);
    let name = file
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut parts = Vec::new();
    for start in (0..bytes.len()).step_by(256 * 1024) {
        let data = bytes.slice(start..bytes.len().min(start + 256 * 1024));
        parts.push(gateway::UploadRecordingRequest {
            name: name.clone(),
            data,
            ..gateway::UploadRecordingRequest::default()
        });
    }
    let mut client = RecordingServiceClient::new(channel.clone());
    let stored = client
        .upload_recording(tokio_stream::iter(parts))
        .await?
        .into_inner();
    let request = gateway::ReplayRecordingRequest {
        recording: stored.recording,
        device: device.into(),
        zone: zone.into(),
        speed,
        ..gateway::ReplayRecordingRequest::default()
    };
    let answer = client.replay_recording(request).await?.into_inner();
    answer.replay.context("no replay in the answer")
}

/// Waits until a replay has ended, across restarts of the gateway.
///
/// # Errors
/// Where it failed, or does not end.
pub async fn replayed(address: &str, id: &str) -> anyhow::Result<gateway::Replay> {
    let wait = async {
        let mut again = tokio::time::interval(Duration::from_millis(50));
        loop {
            again.tick().await;
            let Ok(channel) = channel(address).await else {
                continue;
            };
            let request = gateway::WatchReplayRequest {
                replay_id: id.into(),
            };
            let Ok(stream) = RecordingServiceClient::new(channel)
                .watch_replay(request)
                .await
            else {
                continue;
            };
            let mut stream = stream.into_inner();
            while let Ok(Some(answer)) = stream.message().await {
                let replay = answer.replay.unwrap_or_default();
                match replay.state() {
                    gateway::ReplayState::Completed => return Ok(replay),
                    gateway::ReplayState::Failed | gateway::ReplayState::Cancelled => {
                        bail!("the replay ended as {:?}: {}", replay.state(), replay.error)
                    }
                    _ => {}
                }
            }
        }
    };
    within("the end of the replay", wait).await?
}

/// A third party's durable JetStream consumer.
///
/// # Errors
/// Where the server refuses it.
pub async fn durable(
    client: &async_nats::Client,
    stream: &str,
    durable: &str,
    filter: &str,
) -> anyhow::Result<pull::Stream> {
    let context = async_nats::jetstream::new(client.clone());
    let stream = context.get_stream(stream).await?;
    let config = pull::Config {
        durable_name: Some(durable.into()),
        filter_subject: filter.into(),
        ack_policy: AckPolicy::Explicit,
        ..pull::Config::default()
    };
    Ok(stream
        .get_or_create_consumer(durable, config)
        .await?
        .messages()
        .await?)
}

/// All messages that a stream holds now on a filter, in order.
///
/// # Errors
/// Where the server refuses.
pub async fn stored(
    client: &async_nats::Client,
    stream: &str,
    filter: &str,
) -> anyhow::Result<Vec<async_nats::jetstream::Message>> {
    let context = async_nats::jetstream::new(client.clone());
    let stream = context.get_stream(stream).await?;
    let config = pull::Config {
        filter_subject: filter.into(),
        ack_policy: AckPolicy::None,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let count = usize::try_from(consumer.cached_info().num_pending)?;
    let messages = consumer.messages().await?.take(count);
    let all: Vec<_> = within("the stored messages", messages.collect::<Vec<_>>()).await?;
    all.into_iter().map(|message| Ok(message?)).collect()
}

/// The events that a stream holds now on a filter.
///
/// # Errors
/// Where one is not JSON.
pub async fn events(
    client: &async_nats::Client,
    stream: &str,
    filter: &str,
) -> anyhow::Result<Vec<Value>> {
    let messages = stored(client, stream, filter).await?;
    messages
        .iter()
        .map(|message| Ok(serde_json::from_slice(&message.payload)?))
        .collect()
}

/// How often each id occurs.
#[must_use]
pub fn by_id(events: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in events {
        let id = event.get("id").and_then(Value::as_str).unwrap_or_default();
        *counts.entry(id.to_owned()).or_insert(0) += 1;
    }
    counts
}
