//! A captured table as the stream last described it, and its rows as row images.
//!
//! Owns the join of a `Relation` message with what else is known of its table, and the writing of images. Leaves asking to
//! `table_facts` and numbering schemas to the trail.

use std::sync::Arc;

use super::column_types::ColumnType;
use super::pgoutput::{OldTuple, RelationMessage, Tuple, TupleValue};
use super::table_facts::Facts;
use super::value::ValueKind;
use crate::capture::error::{CaptureError, Fault};
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

/// A captured table.
#[derive(Debug)]
pub(super) struct Relation {
    pub(super) schema: Arc<TableSchema>,
    /// How each column's values become JSON.
    kinds: Vec<ValueKind>,
    charset: Charset,
}

/// A table's columns as the message, the catalogue and the trail together know them.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) columns: Vec<Column>,
    pub(super) kinds: Vec<ValueKind>,
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
/// schema so far, for what is gone from the catalogue.
pub(super) fn describe(message: &RelationMessage<'_>, facts: &Facts, known: Option<&TableSchema>) -> Described {
    let keys = keys(message, facts, known);
    let known = |name: &str| known.and_then(|schema| schema.columns.iter().find(|column| column.name == name));
    let mut described = Described { columns: Vec::new(), kinds: Vec::new() };
    for (sent, of) in message.columns.iter().zip(&facts.types) {
        let (kind, sql_type) = kind_and_name(of, known(&sent.name));
        described.columns.push(Column {
            name: sent.name.clone().into_owned(),
            kind: kind.json_kind(),
            sql_type,
            nullable: match facts.table.columns.get(&*sent.name) {
                Some((type_id, nullable)) if *type_id == sent.type_id => *nullable,
                _ => true,
            },
            key: keys.contains(&&*sent.name),
        });
        described.kinds.push(kind);
    }
    described
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
    pub(super) fn new(schema: Arc<TableSchema>, kinds: Vec<ValueKind>, charset: Charset) -> Self {
        Self { schema, kinds, charset }
    }

    /// How each column's values become JSON.
    pub(super) fn kinds(&self) -> &[ValueKind] {
        &self.kinds
    }

    /// Appends both images of a row, where it has them, at the end of `out`: what [`Self::write_image`] says of each.
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
            widened = self.write_image(out, scratch, tuple, key_only, PAYLOAD_BYTES_MAX)?;
        }
        if let Some(tuple) = new {
            let room = PAYLOAD_BYTES_MAX.saturating_sub(out.len() - start);
            widened = self.write_image(out, scratch, tuple, false, room)?.or(widened);
        }
        widened.map_or(Ok(()), |widened| Err(Unwritten::Widened(widened)))
    }

    /// Appends the row to `out` as an image. `scratch` is the caller's to use again. Refuses a row whose image would be larger
    /// than `room`, before it is that large.
    ///
    /// With `key_only`, a null means nothing: the stream has nulls for all columns outside the replica identity, whose own
    /// are never null. They become "absent".
    fn write_image(
        &self,
        out: &mut Vec<u8>,
        scratch: &mut Vec<u8>,
        tuple: Tuple<'_>,
        key_only: bool,
        room: usize,
    ) -> Result<Option<Widened>, Fault> {
        if tuple.len() != self.kinds.len() {
            return Err(CaptureError::Malformed(format!(
                "a row of {} with another number of columns",
                self.schema.table
            ))
            .into());
        }
        let mut image = ImageWriter::new(out);
        let mut widened = None;
        for (at, value) in tuple.values().enumerate() {
            match value {
                TupleValue::Null if key_only => image.absent(),
                TupleValue::Null => {
                    if !self.schema.columns[at].nullable {
                        widened = Some(Widened(at));
                    }
                    image.null();
                }
                TupleValue::Unchanged => image.unchanged(),
                TupleValue::Text(bytes) if self.kinds[at].is_json(bytes) => image.json(bytes),
                TupleValue::Text(bytes) => {
                    let kind = &self.kinds[at];
                    let text = byte_text::decode(bytes, self.charset);
                    if text.len() >= limits::SOURCE_LARGE_VALUE_BYTES {
                        let wanted = image.bytes() + kind.bytes_min(&text);
                        if wanted > room {
                            return Err(too_large(wanted));
                        }
                    }
                    scratch.clear();
                    kind.push_json(scratch, &text)
                        .map_err(|_| self.unreadable(at, "is not in the form of its type"))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::postgres::catalogue::TableFacts;
    use crate::capture::postgres::pgoutput::{Message, RelationColumn};
    use crate::codec::image::{Cell, Image};
    use crate::record::SchemaId;
    use std::collections::HashMap;

    /// A table of two columns, of which those of `identity` are flagged.
    fn message(replica_identity: u8, identity: [bool; 2]) -> RelationMessage<'static> {
        let column = |name: &'static str, identity, type_id| RelationColumn {
            identity,
            name: name.into(),
            type_id,
            type_modifier: -1,
        };
        let columns = vec![column("id", identity[0], 23), column("note", identity[1], 25)];
        RelationMessage { id: 1, schema: "public".into(), table: "t".into(), replica_identity, columns }
    }

    fn type_of(kind: ValueKind, name: &str) -> ColumnType {
        ColumnType { kind: Some(kind), name: name.into(), said: String::new() }
    }

    fn types() -> Vec<ColumnType> {
        vec![type_of(ValueKind::Integer, "integer"), type_of(ValueKind::Text, "text")]
    }

    /// A table whose primary key is `id`.
    fn facts(note_type: u32) -> Facts {
        let table = TableFacts {
            columns: HashMap::from([("id".into(), (23, false)), ("note".into(), (note_type, false))]),
            primary_key: vec!["id".into()],
        };
        Facts { table, types: types() }
    }

    /// What is known of a table that is gone.
    fn gone() -> Facts {
        Facts { table: TableFacts::default(), types: types() }
    }

    fn flags(described: &Described) -> Vec<bool> {
        described.columns.iter().map(|column| column.key).collect()
    }

    #[test]
    fn the_key_is_what_a_before_image_holds() {
        for (replica_identity, identity, keys) in [
            (b'd', [true, false], [true, false]),
            // An index that is not the primary key's.
            (b'i', [false, true], [false, true]),
            (b'i', [true, true], [true, true]),
            // The primary key was another one when the row was written.
            (b'd', [false, true], [false, true]),
            // Whole rows, or none: the primary key.
            (b'f', [true, true], [true, false]),
            (b'n', [false, false], [true, false]),
            // A primary key that can be deferred is no identity.
            (b'd', [false, false], [true, false]),
        ] {
            let described = describe(&message(replica_identity, identity), &facts(25), None);
            assert_eq!(flags(&described), keys, "{} {identity:?}", char::from(replica_identity));
        }
    }

    #[test]
    fn the_key_of_a_table_that_is_gone_is_its_identity_or_what_the_trail_knows() {
        assert_eq!(flags(&describe(&message(b'i', [false, true]), &gone(), None)), [false, true]);
        assert_eq!(flags(&describe(&message(b'f', [true, true]), &gone(), None)), [false, false]);
        let known = relation().schema;
        assert_eq!(flags(&describe(&message(b'f', [true, true]), &gone(), Some(&known))), [true, false]);
    }

    #[test]
    fn a_column_that_the_catalogue_knows_otherwise_counts_as_nullable() {
        let nullable = |facts: &Facts| describe(&message(b'd', [true, false]), facts, None).columns[1].nullable;
        assert!(!nullable(&facts(25)));
        assert!(nullable(&facts(23)));
        assert!(nullable(&gone()));
    }

    #[test]
    fn the_kind_of_a_type_that_is_gone_is_what_is_still_known_of_it() {
        let domain = ColumnType { kind: Some(ValueKind::Integer), name: String::new(), said: "integer".into() };
        let nobody_knows = ColumnType::default();
        let column = |kind, sql_type: &str| Column {
            name: "v".into(),
            kind,
            sql_type: sql_type.into(),
            nullable: true,
            key: false,
        };
        let array = ValueKind::Array { element: Box::new(ValueKind::Text), delimiter: b',' };
        for (of, known, kind, name) in [
            (&domain, None, ValueKind::Integer, "integer"),
            (&domain, Some(column(JsonKind::Number, "percent")), ValueKind::Integer, "percent"),
            (&domain, Some(column(JsonKind::String, "text")), ValueKind::Integer, "integer"),
            (&nobody_knows, None, ValueKind::Text, "unknown"),
            (&nobody_knows, Some(column(JsonKind::Array, "percent[]")), array, "unknown[]"),
            (&nobody_knows, Some(column(JsonKind::Number, "integer")), ValueKind::Text, "unknown"),
        ] {
            assert_eq!(kind_and_name(of, known.as_ref()), (kind, name.to_owned()));
        }
        let facts = Facts { types: vec![nobody_knows, domain], ..gone() };
        let described = describe(&message(b'd', [true, false]), &facts, None);
        assert_eq!(described.unknown().collect::<Vec<_>>(), ["id"]);
    }

    fn relation() -> Relation {
        let column =
            |name: &str, kind, key| Column { name: name.into(), kind, sql_type: String::new(), nullable: false, key };
        let columns = vec![column("id", JsonKind::Number, true), column("note", JsonKind::String, false)];
        let schema = TableSchema { id: SchemaId(1), table: TableName::parse("public.t").unwrap(), columns };
        Relation::new(Arc::new(schema), vec![ValueKind::Integer, ValueKind::Text], Charset::Utf8)
    }

    fn image_within(tuple: &[u8], key_only: bool, room: usize) -> Result<(String, Option<Widened>), Fault> {
        let bytes = [b"I\0\0\0\x01N".as_slice(), tuple].concat();
        let Ok(Message::Insert { new, .. }) = Message::decode(&bytes, Charset::Utf8) else { panic!("no insert") };
        let (mut out, mut scratch) = (Vec::new(), Vec::new());
        let widened = relation().write_image(&mut out, &mut scratch, new, key_only, room)?;
        let cells: Vec<Cell<'_>> = Image::split(&out).unwrap().0.cells().map(Result::unwrap).collect();
        Ok((format!("{cells:?}"), widened))
    }

    fn image(tuple: &[u8], key_only: bool) -> Result<(String, Option<Widened>), Fault> {
        image_within(tuple, key_only, 1_000)
    }

    #[test]
    fn a_key_only_row_leaves_the_other_columns_absent() {
        let tuple = b"\0\x02t\0\0\0\x017n";
        assert_eq!(image(tuple, true).unwrap(), ("[Json(\"7\"), Absent]".into(), None));
        assert_eq!(image(tuple, false).unwrap(), ("[Json(\"7\"), Null]".into(), Some(Widened(1))));
        // A partition may have another identity than its table, which is what is described.
        assert_eq!(image(b"\0\x02nt\0\0\0\x017", true).unwrap(), ("[Absent, Json(\"\\\"7\\\"\")]".into(), None));
    }

    #[test]
    fn an_unchanged_value_is_no_null() {
        assert_eq!(image(b"\0\x02t\0\0\0\x017u", false).unwrap(), ("[Json(\"7\"), Unchanged]".into(), None));
    }

    #[test]
    fn a_value_that_cannot_be_read_is_named_and_not_shown() {
        for tuple in [b"\0\x02t\0\0\0\x01xn".as_slice(), b"\0\x01t\0\0\0\x017"] {
            let error = image(tuple, false).unwrap_err().to_string();
            assert!(error.contains("public.t"), "{error}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_shown_by_their_digits() {
        let (cells, _) = image(b"\0\x02t\0\0\0\x017t\0\0\0\x02a\xff", false).unwrap();
        assert_eq!(cells, "[Json(\"7\"), Json(\"\\\"a\u{FFFD}FF\\\"\")]");
    }

    #[test]
    fn a_value_that_grows_beyond_the_room_is_refused_before_it_is_written() {
        let length = limits::SOURCE_LARGE_VALUE_BYTES;
        // Each of these bytes is six in JSON.
        let value = [b"\0\x02t\0\0\0\x017t".as_slice(), &(length as u32).to_be_bytes(), &vec![1; length]].concat();
        for (room, fits) in [(6 * length + 20, true), (6 * length, false)] {
            assert_eq!(image_within(&value, false, room).is_ok(), fits);
        }
    }
}
