//! Goal: `tail` shows each record once, goes on exactly after what it saved, and ends as it should. Method: put rows,
//! restart and interrupt it.

use serde_json::Value;

use super::command::{PATIENCE, client, interrupt, rows, run, stderr, trailcast};
use crate::support::port::Port;
use crate::support::waiting::wait_for_file;
use crate::support::{Folder, Program, Server, http};

fn server_with_rows(count: u64) -> Server {
    let server = Server::start();
    server.make_trail("events");
    server.make_stream("orders", "events");
    put(&server, 1, count);
    server
}

fn put(server: &Server, from: u64, to: u64) {
    let output = run(client(server, &["put", "events"]), &rows(from, to));
    assert!(output.status.success(), "{}", stderr(&output));
}

fn tail(server: &Server, arguments: &[&str]) -> Program {
    Program::start(client(server, &[&["tail", "orders"], arguments].concat()))
}

fn records_until(program: &Program, last: u64) -> Vec<Value> {
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["after"]["id"].as_u64();
    let lines = program.lines_until(PATIENCE, |line| id(line) == Some(last));
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(records: &[Value]) -> Vec<u64> {
    records.iter().filter_map(|record| record["after"]["id"].as_u64()).collect()
}

#[test]
fn rows_that_were_put_are_printed_one_a_line() {
    let server = server_with_rows(2);
    let mut tail = tail(&server, &[]);
    let lines = tail.lines_until(PATIENCE, |line| line.contains("id=2"));
    let data: Vec<_> = lines.iter().filter(|line| line.contains("INSERT")).collect();
    assert_eq!(data.len(), 2);
    assert!(data[0].ends_with("INSERT   app.orders id=1  total=1.10"), "{}", data[0]);
    assert!(lines.iter().any(|line| line.contains("OBJECT_METADATA app.orders has id (key), total")), "{lines:?}");
    assert!(!lines.concat().contains('\u{1b}'), "no colours in a pipe");
    interrupt(&mut tail);
}

#[test]
fn json_is_each_record_unchanged() {
    let server = server_with_rows(2);
    let mut subscriber = server.subscribe("orders", "begin=earliest").unwrap();
    let mut tail = tail(&server, &["--json"]);
    let lines = tail.lines_until(PATIENCE, |line| line.contains("\"id\":2"));
    let expected: Vec<_> = lines.iter().map(|_| subscriber.expect_record(PATIENCE).text).collect();
    assert_eq!(lines, expected);
    interrupt(&mut tail);
}

#[test]
fn it_goes_on_exactly_after_what_it_saved() {
    let mut server = server_with_rows(20);
    let folder = Folder::new("resume");
    let file = folder.path().join("position");
    let resume = ["--json", "--resume", file.to_str().unwrap()];
    let mut first = tail(&server, &resume);
    let records = records_until(&first, 20);
    assert_eq!(ids(&records), (1..=20).collect::<Vec<_>>());
    wait_for_file(&file, records.last().unwrap()["pos"].as_str().unwrap());

    // The server goes away and comes back: nothing twice, nothing missing, and it says what happened.
    server.kill();
    server.start_again();
    put(&server, 21, 30);
    let records = records_until(&first, 30);
    assert_eq!(ids(&records), (21..=30).collect::<Vec<_>>());
    wait_for_file(&file, records.last().unwrap()["pos"].as_str().unwrap());
    first.wait_for_complaint("connecting again", PATIENCE);
    interrupt(&mut first);

    put(&server, 31, 35);
    let mut second = tail(&server, &resume);
    assert_eq!(ids(&records_until(&second, 35)), (31..=35).collect::<Vec<_>>());
    interrupt(&mut second);
}

#[test]
fn begin_is_passed_on() {
    let server = server_with_rows(3);
    let mut subscriber = server.subscribe("orders", "begin=earliest").unwrap();
    let first = subscriber.expect_data(PATIENCE);
    let mut tail = tail(&server, &["--json", "--begin", first.pos().unwrap()]);
    assert_eq!(ids(&records_until(&tail, 3)), [2, 3]);
    interrupt(&mut tail);
}

#[test]
fn a_refusal_ends_with_1_and_the_servers_words() {
    let server = server_with_rows(1);
    let url = server.url("http");
    let wrong = format!("http://admin:wrong@127.0.0.1:{}", server.port());
    let cases = [
        (&url, "nothing", "earliest", "refused with 404: "),
        (&url, "orders", "yesterday", "refused with 400: "),
        (&wrong, "orders", "earliest", "refused with 401"),
    ];
    for (url, stream, begin, says) in cases {
        let output = run(trailcast(&["tail", stream, "--begin", begin, "--url", url]), "");
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
}

#[test]
fn nobody_listening_ends_with_1() {
    let held = Port::hold();
    let port = held.number();
    assert!(http::request(port, "GET", "/", &[], b"").is_err());
    let output = run(trailcast(&["tail", "s1", "--url", &format!("http://127.0.0.1:{port}")]), "");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("no connection to http://127.0.0.1:{port}")), "{}", stderr(&output));
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let server = server_with_rows(2_000);
    let mut shell = std::process::Command::new("bash");
    shell.args(["-o", "pipefail", "-c", "\"$0\" tail orders --json | head -n 3"]).arg(Server::program());
    shell.env("TRAILCAST_URL", server.url("http"));
    let output = run(shell, "");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!((output.stdout.iter().filter(|byte| **byte == b'\n').count(), stderr(&output).as_str()), (3, ""));
}

#[test]
fn a_record_far_beyond_the_size_of_a_put_is_printed() {
    let server = Server::start();
    server.make_trail("events");
    // As a string, each of its quotes takes two bytes.
    let strings = serde_json::json!({"treatAllColumnsAsStrings": true});
    let config = serde_json::json!({"source": {"trail": "events"}, "encoding": {"json": strings}});
    server.post("/services/v2/stream/orders", &config).expect(200);
    let values = format!("[{}\"\"]", "\"\",".repeat(16_000_000));
    let put = |id: u64, values: &str| {
        let row = format!("{{\"op\":\"INSERT\",\"table\":\"t\",\"after\":{{\"id\":{id},\"v\":{values}}}}}");
        let output = run(client(&server, &["put", "events"]), &format!("{{\"operations\":[{row}]}}\n"));
        assert!(output.status.success(), "{}", stderr(&output));
    };
    put(1, &values);
    put(2, "[]");
    let mut tail = tail(&server, &["--json"]);
    // The test's own build of the program needs minutes for it on a machine that is busy with other things.
    let lines = tail.lines_until(3 * PATIENCE, |line| line.contains("\"id\":\"2\""));
    let large = lines.iter().find(|line| line.contains("\"id\":\"1\"")).unwrap();
    assert!(large.len() > 64 << 20, "{}", large.len());
    interrupt(&mut tail);
    assert_eq!(tail.last_words(), "");
}
