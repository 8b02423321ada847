//! `fresnel doctor`: what is reachable, what is not, and the next step.

mod services;

use std::fmt;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::ExitCode;

use runtime::{Flags, Settings};

use crate::client;

/// Seconds that NATS is given to answer.
const NATS_PATIENCE_S: f64 = 2.0;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
    /// The nats-server that `fresnel up` would run [default: $NATS_SERVER_BIN, PATH, .tools/bin].
    #[arg(long, value_name = "PATH")]
    nats_server: Option<PathBuf>,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// Fresnel works, but not all of it.
    Warn,
    /// Something does not work.
    Fail,
}

/// The lines of the report.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    outcome: Outcome,
    what: String,
    next: String,
}

impl Report {
    /// All is well with `what`.
    pub fn ok(&mut self, what: impl Into<String>) {
        self.add(Outcome::Ok, what, "");
    }

    /// Works without it; `next` is what to do.
    pub fn warn(&mut self, what: impl Into<String>, next: impl Into<String>) {
        self.add(Outcome::Warn, what, next);
    }

    /// Does not work; `next` is what to do.
    pub fn fail(&mut self, what: impl Into<String>, next: impl Into<String>) {
        self.add(Outcome::Fail, what, next);
    }

    fn add(&mut self, outcome: Outcome, what: impl Into<String>, next: impl Into<String>) {
        self.lines.push(Line {
            outcome,
            what: what.into(),
            next: next.into(),
        });
    }

    fn failed(&self) -> bool {
        self.lines.iter().any(|line| line.outcome == Outcome::Fail)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line {
            outcome,
            what,
            next,
        } in &self.lines
        {
            let outcome = match outcome {
                Outcome::Ok => "ok  ",
                Outcome::Warn => "warn",
                Outcome::Fail => "fail",
            };
            let what = client::printable(what);
            if next.is_empty() {
                writeln!(f, "{outcome}  {what}")?;
            } else {
                writeln!(f, "{outcome}  {what}  -- {}", client::printable(next))?;
            }
        }
        Ok(())
    }
}

/// Runs the command.
///
/// # Errors
/// A configuration that cannot be read.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    client::block_on(async move {
        let settings = Settings::of_process(&args.flags)?;
        let mut report = Report::default();
        nats_server(&mut report, &args);
        nats(&mut report, settings.nats()?).await;
        let gateway_answers = services::check(&mut report, &settings).await;
        udp(&mut report, &settings, gateway_answers);
        recordings(&mut report);
        for line in report.to_string().lines() {
            client::print_line(line)?;
        }
        Ok(if report.failed() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    })
}

/// Only a warning: a server that runs elsewhere is as good.
fn nats_server(report: &mut Report, args: &Args) {
    match bus::server::find(args.nats_server.as_deref()) {
        Ok(path) => {
            let version = std::process::Command::new(&path).arg("--version").output();
            let version =
                version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
            let version = version.unwrap_or_else(|error| error.to_string());
            report.ok(format!("{version} at {}", path.display()));
        }
        Err(error) => report.warn(
            format!("no nats-server to run: {error}"),
            "`make tools`, or `fresnel up --nats URL` with one that runs already",
        ),
    }
}

async fn nats(report: &mut Report, config: bus::Config) {
    let url = runtime::without_user(&config.url);
    let config = bus::Config {
        name: "fresnel doctor".into(),
        connect_timeout_s: config.connect_timeout_s.min(NATS_PATIENCE_S),
        publish_timeout_s: NATS_PATIENCE_S,
        ..config
    };
    let bus = match bus::Bus::connect(config).await {
        Ok(bus) => bus,
        Err(error) => {
            report.fail(
                format!("{error}"),
                "start `fresnel up`, or name the server with --nats URL",
            );
            return;
        }
    };
    report.ok(format!("NATS at {url} answers"));
    let mut present = 0;
    let mut missing = Vec::new();
    for stream in bus::table::STREAMS {
        // The server's own subjects cannot be asked for.
        let Some(subject) = stream
            .subjects
            .iter()
            .find(|subject| !subject.starts_with('$'))
        else {
            continue;
        };
        match bus.last(subject).await {
            Ok(_) => present += 1,
            Err(error) => missing.push(format!("{} ({error})", stream.name)),
        }
        if present == 0 && !missing.is_empty() {
            break;
        }
    }
    if present == 0 {
        let why = missing.concat();
        report.fail(
            format!("JetStream gives no stream: {why}"),
            "run nats-server with JetStream (`-js`), then start the services: they create their streams",
        );
    } else if missing.is_empty() {
        report.ok(format!("JetStream has the {present} streams"));
    } else {
        report.fail(
            format!("JetStream lacks streams: {}", missing.join(", ")),
            "restart a service: it creates them at its start",
        );
    }
}

/// Devices send to this port: it is the gateway's, or nobody's.
fn udp(report: &mut Report, settings: &Settings, gateway_answers: bool) {
    let default = || hardware_gateway::Config::default().udp.listen.to_string();
    let address = settings
        .given("hardware_gateway.udp.listen")
        .unwrap_or_else(default);
    match UdpSocket::bind(&address) {
        Ok(_) if gateway_answers => report.warn(
            format!("UDP {address}: the gateway answers, and does not listen here"),
            "it was started with another port (`fresnel up` prints it): send devices there",
        ),
        Ok(_) => report.ok(format!("UDP {address} is free for the gateway")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && gateway_answers => {
            report.ok(format!("UDP {address} is the gateway's"));
        }
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => report.fail(
            format!("UDP {address} is taken by another program"),
            "end it, or set hardware_gateway.udp.listen to another port and send devices there",
        ),
        Err(error) => report.fail(
            format!("UDP {address}: {error}"),
            "set hardware_gateway.udp.listen to an address of this machine",
        ),
    }
}

/// Only of those places that need no network.
fn recordings(report: &mut Report) {
    let catalogue = match ::recordings::Catalogue::built_in() {
        Ok(catalogue) => catalogue,
        Err(error) => {
            report.fail(
                format!("the list of recordings: {error}"),
                "build fresnel again from a clean tree",
            );
            return;
        }
    };
    let places = ::recordings::Places {
        online: false,
        ..::recordings::Places::from_environment()
    };
    let entries = catalogue.entries();
    let found = entries
        .iter()
        .filter(|entry| catalogue.find(&entry.name, &places).is_ok())
        .count();
    let all = entries.len();
    if found == all {
        report.ok(format!("all {all} public recordings are here"));
    } else {
        report.warn(
            format!("{found} of {all} public recordings are here"),
            "`fresnel recordings fetch`, or `make demo SOURCE=simulated` without any",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_outcome_and_next_step() {
        let mut report = Report::default();
        report.ok("NATS answers");
        report.warn("no model", "make model");
        assert!(!report.failed());
        report.fail("UDP taken\u{1b}[2J", "end it");
        assert!(report.failed());
        let text = report.to_string();
        assert!(
            text.starts_with("ok    NATS answers\nwarn  no model  -- make model\nfail  UDP taken"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}
