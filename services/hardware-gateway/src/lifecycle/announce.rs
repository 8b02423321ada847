//! What is told of devices and senders without a command: discoveries, errors, health.

use csi::Frame;
use events::hardware::{DeviceDiscovered, DeviceError, DeviceHealthChanged};
use events::security::{Severity, ViolationDetected};
use events::types::DeviceCapabilities;
use events::{DataSource, DeviceId, DiscoveryId, Name, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::{Devices, NAMESPACE, Sender};
use crate::device::{CAUSES, State};
use crate::error::Error;
use crate::faults::{self, Report};
use crate::health::advice::{advice, no_frames};
use crate::health::{Cause, Change, Finding, Status};

impl Devices {
    /// Announces a sender that is not registered.
    ///
    /// # Errors
    /// Where the event could not be stored.
    pub async fn discovered(&self, sender: &Sender, frame: &Frame) -> Result<(), Error> {
        let id = Uuid::new_v5(&NAMESPACE, sender.hardware_id.as_bytes());
        let event = DeviceDiscovered {
            discovery_id: DiscoveryId(id),
            timestamp: Timestamp::from_micros(frame.receive_time_us),
            mac_address: sender.hardware_id.clone(),
            ip_address: Some(sender.address.clone()),
            device_type: sender.device_type.to_owned(),
            capabilities: DeviceCapabilities {
                max_subcarriers: u16::try_from(frame.layout.subcarriers.len()).ok(),
                max_antennas: Some(frame.antennas),
                supported_bandwidths: frame
                    .bandwidth_mhz
                    .iter()
                    .map(|mhz| format!("{mhz}MHz"))
                    .collect(),
                max_sampling_rate_hz: None,
            },
            firmware_version: None,
        };
        let mut envelope = self.envelope(
            Uuid::new_v5(&id, frame.receive_time_us.to_string().as_bytes()),
            &event,
        )?;
        envelope.metadata.data_source = Some(if frame.simulated {
            DataSource::Simulated
        } else {
            DataSource::Live
        });
        self.bus.publish(&envelope).await?;
        Ok(())
    }

    /// Announces errors of one device or sender.
    ///
    /// # Errors
    /// Where the event could not be stored, or the sender's name is no DNS label.
    pub async fn errors(&self, report: &Report) -> Result<(), Error> {
        self.registry().remember_fault(report);
        let device_id = DeviceId::new(&*report.device).map_err(|source| Error::Name {
            field: "device",
            source,
        })?;
        let nature = faults::nature(&report.code);
        let event = DeviceError {
            device_id,
            timestamp: Timestamp::from_micros(report.first_us),
            error_code: report.code.clone(),
            error_message: report.message.clone(),
            error_category: nature.category,
            operation: nature.operation.into(),
            stack_trace: None,
            recoverable: true,
            retry_after_ms: None,
        };
        let id = Uuid::new_v5(
            &NAMESPACE,
            format!("{}/{}/{}", report.device, report.code, report.first_us).as_bytes(),
        );
        let mut envelope = self.envelope(id, &event)?;
        envelope
            .metadata
            .extra
            .insert("count".into(), json!(report.count));
        if let Some(action) = nature.action {
            envelope
                .metadata
                .extra
                .insert("recommended_action".into(), json!(action));
        }
        self.bus.publish(&envelope).await?;
        Ok(())
    }

    /// Announces that a sender tried what it may not; `report.device` is the principal.
    ///
    /// # Errors
    /// Where the event could not be stored.
    pub async fn violation(&self, report: &Report) -> Result<(), Error> {
        let event = ViolationDetected {
            principal: report.device.clone(),
            timestamp: Timestamp::from_micros(report.first_us),
            violation_type: report.code.clone(),
            description: report.message.clone(),
            severity: match &*report.code {
                "rate_limit" => Severity::Low,
                "missing_signature" | "no_key" => Severity::Medium,
                _ => Severity::High,
            },
            user_id: None,
            source_ip: report.address.clone(),
            processing_id: None,
        };
        let cause = format!(
            "{}/{}/{}/violation",
            report.device, report.code, report.first_us
        );
        let mut envelope = self.envelope(Uuid::new_v5(&NAMESPACE, cause.as_bytes()), &event)?;
        envelope
            .metadata
            .extra
            .insert("count".into(), json!(report.count));
        self.bus.publish(&envelope).await?;
        Ok(())
    }

    /// Judges the devices at `now`, and appends how their health changed. Failures are logged: the next judgement differs again.
    pub async fn judge(&self, now: Timestamp) {
        let changes = self
            .registry()
            .judge(self.health_window, self.holds, now.as_micros());
        for (name, change) in changes {
            if let Err(error) = self.health_changed(&name, &change, now).await {
                tracing::warn!(device = %name, error = crate::error::chain(&error), "a change of health could not be stored");
            }
        }
    }

    /// Notes how the health of a device changed.
    ///
    /// # Errors
    /// Where the event could not be appended.
    pub async fn health_changed(
        &self,
        name: &Name,
        change: &Change,
        time: Timestamp,
    ) -> Result<(), Error> {
        let offline = change.status == Status::Offline;
        self.change(name, |entry| {
            let Some(entry) = entry.filter(|entry| {
                entry.device.is_connected() || (offline && entry.device.state == State::Offline)
            }) else {
                return Ok(None);
            };
            let measured = entry
                .measured(self.health_window, time.as_micros())
                .unwrap_or_default();
            let expected = entry.expected();
            let first = change.findings.first();
            let event = DeviceHealthChanged {
                device_id: DeviceId(name.clone()),
                timestamp: time,
                previous_status: entry
                    .device
                    .health
                    .map_or("unknown", Status::as_str)
                    .to_owned(),
                new_status: change.status.as_str().to_owned(),
                cpu_usage_percent: None,
                memory_usage_percent: None,
                temperature_celsius: None,
                #[allow(clippy::cast_possible_truncation)]
                error_rate: measured.error_rate.map(|rate| rate as f32),
                failure_count: u8::try_from(change.findings.len()).unwrap_or(u8::MAX),
                recommended_action: first
                    .map(|finding| advice(finding.cause, &measured, &expected)),
            };
            let cause = format!("{name}/{}/health", entry.version.number);
            let mut envelope = self.envelope(Uuid::new_v5(&NAMESPACE, cause.as_bytes()), &event)?;
            envelope.metadata.data_source = entry.source;
            envelope.metadata.method = Some("thresholds with hysteresis/1".into());
            let causes: Vec<&str> = change
                .findings
                .iter()
                .map(|finding| finding.cause.as_str())
                .collect();
            if !causes.is_empty() {
                envelope.metadata.extra.insert(CAUSES.into(), json!(causes));
            }
            for (key, value) in entry.claims.metadata(time.as_micros()) {
                envelope.metadata.extra.insert(key.into(), value.into());
            }
            Ok(Some(envelope))
        })
        .await
    }

    /// A device that is no longer heard: its disconnect, then its health.
    ///
    /// # Errors
    /// Where an event could not be appended.
    pub async fn lost(&self, name: &Name, time: Timestamp) -> Result<(), Error> {
        use events::hardware::DisconnectReason::Timeout;
        tracing::info!(device = %name, "{}", no_frames());
        self.disconnected(name, Timeout, time, None).await?;
        let finding = Finding {
            cause: Cause::NoFrames,
            status: Status::Offline,
        };
        let change = Change {
            status: Status::Offline,
            findings: vec![finding],
        };
        self.health_changed(name, &change, time).await
    }
}
