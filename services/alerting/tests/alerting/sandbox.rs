//! A nats-server, the service, and those who are told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bus::server::{Server, ServerConfig, find};
use bus::{Bus, Follow};
use events::pose::{FallDetected, FallType, ImpactSeverity, MotionDetected, MotionType};
use events::{
    DomainEvent, EventEnvelope, EventId, Metadata, PersonId, SessionId, Timestamp, ZoneId,
};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use proto::alerting::v1::alert_service_client::AlertServiceClient;
use proto::alerting::v1::rule_service_client::RuleServiceClient;
use runtime::{Process, Settings, Started};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tracing_subscriber::layer::SubscriberExt as _;
use uuid::Uuid;

/// The bound after which a test that waits has failed.
const FAILED: Duration = Duration::from_secs(60);

pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(FAILED, wait)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come within {FAILED:?}"))
}

/// Traces as a service has them, with nobody to send them to.
fn traced() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let subscriber =
            tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer));
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

pub struct Sandbox {
    server: Server,
    _data: TempDir,
    toml: String,
    process: Process,
    started: Started,
    bus: Bus,
}

impl Sandbox {
    /// `receivers` and `rules` as TOML tables, `more` as lines of `[alerting]`.
    pub async fn start(receivers: &str, rules: &str, more: &str) -> Self {
        traced();
        let data = tempfile::tempdir().unwrap();
        let config = ServerConfig::new(find(None).expect("a nats-server"), data.path().to_owned());
        let server = Server::start(config).await.unwrap();
        let toml = format!(
            "[nats]\nurl = '{}'\n[alerting]\nretry_first = '10ms'\nretry_longest = '50ms'\nreceivers = [{receivers}]\nrules = [{rules}]\n{more}\n",
            server.url()
        );
        let (process, started) = begin(&toml).await;
        let bus = Bus::connect(bus::Config {
            url: server.url(),
            ..bus::Config::default()
        })
        .await
        .unwrap();
        Self {
            server,
            _data: data,
            toml,
            process,
            started,
            bus,
        }
    }

    /// Ends the service without a word, and starts it again.
    pub async fn crashed_and_started(self) -> Self {
        drop(self.process);
        let (process, started) = begin(&self.toml).await;
        Self {
            process,
            started,
            ..self
        }
    }

    pub async fn stop(self) {
        assert_eq!(self.process.stop().await, runtime::Exit::Clean);
        self.server.stop().await;
    }

    pub async fn publish(&self, event: EventEnvelope) {
        self.bus.publish(&event).await.unwrap();
    }

    /// What alerting says from now on.
    pub async fn log(&self) -> Log {
        Log {
            follow: self
                .bus
                .follow(&["alerting.*.*".to_owned()], bus::From::New)
                .await
                .unwrap(),
            kept: Vec::new(),
        }
    }

    async fn channel(&self) -> Channel {
        let address = format!("http://{}", self.started.grpc.unwrap());
        Channel::from_shared(address)
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub async fn alerts(&self) -> AlertServiceClient<Channel> {
        AlertServiceClient::new(self.channel().await)
    }

    pub async fn rules(&self) -> RuleServiceClient<Channel> {
        RuleServiceClient::new(self.channel().await)
    }
}

async fn begin(toml: &str) -> (Process, Started) {
    let process = Process::new(Settings::explicit(toml).unwrap()).unwrap();
    let started = process.start("alerting", alerting::start).await.unwrap();
    (process, started)
}

/// Events as they come; what was not asked for yet is kept.
pub struct Log {
    follow: Follow,
    kept: Vec<EventEnvelope>,
}

impl Log {
    pub async fn next<E: DomainEvent>(&mut self) -> EventEnvelope {
        self.next_where(E::EVENT_TYPE, |_| true).await
    }

    pub async fn next_of<E: DomainEvent>(&mut self, receiver: &str) -> EventEnvelope {
        self.next_where(E::EVENT_TYPE, |event| event.payload["receiver"] == receiver)
            .await
    }

    async fn next_where(
        &mut self,
        event_type: &str,
        wanted: impl Fn(&EventEnvelope) -> bool,
    ) -> EventEnvelope {
        let wanted = |event: &EventEnvelope| event.event_type == event_type && wanted(event);
        if let Some(index) = self.kept.iter().position(wanted) {
            return self.kept.remove(index);
        }
        let wait = async {
            loop {
                let event = self.follow.next().await.unwrap().event;
                if wanted(&event) {
                    return event;
                }
                self.kept.push(event);
            }
        };
        within(event_type, wait).await
    }
}

pub struct Call {
    pub headers: HeaderMap,
    pub body: Value,
}

type Answers = Arc<Mutex<VecDeque<(StatusCode, Option<&'static str>)>>>;

/// An HTTP server that takes webhooks.
pub struct Receiver {
    pub url: String,
    answers: Answers,
    calls: mpsc::UnboundedReceiver<Call>,
    serving: tokio::task::JoinHandle<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        let answers = Answers::default();
        let (sender, calls) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/", post(take))
            .with_state((Arc::clone(&answers), sender));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            answers,
            calls,
            serving,
        }
    }

    /// Its first answers; 200 after them.
    pub fn answer_first<const N: usize>(&self, answers: [(StatusCode, Option<&'static str>); N]) {
        self.answers.lock().unwrap().extend(answers);
    }

    /// Nobody listens any more; where it was.
    pub async fn stopped(self) -> String {
        self.serving.abort();
        let _ = self.serving.await;
        self.url
    }

    pub async fn call(&mut self) -> Call {
        within("a webhook call", self.calls.recv()).await.unwrap()
    }

    pub async fn call_where(&mut self, wanted: impl Fn(&Call) -> bool) -> Call {
        loop {
            let call = self.call().await;
            if wanted(&call) {
                return call;
            }
        }
    }
}

async fn take(
    State((answers, calls)): State<(Answers, mpsc::UnboundedSender<Call>)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = answers.lock().unwrap().pop_front();
    let _ = calls.send(Call {
        headers,
        body: serde_json::from_slice(&body).unwrap(),
    });
    match answer {
        Some((status, Some(seconds))) => (status, [("retry-after", seconds)]).into_response(),
        Some((status, None)) => status.into_response(),
        None => StatusCode::OK.into_response(),
    }
}

/// A fall of person 2 in session 3.
pub fn fall(number: u128, confidence: f32, zone: &str) -> EventEnvelope {
    let event = FallDetected {
        event_id: EventId(Uuid::from_u128(number)),
        person_id: PersonId(Uuid::from_u128(2)),
        session_id: SessionId(Uuid::from_u128(3)),
        zone_id: Some(ZoneId::new(zone).unwrap()),
        timestamp: Timestamp::from_micros(5_000_000),
        confidence,
        fall_type: FallType::Forward,
        duration_ms: None,
        impact_severity: ImpactSeverity::High,
        fall_location: None,
        pre_fall_activity: "walking".into(),
        requires_verification: true,
        auto_alert_sent: false,
    };
    EventEnvelope::new(Uuid::from_u128(number), &event, Metadata::default()).unwrap()
}

pub fn motion(number: u128, zone: &str, seconds: f64, score: f32) -> EventEnvelope {
    let event = MotionDetected {
        event_id: EventId(Uuid::from_u128(number)),
        session_id: None,
        zone_id: Some(ZoneId::new(zone).unwrap()),
        device_id: "node-1".parse().unwrap(),
        timestamp: Timestamp::from_micros((seconds * 1e6) as i64),
        motion_score: score,
        motion_type: MotionType::General,
        person_ids: vec![],
        person_count: 0,
        velocity_estimate: None,
        direction: None,
    };
    EventEnvelope::new(Uuid::from_u128(number), &event, Metadata::default()).unwrap()
}
