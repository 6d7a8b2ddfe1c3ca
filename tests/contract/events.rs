//! Goal: in CloudEvents mode every record of every kind is an event that the SDKs of other languages read. Method: a
//! mixed session of the real server, its batches given line by line to the Python and the JavaScript SDK.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Server, clients};

const PATIENCE: Duration = Duration::from_secs(30);

/// A stream's events: every operation, a change of shape, odd names and values, a heartbeat.
fn mixed_events() -> Vec<Value> {
    let server = Server::start();
    server.make_trail("a1");
    let config = json!({"source": {"trail": "a1"}, "cloudEventsFormat": true, "trailcast": {"heartbeat": 1}});
    server.post("/services/v2/stream/s1", &config).expect(200);
    let table = "app.\"Auf träge\"";
    let row = |op: &str, image: &str, values: Value| json!({"op": op, "table": table, "key": ["id"], image: values});
    let first = json!({"id": 1, "note": "ü \u{2028}\" \\", "n": null, "list": [1, {"a": null}]});
    let operations = json!([
        row("INSERT", "after", first),
        row("UPDATE", "after", json!({"id": 1, "more": true})),
        row("UPSERT", "after", json!({"id": 2})),
        row("DELETE", "before", json!({"id": 1})),
        {"op": "TRUNCATE", "table": table},
        {"op": "DDL", "table": table, "ddl": "alter table \"Auf träge\"\nadd x int"},
        {"op": "INSERT", "table": "nokey", "after": {"x": 1.5}},
    ]);
    server.put("a1", &[json!({"xid": "1", "operations": operations})]).expect(200);
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    let mut events: Vec<Value> = Vec::new();
    while !events.last().is_some_and(|event| event["type"] == "io.trailcast.heartbeat") {
        events.push(subscriber.expect_record(PATIENCE).json);
    }
    let kinds: std::collections::BTreeSet<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds.len(), 10, "{kinds:?}");
    let sequences: Vec<_> = events.iter().filter_map(|event| event["sequence"].as_str()).collect();
    assert!(sequences.is_sorted(), "{sequences:?}");
    events
}

fn reads_all(mut sdk: Command) {
    let events = mixed_events();
    let mut sdk = sdk.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = sdk.stdin.take().unwrap();
    for batch in events.chunks(5) {
        writeln!(input, "{}", json!(batch)).unwrap();
    }
    drop(input);
    let output = sdk.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = String::from_utf8(output.stdout).unwrap();
    let text = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
    let expected: Vec<_> =
        events.iter().map(|event| format!("{} {}", text(event, "type"), text(event, "id"))).collect();
    assert_eq!(read.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_python_sdk_reads_every_event_of_a_mixed_session() {
    let Some(mut python) = clients::python_with("cloudevents") else { return };
    python.arg("tests/clients/cloudevents_sdk.py");
    reads_all(python);
}

#[test]
fn the_javascript_sdk_reads_every_event_of_a_mixed_session() {
    let Some((node, _folder)) = clients::node_with("cloudevents", "tests/clients/cloudevents_sdk.mjs") else { return };
    reads_all(node);
}
