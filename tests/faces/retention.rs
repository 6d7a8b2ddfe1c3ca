//! Goal: what retention keeps and takes is seen, and whoever stands below the floor hears where the trail starts. Method:
//! a server over a trail of small segments whose limits are changed while clients read it.

use std::time::Duration;

use serde_json::json;

use crate::support::Server;
use crate::support::http::{self, Basic};
use crate::support::subscriber::{Ended, Next, Refused};
use crate::support::trail;

const PATIENCE: Duration = Duration::from_secs(30);

/// A server over the trail `a1` of that many transactions of 20,000 bytes; the position of the first.
fn server(transactions: u64) -> (Server, String) {
    let mut server = Server::start();
    server.kill();
    let first = trail::make_small(&server.data_dir().join("trails/a1"), transactions, 20_000);
    server.start_again();
    (server, first)
}

#[test]
fn limits_and_what_they_took_are_seen_and_positions_below_the_floor_are_refused() {
    let (server, position) = server(100);
    server.make_stream("s1", "a1");
    let described = server.get("/services/v2/trails/a1").expect(200).response();
    assert_eq!(
        described["retention"],
        json!({"ageSeconds": 7 * 86_400, "bytes": null}),
        "a week unless it says otherwise"
    );
    let mut resumed = server.subscribe("s1", &format!("begin={position}")).unwrap();
    assert_eq!(resumed.expect_data(PATIENCE).json["after"]["id"], 2);
    let limits = json!({"retention": {"bytes": 1 << 20}});
    let described = server.patch("/services/v2/trails/a1", &limits).expect(200).response();
    assert_eq!(described["retention"], json!({"ageSeconds": 7 * 86_400, "bytes": 1 << 20}));
    let removed = server.says("segment removed by retention");
    assert!(removed.contains("rule=\"size\"") && removed.contains("trail=a1"), "{removed}");
    let trail = server.get_until("/services/v2/trails/a1", |trail| trail["bytes"].as_u64().unwrap() <= 1 << 20);
    let first = trail["firstCommit"].as_u64().unwrap();
    assert!(first > 40 && first < 100, "{first}");
    let taken = "trailcast_trail_retention_removed_segments_total{trail=\"a1\",rule=\"size\"}";
    server.sample_until(taken, |segments| segments > 10.0);
    // The contract's refusal, which says where the trail starts.
    match server.subscribe("s1", &format!("begin={position}")) {
        Err(Refused::Answer(answer)) => {
            assert_eq!(answer.status, 409, "{answer}");
            assert!(answer.text().contains("OGG-27065"), "{answer}");
            assert!(answer.titles().contains(&format!("starts at commit number {first}")), "{answer}");
        }
        other => panic!("{other:?}"),
    }
    let mut earliest = server.subscribe("s1", "begin=earliest").unwrap();
    assert_eq!(earliest.expect_data(PATIENCE).json["after"]["id"], first);
    server.patch("/services/v2/stream/s1", &json!({"qualityOfService": "atMostOnce"})).expect(200);
    let mut skips = server.subscribe("s1", &format!("begin={position}")).unwrap();
    assert_eq!(skips.expect_data(PATIENCE).json["after"]["id"], first);
}

#[test]
fn a_reader_that_retention_overtakes_gets_whole_records_and_then_4011() {
    let (server, _) = server(2_000);
    server.make_stream("s1", "a1");
    // It takes nothing at first: what lies between it and the server is far less than the trail's 40 MB.
    let mut slow = server.subscribe("s1", "begin=earliest").unwrap();
    assert_eq!(slow.expect_data(PATIENCE).json["after"]["id"], 1);
    server.patch("/services/v2/trails/a1", &json!({"retention": {"bytes": 1 << 20}})).expect(200);
    server.get_until("/services/v2/trails/a1", |trail| trail["firstCommit"].as_u64().unwrap() >= 1_900);
    let mut next = 2;
    let (code, reason) = loop {
        match slow.next(PATIENCE) {
            Next::Record(record) if record.pos().is_some() => {
                assert_eq!(record.json["after"]["id"], next, "no gap before the end");
                next += 1;
            }
            Next::Record(_) => {}
            Next::Ended(Ended::Closed(code, reason)) => break (code, reason),
            other => panic!("after {next}: {other:?}"),
        }
    };
    assert_eq!((code, reason.as_str()), (4011, "retention has overtaken the reader"));
    assert!(next < 1_900, "{next}");
    let errors = server.get("/services/v2/stream/s1/info/errors").expect(200).response();
    assert!(errors["errors"].to_string().contains("retention removed records"), "{errors}");
}

#[test]
fn the_size_of_segments_is_chosen_when_a_trail_is_made_and_is_fixed_then() {
    let folder = crate::support::Folder::new("config");
    let file = folder.path().join("trailcast.toml");
    std::fs::write(&file, "[[trail]]\nname = \"a1\"\nsegmentBytes = 1048576\n").unwrap();
    let server = Server::start_with(&["--config", file.to_str().unwrap()], &[]);
    server.post("/services/v2/trails/a2", &json!({"segmentBytes": 2 << 20})).expect(200);
    server.make_trail("a3");
    let rows: Vec<_> =
        (0..50).map(|id| json!({"op": "INSERT", "table": "t", "after": {"id": id, "v": "v".repeat(50_000)}})).collect();
    for (trail, bytes, segments) in [("a1", 1 << 20, 3), ("a2", 2 << 20, 2), ("a3", 64 << 20, 1)] {
        for half in rows.chunks(5) {
            server.put(trail, &[json!({"operations": half})]).expect(200);
        }
        let described = server.get(&format!("/services/v2/trails/{trail}")).expect(200).response();
        assert_eq!(
            (&described["segmentBytes"], &described["segments"]),
            (&json!(bytes), &json!(segments)),
            "{described}"
        );
    }
    let refused = server.patch("/services/v2/trails/a2", &json!({"segmentBytes": 1 << 20})).expect(400);
    assert!(refused.titles().contains("segmentBytes") && refused.titles().contains("fixed"), "{refused}");
    let patch = json!({"segmentBytes": 2 << 20, "retention": {"ageSeconds": 60}});
    let patched = server.patch("/services/v2/trails/a2", &patch).expect(200).response();
    assert_eq!((&patched["segmentBytes"], &patched["retention"]["ageSeconds"]), (&json!(2 << 20), &json!(60)));
    for bad in [json!(1_048_575), json!((1 << 30) + 1), json!("1 MiB"), json!(-1), json!(1.5)] {
        let refused = server.post("/services/v2/trails/a4", &json!({"segmentBytes": bad})).expect(400);
        let titles = refused.titles();
        assert!(
            titles.contains("segmentBytes") && titles.contains("1048576") && titles.contains("1073741824"),
            "{refused}"
        );
    }
}

#[test]
fn an_administrator_confirms_a_clock_that_was_set_and_others_may_only_look() {
    use trailcast::catalog::{Catalog, Shelf};
    const RETENTION: &str = "/services/v2/retention";
    let mut server = Server::start();
    let running = server.get(RETENTION).expect(200).response();
    assert_eq!(running["age"], json!({"status": "running"}));
    server.post("/services/v2/users/ann", &json!({"role": "Operator", "password": "pass-word-1"})).expect(200);
    assert!(server.terminate().success());
    let noticed = json!({"stepSeconds": 604_800, "noticed": "2026-07-13T04:00:00.000000Z"});
    Catalog::open(server.data_dir()).unwrap().put(Shelf::Server, "age-suspension", &noticed).unwrap();
    server.start_again();

    let age = server.get(RETENTION).expect(200).response()["age"].clone();
    assert_eq!((&age["status"], &age["clockSetBySeconds"]), (&json!("suspended"), &json!(604_800)));
    assert!((86_000..=86_400).contains(&age["resumesInSeconds"].as_u64().unwrap()), "{age}");
    server.sample_until("trailcast_retention_age_suspended", |value| value == 1.0);
    let ready = server.readiness(200);
    assert!(ready["state"] == "degraded" && ready["warnings"].to_string().contains("the clock was set"), "{ready}");

    let confirmed = json!({"age": {"status": "running"}});
    let ann = Basic::new("ann", "pass-word-1");
    let headers = [("Authorization", ann.header()), ("Content-Type", "application/json")];
    let as_ann =
        |method, body: &str| http::request(server.port(), method, RETENTION, &headers, body.as_bytes()).unwrap();
    as_ann("PATCH", &confirmed.to_string()).expect(403);
    as_ann("GET", "").expect(200);
    for (wrong, member) in [
        (json!({"age": {"status": "suspended"}}), "age.status"),
        (json!({"age": {"until": 1}}), "age.until"),
        (json!({"size": {}}), "size"),
    ] {
        let refused = server.patch(RETENTION, &wrong).expect(400);
        assert!(refused.titles().contains(member), "{refused}");
    }
    assert_eq!(server.patch(RETENTION, &json!({})).expect(200).response()["age"]["status"], "suspended");

    assert_eq!(server.patch(RETENTION, &confirmed).expect(200).response()["age"], json!({"status": "running"}));
    server.sample_until("trailcast_retention_age_suspended", |value| value == 0.0);
    server.says("the clock was confirmed");
    assert_eq!(server.readiness(200)["state"], "ready");
}
