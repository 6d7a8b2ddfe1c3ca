//! Goal: where a command cannot go on, it says what to do, and that works as pasted. Method: run it where it is stuck, and
//! paste what it says.

use std::process::Command;

use serde_json::{Value, json};

use super::command::{PATIENCE, client, interrupt, rows, run, stderr, stdout, trailcast};
use crate::support::server::{PASSWORD, USER};
use crate::support::{Program, Server};

/// Runs the line of curl that a command has shown, with the password for which it would ask.
fn paste_curl(said: &str) {
    let line =
        said.lines().find_map(|line| line.strip_prefix("  curl ")).unwrap_or_else(|| panic!("no line in {said}"));
    // curl would ask for the password.
    let pasted = format!("curl -f {}", line.replace(&format!("-u {USER}"), &format!("-u {USER}:{PASSWORD}")));
    let mut shell = Command::new("bash");
    shell.args(["-c", &pasted]);
    let made = run(shell, "");
    assert!(made.status.success(), "{pasted}\n{}{}", stdout(&made), stderr(&made));
}

#[test]
fn tail_of_a_stream_that_is_not_there_shows_how_it_is_made() {
    let server = Server::start();
    server.make_trail("a1");
    let output = run(client(&server, &["tail", "orders"]), "");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.starts_with("error: refused with 404: stream orders does not exist."), "{said}");
    assert!(!said.contains(PASSWORD), "{said}");
    paste_curl(&said);
    assert!(run(client(&server, &["put", "a1"]), &rows(1, 1)).status.success());
    let mut tail = Program::start(client(&server, &["tail", "orders"]));
    tail.lines_until(PATIENCE, |line| line.contains("INSERT   app.orders id=1"));
    interrupt(&mut tail);
}

#[test]
fn put_into_a_trail_that_is_not_there_shows_how_it_is_made() {
    let server = Server::start();
    let put = || run(client(&server, &["put", "events"]), &rows(1, 1));
    let said = stderr(&put());
    assert!(said.contains("refused with 404: trail events does not exist."), "{said}");
    paste_curl(&said);
    assert!(put().status.success());
}

#[test]
fn an_empty_trail_is_listed_and_described_as_empty() {
    let server = Server::start();
    server.make_trail("a1");
    let data = server.data_dir().to_str().unwrap();
    let shown = |arguments: &[&str]| stdout(&run(trailcast(&[arguments, &["--data-dir", data]].concat()), ""));
    assert!(shown(&["trail", "ls"]).contains("no commits yet  1 segments"), "{}", shown(&["trail", "ls"]));
    let info = shown(&["trail", "info", "a1"]);
    assert!(info.contains("firstCommit   none\n") && info.contains("lastCommit    none\n"), "{info}");
    let info: Value = serde_json::from_str(&shown(&["trail", "info", "a1", "--json"])).unwrap();
    assert_eq!((&info["firstCommit"], &info["lastCommit"]), (&Value::Null, &Value::Null));
    assert!(run(client(&server, &["put", "a1"]), &rows(1, 2)).status.success());
    assert!(shown(&["trail", "ls"]).contains("commits 1–2  "), "{}", shown(&["trail", "ls"]));
    let info: Value = serde_json::from_str(&shown(&["trail", "info", "a1", "--json"])).unwrap();
    assert_eq!((&info["firstCommit"], &info["lastCommit"]), (&json!(1), &json!(2)));
}
