//! Goal: a session says that it has caught up, and when to come back, where its stream asks for that, and nothing otherwise.
//! Method: the real server, real sockets, a real SIGTERM.

use std::time::Duration;

use serde_json::{Value, json};

use trailcast::codec::token;

use crate::support::subscriber::{Ended, Next, Record};
use crate::support::{Folder, Program, Server, Subscriber, clients};

const PATIENCE: Duration = Duration::from_secs(30);
const STREAM: &str = "/services/v2/stream";

fn insert(id: u64) -> Value {
    json!({"operations": [{"op": "INSERT", "table": "app.t", "key": ["id"], "after": {"id": id}}]})
}

fn server(stream: Value) -> Server {
    let server = Server::start();
    server.make_trail("a1");
    let mut config = json!({"source": {"trail": "a1"}});
    config.as_object_mut().unwrap().extend(stream.as_object().unwrap().clone());
    server.post(&format!("{STREAM}/s1"), &config).expect(200);
    server
}

/// Records up to and with the first of that `op_type`.
fn up_to(subscriber: &mut Subscriber, op_type: &str) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let record = subscriber.expect_record(PATIENCE);
        let is_last = record.op_type() == Some(op_type);
        records.push(record);
        if is_last {
            return records;
        }
    }
}

fn schema<'r>(records: &'r [Record], kind: &str) -> &'r Value {
    let id = format!("trailcast:schema:{kind}");
    &records.iter().find(|record| record.json["id"] == id.as_str()).unwrap().json
}

#[test]
fn a_session_says_when_it_has_everything_and_where_the_trail_ends_and_again_after_more() {
    let server = server(json!({"trailcast": {"caughtUp": true}}));
    let mut empty = server.subscribe("s1", "begin=earliest").unwrap();
    let said = up_to(&mut empty, "CAUGHT_UP").pop().unwrap();
    assert_eq!((&said.json["op_ts"], said.pos().is_some()), (&Value::Null, true), "{}", said.text);

    server.put("a1", &[insert(1), insert(2)]).expect(200);
    let again = up_to(&mut empty, "CAUGHT_UP");
    assert!(again.iter().filter(|record| record.is_dml()).count() >= 1);

    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    let records = up_to(&mut subscriber, "CAUGHT_UP");
    let rows: Vec<_> = records.iter().filter(|record| record.is_dml()).collect();
    let said = records.last().unwrap();
    assert_eq!(rows.len(), 2, "before everything was sent");
    assert!(jsonschema::draft4::is_valid(schema(&records, "caught_up"), &said.json), "{}", said.text);
    assert_eq!(said.json["op_ts"], rows[1].json["op_ts"]);
    // Going on there gives what comes after, and nothing again.
    assert!(
        token::decode(said.pos().unwrap()).unwrap().position.order()
            >= token::decode(rows[1].pos().unwrap()).unwrap().position.order()
    );
    server.put("a1", &[insert(3)]).expect(200);
    let mut resumed = server.subscribe("s1", &format!("begin={}", said.pos().unwrap())).unwrap();
    assert_eq!(resumed.expect_data(PATIENCE).json["after"]["id"], 3);
}

#[test]
fn on_a_busy_trail_it_is_not_said_with_every_transaction() {
    let server = server(json!({"trailcast": {"caughtUp": true}}));
    let mut subscriber = server.subscribe("s1", "begin=now").unwrap();
    up_to(&mut subscriber, "CAUGHT_UP");
    let begun = std::time::Instant::now();
    for id in 0..200 {
        server.put("a1", &[insert(id)]).expect(200);
    }
    let (mut rows, mut said) = (0, 0);
    while rows < 200 || said == 0 {
        let record = subscriber.expect_record(PATIENCE);
        rows += u32::from(record.is_dml());
        said += u64::from(record.op_type() == Some("CAUGHT_UP"));
    }
    assert!(said <= begun.elapsed().as_secs() + 1, "{said} times in {:?}", begun.elapsed());
}

#[test]
fn without_the_members_nothing_of_it_is_sent() {
    let mut server = server(json!({"trailcast": {"heartbeat": 1}}));
    server.put("a1", &[insert(1)]).expect(200);
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    let records = up_to(&mut subscriber, "HEARTBEAT");
    assert!(records.iter().all(|record| record.op_type() != Some("CAUGHT_UP")), "{records:?}");
    let document = server.get(&format!("{STREAM}/s1/asyncapi.json")).expect(200).text();
    assert!(document.contains("CaughtUp") && document.contains("Drain"), "members of consumer groups are sent both");
    let ended = std::thread::spawn(move || {
        loop {
            match subscriber.next(PATIENCE) {
                Next::Record(record) => assert_eq!(record.op_type(), Some("HEARTBEAT"), "{}", record.text),
                Next::Ended(Ended::Closed(code, _)) => return code,
                other => panic!("{other:?}"),
            }
        }
    });
    assert!(server.terminate().success());
    assert_eq!(ended.join().unwrap(), 1001);
}

#[test]
fn at_sigterm_each_session_is_told_when_to_come_back_and_then_closed_with_1001() {
    let members = json!({"trailcast": {"drain": true}, "cloudEventsFormat": false});
    let mut server = server(members);
    server.put("a1", &[insert(1)]).expect(200);
    let mut subscribers: Vec<_> = (0..8).map(|_| server.subscribe("s1", "begin=earliest").unwrap()).collect();
    for subscriber in &mut subscribers {
        subscriber.expect_data(PATIENCE);
    }
    let readers: Vec<_> = subscribers
        .into_iter()
        .map(|mut subscriber| {
            std::thread::spawn(move || {
                let records = up_to(&mut subscriber, "DRAIN");
                let last = records.last().unwrap();
                assert!(jsonschema::draft4::is_valid(schema(&records, "drain"), &last.json), "{}", last.text);
                assert!(last.pos().is_none(), "it may come in the place of records that were not sent");
                let Next::Ended(Ended::Closed(code, _)) = subscriber.next(PATIENCE) else { panic!("no close") };
                assert_eq!(code, 1001);
                last.json["retry_after_ms"].as_u64().unwrap()
            })
        })
        .collect();
    assert!(server.terminate().success());
    let mut waits: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    waits.sort_unstable();
    assert!(waits.iter().all(|wait| (1_000..=2_000).contains(wait)), "{waits:?}");
    assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "not spread: {waits:?}");
}

#[test]
fn the_python_client_comes_back_when_it_was_told_and_misses_nothing() {
    if clients::python().is_none() {
        return;
    }
    let mut server = server(json!({"trailcast": {"drain": true, "caughtUp": true}}));
    let folder = Folder::new("position");
    let position = folder.path().join("position.txt");
    let url = format!("{}/services/v2/stream/s1", server.url("ws"));
    let mut python = clients::python().unwrap();
    python.args(["examples/python/subscribe.py", &url, position.to_str().unwrap()]);
    let script = Program::start(python);
    let id =
        |line: &str| serde_json::from_str::<Value>(&line[line.find('{').unwrap()..]).unwrap()["after"]["id"].as_u64();
    for round in 1..=3 {
        server.put("a1", &[insert(round)]).expect(200);
        let lines = script.lines_until(PATIENCE, |line| id(line) == Some(round));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(server.terminate().success());
        server.start_again();
    }
    server.put("a1", &[insert(4)]).expect(200);
    script.lines_until(PATIENCE, |line| id(line) == Some(4));
    assert!(!script.complaints().contains("Traceback"), "{}", script.complaints());
}

#[test]
fn what_cannot_be_told_from_other_records_is_refused() {
    let server = Server::start();
    server.make_trail("a1");
    for (json, member) in [
        (json!({"operationStrings": {"INSERT": "CAUGHT_UP"}}), "trailcast.caughtUp"),
        (json!({"operationStrings": {"DDL": "DRAIN"}}), "trailcast.drain"),
        (json!({"metaFields": {"pos": "current_ts"}}), "trailcast.caughtUp"),
        (json!({"metaFields": {"opType": "retry_after_ms"}}), "trailcast.drain"),
    ] {
        let config =
            |extensions: Value| json!({"source": {"trail": "a1"}, "encoding": {"json": json}, "trailcast": extensions});
        let refused =
            server.post(&format!("{STREAM}/s1"), &config(json!({"caughtUp": true, "drain": true}))).expect(400);
        assert!(refused.titles().contains(member), "{refused}");
        server.post(&format!("{STREAM}/s1"), &config(json!({}))).expect(200);
        server.delete(&format!("{STREAM}/s1")).expect(200);
    }
}
