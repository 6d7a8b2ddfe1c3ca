//! The program with its arguments, run to its end or watched.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::support::{Program, Server};

/// Time that anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `trailcast` with arguments, without what the environment might say, killed when the test dies.
pub fn trailcast(arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig=KILL", "--"]).arg(Server::program()).args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TRAILCAST_") {
            command.env_remove(name);
        }
    }
    command
}

/// The same, as a client of a server.
pub fn client(server: &Server, arguments: &[&str]) -> Command {
    let mut command = trailcast(arguments);
    command.env("TRAILCAST_URL", server.url("http"));
    command
}

/// Runs to the end with this on standard input.
pub fn run(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// What it wrote to standard output.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it wrote to standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Ends it with Ctrl-C, which must be a success.
pub fn interrupt(program: &mut Program) {
    program.signal("INT");
    assert!(program.ends_well(PATIENCE), "{}", program.complaints());
}

/// Transactions `from` to `to`, one insert each, one a line.
pub fn rows(from: u64, to: u64) -> String {
    let row = |id| {
        format!(
            "{{\"operations\":[{{\"op\":\"INSERT\",\"table\":\"app.orders\",\"key\":[\"id\"],\
             \"after\":{{\"id\":{id},\"total\":1.10}}}}]}}\n"
        )
    };
    (from..=to).map(row).collect()
}

/// It has done what it was told, and says no more than this.
pub fn done(output: &Output, says: &str) {
    assert!(output.status.success(), "{}", stderr(output));
    assert_eq!(stdout(output), says);
}

/// It ends with that code, and says this among other things.
pub fn fails(output: &Output, code: i32, says: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    assert!(stderr(output).contains(says), "{}", stderr(output));
}

/// What it wrote with `--json`: a value a line.
pub fn lines(output: &Output) -> Vec<serde_json::Value> {
    assert!(output.status.success(), "{}", stderr(output));
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
