//! Where log lines go and how they look: standard error, text or JSON.
//!
//! Owns the thread that writes them. Nobody who logs waits for it, nor fails because of it: see [`log_output`].

use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use super::failure::Failure;
use crate::config::LogFormat;
use crate::log_output::{self, LogOutput};
use crate::tasks;

static OUTPUT: OnceLock<LogOutput> = OnceLock::new();

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
    let output = thread().map_err(|error| Failure::failed(format!("no thread for the log: {error}")))?;
    let writer = output.clone();
    let make_writer =
        move || -> Box<dyn io::Write> { if directly() { Box::new(io::stderr()) } else { Box::new(writer.clone()) } };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(make_writer);
    // What goes wrong in logging would be told on standard error, and panic where that cannot be written.
    let lines = lines.log_internal_errors(directly());
    let started = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().with_ansi(false).try_init(),
    };
    started.map_err(Failure::failed)?;
    let _ = OUTPUT.set(output);
    tasks::log_panics();
    Ok(())
}

fn thread() -> io::Result<LogOutput> {
    let (output, writer) = log_output::queue();
    std::thread::Builder::new().name("log".into()).spawn(move || writer.run(io::stderr()))?;
    Ok(output)
}

/// Whether a test asked that whoever logs writes himself, so that it can see what that takes along where nothing can be
/// written.
#[cfg(feature = "fault-injection")]
fn directly() -> bool {
    std::env::var_os("TRAILCAST_TEST_LOG_DIRECTLY").is_some_and(|value| value == "1")
}

#[cfg(not(feature = "fault-injection"))]
const fn directly() -> bool {
    false
}

/// Says a line on standard error in its turn, behind the log lines before it; not if there is no log.
pub(super) fn say(line: &str) -> bool {
    let output = OUTPUT.get();
    output.inspect(|output| output.line(format!("{line}\n").into_bytes())).is_some()
}

/// The program ends: waits a little for the last lines to be written.
pub(super) fn finish() {
    if let Some(output) = OUTPUT.get() {
        output.flush();
    }
}
