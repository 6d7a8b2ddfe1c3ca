//! The rows that every benchmark uses: about 200 bytes each as the default encoding sends them.

#![allow(dead_code, reason = "each benchmark uses its part")]

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use trailcast::catalog::stream::StreamConfig;
use trailcast::clock::SystemClock;
use trailcast::codec::image::ImageWriter;
use trailcast::codec::json::{SourceInfo, StreamMetadata};
use trailcast::delivery::contract::Contract;
use trailcast::delivery::framing::Framing;
use trailcast::delivery::negotiated::{Envelope, Negotiated};
use trailcast::delivery::rules::Rules;
use trailcast::record::{
    Column, Epoch, JsonKind, Operation, Position, ResourceName, SchemaId, SourcePosition, TableName, TableSchema,
    Timestamp, TrailName, TransactionHead,
};
use trailcast::trail::local::disk::SystemDisk;
use trailcast::trail::{Begin, Entry, Fill, Location, Row, Trail, TrailOptions, Writer};

/// Rows in each transaction.
pub const ROWS_A_TRANSACTION: u64 = 100;

/// A commit time, the same in every run.
pub fn moment() -> Timestamp {
    Timestamp::parse("2026-07-13T04:00:00.123456Z").unwrap()
}

/// `app.orders` with a key, a number and two texts.
pub fn columns() -> Vec<Column> {
    let column = |name: &str, kind, sql_type: &str, key: bool| Column {
        name: name.into(),
        kind,
        sql_type: sql_type.into(),
        nullable: !key,
        key,
    };
    vec![
        column("id", JsonKind::Number, "bigint", true),
        column("total", JsonKind::Number, "numeric(12,2)", false),
        column("status", JsonKind::String, "text", false),
        column("note", JsonKind::String, "text", false),
    ]
}

pub fn table() -> TableName {
    TableName::parse("app.orders").unwrap()
}

pub fn schema() -> Arc<TableSchema> {
    Arc::new(TableSchema { id: SchemaId(1), table: table(), columns: columns() })
}

/// A row's image.
pub fn image(id: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ImageWriter::new(&mut bytes);
    writer.json(id.to_string().as_bytes());
    writer.json(format!("{}.50", id % 1000).as_bytes());
    writer.json(if id.is_multiple_of(10) { b"\"new\"" } else { b"\"shipped\"" });
    writer.json(b"\"lorem ipsum\"");
    bytes
}

pub fn head(number: u64) -> TransactionHead {
    TransactionHead { xid: number.to_string(), commit_ts: moment(), source: SourcePosition(format!("0/{number:X}")) }
}

pub fn position(commit: u64) -> Position {
    Position { epoch: Epoch(7), commit, record: 3, xid_hash: 99 }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A trail of puts with so many transactions of inserts.
pub async fn trail(folder: &Path, transactions: u64) -> Trail {
    let (disk, clock) = (Arc::new(SystemDisk), Arc::new(SystemClock));
    let name = TrailName::new("a1").unwrap();
    let trail = Trail::create(folder, name, Writer::Puts, &TrailOptions::default(), disk, clock).unwrap();
    let mut appender = trail.appender().unwrap();
    for number in 1..=transactions {
        append(&mut appender, number);
        if appender.pending_bytes() >= 256 << 10 {
            appender.hand_over().await.unwrap();
        }
    }
    appender.close().await.unwrap();
    trail
}

/// Appends one transaction.
pub fn append(appender: &mut trailcast::trail::Appender, number: u64) -> Position {
    let schema = appender.schema(&table(), &columns()).unwrap();
    appender.begin(&head(number)).unwrap();
    for row in 0..ROWS_A_TRANSACTION {
        let after = image(number * ROWS_A_TRANSACTION + row);
        let row = Row { operation: Operation::Insert, before: None, after: Some(&after), tokens: None };
        appender.row(&schema, row).unwrap();
    }
    appender.commit().unwrap()
}

/// Reads from a place to the end; says how many records `take` was shown.
pub async fn read(trail: &Trail, begin: Begin, mut take: impl FnMut(&Entry<'_>)) -> u64 {
    let mut reader = trail.read(begin).await.unwrap();
    let mut records = 0;
    loop {
        // As delivery does it.
        loop {
            let rows: Result<(), Infallible> = reader.rows_before(Location::MAX, |row| {
                records += 1;
                take(&Entry::Record(*row));
                Ok(())
            });
            rows.unwrap();
            let Some(entry) = reader.next().unwrap() else { break };
            records += u64::from(matches!(entry, Entry::Record(_)));
            take(&entry);
        }
        if reader.fill().await.unwrap() == Fill::AtMark {
            return records;
        }
    }
}

/// What a connection that is sent records of these partitions negotiated.
pub fn negotiated(partitions: trailcast::delivery::negotiated::Partitions) -> Negotiated {
    Negotiated { partitions, ..Negotiated::new(Framing::WebSocket, Envelope::Records) }
}

/// The contract of a stream with these members beside its trail.
pub fn contract(members: serde_json::Value) -> Arc<Contract> {
    let mut given = serde_json::json!({"source": {"trail": "a1"}});
    given.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let config = StreamConfig::from_value(given).unwrap();
    let name = ResourceName::new("s1").unwrap();
    let rules = Rules::compile(&config).unwrap();
    let negotiated = Negotiated::new(Framing::WebSocket, Envelope::configured(&config));
    Arc::new(Contract::new(&name, Epoch(7), &config, rules, metadata(), negotiated))
}

fn metadata() -> StreamMetadata {
    let source = SourceInfo {
        file: "a1".into(),
        uri: "http://localhost".into(),
        uri_history: Vec::new(),
        creation_time: "2026-07-13T04:00:00Z".into(),
        compatibility: "1".into(),
    };
    StreamMetadata { database: Default::default(), machine: Default::default(), source }
}

/// Every way of writing records that is measured: its name and the stream's members.
pub fn encodings() -> Vec<(&'static str, serde_json::Value)> {
    use serde_json::json;
    vec![
        ("op", json!({})),
        ("row", json!({"encoding": {"json": {"model": "row"}}})),
        ("flattened", json!({"encoding": {"json": {"flatten": true}}})),
        (
            "renamed",
            json!({"encoding": {"json": {"metaFields": {"pos": "p", "opType": "o", "opTs": "t"}, "beforeImageName": "b",
                   "afterImageName": "a", "operationStrings": {"INSERT": "I"}}}}),
        ),
        (
            "all metadata",
            json!({"encoding": {"json": {"metaFields": {"csn": true, "xid": true, "opSeqno": true, "transInd": true,
                   "primaryKeys": true, "opTsMicroSecs": true, "currentTs": true, "tokens": true},
                   "staticFields": {"region": "eu"}}}}),
        ),
        (
            "strings",
            json!({"encoding": {"json": {"treatAllColumnsAsStrings": true}}, "trailcast": {"decimals": "string"}}),
        ),
        ("CloudEvents", json!({"cloudEventsFormat": true})),
    ]
}
