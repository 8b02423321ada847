//! A nats-server and a signal service of its own for each test.

use std::future::Future;
use std::time::Duration;

use bus::server::{self, Server, ServerConfig};
use bus::{Bus, From};
use events::EventEnvelope;
use runtime::{Process, Settings, Started};
use signal::Input;
use tempfile::TempDir;

/// The bound after which a test that waits has failed.
const FAILED: Duration = Duration::from_secs(60);
/// A test needs little room, whatever the disk has left.
const STORAGE_SCALE: &str = "0.1";

pub async fn within<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(FAILED, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come within {FAILED:?}"))
}

pub struct Sandbox {
    server: Server,
    bus: Bus,
    settings: Vec<(&'static str, &'static str)>,
    service: Option<(Process, Started)>,
    _data: TempDir,
}

impl Sandbox {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With these settings of the service.
    pub async fn with(settings: &[(&'static str, &'static str)]) -> Self {
        let binary = server::find(None).expect("a nats-server");
        let data = tempfile::tempdir().unwrap();
        let server = Server::start(ServerConfig::new(binary, data.path().join("nats")))
            .await
            .unwrap();
        let config = bus::Config {
            url: server.url(),
            name: "test".to_owned(),
            storage_scale: STORAGE_SCALE.parse().unwrap(),
            connect_timeout_s: 60.0,
            publish_timeout_s: 60.0,
            ..bus::Config::default()
        };
        let bus = Bus::connect(config).await.unwrap();
        let service = Some(service(&server, settings).await);
        Self {
            server,
            bus,
            settings: settings.to_vec(),
            service,
            _data: data,
        }
    }

    pub fn grpc(&self) -> String {
        let (_, started) = self.service.as_ref().unwrap();
        format!("http://{}", started.grpc.unwrap())
    }

    pub async fn restart(&mut self) {
        let (process, _) = self.service.take().unwrap();
        process.stop().await;
        self.service = Some(service(&self.server, &self.settings).await);
    }

    /// Ends the service at once, in the midst of whatever it does, and starts it again.
    pub async fn crash(&mut self) {
        drop(self.service.take());
        self.service = Some(service(&self.server, &self.settings).await);
    }

    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    pub async fn stop(mut self) {
        let (process, _) = self.service.take().unwrap();
        process.stop().await;
    }

    /// As the gateway does it.
    pub async fn publish(&self, inputs: &[Input]) {
        let pipeline = self.bus.pipeline(512);
        for input in inputs {
            let published = &input.published;
            let subject = format!("data.csi.{}.{}", published.zone, published.device);
            let payload = csi::wire::encode(&input.frame, published);
            pipeline
                .publish_data(subject, payload, Some(published.frame_id.to_string()))
                .await
                .unwrap();
        }
        pipeline.flush().await.unwrap();
    }

    /// The events of a type, once there are so many.
    pub async fn events(&self, event_type: &str, count: usize) -> Vec<EventEnvelope> {
        let mut follow = self
            .bus
            .follow(&[event_type.to_owned()], From::Start)
            .await
            .unwrap();
        for seen in 0..count {
            let what = format!("{event_type} {} of {count}", seen + 1);
            within(&what, follow.next()).await.unwrap();
        }
        let all = self.bus.replay(event_type, From::Start).await.unwrap();
        all.into_iter().map(|delivery| delivery.event).collect()
    }

    /// How many windows are stored, once there are so many.
    pub async fn stored_windows(&self, count: usize) -> usize {
        let mut tail = self
            .bus
            .tail("test", &["data.signal.*.*".to_owned()])
            .await
            .unwrap();
        let mut seen = 0;
        while seen < count {
            seen += within("a window", tail.next_batch(1000))
                .await
                .unwrap()
                .len();
        }
        seen
    }
}

async fn service(server: &Server, more: &[(&str, &str)]) -> (Process, Started) {
    let mut settings = Settings::explicit("").unwrap();
    settings.set("nats.url", &server.url()).unwrap();
    settings.set("nats.storage_scale", STORAGE_SCALE).unwrap();
    for bound in ["nats.connect_timeout_s", "nats.publish_timeout_s"] {
        settings.set(bound, "60").unwrap();
    }
    for (key, value) in more {
        settings.set(key, value).unwrap();
    }
    let process = Process::new(settings).unwrap();
    let started = process.start("signal", signal::start).await.unwrap();
    (process, started)
}
