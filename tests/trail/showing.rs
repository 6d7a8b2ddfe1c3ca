//! Goal: a trail of messages is shown truly everywhere that a trail is shown: as rows of a table of its own over WebSocket, with
//! that table's metadata, schema and document; whole in `trail dump`, counted in `trail verify`. What else the format has since
//! version 3 is shown there too. Method: trails made by the library, as nothing puts messages over the network yet; the real
//! server and tools on them.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Folder, Server};
use trailcast::clock::SystemClock;
use trailcast::codec::image::ImageWriter;
use trailcast::record::{
    Column, JsonKind, LoadLeft, LoadProgress, Message, MessageHeader, Operation, PreparedTransaction, ResourceName,
    SourcePosition, TableName, Timestamp, TrailName, TransactionHead,
};
use trailcast::trail::local::disk::SystemDisk;
use trailcast::trail::{Appender, RowParts, SourceMark, Trail, TrailOptions, Writer};

const PATIENCE: Duration = Duration::from_secs(30);

fn make(data: &Path, name: &str, writer: Writer, fill: impl AsyncFn(&mut Appender)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (disk, clock) = (Arc::new(SystemDisk), Arc::new(SystemClock));
        let (folder, name) = (data.join("trails").join(name), TrailName::new(name).unwrap());
        std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
        let trail = Trail::create(&folder, name, writer, &TrailOptions::default(), disk, clock).unwrap();
        let mut appender = trail.appender().unwrap();
        fill(&mut appender).await;
        appender.close().await.unwrap();
    });
}

fn head(number: i64) -> TransactionHead {
    let source = SourcePosition(format!("0/{number}"));
    TransactionHead { xid: format!("x{number}"), commit_ts: Timestamp::from_micros(number * 1_000_000), source }
}

/// Two transactions of two messages each.
fn make_topic(data: &Path) {
    make(data, "orders", Writer::Topic, async |appender| {
        let header = MessageHeader { name: "origin", value: b"shop" };
        let binary = MessageHeader { name: "raw", value: b"\xFF" };
        for (number, messages) in [
            (1, [(Some(&b"k1"[..]), &b"{\"id\": 1.10}"[..]), (None, b"plain \"text\"")]),
            (2, [(Some(b"\xFF\xFE"), b"\xFF"), (Some(b"k2"), b"null")]),
        ] {
            appender.begin(&head(number)).unwrap();
            for (key, value) in messages {
                let headers = if number == 1 { vec![header, binary] } else { Vec::new() };
                appender.message(0, &Message { key, headers, value }).unwrap();
            }
            appender.commit().unwrap();
        }
    });
}

/// The rows that the messages are shown as.
fn rows() -> [Value; 4] {
    [
        json!({"key": "k1", "value": {"id": serde_json::from_str::<Value>("1.10").unwrap()}, "encoding": "json", "partition": 0}),
        json!({"key": null, "value": "plain \"text\"", "encoding": "text", "partition": 0}),
        json!({"key": "//4=", "value": "/w==", "encoding": "base64", "partition": 0}),
        json!({"key": "k2", "value": null, "encoding": "json", "partition": 0}),
    ]
}

/// A loaded row with its progress, a mark, prepared transactions, a change.
fn make_loaded(data: &Path) {
    let extract = Writer::Extract(ResourceName::new("e1").unwrap());
    make(data, "loaded", extract, async |appender| {
        let table = TableName::parse("shop.items").unwrap();
        let kind = JsonKind::Number;
        let column = Column { name: "id".into(), kind, sql_type: String::new(), nullable: false, key: true };
        let row = |appender: &mut Appender, loaded| {
            let schema = appender.schema(&table, std::slice::from_ref(&column)).unwrap();
            let parts = RowParts { loaded, ..RowParts::of(Operation::Insert, false, true) };
            let write = |out: &mut Vec<u8>| {
                ImageWriter::new(out).json(b"7");
                Ok::<_, ()>(())
            };
            appender.write_row(&schema, parts, write).unwrap().unwrap();
        };
        let progress = |left| LoadProgress { table: table.clone(), left, rows: 1, at: SourcePosition("0/1".into()) };
        appender.identify("postgresql/1/1/db/slot").unwrap();
        appender.begin(&head(1)).unwrap();
        row(appender, true);
        appender.note_load(Some(&progress(LoadLeft::Behind("[7]".into())))).unwrap();
        appender.commit().unwrap();
        appender.note_load(Some(&progress(LoadLeft::Nothing))).unwrap();
        appender.note_load(None).unwrap();
        let (xid, commit_ts) = ("9".to_owned(), Timestamp::from_micros(0));
        let mark = SourceMark { source: SourcePosition("0/2".into()), xid, commit_ts, hash: 7 };
        appender.progress_after(&mark, &SourcePosition("0/3".into())).unwrap();
        let prepared = PreparedTransaction {
            xid: "g1".into(),
            begins_at: SourcePosition("0/2".into()),
            prepared_at: SourcePosition("0/4".into()),
            prepared_ts: Timestamp::from_micros(0),
            hash: 8,
        };
        appender.note_prepared(&[prepared]).unwrap();
        appender.begin(&head(5)).unwrap();
        row(appender, false);
        appender.commit_with_hash(1).unwrap();
        appender.note_prepared(&[]).unwrap();
    });
}

fn tool(data: &Path, arguments: &[&str]) -> Output {
    Command::new(Server::program()).arg("trail").args(arguments).arg("--data-dir").arg(data).output().unwrap()
}

fn lines(data: &Path, arguments: &[&str]) -> Vec<String> {
    let output = tool(data, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn objects(data: &Path, arguments: &[&str]) -> Vec<Value> {
    lines(data, arguments).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn messages_are_rows_of_a_table_of_their_own_on_a_stream() {
    let data = Folder::new("data");
    make_topic(data.path());
    let server = Server::start_on(data, &[]);
    let all = json!({"source": {"trail": "orders"}, "encoding": {"json": {"metaFields": {"primaryKeys": true, "transInd": true}}}});
    let rules = json!([
        {"action": "exclude", "filter": {"columnValues": [{"column": "encoding", "operator": "EQ", "value": "text"}]}},
        {"action": "include", "filter": {"objectNames": ["messages.*"], "operationTypes": ["INSERT"]}},
    ]);
    let only = json!({"source": {"trail": "orders"}, "rules": rules, "cloudEventsFormat": true});
    for (stream, config) in [("all", &all), ("only", &only)] {
        server.post(&format!("/services/v2/stream/{stream}"), config).expect(200);
    }

    let mut subscriber = server.subscribe("all", "begin=earliest").unwrap();
    let mut kinds = Vec::new();
    let mut data = Vec::new();
    while data.len() < 4 {
        let record = subscriber.expect_record(PATIENCE);
        match record.op_type() {
            Some("INSERT") => data.push(record.json),
            kind => kinds.push(kind.map_or_else(|| record.json["id"].clone(), Value::from)),
        }
    }
    assert!(kinds.contains(&json!("OBJECT_METADATA")) && kinds.contains(&json!("messages.orders")), "{kinds:?}");
    for (record, row) in data.iter().zip(rows()) {
        assert_eq!((&record["qual_table"], &record["after"]), (&json!("messages.orders"), &row));
        assert_eq!(record["primary_keys"], json!([]));
    }
    let trans_ind: Vec<_> = data.iter().map(|record| record["trans_ind"].as_str().unwrap()).collect();
    assert_eq!(trans_ind, ["BEGIN", "END", "BEGIN", "END"]);
    // Resuming after any of them gives the next.
    for (at, record) in data.iter().enumerate().take(3) {
        let begin = format!("begin={}", record["pos"].as_str().unwrap());
        let next = server.subscribe("all", &begin).unwrap().expect_data(PATIENCE);
        assert_eq!(next.json["pos"], data[at + 1]["pos"]);
    }

    let mut events = server.subscribe("only", "begin=earliest").unwrap();
    let mut keys = Vec::new();
    while keys.len() < 3 {
        let event = events.expect_record(PATIENCE).json;
        if event["type"] == "io.trailcast.dml.insert" {
            assert_eq!(event["subject"], "messages.orders");
            keys.push(event["partitionkey"].clone());
        }
    }
    assert_eq!(keys, ["k1", "//4=", "k2"]);

    let document = server.get("/services/v2/stream/all/yaml").expect(200).text();
    assert!(document.contains("messages.orders") && document.contains("encoding"), "{document}");
    let described = server.get("/services/v2/trails/orders").expect(200).response();
    assert_eq!(described["writer"], "topic");
    let row = json!({"operations": [{"op": "INSERT", "table": "t", "key": ["id"], "after": {"id": 1}}]});
    assert_eq!(server.put("orders", &[row]).status, 409);
}

#[test]
fn dump_and_verify_show_messages() {
    let data = Folder::new("data");
    make_topic(data.path());
    let dumped = objects(data.path(), &["dump", "orders", "--json"]);
    assert_eq!(dumped.len(), 4);
    for (line, row) in dumped.iter().zip(rows()) {
        assert_eq!((&line["op_type"], &line["qual_table"]), (&json!("MESSAGE"), &json!("messages.orders")));
        assert_eq!(line["message"], row);
    }
    let headers = json!([
        {"name": "origin", "value": "shop", "encoding": "text"},
        {"name": "raw", "value": "/w==", "encoding": "base64"},
    ]);
    assert_eq!((&dumped[0]["headers"], &dumped[3]["headers"]), (&headers, &Value::Null));
    let text = lines(data.path(), &["dump", "orders"]);
    assert!(
        text[0].contains("MESSAGE") && text[0].contains(r#""message":{"key":"k1","value":{"id":1.10}"#),
        "{text:?}"
    );
    let verified = objects(data.path(), &["verify", "orders", "--json"]);
    assert_eq!((&verified[0]["format"], &verified[0]["messages"]), (&json!(3), &json!(4)));
    assert!(lines(data.path(), &["verify", "orders"])[0].contains("good, 4 messages"));
    assert_eq!(objects(data.path(), &["info", "orders", "--json"])[0]["writer"], "topic");
}

#[test]
fn dump_and_verify_show_loads_marks_and_prepared_transactions() {
    let data = Folder::new("data");
    make_loaded(data.path());
    // Unless it is asked for there are records alone.
    let records = objects(data.path(), &["dump", "loaded", "--json"]);
    let loaded: Vec<_> = records.iter().map(|line| line["loaded"].clone()).collect();
    assert_eq!(loaded, [json!(true), Value::Null]);

    let all = objects(data.path(), &["dump", "loaded", "--json", "--notes"]);
    let kinds: Vec<_> = all.iter().map(|line| line["op_type"].as_str().unwrap()).collect();
    let expected = [
        "SOURCE",
        "INSERT",
        "LOAD_PROGRESS",
        "LOAD_PROGRESS",
        "LOAD_ENDED",
        "SOURCE_MARK",
        "SOURCE",
        "PREPARED",
        "INSERT",
        "PREPARED",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(
        all[2],
        json!({"op_type": "LOAD_PROGRESS", "qual_table": "shop.items", "rows": 1, "behind": "[7]", "at": "0/1"})
    );
    assert_eq!((&all[3]["behind"], &all[5]["hash"], &all[6]["at"]), (&Value::Null, &json!(7), &json!("0/3")));
    assert_eq!(all[7]["transactions"][0]["xid"], "g1");
    assert_eq!(all[9]["transactions"], json!([]));

    let words = lines(data.path(), &["dump", "loaded", "--notes"]);
    for (at, said) in [
        (0, "- SOURCE postgresql/1/1/db/slot"),
        (2, "- LOAD_PROGRESS shop.items: 1 rows as of 0/1, the rows behind [7] are left"),
        (5, "- SOURCE_MARK transaction 9"),
        (7, "- PREPARED g1 from 0/2 on"),
        (9, "- PREPARED none"),
    ] {
        assert!(words[at].starts_with(said), "{}", words[at]);
    }
    let verified = &objects(data.path(), &["verify", "loaded", "--json"])[0];
    for (member, count) in
        [("loadedRows", 1), ("sourceMarks", 1), ("prepared", 2), ("loadProgress", 3), ("gaps", 0), ("messages", 0)]
    {
        assert_eq!(verified[member], count, "{verified}");
    }
}
