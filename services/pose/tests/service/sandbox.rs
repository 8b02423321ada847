//! A nats-server of its own for each test, windows to put on its data plane, and the library.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bus::server::{self, Server, ServerConfig};
use bus::{Bus, Delivery, From};
use events::EventEnvelope;
use pose::package::Package;
use prost::Message as _;
use proto::csi::v1::DataSource;
use proto::signal::v1::{LinkState, SignalWindow};
use tempfile::TempDir;
use uuid::Uuid;

/// The bound after which a test that waits has failed.
pub const FAILED: Duration = Duration::from_secs(60);
/// A test needs little room, whatever the disk has left.
pub const STORAGE_SCALE: f64 = 0.01;
pub const HOP_US: i64 = 500_000;

/// The package that ships.
pub fn package_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/activity")
}

/// `libonnxruntime`; where there is none the test says so and ends, or fails where `FRESNEL_REQUIRE_ONNXRUNTIME` is set.
pub fn library() -> Option<PathBuf> {
    use std::io::Write as _;
    let environment = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    match pose::library::find(None, environment.as_deref(), &pose::library::starts()) {
        Ok(library) => Some(library),
        Err(error) => {
            let required = std::env::var_os("FRESNEL_REQUIRE_ONNXRUNTIME");
            assert!(
                required.is_none_or(|value| value.is_empty() || value == "0"),
                "{error}"
            );
            let thread = std::thread::current();
            let test = thread.name().unwrap_or("test").to_owned();
            // Not through eprintln!, which the test harness swallows where the test passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {error}");
            None
        }
    }
}

pub struct Sandbox {
    pub server: Server,
    pub bus: Bus,
    data: TempDir,
}

impl Sandbox {
    pub async fn start() -> Self {
        let binary = server::find(None).expect("a nats-server");
        let data = tempfile::tempdir().expect("a directory");
        let server = Server::start(ServerConfig::new(binary, data.path().join("nats")))
            .await
            .expect("a running server");
        let config = bus::Config {
            url: server.url(),
            name: "test".to_owned(),
            storage_scale: STORAGE_SCALE,
            // A busy machine makes streams slowly; these are bounds of failure.
            connect_timeout_s: 60.0,
            publish_timeout_s: 60.0,
            ..bus::Config::default()
        };
        let bus = Bus::connect(config).await.expect("a connection");
        bus.reconcile().await.expect("streams");
        Self { server, bus, data }
    }

    /// An empty directory of this sandbox.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.data.path().join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        path
    }

    /// Puts windows on the data plane, and waits until they are stored.
    pub async fn publish(&self, windows: &[SignalWindow]) {
        let pipeline = self.bus.pipeline(64);
        for window in windows {
            let subject = format!("data.signal.{}.{}", window.zone, window.device);
            let id = Uuid::from_slice(&window.signal_id)
                .expect("an id")
                .to_string();
            pipeline
                .publish_data(subject, window.encode_to_vec().into(), Some(id))
                .await
                .expect("published");
        }
        pipeline.flush().await.expect("stored");
    }

    /// Everything of a type that is stored now.
    pub async fn stored(&self, event_type: &str) -> Vec<EventEnvelope> {
        let deliveries = self
            .bus
            .replay(event_type, From::Start)
            .await
            .expect("stored events");
        deliveries
            .into_iter()
            .map(|delivery| delivery.event)
            .collect()
    }

    /// The first `count` events of a type.
    pub async fn wait_for(&self, event_type: &str, count: usize) -> Vec<EventEnvelope> {
        let mut follow = self
            .bus
            .follow(&[event_type.to_owned()], From::Start)
            .await
            .expect("a follower");
        let mut events = Vec::new();
        while events.len() < count {
            let next = tokio::time::timeout(FAILED, follow.next()).await;
            let delivery: Delivery = next
                .unwrap_or_else(|_| {
                    panic!("{} of {count} {event_type} within {FAILED:?}", events.len())
                })
                .expect("an event");
            events.push(delivery.event);
        }
        events
    }
}

/// Windows of one link in a zone, one for each letter: `m`oving, `i`nactive, `u`nknown. The features are those of the model's
/// self-test, which were made up and not recorded.
pub fn windows(zone: &str, run: Option<Uuid>, text: &str) -> Vec<SignalWindow> {
    let test = Package::read(&package_directory())
        .expect("the package")
        .manifest
        .self_test;
    let row = |class: usize| {
        let sure = |row: &&Vec<f32>| row[class] > 0.95;
        let at = test
            .outputs
            .iter()
            .position(|row| sure(&row))
            .expect("a sure row");
        test.inputs[at].clone()
    };
    let (inactive, moving) = (row(0), row(1));
    let letters = text.chars().enumerate();
    letters
        .map(|(n, letter)| {
            let end_us = n as i64 * HOP_US;
            let name = format!("{zone} {run:?} {n}");
            let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
            let (state, features) = match letter {
                'm' => (LinkState::Motion, moving.clone()),
                'i' => (LinkState::Still, inactive.clone()),
                _ => (LinkState::Unknown, Vec::new()),
            };
            SignalWindow {
                signal_id: id.as_bytes().to_vec().into(),
                device: "link".to_owned(),
                zone: zone.to_owned(),
                window_start_us: end_us - 2_000_000,
                window_end_us: end_us,
                state: state.into(),
                quality: 1.0,
                feature_schema: dsp::activity::SCHEMA.to_owned(),
                features,
                source: if run.is_some() {
                    DataSource::Replay
                } else {
                    DataSource::Live
                }
                .into(),
                run_id: run
                    .map(|run| run.as_bytes().to_vec())
                    .unwrap_or_default()
                    .into(),
                ..SignalWindow::default()
            }
        })
        .collect()
}
