//! The services, asked over gRPC: health, the model, the devices.

use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use indicatif::HumanBytes;
use proto::gateway::v1::device_service_client::DeviceServiceClient;
use proto::gateway::v1::{
    Device, DeviceState, GetReceptionRequest, GetReceptionResponse, ListDevicesRequest,
    ListDiscoveredDevicesRequest, Source,
};
use proto::pose::v1::GetModelStatusRequest;
use proto::pose::v1::get_model_status_response::State;
use proto::pose::v1::model_service_client::ModelServiceClient;
use runtime::Settings;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::Report;
use crate::client::{self, Address, SERVICES, Service};

/// Time for one answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Devices that are looked at; a line each.
const MAX_DEVICES: i32 = 100;

/// Asks each service; whether the gateway answers.
pub async fn check(report: &mut Report, settings: &Settings) -> bool {
    let mut gateway = None;
    for service in SERVICES {
        let Some(channel) = health(report, settings, service).await else {
            continue;
        };
        match service.name {
            "hardware-gateway" => gateway = Some(channel),
            "pose" => {
                let asked = within(model(report, channel)).await;
                said(report, asked, "pose does not tell its model");
            }
            _ => {}
        }
    }
    let answers = gateway.is_some();
    if let Some(channel) = gateway {
        let asked = within(devices(report, channel)).await;
        said(report, asked, "the gateway does not list its devices");
    }
    answers
}

fn said(report: &mut Report, asked: anyhow::Result<()>, what: &str) {
    if let Err(error) = asked {
        report.fail(format!("{what}: {error:#}"), "look at its log");
    }
}

async fn within(asked: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::time::timeout(PATIENCE, asked)
        .await
        .context("no answer in time")?
}

/// The channel, where the service says that it serves.
async fn health(report: &mut Report, settings: &Settings, service: Service) -> Option<Channel> {
    let section = service.name.replace('-', "_");
    let given = Address {
        address: settings.given(&format!("{section}.grpc.listen")),
    };
    let address = service.address(&given);
    let name = service.name;
    let asked = async {
        let channel = service.connect(&given).await?;
        let mut client = HealthClient::new(channel.clone());
        let answer = client.check(HealthCheckRequest::default()).await;
        let answer = answer.map_err(|status| client::refusal(&status))?;
        anyhow::Ok((answer.into_inner().status(), channel))
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok((ServingStatus::Serving, channel))) => {
            report.ok(format!("{name} at {address} serves"));
            Some(channel)
        }
        Ok(Ok((status, _))) => {
            report.fail(
                format!("{name} at {address} says {}", status.as_str_name()),
                "it is starting or stopping: look at its /readyz",
            );
            None
        }
        Ok(Err(error)) => {
            report.fail(
                format!("{name} at {address} is not reachable"),
                format!("{error:#}"),
            );
            None
        }
        Err(_) => {
            report.fail(
                format!("{name} at {address} does not answer"),
                "look at its log; restart it",
            );
            None
        }
    }
}

async fn model(report: &mut Report, channel: Channel) -> anyhow::Result<()> {
    let answer = ModelServiceClient::new(channel)
        .get_model_status(GetModelStatusRequest {})
        .await;
    let status = answer
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    if status.state() == State::Loaded {
        report.ok(format!(
            "model {} {} is loaded, {} inferences",
            status.name, status.version, status.inferences
        ));
    } else {
        report.warn(
            format!("no model, so no activities: {}", status.reason),
            "`make tools` fetches the model runtime; motion needs none",
        );
    }
    Ok(())
}

async fn devices(report: &mut Report, channel: Channel) -> anyhow::Result<()> {
    let mut client = DeviceServiceClient::new(channel);
    let heard = client.get_reception(GetReceptionRequest {}).await;
    let heard = heard
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    for one in &heard.sources {
        source(report, one);
    }
    reception(report, &heard);
    let request = ListDevicesRequest {
        page_size: MAX_DEVICES,
        ..ListDevicesRequest::default()
    };
    let answer = client
        .list_devices(request)
        .await
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    for one in &answer.devices {
        device(report, one);
    }
    if !answer.next_page_token.is_empty() {
        report.ok(format!(
            "more than {MAX_DEVICES} devices: the rest with `fresnel devices list`"
        ));
    }
    let request = ListDiscoveredDevicesRequest {
        page_size: MAX_DEVICES,
        ..ListDiscoveredDevicesRequest::default()
    };
    let found = client
        .list_discovered_devices(request)
        .await
        .map_err(|status| client::refusal(&status))?
        .into_inner()
        .devices;
    for sender in &found {
        report.warn(
            format!(
                "{} at {} sends and is not registered, {} frames",
                sender.hardware_id, sender.ip_address, sender.frames
            ),
            format!(
                "`fresnel devices create NAME --zone ZONE --hardware-id {}`",
                sender.hardware_id
            ),
        );
    }
    if answer.devices.is_empty() && found.is_empty() {
        report.warn("no device is known", "point a device at the gateway's UDP port, or `fresnel replay FILE --device NAME --zone NAME`");
    }
    Ok(())
}

/// `0 lost`, and what else was not published.
fn unpublished(device: &Device) -> String {
    let mut text = format!("{} lost", device.frames_lost);
    for (count, what) in [
        (device.frames_shed, "shed"),
        (device.frames_rate_limited, "above the rate limit"),
        (device.frames_late, "late"),
        (device.frames_duplicate, "twice"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

fn device(report: &mut Report, device: &Device) {
    let name = format!("device {} in {}", device.name, device.zone);
    let last = last(device.last_frame_time.as_ref());
    let rate = device
        .frame_rate_hz
        .map(|rate| format!(" at {rate:.1} Hz"))
        .unwrap_or_default();
    let state = device.state();
    let seen = match last {
        None => format!("{name}: no frames"),
        Some(last) => format!("{name}: last frame {last}{rate}, {}", unpublished(device)),
    };
    if state == DeviceState::Maintenance {
        report.warn(
            format!("{seen}; in maintenance, nothing is published"),
            format!("`fresnel devices maintenance {} --end`", device.name),
        );
    } else if !device.recommended_action.is_empty() {
        report.warn(seen, &device.recommended_action);
    } else {
        report.ok(seen);
    }
}

/// A socket, port or file: whether it is open, and what came of it.
fn source(report: &mut Report, source: &Source) {
    let (name, address) = (&source.name, &source.address);
    let place = if source.kind == *name {
        format!("source {name} at {address}")
    } else {
        format!("source {name} ({} at {address})", source.kind)
    };
    let bytes = HumanBytes(source.bytes);
    let read = match (source.datagrams, last(source.last_receive_time.as_ref())) {
        (0, _) => "nothing read yet".to_owned(),
        (count, at) => format!(
            "{count} datagrams or lines, {bytes}, {} frames taken{}",
            source.frames,
            at.map_or_else(String::new, |at| format!(", last {at}"))
        ),
    };
    if !source.open {
        let error = match &*source.last_error {
            "" => "it is being opened".to_owned(),
            error => format!("{error} ({} times)", source.failures.max(1)),
        };
        report.fail(
            format!("{place} is not open: {error}; {read}"),
            "it is tried again by itself: plug the port in, make the file, or free the address; see \
             hardware_gateway.sources",
        );
    } else if source.kernel_drops > 0 {
        report.warn(
            format!(
                "{place} is open, {read}; the kernel dropped {} datagrams, since the socket's buffer was full",
                source.kernel_drops
            ),
            "let it grow: `sysctl -w net.core.rmem_max=8388608`, and start the gateway again",
        );
    } else if source.last_error.is_empty() {
        report.ok(format!("{place} is open, {read}"));
    } else {
        report.warn(
            format!(
                "{place} is open again after {} failures, {read}",
                source.failures
            ),
            format!("the last one was: {}", source.last_error),
        );
    }
}

/// When, to the millisecond.
fn last(time: Option<&prost_types::Timestamp>) -> Option<String> {
    let time = time?;
    let nanos = u32::try_from(time.nanos).ok()?;
    let time = DateTime::<Utc>::from_timestamp(time.seconds, nanos)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Do datagrams arrive at all, and can they be decoded?
fn reception(report: &mut Report, heard: &GetReceptionResponse) {
    let (frames, malformed) = (heard.frames, heard.malformed);
    let fault = heard.faults.iter().max_by_key(|fault| fault.count);
    let fault = fault.map_or_else(String::new, |fault| {
        format!(" (from {}: {})", fault.sender, fault.message)
    });
    match (frames, malformed) {
        (0, 0) => report.warn(
            "no datagram has reached the gateway since it started",
            "set the device's target to this machine and the gateway's UDP port (it listens on 127.0.0.1 only, unless \
             hardware_gateway.udp.listen says otherwise), open the firewall for it, and look on the way with \
             `tcpdump -ni any udp`",
        ),
        (0, malformed) => report.fail(
            format!("{malformed} datagrams arrived, and none can be decoded{fault}"),
            "the sender speaks no format that the gateway knows, or another program sends to its port: see `fresnel decode`",
        ),
        (frames, 0) => report.ok(format!("{frames} frames arrived, all can be decoded")),
        (frames, malformed) => report.warn(
            format!("{frames} frames arrived, and {malformed} datagrams cannot be decoded{fault}"),
            "if this grows, another program sends to the same port, or datagrams are cut short",
        ),
    }
    if frames > 0 && heard.frames_unregistered == frames {
        report.warn(
            "all frames come from senders that are not registered: nothing is published",
            "register them, see below",
        );
    }
}
