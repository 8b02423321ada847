//! pose: runs models on the features of a zone's windows, and says what the people in it do.
//!
//! Windows of `data.signal` ([`window`]) go through the activity [`model`] of a checked [`package`]; [`tracker`] averages the
//! links of a zone and debounces; [`zones`] makes `pose.activity_changed` of it, for the zone's one anonymous [`subject`];
//! [`handler`] stores them. Without a usable model or ONNX Runtime the service is ready, says so in its status, and publishes
//! nothing.

pub mod config;
pub mod error;
mod grpc;
pub mod handler;
pub mod library;
mod memory;
pub mod model;
pub mod package;
pub mod status;
pub mod subject;
pub mod tracker;
pub mod window;
pub mod zones;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use bus::Bus;
use events::model::ModelLoaded;
use events::{EventEnvelope, Metadata, Timestamp};
use runtime::Runtime;
use uuid::Uuid;

pub use config::Config;

use crate::error::chain;
use crate::handler::Handler;
use crate::model::Model;
use crate::package::{Manifest, Package};
use crate::status::{ModelState, Status};
use crate::zones::Zones;

/// Starts the service.
///
/// # Errors
/// Where NATS cannot be reached or an address cannot be bound.
pub async fn start(config: Config, rt: &mut Runtime) -> anyhow::Result<()> {
    let bus = rt.bus().await?;
    let source = rt.source().to_owned();
    let before = memory::resident_bytes();
    let (at, search) = (config.clone(), library::starts());
    // Reads files, and the library's initialisers run: some hundred milliseconds where the disk is cold.
    let loaded = tokio::task::spawn_blocking(move || load(&at, &search))
        .await
        .context("loading the model")?;
    let status = match loaded {
        Ok(model) => {
            let grown = before
                .zip(memory::resident_bytes())
                .map(|(before, after)| after.saturating_sub(before));
            announce(&bus, model.manifest(), grown, &source).await?;
            let status = Arc::new(Status::new(ModelState::Loaded(Box::new(
                model.manifest().clone(),
            ))));
            let zones = zones(&config, model.manifest(), source);
            let handler =
                Handler::open(bus, model, zones, Arc::clone(&status), rt.shutdown()).await?;
            rt.spawn("windows", handler.run());
            status
        }
        Err(reason) => {
            tracing::warn!(
                reason,
                "no model runs: nothing is inferred, and nothing published"
            );
            Arc::new(Status::new(ModelState::None(reason)))
        }
    };
    grpc::serve(rt, status).await
}

/// Finds, checks and loads the package and the library; the reason where one of them cannot be used.
///
/// # Errors
/// A sentence that says what is missing or wrong, and the next step.
pub fn load(config: &Config, starts: &[PathBuf]) -> Result<Model, String> {
    let directory = library::find_directory(&config.model, starts).ok_or_else(|| {
        format!(
            "there is no model package {}: name its directory by pose.model (it is looked for in the working directory, beside the program, and above)",
            config.model.display()
        )
    })?;
    let package = Package::read(&directory).map_err(|error| {
        format!(
            "{}; restore the package, or train it anew with `make train`",
            chain(&error)
        )
    })?;
    let environment = std::env::var_os("ORT_DYLIB_PATH")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let library = library::find(
        config.onnxruntime.as_deref(),
        environment.as_deref(),
        starts,
    )
    .map_err(|error| error.to_string())?;
    Model::load(package, &library).map_err(|error| {
        let next = "`make tools` fetches a library that fits, `make train` makes the package anew";
        format!("{}; {next}", chain(&error))
    })
}

fn zones(config: &Config, manifest: &Manifest, source: String) -> Zones {
    let settings = tracker::Settings {
        debounce_us: micros(config.debounce_s),
        unknown_after_us: micros(config.unknown_after_s),
        link_stale_us: micros(config.link_stale_s),
    };
    Zones::new(
        settings,
        &manifest.output.classes,
        source,
        manifest.method(),
    )
}

/// Publishes `model.loaded`. Where the system does not tell how much memory it took, the event would lie: it is left out.
async fn announce(
    bus: &Bus,
    manifest: &Manifest,
    grown: Option<u64>,
    source: &str,
) -> anyhow::Result<()> {
    let Some(bytes) = grown else {
        tracing::warn!(model = %manifest.name, "model is loaded, but its memory cannot be measured here: not announced");
        return Ok(());
    };
    let memory_mb = mebibytes(bytes);
    let event = ModelLoaded {
        model_id: manifest.name.clone(),
        timestamp: Timestamp::now(),
        version: manifest.version.clone(),
        memory_mb,
        process_id: std::process::id(),
    };
    let metadata = Metadata {
        source: source.to_owned(),
        method: Some(manifest.method()),
        ..Metadata::default()
    };
    let envelope = EventEnvelope::new(Uuid::now_v7(), &event, metadata)?;
    bus.publish(&envelope).await?;
    tracing::info!(model = %manifest.name, version = manifest.version, memory_mb, "model is loaded");
    Ok(())
}

#[allow(clippy::cast_precision_loss)]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The configuration is checked: positive and below an hour.
#[allow(clippy::cast_possible_truncation)]
fn micros(seconds: f64) -> i64 {
    (seconds * 1e6) as i64
}
