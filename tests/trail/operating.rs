//! The trail's own commands and a real server: damage stops one trail and not its neighbours, repair makes it serve again and
//! tells its clients what is missing, a backup taken while writes go on is a prefix of what was written.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::subscriber::{Ended, Next, Refused, Subscriber};
use crate::support::{Folder, Postgres, Server, extract, http, skip};

const PATIENCE: Duration = Duration::from_secs(30);

fn transaction(number: u64) -> Value {
    let row = json!({"id": number, "text": format!("row-{number:04}-{}", "x".repeat(40))});
    let operation = json!({"op": "INSERT", "table": "t.rows", "key": ["id"], "after": row});
    let (hour, minute, second) = (4 + number / 3_600, number / 60 % 60, number % 60);
    json!({"xid": format!("x{number}"), "commitTs": format!("2026-07-13T{hour:02}:{minute:02}:{second:02}Z"), "operations": [operation]})
}

/// One put each, so that each is a flush group of its own; returns the last position.
fn put_each(server: &Server, trail: &str, numbers: std::ops::RangeInclusive<u64>) -> String {
    let mut pos = String::new();
    for number in numbers {
        pos = server.put(trail, &[transaction(number)]).expect(200).response()["pos"].as_str().unwrap().to_owned();
    }
    pos
}

/// Runs `trailcast` on a data folder.
fn trailcast(data_dir: &Path, arguments: &[&str]) -> Output {
    Command::new(Server::program()).args(arguments).arg("--data-dir").arg(data_dir).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What the command printed; it must have succeeded.
fn done(data_dir: &Path, arguments: &[&str]) -> String {
    let output = trailcast(data_dir, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn segment(server: &Server, trail: &str) -> PathBuf {
    server.data_dir().join("trails").join(trail).join("0000000000000001.seg")
}

/// Flips a bit of the row with that number.
fn damage(path: &Path, number: u64) -> usize {
    let mut bytes = std::fs::read(path).unwrap();
    let row = format!("row-{number:04}");
    let at = bytes.windows(row.len()).position(|window| window == row.as_bytes()).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
    at
}

/// Ids of the records up to the end of the session or the quiet, and how it ended.
fn ids(mut subscriber: Subscriber, quiet: Duration) -> (Vec<u64>, Option<(u16, String)>) {
    let mut ids = Vec::new();
    loop {
        match subscriber.next(quiet) {
            Next::Record(record) if record.is_dml() => ids.push(record.json["after"]["id"].as_u64().unwrap()),
            Next::Record(_) => {}
            Next::Quiet => return (ids, None),
            Next::Ended(Ended::Closed(code, reason)) => return (ids, Some((code, reason))),
            Next::Ended(other) => panic!("{other:?}"),
        }
    }
}

/// The ids of a stream from there to the id `last`.
fn ids_until(server: &Server, stream: &str, query: &str, last: u64) -> Vec<u64> {
    let mut subscriber = server.subscribe(stream, query).unwrap();
    let mut ids = Vec::new();
    while ids.last() != Some(&last) {
        let record = subscriber.expect_data(PATIENCE);
        ids.push(record.json["after"]["id"].as_u64().unwrap());
    }
    ids
}

fn refused(server: &Server, stream: &str, query: &str) -> http::Answer {
    match server.subscribe(stream, query) {
        Err(Refused::Answer(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

/// A server with the trails a1 and b1 of twelve transactions each, stopped; a1 is damaged in transaction 5. Returns the byte
/// and the position of a1's last record.
fn damaged_server() -> (Server, usize, String) {
    let mut server = Server::start();
    let mut last = String::new();
    for (trail, stream) in [("b1", "sb"), ("a1", "sa")] {
        server.make_trail(trail);
        server.make_stream(stream, trail);
        last = put_each(&server, trail, 1..=12);
    }
    let skipping = json!({"source": {"trail": "a1"}, "qualityOfService": "atMostOnce"});
    server.post("/services/v2/stream/skipping", &skipping).expect(200);
    assert!(server.terminate().success());
    let at = damage(&segment(&server, "a1"), 5);
    (server, at, last)
}

#[test]
fn a_damaged_trail_stops_and_names_the_position_and_others_serve_on() {
    let (mut server, at, last) = damaged_server();
    server.start_again();
    let described = server.get("/services/v2/trails/a1").expect(200).response();
    assert_eq!(described["status"], "stopped");
    let error = described["error"].as_str().unwrap();
    let byte: usize = error.split("byte ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(error.contains("of segment 1") && byte < at && byte + 100 > at, "{error}, not {at}");
    for query in ["", "begin=now", &format!("begin={last}")] {
        let answer = refused(&server, "sa", query);
        assert_eq!(answer.status, 503, "{answer}");
        assert!(answer.titles().contains(error), "{answer}");
    }
    assert!(server.put("a1", &[transaction(13)]).expect(503).titles().contains(error));
    assert_eq!(server.readiness(503)["troubles"], json!([error]));
    let stranger = http::request(server.port(), "GET", "/readyz", &[], b"").unwrap().expect(503).json();
    assert_eq!(stranger, json!({"ready": false, "state": "not-ready"}));
    // The other trail takes puts and serves.
    assert_eq!(server.get("/services/v2/trails/b1").expect(200).response()["status"], "running");
    put_each(&server, "b1", 13..=14);
    assert_eq!(ids_until(&server, "sb", "begin=earliest", 14), (1..=14).collect::<Vec<_>>());
}

#[test]
fn damage_in_a_closed_segment_stops_the_trail_when_a_reader_meets_it() {
    let mut server = Server::start();
    server.make_trail("a1");
    server.make_stream("sa", "a1");
    let row = json!({"id": 1, "text": "v".repeat(900_000)});
    let operation = json!({"op": "INSERT", "table": "t.rows", "key": ["id"], "after": row});
    let wide: Vec<Value> = (0..10).map(|_| json!({"operations": [operation]})).collect();
    put_each(&server, "a1", 1..=3);
    // The first segment is closed at 64 MiB.
    while server.get("/services/v2/trails/a1").response()["segments"] == 1 {
        server.put("a1", &wide).expect(200);
    }
    assert!(server.terminate().success());
    damage(&segment(&server, "a1"), 2);
    server.start_again();
    assert_eq!(server.get("/services/v2/trails/a1").response()["status"], "running");
    let (seen, ended) = ids(server.subscribe("sa", "begin=earliest").unwrap(), PATIENCE);
    assert!(seen.len() <= 1 && ended.as_ref().is_some_and(|(code, _)| *code == 1011), "{seen:?} {ended:?}");
    let described = server.get("/services/v2/trails/a1").response();
    assert_eq!(described["status"], "stopped");
    assert!(described["error"].as_str().unwrap().contains("of segment 1"), "{described}");
    server.put("a1", &[transaction(9)]).expect(503);
    assert_eq!(refused(&server, "sa", "begin=now").status, 503);
    let ready = server.readiness(503);
    assert!(ready["troubles"].to_string().contains("a1"), "{ready}");
}

#[test]
fn repair_keeps_what_is_whole_and_sessions_hear_of_the_gap() {
    let (mut server, at, last) = damaged_server();
    let data = server.data_dir().to_owned();
    server.start_again();
    // While a server runs, repair refuses; the dry run tells, and changes nothing.
    let output = trailcast(&data, &["trail", "repair", "a1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("in use by another process; stop the server first"), "{}", text(&output));
    let planned = done(&data, &["trail", "repair", "a1", "--dry-run"]);
    assert!(planned.contains("transaction 5 was lost") && planned.ends_with("nothing was changed\n"), "{planned}");
    assert!(server.terminate().success());

    let verified = trailcast(&data, &["trail", "verify", "b1"]);
    assert_eq!(verified.status.code(), Some(0));
    let repaired: Value = serde_json::from_str(&done(&data, &["trail", "repair", "a1", "--json"])).unwrap();
    let place = &repaired["damage"][0];
    assert!(place["from"].as_u64().unwrap() < at as u64 && place["to"].as_u64().unwrap() > at as u64, "{place}");
    assert_eq!(repaired["gaps"], json!([{"firstMissing": 5, "next": 6}]));
    let kept = Path::new(repaired["keptIn"].as_str().unwrap()).join("0000000000000001.seg");
    assert!(kept.starts_with(data.join("trails/a1/damaged")) && kept.is_file());
    assert!(done(&data, &["trail", "repair", "a1"]).contains("nothing to repair"));
    assert!(done(&data, &["trail", "verify", "a1"]).contains("good"));
    let dumped = done(&data, &["trail", "dump", "a1"]);
    assert!(dumped.contains("5 GAP      transaction 5 was lost; the trail was repaired"), "{dumped}");

    server.start_again();
    http::request(server.port(), "GET", "/readyz", &[], b"").unwrap().expect(200);
    let answer = refused(&server, "sa", &format!("begin={last}"));
    assert_eq!(answer.status, 409, "{answer}");
    assert!(answer.titles().contains("earlier life"), "{answer}");
    // A session that reaches the gap is told, and goes on behind it where the reason says.
    let (seen, ended) = ids(server.subscribe("sa", "begin=earliest").unwrap(), PATIENCE);
    assert_eq!(seen, [1, 2, 3, 4]);
    let (code, reason) = ended.unwrap();
    assert_eq!(code, 4014);
    let behind = reason.strip_prefix("transaction 5 was lost; go on after ").unwrap();
    assert_eq!(ids_until(&server, "sa", &format!("begin={behind}"), 12), (6..=12).collect::<Vec<_>>());
    let errors = server.get("/services/v2/stream/sa/info/errors").expect(200).text();
    assert!(errors.contains("transaction 5 was lost"), "{errors}");
    // Best effort skips it.
    assert_eq!(ids_until(&server, "skipping", "begin=earliest", 12), [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]);
    // What is kept of the transaction ids counts; the lost one can be put again.
    let again = server.put("a1", &[transaction(12), transaction(5), transaction(13)]).expect(200);
    assert_eq!(again.response()["acked"], 3, "{again}");
    assert_eq!(ids_until(&server, "sa", &format!("begin={behind}"), 13), [6, 7, 8, 9, 10, 11, 12, 5, 13]);
}

/// A server that captures nine transactions of a cluster's table, stopped.
fn captured(cluster: &Postgres) -> Server {
    cluster.psql("create table rows (id int primary key, text text)");
    let mut server = Server::start();
    extract::capture(&server, cluster, "e1", &["public.rows"], "a1");
    let skipping = json!({"source": {"trail": "a1"}, "qualityOfService": "atMostOnce"});
    server.post("/services/v2/stream/skipping", &skipping).expect(200);
    insert(cluster, 1, 7);
    cluster.psql("create table before_8 as select pg_current_wal_lsn() as lsn");
    insert(cluster, 8, 9);
    assert_eq!(ids_until(&server, "skipping", "begin=earliest", 9).len(), 9);
    assert!(server.terminate().success());
    server
}

fn insert(cluster: &Postgres, from: u64, to: u64) {
    for number in from..=to {
        cluster.psql(&format!("insert into rows values ({number}, 'row-{number:04}')"));
    }
}

#[test]
fn an_extract_resumes_behind_a_repaired_gap_without_repeating_anything() {
    Postgres::on_each_major(|cluster| {
        let mut server = captured(&cluster);
        damage(&segment(&server, "a1"), 4);
        done(server.data_dir(), &["trail", "repair", "a1"]);
        insert(&cluster, 10, 11);
        server.start_again();
        insert(&cluster, 12, 12);
        let seen = ids_until(&server, "skipping", "begin=earliest", 12);
        assert_eq!(seen, [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12]);
    });
}

/// Loses rows 8 and 9 and all behind them but the last mark, which proves that something is lost; repairs.
fn lose_the_end(server: &Server) {
    let path = segment(server, "a1");
    let at = damage(&path, 8);
    let mut bytes = std::fs::read(&path).unwrap();
    let mark = bytes.len() - trailcast::codec::frame::MARK_FRAME_BYTES;
    bytes[at..mark].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let told = done(server.data_dir(), &["trail", "repair", "a1"]);
    assert!(told.contains("transactions 8 to 9 were lost"), "{told}");
}

#[test]
fn what_a_trail_lost_and_the_source_still_holds_is_captured_again_once() {
    Postgres::on_each_major(|cluster| {
        let mut server = captured(&cluster);
        lose_the_end(&server);
        // The slot is confirmed every few seconds; on a slow machine it may have been, and that is the other test.
        let confirmed =
            "select count(*) from pg_replication_slots where confirmed_flush_lsn > (select lsn from before_8)";
        if cluster.psql(confirmed) != "0" {
            skip("the slot was confirmed already");
            return;
        }
        server.start_again();
        insert(&cluster, 10, 10);
        assert_eq!(ids_until(&server, "skipping", "begin=earliest", 10), (1..=10).collect::<Vec<_>>());
    });
}

#[test]
fn an_extract_whose_trail_lost_what_the_source_has_forgotten_stops_and_repeats_nothing() {
    Postgres::on_each_major(|cluster| {
        let mut server = captured(&cluster);
        cluster.psql("select pg_replication_slot_advance('trailcast_e1', pg_current_wal_lsn())");
        lose_the_end(&server);
        server.start_again();
        let info = extract::info_until(&server, "e1", |info| info["status"] == "failed");
        assert!(info["lastError"].as_str().unwrap().contains("ahead of the trail"), "{info}");
        assert_eq!(ids_until(&server, "skipping", "begin=earliest", 7), (1..=7).collect::<Vec<_>>());
    });
}

#[test]
fn a_backup_taken_while_writes_go_on_is_restored_as_a_prefix_in_a_new_epoch() {
    let mut server = Server::start();
    server.make_trail("a1");
    server.make_stream("sa", "a1");
    put_each(&server, "a1", 1..=20);
    let acknowledged = AtomicU64::new(20);
    let writing = AtomicBool::new(true);
    let home = Folder::new("backup");
    let backup = home.path().join("b");
    let mut before = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 21.. {
                put_each(&server, "a1", number..=number);
                acknowledged.store(number, Ordering::SeqCst);
                if !writing.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        while acknowledged.load(Ordering::SeqCst) < 30 {
            std::thread::yield_now();
        }
        before = acknowledged.load(Ordering::SeqCst);
        let told = done(server.data_dir(), &["backup", backup.to_str().unwrap()]);
        assert!(told.contains("a1") && told.contains("trail new-epoch --all"), "{told}");
        let after = acknowledged.load(Ordering::SeqCst);
        // Writes went on behind the backup.
        while acknowledged.load(Ordering::SeqCst) < after + 10 {
            std::thread::yield_now();
        }
        writing.store(false, Ordering::SeqCst);
    });
    let future = put_each(&server, "a1", 9_000..=9_000);
    // It does not write over what is there.
    let again = trailcast(server.data_dir(), &["backup", backup.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again));
    assert!(server.terminate().success());
    std::fs::remove_dir_all(server.data_dir()).unwrap();
    assert!(Command::new("cp").arg("-a").arg(&backup).arg(server.data_dir()).status().unwrap().success());

    // Without a new epoch the restored trail is not served, and says what to do; it can be looked at.
    server.start_again();
    let described = server.get("/services/v2/trails/a1").expect(200).response();
    assert_eq!(described["status"], "stopped");
    assert!(described["error"].as_str().unwrap().contains("trailcast trail new-epoch a1"), "{described}");
    let last = done(server.data_dir(), &["trail", "dump", "a1", "--json"]).lines().count() as u64;
    assert!(server.terminate().success());
    assert!(done(server.data_dir(), &["trail", "new-epoch", "--all"]).contains("are refused from now on"));
    server.start_again();
    assert!(last >= before, "{last} of {before} acknowledged before the backup began");
    // The catalog came too: the stream is there. A prefix, whole; and the lost future is refused.
    assert_eq!(ids_until(&server, "sa", "begin=earliest", last), (1..=last).collect::<Vec<_>>());
    let answer = refused(&server, "sa", &format!("begin={future}"));
    assert_eq!(answer.status, 409, "{answer}");
    put_each(&server, "a1", last + 1..=last + 2);
    assert_eq!(ids_until(&server, "sa", "begin=earliest", last + 2).len() as u64, last + 2);
}

#[test]
fn trails_are_looked_at_beside_a_running_server_up_to_its_durable_mark() {
    let server = Server::start();
    let data = server.data_dir();
    server.make_trail("a1");
    server.make_trail("b1");
    for last in 1..=12 {
        // The very last acknowledged transaction is there, without anything behind it.
        put_each(&server, "a1", last..=last);
        let info: Value = serde_json::from_str(&done(data, &["trail", "info", "a1", "--json"])).unwrap();
        assert_eq!(info["lastCommit"], last, "{info}");
    }
    let listed = done(data, &["trail", "ls"]);
    assert!(listed.contains("a1") && listed.contains("commits 1–12") && listed.contains("b1"), "{listed}");
    let dump = |arguments: &[&str]| -> Vec<Value> {
        let lines = done(data, &[&["trail", "dump", "a1", "--json"], arguments].concat());
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = dump(&[]);
    assert_eq!(all.len(), 12);
    let fourth = &all[3];
    assert_eq!((fourth["csn"].as_u64(), fourth["record"].as_u64()), (Some(4), Some(0)));
    assert_eq!(
        (&fourth["op_type"], &fourth["qual_table"], &fourth["xid"]),
        (&json!("INSERT"), &json!("t.rows"), &json!("x4"))
    );
    assert_eq!((fourth["after"]["id"].as_u64(), &fourth["op_ts"]), (Some(4), &json!("2026-07-13 04:00:04.000000")));
    assert!(["appended", "source", "segment", "offset"].iter().all(|member| fourth.get(*member).is_some()), "{fourth}");
    // From a position and from a time.
    assert_eq!(dump(&["--begin", fourth["pos"].as_str().unwrap()]), all[4..]);
    assert_eq!(dump(&["--begin", "2026-07-13T04:00:09Z", "--limit", "2"]), all[8..10]);
    let text = done(data, &["trail", "dump", "a1", "--limit", "1"]);
    assert!(text.starts_with("1.0 INSERT") && text.contains("t.rows  xid=x1 op_ts=2026-07-13T04:00:01"), "{text}");
    assert!(done(data, &["trail", "verify", "a1"]).contains("good"));
    // Nothing of it disturbed the server.
    put_each(&server, "a1", 13..=13);
}

#[test]
fn verify_says_the_first_bad_position_and_fails() {
    let (server, at, _) = damaged_server();
    let output = trailcast(server.data_dir(), &["trail", "verify", "a1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let byte: usize = said.split("damaged at byte ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(byte < at && byte + 100 > at && said.contains("of segment 1: frame checksum does not match"), "{said}");
}

/// The end of the data of a trail's only segment, as `info` says it, and the length of its file.
fn lengths(server: &Server, trail: &str) -> (u64, u64) {
    let info: Value = serde_json::from_str(&done(server.data_dir(), &["trail", "info", trail, "--json"])).unwrap();
    (info["bytes"].as_u64().unwrap(), std::fs::metadata(segment(server, trail)).unwrap().len())
}

#[test]
fn a_killed_server_leaves_zeros_that_nobody_takes_for_damage_or_for_data() {
    let mut server = Server::start();
    server.make_trail("a1");
    server.make_stream("sa", "a1");
    put_each(&server, "a1", 1..=25);
    // Beside the running server, and beside none.
    for running in [true, false] {
        if !running {
            server.kill();
        }
        let (bytes, length) = lengths(&server, "a1");
        assert!(bytes < length && length <= 2 * bytes + 4_096, "{bytes} bytes of data in a file of {length}");
        let ls = done(server.data_dir(), &["trail", "ls"]);
        assert!(ls.contains(&format!("1 segments  {bytes} bytes")), "{ls}");
        let verified: Value =
            serde_json::from_str(&done(server.data_dir(), &["trail", "verify", "a1", "--json"])).unwrap();
        assert_eq!(
            (&verified["bytes"], &verified["transactions"], &verified["unmarkedBytes"]),
            (&json!(bytes), &json!(25), &json!(0)),
            "{verified}"
        );
        assert_eq!(done(server.data_dir(), &["trail", "dump", "a1", "--json"]).lines().count(), 25);
        let copy = Folder::new("copy");
        let said = done(server.data_dir(), &["backup", copy.path().join("b").to_str().unwrap()]);
        assert!(said.contains(&format!("up to commit 25  1 segments  {bytes} bytes")), "{said}");
        if running {
            assert_eq!(server.get("/services/v2/trails/a1").expect(200).response()["bytes"], bytes);
            server.sample_until("trailcast_trail_bytes{trail=\"a1\"}", |shown| shown == bytes as f64);
        }
    }
    let before = std::fs::read(segment(&server, "a1")).unwrap();
    let said = done(server.data_dir(), &["trail", "repair", "a1", "--dry-run"]);
    assert!(said.contains("is not damaged"), "{said}");
    assert_eq!(std::fs::read(segment(&server, "a1")).unwrap(), before);
    server.start_again();
    put_each(&server, "a1", 26..=27);
    assert_eq!(ids_until(&server, "sa", "begin=earliest", 27), (1..=27).collect::<Vec<_>>());
    assert!(server.terminate().success());
    let (bytes, length) = lengths(&server, "a1");
    assert_eq!(bytes, length, "a server that ends in good order leaves none");
    let names = std::fs::read_dir(segment(&server, "a1").parent().unwrap()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with("cut-")), "{names:?}");
}
