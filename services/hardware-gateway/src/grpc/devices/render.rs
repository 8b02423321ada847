//! Devices as the API shows them.

use std::sync::atomic::{AtomicU64, Ordering};

use events::{DataSource, Name, Timestamp};
use proto::gateway::v1 as pb;

use super::super::time;
use crate::device::State as DeviceState;
use crate::driver;
use crate::health::advice::advice;
use crate::health::{Cause, ExpectedRate, Status as Health};
use crate::registry::{Discovered, Entry};
use crate::source;

/// The resource, with what was measured over the `window` seconds before `now_us`.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn render(name: &Name, entry: &Entry, window: u32, now_us: i64) -> pb::Device {
    let Entry {
        device,
        track,
        malformed,
        ..
    } = entry;
    let state = match device.state {
        DeviceState::Absent => pb::DeviceState::Unspecified,
        DeviceState::Provisioning => pb::DeviceState::Provisioning,
        DeviceState::Active => pb::DeviceState::Active,
        DeviceState::Degraded => pb::DeviceState::Degraded,
        DeviceState::Offline => pb::DeviceState::Offline,
        DeviceState::Maintenance => pb::DeviceState::Maintenance,
    };
    let measured = entry.measured(window, now_us).unwrap_or_default();
    let expected = entry.expected();
    let narrow = |value: Option<f64>| value.map(|value| value as f32);
    let causes = causes(entry, window, now_us);
    pb::Device {
        name: name.to_string(),
        zone: device.zone.clone(),
        hardware_id: device.hardware_id.clone(),
        device_type: device.device_type.clone(),
        state: state.into(),
        etag: device.etag(),
        create_time: Some(time(device.created)),
        update_time: Some(time(device.updated)),
        connect_time: device.connected.map(time),
        last_frame_time: track
            .last_frame_us
            .map(|us| time(Timestamp::from_micros(us))),
        frames_received: track.frames,
        frames_lost: track.lost,
        frames_malformed: *malformed,
        frame_rate_hz: track.rate_hz,
        rssi_dbm: track.rssi_dbm,
        subcarriers: track.subcarriers,
        antennas: track.antennas,
        channel: track.channel,
        bandwidth_mhz: track.bandwidth_mhz,
        health: health(entry).into(),
        recommended_action: causes
            .first()
            .map(|cause| cause.action.clone())
            .unwrap_or_default(),
        causes,
        loss: narrow(measured.loss),
        jitter_ms: narrow(measured.jitter_ms),
        snr_db: narrow(measured.snr_db),
        error_rate: narrow(measured.error_rate),
        expected_rate_hz: narrow(expected.rate.map(ExpectedRate::hz)),
        expected_rate_source: match expected.rate {
            None => pb::RateSource::Unspecified,
            Some(ExpectedRate::Configured(_)) => pb::RateSource::Configured,
            Some(ExpectedRate::Learned(_)) => pb::RateSource::Learned,
        }
        .into(),
        configuration: device.config.as_ref().and_then(|config| {
            let configuration = pb::DeviceConfiguration {
                sampling_rate_hz: config.sampling_rate_hz,
                bandwidth_mhz: expected.bandwidth_mhz,
                channel: expected.channel,
                applied: false,
                driver_note: String::new(),
            };
            let said = configuration != pb::DeviceConfiguration::default();
            said.then(|| pb::DeviceConfiguration {
                driver_note: driver::of(&device.device_type).note.to_owned(),
                ..configuration
            })
        }),
        deviations: deviations(entry, track.rate_hz),
        frames_suppressed: entry.suppressed,
        frames_shed: entry.shed,
        frames_rate_limited: entry.limited,
        frames_late: track.late,
        frames_duplicate: track.duplicates,
        edge_reports: entry.claims.newest().map(edge_report).collect(),
        edge_reports_received: entry.claims.received,
        data_source: entry
            .source
            .map(|source| match source {
                DataSource::Live => "live",
                DataSource::Replay => "replay",
                DataSource::Simulated => "simulated",
            })
            .unwrap_or_default()
            .to_owned(),
    }
}

fn edge_report(
    (kind, received_us, values): (&'static str, i64, Vec<(&'static str, String)>),
) -> pb::EdgeReport {
    let values = values.into_iter();
    pb::EdgeReport {
        kind: kind.to_owned(),
        receive_time: Some(time(Timestamp::from_micros(received_us))),
        values: values.map(|(key, value)| (key.to_owned(), value)).collect(),
    }
}

fn severity(status: Health) -> pb::HealthStatus {
    match status {
        Health::Healthy => pb::HealthStatus::Healthy,
        Health::Degraded => pb::HealthStatus::Degraded,
        Health::Unhealthy => pb::HealthStatus::Unhealthy,
        Health::Offline => pb::HealthStatus::Offline,
    }
}

/// Unknown until it was judged, and for what recordings feed.
fn health(entry: &Entry) -> pb::HealthStatus {
    match entry.device.state {
        DeviceState::Offline if entry.source != Some(DataSource::Replay) => {
            pb::HealthStatus::Offline
        }
        DeviceState::Active | DeviceState::Degraded
            if entry.health.judged() && entry.run.is_none() =>
        {
            severity(entry.health.status())
        }
        _ => pb::HealthStatus::Unspecified,
    }
}

fn causes(entry: &Entry, window: u32, now_us: i64) -> Vec<pb::HealthCause> {
    let measured = entry.measured(window, now_us).unwrap_or_default();
    let expected = entry.expected();
    let say = |cause: Cause, status: Health| pb::HealthCause {
        cause: cause.as_str().to_owned(),
        severity: severity(status).into(),
        action: advice(cause, &measured, &expected),
    };
    match entry.device.state {
        DeviceState::Active | DeviceState::Degraded => {
            let findings = entry.health.findings().iter();
            findings
                .map(|finding| say(finding.cause, finding.status))
                .collect()
        }
        DeviceState::Provisioning | DeviceState::Offline
            if entry.source != Some(DataSource::Replay)
                && entry.device.device_type != "recording"
                && !entry.device.hardware_id.starts_with("recording:") =>
        {
            let cause = if measured.frames == 0 && measured.malformed > 0 {
                Cause::Malformed
            } else {
                Cause::NoFrames
            };
            vec![say(cause, Health::Offline)]
        }
        _ => Vec::new(),
    }
}

/// The rate deviates by more than a tenth; bandwidth and channel by anything.
fn deviations(entry: &Entry, rate_hz: Option<f32>) -> Vec<pb::Deviation> {
    let expected = entry.expected();
    let mut all = Vec::new();
    let mut deviate = |setting: &str, expected: String, measured: String| {
        all.push(pb::Deviation {
            setting: setting.to_owned(),
            expected,
            measured,
        });
    };
    if let (Some(ExpectedRate::Configured(hz)), Some(measured)) = (expected.rate, rate_hz)
        && (f64::from(measured) - hz).abs() > hz / 10.0
    {
        deviate(
            "sampling_rate_hz",
            format!("{hz:.0}"),
            format!("{measured:.1}"),
        );
    }
    for (setting, expected, measured) in [
        (
            "bandwidth_mhz",
            expected.bandwidth_mhz,
            entry.track.bandwidth_mhz,
        ),
        ("channel", expected.channel, entry.track.channel),
    ] {
        if let (Some(expected), Some(measured)) = (expected, measured)
            && expected != measured
        {
            deviate(setting, expected.to_string(), measured.to_string());
        }
    }
    all
}

pub(super) fn render_source(one: &source::status::Status) -> pb::Source {
    let (told, totals) = (one.told(), &one.totals);
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    let (last_error, error_us) = told.error.unzip();
    pb::Source {
        name: one.name.clone(),
        kind: one.kind.to_owned(),
        address: told.address,
        open: one.is_open(),
        bytes: count(&totals.bytes),
        datagrams: count(&totals.datagrams),
        frames: count(&totals.frames),
        frames_unregistered: count(&totals.unregistered),
        malformed: count(&totals.malformed),
        kernel_drops: count(&totals.kernel_drops),
        last_receive_time: one.newest_us().map(|us| time(Timestamp::from_micros(us))),
        failures: count(&totals.failures),
        last_error: last_error.unwrap_or_default(),
        last_error_time: error_us.map(|us| time(Timestamp::from_micros(us))),
    }
}

pub(super) fn render_discovered(id: &str, found: &Discovered) -> pb::DiscoveredDevice {
    pb::DiscoveredDevice {
        hardware_id: id.to_owned(),
        ip_address: found.address.clone(),
        device_type: found.device_type.clone(),
        first_seen: Some(time(found.first_seen)),
        last_seen: Some(time(found.last_seen)),
        frames: found.frames,
    }
}
