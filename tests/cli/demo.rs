//! Goal: the demo shows itself within seconds, and what it tells people to paste works. Method: paste it.

use std::process::Command;
use std::time::Instant;

use super::command::{PATIENCE, interrupt, run, stderr, stdout, trailcast};
use crate::support::{Folder, Program, clients, skip};

fn demo(data: &Folder) -> Program {
    let data = data.path().to_str().unwrap();
    Program::start(trailcast(&["demo", "--listen", "127.0.0.1:0", "--rate", "50", "--data-dir", data]))
}

fn line_of<'l>(lines: &'l [String], start: &str) -> &'l str {
    lines.iter().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start} in {lines:?}"))
}

fn pasted(line: &str) -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-c", line]);
    shell
}

#[test]
fn it_says_where_it_is_and_shows_the_stream_within_seconds() {
    let data = Folder::new("demo");
    let start = Instant::now();
    let mut demo = demo(&data);
    let lines = demo.lines_until(PATIENCE, |line| line.contains("INSERT") && line.contains("shop."));
    println!("the first rows after {:?}", start.elapsed());
    assert!(line_of(&lines, "URL ").contains("http://127.0.0.1:"));
    assert!(line_of(&lines, "user ").ends_with(" demo") && line_of(&lines, "password ").ends_with(" demo"));
    interrupt(&mut demo);

    // Once more on the same folder: the tables are emptied, and it goes on.
    let mut again = self::demo(&data);
    again.lines_until(PATIENCE, |line| line.contains("INSERT") && line.contains("shop."));
    interrupt(&mut again);
}

#[test]
fn its_curl_line_works_as_pasted_and_the_row_is_seen() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("no curl");
    }
    let data = Folder::new("demo");
    let mut demo = demo(&data);
    let lines = demo.lines_until(PATIENCE, |line| line.contains("The stream, live"));
    let output = run(pasted(line_of(&lines, "curl ")), "");
    assert!(stdout(&output).contains("\"acked\":1"), "{}{}", stdout(&output), stderr(&output));
    demo.lines_until(PATIENCE, |line| line.contains("INSERT   my.rows id=1"));
    interrupt(&mut demo);
}

#[test]
fn its_python_line_works_as_pasted() {
    let Some(python) = clients::python_path() else { return };
    let data = Folder::new("demo");
    let mut demo = demo(&data);
    let lines = demo.lines_until(PATIENCE, |line| line.contains("The stream, live"));
    let mut shell = pasted(line_of(&lines, "python3 "));
    let folder = python.parent().unwrap().to_str().unwrap();
    shell.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap()));
    let subscriber = Program::start(shell);
    subscriber.lines_until(PATIENCE, |line| line.contains("\"qual_table\":\"shop."));
    interrupt(&mut demo);
}
