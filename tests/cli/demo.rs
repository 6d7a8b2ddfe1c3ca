//! Goal: the demo shows itself within seconds, and what it tells people to paste works. Method: paste it.

use std::io::Write as _;
use std::process::Command;
use std::time::Instant;

use super::command::{PATIENCE, interrupt, run, stderr, stdout, trailcast};
use crate::support::{Folder, Program, clients, skip};

fn demo(data: &Folder) -> Program {
    Program::start(demo_command(data))
}

fn demo_command(data: &Folder) -> Command {
    let data = data.path().to_str().unwrap();
    trailcast(&["demo", "--listen", "127.0.0.1:0", "--rate", "50", "--data-dir", data])
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
fn enter_shows_the_lines_again_and_holds_the_stream_which_then_goes_on_where_it_stood() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("no curl");
    }
    let data = Folder::new("demo");
    let (mut demo, mut input) = Program::start_with_input(demo_command(&data));
    demo.lines_until(PATIENCE, |line| line.contains("UPDATE"));
    input.write_all(b"\n").unwrap();
    let lines = demo.lines_until(PATIENCE, |line| line.contains("The stream is held"));
    let pasted_line = line_of(&lines, "curl ").to_owned();
    assert!(line_of(&lines, "python3 ").contains("max_size=None"));
    // Fifty transactions a second are written meanwhile, and a row of our own: nothing of that is shown.
    let output = run(pasted(&pasted_line), "");
    assert!(stdout(&output).contains("\"acked\":1"), "{}{}", stdout(&output), stderr(&output));
    input.write_all(b"\n").unwrap();
    let lines = demo.lines_until(PATIENCE, |line| line.contains("goes on where it stood"));
    assert_eq!(lines.len(), 1, "{lines:?}");
    demo.lines_until(PATIENCE, |line| line.contains("INSERT   my.rows id=1"));
    // At the end they are there once more, on a screen that stands still.
    interrupt(&mut demo);
    let lines = demo.lines_until(PATIENCE, |line| line.starts_with("python3 "));
    assert_eq!(line_of(&lines, "curl "), pasted_line);
}

#[test]
fn the_demo_goes_on_when_its_standard_input_ends_and_ends_while_it_is_held() {
    let data = Folder::new("demo");
    let (mut demo, mut input) = Program::start_with_input(demo_command(&data));
    demo.lines_until(PATIENCE, |line| line.contains("UPDATE"));
    input.write_all(b"\n").unwrap();
    demo.lines_until(PATIENCE, |line| line.contains("The stream is held"));
    drop(input);
    interrupt(&mut demo);
}

#[test]
fn the_first_messages_of_its_stream_hold_no_schemas() {
    let Some(python) = clients::python_path() else { return };
    let data = Folder::new("demo");
    let mut demo = demo(&data);
    let lines = demo.lines_until(PATIENCE, |line| line.contains("The stream, live"));
    assert!(lines.iter().any(|line| line.contains("\"includeJSONSchemaRecord\": false")), "{lines:?}");
    let mut shell = pasted(line_of(&lines, "python3 "));
    shell.env("PATH", format!("{}:{}", python.parent().unwrap().display(), std::env::var("PATH").unwrap()));
    let subscriber = Program::start(shell);
    let messages = subscriber.lines_until(PATIENCE, |line| line.contains("\"op_type\":\"INSERT\""));
    assert!(!messages.concat().contains("$schema"), "{messages:?}");
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
