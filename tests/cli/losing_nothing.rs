//! Goal: `tail` misses nothing over lost connections, whatever had come before them and whatever columns are called.
//! Method: a connection that is cut and mended while rows are put. Control: the same client behind a proxy that keeps from
//! it what the server says of the session's start; it is seen to miss rows.

use serde_json::json;

use super::command::{PATIENCE, client, interrupt, rows, run, stderr, trailcast};
use super::proxy::Proxy;
use crate::support::server::{PASSWORD, USER};
use crate::support::waiting::wait_for_file;
use crate::support::{Folder, Program, Server, lookalike, until};

fn put(server: &Server, from: u64, to: u64) {
    let output = run(client(server, &["put", "events"]), &rows(from, to));
    assert!(output.status.success(), "{}", stderr(&output));
}

/// `tail --json` of a stream by way of that port.
fn tail(port: u16, stream: &str, arguments: &[&str]) -> Program {
    let mut command = trailcast(&[&["tail", stream, "--json"], arguments].concat());
    command.env("TRAILCAST_URL", format!("http://{USER}:{PASSWORD}@127.0.0.1:{port}"));
    Program::start(command)
}

/// The rows that it prints, up to that one.
fn ids_until(program: &Program, last: u64) -> Vec<u64> {
    let id = |line: &str| lookalike::id_of(&serde_json::from_str(line).unwrap());
    let lines = program.lines_until(PATIENCE, |line| id(line) == Some(last));
    lines.iter().filter_map(|line| id(line)).collect()
}

/// Waits until so many sessions of the stream have been opened in this life of the server.
fn wait_for_sessions(server: &Server, stream: &str, opened: u64) {
    until(|| {
        let info = server.get(&format!("/services/v2/stream/{stream}/info")).expect(200).response();
        let enough = info["statistics"]["sessionsOpened"].as_u64().unwrap() >= opened;
        if enough { Ok(()) } else { Err(format!("no session {opened}: {info}")) }
    });
}

/// What there is when a tail begins at `now`.
#[derive(Debug, Clone, Copy)]
enum Before {
    Rows,
    NoRows,
    NoTrail,
}

/// What a tail from `now` prints whose connection is cut while rows 3 and 4 are put, and that has row 5 later.
fn printed_over_a_cut(before: Before, proxy: impl Fn(u16) -> Proxy) -> Vec<u64> {
    let server = Server::start();
    if !matches!(before, Before::NoTrail) {
        server.make_trail("events");
    }
    server.make_stream("orders", "events");
    if matches!(before, Before::Rows) {
        put(&server, 1, 2);
    }
    let proxy = proxy(server.port());
    let mut tail = tail(proxy.port(), "orders", &["--begin", "now"]);
    wait_for_sessions(&server, "orders", 1);
    // Where now is stands in the answer.
    proxy.wait_for_an_answer();
    proxy.cut();
    tail.wait_for_complaint("connecting again", PATIENCE);
    if matches!(before, Before::NoTrail) {
        server.make_trail("events");
    }
    put(&server, 3, 4);
    proxy.wait_for_a_try();
    proxy.mend();
    wait_for_sessions(&server, "orders", 2);
    put(&server, 5, 5);
    let ids = ids_until(&tail, 5);
    interrupt(&mut tail);
    ids
}

#[test]
fn what_is_committed_while_it_reconnects_is_printed_though_nothing_had_come_before() {
    for before in [Before::Rows, Before::NoRows, Before::NoTrail] {
        assert_eq!(printed_over_a_cut(before, Proxy::before), [3, 4, 5], "{before:?}");
    }
}

#[test]
fn a_client_that_is_not_told_where_now_was_is_seen_to_miss_it() {
    let hiding = |port| Proxy::hiding(port, "trailcast-begin");
    assert_eq!(printed_over_a_cut(Before::Rows, hiding), [5]);
}

#[test]
fn now_stays_where_it_was_when_the_server_restarts() {
    let mut server = Server::start();
    server.make_trail("events");
    server.make_stream("orders", "events");
    put(&server, 1, 2);
    let mut tail = tail(server.port(), "orders", &["--begin", "now"]);
    tail.lines_until(PATIENCE, |line| line.contains("\"STREAM_METADATA\""));
    server.kill();
    server.start_again();
    put(&server, 3, 4);
    assert_eq!(ids_until(&tail, 4), [3, 4]);
    interrupt(&mut tail);
}

#[test]
fn a_first_run_that_printed_nothing_is_gone_on_with() {
    let server = Server::start();
    server.make_trail("events");
    server.make_stream("orders", "events");
    put(&server, 1, 2);
    let folder = Folder::new("resume");
    let file = folder.path().join("position");
    let resume = ["--begin", "now", "--resume", file.to_str().unwrap()];
    let mut first = tail(server.port(), "orders", &resume);
    first.lines_until(PATIENCE, |line| line.contains("\"STREAM_METADATA\""));
    interrupt(&mut first);
    assert!(file.exists());
    put(&server, 3, 4);
    let mut second = tail(server.port(), "orders", &resume);
    assert_eq!(ids_until(&second, 4), [3, 4]);
    interrupt(&mut second);
}

#[test]
fn an_empty_file_is_no_first_start_behind_what_it_may_have_held() {
    let server = Server::start();
    server.make_trail("events");
    server.make_stream("orders", "events");
    put(&server, 1, 2);
    let folder = Folder::new("resume");
    let file = folder.path().join("position");
    std::fs::write(&file, "").unwrap();
    let refused = run(client(&server, &["tail", "orders", "--begin", "now", "--resume", file.to_str().unwrap()]), "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("position is empty"), "{}", stderr(&refused));
    let mut from_the_start = tail(server.port(), "orders", &["--resume", file.to_str().unwrap()]);
    assert_eq!(ids_until(&from_the_start, 2), [1, 2]);
    interrupt(&mut from_the_start);
}

#[test]
fn a_column_is_never_taken_for_the_position() {
    let server = Server::start();
    lookalike::make(&server);
    lookalike::put(&server, 1, 3);
    let folder = Folder::new("resume");
    let file = |stream: &str| folder.path().join(stream);
    for shape in lookalike::shapes() {
        let file = file(shape.stream);
        let mut first = tail(server.port(), shape.stream, &["--resume", file.to_str().unwrap()]);
        assert_eq!(ids_until(&first, 3), [1, 2, 3], "{}", shape.stream);
        wait_for_file(&file, &lookalike::position_of(&server, &shape, 3));
        interrupt(&mut first);
        assert_eq!(first.last_words(), "", "{}", shape.stream);
    }
    lookalike::put(&server, 4, 6);
    for shape in lookalike::shapes() {
        let file = file(shape.stream);
        let mut second = tail(server.port(), shape.stream, &["--resume", file.to_str().unwrap()]);
        assert_eq!(ids_until(&second, 6), [4, 5, 6], "{}", shape.stream);
        interrupt(&mut second);
    }
}

#[test]
fn rows_with_columns_named_like_metadata_are_readable() {
    let server = Server::start();
    lookalike::make(&server);
    lookalike::put(&server, 1, 1);
    for shape in lookalike::shapes() {
        let mut tail = Program::start(client(&server, &["tail", shape.stream]));
        let lines = tail.lines_until(PATIENCE, |line| line.contains("INSERT"));
        let line = lines.last().unwrap();
        assert!(line.contains("INSERT   t.rows ") && line.contains("id=1"), "{}: {line}", shape.stream);
        assert!(line.contains("op_type=\"STREAM_METADATA\""), "{}: {line}", shape.stream);
        interrupt(&mut tail);
    }
}

#[test]
fn a_stream_without_positions_is_said_to_be_one() {
    let server = Server::start();
    lookalike::make(&server);
    let config =
        json!({"source": {"trail": "lookalike"}, "encoding": {"json": {"model": "row", "metaFields": {"pos": false}}}});
    server.post("/services/v2/stream/bare", &config).expect(200);
    lookalike::put(&server, 1, 3);
    let mut tail = tail(server.port(), "bare", &[]);
    assert_eq!(ids_until(&tail, 3), [1, 2, 3]);
    tail.wait_for_complaint("sends no positions", PATIENCE);
    interrupt(&mut tail);
}
