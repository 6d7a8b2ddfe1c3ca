//! A client program under observation: its lines as they come, killed on drop.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use super::log::Log;
use super::process;
use super::waiting::PATIENCE;

/// A running program.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: Receiver<String>,
    complaints: Log,
}

impl Program {
    /// Starts it, in a process group of its own.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self::start_listening(command)
    }

    /// The same with what is written to the end that is returned on its standard input.
    pub fn start_with_input(mut command: Command) -> (Self, ChildStdin) {
        command.stdin(Stdio::piped());
        let mut program = Self::start_listening(command);
        let input = program.child.stdin.take().unwrap();
        (program, input)
    }

    fn start_listening(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let complaints = Log::follow(child.stderr.take().unwrap());
        Self { child, lines, complaints }
    }

    /// Its next lines, until `enough` says of one that it is the last that is wanted.
    pub fn lines_until(&self, patience: Duration, mut enough: impl FnMut(&str) -> bool) -> Vec<String> {
        let deadline = Instant::now() + patience;
        let mut lines: Vec<String> = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let last = enough(&line);
                    lines.push(line);
                    if last {
                        return lines;
                    }
                }
                Err(error) => {
                    let last: Vec<_> = lines.iter().rev().take(3).collect();
                    panic!("{error} after {} lines, last {last:?}; it said:\n{}", lines.len(), self.complaints.text());
                }
            }
        }
    }

    /// Ends it as Ctrl-C would, or whatever signal is named.
    pub fn signal(&mut self, name: &str) {
        process::signal(&self.child, name);
    }

    /// Waits for its end and returns whether that was a success; panics when it does not end.
    pub fn ends_well(&mut self, patience: Duration) -> bool {
        let status = process::wait(&mut self.child, patience);
        status.unwrap_or_else(|| panic!("it does not end; it said:\n{}", self.complaints.text())).success()
    }

    /// The line with this text that it writes to standard error, waited for.
    pub fn wait_for_complaint(&self, part: &str, patience: Duration) -> String {
        let line = self.complaints.wait_for(part, patience);
        line.unwrap_or_else(|| panic!("it does not say {part:?}; it said:\n{}", self.complaints.text()))
    }

    /// The last of what it wrote to standard error, for the message of a test that fails: more may be on its way.
    pub fn complaints(&self) -> String {
        self.complaints.text()
    }

    /// All that it wrote to standard error, once it has ended.
    pub fn last_words(&self) -> String {
        let whole = self.complaints.whole(PATIENCE);
        whole.unwrap_or_else(|| panic!("it does not end; it said:\n{}", self.complaints.text()))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // What it started itself goes too: a shell does not take its children along.
        let group = format!("kill -s KILL -- -{}", self.child.id());
        let _ = Command::new("sh").arg("-c").arg(group).stderr(Stdio::null()).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_program_is_gone_with_what_it_started() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "sleep 300 & echo $!; wait"]);
    let program = Program::start(shell);
    let pid: u32 = program.lines_until(Duration::from_secs(20), |_| true)[0].parse().unwrap();
    drop(program);
    let deadline = Instant::now() + Duration::from_secs(20);
    // The orphan may wait a moment for whoever reaps it.
    let alive = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        !status.is_empty() && !status.contains("State:\tZ")
    };
    while alive() {
        assert!(Instant::now() < deadline, "the program's child still runs");
    }
}
