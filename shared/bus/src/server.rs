//! A nats-server as a child process: for `fresnel up`, for tests and for the demo.

mod child;
mod find;
mod health;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::time::Instant;

use child::Running;
pub use find::find;
pub use health::Health;

const PROGRAM: &str = "nats-server";
const PID_FILE: &str = "nats-server.pid";

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// None was found.
    #[error(
        "no nats-server 2.14 or later: `make tools` puts one into .tools, or name one by $NATS_SERVER_BIN (looked at: {looked_at})"
    )]
    NotFound {
        /// The places looked at, with what was wrong there.
        looked_at: String,
    },
    /// The one that was named cannot be used.
    #[error("{path}: {reason}")]
    Unusable {
        /// The program.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of its data directory cannot be written or read.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another server works on the same data.
    #[error("a nats-server (process {pid}) works on {data_dir} already")]
    Running {
        /// Its process.
        pid: i32,
        /// The data directory.
        data_dir: PathBuf,
    },
    /// It ended, or did not answer, while starting.
    #[error("nats-server did not start within {waited_s:.1} s: {reason}")]
    Start {
        /// Seconds waited.
        waited_s: f64,
        /// Its last words, or what it lacks.
        reason: String,
    },
}

/// How to run a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The program; see [`find`].
    pub binary: PathBuf,
    /// Where it keeps its data, its configuration and its log. Made where it is not there.
    pub data_dir: PathBuf,
    /// Address to listen on.
    pub host: String,
    /// Port; 0 lets the server choose one.
    pub port: u16,
    /// Log file; `nats-server.log` in the data directory where none is given.
    pub log_file: Option<PathBuf>,
    /// Lines for the end of the server's configuration file, e.g. an `mqtt` block.
    pub extra_config: String,
    /// How long it may take to answer.
    pub start_timeout: Duration,
}

impl ServerConfig {
    /// A server on a free port of the loopback address.
    #[must_use]
    pub fn new(binary: PathBuf, data_dir: PathBuf) -> Self {
        Self {
            binary,
            data_dir,
            host: "127.0.0.1".to_owned(),
            port: 0,
            log_file: None,
            extra_config: String::new(),
            start_timeout: Duration::from_secs(20),
        }
    }

    fn log_file(&self) -> PathBuf {
        self.log_file
            .clone()
            .unwrap_or_else(|| self.data_dir.join("nats-server.log"))
    }

    /// What is acknowledged is on disk within 10 s: a power failure costs that much at most, a crash of the server nothing.
    fn text(&self) -> String {
        let quoted = |path: PathBuf| {
            serde_json::Value::String(path.to_string_lossy().into_owned()).to_string()
        };
        format!(
            "server_name: fresnel\nhost: {host}\nport: {port}\nhttp: \"127.0.0.1:-1\"\nmax_payload: 8MB\nlog_file: {log}\npid_file: {pid}\nports_file_dir: {dir}\n\
             jetstream {{\n  store_dir: {dir}\n  sync_interval: 10s\n}}\n{extra}\n",
            host = serde_json::Value::String(self.host.clone()),
            port = if self.port == 0 {
                -1
            } else {
                i32::from(self.port)
            },
            log = quoted(self.log_file()),
            pid = quoted(self.data_dir.join(PID_FILE)),
            dir = quoted(self.data_dir.clone()),
            extra = self.extra_config,
        )
    }
}

/// A running nats-server. Killed when dropped; on Linux with `setpriv` also when this process ends without dropping it.
pub struct Server {
    config: ServerConfig,
    port: u16,
    /// Where it says how it is: loopback, a port of its own choice.
    monitor: u16,
    child: Running,
}

#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
    monitoring: Vec<String>,
}

impl Server {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// Where its files cannot be written, another server works on the same data, or it does not answer in time: then its
    /// last words are part of the error.
    pub async fn start(config: ServerConfig) -> Result<Self, ServerError> {
        let file = |path: &Path| {
            let path = path.to_path_buf();
            move |source| ServerError::File { path, source }
        };
        std::fs::create_dir_all(&config.data_dir).map_err(file(&config.data_dir))?;
        let config = ServerConfig {
            data_dir: std::path::absolute(&config.data_dir).map_err(file(&config.data_dir))?,
            ..config
        };
        if let Some(pid) = running_on(&config.data_dir) {
            return Err(ServerError::Running {
                pid,
                data_dir: config.data_dir,
            });
        }
        let config_file = config.data_dir.join("nats-server.conf");
        std::fs::write(&config_file, config.text()).map_err(file(&config_file))?;
        let began = Instant::now();
        let child = Running::spawn(&config.binary, &config_file)
            .await
            .map_err(file(&config.binary))?;
        // From here on, an early return drops `child`, which kills it.
        let ports_file = config.data_dir.join(format!(
            "{}_{}.ports",
            program_name(&config.binary),
            child.pid
        ));
        let late = |reason: String| ServerError::Start {
            waited_s: began.elapsed().as_secs_f64(),
            reason,
        };
        let (port, monitor) = loop {
            if let Some(status) = child.exited() {
                return Err(late(format!(
                    "it ended with {status}: {}",
                    last_words(&config.log_file())
                )));
            }
            if let Some(ports) = std::fs::read(&ports_file)
                .ok()
                .and_then(|text| ports_of(&text))
            {
                break ports;
            }
            if began.elapsed() > config.start_timeout {
                return Err(late(format!(
                    "it does not say its port: {}",
                    last_words(&config.log_file())
                )));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        let _ = std::fs::remove_file(&ports_file);
        let server = Self {
            port,
            monitor,
            child,
            config,
        };
        server.answer(began).await?;
        Ok(server)
    }

    /// Waits until it greets.
    async fn answer(&self, began: Instant) -> Result<(), ServerError> {
        use tokio::io::AsyncReadExt as _;
        loop {
            let greeting = async {
                let mut socket =
                    tokio::net::TcpStream::connect((self.config.host.as_str(), self.port)).await?;
                let mut word = [0; 4];
                socket.read_exact(&mut word).await?;
                Ok::<_, std::io::Error>(&word == b"INFO")
            };
            let left = self.config.start_timeout.saturating_sub(began.elapsed());
            let reason = match tokio::time::timeout(left, greeting).await {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) => "something else answers on its port".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it does not answer".to_owned(),
            };
            if began.elapsed() > self.config.start_timeout || self.child.exited().is_some() {
                let reason = format!("{reason}: {}", last_words(&self.config.log_file()));
                return Err(ServerError::Start {
                    waited_s: began.elapsed().as_secs_f64(),
                    reason,
                });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// `nats://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}:{}", self.config.host, self.port)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        u32::try_from(self.child.pid).unwrap_or_default()
    }

    /// Waits until it has ended by itself; how it ended.
    pub async fn exited(&self) -> String {
        let mut exited = self.child.exits.clone();
        match exited.wait_for(Option::is_some).await {
            Ok(status) => status.clone().unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// How it says that it is.
    pub async fn health(&self) -> Health {
        health::ask(self.monitor).await
    }

    /// Asks it to end, and kills it when it has not within 10 s.
    pub async fn stop(self) {
        self.child.signal(Signal::SIGTERM);
        if tokio::time::timeout(Duration::from_secs(10), self.exited())
            .await
            .is_err()
        {
            self.kill().await;
        }
    }

    /// Kills it at once (SIGKILL), and waits until it is gone.
    pub async fn kill(self) {
        self.child.signal(Signal::SIGKILL);
        self.exited().await;
    }

    /// The configuration by which [`start`](Self::start) makes the same server again: on the same port and data.
    #[must_use]
    pub fn same(&self) -> ServerConfig {
        ServerConfig {
            port: self.port,
            ..self.config.clone()
        }
    }

    /// Kills it at once and starts it again on the same port and data.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn restart(self) -> Result<Self, ServerError> {
        let config = self.same();
        self.kill().await;
        Self::start(config).await
    }
}

/// The server that works on this data directory, by its pid file; one that is dead, or another program by now, is none.
fn running_on(data_dir: &Path) -> Option<i32> {
    let pid = std::fs::read_to_string(data_dir.join(PID_FILE))
        .ok()?
        .trim()
        .parse::<i32>()
        .ok()?;
    kill(Pid::from_raw(pid), None).ok()?;
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let ours = data_dir.to_string_lossy();
    String::from_utf8_lossy(&command)
        .contains(ours.as_ref())
        .then_some(pid)
}

fn program_name(binary: &Path) -> String {
    binary.file_name().map_or_else(
        || PROGRAM.to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Of clients, and of the monitoring.
fn ports_of(text: &[u8]) -> Option<(u16, u16)> {
    let ports: Ports = serde_json::from_slice(text).ok()?;
    let port = |urls: &[String]| urls.first()?.rsplit(':').next()?.parse().ok();
    Some((port(&ports.nats)?, port(&ports.monitoring)?))
}

/// The end of the log, where the reason stands.
fn last_words(log: &Path) -> String {
    match std::fs::read_to_string(log) {
        Ok(text) => {
            let lines: Vec<&str> = text.lines().rev().take(3).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
        }
        Err(error) => format!("no log ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        let text =
            br#"{"nats":["nats://127.0.0.1:40001"],"monitoring":["http://127.0.0.1:40002"]}"#;
        assert_eq!(ports_of(text), Some((40001, 40002)));
        assert_eq!(ports_of(b"{\"nats\":["), None);
    }
}
