//! The clients' edge: events by subject filters over gRPC and WebSocket, resumable by offset.
//!
//! [`filter`] decides which events a client wants, [`session`] which events tell of the client itself, both pure. [`fanout`]
//! reads JetStream for each [`subscription`], [`grpc`] and [`websocket`] carry what it reads.

pub mod config;
pub mod error;
pub mod fanout;
pub mod filter;
pub mod grpc;
mod journal;
mod metrics;
pub mod session;
pub mod subscription;
pub mod websocket;

pub use config::Config;
pub use error::Error;
pub use fanout::Fanout;

/// Wires the service into a process.
///
/// # Errors
/// NATS out of reach, or an address that cannot be bound.
pub async fn start(config: Config, rt: &mut runtime::Runtime) -> anyhow::Result<()> {
    let bus = rt.bus().await?;
    let listen = config.http_listen;
    let shutdown = rt.shutdown();
    let fanout = Fanout::new(bus, config, rt.source(), shutdown.clone());

    let sessions = fanout.clone();
    rt.spawn("sessions", async move {
        shutdown.cancelled().await;
        sessions.drained().await;
        Ok(())
    });
    rt.serve_http("http", listen, websocket::router(fanout.clone()))
        .await?;
    rt.serve_grpc(
        tonic::service::Routes::new(grpc::service(fanout)),
        &[grpc::NAME],
    )
    .await?;
    Ok(())
}
