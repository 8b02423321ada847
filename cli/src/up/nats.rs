//! The nats-server of `fresnel up`: a child process with its data in a directory that one `up` at a time may use.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bus::server::{Health, Server, ServerConfig, ServerError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runtime::{ConfigError, Unreachable};

/// How long a server that was left behind may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// A server that dies more often than this within a minute is not started again.
const MAX_DEATHS: usize = 3;
/// How often a server is asked how it is.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// So many bytes must fit on the disk before a server is started on it again: its files are written anew then.
const ROOM_BYTES: usize = 4 << 20;

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

    /// Starts it again when it dies, or cannot write any more, on the same port and data; the services wait for it
    /// meanwhile. Where the disk is full it waits for room. Returns why that did not go on.
    pub async fn keep_running(&mut self) -> anyhow::Error {
        let mut deaths: Vec<Instant> = Vec::new();
        loop {
            let asked = match &self.server {
                Some(server) => tokio::select! {
                    status = server.exited() => {
                        tracing::error!(
                            "nats-server ended with {status}; its log is in {}",
                            self.again.data_dir.display()
                        );
                        false
                    }
                    () = self.writes_again(server) => true,
                },
                None => false,
            };
            self.pid.store(0, Ordering::Relaxed);
            match self.server.take() {
                Some(server) if asked => server.stop().await,
                _ => deaths.push(Instant::now()),
            }
            self.room().await;
            deaths.retain(|death| death.elapsed() < Duration::from_secs(60));
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

    /// Waits until the server cannot write any more and there is room for it again: it has to be started again then,
    /// since it does not try to write by itself.
    async fn writes_again(&self, server: &Server) {
        let mut tick = tokio::time::interval(ASK_EVERY);
        loop {
            tick.tick().await;
            if let Health::CannotWrite(why) = server.health().await {
                tracing::error!("nats-server stores nothing any more: {why}");
                self.room().await;
                tracing::warn!("there is room for nats-server: it is started again");
                return;
            }
        }
    }

    /// Waits until something can be written where the data is; says so once where it cannot.
    async fn room(&self) {
        let mut tick = tokio::time::interval(ASK_EVERY);
        let mut said = false;
        loop {
            tick.tick().await;
            let Err(error) = try_to_write(self.dir.path()).await else {
                return;
            };
            if !std::mem::replace(&mut said, true) {
                tracing::error!(
                    "no event can be stored: {}: {error}; make room there, and it goes on by itself",
                    self.dir.path().display()
                );
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

/// Whether a few megabytes can be written in a directory, quotas and all.
async fn try_to_write(dir: &Path) -> std::io::Result<()> {
    let path = dir.join("room.tmp");
    let written = tokio::fs::write(&path, vec![0; ROOM_BYTES]).await;
    let removed = tokio::fs::remove_file(&path).await;
    written.and(removed)
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
