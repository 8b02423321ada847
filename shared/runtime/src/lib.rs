//! What every service needs and none should write: configuration, telemetry, admin port, gRPC server, drain.
//!
//! SKELETON: the signatures below are the contract that the services are written against.

use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

/// What a service's own section of the configuration must be. Sections are named after the service with `_` for `-`:
/// `[hardware_gateway]`, `[signal]`, ... `deny_unknown_fields` is expected on each struct; the runtime adds a suggestion.
pub trait ServiceConfig: DeserializeOwned + Serialize + Default + Send + 'static {
    /// Checks what serde cannot; names the key that is wrong.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what would be right.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A service's main: reads the configuration, starts, waits for a signal, drains.
///
/// Flags: `--config FILE`, `--set key=value`, `--nats URL`, `--grpc-listen ADDR`, `--admin-listen ADDR`, `--log-format`,
/// `--log-level`, `--check-config`. Exit codes: 64 bad config, 69 a dependency unreachable within its start-up time, 70 a bug.
pub fn run<C, F>(service: &'static str, start: F) -> ExitCode
where
    C: ServiceConfig,
    F: AsyncFnOnce(C, &mut Runtime) -> anyhow::Result<()>,
{
    let _ = (service, start);
    ExitCode::from(70)
}

/// What `start` wires a service into.
pub struct Runtime {}

#[allow(unused_variables, clippy::unimplemented, missing_docs, clippy::unused_async)]
impl Runtime {
    /// `service/instance`, for `metadata.source`.
    pub fn source(&self) -> &str { unimplemented!() }
    /// Connects to NATS and reconciles its streams (once a process); `/readyz` follows the connection.
    pub async fn bus(&mut self) -> anyhow::Result<bus::Bus> { unimplemented!() }
    /// Runs a task: an error or a panic in it is a fault that stops the service with a message. A task that is given
    /// `shutdown()` ends by itself when it is cancelled.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) { unimplemented!() }
    /// Cancelled when draining begins.
    pub fn shutdown(&self) -> CancellationToken { unimplemented!() }
    /// Starts the gRPC server with health, reflection, tracing and limits; `names` are the full service names that health
    /// reports. Returns the bound address.
    pub async fn serve_grpc(&mut self, routes: tonic::service::Routes, names: &[&'static str]) -> anyhow::Result<SocketAddr> { unimplemented!() }
    /// Serves an axum router on an address of the service's own (streaming's WebSocket).
    pub async fn serve_http(&mut self, name: &'static str, listen: SocketAddr, router: axum::Router) -> anyhow::Result<SocketAddr> { unimplemented!() }
    /// Tells the outside what it listens on (printed by `fresnel up`): `("udp", addr)`.
    pub fn announce(&mut self, what: &'static str, address: SocketAddr) { unimplemented!() }
}

/// A wrong value in a request: INVALID_ARGUMENT with google.rpc.BadRequest naming the field.
#[must_use]
pub fn invalid_argument(field: &str, description: impl Into<String>) -> tonic::Status {
    let _ = field;
    tonic::Status::invalid_argument(description.into())
}

/// Any other refusal, with google.rpc.ErrorInfo: `reason` is UPPER_SNAKE_CASE, the domain `fresnel`.
#[must_use]
pub fn refuse(code: tonic::Code, reason: &str, message: impl Into<String>) -> tonic::Status {
    let _ = reason;
    tonic::Status::new(code, message.into())
}
