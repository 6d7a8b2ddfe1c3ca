//! A table's schema as a frame: whole, or what has changed since the one before.
//!
//! Owns both payloads. A table that widens column by column would take room with the square of its columns if each schema were
//! written whole; the heads of segments have whole ones only, so that a change's base is never further away than that.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::frame::{self, Frame, FrameHeader, FrameKind};
use crate::record::{Column, SchemaId, TableName, TableSchema};

/// What turns one schema of a table into the next.
#[derive(Debug, Serialize, Deserialize)]
struct Change {
    table: TableName,
    /// Number of the schema before.
    from: SchemaId,
    /// How many columns there are now: what is beyond goes.
    length: usize,
    /// Columns that are new or others at their places, in the order of these.
    columns: Vec<(usize, Column)>,
}

/// The frame is no schema, or one that needs another which is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadSchema {
    /// Its payload cannot be read.
    #[error("malformed schema frame")]
    Malformed,
    /// It changes a schema that is not known.
    #[error("change of a schema that is not in force")]
    BaseUnknown,
}

/// Appends the frame of a schema; `before` is the one in force for its table.
pub(super) fn push(out: &mut Vec<u8>, before: Option<&TableSchema>, schema: &TableSchema) {
    let header = |kind| FrameHeader { schema: schema.id, ..FrameHeader::new(kind) };
    let (kind, json) = match before.and_then(|before| change(before, schema)) {
        Some(change) => (FrameKind::ShapeChange, serde_json::to_vec(&change)),
        None => (FrameKind::Shape, serde_json::to_vec(schema)),
    };
    frame::push(out, &header(kind), |out| out.extend_from_slice(&json.unwrap_or_default()));
}

/// What has changed, if saying it takes less than saying everything.
fn change(before: &TableSchema, now: &TableSchema) -> Option<Change> {
    let is_new = |at: usize| before.columns.get(at) != now.columns.get(at);
    let columns: Vec<_> = (0..now.columns.len()).filter(|at| is_new(*at)).collect();
    if columns.len() * 2 > now.columns.len() {
        return None;
    }
    let columns = columns.into_iter().map(|at| (at, now.columns[at].clone())).collect();
    Some(Change { table: now.table.clone(), from: before.id, length: now.columns.len(), columns })
}

/// The schema that a frame says; `known` gives the one of a table that has that number.
pub(super) fn read(
    frame: &Frame<'_>,
    known: impl FnOnce(&TableName, SchemaId) -> Option<Arc<TableSchema>>,
) -> Result<TableSchema, BadSchema> {
    if frame.header.kind == FrameKind::Shape {
        return serde_json::from_slice(frame.payload).map_err(|_| BadSchema::Malformed);
    }
    let change = read_change(frame)?;
    let before = known(&change.table, change.from).ok_or(BadSchema::BaseUnknown)?;
    let kept = before.columns.len().min(change.length);
    let mut columns = before.columns[..kept].to_vec();
    for (at, column) in change.columns {
        match at.cmp(&columns.len()) {
            Ordering::Less => columns[at] = column,
            Ordering::Equal => columns.push(column),
            Ordering::Greater => return Err(BadSchema::Malformed),
        }
    }
    if columns.len() != change.length {
        return Err(BadSchema::Malformed);
    }
    Ok(TableSchema { id: frame.header.schema, table: change.table, columns })
}

/// Number of the schema that a frame changes; none when it says a whole one, or nothing that can be read.
pub(super) fn base_of(frame: &Frame<'_>) -> Option<SchemaId> {
    read_change(frame).ok().map(|change| change.from)
}

fn read_change(frame: &Frame<'_>) -> Result<Change, BadSchema> {
    if frame.header.kind != FrameKind::ShapeChange {
        return Err(BadSchema::Malformed);
    }
    serde_json::from_slice(frame.payload).map_err(|_| BadSchema::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::JsonKind;

    fn schema(id: u32, names: &[u8]) -> TableSchema {
        let column = |name: &u8| Column {
            name: format!("c{name}"),
            kind: if name.is_multiple_of(2) { JsonKind::Number } else { JsonKind::Any },
            sql_type: String::new(),
            nullable: true,
            key: false,
        };
        let table = TableName::parse("shop.orders").unwrap();
        TableSchema { id: SchemaId(id), table, columns: names.iter().map(column).collect() }
    }

    proptest! {
        #[test]
        fn a_schema_reads_back_whatever_was_before_it(before: Vec<u8>, now: Vec<u8>, shared in 0_usize..20) {
            let with_shared = |rest: &[u8]| [&(0..shared as u8).collect::<Vec<_>>(), rest].concat();
            let (before, now) = (Arc::new(schema(7, &with_shared(&before))), schema(8, &with_shared(&now)));
            let mut bytes = Vec::new();
            push(&mut bytes, Some(&before), &now);
            let frame = frame::read_unchecked(&bytes).unwrap();
            let known = |_: &TableName, id| (id == before.id).then(|| before.clone());
            prop_assert_eq!(read(&frame, known), Ok(now.clone()));
            if frame.header.kind == FrameKind::ShapeChange {
                prop_assert_eq!(base_of(&frame), Some(before.id));
                prop_assert_eq!(read(&frame, |_, _| None), Err(BadSchema::BaseUnknown));
            }
        }

        #[test]
        fn no_payload_makes_it_panic(payload in "[\\[\\]{}a-z0-9:,\"]{0,60}", is_change: bool) {
            let kind = if is_change { FrameKind::ShapeChange } else { FrameKind::Shape };
            let frame = Frame { header: FrameHeader::new(kind), payload: payload.as_bytes() };
            let _ = read(&frame, |_, id| Some(Arc::new(schema(id.0, &[1, 2, 3]))));
        }
    }

    #[test]
    fn one_more_column_of_many_takes_what_it_takes_and_the_first_schema_is_whole() {
        let names: Vec<u8> = (0..200).collect();
        let (before, now) = (schema(1, &names[..199]), schema(2, &names));
        let (mut whole, mut change) = (Vec::new(), Vec::new());
        push(&mut whole, None, &now);
        push(&mut change, Some(&before), &now);
        assert!(change.len() * 40 < whole.len(), "{} and {}", change.len(), whole.len());
        assert_eq!(frame::read_unchecked(&whole).unwrap().header.kind, FrameKind::Shape);
    }
}
