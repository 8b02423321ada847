//! A nats-server, the service on it, and clients.

use std::net::SocketAddr;
use std::time::Duration;

use bus::server::{Server, ServerConfig};
use bus::{Aggregate, Bus};
use events::id::{DeviceId, EventId, ZoneId};
use events::pose::{MotionDetected, MotionType};
use events::{EventEnvelope, Metadata, Timestamp};
use futures::{SinkExt as _, StreamExt as _};
use proto::streaming::v1::stream_service_client::StreamServiceClient;
use proto::streaming::v1::subscribe_response::Message as Body;
use proto::streaming::v1::{Event, SubscribeRequest, SubscribeResponse, Subscribed};
use serde_json::{Value, json};
use streaming::{Config, Fanout, grpc, websocket};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use uuid::Uuid;

/// How long something that must happen may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// The service with its servers on free ports.
pub struct Sandbox {
    pub bus: Bus,
    pub fanout: Fanout,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    pub shutdown: CancellationToken,
    nats: Option<Server>,
    _data: tempfile::TempDir,
}

impl Sandbox {
    pub async fn start(config: Config) -> Self {
        let data = tempfile::tempdir().unwrap();
        let binary = bus::server::find(None).unwrap();
        let nats = Server::start(ServerConfig::new(binary, data.path().to_owned()))
            .await
            .unwrap();
        let bus = Bus::connect(bus::Config {
            url: nats.url(),
            storage_scale: 0.1,
            ..bus::Config::default()
        });
        let bus = bus.await.unwrap();
        bus.reconcile().await.unwrap();

        let shutdown = CancellationToken::new();
        let fanout = Fanout::new(bus.clone(), config, "streaming/test", shutdown.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().add_service(grpc::service(fanout.clone()));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(
            server.serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned()),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = listener.local_addr().unwrap();
        let app =
            websocket::router(fanout.clone()).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            bus,
            fanout,
            grpc,
            http,
            shutdown,
            nats: Some(nats),
            _data: data,
        }
    }

    /// Publishes motion events of a zone, numbered in `direction`; `padding` bytes are added to each.
    pub async fn publish(&self, zone: &str, numbers: std::ops::Range<u32>, padding: usize) {
        let pipeline = self.bus.pipeline(64);
        for number in numbers {
            pipeline
                .publish(&motion(zone, number, 0.5, padding))
                .await
                .unwrap();
        }
        pipeline.flush().await.unwrap();
    }

    /// `kill -9` of the nats-server, and a new one on the same port and data.
    pub async fn restart_nats(&mut self) {
        let killed = self.nats.take().unwrap();
        self.nats = Some(killed.restart().await.unwrap());
    }

    pub async fn client(&self) -> StreamServiceClient<Channel> {
        StreamServiceClient::connect(format!("http://{}", self.grpc))
            .await
            .unwrap()
    }

    /// A gRPC subscription, its greeting read.
    pub async fn subscribe(
        &self,
        request: SubscribeRequest,
    ) -> Result<(Subscribed, Streaming<SubscribeResponse>), Status> {
        let mut stream = self.client().await.subscribe(request).await?.into_inner();
        match within("greeting", stream.message())
            .await?
            .unwrap()
            .message
            .unwrap()
        {
            Body::Subscribed(subscribed) => Ok((subscribed, stream)),
            Body::Event(event) => panic!("an event before the greeting: {event:?}"),
        }
    }

    pub async fn websocket(&self, query: &str) -> Socket {
        let url = format!("ws://{}/v1/stream?{query}", self.http);
        Socket(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    /// The session's events once it has ended.
    pub async fn ended(&self, session: &str) -> Vec<EventEnvelope> {
        let aggregate = Aggregate {
            context: "streaming".into(),
            key: session.to_owned(),
        };
        let filter = [format!("streaming.session_ended.{session}")];
        let mut ends = self.bus.follow(&filter, bus::From::Start).await.unwrap();
        within("session_ended", ends.next()).await.unwrap();
        self.bus.load(&aggregate).await.unwrap().0
    }
}

pub fn motion(zone: &str, number: u32, score: f32, padding: usize) -> EventEnvelope {
    let id = Uuid::new_v5(&Uuid::nil(), format!("{zone} {number}").as_bytes());
    let event = MotionDetected {
        event_id: EventId(id),
        session_id: None,
        zone_id: Some(ZoneId::new(zone).unwrap()),
        device_id: DeviceId::new("esp-1").unwrap(),
        timestamp: Timestamp::from_micros(i64::from(number)),
        motion_score: score,
        motion_type: MotionType::General,
        person_ids: Vec::new(),
        person_count: 0,
        velocity_estimate: None,
        direction: None,
    };
    let mut metadata = Metadata {
        source: "signal/test".into(),
        ..Metadata::default()
    };
    metadata.extra.insert("number".into(), json!(number));
    if padding > 0 {
        metadata
            .extra
            .insert("padding".into(), json!("x".repeat(padding)));
    }
    EventEnvelope::new(id, &event, metadata).unwrap()
}

pub fn request(subjects: &[&str]) -> SubscribeRequest {
    SubscribeRequest {
        subjects: subjects.iter().map(|s| (*s).to_owned()).collect(),
        client_id: "test".into(),
        ..SubscribeRequest::default()
    }
}

/// The number that [`motion`] gave an envelope.
pub fn number(envelope: &Value) -> u64 {
    envelope["metadata"]["number"].as_u64().unwrap()
}

/// The next events of a gRPC stream.
pub async fn take(stream: &mut Streaming<SubscribeResponse>, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let message = within("event", stream.message()).await.unwrap().unwrap();
        match message.message.unwrap() {
            Body::Event(event) => events.push(event),
            Body::Subscribed(again) => panic!("a second greeting: {again:?}"),
        }
    }
    events
}

pub fn numbers(events: &[Event]) -> Vec<u64> {
    events
        .iter()
        .map(|event| number(&serde_json::from_str(&event.envelope_json).unwrap()))
        .collect()
}

pub fn types(events: &[EventEnvelope]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event.event_type.strip_prefix("streaming.").unwrap())
        .collect()
}

/// A WebSocket client.
pub struct Socket(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub async fn send(&mut self, message: Value) {
        self.0
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    /// The next JSON message; none when the connection is closed.
    pub async fn try_next(&mut self) -> Option<Value> {
        loop {
            match within("message", self.0.next()).await {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(other)) => panic!("{other:?}"),
            }
        }
    }

    pub async fn next(&mut self) -> Value {
        self.try_next().await.expect("the connection is open")
    }

    /// The server's last words: error messages apart, its close.
    pub async fn closed(&mut self) -> (Vec<Value>, Option<CloseFrame>) {
        let mut said = Vec::new();
        loop {
            match within("close", self.0.next()).await {
                Some(Ok(Message::Text(text))) => said.push(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return (said, frame),
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("{error}"),
                None => return (said, None),
            }
        }
    }
}
