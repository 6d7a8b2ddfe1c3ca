//! Goal: a CloudEvent is put as the transaction that it holds, once, or refused with its number and member and nothing of its
//! body appended. Method: events by hand and from the SDKs over HTTP, and a look at what the stream then sends.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::subscriber::Next;
use crate::support::{Server, clients};

const PATIENCE: Duration = Duration::from_secs(30);
const PUT: &str = "/services/v2/trails/a1/transactions";
const EVENT: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

fn house() -> Server {
    let server = Server::start();
    server.make_trail("a1");
    let config = json!({"source": {"trail": "a1"}, "encoding": {"json": {"metaFields": {"xid": true}}}});
    server.post("/services/v2/stream/s1", &config).expect(200);
    server
}

fn event(id: &str) -> Value {
    let row = json!({"op": "INSERT", "table": "app.t", "key": ["id"], "after": {"id": id}});
    json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "shop.order", "data": {"operations": [row]}})
}

/// The event with another value of a member; null takes it away.
fn with(member: &str, value: Value) -> Value {
    let mut event = event("1");
    event[member] = value;
    event
}

fn send(server: &Server, media_type: &str, body: &str) -> Answer {
    server.request("POST", PUT, &[("Content-Type", media_type)], body.as_bytes())
}

/// The records of all rows in the trail; waits for `count` of them, and none may come after.
fn rows(server: &Server, count: usize) -> Vec<Value> {
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    let rows = (0..count).map(|_| subscriber.expect_data(PATIENCE).json).collect();
    // Whatever else was appended comes before this row.
    let mark = json!({"operations": [{"op": "INSERT", "table": "mark", "after": {"x": 1}}]});
    server.put("a1", &[mark]).expect(200);
    let last = subscriber.expect_data(PATIENCE);
    assert_eq!(last.table(), Some("mark"), "{}", last.text);
    rows
}

#[test]
fn an_event_is_the_transaction_in_its_data() {
    let server = house();
    let data = r#"{"operations":[{"op":"INSERT","table":"app.t","key":["id"],"after":{"id":1.50,"big":1e400}},
        {"op":"DELETE","table":"app.t","key":["id"],"before":{"id":2}}]}"#;
    let text = format!(
        r#"{{"data":{data},"time":"2020-01-02T03:04:05.123456789+01:00","type":"shop.order","source":"https://shop/a",
            "id":"order 17","specversion":"1.0","traceparent":"00-0af7-b7ad-01","subject":"x"}}"#
    );
    let answer = send(&server, "Application/CloudEvents+JSON; charset=UTF-8", &text).expect(200).response();
    assert_eq!(answer["acked"], 1);
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    let first = subscriber.expect_data(PATIENCE);
    let second = subscriber.expect_data(PATIENCE);
    assert!(first.text.contains(r#""after":{"id":1.50,"big":1e400}"#), "{}", first.text);
    assert_eq!(first.json["xid"], "https://shop/a order 17", "{}", first.text);
    assert_eq!(first.json["op_ts"], "2020-01-02 02:04:05.123456", "{}", first.text);
    assert_eq!(second.op_type(), Some("DELETE"), "{}", second.text);
    assert!(matches!(subscriber.next(Duration::from_millis(300)), Next::Quiet));
    let mut after = server.subscribe("s1", &format!("begin={}", answer["pos"].as_str().unwrap())).unwrap();
    send(&server, EVENT, &event("next").to_string()).expect(200);
    assert_eq!(after.expect_data(PATIENCE).json["after"]["id"], "next");
}

#[test]
fn an_event_that_comes_again_is_not_appended_and_has_its_first_position_after_a_restart_too() {
    let mut server = house();
    let put = |server: &Server, media_type: &str, body: Value| send(server, media_type, &body.to_string()).expect(200);
    let first = put(&server, EVENT, event("1")).response()["pos"].clone();
    let second = put(&server, BATCH, json!([event("1"), event("2"), event("1")])).response();
    assert_eq!(second["acked"], 3);
    assert_ne!(second["pos"], first);
    // Another source's event of the same id is another event.
    put(&server, EVENT, with("source", json!("/other")));
    for _ in 0..2 {
        assert_eq!(put(&server, EVENT, event("1")).response()["pos"], first);
        assert_eq!(put(&server, BATCH, json!([event("2")])).response()["pos"], second["pos"]);
        // Its id as a transaction that is put without an event.
        let same = json!({"xid": "/shop 1", "operations": event("9")["data"]["operations"]});
        assert_eq!(server.put("a1", &[same]).expect(200).response()["pos"], first);
        server.kill();
        server.start_again();
    }
    let ids: Vec<_> = rows(&server, 3).iter().map(|row| row["xid"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, ["/shop 1", "/shop 2", "/other 1"]);
}

#[test]
fn a_batch_without_events_is_acknowledged_and_appends_nothing() {
    let server = house();
    assert_eq!(send(&server, BATCH, "[]").expect(200).response(), json!({"acked": 0}));
    let missing = "/services/v2/trails/nothing/transactions";
    server.request("POST", missing, &[("Content-Type", BATCH)], b"[]").expect(404);
    assert_eq!(rows(&server, 0), Vec::<Value>::new());
}

#[test]
fn a_bad_event_is_refused_by_number_and_member_and_nothing_of_its_body_is_appended() {
    let server = house();
    let data = |data: Value| with("data", data);
    let operation = |operation: Value| data(json!({"operations": [operation]}));
    let cases: Vec<(Value, &str)> = vec![
        (with("specversion", Value::Null), "specversion: is required"),
        (with("specversion", json!("0.3")), "specversion: must be 1.0"),
        (with("specversion", json!(1)), "specversion: must be a string"),
        (with("id", Value::Null), "id: is required"),
        (with("id", json!("")), "id: must not be empty"),
        (with("id", json!("a\u{0}b")), "id: holds a control character"),
        (with("source", Value::Null), "source: is required"),
        (with("source", json!("my shop")), "source: must be a URI reference"),
        (with("type", Value::Null), "type: is required"),
        (with("time", json!("yesterday")), "time: not an ISO 8601 timestamp"),
        (with("time", json!("2999-01-01T00:00:00Z")), "time: may be at most 300 seconds ahead"),
        (with("datacontenttype", json!("application/xml")), "datacontenttype: is \"application/xml\""),
        (with("data_base64", json!("e30=")), "data_base64: is not taken"),
        (with("specVersion", json!("1.0")), "specVersion: is no name of an attribute"),
        (with("sampled", json!([])), "sampled: must be a string, a boolean or an integer"),
        (data(Value::Null), "data: is required"),
        (data(json!("{}")), "data: must be an object"),
        (data(json!({"xid": "1", "operations": []})), "data.operations: must have 1 to 1000000 elements"),
        (operation(json!({"op": "MERGE", "table": "t"})), "data.operations[0].op: must be one of"),
        (
            operation(json!({"op": "INSERT", "table": "t", "after": {}})),
            "data.operations[0].after: must have 1 to 4096",
        ),
    ];
    for (bad, says) in &cases {
        let refused = send(&server, EVENT, &bad.to_string()).expect(400);
        assert!(refused.titles().starts_with(says), "{bad}: {refused}");
        let batch = json!([event("good"), event("better"), bad, event("best")]);
        let refused = send(&server, BATCH, &batch.to_string()).expect(400);
        assert!(refused.titles().starts_with(&format!("events[2].{says}")), "{bad}: {refused}");
    }
    for (body, says) in [
        ("", "malformed JSON"),
        ("{", "line 1: body: must be an array of events"),
        ("[{", "malformed JSON"),
        ("{}", "line 1: body: must be an array of events"),
        ("[1]", "events[0]: must be an object"),
        ("[{}]", "events[0].specversion: is required"),
        ("[[]]", "events[0]: must be an object"),
        ("[] []", "malformed JSON"),
        ("[\u{feff}]", "malformed JSON"),
    ] {
        let refused = send(&server, BATCH, body).expect(400);
        assert!(refused.titles().contains(says), "{body}: {refused}");
    }
    let twice = send(&server, EVENT, &event("1").to_string().replacen('{', r#"{"id":"2","#, 1)).expect(400);
    assert!(twice.titles().contains("event: member \"id\" stands twice"), "{twice}");
    let too_wide: serde_json::Map<_, _> = (0..4_000).map(|column| (format!("c{column}"), json!(1))).collect();
    let wide = |prefix: &str| {
        let columns: serde_json::Map<_, _> =
            too_wide.iter().map(|(name, value)| (format!("{prefix}{name}"), value.clone())).collect();
        let mut event = event(prefix);
        event["data"]["operations"][0] = json!({"op": "INSERT", "table": "wide", "after": columns});
        event
    };
    let refused = send(&server, BATCH, &json!([wide("a"), wide("b")]).to_string()).expect(400);
    assert!(refused.titles().starts_with("events[1].data.operations[0].after: table wide"), "{refused}");
    assert_eq!(rows(&server, 0), Vec::<Value>::new());
}

#[test]
fn an_event_in_another_mode_or_format_is_refused_with_what_is_taken() {
    let server = house();
    let data = event("1")["data"].to_string();
    for media_type in
        ["application/cloudevents+avro", "application/cloudevents", "application/cloudevents-batch+protobuf"]
    {
        let refused = send(&server, media_type, &event("1").to_string()).expect(415);
        assert!(refused.titles().contains("application/cloudevents+json"), "{refused}");
    }
    for header in ["ce-specversion", "Ce-Id", "CE-Source", "ce-type"] {
        let headers = [("Content-Type", "application/json"), (header, "1.0")];
        let refused = server.request("POST", PUT, &headers, data.as_bytes()).expect(415);
        assert!(refused.titles().contains("binary mode"), "{refused}");
    }
    let packed = [("Content-Type", EVENT), ("Content-Encoding", "gzip")];
    server.request("POST", PUT, &packed, event("1").to_string().as_bytes()).expect(415);
    assert_eq!(rows(&server, 0), Vec::<Value>::new());
    // Control: the headers mean nothing beside an event in the body.
    let headers = [("Content-Type", EVENT), ("ce-id", "2")];
    server.request("POST", PUT, &headers, event("1").to_string().as_bytes()).expect(200);
}

/// What an SDK's events came to: put once each, and refused in binary mode.
fn takes_events_of(mut sdk: Command, server: &Server, language: &str) {
    let url = format!("http://127.0.0.1:{}{PUT}", server.port());
    let output = sdk.arg(url).env("AUTHORIZATION", server.credentials().header()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<(u16, Value)> = answers
        .lines()
        .map(|line| {
            let (status, body) = line.split_once(' ').unwrap();
            (status.parse().unwrap(), serde_json::from_str(body).unwrap())
        })
        .collect();
    let [(200, one), (200, two), (415, _)] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((&one["response"]["acked"], &two["response"]["acked"]), (&json!(1), &json!(2)));
    let rows = rows(server, 3);
    for (number, row) in (1..).zip(&rows) {
        assert_eq!(row["qual_table"], format!("APP.{language}").to_lowercase(), "{row}");
        assert_eq!(row["xid"], format!("/clients/{language} {number}"), "{row}");
        assert_eq!(row["after"], json!({"id": number, "note": "ü 😀"}), "{row}");
        // JavaScript's times have milliseconds.
        assert!(row["op_ts"].as_str().unwrap().starts_with("2020-01-02 03:04:05.678"), "{row}");
    }
}

#[test]
fn events_of_the_python_sdk_are_taken() {
    let Some(mut python) = clients::python_with("cloudevents") else { return };
    python.arg("tests/clients/cloudevents_put.py");
    takes_events_of(python, &house(), "python");
}

#[test]
fn events_of_the_javascript_sdk_are_taken() {
    let Some((node, _folder)) = clients::node_with("cloudevents", "tests/clients/cloudevents_put.mjs") else { return };
    takes_events_of(node, &house(), "javascript");
}
