//! `fresnel`: the platform in one command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod analyze;
mod calibrate;
mod client;
mod decode;
mod devices;
mod doctor;
mod events;
mod export;
mod import;
mod pipeline;
mod process;
mod record;
mod recordings;
mod replay;
mod show;
mod simulate;
mod transfer;
mod up;
mod watch;
mod zones;

#[global_allocator]
static ALLOCATOR: runtime::Allocator = runtime::Allocator;

/// WiFi sensing: from channel state information to events.
#[derive(Parser)]
#[command(name = "fresnel", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the five services in this process, beside a nats-server.
    Up(up::Args),
    /// Play a recording through the running system.
    Replay(replay::Args),
    /// Show events as they happen.
    Watch(watch::Args),
    /// The devices that frames come from.
    Devices(devices::Args),
    /// Measure a device, or a room with nobody in it.
    Calibrate(calibrate::Args),
    /// The calibrations that are kept, and which are in use.
    Calibrations(calibrate::ListArgs),
    /// The state of each zone.
    Zones(zones::Args),
    /// Pipelines of processing stages, and their runs over recordings.
    Pipeline(pipeline::Args),
    /// Run a pipeline over a recording and download what comes out.
    Process(process::Args),
    /// What is reachable, what is not, and the next step.
    Doctor(doctor::Args),
    /// Decode a recording: one line per frame. Needs no NATS.
    Decode(decode::Args),
    /// Motion in a recording: one line per window. Needs no NATS.
    Analyze(analyze::Args),
    /// The event catalogue.
    Events(events::Args),
    /// Record zones or devices of the running system.
    Record(record::Args),
    /// Recordings of the gateway, and the public ones that the tests use.
    Recordings(recordings::Args),
    /// Bring recordings into the gateway's store.
    Import(import::Args),
    /// Write a recording as CSV, NumPy's npz, or MCAP.
    Export(export::Args),
    /// Make CSI from a simulated room; everything is stamped `simulated`.
    Simulate(simulate::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up(args) => up::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Devices(args) => devices::run(args),
        Command::Calibrate(args) => calibrate::run(args),
        Command::Calibrations(args) => calibrate::list(args),
        Command::Zones(args) => zones::run(args),
        Command::Pipeline(args) => pipeline::run(args),
        Command::Process(args) => process::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Decode(args) => decode::run(args),
        Command::Analyze(args) => analyze::run(args),
        Command::Events(args) => events::run(args),
        Command::Record(args) => record::run(args),
        Command::Recordings(args) => recordings::run(args),
        Command::Import(args) => import::run(args),
        Command::Export(args) => export::run(args),
        Command::Simulate(args) => simulate::run(args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("fresnel: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_of_each_command_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
