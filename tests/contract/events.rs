//! Goal: in CloudEvents mode every record of every kind is an event that SDKs read. Method: a mixed session of the real
//! server, its batches given line by line to the Python and the JavaScript SDK, and every event, however it is framed, read by
//! the Rust SDK and compared by value with the record that a stream without events sends.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use cloudevents::event::ExtensionValue;
use cloudevents::{AttributesReader, Data};
use serde_json::{Value, json};

use super::by_value::{difference, with_decimals};
use crate::support::subscriber::Record;
use crate::support::{Server, Subscriber, clients};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server with a trail that has every operation, a change of shape, odd names and values.
fn mixed_server() -> Server {
    let server = Server::start();
    server.make_trail("a1");
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
    server
}

/// Makes a stream with these members, and reads its records up to the first heartbeat.
fn records(server: &Server, stream: &str, mut config: Value, subprotocol: Option<&str>) -> Vec<Record> {
    config["source"] = json!({"trail": "a1"});
    config["trailcast"]["heartbeat"] = json!(1);
    let path = format!("/services/v2/stream/{stream}");
    server.post(&path, &config).expect(200);
    let target = format!("{path}?begin=earliest");
    let credentials = Some(server.credentials());
    let mut subscriber = Subscriber::connect_with(server.port(), &target, credentials, subprotocol).unwrap();
    let mut records = Vec::new();
    loop {
        let record = subscriber.expect_record(PATIENCE);
        let is_heartbeat = record.op_type() == Some("HEARTBEAT") || record.json["type"] == "io.trailcast.heartbeat";
        records.push(record);
        if is_heartbeat {
            return records;
        }
    }
}

/// A stream's events: every kind of them, a heartbeat last.
fn mixed_events() -> Vec<Value> {
    let records = records(&mixed_server(), "s1", json!({"cloudEventsFormat": true}), None);
    let events: Vec<Value> = records.into_iter().map(|record| record.json).collect();
    let kinds: BTreeSet<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds.len(), 10, "{kinds:?}");
    let sequences: Vec<_> = events.iter().filter_map(|event| event["sequence"].as_str()).collect();
    assert!(sequences.is_sorted(), "{sequences:?}");
    events
}

/// Numbers that no double has, and several transactions.
fn put_odd_numbers(server: &Server) {
    for xid in 2..5 {
        let row = r#"{"op":"INSERT","table":"numbers","key":["id"],"after":{"id":ID.00,"a":12.50,"b":1e400,
            "c":123456789012345678901234567890.0010,"d":-0,"e":1E5,"f":0.1e-7,"g":[0.10,{"h":-1.0}]}}"#;
        let row = row.replace("ID", &xid.to_string());
        let body = format!("{{\"xid\":\"{xid}\",\"operations\":[{row},{row}]}}");
        server.post_text("/services/v2/trails/a1/transactions", &body).expect(200);
    }
}

/// What the SDK makes of an event's text is what the text says, and its data the record.
fn is_the_record(text: &str, record: &Record) {
    let event: cloudevents::Event = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let json = with_decimals(text);
    let attribute = |name: &str| json.get(name).map(|value| value.as_str().unwrap().to_owned());
    assert_eq!(event.specversion().as_str(), "1.0");
    assert_eq!(Some(event.id()), attribute("id").as_deref());
    assert_eq!(Some(event.source().as_str()), attribute("source").as_deref());
    assert_eq!(Some(event.ty()), attribute("type").as_deref());
    assert_eq!(event.subject(), attribute("subject").as_deref());
    assert_eq!(event.datacontenttype(), Some("application/json"));
    assert_eq!(event.dataschema(), None);
    let time = event.time().map(|time| time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
    assert_eq!(time, attribute("time"));
    let extensions: BTreeSet<_> = event.iter_extensions().map(|(name, _)| name).collect();
    let expected = ["partitionkey", "sequence"].into_iter().filter(|name| json.get(*name).is_some());
    assert_eq!(extensions, expected.clone().collect());
    for name in expected {
        assert_eq!(event.extension(name).cloned(), attribute(name).map(ExtensionValue::String));
    }
    let Some(Data::Json(data)) = event.data() else { panic!("no JSON in {text}") };
    let is_heartbeat = record.op_type() == Some("HEARTBEAT");
    if !is_heartbeat {
        assert_eq!(difference(&with_decimals(&data.to_string()), &with_decimals(&record.text)), None, "{text}");
        // The stream's own text stands in the event as it is, every digit of it.
        assert!(text.ends_with(&format!("\"data\":{}}}", record.text)), "{text}\n{}", record.text);
    }
    let again = serde_json::to_string(&event).unwrap();
    assert_eq!(difference(&with_decimals(&again), &json), None, "{again}");
}

/// The records by their kind, table and position.
fn by_subject(records: &[Record], data: impl Fn(&Value) -> &Value) -> Vec<&Record> {
    let mut records: Vec<_> = records.iter().collect();
    let subject = |record: &&Record| ["op_type", "qual_table", "pos"].map(|name| data(&record.json)[name].to_string());
    records.sort_by_key(subject);
    records
}

#[test]
fn the_rust_sdk_reads_every_event_in_every_framing_as_the_record_that_it_is() {
    let server = mixed_server();
    put_odd_numbers(&server);
    let plain = records(&server, "plain", json!({}), None);
    let events = json!({"cloudEventsFormat": true});
    let framed = json!({"cloudEventsFormat": true, "trailcast": {"framing": "record"}});
    let sessions = [
        ("batched", records(&server, "batched", events.clone(), None)),
        ("single", records(&server, "single", framed, None)),
        ("negotiated", records(&server, "negotiated", events, Some("cloudevents.json"))),
    ];
    for (name, events) in sessions {
        let kinds: BTreeSet<_> = events.iter().map(|event| event.json["type"].as_str().unwrap()).collect();
        assert_eq!(kinds.len(), 10, "{name}: {kinds:?}");
        assert_eq!(events.len(), plain.len(), "{name}");
        // What a message announces beforehand depends on how much it holds, so like is compared with like.
        for (event, record) in
            by_subject(&events, |event| &event["data"]).into_iter().zip(by_subject(&plain, |json| json))
        {
            is_the_record(&event.text, record);
        }
        // As the batch that they may be sent in.
        let texts: Vec<_> = events.iter().map(|event| event.text.as_str()).collect();
        let batch: Vec<cloudevents::Event> = serde_json::from_str(&format!("[{}]", texts.join(","))).unwrap();
        assert_eq!(batch.len(), events.len());
    }
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
