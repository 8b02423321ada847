//! `DeviceService`.

use std::sync::Arc;

use events::{Name, Timestamp};
use proto::gateway::v1 as pb;
use proto::gateway::v1::device_service_server::DeviceService;
use runtime::invalid_argument;
use tokio::sync::broadcast::error::RecvError;
use tonic::{Request, Response, Status};

use super::{BoxStream, Reply, async_stream, next_page, page_items, parse_name, time};
use crate::device::State as DeviceState;
use crate::error::Error;
use crate::lifecycle::{Devices, Settings};
use crate::registry::{Discovered, Entry};

pub(super) struct DeviceApi {
    pub devices: Arc<Devices>,
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
            device: Some(render(&name, &entry)),
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
            device: Some(render(&name, entry)),
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
            .map(|(name, entry)| render(name, entry))
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
            device: Some(render(&name, &entry)),
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
                    let answer = match devices.registry().get(&name) {
                        Some(entry) => pb::WatchDevicesResponse {
                            device: Some(render(&name, entry)),
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

fn render(name: &Name, entry: &Entry) -> pb::Device {
    let Entry {
        device,
        track,
        malformed,
        ..
    } = entry;
    let state = match device.state {
        DeviceState::Absent => pb::DeviceState::Unspecified,
        DeviceState::Provisioned => pb::DeviceState::Provisioned,
        DeviceState::Connected => pb::DeviceState::Connected,
        DeviceState::Disconnected => pb::DeviceState::Disconnected,
    };
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
    }
}

fn render_discovered(id: &str, found: &Discovered) -> pb::DiscoveredDevice {
    pb::DiscoveredDevice {
        hardware_id: id.to_owned(),
        ip_address: found.address.clone(),
        device_type: found.device_type.clone(),
        first_seen: Some(time(found.first_seen)),
        last_seen: Some(time(found.last_seen)),
        frames: found.frames,
    }
}
