//! gRPC: parse, call the domain, render.

use std::pin::Pin;
use std::sync::Arc;

use bytes::BytesMut;
use csi::read::Format;
use events::{Name, Timestamp};
use futures::{Stream, StreamExt};
use proto::gateway::v1 as pb;
use proto::gateway::v1::device_service_server::{DeviceService, DeviceServiceServer};
use proto::gateway::v1::recording_service_server::{RecordingService, RecordingServiceServer};
use runtime::{Runtime, invalid_argument};
use tokio::sync::broadcast::error::RecvError;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use crate::device::State as DeviceState;
use crate::error::Error;
use crate::lifecycle::{Devices, Settings};
use crate::registry::{Discovered, Entry};
use crate::source::replay::{Replay, Replays, State};

/// Items in a page where the request does not say.
const PAGE_SIZE: usize = 100;
/// Items in a page at most.
const MAX_PAGE_SIZE: usize = 1000;

type Reply<T> = Result<Response<T>, Status>;
type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub async fn serve(
    rt: &mut Runtime,
    devices: Arc<Devices>,
    replays: Arc<Replays>,
    max_recording_bytes: u64,
) -> anyhow::Result<()> {
    let mut routes = tonic::service::Routes::builder();
    routes.add_service(DeviceServiceServer::new(DeviceApi { devices }));
    routes.add_service(RecordingServiceServer::new(RecordingApi {
        replays,
        max_recording_bytes,
    }));
    rt.serve_grpc(
        routes.routes(),
        &[
            "fresnel.gateway.v1.DeviceService",
            "fresnel.gateway.v1.RecordingService",
        ],
    )
    .await?;
    Ok(())
}

struct DeviceApi {
    devices: Arc<Devices>,
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

struct RecordingApi {
    replays: Arc<Replays>,
    max_recording_bytes: u64,
}

#[tonic::async_trait]
impl RecordingService for RecordingApi {
    async fn upload_recording(
        &self,
        request: Request<Streaming<pb::UploadRecordingRequest>>,
    ) -> Reply<pb::UploadRecordingResponse> {
        let mut parts = request.into_inner();
        let (mut name, mut format, mut data) = (String::new(), String::new(), BytesMut::new());
        while let Some(part) = parts.message().await? {
            if name.is_empty() {
                name = part.name;
            }
            if format.is_empty() {
                format = part.format;
            }
            if (data.len() + part.data.len()) as u64 > self.max_recording_bytes {
                let limit = self.max_recording_bytes;
                return Err(invalid_argument(
                    "data",
                    format!("a recording may have {limit} bytes (max_recording_bytes)"),
                ));
            }
            data.extend_from_slice(&part.data);
        }
        if data.is_empty() {
            return Err(invalid_argument("data", "the recording is empty"));
        }
        let size_bytes = data.len() as u64;
        let (recording, format) = self
            .replays
            .store(&name, parse_format(&format)?, data.freeze())
            .await?;
        Ok(Response::new(pb::UploadRecordingResponse {
            recording,
            size_bytes,
            format: format.to_string(),
        }))
    }

    async fn replay_recording(
        &self,
        request: Request<pb::ReplayRecordingRequest>,
    ) -> Reply<pb::ReplayRecordingResponse> {
        let request = request.into_inner();
        let format = parse_format(&request.format)?;
        if !(request.speed.is_finite() && request.speed >= 0.0) {
            return Err(invalid_argument(
                "speed",
                format!("{} is neither positive nor 0 (unpaced)", request.speed),
            ));
        }
        let id = match &*request.request_id {
            "" => Uuid::now_v7(),
            text => parse_id("request_id", text)?,
        };
        let is_digest = request.recording.len() == 64
            && request.recording.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_digest {
            return Err(invalid_argument(
                "recording",
                "must be the id that UploadRecording gave (64 hex digits)",
            ));
        }
        let replay = Replay {
            id,
            recording: request.recording.to_ascii_lowercase(),
            file_name: String::new(),
            device: parse_name("device", &request.device)?,
            zone: parse_name("zone", &request.zone)?,
            speed: request.speed,
            format: String::new(),
            state: State::Running,
            frames_total: 0,
            frames_sent: 0,
            frames_malformed: 0,
            error: String::new(),
            started: Timestamp::now(),
            duration_s: 0.0,
        };
        let replay = self.replays.start(replay, format).await?;
        Ok(Response::new(pb::ReplayRecordingResponse {
            replay: Some(render_replay(&replay)),
        }))
    }

    async fn get_replay(
        &self,
        request: Request<pb::GetReplayRequest>,
    ) -> Reply<pb::GetReplayResponse> {
        let replay = self.replay(&request.into_inner().replay_id).await?;
        Ok(Response::new(pb::GetReplayResponse {
            replay: Some(render_replay(&replay)),
        }))
    }

    type WatchReplayStream = BoxStream<pb::WatchReplayResponse>;

    async fn watch_replay(
        &self,
        request: Request<pb::WatchReplayRequest>,
    ) -> Reply<Self::WatchReplayStream> {
        let id = request.into_inner().replay_id;
        let mut latest = self.replay(&id).await?;
        let mut progress = self.replays.watch(latest.id);
        let stream = async_stream(move |sender| async move {
            let answer = |replay: &Replay| pb::WatchReplayResponse {
                replay: Some(render_replay(replay)),
            };
            while sender.send(Ok(answer(&latest))).await.is_ok() && latest.state == State::Running {
                let Some(progress) = &mut progress else {
                    return;
                };
                tokio::select! {
                    () = sender.closed() => return,
                    changed = progress.changed() => {
                        latest = progress.borrow_and_update().clone();
                        if changed.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        Ok(Response::new(stream))
    }

    async fn cancel_replay(
        &self,
        request: Request<pb::CancelReplayRequest>,
    ) -> Reply<pb::CancelReplayResponse> {
        let id = parse_id("replay_id", &request.into_inner().replay_id)?;
        let replay = self.replays.cancel(id).await?;
        Ok(Response::new(pb::CancelReplayResponse {
            replay: Some(render_replay(&replay)),
        }))
    }
}

impl RecordingApi {
    async fn replay(&self, id: &str) -> Result<Replay, Status> {
        let id = parse_id("replay_id", id)?;
        let found = self.replays.get(id).await?;
        found.ok_or_else(|| {
            Error::NotFound {
                kind: "replay",
                name: id.to_string(),
            }
            .into()
        })
    }
}

/// A bounded stream that `produce` writes; it ends when the client goes away.
fn async_stream<T, F, Fut>(produce: F) -> BoxStream<T>
where
    T: Send + 'static,
    F: FnOnce(tokio::sync::mpsc::Sender<Result<T, Status>>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    tokio::spawn(produce(sender));
    tokio_stream::wrappers::ReceiverStream::new(receiver).boxed()
}

fn parse_name(field: &'static str, text: &str) -> Result<Name, Status> {
    Name::new(text).map_err(|source| Error::Name { field, source }.into())
}

/// A format by its name; empty means `auto`.
fn parse_format(text: &str) -> Result<Format, Status> {
    let text = if text.is_empty() { "auto" } else { text };
    text.parse()
        .map_err(|error| invalid_argument("format", format!("{error}")))
}

fn parse_id(field: &str, text: &str) -> Result<Uuid, Status> {
    Uuid::parse_str(text)
        .map_err(|error| invalid_argument(field, format!("{text:?} is no UUID: {error}")))
}

fn page_items(page_size: i32) -> Result<usize, Status> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(PAGE_SIZE),
        Ok(size) => Ok(size.min(MAX_PAGE_SIZE)),
        Err(_) => Err(invalid_argument(
            "page_size",
            format!("{page_size} is negative"),
        )),
    }
}

/// Cuts the extra item off; its predecessor's name is where the next page begins.
fn next_page<T>(items: &mut Vec<T>, size: usize, name: impl Fn(&T) -> String) -> String {
    if items.len() <= size {
        return String::new();
    }
    items.truncate(size);
    items.last().map(name).unwrap_or_default()
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

fn time(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default(),
    }
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

fn render_replay(replay: &Replay) -> pb::Replay {
    let state = match replay.state {
        State::Running => pb::ReplayState::Running,
        State::Completed => pb::ReplayState::Completed,
        State::Failed => pb::ReplayState::Failed,
        State::Cancelled => pb::ReplayState::Cancelled,
    };
    pb::Replay {
        replay_id: replay.id.to_string(),
        recording: replay.recording.clone(),
        device: replay.device.to_string(),
        zone: replay.zone.to_string(),
        speed: replay.speed,
        format: replay.format.clone(),
        state: state.into(),
        frames_total: replay.frames_total,
        frames_sent: replay.frames_sent,
        frames_malformed: replay.frames_malformed,
        error: replay.error.clone(),
        start_time: Some(time(replay.started)),
        duration_seconds: replay.duration_s,
    }
}
