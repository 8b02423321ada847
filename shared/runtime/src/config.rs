//! Configuration: defaults < TOML file < environment < flags, each value knowing where it came from.
//!
//! Keys are dotted paths, the first part a section: `nats.url`, `signal.window_s`. One file may hold the sections of all
//! services; a service reads the common ones (`nats`, `log`, `limits`, `instance`) and its own. In the environment the key
//! `nats.url` is `FRESNEL_NATS__URL`. A key that ends in `_file` gives the key without that ending from a file, trimmed:
//! `FRESNEL_NATS__PASSWORD_FILE=path` for secrets.

mod effective;
mod flags;
mod layers;
mod render;
mod wiring;

use std::net::SocketAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use effective::Effective;
pub use flags::{Flags, ServiceFlags};
pub use layers::Settings;
pub use render::without_user;
pub(crate) use wiring::{Start, Wiring};

/// The five services, in the order of the data.
pub const SERVICES: [&str; 5] = [
    "hardware-gateway",
    "signal",
    "pose",
    "streaming",
    "alerting",
];

/// What a service's own section of the configuration must be. Sections are named after the service with `_` for `-`:
/// `[hardware_gateway]`, `[signal]`, ... `deny_unknown_fields` is expected on each struct; the runtime adds a suggestion.
///
/// `[<service>.grpc] listen` and `[<service>.admin] listen` belong to the runtime and never reach this type.
pub trait ServiceConfig: DeserializeOwned + Serialize + Default + Send + 'static {
    /// Checks what serde cannot; names the key that is wrong.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what would be right.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A configuration that cannot be used; the process exits 64.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct ConfigError(pub(crate) String);

impl ConfigError {
    /// An error about a value, in words that name the key, the value and what would be right.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// `[log]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How lines are written to standard error.
    pub format: LogFormat,
    /// What is logged, as directives of tracing: `info`, `info,signal=debug`.
    pub level: String,
    /// Which spans are exported, likewise, when there is an OTLP endpoint.
    pub spans: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Auto,
            // The client of NATS tells of each connection, as `bus` does.
            level: "info,async_nats=warn,ort=warn".into(),
            spans: "info".into(),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Plain on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Plain,
    /// One JSON object per line.
    Json,
}

/// `[limits]`: what a client may ask for, and how long stopping may take. Of messages, tonic's limit holds: 4 MiB each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Seconds from the first signal until what still runs is cut off.
    pub drain_s: f64,
    /// gRPC requests handled at once by one service; more are refused as RESOURCE_EXHAUSTED. Open streams do not count.
    pub concurrent_requests: usize,
    /// Seconds for a unary gRPC request; then DEADLINE_EXCEEDED. Streams have no limit.
    pub request_timeout_s: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            drain_s: 10.0,
            concurrent_requests: 256,
            request_timeout_s: 30.0,
        }
    }
}

impl Limits {
    fn validate(&self) -> Result<(), String> {
        for (key, value) in [
            ("limits.drain_s", self.drain_s),
            ("limits.request_timeout_s", self.request_timeout_s),
        ] {
            if !(value.is_finite() && value > 0.0 && value <= 86_400.0) {
                return Err(format!(
                    "{key} = {value}: must be more than 0 and at most 86400 seconds"
                ));
            }
        }
        if self.concurrent_requests == 0 || self.concurrent_requests > 1_000_000 {
            return Err(format!(
                "limits.concurrent_requests = {}: must be 1 to 1000000",
                self.concurrent_requests
            ));
        }
        Ok(())
    }
}

/// `[instance]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Instance {
    /// Tells replicas of a service apart, in `metadata.source` and `service.instance.id`; empty: the host's name.
    pub name: String,
}

/// The sections that every service reads.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Common {
    pub nats: bus::Config,
    pub log: Log,
    pub limits: Limits,
    pub instance: Instance,
}

/// `[<service>.grpc]` and `[<service>.admin]`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    pub listen: SocketAddr,
}

/// The section of a service.
pub(crate) fn section(service: &str) -> String {
    service.replace('-', "_")
}

/// Default ports: gRPC 7401..7405 and admin 7501..7505 in the order of [`SERVICES`]; others take what the system gives.
pub(crate) fn default_listen(service: &str) -> (SocketAddr, SocketAddr) {
    let number = SERVICES
        .iter()
        .zip(1u16..)
        .find(|(name, _)| **name == service);
    let port = |base: u16| number.map_or(0, |(_, n)| base + n);
    let loopback = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    (loopback(port(7400)), loopback(port(7500)))
}
