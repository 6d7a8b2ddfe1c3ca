//! Goal: a log that cannot be written takes nothing along: puts, changes and extracts go on, what is lost is counted, and that is
//! said when the log can be written again. Method: standard error is a file on a disk that is full, the trails' own, or a
//! pipe that nobody reads any more; the control writes where it logs, as most programs do.

use std::fs::File;
use std::os::fd::OwnedFd;

use serde_json::json;

use super::small_disk::SmallDisk;
use crate::support::extract::{capture, info_until};
use crate::support::http;
use crate::support::{Folder, Postgres, Server, skip, until};

const LOST: &str = "trailcast_log_lines_lost_total";

/// A pipe whose reader is gone.
fn broken_pipe() -> OwnedFd {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Faults of the program itself since it started.
fn panics(server: &Server) -> f64 {
    let page = server.get("/metrics").expect(200).text();
    let samples = page.lines().filter(|line| line.starts_with("trailcast_panics_total{"));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

fn put(server: &Server, id: u64) -> u16 {
    let row = json!({"id": id, "text": "x".repeat(20_000)});
    let operation = json!({"op": "INSERT", "table": "t.rows", "key": ["id"], "after": row});
    server.put("a1", &[json!({"xid": format!("x{id}"), "operations": [operation]})]).status
}

#[test]
fn with_a_pipe_that_nobody_reads_puts_changes_and_extracts_go_on() {
    let server = Server::start_telling(broken_pipe(), Folder::new("data"), &[]);
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    for id in 0..20 {
        assert_eq!(put(&server, id), 200);
        server.patch("/services/v2/stream/s1", &json!({"description": format!("{id}")})).expect(200);
    }
    let warned = server.get_ready_until(|ready| !ready["warnings"].as_array().unwrap().is_empty());
    assert_eq!((&warned["ready"], &warned["state"]), (&json!(true), &json!("degraded")), "{warned}");
    assert!(warned["warnings"][0].as_str().unwrap().contains("log lines"), "{warned}");
    server.sample_until(LOST, |lines| lines >= 20.0);
    if let Some(postgres) = Postgres::newest() {
        postgres.psql("create table public.t (id int primary key)");
        capture(&server, &postgres, "e1", &["public.*"], "b1");
        postgres.psql("insert into t select generate_series(1, 100)");
        info_until(&server, "e1", |info| info["records"] == 100 && info["status"] == "running");
    }
    assert_eq!(panics(&server), 0.0);
}

#[test]
fn with_the_log_on_the_trails_full_disk_trails_go_on_when_there_is_room_and_the_log_says_what_it_lacks() {
    let folder = Folder::new("log");
    let Some(disk) = SmallDisk::over(folder.path()) else { return };
    let log = folder.path().join("log");
    let data = Folder::adopt(folder.path().join("data"));
    let file = File::options().create(true).append(true).open(&log).unwrap();
    let server = Server::start_telling(file.into(), data, &[]);
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    assert_eq!(put(&server, 0), 200);
    disk.fill();
    let full = (1..400).find(|id| put(&server, *id) != 200).expect("the disk never filled up");
    for id in 1_000..1_010 {
        // Each is answered, but few leave a line: such lines are counted and come once a minute.
        assert_eq!(put(&server, id), 507);
        server.post("/services/v2/users/ann", &json!({"role": "User", "password": "a-long-password-7"})).expect(507);
        // So does each session, more than the last block of the log still holds.
        for _ in 0..4 {
            drop(server.subscribe("s1", "begin=now").unwrap());
        }
    }
    server.sample_until(LOST, |lines| lines >= 1.0);
    disk.free();
    until(|| if put(&server, full) == 200 { Ok(()) } else { Err("the trail takes nothing".to_owned()) });
    server.post("/services/v2/users/ann", &json!({"role": "User", "password": "a-long-password-7"})).expect(200);
    server.readiness(200);
    until(|| {
        let said = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
        if said.contains("log lines could not be written and are lost") { Ok(()) } else { Err(said) }
    });
    assert_eq!(panics(&server), 0.0);
    // The disk goes last.
    drop(server);
}

#[test]
fn control_whoever_writes_the_log_where_he_logs_is_taken_along_and_a_change_is_not_answered() {
    if !cfg!(feature = "fault-injection") {
        return skip("the control needs --features fault-injection");
    }
    // Where it cannot be written from the start, such a server does not even start.
    let (reader, writer) = std::io::pipe().unwrap();
    let directly = [("TRAILCAST_TEST_LOG_DIRECTLY", "1")];
    let server = Server::start_telling(writer.into(), Folder::new("data"), &directly);
    drop(reader);
    let headers = [("Authorization", server.credentials().header()), ("Content-Type", "application/json")];
    let answer = http::request(server.port(), "POST", "/services/v2/trails/a1", &headers, b"{}");
    assert!(answer.is_err(), "the test proves nothing: the change was answered, {}", answer.unwrap());
}
