//! A captured table as the stream last described it, and its rows as row images.
//!
//! Owns the join of a `Relation` message with what else is known of its table, and the writing of images. Leaves asking to
//! `table_facts` and numbering schemas to the trail.

use std::sync::Arc;

use super::column_types::ColumnType;
use super::column_writer::ColumnWriter;
use super::error::PostgresError;
use super::masked_table::{self, MaskedTable};
use super::pgoutput::{OldTuple, RelationMessage, Tuple, TupleValue};
use super::table_facts::Facts;
use super::value::ValueKind;
use crate::capture::error::{CaptureError, Fault};
use crate::capture::mask::Mask;
use crate::capture::value_rules::ValueRules;
use crate::catalog::extract::JsonNull;
use crate::codec::byte_text::{self, Charset};
use crate::codec::frame::PAYLOAD_BYTES_MAX;
use crate::codec::image::ImageWriter;
use crate::limits;
use crate::record::{Column, JsonKind, TableName, TableSchema};
use crate::trail::AppendError;

/// What a column's type is called when it was gone before anybody could ask what it is.
const UNKNOWN_TYPE: &str = "unknown";
/// The same where the trail knows that the column held arrays.
const UNKNOWN_ARRAY: &str = "unknown[]";
/// The type of a column whose values a mask made texts of.
const MASKED_TYPE: &str = "text";

/// A captured table.
#[derive(Debug)]
pub(super) struct Relation {
    pub(super) schema: Arc<TableSchema>,
    /// What becomes of each column that is sent; of those that a mask leaves out the schema knows nothing.
    writers: Vec<ColumnWriter>,
    charset: Charset,
    /// What is to be remembered of its masked columns once it holds for good.
    pub(super) masked: Option<MaskedTable>,
}

/// A table's columns as the message, the catalogue, the trail and the extract's configuration together know them.
#[derive(Debug)]
pub(super) struct Described {
    /// Those of the schema.
    pub(super) columns: Vec<Column>,
    /// One for each column that is sent.
    pub(super) writers: Vec<ColumnWriter>,
    /// What to remember of the table, if masks hold for it.
    pub(super) masked: Option<MaskedTable>,
}

impl Described {
    /// The columns of which nobody knows how their values become JSON.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &str> {
        let is_unknown = |column: &&Column| [UNKNOWN_TYPE, UNKNOWN_ARRAY].contains(&column.sql_type.as_str());
        self.columns.iter().filter(is_unknown).map(|column| column.name.as_str())
    }
}

/// A row held NULL where the catalogue of now allows none: the schema must say nullable. The column's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Widened(pub(super) usize);

/// Why a row was not written, or not to its end.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// The schema has to be widened first; then it can be.
    Widened(Widened),
    /// It never can be.
    Refused(Fault),
}

impl From<Fault> for Unwritten {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault)
    }
}

/// The table's name as the trail has it.
pub(super) fn table_name(message: &RelationMessage<'_>) -> Result<TableName, Fault> {
    TableName::from_parts(&[&*message.schema, &*message.table])
        .map_err(|error| CaptureError::Malformed(error.to_string()).into())
}

/// The columns of a schema: names and types as the stream says, nullability as the catalogue adds; `known` is the trail's
/// schema so far, for what is gone from the catalogue. `rules` say what becomes of values, and `before` what is remembered of the
/// table; one that might show what a mask hides is refused.
pub(super) fn describe(
    message: &RelationMessage<'_>,
    facts: &Facts,
    known: Option<&TableSchema>,
    rules: &ValueRules,
    before: Option<&MaskedTable>,
) -> Result<Described, Fault> {
    let masked = MaskedTable::judge(message, &facts.table, &rules.masks, before)?;
    let names = masked_table::names_of(message, &facts.table);
    let keys = keys(message, facts, known);
    let known = |name: &str| known.and_then(|schema| schema.columns.iter().find(|column| column.name == name));
    let mut described = Described { columns: Vec::new(), writers: Vec::new(), masked };
    for (sent, of) in message.columns.iter().zip(&facts.types) {
        let (mut kind, sql_type) = kind_and_name(of, known(&sent.name));
        let is_text_of_json = rules.json_null == JsonNull::Text && kind == ValueKind::Json;
        if rules.json_null == JsonNull::Text {
            kind = kind.with_json_as_text();
        }
        let mut column = Column {
            name: sent.name.clone().into_owned(),
            kind: kind.json_kind(),
            sql_type,
            nullable: match facts.table.columns.get(&*sent.name) {
                Some((type_id, nullable)) if *type_id == sent.type_id => *nullable,
                _ => true,
            },
            key: keys.contains(&&*sent.name),
        };
        let mask = rules.masks.of(&names, &sent.name).cloned();
        if column.key && mask.as_ref().is_some_and(|mask| !mask.tells_apart()) {
            let table = format!("{}.{}", message.schema, message.table);
            return Err(PostgresError::MaskedKey { table, column: column.name }.into());
        }
        let is_left_out = matches!(mask, Some(Mask::LeftOut));
        describe_masked(&mut column, mask.as_ref());
        described.writers.push(ColumnWriter { kind, mask, is_text_of_json, place: described.columns.len() });
        if !is_left_out {
            described.columns.push(column);
        }
    }
    Ok(described)
}

/// What the schema says of a column that is masked.
fn describe_masked(column: &mut Column, mask: Option<&Mask>) {
    match mask {
        None | Some(Mask::LeftOut) => {}
        // Of its own type still, like any column that happens to be empty.
        Some(Mask::Null) => column.nullable = true,
        Some(mask @ (Mask::Text(_) | Mask::Hash(_))) => {
            column.kind = JsonKind::String;
            column.sql_type = MASKED_TYPE.into();
            column.nullable &= matches!(mask, Mask::Hash(_));
        }
    }
}

/// The key's columns: those that a before image holds, so that whoever looks for a row by its key finds what was changed.
/// Where images hold all columns, or there are none, it is the primary key.
fn keys<'a>(message: &'a RelationMessage<'_>, facts: &'a Facts, known: Option<&'a TableSchema>) -> Vec<&'a str> {
    let flagged = message.columns.iter().filter(|column| column.identity).map(|column| &*column.name);
    // Under REPLICA IDENTITY FULL every column is flagged.
    if matches!(message.replica_identity, b'd' | b'i') && flagged.clone().next().is_some() {
        return flagged.collect();
    }
    let of_trail = || known.into_iter().flat_map(|schema| &schema.columns).filter(|column| column.key);
    let primary_key: Vec<&str> = if facts.table.columns.is_empty() {
        // The table is gone.
        of_trail().map(|column| column.name.as_str()).collect()
    } else {
        facts.table.primary_key.iter().map(String::as_str).collect()
    };
    let are_sent = primary_key.iter().all(|name| message.columns.iter().any(|column| column.name == *name));
    if are_sent { primary_key } else { Vec::new() }
}

/// How a column's values become JSON and what its type is called. Of a type that is gone the trail may know that.
fn kind_and_name(of: &ColumnType, known: Option<&Column>) -> (ValueKind, String) {
    match &of.kind {
        Some(kind) if !of.name.is_empty() => (kind.clone(), of.name.clone()),
        Some(kind) => {
            let known = known.filter(|column| column.kind == kind.json_kind() && !column.sql_type.is_empty());
            (kind.clone(), known.map_or_else(|| of.said.clone(), |column| column.sql_type.clone()))
        }
        None if known.is_some_and(|column| column.kind == JsonKind::Array) => {
            (ValueKind::Array { element: Box::new(ValueKind::Text), delimiter: b',' }, UNKNOWN_ARRAY.into())
        }
        None => (ValueKind::Text, UNKNOWN_TYPE.into()),
    }
}

fn too_large(bytes: usize) -> Fault {
    AppendError::TooLarge { bytes, max: PAYLOAD_BYTES_MAX }.into()
}

impl Relation {
    pub(super) fn new(schema: Arc<TableSchema>, writers: Vec<ColumnWriter>, charset: Charset) -> Self {
        Self { schema, writers, charset, masked: None }
    }

    /// What becomes of each column that is sent.
    pub(super) fn writers(&self) -> &[ColumnWriter] {
        &self.writers
    }

    /// Whether rows cannot be asked for by what records say of their key.
    pub(super) fn has_masked_key(&self) -> bool {
        let is_key = |column: &ColumnWriter| self.schema.columns.get(column.place).is_some_and(|of| of.key);
        // One that is left out is no key, and has no place.
        let is_other = |column: &&ColumnWriter| match &column.mask {
            Some(Mask::LeftOut) => false,
            mask => mask.is_some() || column.is_text_of_json,
        };
        self.writers.iter().filter(is_other).any(is_key)
    }

    /// Whether a mask hides something of its rows.
    pub(super) fn is_masked(&self) -> bool {
        self.writers.iter().any(|column| column.mask.is_some())
    }

    /// Appends what the source sent of a row, without what masks hide: by that the row is known again.
    pub(super) fn push_shown(&self, out: &mut Vec<u8>, old: Option<OldTuple<'_>>, new: Option<Tuple<'_>>) {
        let tuples = [old.map(|old| (b'O', old.tuple)), new.map(|new| (b'N', new))];
        for (kind, tuple) in tuples.into_iter().flatten() {
            out.push(kind);
            for (column, value) in self.writers.iter().zip(tuple.values()) {
                match value {
                    _ if column.mask.is_some() => out.push(b'm'),
                    TupleValue::Null => out.push(b'n'),
                    TupleValue::Unchanged => out.push(b'u'),
                    TupleValue::Text(bytes) => {
                        out.push(b't');
                        out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
                        out.extend_from_slice(bytes);
                    }
                }
            }
        }
    }

    /// Appends both images of a row, where it has them, at the end of `out`: what [`Self::write_image`] says of each.
    ///
    /// A value that did not change and was not sent again is taken from the row before, where that is whole (REPLICA IDENTITY
    /// FULL), unless the row would become too large by it.
    pub(super) fn write_row(
        &self,
        out: &mut Vec<u8>,
        scratch: &mut Vec<u8>,
        old: Option<OldTuple<'_>>,
        new: Option<Tuple<'_>>,
    ) -> Result<(), Unwritten> {
        let start = out.len();
        let mut widened = None;
        if let Some(OldTuple { key_only, tuple }) = old {
            widened = self.write_image(out, scratch, tuple, Fill { key_only, ..Fill::default() }, PAYLOAD_BYTES_MAX)?;
        }
        if let Some(tuple) = new {
            let room = PAYLOAD_BYTES_MAX.saturating_sub(out.len() - start);
            let unchanged = old.filter(|old| !old.key_only).map(|old| old.tuple);
            widened = self.write_new_image(out, scratch, tuple, unchanged, room)?.or(widened);
        }
        widened.map_or(Ok(()), |widened| Err(Unwritten::Widened(widened)))
    }

    fn write_new_image(
        &self,
        out: &mut Vec<u8>,
        scratch: &mut Vec<u8>,
        tuple: Tuple<'_>,
        unchanged: Option<Tuple<'_>>,
        room: usize,
    ) -> Result<Option<Widened>, Fault> {
        let start = out.len();
        let fill = Fill { key_only: false, unchanged };
        match self.write_image(out, scratch, tuple, fill, room) {
            Err(Fault::Stop(CaptureError::Trail(AppendError::TooLarge { .. }))) if unchanged.is_some() => {
                out.truncate(start);
                self.write_image(out, scratch, tuple, Fill::default(), room)
            }
            written => written,
        }
    }

    /// Appends the row to `out` as an image. `scratch` is the caller's to use again. Refuses a row whose image would be larger
    /// than `room`, before it is that large.
    fn write_image(
        &self,
        out: &mut Vec<u8>,
        scratch: &mut Vec<u8>,
        tuple: Tuple<'_>,
        fill: Fill<'_>,
        room: usize,
    ) -> Result<Option<Widened>, Fault> {
        if tuple.len() != self.writers.len() {
            return Err(CaptureError::Malformed(format!(
                "a row of {} with another number of columns",
                self.schema.table
            ))
            .into());
        }
        let mut image = ImageWriter::new(out);
        let mut widened = None;
        for (at, sent) in tuple.values().enumerate() {
            let column = &self.writers[at];
            let value = match sent {
                TupleValue::Unchanged => fill.value_of(at).unwrap_or(sent),
                sent => sent,
            };
            match (value, &column.mask) {
                (_, Some(Mask::LeftOut)) => {}
                (TupleValue::Null, _) if fill.key_only => image.absent(),
                (_, Some(Mask::Null)) => image.null(),
                (_, Some(Mask::Text(text))) => image.json(text),
                (TupleValue::Null, _) => {
                    if !self.schema.columns[column.place].nullable {
                        widened = Some(Widened(column.place));
                    }
                    image.null();
                }
                (TupleValue::Unchanged, _) => image.unchanged(),
                (TupleValue::Text(bytes), Some(Mask::Hash(keyed))) => {
                    scratch.clear();
                    keyed.push_json(scratch, bytes);
                    image.json(scratch);
                }
                (TupleValue::Text(bytes), None) if column.kind.is_json(bytes) => image.json(bytes),
                (TupleValue::Text(bytes), None) => {
                    let kind = &column.kind;
                    let text = byte_text::decode(bytes, self.charset);
                    if text.len() >= limits::SOURCE_LARGE_VALUE_BYTES {
                        let wanted = image.bytes() + kind.bytes_min(&text);
                        if wanted > room {
                            return Err(too_large(wanted));
                        }
                    }
                    scratch.clear();
                    kind.push_json(scratch, &text)
                        .map_err(|_| self.unreadable(column.place, "is not in the form of its type"))?;
                    image.json(scratch);
                }
            }
        }
        if image.bytes() > room { Err(too_large(image.bytes())) } else { Ok(widened) }
    }

    /// The columns with one more nullable.
    pub(super) fn widened_columns(&self, widened: Widened) -> Vec<Column> {
        let mut columns = self.schema.columns.clone();
        columns[widened.0].nullable = true;
        columns
    }

    fn unreadable(&self, column: usize, why: &str) -> Fault {
        let name = &self.schema.columns[column].name;
        CaptureError::Malformed(format!("a value of column {name} of {} {why}", self.schema.table)).into()
    }
}

/// What stands in for values that a row does not give.
#[derive(Debug, Clone, Copy, Default)]
struct Fill<'a> {
    /// A null means nothing: the stream has nulls for all columns outside the replica identity, whose own are never null.
    /// They become "absent".
    key_only: bool,
    /// The whole row as it was, for values that did not change.
    unchanged: Option<Tuple<'a>>,
}

impl<'a> Fill<'a> {
    /// The value of a column that did not change; none if the row before does not tell it.
    fn value_of(self, column: usize) -> Option<TupleValue<'a>> {
        self.unchanged?.values().nth(column)
    }
}

#[cfg(test)]
mod tests;
