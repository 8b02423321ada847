//! What every service needs and none should write: configuration, telemetry, the admin port, the gRPC server, supervised
//! tasks and the drain.
//!
//! A service is a library with `start(config, runtime)` and a three-line `main`:
//!
//! ```ignore
//! fn main() -> ExitCode { runtime::run("signal", signal::start) }
//! ```
//!
//! [`Process`] runs several services in one process: `fresnel up`, and the tests.

mod admin;
mod config;
mod exit;
mod grpc;
pub mod ports;
mod process;
mod service;
mod signals;
mod status;
mod tasks;
mod telemetry;
pub mod workflow;

use std::process::ExitCode;

use clap::Parser;

pub use config::{
    ConfigError, Effective, Flags, Limits, Log, LogFormat, SERVICES, ServiceConfig, Settings,
    without_user,
};
pub use exit::{Exit, Unreachable};
pub use grpc::operations::{OPERATIONS, OperationsApi, operation};
/// The allocator of every program of ours. A frame is many small pieces of memory that one task asks for and another gives back, in which
/// it is faster than the C library's (docs/adr/016).
pub use mimalloc::MiMalloc as Allocator;
pub use process::{Ending, Process, Started, tokio_runtime};
pub use service::Runtime;
pub use status::{invalid_argument, next_page, page_items, refuse};
pub use tasks::Fault;
pub use telemetry::TRACED_ONLY;
pub use workflow::{Begun, NewWorkflow, Run, Workflow, WorkflowError, Workflows};

/// A service's main: reads the configuration, starts, waits for a signal, drains.
///
/// Flags: `--config FILE`, `--set key=value`, `--nats URL`, `--grpc-listen ADDR`, `--admin-listen ADDR`, `--log-format`,
/// `--log-level`, `--check-config`. Exit codes: 64 bad config, 69 a dependency unreachable within its start-up time, 70 a bug.
pub fn run<C, F>(service: &'static str, start: F) -> ExitCode
where
    C: ServiceConfig,
    F: AsyncFnOnce(C, &mut Runtime) -> anyhow::Result<()> + 'static,
{
    main(service, Box::new(config::Start::new(start)))
}

/// [`run`] without its type parameters, so that no service compiles its own copy.
fn main(service: &'static str, wiring: Box<dyn config::Wiring>) -> ExitCode {
    let flags = match config::ServiceFlags::try_parse() {
        Ok(flags) => flags,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Config.into()
            } else {
                Exit::Clean.into()
            };
        }
    };
    process::supervise(service, &flags, wiring).into()
}
