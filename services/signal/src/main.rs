//! The signal service as a program.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::run("signal", signal::start)
}
