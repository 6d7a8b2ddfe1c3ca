//! Goal: what a newcomer runs first works as shown. Method: start `trailcast demo`, paste what it prints, watch, and end it
//! with Ctrl-C.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Folder, Program, Server, clients, skip};

const PATIENCE: Duration = Duration::from_secs(60);

/// The demo with all that it prints, on a free port.
fn demo(folder: &Folder) -> Program {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(Server::program());
    command.args(["demo", "--listen", "127.0.0.1:0", "--rate", "50"]).current_dir(folder.path());
    Program::start(command)
}

/// The command in a line, from its first word on.
fn command_in(line: &str, word: &str) -> Option<String> {
    line.find(word).map(|at| line[at..].trim().to_owned())
}

#[test]
fn the_demo_prints_lines_that_work_as_pasted_and_a_live_tail() {
    let folder = Folder::new("demo");
    let started = Instant::now();
    let mut demo = demo(&folder);
    let (mut curl, mut python) = (None, None);
    demo.lines_until(PATIENCE, |line| {
        curl = curl.take().or_else(|| command_in(line, "curl "));
        python = python.take().or_else(|| command_in(line, "python"));
        curl.is_some() && python.is_some()
    });
    println!("the first words after {:?}", started.elapsed());

    let answer = Command::new("sh").arg("-c").arg(curl.unwrap()).output().unwrap();
    assert!(answer.status.success() && !answer.stdout.is_empty(), "{answer:?}");
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(!text.contains("\"severity\":\"ERROR\""), "{text}");

    // The tail shows each kind of change; a shape changes once in sixty transactions.
    for kind in ["INSERT", "UPDATE", "DELETE", "ALTER TABLE"] {
        demo.lines_until(PATIENCE, |line| line.contains(kind));
    }
    paste_python(&python.unwrap());
    demo.signal("INT");
    assert!(demo.ends_well(Duration::from_secs(10)), "{}", demo.complaints());
}

/// Runs the line with the tests' own Python in front of the path, and waits for what it prints of the shop.
fn paste_python(line: &str) {
    if clients::python().is_none() {
        return skip("the demo's Python line was not tried");
    }
    let bin = clients::project().join("tests/.venv/bin");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(line).env("PATH", format!("{}:{path}", bin.display())).env("PYTHONUNBUFFERED", "1");
    shell.current_dir(clients::project());
    let python = Program::start(shell);
    python.lines_until(PATIENCE, |line| line.contains("shop."));
}
