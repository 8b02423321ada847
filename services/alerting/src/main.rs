//! The alerting service as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::run("alerting", alerting::start)
}
