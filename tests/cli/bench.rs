//! Goal: `bench` measures a server and says what it found. Method: run each subcommand small against a real server (and a
//! real PostgreSQL) and look at the figures.

use serde_json::Value;

use super::command::{client, run, stderr, stdout, trailcast};
use crate::support::{Folder, Postgres, Server};

fn figures(server: &Server, arguments: &[&str]) -> Value {
    let mut command = client(server, &["bench"]);
    command.args(arguments).args(["--json", "--server-pid", &server.pid().to_string()]);
    let output = run(command, "");
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

fn server_with_records(records: &str) -> (Server, Value) {
    let server = Server::start();
    let published =
        figures(&server, &["publish", "load", "--records", records, "--operations", "10", "--callers", "3"]);
    server.make_stream("orders", "load");
    (server, published)
}

#[test]
fn publish_makes_the_trail_and_counts_what_was_acknowledged() {
    let (server, published) = server_with_records("2000");
    assert_eq!((&published["transactions"], &published["records"]), (&200.into(), &2000.into()));
    assert_eq!(published["requestLatency"]["count"], 200);
    assert!(published["transactionsPerSecond"].as_f64().unwrap() > 0.0, "{published}");
    assert!(published["server"]["rssBytes"].as_u64().unwrap() > 1 << 20);
    let paced = figures(&server, &["publish", "load", "--rate", "50", "--seconds", "1", "--operations", "1"]);
    assert!((1..=51).contains(&paced["transactions"].as_u64().unwrap()), "{paced}");
    assert_eq!(
        server.get("/services/v2/trails/load").expect(200).response()["lastCommit"],
        200 + paced["transactions"].as_u64().unwrap()
    );
}

#[test]
fn subscribers_count_every_record_whichever_way_they_count() {
    let (server, _) = server_with_records("3000");
    server.make_stream("more", "load");
    for way in [&["--verify"][..], &["--count", "each"], &["--count", "sampled"]] {
        let arguments = [&["subscribe", "orders", "more", "--subscribers", "4", "--records", "3000"], way].concat();
        let found = figures(&server, &arguments);
        assert_eq!((&found["records"], &found["streams"]), (&12_000.into(), &2.into()), "{found}");
        assert_eq!(found["perSubscriber"]["recordsMin"], 3000);
        assert!(found["bytes"].as_u64().unwrap() > 12_000 * 190 && found["server"]["cpuSeconds"].is_number());
    }
    // Records of the size that was asked for, 200 bytes, give or take the digits of their ids.
    let found = figures(&server, &["subscribe", "orders", "--records", "3000"]);
    let bytes = found["bytes"].as_f64().unwrap() / 3000.0;
    assert!((195.0..206.0).contains(&bytes), "{bytes} bytes a record");
}

#[test]
fn a_subscriber_that_is_refused_or_cut_off_fails_the_run() {
    let (server, _) = server_with_records("10");
    let output = run(client(&server, &["bench", "subscribe", "nowhere"]), "");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("refused with 404"), "{}", stderr(&output));
    let output = run(client(&server, &["bench", "subscribe", "orders", "--subscribers", "0"]), "");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("1..=20000"), "{}", stderr(&output));
    let output = run(client(&server, &["bench", "capture"]), "");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn latency_runs_from_the_answer_to_the_last_subscriber_beside_a_flush() {
    let server = Server::start();
    let folder = Folder::new("flush");
    let place = folder.path().to_str().unwrap();
    let run = ["latency", "--rate", "200", "--seconds", "1", "--subscribers", "3", "--fsync-dir", place];
    let found = figures(&server, &run);
    assert_eq!((&found["transactions"], &found["missing"]), (&200.into(), &0.into()), "{found}");
    assert_eq!(found["commitToSubscriber"]["count"], 600);
    assert!(found["fdatasync"]["p50Micros"].as_f64().unwrap() > 0.0, "{found}");
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "the file of the flushes goes");
    for kind in ["stream", "trails"] {
        let left = server.get(&format!("/services/v2/{kind}")).expect(200).response();
        assert_eq!(left["items"], serde_json::json!([]), "what was made for the run goes");
    }
}

#[test]
fn capture_and_latency_of_commits_use_a_database_and_leave_nothing_in_it() {
    Postgres::on_each_major(|cluster| {
        let server = Server::start();
        let source = cluster.source();
        let text = |member: &str| {
            let text = source[member].as_str().unwrap();
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let url = format!(
            "postgresql://{}:{}@{}:{}/{}",
            text("user"),
            text("password"),
            source["host"].as_str().unwrap(),
            cluster.port(),
            text("database")
        );
        let rows = ["capture", "--pg", &url, "--rows", "2500", "--rows-a-transaction", "100"];
        let found = figures(&server, &rows);
        assert_eq!(found["rows"], 2500);
        assert!(found["rowsPerSecond"].as_f64().unwrap() > 0.0, "{found}");
        let found = figures(&server, &["latency", "--pg", &url, "--rate", "100", "--seconds", "1"]);
        assert_eq!((&found["source"], &found["missing"]), (&"postgresql".into(), &0.into()), "{found}");
        let left = "select (select count(*) from pg_replication_slots) + (select count(*) from pg_publication) \
                    + (select count(*) from pg_tables where schemaname = 'public')";
        assert_eq!(cluster.psql(left), "0");
    });
}

#[test]
fn a_record_smaller_than_can_be_made_is_refused() {
    for arguments in [&["publish", "a1"][..], &["latency"], &["capture"]] {
        let arguments = [&["bench"], arguments, &["--record-bytes", "199"]].concat();
        let output = run(trailcast(&arguments), "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains("200..="), "{}", stderr(&output));
    }
}
