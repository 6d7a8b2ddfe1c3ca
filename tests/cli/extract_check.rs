//! Goal: `trailcast extract check` says of a source what an extract of it needs, and whoever runs its statements one after the
//! other gets there. Method: a PostgreSQL where nothing is right; a harness runs the first statement that the check has, as a
//! superuser would, restarts where it is told to, and checks again until nothing is left; then the extract runs.

use std::process::Output;

use serde_json::{Value, json};

use super::command::{client, run, stderr, stdout};
use crate::support::extract::until_info;
use crate::support::port::Port;
use crate::support::postgres::{Installation, Stop, installations};
use crate::support::{Postgres, Server, skip};

const ROLE: &str = "cdc";
const PASSWORD: &str = "of-the-role-1";

/// What the check is asked with, and `add` after it.
fn flags(cluster: &Postgres) -> Vec<String> {
    let port = cluster.port().to_string();
    ["--host", "127.0.0.1", "--port", &port, "--database", "shop", "--source-user", ROLE, "--tls", "disable"]
        .into_iter()
        .chain(["--table", "public.*", "--table", "app.*", "--trail", "a1"])
        .map(str::to_owned)
        .collect()
}

fn extract(server: &Server, cluster: &Postgres, arguments: &[&str], more: &[&str]) -> Output {
    let flags = flags(cluster);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut command = client(server, &[&["extract"], arguments, &flags, more].concat());
    command.env("TRAILCAST_SOURCE_PASSWORD", PASSWORD);
    run(command, "")
}

fn findings(output: &Output) -> Vec<Value> {
    let lines = stdout(output);
    assert!(!lines.is_empty(), "{}", stderr(output));
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs SQL in the shop's database as the superuser.
fn in_shop(cluster: &Postgres, sql: &str) -> String {
    let mut command = cluster.psql_command();
    command.args(["-d", "shop"]);
    let done = run(command, sql);
    assert!(done.status.success(), "{}\nin {sql}", stderr(&done));
    stdout(&done)
}

/// A server with the settings that it was installed with, and an application on it that nobody has prepared for anything.
fn where_nothing_is_right(installation: &'static Installation) -> Postgres {
    let mut settings =
        vec![("max_wal_senders", "0"), ("max_replication_slots", "1"), ("max_slot_wal_keep_size", "64MB")];
    if installation.major >= 18 {
        settings.push(("idle_replication_slot_timeout", "1h"));
    }
    let cluster = installation.start_as_installed(&settings);
    cluster.psql(&format!(
        "select pg_create_physical_replication_slot('backup');
         create role {ROLE} nologin password '{PASSWORD}'; alter role {ROLE} set statement_timeout = '5s';
         create database shop; revoke connect on database shop from public;"
    ));
    in_shop(
        &cluster,
        "create table orders (id int primary key, total numeric, tax numeric generated always as (total * 0.2) stored);
         create table log (line text); create table late (id int primary key deferrable);
         create unlogged table scratch (id int primary key);
         create table events (id int, at date, primary key (id, at)) partition by range (at);
         create table events_2026 partition of events for values from ('2026-01-01') to ('2027-01-01');
         create schema app; create table app.private (id int primary key);
         alter table app.private enable row level security; create view app.shown as select 1 as one;",
    );
    if cluster.major() >= 18 {
        in_shop(&cluster, "create table doubled (id int primary key, two int generated always as (id * 2) virtual)");
    }
    cluster.set_hba("host all postgres 127.0.0.1/32 scram-sha-256\n");
    cluster
}

/// Does what the finding says, as somebody who may everything.
fn mend(cluster: &mut Postgres, finding: &Value) {
    let message = finding["message"].as_str().unwrap();
    if let Some((_, line)) = message.split_once("added to the server's pg_hba.conf: ") {
        cluster.append("pg_hba.conf", &format!("{line}\n"));
    }
    in_shop(cluster, &format!("{};\n", finding["statement"].as_str().unwrap()));
    if finding["needsRestart"] == true {
        cluster.restart(Stop::Fast);
    }
}

/// The folder where somebody wants to read how it went, as people see it.
const TRANSCRIPTS: &str = "TRAILCAST_TEST_TRANSCRIPTS";

fn tell(transcript: &mut String, server: &Server, cluster: &Postgres) {
    if std::env::var_os(TRANSCRIPTS).is_none() {
        return;
    }
    let shown = extract(server, cluster, &["check", "e1"], &[]);
    transcript.push_str(&format!("$ trailcast extract check e1 …\n{}{}\n", stdout(&shown), stderr(&shown)));
}

#[test]
fn following_the_statements_one_by_one_leads_from_nothing_right_to_an_extract_that_runs() {
    for installation in installations() {
        let mut cluster = where_nothing_is_right(installation);
        let server = Server::start();
        let mut transcript = format!("PostgreSQL {}\n\n", cluster.major());
        let mut mended: Vec<String> = Vec::new();
        loop {
            let checked = extract(&server, &cluster, &["check", "e1"], &["--json"]);
            let found = findings(&checked);
            let is_error = |finding: &&Value| finding["state"] == "error";
            // A failed look stands for itself, and the exit code for all.
            assert_eq!(checked.status.code(), Some(i32::from(found.iter().any(|one| is_error(&one)))), "{found:?}");
            let next = found.iter().find(|one| one["state"] != "ok" && one["statement"].is_string());
            let Some(next) = next else {
                let left: Vec<&Value> = found.iter().filter(is_error).collect();
                assert!(left.is_empty(), "{left:?}\n{transcript}");
                break;
            };
            let statement = next["statement"].as_str().unwrap().to_owned();
            // No statement is asked for twice: it has helped.
            assert!(!mended.contains(&statement), "{statement} did not help\n{transcript}");
            assert!(mended.len() < 40, "{mended:?}");
            tell(&mut transcript, &server, &cluster);
            let restart = if next["needsRestart"] == true { "   (and restarted)" } else { "" };
            transcript.push_str(&format!("postgres=# {statement};{restart}\n\n"));
            mend(&mut cluster, next);
            mended.push(statement);
        }
        tell(&mut transcript, &server, &cluster);
        for part in
            ["wal_level", "max_wal_senders", "max_replication_slots", "pg_reload_conf", "LOGIN", "GRANT CONNECT"]
        {
            assert!(mended.iter().any(|statement| statement.contains(part)), "{part} in {mended:?}");
        }
        for part in
            ["REPLICATION", "REPLICA IDENTITY", "CREATE PUBLICATION", "GRANT SELECT", "GRANT USAGE", "BYPASSRLS"]
        {
            assert!(mended.iter().any(|statement| statement.contains(part)), "{part} in {mended:?}");
        }
        // Nothing was made by looking.
        assert_eq!(in_shop(&cluster, "select count(*) from pg_replication_slots where slot_name <> 'backup'"), "0\n");
        let added = extract(&server, &cluster, &["add", "e1"], &[]);
        assert_eq!(stdout(&added), "extract e1 added; it writes the trail a1\n", "{}", stderr(&added));
        until_info(&server, "e1", |info| info["status"] == "running");
        in_shop(
            &cluster,
            "insert into orders values (1, 10); insert into log values ('a'); insert into late values (1);
             insert into scratch values (1); insert into events values (1, '2026-05-05'); insert into app.private values (1);
             update log set line = 'b'; delete from late;",
        );
        until_info(&server, "e1", |info| info["records"] == 8);
        // Of an extract that runs the same is said, with the slot that it has.
        let running = run(client(&server, &["extract", "check", "e1", "--json"]), "");
        assert!(running.status.success(), "{}", stdout(&running));
        let slot = findings(&running).into_iter().find(|finding| finding["what"] == "slots").unwrap();
        assert!(slot["message"].as_str().unwrap().contains("trailcast_e1 is there"), "{slot}");
        transcript.push_str(&format!("$ trailcast extract add e1 …\n{}\n", stdout(&added)));
        if let Some(folder) = std::env::var_os(TRANSCRIPTS) {
            let file = std::path::Path::new(&folder).join(format!("check-{}.txt", cluster.major()));
            std::fs::write(file, transcript).unwrap();
        }
    }
}

#[test]
fn a_source_that_is_down_or_unknown_is_a_finding_and_no_failure_of_the_server() {
    let server = Server::start();
    let port = Port::hold().number();
    let source = json!({"type": "postgresql", "host": "127.0.0.1", "port": port, "database": "d", "user": "u"});
    let body = json!({"source": source, "tables": ["public.*"], "trail": "a1"});
    let check = |body: &Value| server.post("/services/v2/extracts/e1/check", body).expect(200).response();
    let seen = check(&body);
    assert_eq!(seen["ready"], false);
    let last = seen["findings"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["what"], &last["state"]), (&json!("connection"), &json!("error")));
    assert!(last["message"].as_str().unwrap().contains("listens at 127.0.0.1"), "{last}");
    let mut nowhere = body.clone();
    nowhere["source"]["host"] = json!("nowhere.invalid");
    assert_eq!(check(&nowhere)["ready"], false);
    // What this server has against it is said as well, before the source is asked.
    server.make_trail("taken");
    let mut taken = body;
    taken["trail"] = json!("taken");
    let first = check(&taken)["findings"][0].clone();
    assert_eq!((&first["what"], &first["state"]), (&json!("extract"), &json!("error")), "{first}");
    server.get("/services/v2/extracts/e1").expect(404);
}

#[test]
fn each_thing_that_a_superuser_does_not_need_is_not_asked_of_one() {
    let Some(cluster) = Postgres::newest() else { return };
    cluster.psql("create table t (id int primary key)");
    let server = Server::start();
    let body = json!({"source": cluster.source(), "tables": ["public.*"], "trail": "a1"});
    let seen = server.post("/services/v2/extracts/e1/check", &body).expect(200).response();
    let wrong: Vec<&Value> =
        seen["findings"].as_array().unwrap().iter().filter(|finding| finding["state"] != "ok").collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(seen["ready"], true);
}

#[test]
fn a_publication_of_ones_own_is_mended_by_the_statements_that_are_offered() {
    let Some(cluster) = Postgres::newest() else { return };
    let server = Server::start();
    let tables = "create table t (id int primary key, v int); create table u (id int primary key);
                  create table p (id int primary key) partition by range (id);
                  create table p1 partition of p for values from (0) to (10);";
    cluster.psql(tables);
    for made in [
        "create publication own for table u, p with (publish_via_partition_root = true)",
        "create publication own for table t (id), u, p with (publish_via_partition_root = true)",
        "create publication own for table t where (id > 3), u, p with (publish_via_partition_root = true)",
        "create publication own for table t, u, p",
        "create publication own for table t, u, p with (publish = 'insert', publish_via_partition_root = true)",
    ] {
        cluster.psql(made);
        let postgresql = json!({"publication": "own"});
        let body = json!({"source": cluster.source(), "tables": ["public.t", "public.u", "public.p"], "trail": "a1", "postgresql": postgresql});
        let check = || server.post("/services/v2/extracts/e1/check", &body).expect(200).response();
        let of_publication = |seen: &Value| -> Vec<Value> {
            let findings = seen["findings"].as_array().unwrap();
            findings.iter().filter(|finding| finding["what"] == "publication").cloned().collect()
        };
        let before = of_publication(&check());
        assert_eq!(before[0]["state"], "error", "{made}: {before:?}");
        for finding in &before {
            cluster.psql(finding["statement"].as_str().unwrap());
        }
        let after = of_publication(&check());
        assert!(after.iter().all(|finding| finding["state"] == "ok"), "{made}: {before:?} {after:?}");
        cluster.psql("drop publication own");
    }
}

#[test]
fn more_checks_than_a_few_at_the_same_time_are_told_to_come_again() {
    // Somebody takes connections and says nothing.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let server = Server::start();
    let source = json!({"type": "postgresql", "host": "127.0.0.1", "port": port, "database": "d", "user": "u"});
    let body = json!({"source": source, "tables": ["public.*"], "trail": "a1"});
    let ask = || server.post("/services/v2/extracts/e1/check", &body);
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| ask().status)).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let of = |status: u16| answers.iter().filter(|answer| **answer == status).count();
    if of(503) == 0 {
        return skip("the machine was too slow to ask at the same time");
    }
    assert_eq!((of(200), of(503)), (4, 4), "{answers:?}");
    assert_eq!(ask().status, 200);
}
