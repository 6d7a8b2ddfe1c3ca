//! Goal: a full disk refuses puts with 507, loses nothing that was acknowledged, keeps readers going, and passes by
//! itself once there is room. Method: the trails lie on a small file system in memory that a filler file fills up.

use std::time::{Duration, Instant};

use serde_json::json;

use super::small_disk::SmallDisk;
use crate::support::extract::capture;
use crate::support::{Postgres, Server, trail, until};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_full_disk_refuses_puts_and_passes_when_there_is_room_again() {
    let server = Server::start();
    let Some(disk) = SmallDisk::over(&server.data_dir().join("trails")) else { return };
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let mut acknowledged = Vec::new();
    let mut put = |number: u64| {
        let row = json!({"id": number, "text": "x".repeat(20_000)});
        let operation = json!({"op": "INSERT", "table": "t.rows", "key": ["id"], "after": row});
        let answer = server.put("a1", &[json!({"xid": format!("x{number}"), "operations": [operation]})]);
        if answer.status == 200 {
            acknowledged.push(number);
        }
        answer
    };
    for number in 0..20 {
        assert_eq!(put(number).status, 200);
    }
    // On a disk as small as this one all room is for data.
    let segment = server.data_dir().join("trails/a1/0000000000000001.seg");
    let held = server.get("/services/v2/trails/a1").expect(200).response()["bytes"].as_u64().unwrap();
    assert_eq!(std::fs::metadata(segment).unwrap().len(), held);
    disk.fill();
    let full = (20..400).map(&mut put).find(|answer| answer.status != 200).expect("the disk never filled up");
    assert_eq!(full.status, 507, "{full}");
    assert!(full.titles().contains("disk is full"), "{full}");
    assert_eq!(put(1_000).status, 507);
    // Readers go on.
    let mut reader = server.subscribe("s1", "begin=earliest").unwrap();
    assert_eq!(reader.expect_data(PATIENCE).json["after"]["id"], 0);
    let ready = server.readiness(503);
    assert!(ready["troubles"][0].as_str().unwrap().starts_with("trail a1 has stopped: "), "{ready}");
    server.sample_until("trailcast_trail_disk_full{trail=\"a1\"}", |full| full == 1.0);
    server.sample_until("trailcast_put_refused_total{reason=\"disk_full\"}", |puts| puts == 2.0);
    disk.free();
    until(|| {
        let answer = put(2_000);
        if answer.status == 200 { Ok(()) } else { Err(answer.to_string()) }
    });
    server.readiness(200);
    assert_eq!(put(2_001).status, 200);
    let mut again = server.subscribe("s1", "begin=earliest").unwrap();
    for number in acknowledged {
        assert_eq!(again.expect_data(PATIENCE).json["after"]["id"], number);
    }
}

/// Of the one slot, how far the source may forget.
fn confirmed(postgres: &Postgres) -> u64 {
    lsn(&postgres.psql("select confirmed_flush_lsn from pg_replication_slots"))
}

fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap();
    u64::from_str_radix(high, 16).unwrap() << 32 | u64::from_str_radix(low, 16).unwrap()
}

/// Inserts a row; where the source's log ends then.
fn insert(postgres: &Postgres, id: u32) -> u64 {
    lsn(&postgres.psql(&format!("insert into t values ({id}, repeat('x', 20000)); select pg_current_wal_lsn()")))
}

#[test]
fn capture_that_confirms_before_the_trail_holds_it_is_seen_to_lose_on_a_full_disk() {
    let Some(postgres) = Postgres::newest() else { return };
    postgres.psql("create table public.t (id int primary key, text text not null)");
    let server = Server::start_with(&[], &[("TRAILCAST_TEST_CONFIRM_EARLY", "1")]);
    let Some(disk) = SmallDisk::over(&server.data_dir().join("trails")) else { return };
    capture(&server, &postgres, "e1", &["public.*"], "a1");
    server.make_stream("s1", "a1");
    disk.fill();
    for id in 1..=30 {
        insert(&postgres, id);
    }
    server.says("trail has stopped");
    disk.free();
    insert(&postgres, 31);
    let mut reader = server.subscribe("s1", "begin=earliest").unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&31) {
        seen.push(reader.expect_data(PATIENCE).json["after"]["id"].as_u64().unwrap());
    }
    assert!(seen.len() < 31, "the control lost nothing: the test of the pause proves nothing");
}

#[test]
fn capture_pauses_on_a_full_disk_without_confirming_and_goes_on_by_itself() {
    let Some(postgres) = Postgres::newest() else { return };
    postgres.psql("create table public.t (id int primary key, text text not null)");
    let server = Server::start();
    let Some(disk) = SmallDisk::over(&server.data_dir().join("trails")) else { return };
    capture(&server, &postgres, "e1", &["public.*"], "a1");
    server.make_stream("s1", "a1");
    let insert = |id| insert(&postgres, id);
    for id in 1..=10 {
        insert(id);
    }
    let mut reader = server.subscribe("s1", "begin=earliest").unwrap();
    for id in 1..=10 {
        assert_eq!(reader.expect_data(PATIENCE).json["after"]["id"], id);
    }
    disk.fill();
    // Half a block of the disk may still be free: more than that comes.
    let ends: Vec<u64> = (11..=30).map(insert).collect();
    server.says("trail has stopped");
    server.readiness(503);
    server.sample_until("trailcast_capture_running{extract=\"e1\"}", |running| running == 0.0);
    server.sample_until("trailcast_capture_error{extract=\"e1\",reason=\"disk_full\"}", |is| is == 1.0);
    // What the source may forget never passes what the trail holds, however often capture tries.
    let trail = || server.get("/services/v2/trails/a1").expect(200).response();
    let held = trail()["lastCommit"].as_u64().unwrap();
    assert!((10..30).contains(&held), "{held}");
    let first_missing_ends = ends[held as usize - 10];
    let watched = Instant::now();
    while watched.elapsed() < Duration::from_secs(12) {
        assert!(confirmed(&postgres) < first_missing_ends, "confirmed what the trail does not hold");
        assert_eq!(trail()["lastCommit"], held);
        std::thread::sleep(Duration::from_millis(200));
    }
    // Readers go on: this one from the start, to all there is.
    let mut again = server.subscribe("s1", "begin=earliest").unwrap();
    (1..=held).for_each(|id| assert_eq!(again.expect_data(PATIENCE).json["after"]["id"], id));
    disk.free();
    for id in 11..=30 {
        assert_eq!(reader.expect_data(PATIENCE).json["after"]["id"], id, "nothing is lost, nothing comes twice");
    }
    server.readiness(200);
}

#[test]
fn changes_that_a_full_disk_has_no_room_for_are_refused_whole() {
    let mut server = Server::start();
    server.terminate();
    // The whole data folder, the catalog with it.
    let Some(disk) = SmallDisk::over(server.data_dir()) else { return };
    server.start_again();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let stream = |text: &str| json!({"source": {"trail": "a1"}, "description": text});
    disk.fill();
    let operation =
        json!({"op": "INSERT", "table": "t.rows", "key": ["id"], "after": {"id": 1, "text": "x".repeat(9_000)}});
    let full = [
        server.post("/services/v2/stream/s2", &stream("new")),
        server.patch("/services/v2/stream/s1", &json!({"description": "changed"})),
        server.delete("/services/v2/stream/s1"),
        server.post("/services/v2/trails/a2", &json!({"retention": {"ageSeconds": 60}})),
        server.post("/services/v2/users/ann", &json!({"password": "a-long-password-7", "role": "User"})),
        server.put("a1", &[json!({"operations": [operation.clone()]})]),
    ];
    for answer in full {
        assert_eq!(answer.status, 507, "{answer}");
        assert!(answer.titles().contains("disk is full") && answer.header("retry-after").is_some(), "{answer}");
    }
    // Nothing is there by half, and what was there answers.
    server.get("/services/v2/stream/s2").expect(404);
    server.get("/services/v2/trails/a2").expect(404);
    server.get("/services/v2/users/ann").expect(404);
    assert!(server.get("/services/v2/stream/s1").expect(200).response()["description"].is_null());
    // A log-in that nobody remembers reads the catalog.
    server.kill();
    server.start_again();
    server.get("/services/v2/stream/s1").expect(200);
    disk.free();
    server.post("/services/v2/stream/s2", &stream("new")).expect(200);
    server.patch("/services/v2/stream/s1", &json!({"description": "changed"})).expect(200);
    let made = server.post("/services/v2/trails/a2", &json!({"retention": {"ageSeconds": 60}})).expect(200);
    assert_eq!(made.response()["retention"]["ageSeconds"], 60);
    server.post("/services/v2/users/ann", &json!({"password": "a-long-password-7", "role": "User"})).expect(200);
    server.put("a1", &[json!({"operations": [operation]})]).expect(200);
    server.kill();
    server.start_again();
    assert_eq!(server.get("/services/v2/stream/s1").expect(200).response()["description"], "changed");
    server.get("/services/v2/stream/s2").expect(200);
}

#[test]
fn trails_that_take_more_than_half_of_the_disk_lose_their_oldest_segments() {
    let mut server = Server::start();
    server.kill();
    let trails = server.data_dir().join("trails");
    let Some(_disk) = SmallDisk::over(&trails) else { return };
    trail::make_small(&trails.join("a1"), 280, 20_000);
    server.start_again();
    let line = server.says("more than their share of the disk");
    assert!(line.contains("trail=a1"), "{line}");
    let removed = server.says("segment removed by retention");
    assert!(removed.contains("rule=\"disk\""), "{removed}");
    let share = server.sample_until("trailcast_disk_retention_share_bytes", |bytes| bytes > 0.0) as u64;
    assert!((3 << 20..=4 << 20).contains(&share), "{share}");
    let trail = server.get_until("/services/v2/trails/a1", |trail| trail["bytes"].as_u64().unwrap() <= share);
    assert!(trail["firstCommit"].as_u64().unwrap() > 50 && trail["lastCommit"] == 280, "{trail}");
}
