//! The system under load: `fresnel up`, or a nats-server and the five services.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bus::server::{Server, ServerConfig};
use e2e::disk::SmallDisk;
use e2e::sandbox::SERVICES;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value};

use crate::measure;

const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(15);

/// What is started, and how.
#[derive(Clone)]
pub struct Setup {
    pub fresnel: PathBuf,
    /// The five services as processes of their own.
    pub separate: bool,
    /// `key=value` pairs of the configuration.
    pub set: Vec<String>,
}

impl Setup {
    /// The services' binaries lie beside that of `fresnel`.
    pub fn new(fresnel: &Path, separate: bool, set: Vec<String>) -> anyhow::Result<Self> {
        if !fresnel.is_file() {
            bail!(
                "{} is not built: `cargo build --release --bins`",
                fresnel.display()
            );
        }
        let fresnel = fresnel.canonicalize()?;
        Ok(Self {
            fresnel,
            separate,
            set,
        })
    }

    fn configure(&self, command: &mut Command) {
        for set in &self.set {
            command.args(["--set", set]);
        }
    }

    fn service(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.fresnel.with_file_name(name);
        if !path.is_file() {
            bail!(
                "{} is not built: `cargo build --release --bins`",
                path.display()
            );
        }
        Ok(path)
    }
}

/// One process of ours; killed when dropped.
struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    ports: PathBuf,
}

/// The running system.
pub struct System {
    running: Vec<Running>,
    nats: Option<Server>,
    /// All ports files in one.
    ports: Map<String, Value>,
    /// From spawning to ready.
    pub started_in: Duration,
}

impl System {
    /// Starts it on `dir` and waits until it is ready.
    pub async fn start(setup: &Setup, dir: &Path) -> anyhow::Result<Self> {
        let spawned = Instant::now();
        let system = if setup.separate {
            Self::spawn_services(setup, dir).await?
        } else {
            Self::spawn_up(
                setup,
                Command::new(&setup.fresnel),
                &dir.join("data"),
                &[],
                dir,
            )?
        };
        system.ready(spawned).await
    }

    /// Starts `fresnel up` with its data on a small disk, and more arguments; waits until it is ready.
    pub async fn on_disk(
        setup: &Setup,
        disk: &SmallDisk,
        more: &[String],
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let spawned = Instant::now();
        let command = disk.command(&setup.fresnel);
        Self::spawn_up(setup, command, disk.dir(), more, dir)?
            .ready(spawned)
            .await
    }

    fn spawn_up(
        setup: &Setup,
        mut command: Command,
        data: &Path,
        more: &[String],
        dir: &Path,
    ) -> anyhow::Result<Self> {
        command.args(["up", "--ephemeral", "--data-dir"]).arg(data);
        command.args(more);
        setup.configure(&mut command);
        Ok(Self {
            running: vec![Running::spawn("fresnel up", command, dir)?],
            nats: None,
            ports: Map::new(),
            started_in: Duration::ZERO,
        })
    }

    async fn ready(mut self, spawned: Instant) -> anyhow::Result<Self> {
        for running in &mut self.running {
            self.ports.extend(running.ready().await?);
        }
        self.started_in = spawned.elapsed();
        Ok(self)
    }

    async fn spawn_services(setup: &Setup, dir: &Path) -> anyhow::Result<Self> {
        let server = bus::server::find(None).context("no nats-server")?;
        let nats = Server::start(ServerConfig::new(server, dir.join("nats"))).await?;
        let url = nats.url();
        let mut running = Vec::new();
        for name in SERVICES {
            let mut command = Command::new(setup.service(name)?);
            command.args(["--nats", &url]);
            command.args([
                "--grpc-listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ]);
            match name {
                "hardware-gateway" => {
                    command.args(["--set", "hardware_gateway.udp.listen=127.0.0.1:0"]);
                }
                "streaming" => {
                    command.args(["--set", "streaming.http_listen=127.0.0.1:0"]);
                }
                _ => {}
            }
            setup.configure(&mut command);
            running.push(Running::spawn(name, command, dir)?);
        }
        let mut ports = Map::new();
        ports.insert("nats".into(), Value::String(url));
        Ok(Self {
            running,
            nats: Some(nats),
            ports,
            started_in: Duration::ZERO,
        })
    }

    /// An address from the ports files: `("hardware-gateway", "udp")`.
    pub fn address(&self, service: &str, kind: &str) -> anyhow::Result<String> {
        let address = self
            .ports
            .get(service)
            .and_then(|service| service.get(kind));
        self.text(address, &format!("{service} {kind}"))
    }

    /// URL of the nats-server.
    pub fn nats_url(&self) -> anyhow::Result<String> {
        self.text(self.ports.get("nats"), "nats")
    }

    fn text(&self, address: Option<&Value>, what: &str) -> anyhow::Result<String> {
        let known = || format!("no {what} in {}", Value::Object(self.ports.clone()));
        Ok(address
            .and_then(Value::as_str)
            .with_context(known)?
            .to_owned())
    }

    /// The processes, by name.
    pub fn processes(&self) -> anyhow::Result<Vec<(String, u32)>> {
        let mut all: Vec<(String, u32)> = Vec::new();
        for running in &self.running {
            let pid = running.child.id();
            all.push((running.name.clone(), pid));
            for child in measure::children(pid)? {
                all.push((measure::name(child)?, child));
            }
        }
        if let Some(nats) = &self.nats {
            all.push(("nats-server".into(), nats.pid()));
        }
        Ok(all)
    }

    /// The process of that name that we started.
    pub fn process(&self, name: &str) -> anyhow::Result<u32> {
        let running = self.running.iter().find(|running| running.name == name);
        Ok(running
            .with_context(|| format!("{name} was not started"))?
            .child
            .id())
    }

    /// SIGTERM, in reverse order of starting, and the end of each.
    pub async fn stop(mut self) -> anyhow::Result<Duration> {
        let asked = Instant::now();
        while let Some(mut running) = self.running.pop() {
            let status = running.stop().await?;
            if !status.success() {
                bail!("{} ended with {status}:\n{}", running.name, running.tail());
            }
        }
        if let Some(nats) = self.nats.take() {
            nats.stop().await;
        }
        Ok(asked.elapsed())
    }

    /// The ends of the logs.
    pub fn logs(&self) -> String {
        self.running
            .iter()
            .map(|one| format!("--- {}\n{}\n", one.name, one.tail()))
            .collect()
    }
}

impl Running {
    fn spawn(name: &str, mut command: Command, dir: &Path) -> anyhow::Result<Self> {
        let file = name.replace(' ', "-");
        let ports = dir.join(format!("{file}.ports.json"));
        let log = dir.join(format!("{file}.log"));
        if ports.exists() {
            // Of the start before.
            fs::remove_file(&ports)?;
        }
        let out = File::create(&log)?;
        let child = command
            .arg("--ports-file")
            .arg(&ports)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        Ok(Self {
            name: name.into(),
            child,
            log,
            ports,
        })
    }

    async fn ready(&mut self) -> anyhow::Result<Map<String, Value>> {
        let limit = Instant::now() + PATIENCE;
        let mut poll = tokio::time::interval(Duration::from_millis(1));
        loop {
            poll.tick().await;
            // Written whole and renamed: what is there can be read.
            if let Ok(text) = fs::read_to_string(&self.ports) {
                return Ok(serde_json::from_str(&text)?);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended with {status} before it was ready:\n{}",
                    self.name,
                    self.tail()
                );
            }
            if Instant::now() > limit {
                bail!(
                    "{} was not ready within {PATIENCE:?}:\n{}",
                    self.name,
                    self.tail()
                );
            }
        }
    }

    async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        kill(
            Pid::from_raw(i32::try_from(self.child.id())?),
            Signal::SIGTERM,
        )?;
        let limit = Instant::now() + PATIENCE;
        let mut poll = tokio::time::interval(Duration::from_millis(5));
        loop {
            poll.tick().await;
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > limit {
                bail!(
                    "{} did not end within {PATIENCE:?} of SIGTERM:\n{}",
                    self.name,
                    self.tail()
                );
            }
        }
    }

    fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(30);
        lines.get(from..).unwrap_or_default().join("\n")
    }
}

impl Drop for Running {
    /// Only where a run failed: asked first, so that `fresnel up` takes its nats-server along.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait()
            && let Ok(pid) = i32::try_from(self.child.id())
            && kill(Pid::from_raw(pid), Signal::SIGTERM).is_ok()
        {
            let limit = Instant::now() + PATIENCE_AT_THE_END;
            while Instant::now() < limit && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
