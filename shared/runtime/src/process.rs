//! A process with one or more services: started in order, stopped in reverse.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{
    Common, Effective, ServiceConfig, ServiceFlags, Settings, Start, Wiring, section,
};
use crate::exit::{Exit, Unreachable};
use crate::ports;
use crate::service::Runtime;
use crate::signals::{self, AbortHooks};
use crate::tasks::{Fault, Faults};
use crate::telemetry::{self, Telemetry};

/// More than this many worker threads gain nothing: the work is a few pipelines.
const MAX_WORKERS: usize = 4;

/// What the services of a process share.
pub(crate) struct Shared {
    name: &'static str,
    pub(crate) instance: String,
    common: Common,
    pub(crate) faults: Faults,
    stop: CancellationToken,
    bus: OnceCell<bus::Bus>,
}

impl Shared {
    pub(crate) async fn bus(&self) -> anyhow::Result<bus::Bus> {
        let bus = self.bus.get_or_try_init(|| self.connect()).await?;
        Ok(bus.clone())
    }

    async fn connect(&self) -> anyhow::Result<bus::Bus> {
        let mut config = self.common.nats.clone();
        if config.name.is_empty() {
            config.name = format!("{}/{}", self.name, self.instance);
        }
        let unreachable = |reason: String| Unreachable {
            what: format!(
                "NATS at {}",
                crate::config::without_user(&self.common.nats.url)
            ),
            reason,
        };
        let limit = Duration::try_from_secs_f64(config.connect_timeout_s).unwrap_or(Duration::MAX);
        let connecting = async {
            let bus = bus::Bus::connect(config).await?;
            bus.reconcile().await?;
            Ok::<_, bus::Error>(bus)
        };
        // Connecting keeps to the limit by itself; creating the streams of a new server is given as long again.
        match tokio::time::timeout(limit.saturating_mul(2), connecting).await {
            Ok(Ok(bus)) => Ok(bus),
            Ok(Err(bus::Error::Connect {
                waited_s, reason, ..
            })) => Err(unreachable(format!("tried for {waited_s:.1} s: {reason}")).into()),
            Ok(Err(error)) => Err(unreachable(chain(&error)).into()),
            Err(_) => {
                Err(unreachable(format!("no answer within {} s", 2.0 * limit.as_secs_f64())).into())
            }
        }
    }
}

/// An error and its sources, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}

/// Services running in this process.
pub struct Process {
    settings: Settings,
    shared: Arc<Shared>,
    hooks: AbortHooks,
    telemetry: Option<Telemetry>,
    /// In the order in which their starts began.
    services: Mutex<BTreeMap<usize, Runtime>>,
    begun: AtomicUsize,
}

/// What a started service listens on.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Started {
    /// Its name.
    pub service: &'static str,
    /// Its gRPC server, where it has one.
    pub grpc: Option<SocketAddr>,
    /// Its admin server.
    pub admin: SocketAddr,
    /// What else it announced: `("udp", addr)`.
    pub announced: Vec<(&'static str, SocketAddr)>,
}

/// Why a process should stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A signal, or [`Process::request_stop`].
    Asked,
    /// A task failed.
    Fault(Fault),
}

impl Process {
    /// A process that neither logs nor listens to signals by itself: for tests, and inside other programs.
    ///
    /// # Errors
    /// [`crate::ConfigError`] in the common sections.
    pub fn new(settings: Settings) -> anyhow::Result<Self> {
        let process = Self::unobserved("fresnel", settings)?;
        telemetry::init_metrics(
            telemetry::resource("fresnel", &process.shared.instance),
            None,
        );
        Ok(process)
    }

    /// The whole of a program: logs, telemetry, SIGINT and SIGTERM. Called inside a tokio runtime.
    ///
    /// # Errors
    /// [`crate::ConfigError`] in the common sections; signals that cannot be waited for.
    pub fn main(name: &'static str, settings: Settings) -> anyhow::Result<Self> {
        let mut process = Self::unobserved(name, settings)?;
        let log = &process.shared.common.log;
        process.telemetry = Some(telemetry::init(log, name, &process.shared.instance)?);
        std::panic::set_hook(Box::new(|panic| {
            let place = panic
                .location()
                .map(ToString::to_string)
                .unwrap_or_default();
            let message = panic.payload_as_str().unwrap_or("a value that is no text");
            tracing::error!(place, message, "panic");
        }));
        signals::watch(process.shared.stop.clone(), process.hooks.clone())?;
        Ok(process)
    }

    fn unobserved(name: &'static str, settings: Settings) -> anyhow::Result<Self> {
        let common = settings.common()?;
        let instance = match common.instance.name.trim() {
            "" => host_name(),
            name => name.to_owned(),
        };
        Ok(Self {
            settings,
            shared: Arc::new(Shared {
                name,
                instance,
                common,
                faults: Faults::new(),
                stop: CancellationToken::new(),
                bus: OnceCell::new(),
            }),
            hooks: AbortHooks::default(),
            telemetry: None,
            services: Mutex::new(BTreeMap::new()),
            begun: AtomicUsize::new(0),
        })
    }

    /// Starts a service; ready when this returns. Several may start at once; the last begun stops first.
    ///
    /// # Errors
    /// What kept it from starting; [`Exit::of`] says what that means. Nothing of it runs on.
    pub async fn start<C, F>(&self, service: &'static str, start: F) -> anyhow::Result<Started>
    where
        C: ServiceConfig,
        F: AsyncFnOnce(C, &mut Runtime) -> anyhow::Result<()> + 'static,
    {
        self.start_boxed(service, Box::new(Start::new(start))).await
    }

    /// The configuration a service would start with.
    ///
    /// # Errors
    /// [`crate::ConfigError`].
    pub fn check<C, F>(
        settings: &Settings,
        service: &'static str,
        start: F,
    ) -> anyhow::Result<Effective>
    where
        C: ServiceConfig,
        F: AsyncFnOnce(C, &mut Runtime) -> anyhow::Result<()> + 'static,
    {
        let mut wiring = Start::new(start);
        Ok(settings.resolve(Some((service, &mut wiring)))?)
    }

    async fn start_boxed(
        &self,
        service: &'static str,
        mut wiring: Box<dyn Wiring>,
    ) -> anyhow::Result<Started> {
        let place = self.begun.fetch_add(1, Ordering::Relaxed);
        let config = self.settings.resolve(Some((service, &mut *wiring)))?;
        let mut rt = Runtime::begin(service, self.shared.clone(), &config).await?;
        let outcome = tokio::select! {
            biased;
            fault = self.shared.faults.wait() => Err(fault.into()),
            outcome = wiring.start(&mut rt) => outcome,
        };
        outcome.map_err(|error| error.context(format!("{service} did not start")))?;
        let started = rt.started().await;
        self.services
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(place, rt);
        Ok(started)
    }

    /// Waits for a signal, or for the first fault.
    pub async fn run_until_signal(&self) -> Ending {
        tokio::select! {
            biased;
            fault = self.shared.faults.wait() => Ending::Fault(fault),
            () = self.shared.stop.cancelled() => Ending::Asked,
        }
    }

    /// Cancelled by the first signal.
    #[must_use]
    pub fn stop_requested(&self) -> CancellationToken {
        self.shared.stop.clone()
    }

    /// As the first signal does.
    pub fn request_stop(&self) {
        self.shared.stop.cancel();
    }

    /// Runs before the process ends at once on a second signal: for what must not outlive it.
    pub fn on_abort(&self, hook: impl FnOnce() + Send + 'static) {
        self.hooks.add(Box::new(hook));
    }

    /// Stops all services, the last started first, within `limits.drain_s` together, and exports the last telemetry.
    pub async fn stop(mut self) -> Exit {
        let deadline = Instant::now() + Duration::from_secs_f64(self.shared.common.limits.drain_s);
        let services = std::mem::take(
            self.services
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let mut exit = Exit::Clean;
        for service in services.into_values().rev() {
            for task in service.stop(deadline).await {
                tracing::error!(
                    task,
                    "did not stop within {} s and was cut off",
                    self.shared.common.limits.drain_s
                );
                exit = Exit::Fault;
            }
        }
        if self.shared.faults.first().is_some() {
            exit = Exit::Fault;
        }
        if let Some(telemetry) = self.telemetry.take() {
            // The last export blocks, and needs the runtime to do its work meanwhile.
            let _ = tokio::task::spawn_blocking(|| telemetry.shutdown()).await;
        }
        exit
    }
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".into())
}

/// The tokio runtime of a program: as many workers as cores, up to four.
///
/// # Errors
/// Threads that the system does not give.
pub fn tokio_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(MAX_WORKERS))
        .enable_all()
        .build()
}

/// A service's whole life.
pub(crate) fn supervise(
    service: &'static str,
    flags: &ServiceFlags,
    wiring: Box<dyn Wiring>,
) -> Exit {
    let outcome = tokio_runtime()
        .map_err(anyhow::Error::from)
        .and_then(|tokio| {
            let exit = tokio.block_on(live(service, flags, wiring));
            // Blocking work that does not end must not hold the process.
            tokio.shutdown_background();
            exit
        });
    outcome.unwrap_or_else(|error| {
        eprintln!("{service}: {error:#}");
        Exit::of(&error)
    })
}

async fn live(
    service: &'static str,
    flags: &ServiceFlags,
    mut wiring: Box<dyn Wiring>,
) -> anyhow::Result<Exit> {
    let mut settings = Settings::of_process(&flags.common)?;
    for (key, address) in [("grpc", flags.grpc_listen), ("admin", flags.admin_listen)] {
        if let Some(address) = address {
            settings.add_text(
                format!("flag --{key}-listen"),
                &format!("{}.{key}.listen", section(service)),
                &address.to_string(),
            )?;
        }
    }
    let config = settings.resolve(Some((service, &mut *wiring)))?;
    if flags.common.check_config {
        print!("{}{}", config.common_toml(), config.own_toml());
        return Ok(Exit::Clean);
    }
    let process = Process::main(service, settings)?;
    let stop = process.stop_requested();
    let started = tokio::select! {
        biased;
        started = process.start_boxed(service, wiring) => started,
        () = stop.cancelled() => return Ok(process.stop().await),
    };
    let written = started.and_then(|started| match &flags.ports_file {
        Some(path) => ports::write(path, &[started], serde_json::Map::new()),
        None => Ok(()),
    });
    if let Err(error) = written {
        tracing::error!("{error:#}");
        let exit = Exit::of(&error);
        process.stop().await;
        return Ok(exit);
    }
    if let Ending::Fault(fault) = process.run_until_signal().await {
        tracing::error!("stopping: {fault}");
    }
    Ok(process.stop().await)
}
