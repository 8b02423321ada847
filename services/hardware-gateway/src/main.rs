//! The `hardware-gateway` service.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: runtime::Allocator = runtime::Allocator;

fn main() -> ExitCode {
    runtime::run("hardware-gateway", hardware_gateway::start)
}
