//! `fresnel up`: the five services in this process, beside a nats-server.

mod nats;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use runtime::{Ending, Exit, Flags, Process, Settings, Started};

use crate::client;
use nats::{DataDir, Nats};

/// Port of NATS where none is asked for: its own default, where everything else looks for it.
const NATS_PORT: u16 = 4222;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
    /// The nats-server to run [default: $NATS_SERVER_BIN, PATH, .tools/bin].
    #[arg(long, value_name = "PATH")]
    nats_server: Option<PathBuf>,
    /// Port of the nats-server that is run [default: 4222, with --ephemeral a free one].
    #[arg(long, value_name = "PORT")]
    nats_port: Option<u16>,
    /// Where events are kept [default: $XDG_DATA_HOME/fresnel, else ~/.local/share/fresnel].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Listen on free ports, NATS included, where no address is configured.
    #[arg(long)]
    ephemeral: bool,
    /// Write the addresses into this file, as JSON, once all is ready; for scripts.
    #[arg(long, value_name = "FILE")]
    ports_file: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Only where the system gives no threads; what else goes wrong is said here and is the exit code.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let tokio = runtime::tokio_runtime()?;
    let exit = tokio.block_on(up(args, began)).unwrap_or_else(|error| {
        eprintln!("fresnel up: {error:#}");
        Exit::of(&error)
    });
    tokio.shutdown_background();
    Ok(exit.into())
}

async fn up(args: Args, began: Instant) -> anyhow::Result<Exit> {
    let mut settings = Settings::of_process(&args.flags)?;
    if args.ephemeral {
        settings = settings.ephemeral();
    }
    if settings.given("log.format").is_none() {
        settings.set("log.format", "plain")?;
    }
    let text = check(&settings)?;
    if args.flags.check_config {
        print!("{text}");
        return Ok(Exit::Clean);
    }
    let mut nats = None;
    if settings.given("nats.url").is_none() {
        let dir = DataDir::take(args.data_dir)?;
        let usual = if args.ephemeral { 0 } else { NATS_PORT };
        let port = args.nats_port.unwrap_or(usual);
        const SPOOL: &str = "hardware_gateway.recordings.spool";
        if settings.given(SPOOL).is_none() {
            settings.set(SPOOL, &dir.path().join("recordings").to_string_lossy())?;
        }
        let child = Nats::start(args.nats_server.as_deref(), dir, port).await?;
        settings.set("nats.url", &child.url())?;
        nats = Some(child);
    }
    let url = bus_url(&settings)?;
    let process = Process::main("fresnel", settings)?;
    if let Some(nats) = &nats {
        process.on_abort(nats.terminate());
    }
    let exit = match start(&process).await {
        Ok(Some(started)) => {
            let written = args
                .ports_file
                .as_deref()
                .map_or(Ok(()), |file| write_ports(file, &url, &started));
            match written {
                Ok(()) => {
                    let ready = format!("ready in {} ms", began.elapsed().as_millis());
                    // Nobody has to read this: a closed standard output is no reason to stop.
                    let _ = client::print_line(&(table(&url, nats.as_ref(), &started) + &ready));
                    watch(&process, nats.as_mut()).await
                }
                Err(error) => failed(&error),
            }
        }
        Ok(None) => Exit::Clean,
        Err(error) => failed(&error),
    };
    let stopped = process.stop().await;
    if let Some(nats) = nats {
        nats.stop().await;
    }
    Ok(if exit == Exit::Clean { stopped } else { exit })
}

fn failed(error: &anyhow::Error) -> Exit {
    tracing::error!("{error:#}");
    Exit::of(error)
}

/// The effective configuration of all services; an error in any of them ends the start.
fn check(settings: &Settings) -> anyhow::Result<String> {
    let gateway = Process::check(settings, "hardware-gateway", hardware_gateway::start)?;
    let signal = Process::check(settings, "signal", signal::start)?;
    let pose = Process::check(settings, "pose", pose::start)?;
    let streaming = Process::check(settings, "streaming", streaming::start)?;
    let alerting = Process::check(settings, "alerting", alerting::start)?;
    let own = [&gateway, &signal, &pose, &streaming, &alerting].map(|service| service.own_toml());
    Ok(gateway.common_toml() + &own.concat())
}

/// Starts all services at once; `None` where a signal came first. Whoever is further down the data's way is first in the
/// list, and so stops later: nothing is sent to a service that has stopped.
async fn start(process: &Process) -> anyhow::Result<Option<Vec<Started>>> {
    let starting = async {
        tokio::try_join!(
            process.start("alerting", alerting::start),
            process.start("streaming", streaming::start),
            process.start("pose", pose::start),
            process.start("signal", signal::start),
            process.start("hardware-gateway", hardware_gateway::start),
        )
    };
    let stop = process.stop_requested();
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(None),
        started = starting => {
            let (alerting, streaming, pose, signal, gateway) = started?;
            Ok(Some(vec![gateway, signal, pose, streaming, alerting]))
        }
    }
}

/// Waits for a signal or a fault, and meanwhile starts a nats-server that died again.
async fn watch(process: &Process, nats: Option<&mut Nats>) -> Exit {
    let died = async {
        match nats {
            Some(nats) => nats.keep_running().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        ending = process.run_until_signal() => match ending {
            Ending::Asked => Exit::Clean,
            Ending::Fault(fault) => {
                tracing::error!("stopping: {fault}");
                Exit::Fault
            }
        },
        error = died => {
            tracing::error!("stopping: {error:#}");
            Exit::Unavailable
        }
    }
}

/// The URL without user and password.
fn bus_url(settings: &Settings) -> anyhow::Result<String> {
    let url = settings.nats()?.url;
    Ok(runtime::without_user(&url))
}

/// What listens where, in columns.
fn table(url: &str, nats: Option<&Nats>, started: &[Started]) -> String {
    let mut rows = vec![vec!["nats".to_owned(), url.to_owned()]];
    if let (Some(row), Some(nats)) = (rows.first_mut(), nats) {
        row.push(format!("data in {}", nats.data_dir().display()));
    }
    for service in started {
        let mut row = vec![service.service.to_owned()];
        row.extend(service.grpc.map(|address| format!("grpc {address}")));
        row.push(format!("admin {}", service.admin));
        row.extend(
            service
                .announced
                .iter()
                .map(|(what, address)| format!("{what} {address}")),
        );
        rows.push(row);
    }
    // The row of NATS has columns of its own, after the first.
    let width = |column: usize| {
        let from = usize::from(column > 0);
        let cells = rows.iter().skip(from).filter_map(|row| row.get(column));
        cells.map(String::len).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().enumerate();
        let line: String = cells
            .map(|(column, cell)| format!("{cell:<width$}  ", width = width(column)))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn write_ports(file: &Path, url: &str, started: &[Started]) -> anyhow::Result<()> {
    let more = serde_json::Map::from_iter([("nats".to_owned(), url.into())]);
    runtime::ports::write(file, started, more).context("the services are stopped again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let started = |service, port: u16| Started {
            service,
            grpc: Some(([127, 0, 0, 1], port).into()),
            admin: ([127, 0, 0, 1], port + 100).into(),
            announced: if port == 7401 {
                vec![("udp", ([127, 0, 0, 1], 5005).into())]
            } else {
                Vec::new()
            },
        };
        let text = table(
            "nats://127.0.0.1:4222",
            None,
            &[started("hardware-gateway", 7401), started("pose", 7403)],
        );
        assert_eq!(
            text,
            "nats              nats://127.0.0.1:4222\n\
             hardware-gateway  grpc 127.0.0.1:7401  admin 127.0.0.1:7501  udp 127.0.0.1:5005\n\
             pose              grpc 127.0.0.1:7403  admin 127.0.0.1:7503\n"
        );
    }
}
