//! The whole system in a folder of its own: a nats-server, the services as five processes, and the way to each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bus::server::{Server, ServerConfig};
use serde_json::Value;

use crate::process::Process;

/// The five services, in the order in which they are started.
pub const SERVICES: [&str; 5] = [
    "streaming",
    "alerting",
    "pose",
    "signal",
    "hardware-gateway",
];

/// The running system.
pub struct Sandbox {
    dir: tempfile::TempDir,
    /// The nats-server.
    pub nats: Server,
    services: BTreeMap<&'static str, Process>,
    addresses: BTreeMap<&'static str, Value>,
    settings: Vec<String>,
    env: Vec<(String, String)>,
}

impl Sandbox {
    /// Starts a nats-server and nothing else.
    ///
    /// # Errors
    /// Where there is no nats-server (`make tools`).
    pub async fn empty() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let binary = bus::server::find(None).context("no nats-server")?;
        let nats = Server::start(ServerConfig::new(binary, dir.path().join("nats"))).await?;
        Ok(Self {
            dir,
            nats,
            services: BTreeMap::new(),
            addresses: BTreeMap::new(),
            settings: Vec::new(),
            env: Vec::new(),
        })
    }

    /// Starts all five services; `settings` are `key=value` pairs for `--set`, `env` goes to each process.
    ///
    /// # Errors
    /// Where a service does not get ready; the error holds its log.
    pub async fn start(settings: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::of(&SERVICES, settings, env).await
    }

    /// Starts some of the services.
    ///
    /// # Errors
    /// As [`Sandbox::start`].
    pub async fn of(
        services: &[&'static str],
        settings: &[&str],
        env: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut sandbox = Self::empty().await?;
        sandbox.settings = settings.iter().map(|s| (*s).to_owned()).collect();
        sandbox.env = env
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        for service in services {
            sandbox.launch(service)?;
        }
        for service in services {
            sandbox.ready(service).await?;
        }
        Ok(sandbox)
    }

    /// Starts one service without waiting.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn launch(&mut self, service: &'static str) -> anyhow::Result<()> {
        let args = self.arguments(service, self.addresses.get(service));
        let process = Process::start(service, self.dir.path(), &args, &self.env)?;
        self.services.insert(service, process);
        Ok(())
    }

    /// Starts another process of a service beside the one that runs, and waits until it is ready. It calls itself
    /// `another`, and is the caller's, with its addresses.
    ///
    /// # Errors
    /// Where it does not get ready.
    pub async fn another(&self, service: &str) -> anyhow::Result<(Process, Value)> {
        let dir = self.dir.path().join(format!("another-{service}"));
        std::fs::create_dir_all(&dir)?;
        let mut args = self.arguments(service, None);
        args.extend(["--set".into(), "instance.name=another".into()]);
        let mut process = Process::start(service, &dir, &args, &self.env)?;
        let ports = process.ready().await?;
        Ok((process, ports))
    }

    /// `known` are the addresses of its former life.
    fn arguments(&self, service: &str, known: Option<&Value>) -> Vec<String> {
        let mut args = vec!["--nats".to_owned(), self.nats.url()];
        // A restarted service comes back where its clients look for it.
        let address = |key: &str| {
            let known = known
                .and_then(|ports| ports.get(service)?.get(key))
                .and_then(Value::as_str);
            known.unwrap_or("127.0.0.1:0").to_owned()
        };
        args.extend([
            "--grpc-listen".into(),
            address("grpc"),
            "--admin-listen".into(),
            "127.0.0.1:0".into(),
        ]);
        // Many systems at once must fit on a disk.
        let mut sets = vec![
            "nats.storage_scale=0.25".to_owned(),
            "nats.connect_timeout_s=60.0".to_owned(),
            "nats.publish_timeout_s=60.0".to_owned(),
        ];
        match service {
            "hardware-gateway" => {
                sets.push(format!("hardware_gateway.udp.listen={}", address("udp")))
            }
            "streaming" => sets.push(format!("streaming.http_listen={}", address("http"))),
            _ => {}
        }
        let section = format!("{}.", service.replace('-', "_"));
        sets.extend(
            self.settings
                .iter()
                .filter(|set| {
                    set.starts_with(&section) || set.starts_with("log.") || set.starts_with("nats.")
                })
                .cloned(),
        );
        for set in sets {
            args.extend(["--set".into(), set]);
        }
        args
    }

    /// Waits until a service is ready.
    ///
    /// # Errors
    /// Where it ends or takes too long.
    pub async fn ready(&mut self, service: &'static str) -> anyhow::Result<()> {
        let process = self.services.get_mut(service).context("not launched")?;
        let ports = process.ready().await?;
        self.addresses.insert(service, ports);
        Ok(())
    }

    /// `kill -9`, and a new start.
    ///
    /// # Errors
    /// Where it does not get ready again.
    pub async fn kill_and_restart(&mut self, service: &'static str) -> anyhow::Result<()> {
        self.services
            .get_mut(service)
            .context("not running")?
            .kill()?;
        self.launch(service)?;
        self.ready(service).await
    }

    /// Address of a service: `grpc`, `admin`, `udp`, `http`.
    ///
    /// # Errors
    /// Where it has none of that kind.
    pub fn address(&self, service: &str, kind: &str) -> anyhow::Result<String> {
        let ports = self
            .addresses
            .get(service)
            .with_context(|| format!("{service} is not running"))?;
        let address = ports
            .get(service)
            .and_then(|ports| ports.get(kind))
            .and_then(Value::as_str);
        Ok(address
            .with_context(|| format!("{service} has no {kind} address in {ports}"))?
            .to_owned())
    }

    /// A service's process.
    ///
    /// # Errors
    /// Where it was not started.
    pub fn service(&mut self, service: &str) -> anyhow::Result<&mut Process> {
        self.services
            .get_mut(service)
            .with_context(|| format!("{service} was not started"))
    }

    /// The folder of this system.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file into the folder.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes)?;
        Ok(path)
    }

    /// A connection of a third party: no code of ours.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn third_party(&self) -> anyhow::Result<async_nats::Client> {
        Ok(async_nats::connect(self.nats.url()).await?)
    }

    /// The logs of all services, for a failed test's message.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for (name, process) in &self.services {
            text.push_str(&format!("--- {name}\n{}\n", process.log()));
        }
        text
    }
}
