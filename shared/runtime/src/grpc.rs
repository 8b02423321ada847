//! The gRPC server: health, reflection, and the edge that every request passes.

mod edge;
pub(crate) mod operations;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::Limits;
use edge::Edge;

const HEALTH: &str = "grpc.health.v1.Health";
/// An idle connection is asked for a sign of life, so that a client that vanished does not hold a stream for ever.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long clients may take to close their connections once every response has ended; one that is stalled never does.
const CLOSE_GRACE: Duration = Duration::from_millis(500);

/// The health of a server's services, as clients see it.
#[derive(Clone)]
pub(crate) struct Health {
    reporter: HealthReporter,
    names: Vec<String>,
}

impl Health {
    async fn new(names: &[&'static str]) -> Self {
        // "" is the server as a whole.
        let names: Vec<String> = std::iter::once("")
            .chain(names.iter().copied())
            .map(str::to_owned)
            .collect();
        let health = Self {
            reporter: HealthReporter::new(),
            names,
        };
        health.set(ServingStatus::NotServing).await;
        health
    }

    async fn set(&self, status: ServingStatus) {
        for name in &self.names {
            self.reporter.set_service_status(name, status).await;
        }
    }

    pub(crate) async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    /// From here on clients should look elsewhere; what they have open goes on.
    pub(crate) async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    /// Ends the streams of those who watch, who would otherwise hold the server open.
    pub(crate) async fn close(&mut self) {
        for name in &self.names {
            self.reporter.clear_service_status(name).await;
        }
    }
}

/// A server that is ready to run.
pub(crate) struct Server {
    routes: Routes,
    listener: TcpListener,
    stop: CancellationToken,
    in_hand: TaskTracker,
}

impl Server {
    /// Puts health, reflection and the edge around `routes`. The server listens from the first moment; `stop` makes it
    /// finish what is in hand, and ends the streams that do not end by themselves.
    pub(crate) async fn new(
        routes: Routes,
        names: &[&'static str],
        listener: TcpListener,
        limits: &Limits,
        stop: CancellationToken,
    ) -> anyhow::Result<(Self, Health)> {
        let health = Health::new(names).await;
        let service =
            tonic_health::server::HealthService::from_health_reporter(health.reporter.clone());
        let edge = Arc::new(Edge::new(limits, streaming_methods()?, stop.clone()));
        let in_hand = edge.in_hand.clone();
        let routes = routes
            .add_service(tonic_health::pb::health_server::HealthServer::new(service))
            .add_service(reflection(names).build_v1()?)
            .add_service(reflection(names).build_v1alpha()?)
            .into_axum_router()
            .layer(axum::middleware::from_fn_with_state(edge, edge::pass));
        let server = Self {
            routes: Routes::from(routes),
            listener,
            stop,
            in_hand,
        };
        Ok((server, health))
    }

    /// Serves until `stop`, then finishes what is in hand.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let serving = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .add_routes(self.routes)
            .serve_with_incoming_shutdown(
                TcpIncoming::from(self.listener).with_nodelay(Some(true)),
                self.stop.clone().cancelled_owned(),
            );
        let finished = async {
            self.stop.cancelled().await;
            self.in_hand.close();
            self.in_hand.wait().await;
            tokio::time::sleep(CLOSE_GRACE).await;
        };
        tokio::select! {
            outcome = serving => Ok(outcome?),
            () = finished => Ok(()),
        }
    }
}

fn reflection(names: &[&'static str]) -> tonic_reflection::server::Builder<'static> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        .include_reflection_service(false)
        .with_service_name(HEALTH)
        .with_service_name("grpc.reflection.v1.ServerReflection")
        .with_service_name("grpc.reflection.v1alpha.ServerReflection");
    names
        .iter()
        .fold(builder, |builder, name| builder.with_service_name(*name))
}

/// Paths of the methods that stream in either direction: they have no time limit.
fn streaming_methods() -> anyhow::Result<HashSet<String>> {
    let mut paths = HashSet::new();
    for file in FileDescriptorSet::decode(proto::DESCRIPTORS)?.file {
        for service in &file.service {
            for method in &service.method {
                if method.client_streaming() || method.server_streaming() {
                    paths.insert(format!(
                        "/{}.{}/{}",
                        file.package(),
                        service.name(),
                        method.name()
                    ));
                }
            }
        }
    }
    Ok(paths)
}
