//! `CalibrationService`.

use std::sync::Arc;

use events::{Name, Timestamp};
use proto::gateway::v1 as pb;
use proto::gateway::v1::calibration_service_server::CalibrationService;
use proto::google::longrunning::Operation;
use runtime::invalid_argument;
use tonic::{Request, Response, Status};

use super::{Reply, next_page, page_items, parse_name};
use crate::calibration::fit::is_expired;
use crate::calibration::{self, Calibrations, Kind};
use crate::error::Error;
use crate::health::Cause;
use crate::health::advice::advice;
use crate::health::meter::Measured;
use crate::registry::Entry;

/// Longest measurement, seconds.
const MOST_SECONDS: f64 = 600.0;

pub(super) struct CalibrationApi {
    pub calibrations: Arc<Calibrations>,
}

#[tonic::async_trait]
impl CalibrationService for CalibrationApi {
    async fn start_calibration(
        &self,
        request: Request<pb::StartCalibrationRequest>,
    ) -> Reply<Operation> {
        let request = request.into_inner();
        let kind = parse_kind(request.kind)?;
        let (devices, subject) = match (&*request.device, &*request.zone) {
            ("", "") => return Err(invalid_argument("device", "name a device or a zone")),
            ("", zone) => {
                let zone = parse_name("zone", zone)?;
                let registry = self.calibrations.devices.registry();
                let devices: Vec<_> = registry
                    .list("")
                    .filter(|(_, entry)| entry.device.zone == zone.as_str())
                    .map(|(name, _)| name.clone())
                    .collect();
                if devices.is_empty() {
                    return Err(Error::NotFound {
                        kind: "device in zone",
                        name: zone.to_string(),
                    }
                    .into());
                }
                (devices, format!("zones/{zone}"))
            }
            (device, "") => {
                let device = parse_name("device", device)?;
                let subject = format!("devices/{device}");
                (vec![device], subject)
            }
            _ => return Err(invalid_argument("zone", "either a device or a zone")),
        };
        let seconds = within("seconds", request.seconds, kind.seconds(), MOST_SECONDS)?;
        let timeout_s = within(
            "timeout_seconds",
            request.timeout_seconds,
            2.0 * seconds + 30.0,
            86_400.0,
        )?;
        let days = self.calibrations.valid_days;
        let request_id = request.request_id;
        let asked = calibration::Request {
            kind,
            devices,
            seconds,
            timeout_s,
            activate: request.activate,
            valid_days: within("valid_days", request.valid_days, days, 36_500.0)?,
        };
        let workflow = self.calibrations.start(asked, subject, &request_id).await?;
        Ok(Response::new(runtime::operation(&workflow)))
    }

    async fn list_calibrations(
        &self,
        request: Request<pb::ListCalibrationsRequest>,
    ) -> Reply<pb::ListCalibrationsResponse> {
        let request = request.into_inner();
        let size = page_items(request.page_size)?;
        let key = |c: &pb::Calibration| format!("{}.{}.{:06}", c.device, c.kind, c.version);
        let mut calibrations: Vec<_> = self
            .calibrations
            .store
            .list()
            .await?
            .into_iter()
            .filter(|c| request.device.is_empty() || c.device == request.device)
            .filter(|c| request.kind == 0 || c.kind == request.kind)
            .collect();
        calibrations.sort_by_key(key);
        calibrations.retain(|c| key(c) > request.page_token);
        calibrations.truncate(size + 1);
        for calibration in &mut calibrations {
            self.alarm(calibration);
        }
        for link in calibrations.iter_mut().flat_map(|c| &mut c.links) {
            link.result = None;
        }
        let next_page_token = next_page(&mut calibrations, size, key);
        Ok(Response::new(pb::ListCalibrationsResponse {
            calibrations,
            next_page_token,
        }))
    }

    async fn get_calibration(
        &self,
        request: Request<pb::GetCalibrationRequest>,
    ) -> Reply<pb::GetCalibrationResponse> {
        let request = request.into_inner();
        let device = parse_name("device", &request.device)?;
        let kind = parse_kind(request.kind)?;
        let store = &self.calibrations.store;
        let mut found = store.get(device.as_str(), kind, request.version).await?;
        self.alarm(&mut found);
        Ok(Response::new(pb::GetCalibrationResponse {
            calibration: Some(found),
        }))
    }

    async fn activate_calibration(
        &self,
        request: Request<pb::ActivateCalibrationRequest>,
    ) -> Reply<pb::ActivateCalibrationResponse> {
        let request = request.into_inner();
        let device = parse_name("device", &request.device)?;
        let kind = parse_kind(request.kind)?;
        let store = &self.calibrations.store;
        let found = store
            .activate(device.as_str(), kind, request.version)
            .await?;
        self.calibrations.changed();
        Ok(Response::new(pb::ActivateCalibrationResponse {
            calibration: Some(found),
        }))
    }

    async fn delete_calibration(
        &self,
        request: Request<pb::DeleteCalibrationRequest>,
    ) -> Reply<pb::DeleteCalibrationResponse> {
        let request = request.into_inner();
        let device = parse_name("device", &request.device)?;
        let kind = parse_kind(request.kind)?;
        if request.version == 0 {
            return Err(invalid_argument("version", "is missing"));
        }
        let store = &self.calibrations.store;
        store
            .delete(device.as_str(), kind, request.version, request.force)
            .await?;
        self.calibrations.changed();
        Ok(Response::new(pb::DeleteCalibrationResponse {}))
    }
}

impl CalibrationApi {
    /// Says what is wrong with one in use: what its time tells, and what the device's health has found.
    fn alarm(&self, calibration: &mut pb::Calibration) {
        let (Ok(kind), Ok(device)) = (
            parse_kind(calibration.kind),
            Name::new(&*calibration.device),
        ) else {
            return;
        };
        if !calibration.in_use {
            return;
        }
        let kind = kind.as_str();
        let registry = self.calibrations.devices.registry();
        let entry = registry.get(&device);
        let mut expected = entry.map(Entry::expected).unwrap_or_default();
        let found = |cause| {
            let findings = entry.map_or(&[][..], |entry| entry.health.findings());
            findings.iter().any(|finding| finding.cause == cause)
        };
        let now_us = Timestamp::now().as_micros();
        let expired = is_expired(calibration, now_us);
        let misfit = found(Cause::CalibrationMisfit)
            && expected.calibrated.fit.is_some_and(|(of, _)| of == kind);
        let drift = found(Cause::CalibrationDrift) && kind == Kind::EmptyRoom.as_str();
        expected.calibrated.expired = expired.then_some(kind);
        let alarms = [
            (expired, Cause::CalibrationExpired),
            (misfit, Cause::CalibrationMisfit),
            (drift, Cause::CalibrationDrift),
        ];
        let alarms = alarms.into_iter().filter(|(is_so, _)| *is_so);
        calibration.alarms = alarms
            .map(|(_, cause)| pb::CalibrationAlarm {
                code: cause.as_str().to_owned(),
                action: advice(cause, &Measured::default(), &expected),
            })
            .collect();
    }
}

fn parse_kind(kind: i32) -> Result<Kind, Status> {
    match pb::CalibrationKind::try_from(kind) {
        Ok(pb::CalibrationKind::NoiseFloor) => Ok(Kind::NoiseFloor),
        Ok(pb::CalibrationKind::AntennaPhase) => Ok(Kind::AntennaPhase),
        Ok(pb::CalibrationKind::EmptyRoom) => Ok(Kind::EmptyRoom),
        Ok(pb::CalibrationKind::Unspecified) | Err(_) => Err(invalid_argument(
            "kind",
            "must be noise_floor, antenna_phase or empty_room",
        )),
    }
}

/// A number from the request; 0 is `default`.
fn within(field: &str, value: f64, default: f64, most: f64) -> Result<f64, Status> {
    if value == 0.0 {
        return Ok(default);
    }
    if (0.0..=most).contains(&value) {
        Ok(value)
    } else {
        Err(invalid_argument(
            field,
            format!("{value}: must be more than 0 and at most {most}"),
        ))
    }
}
