//! The `pose` service.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::run("pose", pose::start)
}
