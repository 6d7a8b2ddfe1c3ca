//! Goal: what capture cannot do is said while it matters, not once. Method: a real server, a row that no trail takes, a
//! table with partitions; ask as an operator does.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::extract::{capture, info};
use crate::support::{Postgres, Server};

const PATIENCE: Duration = Duration::from_secs(120);

fn until(server: &Server, what: &str, mut reached: impl FnMut(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = info(server, "e1");
        if reached(&shown) {
            return shown;
        }
        assert!(Instant::now() < deadline, "{what}: {shown}\n{}", server.log_text());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_row_that_no_trail_takes_stays_in_sight_until_the_extract_has_passed_it() {
    let Some(postgres) = Postgres::newest() else { return };
    postgres.psql("create table big (id int primary key, v text); create table small (id int primary key)");
    let server = Server::start();
    capture(&server, &postgres, "e1", &["public.*"], "a1");
    // Each of these characters is six in JSON: 300 MB from 50 MB.
    postgres.psql("insert into small values (1); insert into big values (1, repeat(chr(1), 50000000))");
    let failed = until(&server, "no failure", |info| !info["lastError"].is_null());
    let error = failed["lastError"].as_str().unwrap();
    assert!(error.contains("a row of public.big") && error.contains("is larger than the"), "{error}");
    let starts = failed["starts"].as_u64().unwrap();
    // From here to the second attempt after it, whenever one looks.
    until(&server, "no other attempt", |info| {
        assert_eq!(info["lastError"], failed["lastError"], "{info}");
        assert!(info["status"] == "retrying" || info["status"] == "failed", "{info}");
        let ready = server.get("/readyz").expect(503).text();
        assert!(ready.contains("extract e1"), "{ready}");
        info["starts"].as_u64() > Some(starts)
    });
    server.patch("/services/v2/extracts/e1", &json!({"tables": ["public.small"]})).expect(200);
    postgres.psql("insert into small values (2)");
    let passed = until(&server, "not passed", |info| info["status"] == "running" && info["lastError"].is_null());
    assert!(passed["records"].as_u64() >= Some(1), "{passed}");
    server.get("/readyz").expect(200);
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
    let line = server.wait_for_log("are partitioned", PATIENCE).unwrap();
    assert!(line.contains("public.p") && !line.contains("public.t") && line.contains("TRUNCATE"), "{line}");
}
