//! The child process, which ends with us.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{oneshot, watch};

/// The child belongs to a thread of its own, which waits for its end: `setpriv --pdeathsig` acts on the end of the thread
/// that made the child, so that thread must not be one of a pool.
pub(super) struct Running {
    pub pid: i32,
    pub exits: watch::Receiver<Option<String>>,
    /// Held while a signal is sent, and by the thread while it reaps: so a signal never goes to a reused process id.
    alive: Arc<Mutex<bool>>,
}

impl Running {
    pub async fn spawn(binary: &Path, config_file: &Path) -> Result<Self, std::io::Error> {
        let mut command = match setpriv() {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        // Its own group: a Ctrl-C at the terminal is for us, who stop it last.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command
            .arg("--config")
            .arg(config_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let (started, outcome) = oneshot::channel();
        let (exit, exits) = watch::channel(None);
        let alive = Arc::new(Mutex::new(true));
        let held = Arc::clone(&alive);
        std::thread::Builder::new()
            .name("nats-server".to_owned())
            .spawn(move || {
                let mut child = match command.spawn() {
                    Ok(child) => child,
                    Err(error) => {
                        let _ = started.send(Err(error));
                        return;
                    }
                };
                if started.send(Ok(child.id())).is_err() {
                    // Nobody waits for it any more.
                    let _ = child.kill();
                }
                let status = await_end(&mut child, &held);
                let _ = exit.send(Some(status));
            })?;
        let ended = || std::io::Error::other("the thread of the server ended");
        let pid = outcome.await.map_err(|_| ended())??;
        let pid = i32::try_from(pid).map_err(std::io::Error::other)?;
        Ok(Self { pid, exits, alive })
    }

    pub fn exited(&self) -> Option<String> {
        self.exits.borrow().clone()
    }

    pub fn signal(&self, signal: Signal) {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if *alive {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Waits for the end, and reaps under the lock: until `alive` says otherwise, the process id is the child's.
fn await_end(child: &mut Child, alive: &Mutex<bool>) -> String {
    loop {
        await_without_reaping(child);
        let mut alive = alive.lock().unwrap_or_else(PoisonError::into_inner);
        let status = match child.try_wait() {
            Ok(None) => continue,
            Ok(Some(status)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        *alive = false;
        return status;
    }
}

#[cfg(target_os = "linux")]
fn await_without_reaping(child: &Child) {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    if let Ok(pid) = i32::try_from(child.id()) {
        // Interrupted, or gone: the caller looks and comes again.
        let _ = waitid(
            Id::Pid(Pid::from_raw(pid)),
            WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT,
        );
    }
}

#[cfg(not(target_os = "linux"))]
fn await_without_reaping(_: &Child) {
    std::thread::sleep(std::time::Duration::from_millis(100));
}

/// `setpriv` of util-linux, where it is there; that of busybox cannot do it.
fn setpriv() -> Option<PathBuf> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&path)
        .map(|dir| dir.join("setpriv"))
        .find(|program| program.is_file())?;
    let tried = Command::new(&program)
        .args(["--pdeathsig", "KILL", "--", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried
        .is_ok_and(|status| status.success())
        .then_some(program)
}
