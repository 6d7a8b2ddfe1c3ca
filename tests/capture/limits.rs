//! Goal: what capture cannot do is said while it matters, not once. Method: a real server, a row that no trail takes, a
//! table with partitions; ask as an operator does.

use serde_json::json;

use crate::support::extract::{capture, info_until};
use crate::support::{Postgres, Server, process};

#[test]
fn a_row_that_no_trail_takes_stays_in_sight_until_the_extract_has_passed_it() {
    let Some(postgres) = Postgres::newest() else { return };
    postgres.psql("create table big (id int primary key, v text); create table small (id int primary key)");
    let server = Server::start();
    capture(&server, &postgres, "e1", &["public.*"], "a1");
    let start = process::memory_kib(server.pid(), "VmHWM");
    // Each of these characters is six in JSON: 300 MB from 50 MB.
    postgres.psql("insert into small values (1); insert into big values (1, repeat(chr(1), 50000000))");
    let failed = info_until(&server, "e1", |info| !info["lastError"].is_null());
    let error = failed["lastError"].as_str().unwrap();
    assert!(error.contains("a row of public.big") && error.contains("is larger than the"), "{error}");
    // The message and little else: what it would become is never made.
    let growth = growth_kib(&server, start);
    assert!(growth <= 160 * 1024, "{start} KiB at the start, {growth} KiB more");
    let starts = failed["starts"].as_u64().unwrap();
    // From here to the second attempt after it, whenever one looks.
    info_until(&server, "e1", |info| {
        assert_eq!(info["lastError"], failed["lastError"], "{info}");
        assert!(info["status"] == "retrying" || info["status"] == "failed", "{info}");
        let ready = server.get("/readyz").expect(503).text();
        assert!(ready.contains("extract e1"), "{ready}");
        info["starts"].as_u64() > Some(starts)
    });
    server.patch("/services/v2/extracts/e1", &json!({"tables": ["public.small"]})).expect(200);
    postgres.psql("insert into small values (2)");
    let passed = info_until(&server, "e1", |info| info["status"] == "running" && info["lastError"].is_null());
    assert!(passed["records"].as_u64() >= Some(1), "{passed}");
    server.readiness(200);
}

/// How much memory the server has taken beyond `start` at most, in KiB.
fn growth_kib(server: &Server, start: u64) -> u64 {
    process::memory_kib(server.pid(), "VmHWM").saturating_sub(start)
}

#[test]
fn a_row_larger_than_any_trail_takes_costs_no_memory_however_often_it_is_tried() {
    const GROWTH_KIB_MAX: u64 = 64 * 1024;
    let Some(postgres) = Postgres::newest() else { return };
    postgres.psql("create table big (id int primary key, v text); create table small (id int primary key)");
    let server = Server::start();
    capture(&server, &postgres, "e1", &["public.*"], "a1");
    postgres.psql("insert into small values (1)");
    info_until(&server, "e1", |info| info["records"].as_u64() >= Some(1));
    let start = process::memory_kib(server.pid(), "VmHWM");
    postgres.psql("insert into big values (1, repeat('x', 400 << 20)); insert into small values (2)");
    let failed = info_until(&server, "e1", |info| !info["lastError"].is_null());
    let error = failed["lastError"].as_str().unwrap();
    assert!(error.contains("a row of public.big") && error.contains("is larger than the"), "{error}");
    let starts = failed["starts"].as_u64().unwrap();
    info_until(&server, "e1", |info| info["starts"].as_u64() > Some(starts + 1));
    let refused = growth_kib(&server, start);
    // Left out, it is read and not held.
    server.patch("/services/v2/extracts/e1", &json!({"tables": ["public.small"]})).expect(200);
    info_until(&server, "e1", |info| info["status"] == "running" && info["lastError"].is_null());
    let passed = growth_kib(&server, start);
    println!("memory of the server: {start} KiB, {refused} KiB more while refused, {passed} KiB more when passed");
    assert!(passed <= GROWTH_KIB_MAX, "{start} KiB at the start, {refused} and {passed} KiB more");
}

#[test]
fn an_extract_says_which_of_its_tables_are_partitioned() {
    let Some(postgres) = Postgres::newest() else { return };
    postgres.psql(
        "create table t (id int primary key); create table p (id int primary key) partition by range (id); \
         create table p1 partition of p for values from (0) to (10)",
    );
    let server = Server::start();
    capture(&server, &postgres, "e1", &["public.*"], "a1");
    let line = server.says("are partitioned");
    assert!(line.contains("public.p") && !line.contains("public.t") && line.contains("TRUNCATE"), "{line}");
}
