//! A binary of ours as a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

/// Where the binaries lie that cargo built beside this one.
///
/// # Errors
/// Where `name` was not built: `cargo build --workspace --bins` does.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let mut dir = std::env::current_exe()?;
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    let path = dir.join(name);
    if !path.is_file() {
        bail!(
            "{} is not built: run `cargo build --workspace --bins` (make test does)",
            path.display()
        );
    }
    Ok(path)
}

/// A running process; killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    ports: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Starts a binary that writes its addresses to a ports file, and its log beside it.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(
        name: &str,
        dir: &Path,
        args: &[String],
        env: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(binary(name)?);
        command.args(args);
        command.envs(env.iter().map(|(key, value)| (key, value)));
        Self::spawn(name, command, dir)
    }

    /// The same of a command that may be another's, which runs the binary.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn spawn(name: &str, mut command: Command, dir: &Path) -> anyhow::Result<Self> {
        let ports = dir.join(format!("{name}.ports.json"));
        let log = dir.join(format!("{name}.log"));
        // The file of a former life would be read as this one's.
        let _ = std::fs::remove_file(&ports);
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)?;
        let child = command
            .arg("--ports-file")
            .arg(&ports)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            ports,
            log,
        })
    }

    /// Waits until it has written its addresses: it is ready then.
    ///
    /// # Errors
    /// Where it ends before, or takes longer than 60 s; the error holds its log.
    pub async fn ready(&mut self) -> anyhow::Result<Value> {
        let limit = Instant::now() + Duration::from_secs(60);
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        loop {
            poll.tick().await;
            // Written whole and renamed: what is there can be read.
            if let Ok(text) = std::fs::read_to_string(&self.ports) {
                return serde_json::from_str(&text)
                    .with_context(|| format!("ports file of {}", self.name));
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended with {status} before it was ready:\n{}",
                    self.name,
                    self.log()
                );
            }
            if Instant::now() > limit {
                bail!("{} was not ready within 60 s:\n{}", self.name, self.log());
            }
        }
    }

    /// What it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as `kill -9` does.
    ///
    /// # Errors
    /// Where it cannot be killed.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits for its exit code.
    ///
    /// # Errors
    /// Where it does not end within 30 s.
    pub async fn stop(&mut self) -> anyhow::Result<Option<i32>> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        let limit = Instant::now() + Duration::from_secs(30);
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        loop {
            poll.tick().await;
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            if Instant::now() > limit {
                bail!(
                    "{} did not end within 30 s of SIGTERM:\n{}",
                    self.name,
                    self.log()
                );
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
