//! Exit codes and signals of a real process.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Only a bound on failure: everything here takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The sample service as a process; its log lines as they come.
pub struct Sample {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Sample {
    pub fn start(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runtime-sample"));
        for (name, _) in std::env::vars() {
            if name.starts_with("FRESNEL_") || name.starts_with("OTEL_") {
                command.env_remove(name);
            }
        }
        command.args(args).args([
            "--grpc-listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ]);
        command
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Waits for the log line that says `message`.
    pub fn wait_for(&mut self, message: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line {message:?} in {:#?}", self.seen);
            };
            let value: Option<Value> = serde_json::from_str(&line).ok();
            self.seen.push(line);
            if let Some(value) = value
                && value["message"]
                    .as_str()
                    .is_some_and(|text| text.contains(message))
            {
                return value;
            }
        }
    }

    /// gRPC and admin addresses, once it has started.
    pub fn started(&mut self) -> (SocketAddr, SocketAddr) {
        let line = self.wait_for("started");
        let address = |key: &str| line[key].as_str().unwrap().parse().unwrap();
        (address("grpc"), address("admin"))
    }

    pub fn signal(&self, signal: Signal) {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        )
        .unwrap();
    }

    /// Waits for the end: exit code, standard output, and all of standard error.
    pub fn end(mut self) -> (Option<i32>, String, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => self.seen.push(line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    panic!("it did not end: {:#?}", self.seen);
                }
            }
        }
        let status: ExitStatus = self.child.wait().unwrap();
        let mut output = String::new();
        std::io::Read::read_to_string(&mut self.child.stdout.take().unwrap(), &mut output).unwrap();
        (status.code(), output, self.seen.join("\n"))
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
fn sigterm_drains_and_exits_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut sample = Sample::start(&[], &[]);
        sample.started();
        sample.signal(signal);
        let (code, _, log) = sample.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopped"), "{log}");
    }
}

#[test]
fn bad_configuration_exits_64_and_starts_nothing() {
    for (args, environment, expected) in [
        (vec!["--frobnicate"], vec![], "--frobnicate"),
        (
            vec!["--set", "sample.window_z=1"],
            vec![],
            "did you mean sample.window_s?",
        ),
        (
            vec!["--set", "sample.window_s=-1"],
            vec![],
            "window_s = -1: must be more than 0 (flag --set sample.window_s)",
        ),
        (
            vec![],
            vec![("FRESNEL_NATS__ULR", "x")],
            "did you mean nats.url?",
        ),
        (
            vec![],
            vec![("FRESNEL_NATS_URL", "x")],
            "did you mean FRESNEL_NATS__URL?",
        ),
        (vec!["--config", "nowhere.toml"], vec![], "nowhere.toml"),
        (vec!["--log-level", "sample=loud"], vec![], "log.level"),
        (vec!["--set", "limits.drain_s=0"], vec![], "limits.drain_s"),
    ] {
        let (code, output, log) = Sample::start(&args, &environment).end();
        assert_eq!(code, Some(64), "{args:?}: {log}");
        assert!(log.contains(expected), "{args:?}: {log}");
        assert_eq!(output, "");
    }
}

#[test]
fn an_address_in_use_exits_64_and_names_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let set = format!("sample.grpc.listen={}", taken.local_addr().unwrap());
    // The flag of the harness would win over --set: give the address by the flag itself.
    let address = set.split_once('=').unwrap().1;
    let mut command = Command::new(env!("CARGO_BIN_EXE_runtime-sample"));
    command.args(["--admin-listen", "127.0.0.1:0", "--grpc-listen", address]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(
        log.contains("sample.grpc.listen") && log.contains("in use"),
        "{log}"
    );
}

#[test]
fn no_nats_within_its_time_exits_69() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("nats://user:secret@{nobody}");
    let args = [
        "--set",
        "sample.nats=true",
        "--set",
        "nats.connect_timeout_s=0.3",
        "--nats",
        &url,
    ];
    let (code, _, log) = Sample::start(&args, &[]).end();
    assert_eq!(code, Some(69), "{log}");
    assert!(log.contains(&format!("{nobody} is not reachable")), "{log}");
    assert!(!log.contains("secret"), "{log}");
}

#[test]
fn a_fault_in_a_task_exits_70_and_names_the_task() {
    for (fault, expected) in [
        ("panic", "task `work` of sample: panicked: index 7 of 5"),
        ("error", "task `work` of sample: the input ended"),
    ] {
        let (code, _, log) = Sample::start(&["--set", &format!("sample.fault={fault}")], &[]).end();
        assert_eq!(code, Some(70), "{log}");
        assert!(log.contains(expected), "{log}");
    }
}

#[test]
fn a_task_that_does_not_stop_is_cut_off_and_named() {
    let mut sample = Sample::start(
        &["--set", "sample.fault=hang", "--set", "limits.drain_s=0.2"],
        &[],
    );
    sample.started();
    sample.signal(Signal::SIGTERM);
    let (code, _, log) = sample.end();
    assert_eq!(code, Some(70), "{log}");
    assert!(
        log.contains("did not stop within 0.2 s") && log.contains(r#""task":"work""#),
        "{log}"
    );
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    for fault in ["hang", "stuck"] {
        let set = format!("sample.fault={fault}");
        let mut sample = Sample::start(&["--set", &set, "--set", "limits.drain_s=3600"], &[]);
        sample.started();
        sample.signal(Signal::SIGTERM);
        sample.wait_for("a second signal ends the process at once");
        sample.signal(Signal::SIGINT);
        let (code, _, log) = sample.end();
        assert_eq!(code, Some(130), "{fault}: {log}");
    }
}

#[test]
fn check_config_prints_values_with_their_sources_and_masks_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fresnel.toml");
    let token = dir.path().join("token");
    std::fs::write(&file, "[nats]\nurl = 'nats://me:pw@10.0.0.1:4222'\n[sample]\nlabel = 'hall'\n[signal]\nanything = 1\n").unwrap();
    std::fs::write(&token, "s3cret\n").unwrap();
    let args = [
        "--check-config",
        "--config",
        file.to_str().unwrap(),
        "--set",
        "sample.window_s=3",
    ];
    let environment = [
        ("FRESNEL_LOG__LEVEL", "debug"),
        ("FRESNEL_SAMPLE__API_TOKEN_FILE", token.to_str().unwrap()),
        ("FRESNEL_NATS__PASSWORD", "12345"),
    ];
    let (code, output, log) = Sample::start(&args, &environment).end();
    assert_eq!(code, Some(0), "{log}");
    for expected in [
        format!("label = \"hall\"  # file {}", file.display()),
        "window_s = 3  # flag --set sample.window_s".into(),
        "level = \"debug\"  # environment variable FRESNEL_LOG__LEVEL".into(),
        format!(
            "api_token = \"********\"  # file {}, named by environment variable FRESNEL_SAMPLE__API_TOKEN_FILE",
            token.display()
        ),
        "password = \"********\"  # environment variable FRESNEL_NATS__PASSWORD".into(),
        "url = \"nats://********@10.0.0.1:4222\"".into(),
        "drain_s = 10.0  # default".into(),
        "# user is not set  # default".into(),
        "[sample.grpc]\nlisten = \"127.0.0.1:0\"  # flag --grpc-listen".into(),
    ] {
        assert!(
            output.contains(&expected),
            "{expected}\nis not in\n{output}"
        );
    }
    for secret in ["s3cret", "12345", "pw@"] {
        assert!(!output.contains(secret), "{output}");
    }
    // What is printed is itself a configuration.
    toml::from_str::<toml::Table>(&output).unwrap();
}
