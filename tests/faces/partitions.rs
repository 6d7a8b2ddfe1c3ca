//! Goal: a trail with partitions takes messages and rows, shows them as what they are, and its partitions are split and merged without
//! a record lost or behind a close. Method: over HTTP and the WebSocket.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::Server;
use crate::support::subscriber::Subscriber;

const PATIENCE: Duration = Duration::from_secs(30);
const TRAIL: &str = "/services/v2/trails/a1";
const PARTITIONS: &str = "/services/v2/trails/a1/partitions";

fn house(partitions: u64) -> Server {
    let server = Server::start();
    server.post(TRAIL, &json!({ "partitions": partitions })).expect(200);
    server.make_stream("s1", "a1");
    server
}

fn put(server: &Server, operations: Value) -> Value {
    server.put("a1", &[json!({ "operations": operations })]).expect(200).response()
}

fn message(members: Value) -> Value {
    let mut message = json!({"op": "MESSAGE"});
    for (name, value) in members.as_object().unwrap() {
        message[name] = value.clone();
    }
    message
}

/// The row that a message is shown as.
fn next(subscriber: &mut Subscriber) -> Value {
    let record = subscriber.expect_data(PATIENCE);
    assert_eq!((record.table(), record.op_type()), (Some("messages.a1"), Some("INSERT")), "{}", record.text);
    record.json["after"].clone()
}

#[test]
fn a_message_is_an_insert_with_its_key_value_encoding_and_partition() {
    let server = house(4);
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    put(
        &server,
        json!([
            message(json!({"key": "a", "value": {"n": 1}})),
            {"op": "INSERT", "table": "app.t", "key": ["id"], "after": {"id": "a"}},
            message(json!({"key": "a", "valueBase64": "aGVsbG8="})),
            message(json!({"key": "a", "valueBase64": "/wA=", "partition": 3})),
            message(json!({"key": "a", "value": null, "hashKey": u128::MAX.to_string()})),
            message(json!({"value": 7, "partition": 1})),
        ]),
    );
    let shown = |key: &str, value: Value, encoding: &str, partition: u64| json!({"key": key, "value": value, "encoding": encoding, "partition": partition});
    // MD5 of "a" begins with 0c: the first of four partitions.
    assert_eq!(next(&mut subscriber), shown("a", json!({"n": 1}), "json", 0));
    assert_eq!(subscriber.expect_data(PATIENCE).table(), Some("app.t"));
    assert_eq!(next(&mut subscriber), shown("a", json!("hello"), "text", 0));
    assert_eq!(next(&mut subscriber), shown("a", json!("/wA="), "base64", 3));
    assert_eq!(next(&mut subscriber), shown("a", Value::Null, "json", 3));
    assert_eq!(next(&mut subscriber), json!({"key": null, "value": 7, "encoding": "json", "partition": 1}));
    let described = server.get(TRAIL).expect(200).response();
    assert_eq!(described["partitions"], 4);
    let document = server.get("/services/v2/stream/s1/asyncapi.json").expect(200).text();
    assert!(document.contains("messages.a1"), "{document}");
}

#[test]
fn messages_are_cloud_events_whose_partition_key_is_theirs() {
    let server = house(2);
    server.post("/services/v2/stream/ce", &json!({"source": {"trail": "a1"}, "cloudEventsFormat": true})).expect(200);
    let mut subscriber = server.subscribe("ce", "begin=earliest").unwrap();
    put(&server, json!([message(json!({"key": "k1", "value": "x"}))]));
    let event = loop {
        let event = subscriber.expect_record(PATIENCE);
        if event.text.contains(r#""partitionkey":"k1""#) {
            break event;
        }
    };
    assert!(event.text.contains(r#""subject":"messages.a1""#), "{}", event.text);
    assert!(event.text.contains(r#""encoding":"json""#), "{}", event.text);
}

#[test]
fn rows_with_the_same_key_and_all_of_a_table_without_one_are_in_one_partition() {
    let server = house(16);
    server
        .post(
            "/services/v2/stream/one",
            &json!({"source": {"trail": "a1"}, "rules": [
            {"action": "include", "filter": {"partitionNames": ["0"]}}]}),
        )
        .expect(200);
    let row = |op: &str, id: &str, members: Value| {
        let mut row = json!({"op": op, "table": "app.t", "key": ["id"]});
        for (image, value) in members.as_object().unwrap() {
            row[image] = json!({"id": id, "n": value});
        }
        row
    };
    // MD5 of "a" lies in the first sixteenth, those of the others do not.
    put(
        &server,
        json!([
            row("INSERT", "a", json!({"after": 1})),
            row("INSERT", "b", json!({"after": 1})),
            {"op": "TRUNCATE", "table": "app.u"},
            row("UPDATE", "a", json!({"before": 1, "after": 2})),
            row("UPDATE", "b", json!({"before": 1, "after": 2})),
            {"op": "DDL", "table": "app.t", "ddl": "ALTER TABLE app.t ADD x int"},
            row("DELETE", "a", json!({"before": 2})),
            row("DELETE", "b", json!({"before": 2})),
        ]),
    );
    put(&server, json!([message(json!({"value": "end", "partition": 0}))]));
    let mut subscriber = server.subscribe("one", "begin=earliest").unwrap();
    let mut seen = Vec::new();
    loop {
        let record = subscriber.expect_data(PATIENCE);
        if record.table() == Some("messages.a1") {
            break;
        }
        seen.push(record.op_type().unwrap_or_default().to_owned());
    }
    assert_eq!(seen, ["INSERT", "TRUNCATE", "UPDATE", "DDL", "DELETE"]);
}

#[test]
fn a_partition_is_split_and_merged_and_takes_nothing_behind_its_close() {
    let mut server = house(1);
    let early = json!({"xid": "x1", "operations": [message(json!({"key": "a", "value": 1, "partition": 0}))]});
    let first = server.put("a1", std::slice::from_ref(&early)).expect(200).response();
    let split = server.post(PARTITIONS, &json!({"split": {"partition": 0}})).expect(200).response();
    let half = (1_u128 << 127).to_string();
    let of = |answer: &Value, at: usize, member: &str| answer["items"][at][member].clone();
    assert_eq!((of(&split, 0, "status"), of(&split, 0, "closedAfterCommit")), (json!("closed"), json!(1)));
    assert_eq!((of(&split, 2, "firstHash"), of(&split, 2, "parents")), (json!(half), json!([0])));
    assert_eq!((of(&split, 1, "status"), of(&split, 1, "openedAfterCommit")), (json!("open"), json!(1)));
    assert_eq!(server.get(TRAIL).expect(200).response()["partitions"], 2);
    let refused =
        server.put("a1", &[json!({"operations": [message(json!({"value": 1, "partition": 0}))]})]).expect(400);
    assert!(refused.titles().contains("operations[0].partition: 0 is closed"), "{refused}");
    put(&server, json!([message(json!({"key": "a", "value": 2})), message(json!({"value": 3, "hashKey": half}))]));
    let merged = server.post(PARTITIONS, &json!({"merge": {"partition": 1, "with": 2}})).expect(200).response();
    assert_eq!((of(&merged, 3, "parents"), of(&merged, 2, "closedAfterCommit")), (json!([1, 2]), json!(2)));
    put(&server, json!([message(json!({"key": "a", "value": 4}))]));
    server.kill();
    server.start_again();
    assert_eq!(server.get(PARTITIONS).expect(200).response(), merged);
    put(&server, json!([message(json!({"key": "a", "value": 5}))]));
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    let seen: Vec<_> =
        (0..5).map(|_| next(&mut subscriber)).map(|row| (row["value"].clone(), row["partition"].clone())).collect();
    let expected = [(1, 0), (2, 1), (3, 2), (4, 3), (5, 3)].map(|(value, partition)| (json!(value), json!(partition)));
    assert_eq!(seen, expected);
    // What was read before a split goes on behind it.
    let mut after = server.subscribe("s1", &format!("begin={}", first["pos"].as_str().unwrap())).unwrap();
    assert_eq!(next(&mut after)["value"], 2);
}

#[test]
fn what_is_wrong_with_a_change_of_partitions_is_said_and_nothing_is_changed() {
    let server = house(2);
    let before = server.get(PARTITIONS).expect(200).response();
    for (body, status, says) in [
        (json!({}), 400, "split: is required, or merge in its place"),
        (
            json!({"split": {"partition": 0}, "merge": {"partition": 0, "with": 1}}),
            400,
            "merge: is not taken beside split",
        ),
        (json!({"split": {}}), 400, "split.partition: is required"),
        (json!({"split": {"partition": 2}}), 400, "partition 2 does not exist; the trail's partitions are 0 to 1"),
        (json!({"split": {"partition": 0, "at": "0"}}), 400, "partition 0 can be split at a hash from 1 to "),
        (json!({"split": {"partition": 0, "at": "x"}}), 400, "split.at: must be decimal digits"),
        (json!({"split": {"partition": 0, "at": 5}}), 400, "split.at"),
        (json!({"split": {"partition": -1}}), 400, "split.partition"),
        (json!({"merge": {"partition": 0, "with": 0}}), 409, "do not touch"),
        (json!({"merge": {"partition": 0}}), 400, "merge.with: is required"),
        (json!({"reshard": 1}), 400, "reshard"),
    ] {
        let refused = server.post(PARTITIONS, &body).expect(status);
        assert!(refused.titles().contains(says), "{body}: {refused}");
    }
    assert_eq!(server.get(PARTITIONS).expect(200).response(), before);
    server.post("/services/v2/trails/none/partitions", &json!({"split": {"partition": 0}})).expect(404);
    for (partitions, says) in [(json!(0), "1"), (json!(1_001), "1000"), (json!("2"), "partitions")] {
        let refused = server.post("/services/v2/trails/a2", &json!({ "partitions": partitions })).expect(400);
        assert!(refused.titles().contains("partitions") && refused.titles().contains(says), "{refused}");
    }
    let refused = server.patch(TRAIL, &json!({"partitions": 3})).expect(400);
    assert!(refused.titles().contains("partitions: is fixed when the trail is made"), "{refused}");
    server.patch(TRAIL, &json!({"partitions": 2, "retention": {"ageSeconds": 60}})).expect(200);
    server
        .post(
            "/services/v2/extracts/x1",
            &json!({
        "source": {"type": "postgresql", "host": "127.0.0.1", "database": "d", "user": "u", "password": "p"},
        "tables": ["public.*"], "trail": "captured", "status": "stopped"}),
        )
        .expect(200);
    let refused =
        server.post("/services/v2/trails/captured/partitions", &json!({"split": {"partition": 0}})).expect(409);
    assert!(refused.titles().contains("is written by extract x1 and has one partition for life"), "{refused}");
}

#[test]
fn rules_name_partitions_of_a_trail_that_has_some() {
    let server = house(4);
    server.make_trail("plain");
    let of = |trail: &str, names: Value| json!({"source": {"trail": trail}, "rules": [{"action": "include", "filter": {"partitionNames": names}}]});
    for trail in ["plain", "none"] {
        let refused = server.post("/services/v2/stream/r1", &of(trail, json!(["0"]))).expect(400);
        assert!(refused.titles().contains("rules[0].filter.partitionNames: must not be given"), "{refused}");
    }
    server.post("/services/v2/stream/r1", &of("a1", json!(["1", "3*"]))).expect(200);
    let mut subscriber = server.subscribe("r1", "begin=earliest").unwrap();
    for partition in [0, 1, 2, 3, 0, 1] {
        put(&server, json!([message(json!({"value": partition, "partition": partition}))]));
    }
    let seen: Vec<_> = (0..3).map(|_| next(&mut subscriber)["partition"].clone()).collect();
    assert_eq!(seen, [json!(1), json!(3), json!(1)]);
}
