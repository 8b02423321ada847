//! A nats-server, the gateway and the streaming service, and the program under test.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bus::Bus;
use bus::server::{Server, ServerConfig};
use runtime::{Process, Settings, Started};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// How long something that must happen may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// The services under test; each can be stopped and started again at its address.
pub struct System {
    pub nats: Server,
    pub bus: Bus,
    pub data: tempfile::TempDir,
    gateway: Option<Service>,
    streaming: Option<Service>,
}

struct Service {
    process: Process,
    started: Started,
}

impl System {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let binary = bus::server::find(None).unwrap();
        let nats = Server::start(ServerConfig::new(binary, data.path().join("nats")))
            .await
            .unwrap();
        let config = bus::Config {
            url: nats.url(),
            storage_scale: 0.1,
            ..bus::Config::default()
        };
        let bus = Bus::connect(config).await.unwrap();
        bus.reconcile().await.unwrap();
        Self {
            nats,
            bus,
            data,
            gateway: None,
            streaming: None,
        }
    }

    fn process(&self, section: &str, address: Option<SocketAddr>) -> Process {
        let address =
            address.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string());
        let settings = format!(
            "[nats]\nurl = \"{}\"\nstorage_scale = 0.1\n[{section}.grpc]\nlisten = \"{address}\"\n",
            self.nats.url()
        );
        Process::new(Settings::explicit(&settings).unwrap()).unwrap()
    }

    pub async fn start_gateway(&mut self, address: Option<SocketAddr>) -> SocketAddr {
        let process = self.process("hardware_gateway", address);
        let started = process
            .start("hardware-gateway", hardware_gateway::start)
            .await
            .unwrap();
        let address = started.grpc.unwrap();
        self.gateway = Some(Service { process, started });
        address
    }

    pub async fn stop_gateway(&mut self) -> SocketAddr {
        let Service { process, started } = self.gateway.take().unwrap();
        process.stop().await;
        started.grpc.unwrap()
    }

    pub async fn start_streaming(&mut self, address: Option<SocketAddr>) -> SocketAddr {
        let process = self.process("streaming", address);
        let started = process.start("streaming", streaming::start).await.unwrap();
        let address = started.grpc.unwrap();
        self.streaming = Some(Service { process, started });
        address
    }

    pub async fn stop_streaming(&mut self) -> SocketAddr {
        let Service { process, started } = self.streaming.take().unwrap();
        process.stop().await;
        started.grpc.unwrap()
    }

    /// `fresnel ARGS`, pointed at these services.
    pub fn fresnel(&self, args: &[&str]) -> Run {
        let address = |service: &Option<Service>| match service {
            Some(service) => service.started.grpc.unwrap().to_string(),
            None => String::new(),
        };
        let mut child = Command::new(env!("CARGO_BIN_EXE_fresnel"))
            .args(args)
            .env("FRESNEL_GATEWAY_ADDRESS", address(&self.gateway))
            .env("FRESNEL_STREAMING_ADDRESS", address(&self.streaming))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Run { child, lines }
    }

    /// Runs it to its end: exit code, standard output, standard error.
    pub async fn output(&self, args: &[&str]) -> (i32, String, String) {
        let mut run = self.fresnel(args);
        let mut out = String::new();
        while let Some(line) = within("a line", run.lines.next_line()).await.unwrap() {
            out.push_str(&line);
            out.push('\n');
        }
        let (status, err) = run.end().await;
        (status.code().unwrap(), out, err)
    }

    /// Runs it, and reads its output as one JSON value.
    pub async fn json(&self, args: &[&str]) -> Value {
        let (code, out, err) = self.output(args).await;
        assert_eq!(code, 0, "{args:?}: {err}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}"))
    }
}

/// The program, running.
pub struct Run {
    pub child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Run {
    pub async fn line(&mut self) -> String {
        within("a line", self.lines.next_line())
            .await
            .unwrap()
            .expect("another line")
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGINT,
        )
        .unwrap();
    }

    /// Waits for its end: how, and what it said on standard error.
    pub async fn end(mut self) -> (ExitStatus, String) {
        let mut err = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        within("the end of standard error", stderr.read_to_string(&mut err))
            .await
            .unwrap();
        (within("the end", self.child.wait()).await.unwrap(), err)
    }
}
