//! A small real service that the tests run as a process and in their own: it serves `SignalService` and can be told to fail.

use std::process::ExitCode;

#[allow(missing_docs)]
mod sample;

fn main() -> ExitCode {
    runtime::run("sample", sample::start)
}
