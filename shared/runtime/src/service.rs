//! One running service: what its `start` wires it into, and how it stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Phase, Readiness};
use crate::config::{ConfigError, Effective, Limits};
use crate::grpc::{Health, Server};
use crate::process::{Shared, Started};
use crate::tasks::Tasks;
use crate::workflow::{Run, Workflow, Workflows};

/// What `start` wires a service into.
pub struct Runtime {
    service: &'static str,
    source: String,
    shared: Arc<Shared>,
    limits: Limits,
    grpc_listen: SocketAddr,
    grpc: Option<SocketAddr>,
    health: Option<Health>,
    admin: SocketAddr,
    announced: Vec<(&'static str, SocketAddr)>,
    readiness: Arc<Readiness>,
    tasks: Tasks,
    /// Cancelled when draining begins.
    shutdown: CancellationToken,
    /// The admin server outlives the drain, so that it can be watched.
    admin_tasks: Tasks,
    admin_stop: CancellationToken,
}

impl Runtime {
    /// A service about to start: its admin port answers already.
    pub(crate) async fn begin(
        service: &'static str,
        shared: Arc<Shared>,
        config: &Effective,
    ) -> anyhow::Result<Self> {
        let readiness = Arc::new(Readiness::default());
        readiness.set(Phase::Starting);
        let (listener, admin) = bind(
            &format!("{}.admin.listen", crate::config::section(service)),
            config.admin,
        )
        .await?;
        let admin_stop = CancellationToken::new();
        let mut admin_tasks = Tasks::new(service, shared.faults.clone());
        let serving = serve(
            listener,
            admin::router(readiness.clone()),
            admin_stop.clone(),
        );
        admin_tasks.spawn("admin", Box::pin(serving));
        Ok(Self {
            service,
            source: format!("{service}/{}", shared.instance),
            limits: config.common.limits.clone(),
            grpc_listen: config.grpc,
            grpc: None,
            health: None,
            admin,
            announced: Vec::new(),
            readiness,
            tasks: Tasks::new(service, shared.faults.clone()),
            shutdown: CancellationToken::new(),
            admin_tasks,
            admin_stop,
            shared,
        })
    }

    /// `service/instance`, for `metadata.source`.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The `[limits]` that hold for this service.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Connects to NATS and reconciles its streams (once a process); `/readyz` follows the connection.
    ///
    /// # Errors
    /// [`crate::Unreachable`] where NATS cannot be had within `nats.connect_timeout_s`: the process exits 69.
    pub async fn bus(&mut self) -> anyhow::Result<bus::Bus> {
        let bus = self.shared.bus().await?;
        let connection = bus.clone();
        self.readiness("nats", move || {
            if connection.is_connected() {
                Ok(())
            } else {
                Err("not connected".into())
            }
        });
        Ok(bus)
    }

    /// The service's long-running operations. Those that a former process did not end are given back to go on with where
    /// `resumable` says so, and are ended as `interrupted` otherwise.
    ///
    /// # Errors
    /// Where NATS cannot be reached, or the stored operations cannot be read.
    pub async fn workflows(
        &mut self,
        resumable: impl Fn(&Workflow) -> bool,
    ) -> anyhow::Result<(Workflows, Vec<Run>)> {
        let bus = self.shared.bus().await?;
        // A request that waits ends before the edge cuts it off.
        let longest = Duration::from_secs_f64(0.8 * self.limits.request_timeout_s);
        let opened = Workflows::open(bus, &self.source, longest, self.shutdown(), resumable);
        Ok(opened.await?)
    }

    /// Adds a check to `/readyz`: the reason where the service cannot do its work now. It is called on each request, and
    /// must only look.
    pub fn readiness(
        &mut self,
        name: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.readiness.add(name, Box::new(check));
    }

    /// Runs a task: an error or a panic in it is a fault that stops the service with a message. A task that is given
    /// `shutdown()` ends by itself when it is cancelled.
    pub fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.tasks.spawn(name, Box::pin(task));
    }

    /// Cancelled when draining begins.
    #[must_use]
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Starts the gRPC server with health, reflection, tracing and limits; `names` are the full service names that health
    /// reports. Returns the bound address. Health says SERVING once `start` has returned.
    ///
    /// # Errors
    /// An address that cannot be had: the process exits 64.
    pub async fn serve_grpc(
        &mut self,
        routes: tonic::service::Routes,
        names: &[&'static str],
    ) -> anyhow::Result<SocketAddr> {
        let key = format!("{}.grpc.listen", crate::config::section(self.service));
        let (listener, address) = bind(&key, self.grpc_listen).await?;
        let (server, health) =
            Server::new(routes, names, listener, &self.limits, self.shutdown.clone()).await?;
        self.tasks.spawn("grpc", Box::pin(server.run()));
        self.health = Some(health);
        self.grpc = Some(address);
        Ok(address)
    }

    /// Serves an axum router on an address of the service's own (streaming's WebSocket), with the peer's address as
    /// `ConnectInfo<SocketAddr>`.
    ///
    /// # Errors
    /// An address that cannot be had: the process exits 64.
    pub async fn serve_http(
        &mut self,
        name: &'static str,
        listen: SocketAddr,
        router: axum::Router,
    ) -> anyhow::Result<SocketAddr> {
        let key = format!("the address of {name} of {}", self.service);
        let (listener, address) = bind(&key, listen).await?;
        self.tasks.spawn(
            name,
            Box::pin(serve(listener, router, self.shutdown.clone())),
        );
        self.announce(name, address);
        Ok(address)
    }

    /// Tells the outside what it listens on (printed by `fresnel up`): `("udp", addr)`.
    pub fn announce(&mut self, what: &'static str, address: SocketAddr) {
        self.announced.push((what, address));
    }

    /// `start` has returned: the service is ready and says so.
    pub(crate) async fn started(&mut self) -> Started {
        self.readiness.set(Phase::Started);
        if let Some(health) = &self.health {
            health.serving().await;
        }
        let started = Started {
            service: self.service,
            grpc: self.grpc,
            admin: self.admin,
            announced: self.announced.clone(),
        };
        tracing::info!(
            service = self.service,
            grpc = self.grpc.map(tracing::field::display),
            admin = %self.admin,
            "started"
        );
        started
    }

    /// Says that it stops, stops taking work, finishes what is in hand; what still runs at `deadline` is cut off and named.
    pub(crate) async fn stop(mut self, deadline: Instant) -> Vec<&'static str> {
        self.readiness.set(Phase::Draining);
        if let Some(health) = &mut self.health {
            health.not_serving().await;
            health.close().await;
        }
        self.shutdown.cancel();
        let cut_off = self.tasks.join(deadline).await;
        self.admin_stop.cancel();
        // A scraper that keeps its connection open must not hold the process: the admin port has no work to lose.
        self.admin_tasks.abort();
        tracing::info!(service = self.service, "stopped");
        cut_off
    }
}

impl Drop for Runtime {
    /// A service that is dropped without `stop` ends at once.
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.tasks.abort();
        self.admin_tasks.abort();
    }
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| ConfigError::new(format!("{key} = {address}: {error}")))?;
    let address = listener
        .local_addr()
        .with_context(|| format!("{key} = {address}"))?;
    Ok((listener, address))
}

async fn serve(
    listener: TcpListener,
    router: axum::Router,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    axum::serve(
        listener,
        router.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .with_graceful_shutdown(stop.cancelled_owned())
    .await?;
    Ok(())
}
