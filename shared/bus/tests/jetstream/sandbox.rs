//! A nats-server of its own for each test, and events to send through it.

use std::sync::Arc;
use std::time::Duration;

use bus::server::{self, Server, ServerConfig};
use bus::{BoxFuture, Bus, Config, Delivery, Fault, Handler};
use events::{EventEnvelope, Metadata, Timestamp};
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

/// The bound after which a test that waits has failed.
pub const FAILED: Duration = Duration::from_secs(30);

pub struct Sandbox {
    pub server: Server,
    _data: TempDir,
}

impl Sandbox {
    pub async fn start() -> Self {
        let binary = server::find(None).unwrap_or_else(|error| panic!("{error}"));
        let data = tempfile::tempdir().expect("a directory");
        let server = Server::start(ServerConfig::new(binary, data.path().to_owned()))
            .await
            .expect("a running server");
        Self {
            server,
            _data: data,
        }
    }

    pub fn config(&self) -> Config {
        Config {
            url: self.server.url(),
            name: "test".to_owned(),
            ..Config::default()
        }
    }

    pub async fn bus_with(&self, config: Config) -> Bus {
        let bus = Bus::connect(config).await.expect("a connection");
        bus.reconcile().await.expect("streams");
        bus
    }

    pub async fn bus(&self) -> Bus {
        self.bus_with(self.config()).await
    }

    /// Kills the server (SIGKILL) and starts it again on the same port and data.
    pub async fn crash(self) -> Self {
        Self {
            server: self.server.restart().await.expect("the server again"),
            _data: self._data,
        }
    }
}

/// An event as its service would make it; `number` gives its id.
pub fn event(event_type: &str, key: &str, number: u64) -> EventEnvelope {
    let envelope = json!({
        "id": id(number),
        "event_type": event_type,
        "aggregate_id": key,
        "aggregate_type": "thing",
        "sequence_number": 0,
        "occurred_at": Timestamp::from_micros(1_000_000 * i64::try_from(number).unwrap()),
        "version": 1,
        "metadata": Metadata { source: "test/1".to_owned(), ..Metadata::default() },
        "payload": { "number": number },
    });
    let mut event: EventEnvelope = serde_json::from_value(envelope).expect("an envelope");
    event.key = key.to_owned();
    event
}

pub fn id(number: u64) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes())
}

pub fn number(event: &EventEnvelope) -> u64 {
    event.payload["number"].as_u64().expect("a number")
}

pub fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

pub fn handler<F>(handle: F) -> Handler
where
    F: Fn(Delivery) -> BoxFuture<'static, Result<Vec<EventEnvelope>, Fault>>
        + Send
        + Sync
        + 'static,
{
    Arc::new(handle)
}

/// Waits for `future`, and fails the test when it does not come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(FAILED, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: did not happen within {FAILED:?}"),
    }
}

/// Asks again until the answer is yes.
pub async fn until<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    soon(what, async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
