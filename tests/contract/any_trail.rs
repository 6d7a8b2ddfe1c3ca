//! Random transactions over a handful of tables whose shapes change, with messages between, written to a real trail on disk.

use std::sync::Arc;

use proptest::prelude::*;

use trailcast::clock::{HandClock, SharedClock};
use trailcast::codec::image::ImageWriter;
use trailcast::codec::json_text::quoted;
use trailcast::record::{
    Column, JsonKind, Message, Operation, SourcePosition, TableName, Timestamp, TrailName, TransactionHead,
};
use trailcast::trail::local::disk::SystemDisk;
use trailcast::trail::{Row, Trail, TrailOptions, Writer};

/// Names that meet metadata fields, static fields and flattened names, and some that need escaping.
const COLUMNS: [&str; 18] = [
    "id",
    "name",
    "pos",
    "op_type",
    "_pos",
    "unchanged",
    "truncated",
    "ddl",
    "shop",
    "a.b",
    "old.id",
    "q\"uote",
    "naïve",
    "sp ace",
    "\u{2028}",
    "after",
    "_op_type",
    "kind",
];

fn tables() -> Vec<TableName> {
    let parts: [&[&str]; 6] =
        [&["t1"], &["shop", "t2"], &["db", "shop", "t3"], &["sp ace", "ü.x"], &["DDL"], &["a:b", "\"q\"\u{2029}"]];
    parts.iter().map(|parts| TableName::from_parts(parts).unwrap()).collect()
}

/// What one cell says: a tag (absent, null, unchanged, else a value) and the value.
type AnyCell = (u8, String);

#[derive(Debug, Clone)]
pub enum AnyOperation {
    Row {
        table: usize,
        operation: Operation,
        before: Option<Vec<AnyCell>>,
        after: Option<Vec<AnyCell>>,
        token: bool,
    },
    /// The table's columns from now on: names and kinds.
    Reshape {
        table: usize,
        columns: Vec<(usize, JsonKind, bool)>,
    },
    Ddl {
        table: usize,
        text: String,
    },
    Message {
        key: Option<Vec<u8>>,
        value: Vec<u8>,
    },
}

pub type AnyTransactions = Vec<Vec<AnyOperation>>;

fn any_text() -> BoxedStrategy<String> {
    prop_oneof![
        12 => "(\\PC|[\"\\\\\n\u{2028}😀]){0,40}",
        1 => (100..200_000_usize).prop_map(|length| "é\"".repeat(length / 2)),
    ]
    .boxed()
}

fn any_cell() -> BoxedStrategy<AnyCell> {
    (0..8_u8, any_text()).boxed()
}

/// JSON, text or neither.
fn any_bytes() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        any_text().prop_map(String::into_bytes),
        (0..7_usize, any_text()).prop_map(|(kind, text)| {
            use JsonKind::{Any, Array, Boolean, Float, Number, Object, String};
            value_of([String, Number, Float, Boolean, Object, Array, Any][kind], &text).into_bytes()
        }),
        proptest::collection::vec(any::<u8>(), 0..40),
    ]
    .boxed()
}

/// The JSON text of a value of that kind, made of any text.
fn value_of(kind: JsonKind, text: &str) -> String {
    let number = text.len() + 1;
    match kind {
        JsonKind::String => quoted(text),
        JsonKind::Number => format!("{number}00000000000000000000.10"),
        JsonKind::Float if number.is_multiple_of(3) => "\"-Infinity\"".to_owned(),
        JsonKind::Float => format!("{number}.5"),
        JsonKind::Boolean => number.is_multiple_of(2).to_string(),
        JsonKind::Object => format!("{{\"a\":[1.10,null],\"b\":{}}}", quoted(text)),
        JsonKind::Array => format!("[1,{},{{\"x\":3}}]", quoted(text)),
        JsonKind::Any => [value_of(JsonKind::Array, text), number.to_string(), quoted(text)][number % 3].clone(),
    }
}

fn any_operation() -> BoxedStrategy<AnyOperation> {
    use JsonKind::{Any, Array, Boolean, Float, Number, Object, String};
    let kinds = prop::sample::select(vec![String, Number, Float, Boolean, Object, Array, Any]);
    let columns = prop::sample::subsequence((0..COLUMNS.len()).collect::<Vec<_>>(), 0..6).prop_flat_map(move |names| {
        names.into_iter().map(|name| (Just(name), kinds.clone(), any::<bool>())).collect::<Vec<_>>()
    });
    let image = || proptest::option::weighted(0.7, proptest::collection::vec(any_cell(), 6));
    let operations =
        vec![Operation::Insert, Operation::Update, Operation::Delete, Operation::Upsert, Operation::Truncate];
    prop_oneof![
        12 => (0..6_usize, prop::sample::select(operations), image(), image(), any::<bool>()).prop_map(
            |(table, operation, before, after, token)| {
                let rowless = operation == Operation::Truncate;
                let (before, after) = if rowless { (None, None) } else { (before, after) };
                AnyOperation::Row { table, operation, before, after, token }
            }
        ),
        2 => (0..6_usize, columns).prop_map(|(table, columns)| AnyOperation::Reshape { table, columns }),
        1 => (0..6_usize, any_text()).prop_map(|(table, text)| AnyOperation::Ddl { table, text }),
        2 => (proptest::option::of(any_bytes()), any_bytes()).prop_map(|(key, value)| AnyOperation::Message { key, value }),
    ]
    .boxed()
}

/// Transactions, some of many records.
pub fn any_transactions() -> impl Strategy<Value = AnyTransactions> {
    let transaction = prop_oneof![
        6 => proptest::collection::vec(any_operation(), 1..5),
        1 => proptest::collection::vec(any_operation(), 5..30),
    ];
    proptest::collection::vec(transaction, 0..6)
}

/// The clock of a trail and its sessions: it stands still.
pub fn clock() -> SharedClock {
    Arc::new(HandClock::at(Timestamp::parse("2026-07-13T04:00:00Z").unwrap()))
}

struct Table {
    name: TableName,
    columns: Vec<Column>,
}

fn column(name: usize, kind: JsonKind, key: bool) -> Column {
    Column { name: COLUMNS[name].to_owned(), kind, sql_type: String::new(), nullable: !key, key }
}

fn image(cells: &[AnyCell], columns: &[Column]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ImageWriter::new(&mut bytes);
    for (column, (tag, text)) in columns.iter().zip(cells) {
        match tag {
            0 => writer.absent(),
            1 => writer.null(),
            2 => writer.unchanged(),
            _ => writer.json(value_of(column.kind, text).as_bytes()),
        }
    }
    bytes
}

/// Writes the transactions to a new trail in `folder`; the shapes that a transaction changes, it changes before it.
pub async fn write(folder: &std::path::Path, transactions: &AnyTransactions) -> Trail {
    let name = TrailName::new("t1").unwrap();
    let options = TrailOptions { segment_bytes: 1 << 20, ..TrailOptions::default() };
    let trail = Trail::create(folder, name, Writer::Puts, &options, Arc::new(SystemDisk), clock()).unwrap();
    let mut appender = trail.appender().unwrap();
    let first = vec![column(0, JsonKind::Number, true), column(1, JsonKind::String, false)];
    let mut tables: Vec<_> = tables().into_iter().map(|name| Table { name, columns: first.clone() }).collect();
    for (number, transaction) in transactions.iter().enumerate() {
        let commit_ts = Timestamp::from_micros(1_783_915_200_000_000 + number as i64 * 1_000_000);
        let head = TransactionHead { xid: format!("x\"{number}"), commit_ts, source: SourcePosition::default() };
        appender.begin(&head).unwrap();
        for operation in transaction {
            match operation {
                AnyOperation::Reshape { table, columns } => {
                    tables[*table].columns =
                        columns.iter().map(|(name, kind, key)| column(*name, *kind, *key)).collect();
                }
                AnyOperation::Ddl { table, text } => {
                    appender.ddl(&tables[*table].name, text).unwrap();
                }
                AnyOperation::Message { key, value } => {
                    appender.message(0, &Message { key: key.as_deref(), headers: Vec::new(), value }).unwrap();
                }
                AnyOperation::Row { table, operation, before, after, token } => {
                    let table = &tables[*table];
                    let schema = appender.schema(&table.name, &table.columns).unwrap();
                    let before = before.as_ref().map(|cells| image(cells, &table.columns));
                    let after = after.as_ref().map(|cells| image(cells, &table.columns));
                    let tokens = token.then_some(r#"{"user":"ann","e\"x":"\u2028"}"#);
                    let row = Row { operation: *operation, before: before.as_deref(), after: after.as_deref(), tokens };
                    appender.row(&schema, row).unwrap();
                }
            }
        }
        // A transaction that only changed shapes still needs a record, as every transaction of a source has one.
        if transaction.iter().all(|operation| matches!(operation, AnyOperation::Reshape { .. })) {
            appender.ddl(&tables[0].name, "alter").unwrap();
        }
        appender.commit().unwrap();
    }
    appender.close().await.unwrap();
    trail
}
