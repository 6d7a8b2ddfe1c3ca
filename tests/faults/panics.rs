//! Goal: a fault of the program itself (a panic) ends no more than what it happened in: it is seen in log and figures, what must go
//! on goes on, and nothing that was acknowledged is lost. Method: a switch makes one task panic once where it does its
//! work. The control is the same server with nobody watching.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::extract::{capture, info_until};
use crate::support::http::{self, Answer};
use crate::support::subscriber::Next;
use crate::support::{Folder, Postgres, Server, skip, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server in which the task panics once; `None`, said loudly, where that cannot be asked for.
fn server(task: &str, arguments: &[&str], more: &[(&str, &str)]) -> Option<Server> {
    if !cfg!(feature = "fault-injection") {
        skip("panics on purpose need --features fault-injection");
        return None;
    }
    let environment = [&[("TRAILCAST_TEST_PANIC", task)], more].concat();
    Some(Server::start_with(arguments, &environment))
}

/// The panic was seen, in the figures and in the log, and nothing is down any more.
fn is_seen(server: &Server, task: &str) {
    server.sample_until(&format!("trailcast_panics_total{{task=\"{task}\"}}"), |panics| panics == 1.0);
    server.sample_until(&format!("trailcast_tasks_down{{task=\"{task}\"}}"), |down| down == 0.0);
    let line = server.says("a fault of the program itself");
    assert!(line.contains("a test asked for it") && line.contains("tasks.rs"), "{line}");
}

fn row(id: u64) -> Value {
    json!({"xid": format!("x{id}"), "operations": [{"op": "INSERT", "table": "t", "key": ["id"], "after": {"id": id}}]})
}

fn put(server: &Server, id: u64) -> Answer {
    server.put("a1", &[row(id)])
}

/// All ids of the stream s1, in order, up to `last`.
fn ids(server: &Server, last: u64) -> Vec<u64> {
    let mut reader = server.subscribe("s1", "begin=earliest").unwrap();
    let mut ids = Vec::new();
    while ids.last() != Some(&last) {
        ids.push(reader.expect_data(PATIENCE).json["after"]["id"].as_u64().unwrap());
    }
    ids
}

#[test]
fn a_trails_writer_that_panics_is_followed_by_one_that_recovers() {
    let Some(server) = server("trail_writer", &[], &[]) else { return };
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let refused = put(&server, 1).expect(503);
    assert!(refused.titles().contains("a fault of the program itself"), "{refused}");
    let ready = server.readiness(503);
    assert!(ready["troubles"][0].as_str().unwrap().starts_with("trail a1 has stopped"), "{ready}");
    for id in [1, 2, 1] {
        put(&server, id).expect(200);
    }
    server.readiness(200);
    assert_eq!(ids(&server, 2), [1, 2]);
    is_seen(&server, "trail_writer");
}

#[test]
fn control_a_trail_whose_writer_nobody_watches_has_a_writer_for_ever() {
    let Some(server) = server("trail_writer", &[], &[("TRAILCAST_TEST_UNWATCHED", "1")]) else { return };
    server.make_trail("a1");
    put(&server, 1).expect(503);
    for _ in 0..3 {
        let refused = put(&server, 1).expect(503);
        assert!(refused.titles().contains("has a writer already"), "{refused}");
    }
    assert_eq!(server.get("/services/v2/trails/a1").expect(200).response()["status"], "running");
}

#[test]
fn a_request_that_panics_is_answered_and_half_of_a_put_stays_nowhere() {
    let Some(server) = server("request", &[], &[]) else { return };
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let broken = put(&server, 1).expect(500);
    assert!(broken.titles().contains("a fault of the program itself"), "{broken}");
    for id in [1, 2, 1] {
        put(&server, id).expect(200);
    }
    assert_eq!(ids(&server, 2), [1, 2]);
    is_seen(&server, "request");
}

#[test]
fn an_extract_that_panics_goes_on_where_the_trail_ends() {
    let Some(server) = server("extract", &[], &[]) else { return };
    let Some(postgres) = Postgres::newest() else { return };
    postgres.psql("create table public.t (id int primary key)");
    capture(&server, &postgres, "e1", &["public.*"], "a1");
    server.make_stream("s1", "a1");
    for id in 1..=20 {
        postgres.psql(&format!("insert into t values ({id})"));
    }
    assert_eq!(ids(&server, 20), (1..=20).collect::<Vec<_>>());
    info_until(&server, "e1", |info| info["status"] == "running" && info["lastError"].is_null());
    server.readiness(200);
    is_seen(&server, "extract");
}

#[test]
fn a_session_that_panics_ends_and_is_counted_out_and_the_next_one_is_served() {
    for task in ["session", "encoder"] {
        let Some(server) = server(task, &[], &[]) else { return };
        server.make_trail("a1");
        server.make_stream("s1", "a1");
        put(&server, 1).expect(200);
        let mut broken = server.subscribe("s1", "begin=earliest").unwrap();
        loop {
            match broken.next(PATIENCE) {
                Next::Ended(_) => break,
                Next::Record(_) => {}
                Next::Quiet => panic!("{task}: the session neither goes on nor ends"),
            }
        }
        for state in ["catching-up", "at-tail", "blocked"] {
            let sessions = format!("trailcast_stream_sessions{{stream=\"s1\",state=\"{state}\"}}");
            server.sample_until(&sessions, |live| live == 0.0);
        }
        server.says("session-end");
        assert_eq!(ids(&server, 1), [1], "{task}");
        let panics = |task| server.sample_until(&format!("trailcast_panics_total{{task=\"{task}\"}}"), |_| true);
        // A short block is made by the session itself.
        assert_eq!(panics("session") + panics("encoder"), 1.0, "{task}");
        server.says("a fault of the program itself");
    }
}

#[test]
fn an_audit_line_that_makes_its_writer_panic_goes_to_the_log_and_the_next_one_to_its_file() {
    let folder = Folder::new("audit");
    let file = folder.path().join("audit.log");
    let Some(server) = server("audit", &["--audit-log", file.to_str().unwrap()], &[]) else { return };
    // The first line is that of the first user.
    server.says("/services/v2/users/admin");
    server.make_trail("a1");
    until(|| {
        let text = std::fs::read_to_string(&file).unwrap();
        if text.contains("/services/v2/trails/a1") { Ok(()) } else { Err(text) }
    });
    server.sample_until("trailcast_audit_lines_failed_total", |lines| lines == 1.0);
    is_seen(&server, "audit");
}

#[test]
fn who_looks_after_retention_and_keys_is_started_again() {
    for task in ["retention", "token_keys"] {
        let Some(server) = server(task, &[], &[]) else { return };
        is_seen(&server, task);
        // Retention looks at the disk; of the keys nothing is seen but that nobody is down.
        server.sample_until("trailcast_disk_size_bytes", |bytes| bytes > 0.0);
    }
}

#[test]
fn a_listener_that_panics_accepts_again_and_a_connection_that_panics_takes_no_other_along() {
    for task in ["listener", "connection"] {
        let Some(server) = server(task, &[], &[]) else { return };
        // The first one is lost.
        assert!(http::request(server.port(), "GET", "/healthz", &[], b"").is_err(), "{task}");
        until(|| http::request(server.port(), "GET", "/healthz", &[], b"").map_err(|error| error.to_string()));
        is_seen(&server, task);
    }
}
