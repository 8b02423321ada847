//! The nats-server of `fresnel up`: a child process with its data in a directory that one `up` at a time may use.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bus::server::{Server, ServerConfig, ServerError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runtime::{ConfigError, Unreachable};

/// How long a server that was left behind may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// A server that dies more often than this within a minute is not started again.
const MAX_DEATHS: usize = 3;

/// The data directory, ours until it is dropped: the system gives the lock up also for a process that was killed.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes `dir`, or the usual place where none is given.
    ///
    /// # Errors
    /// Where another `fresnel up` has it, or it cannot be written.
    pub fn take(dir: Option<PathBuf>) -> anyhow::Result<Self> {
        let path = dir
            .or_else(usual_place)
            .context("no home directory: say where data is kept with --data-dir")?;
        let what = || format!("data directory {}", path.display());
        std::fs::create_dir_all(&path).with_context(what)?;
        let name = path.join("fresnel.lock");
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&name)
            .with_context(what)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = lock.read_to_string(&mut holder);
                let other = format!(
                    "another `fresnel up` (process {}) keeps its data in {}: stop it, or say where else with --data-dir",
                    holder.trim(),
                    path.display()
                );
                return Err(ConfigError::new(other).into());
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(what),
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .with_context(what)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn usual_place() -> Option<PathBuf> {
    let named = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let data = named("XDG_DATA_HOME").filter(|path| path.is_absolute());
    Some(
        data.or_else(|| named("HOME").map(|home| home.join(".local/share")))?
            .join("fresnel"),
    )
}

/// A running nats-server and its directory.
pub struct Nats {
    /// `None` only between the death of one and the start of the next.
    server: Option<Server>,
    again: ServerConfig,
    url: String,
    pid: Arc<AtomicU32>,
    dir: DataDir,
}

impl Nats {
    /// Finds a nats-server and starts it on `port` (0: a free one). One that a killed `up` left on the data is stopped first.
    ///
    /// # Errors
    /// Where there is none, or it does not start.
    pub async fn start(program: Option<&Path>, dir: DataDir, port: u16) -> anyhow::Result<Self> {
        let missing = |reason: String| Unreachable {
            what: "a nats-server".into(),
            reason,
        };
        let binary = bus::server::find(program).map_err(|error| missing(error.to_string()))?;
        let config = ServerConfig {
            port,
            ..ServerConfig::new(binary, dir.path.join("nats"))
        };
        let started = match Server::start(config.clone()).await {
            Err(ServerError::Running { pid, .. }) => {
                // The directory is locked by us, so nobody owns that server any more.
                eprintln!(
                    "stopping the nats-server (process {pid}) that a killed `fresnel up` left behind"
                );
                end(pid).await?;
                Server::start(config).await
            }
            other => other,
        };
        let server = started.map_err(|error| {
            missing(format!("{error}. A server that runs already is used with --nats nats://HOST:PORT; --nats-port moves ours"))
        })?;
        Ok(Self {
            again: server.same(),
            url: server.url(),
            pid: Arc::new(AtomicU32::new(server.pid())),
            server: Some(server),
            dir,
        })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Where its data is.
    pub fn data_dir(&self) -> &Path {
        &self.dir.path
    }

    /// Asks it to end without waiting: for when this process ends at once.
    pub fn terminate(&self) -> impl FnOnce() + Send + 'static {
        let pid = self.pid.clone();
        move || {
            if let Ok(pid @ 1..) = i32::try_from(pid.load(Ordering::Relaxed)) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
    }

    /// Starts it again when it dies, on the same port and data; the services wait for it meanwhile. Returns why that did
    /// not go on.
    pub async fn keep_running(&mut self) -> anyhow::Error {
        let mut deaths: Vec<Instant> = Vec::new();
        loop {
            if let Some(server) = &self.server {
                let status = server.exited().await;
                tracing::error!(
                    "nats-server ended with {status}; its log is in {}",
                    self.again.data_dir.display()
                );
            }
            self.pid.store(0, Ordering::Relaxed);
            self.server = None;
            deaths.retain(|death| death.elapsed() < Duration::from_secs(60));
            deaths.push(Instant::now());
            if deaths.len() > MAX_DEATHS {
                return anyhow::anyhow!("nats-server ended {} times within a minute", deaths.len());
            }
            match Server::start(self.again.clone()).await {
                Ok(server) => {
                    tracing::warn!("nats-server runs again (process {})", server.pid());
                    self.pid.store(server.pid(), Ordering::Relaxed);
                    self.server = Some(server);
                }
                Err(error) => {
                    return anyhow::Error::new(error).context("nats-server does not start again");
                }
            }
        }
    }

    /// Stops it and gives the directory up.
    pub async fn stop(self) {
        if let Some(server) = self.server {
            server.stop().await;
        }
    }
}

/// Asks a process to end and waits until it is gone.
async fn end(pid: i32) -> anyhow::Result<()> {
    let process = Pid::from_raw(pid);
    kill(process, Signal::SIGTERM).with_context(|| format!("process {pid} cannot be stopped"))?;
    let began = Instant::now();
    while kill(process, None).is_ok() {
        if began.elapsed() > PATIENCE {
            bail!("nats-server (process {pid}) does not stop: end it, and try again");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
