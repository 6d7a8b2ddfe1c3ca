//! Goal: an extract that waits for its source says what for, and the server is not ready meanwhile. Method: a
//! transaction that stays open while a slot is made, in another database too, and one that is prepared.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::support::extract::{info, until_info};
use crate::support::waiting::PATIENCE;
use crate::support::{Postgres, Server};

/// A session that has written and not committed; its process at the server.
fn open_transaction(cluster: &Postgres, database: &str) -> (Child, String) {
    let mut command = cluster.psql_command();
    let mut session = command.args(["-d", database]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let statements = b"begin; create table held (); select pg_backend_pid();\n";
    session.stdin.as_mut().unwrap().write_all(statements).unwrap();
    let mut pid = String::new();
    BufReader::new(session.stdout.as_mut().unwrap()).read_line(&mut pid).unwrap();
    (session, pid.trim().to_owned())
}

#[test]
fn a_slot_that_waits_for_an_open_transaction_says_for_whom_and_is_not_ready() {
    Postgres::on_each_major(|cluster| {
        cluster.psql("create table t (id int primary key); create database other;");
        // Slots are made of what the whole server does.
        for database in ["postgres", "other"] {
            let (mut session, pid) = open_transaction(&cluster, database);
            let server = Server::start();
            let body = json!({"source": cluster.source(), "tables": ["public.t"], "trail": "a1"});
            server.post("/services/v2/extracts/e1", &body).expect(200);
            let shown = until_info(&server, "e1", |info| !info["waitsFor"]["pid"].is_null());
            assert_eq!(
                (shown["status"].as_str(), shown["waitsFor"]["pid"].to_string()),
                (Some("starting"), pid.clone())
            );
            assert!(shown["waitsFor"]["transactionSeconds"].is_u64(), "{shown}");
            until_info(&server, "e1", |info| info["waitsFor"]["seconds"].as_u64() > Some(2));
            let ready = server.get("/readyz").expect(503).text();
            assert!(ready.contains("extract e1 is starting") && ready.contains(&format!("pid {pid}")), "{ready}");
            let line = server.wait_for_log("for transactions that were open", PATIENCE).unwrap();
            assert!(line.contains(&format!("pid {pid}")), "{line}");
            let page = server.get("/metrics").expect(200).text();
            assert!(page.contains("trailcast_capture_slot_wait_seconds{extract=\"e1\"}"), "{page}");
            session.stdin.take().unwrap().write_all(b"rollback;\n").unwrap();
            assert!(session.wait().unwrap().success());
            until_info(&server, "e1", |info| info["status"] == "running" && info["waitsFor"].is_null());
            server.readiness(200);
            server.delete("/services/v2/extracts/e1").expect(200);
            drop(server);
            cluster.drop_slot("trailcast_e1");
            cluster.psql("drop publication trailcast_e1");
        }
    });
}

#[test]
fn a_prepared_transaction_is_named_as_what_it_is() {
    let Some(newest) = crate::support::postgres::installations().last() else { return };
    let cluster = newest.start_with(&[("max_prepared_transactions", "2")], false);
    cluster.psql("create table t (id int primary key); begin; create table held (); prepare transaction 'two';");
    let server = Server::start();
    let body = json!({"source": cluster.source(), "tables": ["public.t"], "trail": "a1"});
    server.post("/services/v2/extracts/e1", &body).expect(200);
    let waits = |info: &Value| info["waitsFor"]["what"].as_str().is_some_and(|what| what.contains("prepared one"));
    let shown = until_info(&server, "e1", waits);
    assert!(shown["waitsFor"]["pid"].is_null(), "{shown}");
    // A server that stops does not wait with it.
    server.patch("/services/v2/extracts/e1", &json!({"status": "stopped"})).expect(200);
    assert!(info(&server, "e1")["waitsFor"].is_null());
    server.patch("/services/v2/extracts/e1", &json!({"status": "running"})).expect(200);
    cluster.psql("rollback prepared 'two'");
    until_info(&server, "e1", |info| info["status"] == "running");
}
