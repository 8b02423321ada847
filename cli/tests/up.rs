//! `fresnel up` and `fresnel doctor` as processes, with a real nats-server.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Only a bound on failure: everything here takes well under a second.
const PATIENCE: Duration = Duration::from_secs(60);

fn fresnel(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fresnel"));
    for (name, _) in std::env::vars() {
        if name.starts_with("FRESNEL_") && name != "FRESNEL_RECORDINGS" {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// A running `fresnel up` on free ports.
struct Up {
    child: Child,
    log: Receiver<String>,
    seen: Vec<String>,
    ports: Value,
    data: PathBuf,
}

impl Up {
    fn start(dir: &Path) -> Self {
        let data = dir.join("data");
        let file = dir.join("ports.json");
        let _ = std::fs::remove_file(&file);
        let mut command = fresnel(&["up", "--ephemeral", "--log-format", "json"]);
        command
            .arg("--data-dir")
            .arg(&data)
            .arg("--ports-file")
            .arg(&file);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        // The ports file is there before the table ends with `ready`; the end of its output means that it did not start.
        let mut table = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let ready = lines.any(|line| {
            table.push_str(&line);
            table.push('\n');
            line.starts_with("ready in ")
        });
        let seen: Vec<String> = if ready {
            Vec::new()
        } else {
            log.iter().collect()
        };
        assert!(ready, "{table}{seen:#?}");
        let ports: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        for service in [
            "hardware-gateway",
            "signal",
            "pose",
            "streaming",
            "alerting",
        ] {
            let grpc = ports[service]["grpc"].as_str().unwrap();
            assert!(table.contains(&format!("grpc {grpc}")), "{table}");
        }
        Self {
            child,
            log,
            seen,
            ports,
            data,
        }
    }

    /// Waits until a line holds the text; it may have come already: tasks write in any order.
    fn wait_for(&mut self, text: &str) {
        while !self.seen.iter().any(|line| line.contains(text)) {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("no line {text:?} ({error}) in {:#?}", self.seen),
            }
        }
    }

    fn nats_pid(&self) -> Pid {
        let pid = std::fs::read_to_string(self.data.join("nats/nats-server.pid")).unwrap();
        Pid::from_raw(pid.trim().parse().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        )
        .unwrap();
    }

    fn end(&mut self) -> Option<i32> {
        self.seen.extend(self.log.iter());
        self.child.wait().unwrap().code()
    }

    /// `fresnel doctor` about this one.
    fn doctor(&self) -> Output {
        let mut command = fresnel(&["doctor", "--nats", self.ports["nats"].as_str().unwrap()]);
        for (service, addresses) in self.ports.as_object().unwrap() {
            for key in ["grpc", "udp"] {
                if let Some(address) = addresses[key].as_str() {
                    let section = service.replace('-', "_");
                    command.args(["--set", &format!("{section}.{key}.listen={address}")]);
                }
            }
        }
        command.output().unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_gone(pid: Pid) -> bool {
    // A killed child of a process that has ended may stay a zombie until init looks.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn up_is_healthy_survives_its_nats_server_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Up::start(dir.path());

    let output = up.doctor();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for expected in [
        "ok    nats-server: v2.",
        "ok    JetStream has the ",
        "ok    hardware-gateway at ",
        "ok    alerting at ",
        "'s\n",
        "no device is known  -- ",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }

    let data = up.data.to_string_lossy().into_owned();
    let second = fresnel(&["up", "--ephemeral", "--data-dir", &data])
        .output()
        .unwrap();
    let text = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(64), "{text}");
    assert!(
        text.contains(&format!("another `fresnel up` (process {})", up.child.id())),
        "{text}"
    );

    let first = up.nats_pid();
    kill(first, Signal::SIGKILL).unwrap();
    up.wait_for("nats-server runs again");
    up.wait_for("connected to nats again");
    assert_ne!(up.nats_pid(), first);
    let output = up.doctor();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );

    let nats = up.nats_pid();
    up.signal(Signal::SIGINT);
    assert_eq!(up.end(), Some(0), "{:#?}", up.seen);
    assert!(is_gone(nats));
    let stopped: Vec<&str> = [
        "hardware-gateway",
        "signal",
        "pose",
        "streaming",
        "alerting",
    ]
    .into_iter()
    .filter(|service| {
        let line = format!("\"message\":\"stopped\",\"service\":\"{service}\"");
        up.seen.iter().any(|seen| seen.contains(&line))
    })
    .collect();
    assert_eq!(stopped.len(), 5, "{:#?}", up.seen);
    let order = up
        .seen
        .iter()
        .filter(|line| line.contains("\"message\":\"stopped\""))
        .collect::<Vec<_>>();
    assert!(
        order[0].contains("hardware-gateway") && order[4].contains("alerting"),
        "{order:#?}"
    );
}

#[test]
fn a_nats_server_that_was_left_behind_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Up::start(dir.path());
    up.signal(Signal::SIGKILL);
    up.end();
    // Where the system kills the child along with its parent there is none to leave: start one as it was.
    let program = bus::server::find(None).unwrap();
    let config = up.data.join("nats/nats-server.conf");
    let mut left = Command::new(program)
        .arg("--config")
        .arg(config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let left_pid = left.id().to_string();
    let pid_file = up.data.join("nats/nats-server.pid");
    while std::fs::read_to_string(&pid_file).map_or(true, |pid| pid.trim() != left_pid) {
        assert!(left.try_wait().unwrap().is_none(), "it ended");
        std::thread::yield_now();
    }
    // Somebody must reap it, as init would.
    let reaper = std::thread::spawn(move || {
        let mut words = String::new();
        let _ = left.stderr.take().unwrap().read_to_string(&mut words);
        left.wait().unwrap()
    });
    let mut up = Up::start(dir.path());
    reaper.join().unwrap();
    up.wait_for(&format!(
        "stopping the nats-server (process {left_pid}) that a killed `fresnel up` left behind"
    ));
    up.signal(Signal::SIGTERM);
    assert_eq!(up.end(), Some(0), "{:#?}", up.seen);
}

#[test]
fn doctor_says_what_to_do_where_nothing_runs() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut command = fresnel(&["doctor", "--nats", &format!("nats://u:secret@{nobody}")]);
    for service in [
        "hardware_gateway",
        "signal",
        "pose",
        "streaming",
        "alerting",
    ] {
        command.args(["--set", &format!("{service}.grpc.listen={nobody}")]);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(
        text.lines().filter(|line| line.starts_with("fail")).count(),
        6,
        "{text}"
    );
    assert!(
        text.lines()
            .filter(|line| line.starts_with("fail"))
            .all(|line| line.contains("  -- ")),
        "{text}"
    );
    assert!(
        text.contains("start `fresnel up`") && !text.contains("secret"),
        "{text}"
    );
}

#[test]
fn up_checks_the_configuration_of_all_services_first() {
    let output = fresnel(&["up", "--check-config"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for section in [
        "[nats]",
        "[log]",
        "[hardware_gateway.udp]",
        "[signal.grpc]",
        "[pose",
        "[streaming",
        "[alerting",
    ] {
        assert!(text.contains(section), "{section} is not in\n{text}");
    }
    let output = fresnel(&["up", "--set", "alerting.nosuch=1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("alerting.nosuch is not a known key (flag --set alerting.nosuch)"),
        "{text}"
    );
}
