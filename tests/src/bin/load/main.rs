//! The load run: N simulated devices send to the running system over UDP, and what becomes of their frames is counted.
//!
//! What is measured, and how:
//! - start-up: from spawning `fresnel up` (with `--separate`: the nats-server and the five services) until the ports file
//!   says that all of it is ready; once on an empty folder, once more on the data that the first start left.
//! - frames: offered (datagrams that the kernel took from the sender), read (the gateway's counter), dropped at the socket
//!   (the kernel's count in `/proc/net/udp`), stored (messages on `data.csi.>`), and missing by sequence number.
//! - CPU: user and system time of each process from `/proc/PID/stat`, from the end of the warm-up until the last frame has
//!   been worked off, over the frames sent in that time. It includes what the processes do besides.
//! - latency: see [`windows`].
//!
//! The datagrams are made beforehand; sending one costs a patch of its sequence number and a system call. They leave in
//! ticks of a millisecond, so up to `rate x devices / 1000` of them arrive at once.

mod measure;
mod profile;
mod report;
mod run;
mod sender;
mod soak;
mod system;
mod windows;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;

use profile::{Load, Profile};

/// Wall seconds of a soak's day.
const SOAK_S: f64 = 720.0;
/// Times what the machine takes, for `overload`; a little more than the four that are asked for.
const OVERLOAD: f64 = 4.2;

/// Offers simulated frames to the running system and reports what becomes of them.
#[derive(Parser)]
#[command(name = "load")]
struct Args {
    /// The `fresnel` binary; the services' binaries are looked for beside it. Without it: beside this one.
    #[arg(long, value_name = "PATH")]
    fresnel: Option<PathBuf>,
    /// Run the five services as processes of their own, for the CPU time of each.
    #[arg(long)]
    separate: bool,
    /// A set of runs.
    #[arg(long, value_enum, default_value = "target")]
    profile: Profile,
    /// Devices, 1 to 200, instead of the profile's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=200))]
    devices: Option<u8>,
    /// Frames per second of each device, instead of the profile's.
    #[arg(long, value_name = "HZ")]
    rate: Option<f64>,
    /// Seconds of the measured part, instead of the profile's.
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Devices in one zone.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    devices_per_zone: u8,
    /// Set a key of the configuration, e.g. `nats.storage_scale=0.5` where the disk is small; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Write the results as JSON as well; `-` for standard output instead of the tables.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match start(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> anyhow::Result<()> {
    let soaks = matches!(args.profile, Profile::Soak);
    let mut loads: VecDeque<Load> = args
        .profile
        .loads()
        .into_iter()
        .map(|load| {
            Load {
                devices: args.devices.unwrap_or(load.devices),
                rate_hz: args.rate.unwrap_or(load.rate_hz),
                seconds: args.seconds.unwrap_or(load.seconds),
                devices_per_zone: args.devices_per_zone,
            }
            .checked()
        })
        .collect::<anyhow::Result<_>>()?;
    // What the machine takes is known only when it was offered more.
    let mut beyond = matches!(args.profile, Profile::Overload) && args.rate.is_none();
    let fresnel = match &args.fresnel {
        Some(fresnel) => fresnel.clone(),
        None => std::env::current_exe()?.with_file_name("fresnel"),
    };
    let setup = system::Setup::new(&fresnel, args.separate, args.set.clone())?;
    let quiet = args
        .json
        .as_deref()
        .is_some_and(|path| path.as_os_str() == "-");
    // The HTTP client is built for TLS, and wants to know whose.
    let provider = rustls::crypto::ring::default_provider();
    if provider.install_default().is_err() {
        bail!("another TLS provider is installed");
    }
    // One thread besides this one: the measuring must not take what is measured.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    if soaks {
        let outcome = runtime.block_on(soak::run(&setup, args.seconds.unwrap_or(SOAK_S)))?;
        if !quiet {
            println!("{}", soak::table(&outcome));
        }
        write(args.json.as_deref(), quiet, &outcome)?;
        return match outcome.broken.len() {
            0 => Ok(()),
            broken => bail!("{broken} promises are broken"),
        };
    }
    let mut results = Vec::new();
    while let Some(load) = loads.pop_front() {
        eprintln!("{load}");
        let result = runtime.block_on(run::run(&setup, load))?;
        if !quiet {
            println!("{}", report::table(&result));
        }
        if std::mem::take(&mut beyond) {
            loads.extend(
                result
                    .taken_hz()
                    .map(|taken_hz| load.beyond(taken_hz, OVERLOAD)),
            );
        }
        results.push(result);
    }
    write(args.json.as_deref(), quiet, &results)
}

fn write(path: Option<&Path>, quiet: bool, results: &impl serde::Serialize) -> anyhow::Result<()> {
    if let Some(path) = path {
        let json = serde_json::to_string_pretty(results)?;
        if quiet {
            println!("{json}");
        } else {
            std::fs::write(path, json + "\n")
                .with_context(|| format!("{} cannot be written", path.display()))?;
        }
    }
    Ok(())
}
