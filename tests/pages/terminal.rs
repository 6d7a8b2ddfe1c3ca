//! A terminal in which somebody types a script: what it prints goes to a file.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::support::process;
use crate::support::waiting::PATIENCE;

/// A running script, in a process group of its own.
#[derive(Debug)]
pub(super) struct Terminal {
    child: Child,
    output: PathBuf,
}

impl Terminal {
    /// Starts it; what it prints is written to `output`.
    pub(super) fn start(mut command: Command, output: PathBuf) -> Self {
        let file = File::create(&output).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, output }
    }

    /// What it has printed so far.
    pub(super) fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap()).into_owned()
    }

    /// Waits for its end; none when it does not come.
    pub(super) fn end(&mut self) -> Option<ExitStatus> {
        process::wait(&mut self.child, PATIENCE)
    }

    /// Waits until it has printed this; else says what it did instead.
    pub(super) fn wait_for(&mut self, text: &str) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // In this order: what it printed before its end is there by then.
            let ended = self.child.try_wait().unwrap().is_some();
            if self.printed().contains(text) {
                return Ok(());
            }
            if ended {
                return Err(format!("it ends and has not printed `{text}`"));
            }
            if Instant::now() > deadline {
                return Err(format!("it does not print `{text}`"));
            }
            // Nothing tells of a file that grows.
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ctrl-C: the signal goes to everything that was started in it.
    pub(super) fn interrupt(&mut self) -> Result<(), String> {
        self.signal("INT");
        self.end().map(drop).ok_or_else(|| format!("it does not end on Ctrl-C; it printed:\n{}", self.printed()))
    }

    fn signal(&self, name: &str) {
        let group = format!("kill -s {name} -- -{}", self.child.id());
        let _ = Command::new("sh").arg("-c").arg(group).stderr(Stdio::null()).status();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.signal("KILL");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
