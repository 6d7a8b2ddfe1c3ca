//! Example records, written by the encoder itself under the stream's own options, so that they are always valid.

use serde_json::Value;

use super::DocumentInput;
use crate::codec::cloudevents::{self, Event, EventContext, EventKind};
use crate::codec::image::{Image, ImageWriter};
use crate::codec::json::{DdlRecord, DmlRecord, EncodeError, PreparedTable, RecordContext, TransInd, push_ddl};
use crate::codec::token::{self, ContractHash};
use crate::record::{
    Column, Epoch, JsonKind, Operation, Position, SchemaId, SourcePosition, TableName, TableSchema, Timestamp,
    TransactionHead,
};

/// 2026-07-13 04:00:00 UTC, in microseconds.
const COMMITTED: Timestamp = Timestamp::from_micros(1_783_915_200_000_000);

/// An insert and a statement, each with the name of its message where messages are single records. What the stream's
/// limits forbid is left out.
pub(super) fn records(input: &DocumentInput<'_>) -> Vec<(&'static str, Value)> {
    let Ok(table) = TableName::parse("shop.orders") else { return Vec::new() };
    let head = TransactionHead { xid: "771".into(), commit_ts: COMMITTED, source: SourcePosition::default() };
    let context = |record| RecordContext {
        head: &head,
        position: Position { epoch: Epoch(1), commit: 7, record, xid_hash: head.xid_hash() },
        contract: ContractHash(1),
        trans_ind: if record == 0 { TransInd::Begin } else { TransInd::End },
        tokens: None,
        now: COMMITTED,
    };
    let schema = schema(table.clone());
    let mut image = Vec::new();
    let mut cells = ImageWriter::new(&mut image);
    cells.json(b"1");
    cells.json(b"\"new\"");
    let after = Image::split(&image).ok().map(|(image, _)| image);
    let insert = DmlRecord { context: context(0), operation: Operation::Insert, before: None, after };
    let statement =
        DdlRecord { context: context(1), table: Some(&table), text: "ALTER TABLE shop.orders ADD note text" };
    let key = cloudevents::partition_key(&schema, after);
    let insert = wrapped(input, Operation::Insert, &insert.context, Some(&key), |out| {
        PreparedTable::new(&schema, input.options).encode(&insert, out)
    });
    let statement =
        wrapped(input, Operation::Ddl, &statement.context, None, |out| push_ddl(&statement, input.options, out));
    let named = [("DmlRecordInsert", insert), ("DdlRecord", statement)];
    named.into_iter().filter_map(|(name, record)| Some((name, record?))).collect()
}

fn schema(table: TableName) -> TableSchema {
    let column =
        |name: &str, kind, key: bool| Column { name: name.into(), kind, sql_type: String::new(), nullable: !key, key };
    let columns = vec![column("id", JsonKind::Number, true), column("status", JsonKind::String, false)];
    TableSchema { id: SchemaId(1), table, columns }
}

fn wrapped(
    input: &DocumentInput<'_>,
    operation: Operation,
    context: &RecordContext<'_>,
    key: Option<&str>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Option<Value> {
    let mut out = Vec::new();
    let pos = token::encode(&context.position, context.contract);
    if let Some(prefix) = input.event_type_prefix {
        let event = Event {
            kind: EventKind::Record(operation),
            id: pos.as_str(),
            time: Some(COMMITTED),
            subject: Some("shop.orders"),
            partition_key: key,
            position: Some(context.position),
        };
        EventContext::new(input.stream, prefix).open(&mut out, &event);
    }
    write(&mut out).ok()?;
    if input.event_type_prefix.is_some() {
        cloudevents::close(&mut out);
    }
    serde_json::from_slice(&out).ok()
}
