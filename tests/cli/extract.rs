//! Goal: extracts are made, listed, stopped, started and removed from the command line, and no password shows. Method: run it
//! against a server and a database, and look at both.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::command::{client, done, fails, lines, run, stderr, stdout};
use crate::support::extract::until_info;
use crate::support::{Folder, Postgres, Server};

fn extract(server: &Server, arguments: &[&str]) -> Output {
    run(client(server, &[&["extract"], arguments].concat()), "")
}

/// A server, a database with a table, and the flags of an extract of it.
struct House {
    server: Server,
    cluster: Postgres,
    port: String,
}

impl House {
    fn new() -> Option<Self> {
        let cluster = Postgres::newest()?;
        cluster.psql("create table t (id int primary key)");
        Some(Self { server: Server::start(), port: cluster.port().to_string(), cluster })
    }

    fn add(&self, name: &str, more: &[&str]) -> Output {
        let flags = ["extract", "add", name, "--host", "127.0.0.1", "--port", &self.port, "--database", "postgres"];
        let own = ["--source-user", "postgres", "--tls", "disable", "--table", "public.*"];
        let mut command = client(&self.server, &[&flags[..], &own, more].concat());
        command.env("TRAILCAST_SOURCE_PASSWORD", self.cluster.password());
        run(command, "")
    }

    fn slots(&self) -> String {
        self.cluster.psql("select string_agg(slot_name, ',' order by slot_name) from pg_replication_slots")
    }

    fn publications(&self) -> String {
        self.cluster.psql("select string_agg(pubname, ',' order by pubname) from pg_publication")
    }
}

#[test]
fn extracts_are_made_listed_stopped_started_and_removed() {
    let Some(house) = House::new() else { return };
    let server = &house.server;
    done(&house.add("e1", &["--trail", "a1"]), "extract e1 added; it writes the trail a1\n");
    until_info(server, "e1", |info| info["status"] == "running");
    fails(&house.add("e1", &["--trail", "a2"]), 1, "extract e1 already exists");
    // Without a trail it is called after the extract.
    done(&house.add("e2", &["--stopped"]), "extract e2 added; it writes the trail e2\n");
    let listed = lines(&extract(server, &["ls", "--json"]));
    let of = |member: &str| listed.iter().map(|extract| extract[member].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(
        (of("name"), of("status"), of("trail")),
        (vec!["e1", "e2"], vec!["running", "stopped"], vec!["a1", "e2"])
    );
    let shown = stdout(&extract(server, &["ls"]));
    assert!(shown.starts_with("e1                       running   trail a1"), "{shown}");
    done(
        &extract(server, &["stop", "e1"]),
        "extract e1 stopped; its slot keeps the source's log until it runs again\n",
    );
    assert_eq!(lines(&extract(server, &["start", "e1", "--json"]))[0]["status"], "running");
    until_info(server, "e1", |info| info["status"] == "running");
    let removed = extract(server, &["rm", "e1"]);
    done(&removed, "extract e1 removed\n");
    assert!(stderr(&removed).contains("slot and publication stay at the source"), "{}", stderr(&removed));
    assert_eq!((house.slots().as_str(), house.publications().as_str()), ("trailcast_e1", "trailcast_e1"));
    fails(&extract(server, &["stop", "e1"]), 1, "extract e1 does not exist");
    fails(&extract(server, &["rm", "e1"]), 1, "extract e1 does not exist");
}

#[test]
fn a_slot_is_dropped_with_its_extract_only_when_that_is_said_and_only_if_the_extract_made_it() {
    let Some(house) = House::new() else { return };
    let server = &house.server;
    done(&house.add("e1", &[]), "extract e1 added; it writes the trail e1\n");
    until_info(server, "e1", |info| info["status"] == "running");
    fails(&extract(server, &["rm", "e1", "--drop-slot"]), 2, "there is no terminal: give --yes");
    assert_eq!(house.slots(), "trailcast_e1");
    server.delete("/services/v2/extracts/e1?dropslot=true").expect(400);
    let removed = lines(&extract(server, &["rm", "e1", "--drop-slot", "--yes", "--json"]));
    let message = removed[0]["message"].as_str().unwrap();
    assert!(message.contains("replication slot trailcast_e1 and publication trailcast_e1 was dropped"), "{message}");
    assert_eq!((house.slots(), house.publications()), (String::new(), String::new()));
    // What the configuration names may be somebody else's.
    let source = house.cluster.source();
    let named = json!({"slot": "theirs", "publication": "all_of_it"});
    let body = json!({"source": source, "tables": ["public.*"], "trail": "a2", "postgresql": named});
    server.post("/services/v2/extracts/e2", &body).expect(200);
    until_info(server, "e2", |info| info["status"] == "running");
    let removed = lines(&extract(server, &["rm", "e2", "--drop-slot", "--yes", "--json"]));
    let message = removed[0]["message"].as_str().unwrap();
    assert!(
        message.contains("nothing was dropped") && message.contains("pg_drop_replication_slot('theirs')"),
        "{message}"
    );
    assert_eq!((house.slots().as_str(), house.publications().as_str()), ("theirs", "all_of_it"));
}

#[test]
fn an_extract_whose_slot_cannot_be_dropped_is_not_deleted_and_goes_on() {
    let Some(mut house) = House::new() else { return };
    done(&house.add("e1", &[]), "extract e1 added; it writes the trail e1\n");
    until_info(&house.server, "e1", |info| info["status"] == "running");
    house.cluster.stop(crate::support::postgres::Stop::Fast);
    fails(&extract(&house.server, &["rm", "e1", "--drop-slot", "--yes"]), 1, "the extract e1 was not deleted");
    house.cluster.start_again();
    until_info(&house.server, "e1", |info| info["status"] == "running");
    house.cluster.psql("insert into t values (1)");
    until_info(&house.server, "e1", |info| info["records"] == 1);
}

#[test]
fn a_configuration_comes_from_a_file_and_flags_outrank_it() {
    let server = Server::start();
    let folder = Folder::new("config");
    let file = folder.path().join("e1.json");
    let config = json!({
        "source": {"host": "db", "port": 6000, "database": "d", "user": "u", "password": "hush"},
        "tables": ["public.*"], "trail": "a1", "withoutIdentity": "skip",
    });
    std::fs::write(&file, config.to_string()).unwrap();
    let path = file.to_str().unwrap();
    let made = lines(&extract(&server, &["add", "e1", "--config", path, "--host", "db2", "--stopped", "--json"]));
    let source = &made[0]["source"];
    assert_eq!(
        (&source["host"], &source["port"], &source["type"]),
        (&json!("db2"), &json!(6000), &json!("postgresql"))
    );
    assert_eq!((&made[0]["withoutIdentity"], &made[0]["status"]), (&json!("skip"), &json!("stopped")));
    assert!(!made[0].to_string().contains("hush"), "{}", made[0]);
    std::fs::write(&file, "[]").unwrap();
    fails(&extract(&server, &["add", "e2", "--config", path]), 1, "an object is expected");
    fails(&extract(&server, &["add", "e2", "--config", "/nowhere"]), 1, "--config: /nowhere: ");
}

#[test]
fn what_is_missing_or_wrong_is_said_in_the_words_of_the_flags() {
    let server = Server::start();
    let usage = [
        (&["add", "e1", "--host", "db"][..], "--database, --source-user, --table is missing"),
        (
            &[
                "add",
                "e1",
                "--host",
                "db",
                "--database",
                "d",
                "--source-user",
                "u",
                "--table",
                "a.b",
                "--credentials",
                "x",
            ],
            "DOMAIN/ALIAS",
        ),
        (&["load", "e1", "--where", "true"], "name the tables with --table"),
        (&["load", "e1", "--pause", "--resume"], "cannot be used with"),
        (&["add"], "NAME"),
    ];
    for (arguments, says) in usage {
        fails(&extract(&server, arguments), 2, says);
    }
    let given = ["--host", "db", "--database", "d", "--source-user", "u", "--stopped"];
    let add = |more: &[&str]| extract(&server, &[&["add", "e1"], &given[..], more].concat());
    fails(&add(&["--table", "orders"]), 1, "schema.table");
    fails(&add(&["--table", "a.b", "--tls", "perhaps"]), 1, "source.tls");
    fails(&add(&["--table", "a.b", "--snapshot", "perhaps"]), 1, "snapshot");
    fails(&extract(&server, &["check", "e9"]), 1, "extract e9 does not exist");
}

#[test]
fn info_says_how_far_each_streams_clients_are_behind() {
    let Some(house) = House::new() else { return };
    let server = &house.server;
    done(&house.add("e1", &["--trail", "a1"]), "extract e1 added; it writes the trail a1\n");
    server.make_stream("s1", "a1");
    until_info(server, "e1", |info| info["status"] == "running" && info["streams"] == json!([]));
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    house.cluster.psql("insert into t values (1)");
    let _ = subscriber.next(crate::support::waiting::PATIENCE);
    let seen = until_info(server, "e1", |info| {
        info["records"] == 1 && info["streams"] == json!([{"name": "s1", "seconds": 0.0, "bytes": 0}])
    });
    assert_eq!(seen["lagSeconds"].as_f64(), Some(0.0), "{seen}");
    let lag = server.get_until("/services/v2/stream/s1/info", |info| !info["lag"]["source"].is_null())["lag"].clone();
    assert_eq!(lag["sessions"], json!({"seconds": 0.0, "bytes": 0}), "{lag}");
    assert_eq!(lag["trail"], json!({"seconds": 0.0, "bytes": 0}), "{lag}");
    server.sample_until("trailcast_stream_lag_seconds{stream=\"s1\"}", |value| value == 0.0);
    server.sample_until("trailcast_stream_lag_bytes{stream=\"s1\"}", |value| value == 0.0);
}

#[test]
fn tables_are_loaded_and_watched_until_they_are_there() {
    let Some(house) = House::new() else { return };
    let server = &house.server;
    house.cluster.psql("insert into t select generate_series(1, 3000); create table log (line text); insert into log values ('a'); alter table log replica identity full");
    done(&house.add("e1", &["--trail", "a1", "--snapshot", "initial"]), "extract e1 added; it writes the trail a1\n");
    until_info(server, "e1", |info| {
        info["status"] == "running" && info["snapshot"]["tables"].as_array().is_some_and(|tables| !tables.is_empty())
    });
    let watched = extract(server, &["load", "e1", "--watch"]);
    // One without a key is said and holds nobody up.
    fails(&watched, 1, "public.log was not loaded");
    let lines_of = stdout(&watched);
    assert!(lines_of.contains("public.t ") && lines_of.contains("loaded    3000 rows"), "{lines_of}");
    assert!(
        lines_of.lines().any(|line| line.starts_with("public.log") && line.contains("failed    0 rows: ")),
        "{lines_of}"
    );
    house.cluster.psql("insert into t select generate_series(3001, 4000)");
    let again = extract(server, &["load", "e1", "--table", "public.t", "--watch", "--json"]);
    let last: Value =
        serde_json::from_str(stdout(&again).lines().last().unwrap_or_else(|| panic!("{}", stderr(&again)))).unwrap();
    let table = last["tables"].as_array().unwrap().iter().find(|table| table["table"] == "public.t").unwrap().clone();
    assert_eq!((&table["state"], &table["rows"]), (&json!("loaded"), &json!(4000)), "{last}");
    fails(&extract(server, &["load", "e1", "--table", "public.nothing"]), 1, "public.nothing");
    fails(&extract(server, &["load", "e9", "--table", "public.t"]), 1, "extract e9 does not exist");
}

#[test]
fn the_helper_is_printed_as_sql_that_a_superuser_can_run() {
    let Some(cluster) = Postgres::newest() else { return };
    let printed = run(super::command::trailcast(&["extract", "helper", "--sql"]), "");
    assert!(printed.status.success(), "{}", stderr(&printed));
    cluster.psql(&stdout(&printed));
    assert_eq!(cluster.psql("select count(*) > 0 from pg_event_trigger"), "t");
    fails(&run(super::command::trailcast(&["extract", "helper"]), ""), 2, "--sql");
}

#[test]
fn in_a_terminal_a_slot_is_dropped_only_after_a_yes() {
    if !Command::new("script").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return crate::support::skip("no terminal: script (package bsdutils) is missing");
    }
    let Some(house) = House::new() else { return };
    done(&house.add("e1", &[]), "extract e1 added; it writes the trail e1\n");
    until_info(&house.server, "e1", |info| info["status"] == "running");
    let answered = |answer: &str| {
        let (program, url) = (Server::program(), house.server.url("http"));
        let line = format!("{} extract rm e1 --drop-slot --url {url}", program.display());
        let mut command = Command::new("script");
        command.args(["-qefc", &line, "/dev/null"]);
        run(command, &format!("{answer}\n"))
    };
    let kept = answered("n");
    assert!(
        stdout(&kept).contains("drop its slot") && stdout(&kept).contains("nothing was removed"),
        "{}",
        stdout(&kept)
    );
    assert_eq!((kept.status.code(), house.slots().as_str()), (Some(1), "trailcast_e1"));
    let dropped = answered("y");
    assert!(stdout(&dropped).contains("extract e1 removed"), "{}", stdout(&dropped));
    assert_eq!((dropped.status.code(), house.slots().as_str()), (Some(0), ""));
}
