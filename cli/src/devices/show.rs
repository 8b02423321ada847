//! Devices as JSON and as tables.

use comfy_table::Table;
use proto::gateway::v1::{
    Device, DeviceConfiguration, DeviceState, DiscoveredDevice, HealthStatus, RateSource,
};
use serde_json::{Value, json};

use crate::client::printable;
use crate::show::{dash, or_dash, table, time, without_nulls};

pub fn device_table(devices: &[Device]) -> Table {
    let mut table = table([
        "NAME",
        "ZONE",
        "STATE",
        "HEALTH",
        "TYPE",
        "SENDER",
        "RATE",
        "RSSI",
        "FRAMES",
        "LOST",
        "MALFORMED",
        "LAST FRAME",
    ]);
    for device in devices {
        table.add_row([
            printable(&device.name),
            printable(&device.zone),
            state(device).to_owned(),
            health(device.health()).to_owned(),
            or_dash(printable(&device.device_type)),
            or_dash(printable(&device.hardware_id)),
            device
                .frame_rate_hz
                .map_or_else(dash, |rate| format!("{rate:.1} Hz")),
            device
                .rssi_dbm
                .map_or_else(dash, |rssi| format!("{rssi:.0} dBm")),
            device.frames_received.to_string(),
            device.frames_lost.to_string(),
            device.frames_malformed.to_string(),
            device.last_frame_time.as_ref().map_or_else(dash, time),
        ]);
    }
    table
}

pub fn discovered_table(devices: &[DiscoveredDevice]) -> Table {
    let mut table = table([
        "SENDER",
        "ADDRESS",
        "TYPE",
        "FRAMES",
        "FIRST SEEN",
        "LAST SEEN",
    ]);
    for device in devices {
        table.add_row([
            printable(&device.hardware_id),
            or_dash(printable(&device.ip_address)),
            or_dash(printable(&device.device_type)),
            device.frames.to_string(),
            device.first_seen.as_ref().map_or_else(dash, time),
            device.last_seen.as_ref().map_or_else(dash, time),
        ]);
    }
    table
}

pub fn device_json(device: &Device) -> Value {
    let some = |count: u64| (count > 0).then_some(count);
    without_nulls(json!({
        "name": device.name,
        "zone": device.zone,
        "hardware_id": device.hardware_id,
        "device_type": device.device_type,
        "state": state(device),
        "etag": device.etag,
        "create_time": device.create_time.as_ref().map(time),
        "update_time": device.update_time.as_ref().map(time),
        "connect_time": device.connect_time.as_ref().map(time),
        "last_frame_time": device.last_frame_time.as_ref().map(time),
        "frames_received": device.frames_received,
        "frames_lost": device.frames_lost,
        "frames_malformed": device.frames_malformed,
        "frame_rate_hz": device.frame_rate_hz,
        "rssi_dbm": device.rssi_dbm,
        "subcarriers": device.subcarriers,
        "antennas": device.antennas,
        "channel": device.channel,
        "bandwidth_mhz": device.bandwidth_mhz,
        "health": health(device.health()),
        "causes": (!device.causes.is_empty()).then(|| causes(device)),
        "recommended_action": (!device.recommended_action.is_empty()).then_some(&device.recommended_action),
        "loss": device.loss,
        "jitter_ms": device.jitter_ms,
        "snr_db": device.snr_db,
        "error_rate": device.error_rate,
        "expected_rate_hz": device.expected_rate_hz,
        "expected_rate_source": rate_source(device),
        "configuration": device.configuration.as_ref().map(configuration),
        "deviations": (!device.deviations.is_empty()).then(|| deviations(device)),
        "frames_suppressed": some(device.frames_suppressed),
        "frames_shed": some(device.frames_shed),
        "frames_rate_limited": some(device.frames_rate_limited),
        "frames_late": some(device.frames_late),
        "frames_duplicate": some(device.frames_duplicate),
        "device_claims": edge_reports(device),
        "data_source": (!device.data_source.is_empty()).then_some(&device.data_source),
    }))
}

pub fn discovered_json(device: &DiscoveredDevice) -> Value {
    without_nulls(json!({
        "hardware_id": device.hardware_id,
        "ip_address": device.ip_address,
        "device_type": device.device_type,
        "first_seen": device.first_seen.as_ref().map(time),
        "last_seen": device.last_seen.as_ref().map(time),
        "frames": device.frames,
    }))
}

pub fn state(device: &Device) -> &'static str {
    match device.state() {
        DeviceState::Unspecified => "unknown",
        DeviceState::Provisioning => "provisioning",
        DeviceState::Active => "active",
        DeviceState::Degraded => "degraded",
        DeviceState::Offline => "offline",
        DeviceState::Maintenance => "maintenance",
    }
}

/// The health in a word.
pub fn health(status: HealthStatus) -> &'static str {
    match status {
        HealthStatus::Unspecified => "unknown",
        HealthStatus::Healthy => "healthy",
        HealthStatus::Degraded => "degraded",
        HealthStatus::Unhealthy => "unhealthy",
        HealthStatus::Offline => "offline",
    }
}

fn causes(device: &Device) -> Vec<Value> {
    let cause = |cause: &proto::gateway::v1::HealthCause| json!({"cause": cause.cause, "severity": health(cause.severity()), "action": cause.action});
    device.causes.iter().map(cause).collect()
}

/// What the device itself says, by kind.
fn edge_reports(device: &Device) -> Option<Value> {
    let reports = device.edge_reports.iter().map(|report| {
        let values: serde_json::Map<_, _> = report
            .values
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().into()))
            .collect();
        let received = report.receive_time.as_ref().map(time);
        json!({"kind": report.kind, "receive_time": received, "values": values})
    });
    let note = "what the device itself says, checked by nobody";
    (device.edge_reports_received > 0).then(|| {
        json!({"note": note, "received": device.edge_reports_received, "newest": reports.collect::<Vec<_>>()})
    })
}

fn rate_source(device: &Device) -> Option<&'static str> {
    match device.expected_rate_source() {
        RateSource::Unspecified => None,
        RateSource::Configured => Some("configured"),
        RateSource::Learned => Some("learned"),
    }
}

fn configuration(configuration: &DeviceConfiguration) -> Value {
    without_nulls(json!({
        "sampling_rate_hz": configuration.sampling_rate_hz,
        "bandwidth_mhz": configuration.bandwidth_mhz,
        "channel": configuration.channel,
        "applied": configuration.applied,
        "driver_note": configuration.driver_note,
    }))
}

fn deviations(device: &Device) -> Vec<Value> {
    let deviation = |deviation: &proto::gateway::v1::Deviation| json!({"setting": deviation.setting, "expected": deviation.expected, "measured": deviation.measured});
    device.deviations.iter().map(deviation).collect()
}
