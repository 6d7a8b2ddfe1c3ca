//! The line on standard error that says how a run is doing, about once a second.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

/// A line that is written over on a terminal, and written anew elsewhere.
#[derive(Debug)]
pub(super) struct ProgressLine {
    terminal: bool,
    quiet: bool,
    next: Instant,
    written: bool,
}

impl ProgressLine {
    pub(super) fn new(quiet: bool) -> Self {
        Self { terminal: io::stderr().is_terminal(), quiet, next: Instant::now(), written: false }
    }

    /// Says it if a second has passed since it last spoke. Nobody reading it is no failure.
    pub(super) fn tick(&mut self, say: impl FnOnce() -> String) {
        if self.quiet || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + EVERY;
        let line = say();
        let mut error = io::stderr().lock();
        let _ = if self.terminal { write!(error, "\r\x1b[K{line}") } else { writeln!(error, "{line}") };
        let _ = error.flush();
        self.written = true;
    }
}

impl Drop for ProgressLine {
    /// What comes next begins on a line of its own.
    fn drop(&mut self) {
        if self.terminal && self.written {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}
