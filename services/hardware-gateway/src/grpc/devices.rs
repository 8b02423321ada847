//! `DeviceService`.

mod render;

use std::sync::Arc;

use events::hardware::DeviceConfig;
use events::{Name, Timestamp};
use proto::gateway::v1 as pb;
use proto::gateway::v1::device_service_server::DeviceService;
use runtime::invalid_argument;
use tokio::sync::broadcast::error::RecvError;
use tonic::{Request, Response, Status};

use super::{BoxStream, Reply, async_stream, next_page, page_items, parse_name, time};
use crate::error::Error;
use crate::lifecycle::{Devices, Settings};
use crate::registry::Entry;
use crate::source;
use render::{render, render_discovered, render_source};

pub(super) struct DeviceApi {
    pub devices: Arc<Devices>,
    pub sources: Vec<Arc<source::status::Status>>,
}

#[tonic::async_trait]
impl DeviceService for DeviceApi {
    async fn create_device(
        &self,
        request: Request<pb::CreateDeviceRequest>,
    ) -> Reply<pb::CreateDeviceResponse> {
        let pb::CreateDeviceRequest {
            device,
            request_id,
            validate_only,
        } = request.into_inner();
        let device = device.ok_or_else(|| invalid_argument("device", "is missing"))?;
        let name = parse_name("device.name", &device.name)?;
        let mut settings = settings(&device);
        if settings.hardware_id.is_empty() {
            // A device that only recordings feed needs no hardware.
            settings.hardware_id = format!("recording:{name}");
        }
        let entry = self
            .devices
            .create(&name, settings, &request_id, validate_only)
            .await?;
        Ok(Response::new(pb::CreateDeviceResponse {
            device: Some(self.render(&name, &entry)),
        }))
    }

    async fn get_device(
        &self,
        request: Request<pb::GetDeviceRequest>,
    ) -> Reply<pb::GetDeviceResponse> {
        let name = parse_name("name", &request.into_inner().name)?;
        let registry = self.devices.registry();
        let entry = registry.get(&name).ok_or_else(|| not_found(&name))?;
        Ok(Response::new(pb::GetDeviceResponse {
            device: Some(self.render(&name, entry)),
        }))
    }

    async fn list_devices(
        &self,
        request: Request<pb::ListDevicesRequest>,
    ) -> Reply<pb::ListDevicesResponse> {
        let pb::ListDevicesRequest {
            page_size,
            page_token,
            zone,
        } = request.into_inner();
        let size = page_items(page_size)?;
        let registry = self.devices.registry();
        let matching = registry
            .list(&page_token)
            .filter(|(_, entry)| zone.is_empty() || entry.device.zone == zone);
        let mut devices: Vec<_> = matching
            .take(size + 1)
            .map(|(name, entry)| self.render(name, entry))
            .collect();
        let next_page_token = next_page(&mut devices, size, |device| device.name.clone());
        Ok(Response::new(pb::ListDevicesResponse {
            devices,
            next_page_token,
        }))
    }

    async fn update_device(
        &self,
        request: Request<pb::UpdateDeviceRequest>,
    ) -> Reply<pb::UpdateDeviceResponse> {
        let pb::UpdateDeviceRequest {
            device,
            update_mask,
            validate_only,
        } = request.into_inner();
        let device = device.ok_or_else(|| invalid_argument("device", "is missing"))?;
        let name = parse_name("device.name", &device.name)?;
        let new = settings(&device);
        let paths = update_mask.map(|mask| mask.paths).unwrap_or_default();
        let edit = |settings: &mut Settings| {
            if paths.is_empty() {
                // AIP-134: without a mask, the fields that are set.
                for (field, value) in fields(settings).into_iter().zip([
                    &new.zone,
                    &new.hardware_id,
                    &new.device_type,
                ]) {
                    if !value.is_empty() {
                        field.1.clone_from(value);
                    }
                }
            }
            for path in &paths {
                let slots = fields(settings).into_iter().zip([
                    &new.zone,
                    &new.hardware_id,
                    &new.device_type,
                ]);
                let found = slots
                    .into_iter()
                    .find(|(slot, _)| slot.0 == path || path == "*");
                match found {
                    Some(((_, slot), value)) => slot.clone_from(value),
                    None => {
                        return Err(Error::Invalid {
                            field: "update_mask",
                            problem: format!(
                                "{path:?} cannot be changed; zone, hardware_id and device_type can"
                            ),
                        });
                    }
                }
            }
            Ok(())
        };
        let entry = self
            .devices
            .update(&name, &device.etag, validate_only, edit)
            .await?;
        Ok(Response::new(pb::UpdateDeviceResponse {
            device: Some(self.render(&name, &entry)),
        }))
    }

    async fn delete_device(
        &self,
        request: Request<pb::DeleteDeviceRequest>,
    ) -> Reply<pb::DeleteDeviceResponse> {
        let pb::DeleteDeviceRequest { name, etag } = request.into_inner();
        self.devices
            .delete(&parse_name("name", &name)?, &etag)
            .await?;
        Ok(Response::new(pb::DeleteDeviceResponse {}))
    }

    async fn configure_device(
        &self,
        request: Request<pb::ConfigureDeviceRequest>,
    ) -> Reply<pb::ConfigureDeviceResponse> {
        let pb::ConfigureDeviceRequest {
            name,
            configuration,
            update_mask,
            etag,
            validate_only,
            request_id,
        } = request.into_inner();
        let name = parse_name("name", &name)?;
        let new = configuration.ok_or_else(|| invalid_argument("configuration", "is missing"))?;
        let channel = new
            .channel
            .map(u8::try_from)
            .transpose()
            .map_err(|_| invalid_argument("configuration.channel", "is no channel number"))?;
        let mut paths = update_mask.map(|mask| mask.paths).unwrap_or_default();
        if let Some(path) = paths
            .iter()
            .find(|path| *path != "*" && !SETTINGS.contains(&path.as_str()))
        {
            return Err(invalid_argument(
                "update_mask",
                format!("{path:?} cannot be configured; {} can", SETTINGS.join(", ")),
            ));
        }
        if paths.is_empty() {
            // AIP-134: without a mask, the fields that are set.
            let set = [
                new.sampling_rate_hz.is_some(),
                new.bandwidth_mhz.is_some(),
                new.channel.is_some(),
            ];
            let named = SETTINGS.iter().zip(set).filter(|(_, set)| *set);
            paths = named.map(|(path, _)| (*path).to_owned()).collect();
        }
        if paths.is_empty() {
            return Err(invalid_argument("configuration", "says nothing"));
        }
        let named = |path: &str| paths.iter().any(|p| p == path || p == "*");
        let edit = |config: &mut DeviceConfig| {
            if named("sampling_rate_hz") {
                config.sampling_rate_hz = new.sampling_rate_hz;
            }
            if named("bandwidth_mhz") {
                config.bandwidth = new.bandwidth_mhz.map(|mhz| format!("{mhz}MHz"));
            }
            if named("channel") {
                config.channel = channel;
            }
            Ok(())
        };
        let entry = self
            .devices
            .configure(&name, &etag, &request_id, validate_only, edit)
            .await?;
        Ok(Response::new(pb::ConfigureDeviceResponse {
            device: Some(self.render(&name, &entry)),
        }))
    }

    async fn enter_maintenance(
        &self,
        request: Request<pb::EnterMaintenanceRequest>,
    ) -> Reply<pb::EnterMaintenanceResponse> {
        let pb::EnterMaintenanceRequest {
            name,
            etag,
            validate_only,
        } = request.into_inner();
        let name = parse_name("name", &name)?;
        let entry = self
            .devices
            .enter_maintenance(&name, &etag, validate_only)
            .await?;
        Ok(Response::new(pb::EnterMaintenanceResponse {
            device: Some(self.render(&name, &entry)),
        }))
    }

    async fn leave_maintenance(
        &self,
        request: Request<pb::LeaveMaintenanceRequest>,
    ) -> Reply<pb::LeaveMaintenanceResponse> {
        let pb::LeaveMaintenanceRequest {
            name,
            etag,
            validate_only,
        } = request.into_inner();
        let name = parse_name("name", &name)?;
        let entry = self
            .devices
            .leave_maintenance(&name, &etag, validate_only)
            .await?;
        Ok(Response::new(pb::LeaveMaintenanceResponse {
            device: Some(self.render(&name, &entry)),
        }))
    }

    async fn get_reception(
        &self,
        _: Request<pb::GetReceptionRequest>,
    ) -> Reply<pb::GetReceptionResponse> {
        let registry = self.devices.registry();
        let reception = registry.reception();
        let faults = registry.faults().map(|fault| pb::SenderFault {
            sender: fault.device.clone(),
            code: fault.code.clone(),
            message: fault.message.clone(),
            count: fault.count,
            time: Some(time(Timestamp::from_micros(fault.first_us))),
        });
        Ok(Response::new(pb::GetReceptionResponse {
            frames: reception.frames,
            frames_unregistered: reception.unregistered,
            frames_suppressed: reception.suppressed,
            malformed: reception.malformed,
            last_frame_time: reception
                .last_frame_us
                .map(|us| time(Timestamp::from_micros(us))),
            faults: faults.collect(),
            sources: self.sources.iter().map(|one| render_source(one)).collect(),
        }))
    }

    type WatchDevicesStream = BoxStream<pb::WatchDevicesResponse>;

    async fn watch_devices(
        &self,
        request: Request<pb::WatchDevicesRequest>,
    ) -> Reply<Self::WatchDevicesStream> {
        let only = request.into_inner().name;
        let only = if only.is_empty() {
            None
        } else {
            Some(parse_name("name", &only)?)
        };
        // Subscribed before the list is read, so that no change falls between.
        let mut changes = self.devices.changes();
        let devices = Arc::clone(&self.devices);
        let stream = async_stream(move |sender| async move {
            let mut names: Vec<Name> = devices
                .registry()
                .list("")
                .map(|(name, _)| name.clone())
                .collect();
            loop {
                for name in names.drain(..) {
                    if only.as_ref().is_some_and(|only| *only != name) {
                        continue;
                    }
                    let now_us = Timestamp::now().as_micros();
                    let answer = match devices.registry().get(&name) {
                        Some(entry) => pb::WatchDevicesResponse {
                            device: Some(render(&name, entry, devices.health_window, now_us)),
                            deleted: false,
                        },
                        None => pb::WatchDevicesResponse {
                            device: Some(pb::Device {
                                name: name.to_string(),
                                ..pb::Device::default()
                            }),
                            deleted: true,
                        },
                    };
                    if sender.send(Ok(answer)).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    () = sender.closed() => return,
                    change = changes.recv() => match change {
                        Ok(name) => names.push(name),
                        Err(RecvError::Lagged(_)) => {
                            names.extend(devices.registry().list("").map(|(name, _)| name.clone()));
                        }
                        Err(RecvError::Closed) => return,
                    },
                }
            }
        });
        Ok(Response::new(stream))
    }

    async fn list_discovered_devices(
        &self,
        request: Request<pb::ListDiscoveredDevicesRequest>,
    ) -> Reply<pb::ListDiscoveredDevicesResponse> {
        let pb::ListDiscoveredDevicesRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let size = page_items(page_size)?;
        let registry = self.devices.registry();
        let mut devices: Vec<_> = registry
            .list_discovered(&page_token)
            .take(size + 1)
            .map(|(id, found)| render_discovered(id, found))
            .collect();
        let next_page_token = next_page(&mut devices, size, |device| device.hardware_id.clone());
        Ok(Response::new(pb::ListDiscoveredDevicesResponse {
            devices,
            next_page_token,
        }))
    }
}

fn not_found(name: &Name) -> Status {
    Error::NotFound {
        kind: "device",
        name: name.to_string(),
    }
    .into()
}

fn settings(device: &pb::Device) -> Settings {
    Settings {
        zone: device.zone.clone(),
        hardware_id: device.hardware_id.clone(),
        device_type: device.device_type.clone(),
    }
}

fn fields(settings: &mut Settings) -> [(&'static str, &mut String); 3] {
    [
        ("zone", &mut settings.zone),
        ("hardware_id", &mut settings.hardware_id),
        ("device_type", &mut settings.device_type),
    ]
}

/// What can be configured.
const SETTINGS: [&str; 3] = ["sampling_rate_hz", "bandwidth_mhz", "channel"];

impl DeviceApi {
    fn render(&self, name: &Name, entry: &Entry) -> pb::Device {
        render(
            name,
            entry,
            self.devices.health_window,
            Timestamp::now().as_micros(),
        )
    }
}
