//! Where log lines go and how they look: standard error, text or JSON.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use super::failure::Failure;
use crate::config::LogFormat;

/// The directives, and with them audit lines unless they are spoken of (`warn,audit=off`): who turns the level down wants less
/// noise and not less evidence.
pub(super) fn with_audit(directives: &str) -> String {
    if directives.contains("audit") { directives.to_owned() } else { format!("{directives},audit=info") }
}

/// What directives let through.
pub(super) fn filter(directives: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(directives)
}

/// Starts logging what `directives` ask for: a level, or `info,trailcast::capture=debug`.
pub(super) fn start(directives: &str, format: LogFormat) -> Result<(), Failure> {
    let filter = filter(directives).map_err(|error| Failure::usage(format!("log: {error}")))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().with_ansi(false).try_init(),
    };
    started.map_err(Failure::failed)
}
