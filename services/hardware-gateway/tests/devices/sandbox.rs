//! A nats-server and a gateway of its own for each test.

use std::future::Future;
use std::net::UdpSocket;
use std::time::Duration;

use bus::server::{self, Server, ServerConfig};
use bus::{Bus, Follow, From, Tail};
use events::EventEnvelope;
use proto::gateway::v1 as pb;
use proto::gateway::v1::device_service_client::DeviceServiceClient;
use proto::gateway::v1::zone_service_client::ZoneServiceClient;
use runtime::{Process, Settings, Started};
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

/// The bound after which a test that waits has failed.
const FAILED: Duration = Duration::from_secs(60);

pub async fn within<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(FAILED, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come within {FAILED:?}"))
}

pub struct Sandbox {
    pub bus: Bus,
    pub devices: DeviceServiceClient<Channel>,
    pub zones: ZoneServiceClient<Channel>,
    pub channel: Channel,
    pub socket: UdpSocket,
    service: Option<(Process, Started)>,
    server: Server,
    _data: TempDir,
}

impl Sandbox {
    /// Health is judged soon, so that a test need not wait for long.
    pub async fn start() -> Self {
        let binary = server::find(None).expect("a nats-server");
        let data = tempfile::tempdir().unwrap();
        let server = Server::start(ServerConfig::new(binary, data.path().join("nats")))
            .await
            .unwrap();
        let config = bus::Config {
            url: server.url(),
            storage_scale: 0.1,
            ..bus::Config::default()
        };
        let bus = Bus::connect(config).await.unwrap();
        let (service, channel, socket) = gateway(&server, "").await;
        Self {
            bus,
            devices: DeviceServiceClient::new(channel.clone()),
            zones: ZoneServiceClient::new(channel.clone()),
            channel,
            socket,
            service: Some(service),
            server,
            _data: data,
        }
    }

    pub async fn restart(&mut self) {
        let (process, _) = self.service.take().unwrap();
        process.stop().await;
        let (service, channel, socket) = gateway(&self.server, "").await;
        self.devices = DeviceServiceClient::new(channel.clone());
        self.zones = ZoneServiceClient::new(channel.clone());
        (self.channel, self.socket) = (channel, socket);
        self.service = Some(service);
    }

    /// Another gateway beside this one, under a name of its own.
    pub async fn another(&self, instance: &str) -> Process {
        let ((process, _), ..) = gateway(&self.server, instance).await;
        process
    }

    pub async fn create(&mut self, name: &str, zone: &str, hardware_id: &str) -> pb::Device {
        let request = pb::CreateDeviceRequest {
            device: Some(pb::Device {
                name: name.into(),
                zone: zone.into(),
                hardware_id: hardware_id.into(),
                device_type: "esp32-adr018".into(),
                ..pb::Device::default()
            }),
            ..pb::CreateDeviceRequest::default()
        };
        let answer = self.devices.create_device(request).await.unwrap();
        answer.into_inner().device.unwrap()
    }

    pub async fn get(&mut self, name: &str) -> pb::Device {
        let request = pb::GetDeviceRequest { name: name.into() };
        let answer = self.devices.get_device(request).await.unwrap();
        answer.into_inner().device.unwrap()
    }

    /// Events from now on.
    pub async fn follow(&self, filter: &str) -> Follow {
        self.bus
            .follow(&[filter.to_owned()], From::New)
            .await
            .unwrap()
    }

    /// The data plane.
    pub async fn data(&self, name: &str, filters: &[&str]) -> Tail {
        let filters: Vec<String> = filters.iter().map(|f| (*f).to_owned()).collect();
        self.bus.tail(name, &filters).await.unwrap()
    }

    /// Sends a valid frame of ADR-018 node 7.
    pub fn send(&self, sequence: u32) {
        self.socket.send(&datagram(sequence, -50)).unwrap();
    }

    pub async fn stop(mut self) {
        let (process, _) = self.service.take().unwrap();
        process.stop().await;
    }
}

async fn gateway(server: &Server, instance: &str) -> ((Process, Started), Channel, UdpSocket) {
    let settings = format!(
        "[instance]\nname = \"{instance}\"\n[nats]\nurl = \"{}\"\nstorage_scale = 0.1\n[hardware_gateway]\ndevice_timeout_s = 1.5\n\
         calibration_check_s = 0.2\ncalibration_drift_windows = 3\n\
         [hardware_gateway.health]\nwindow_s = 1\nraise_after_s = 0.5\nclear_after_s = 0.5\n",
        server.url()
    );
    let process = Process::new(Settings::explicit(&settings).unwrap()).unwrap();
    let started = process
        .start("hardware-gateway", hardware_gateway::start)
        .await
        .unwrap();
    let channel = Channel::from_shared(format!("http://{}", started.grpc.unwrap()))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = started.announced.iter().find(|(name, _)| *name == "udp");
    socket.connect(udp.unwrap().1).unwrap();
    ((process, started), channel, socket)
}

/// A datagram of node 7, byte by byte as the firmware writes it: channel 6, 20 MHz, 64 subcarriers.
pub fn datagram(sequence: u32, rssi: i8) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(0xC511_0001_u32.to_le_bytes());
    bytes.extend([7, 1]);
    bytes.extend(64_u16.to_le_bytes());
    bytes.extend(2437_u32.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(rssi.to_le_bytes());
    bytes.extend((-92_i8).to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend((0..128_u8).map(|k| k % 50));
    bytes
}

pub async fn next(follow: &mut Follow, what: &str) -> EventEnvelope {
    within(what, follow.next()).await.unwrap().event
}

/// The reason of a refusal.
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().map(|info| info.reason.clone());
    info.unwrap_or_default()
}
