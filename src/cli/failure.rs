//! How a subcommand ends when it does not end well; the one place that prints an error.

use std::io::{self, Write as _};
use std::process::ExitCode;

use super::output::harmless_lines;
use crate::client::ClientError;

/// Exit code of a command line that asks for what cannot be.
pub(super) const USAGE: u8 = 2;
/// Exit code of everything else that fails.
const FAILED: u8 = 1;

/// Why a subcommand ended early.
#[derive(Debug)]
pub(super) enum Failure {
    /// The flags ask for what cannot be.
    Usage(String),
    /// It did not work.
    Failed(String),
    /// Whoever read our output went away, as `head` does; nothing is wrong.
    ReaderGone,
}

impl Failure {
    pub(super) fn failed(what: impl std::fmt::Display) -> Self {
        Self::Failed(what.to_string())
    }

    pub(super) fn usage(what: impl std::fmt::Display) -> Self {
        Self::Usage(what.to_string())
    }

    /// Says it on standard error and gives the exit code.
    pub(super) fn report(&self) -> ExitCode {
        let (what, code) = match self {
            Self::Usage(what) => (what, USAGE),
            Self::Failed(what) => (what, FAILED),
            Self::ReaderGone => return ExitCode::SUCCESS,
        };
        let _ = writeln!(io::stderr().lock(), "error: {}", harmless_lines(what));
        ExitCode::from(code)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::failed(error)
    }
}

/// A failed write to standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::failed(format!("standard output: {error}")),
        }
    }
}
