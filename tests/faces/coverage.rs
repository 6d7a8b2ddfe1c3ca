//! Goal: whoever runs the server sees that a table has stopped flowing, and decides. Method: the real program over REST, a
//! real source; a control with the looks turned off, in which rows are lost in silence.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::extract::{capture, info};
use crate::support::{Postgres, Server};

const PATIENCE: Duration = Duration::from_secs(120);
const T: &str = "create table t (id int primary key)";

fn until(server: &Server, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = info(server, "e1");
        if reached(&shown) {
            return shown;
        }
        assert!(Instant::now() < deadline, "{what}: {shown}\n{}", server.log_text());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn records(server: &Server, number: u64) -> Value {
    until(server, "records", |info| info["records"] == number)
}

/// Takes the table out of the publication, writes to it, and puts it back.
fn lose_rows(postgres: &Postgres) {
    postgres.psql(
        "alter publication trailcast_e1 drop table t; insert into t values (11), (12);
         alter publication trailcast_e1 add table t; insert into t values (13)",
    );
}

#[test]
fn lost_coverage_stops_the_extract_until_a_person_accepts_the_gap_over_a_restart_too() {
    let Some(postgres) = Postgres::newest() else { return };
    postgres.psql(T);
    let mut server = Server::start();
    capture(&server, &postgres, "e1", &["public.t*"], "a1");
    until(&server, "not running", |info| info["status"] == "running");
    postgres.psql("insert into t values (1)");
    records(&server, 1);
    let path = "/services/v2/extracts/e1";
    // There is nothing to accept yet.
    assert!(server.patch(path, &json!({"acceptGap": true})).expect(409).text().contains("acceptGap"));
    for (member, value) in [("acceptGap", json!(false)), ("onCoverageLost", json!("shrug")), ("newTables", json!(1))] {
        let refused = server.patch(path, &json!({ member: value })).expect(400).text();
        assert!(refused.contains(member), "{refused}");
    }
    lose_rows(&postgres);
    let failed = until(&server, "no failure", |info| info["status"] == "failed");
    assert_eq!((&failed["lastErrorReason"], &failed["degraded"]), (&json!("coverage_lost"), &json!([])));
    let lost = failed["coverage"]["lost"].clone();
    assert!(lost["tables"]["public.t"].is_string() && lost["from"].is_string() && lost["to"].is_string(), "{failed}");
    let error = failed["lastError"].as_str().unwrap();
    assert!(error.contains("public.t") && error.contains("acceptGap") && error.contains("trailcast_e1"), "{error}");
    let page = server.get("/metrics").expect(200).text();
    assert!(page.contains(r#"trailcast_capture_error{extract="e1",reason="coverage_lost"} 1"#), "{page}");
    assert!(server.wait_for_log("coverage is lost", PATIENCE).is_some());
    // The source's log is held meanwhile, and that is seen.
    until(&server, "no slot", |info| info["slot"]["retainedWalBytes"].is_number());

    assert!(server.terminate().success());
    server.start_again();
    let failed = until(&server, "no failure after a restart", |info| info["status"] == "failed");
    assert_eq!(failed["coverage"]["lost"], lost);
    // Nor does a new extract over the same trail forget it.
    server.delete(path).expect(200);
    let body = json!({"source": postgres.source(), "tables": ["public.t*"], "trail": "a1"});
    server.post(path, &body).expect(200);
    until(&server, "no failure of a new extract", |info| info["status"] == "failed");

    server.patch(path, &json!({"acceptGap": true})).expect(200);
    let shown = until(&server, "not running again", |info| info["status"] == "running");
    assert_eq!(shown["coverage"]["lost"], Value::Null);
    let gap = &shown["coverage"]["gaps"][0];
    assert!(gap["tables"]["public.t"].is_string() && gap["to"].is_string(), "{shown}");
    postgres.psql("insert into t values (14)");
    records(&server, 1);
    let page = server.get("/metrics").expect(200).text();
    assert!(page.contains(r#"trailcast_capture_gaps_total{extract="e1"} 1"#), "{page}");
    // It is no part of the configuration.
    let config = server.get(path).expect(200).text();
    assert!(!config.contains("acceptGap"), "{config}");

    // A load brings what is there of the lost rows, and the gap says so; one of some rows only does not.
    assert_eq!(shown["coverage"]["gaps"][0]["loaded"], Value::Null);
    let load = |body: Value| {
        server.post(&format!("{path}/load"), &body).expect(200);
        until(&server, "not loaded", |info| info["snapshot"]["state"] == "done")
    };
    let shown = load(json!({"tables": ["public.t"], "where": "id > 12"}));
    assert_eq!(shown["coverage"]["gaps"][0]["loaded"], Value::Null);
    load(json!({"tables": ["public.t"]}));
    let shown = until(&server, "the gap is not healed", |info| info["coverage"]["gaps"][0]["loaded"].is_object());
    assert!(shown["coverage"]["gaps"][0]["loaded"]["public.t"].is_string(), "{shown}");
}

#[test]
fn a_table_that_cannot_be_published_is_shown_as_degraded_while_the_others_flow() {
    let Some(postgres) = Postgres::newest() else { return };
    postgres.psql(&format!("{T}; create table t2 (id int primary key); create publication theirs for table t, t2"));
    let server = Server::start();
    let body = json!({
        "source": postgres.source(), "tables": ["public.t*"], "trail": "a1", "onCoverageLost": "continue",
        "postgresql": {"publication": "theirs"},
    });
    server.post("/services/v2/extracts/e1", &body).expect(200);
    until(&server, "not running", |info| info["status"] == "running");
    postgres.psql("alter publication theirs drop table t");
    let shown = until(&server, "not degraded", |info| info["degraded"] == json!(["public.t"]));
    assert_eq!((&shown["status"], &shown["coverage"]["gaps"][0]["to"]), (&json!("running"), &Value::Null));
    postgres.psql("insert into t values (1); insert into t2 values (2)");
    records(&server, 1);
    let page = server.get("/metrics").expect(200).text();
    assert!(page.contains(r#"trailcast_capture_degraded_tables{extract="e1"} 1"#), "{page}");
    let line = server.wait_for_log("rows of these tables may be missing", PATIENCE).unwrap();
    assert!(line.contains("public.t"), "{line}");
    postgres.psql("alter publication theirs add table t");
    let shown = until(&server, "still degraded", |info| info["degraded"] == json!([]));
    assert!(shown["coverage"]["gaps"][0]["to"].is_string(), "{shown}");
}

/// The control: with the looks turned off rows are lost, and nothing says so.
#[test]
fn without_looks_rows_are_lost_in_silence() {
    if !cfg!(feature = "fault-injection") {
        return;
    }
    Postgres::on_each_major(|postgres| {
        let server = Server::start_with(&[], &[("TRAILCAST_TEST_NO_COVERAGE", "1")]);
        let losses = [
            "drop table t; create table t (id int primary key); insert into t values (11), (12);
             alter publication trailcast_e1 add table t",
            "alter table t rename to old; create table t (id int primary key); insert into t values (11), (12);
             alter publication trailcast_e1 add table t",
            "alter publication trailcast_e1 set table t where (id > 1000); insert into t values (11), (12);
             alter publication trailcast_e1 set table t",
            "alter publication trailcast_e1 set (publish = 'delete'); insert into t values (11), (12);
             alter publication trailcast_e1 set (publish = 'insert, update, delete, truncate')",
            // Before 18 the stream ends there.
            "drop publication trailcast_e1; insert into t values (11), (12);
             create publication trailcast_e1 for table t",
        ];
        let losses = if postgres.major() < 18 { &losses[..4] } else { &losses[..] };
        postgres.psql(T);
        capture(&server, &postgres, "e1", &["public.t"], "a1");
        until(&server, "not running", |info| info["status"] == "running");
        for (at, loss) in losses.iter().enumerate() {
            let before = info(&server, "e1")["records"].as_u64().unwrap();
            postgres.psql(loss);
            postgres.psql("insert into t values (13); truncate t");
            // The row that followed and the TRUNCATE have come; two rows have not.
            let shown = records(&server, before + 2);
            assert_eq!((&shown["status"], &shown["lastError"]), (&json!("running"), &Value::Null), "{at}");
            assert_eq!(shown["coverage"]["gapsWritten"], 0, "{at}");
            server.get("/readyz").expect(200);
        }
    });
}
