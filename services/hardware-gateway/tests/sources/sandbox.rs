//! A nats-server and a gateway of its own for each test; what comes in is read back from the bus.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bus::server::{self, Server, ServerConfig};
use bus::{Bus, Follow, From};
use events::EventEnvelope;
use proto::gateway::v1 as gateway;
use proto::gateway::v1::device_service_client::DeviceServiceClient;
use runtime::{Process, Settings, Started};
use tempfile::TempDir;
use tonic::transport::Channel;

/// The bound after which a test that waits has failed.
const FAILED: Duration = Duration::from_secs(120);

pub async fn within<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(FAILED, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come within {FAILED:?}"))
}

pub struct Sandbox {
    _server: Server,
    bus: Bus,
    process: Process,
    started: Started,
    _dir: TempDir,
}

impl Sandbox {
    /// `config` is the gateway's own section, as TOML; `DIR` in it is the sandbox's folder.
    pub async fn start(config: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config).await
    }

    pub async fn start_in(dir: TempDir, config: &str) -> Self {
        let binary = server::find(None).expect("a nats-server");
        let server = Server::start(ServerConfig::new(binary, dir.path().join("nats")))
            .await
            .unwrap();
        let common = format!(
            "[nats]\nurl = '{}'\nstorage_scale = 0.1\nconnect_timeout_s = 60.0\npublish_timeout_s = 60.0\n\
             [hardware_gateway]\n",
            server.url()
        );
        let own = config.replace("DIR", &dir.path().display().to_string());
        let mut settings = Settings::explicit(&(common + &own)).unwrap();
        for listen in ["grpc", "admin", "udp"] {
            let key = format!("hardware_gateway.{listen}.listen");
            settings.set(&key, "127.0.0.1:0").unwrap();
        }
        let process = Process::new(settings).unwrap();
        let started = process
            .start("hardware-gateway", hardware_gateway::start)
            .await
            .unwrap();
        let bus = Bus::connect(bus::Config {
            url: server.url(),
            name: "test".to_owned(),
            storage_scale: 0.1,
            connect_timeout_s: 60.0,
            publish_timeout_s: 60.0,
            ..bus::Config::default()
        })
        .await
        .unwrap();
        Self {
            _server: server,
            bus,
            process,
            started,
            _dir: dir,
        }
    }

    pub fn address(&self, source: &str) -> SocketAddr {
        let announced = &self.started.announced;
        let found = announced.iter().find(|(name, _)| *name == source);
        found
            .unwrap_or_else(|| panic!("{source} in {announced:?}"))
            .1
    }

    pub async fn register(&self, name: &str, hardware_id: &str) {
        let device = gateway::Device {
            name: name.into(),
            zone: "lab".into(),
            hardware_id: hardware_id.into(),
            ..gateway::Device::default()
        };
        let request = gateway::CreateDeviceRequest {
            device: Some(device),
            ..gateway::CreateDeviceRequest::default()
        };
        let mut client = self.devices().await;
        client.create_device(request).await.unwrap();
    }

    pub async fn devices(&self) -> DeviceServiceClient<Channel> {
        let grpc = format!("http://{}", self.started.grpc.unwrap());
        DeviceServiceClient::connect(grpc).await.unwrap()
    }

    pub async fn follow(&self, event_type: &str) -> Events {
        let filters = [event_type.to_owned()];
        Events(self.bus.follow(&filters, From::Start).await.unwrap())
    }

    /// All events of a type that are stored now.
    pub async fn stored(&self, event_type: &str) -> Vec<EventEnvelope> {
        let all = self.bus.replay(event_type, From::Start).await.unwrap();
        all.into_iter().map(|delivery| delivery.event).collect()
    }

    pub async fn stop(self) {
        self.process.stop().await;
    }
}

pub struct Events(Follow);

impl Events {
    /// The next event that `wanted` takes.
    pub async fn find(
        &mut self,
        what: &str,
        wanted: impl Fn(&EventEnvelope) -> bool,
    ) -> EventEnvelope {
        within(what, async {
            loop {
                let event = self.0.next().await.unwrap().event;
                if wanted(&event) {
                    return event;
                }
            }
        })
        .await
    }

    /// The next error with this code.
    pub async fn error(&mut self, code: &str) -> EventEnvelope {
        self.find(code, |event| event.payload["error_code"] == code)
            .await
    }

    /// Waits for the announcement of a frame.
    pub async fn frame(&mut self, device: &str, sequence: u64) -> EventEnvelope {
        let what = format!("frame {sequence} of {device}");
        self.find(&what, |event| {
            event.payload["device_id"] == device && event.payload["sequence_number"] == sequence
        })
        .await
    }
}
