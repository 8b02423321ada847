//! The `hardware-gateway` service.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::run("hardware-gateway", hardware_gateway::start)
}
