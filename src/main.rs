//! The program `trailcast`: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    trailcast::cli::run()
}
