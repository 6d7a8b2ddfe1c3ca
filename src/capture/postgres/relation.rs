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
        described.writers.push(ColumnWriter { kind, mask, place: described.columns.len() });
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

    /// Whether a mask hides a column of its key.
    pub(super) fn has_masked_key(&self) -> bool {
        let is_key = |column: &ColumnWriter| self.schema.columns.get(column.place).is_some_and(|of| of.key);
        self.writers
            .iter()
            .any(|column| column.mask.is_some() && !matches!(column.mask, Some(Mask::LeftOut)) && is_key(column))
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
mod tests {
    use super::*;
    use crate::capture::mask::Masks;
    use crate::capture::postgres::catalogue::TableFacts;
    use crate::capture::postgres::pgoutput::{Message, RelationColumn};
    use crate::codec::image::{Cell, Image};
    use crate::record::SchemaId;
    use serde_json::json;
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
            ..TableFacts::default()
        };
        Facts { table, types: types() }
    }

    /// What is known of a table that is gone.
    fn gone() -> Facts {
        Facts { table: TableFacts::default(), types: types() }
    }

    /// Without masks.
    fn described(message: &RelationMessage<'_>, facts: &Facts, known: Option<&TableSchema>) -> Described {
        describe(message, facts, known, &ValueRules::default(), None).unwrap()
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
            let described = described(&message(replica_identity, identity), &facts(25), None);
            assert_eq!(flags(&described), keys, "{} {identity:?}", char::from(replica_identity));
        }
    }

    #[test]
    fn the_key_of_a_table_that_is_gone_is_its_identity_or_what_the_trail_knows() {
        assert_eq!(flags(&described(&message(b'i', [false, true]), &gone(), None)), [false, true]);
        assert_eq!(flags(&described(&message(b'f', [true, true]), &gone(), None)), [false, false]);
        let known = relation().schema;
        assert_eq!(flags(&described(&message(b'f', [true, true]), &gone(), Some(&known))), [true, false]);
    }

    #[test]
    fn a_column_that_the_catalogue_knows_otherwise_counts_as_nullable() {
        let nullable = |facts: &Facts| described(&message(b'd', [true, false]), facts, None).columns[1].nullable;
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
        let described = described(&message(b'd', [true, false]), &facts, None);
        assert_eq!(described.unknown().collect::<Vec<_>>(), ["id"]);
    }

    fn relation() -> Relation {
        let column =
            |name: &str, kind, key| Column { name: name.into(), kind, sql_type: String::new(), nullable: false, key };
        let columns = vec![column("id", JsonKind::Number, true), column("note", JsonKind::String, false)];
        let schema = TableSchema { id: SchemaId(1), table: TableName::parse("public.t").unwrap(), columns };
        Relation::new(Arc::new(schema), ColumnWriter::plain([ValueKind::Integer, ValueKind::Text]), Charset::Utf8)
    }

    /// The cells of each image.
    fn cells(mut images: &[u8]) -> Vec<String> {
        let mut all = Vec::new();
        while !images.is_empty() {
            let (image, rest) = Image::split(images).unwrap();
            let cells: Vec<Cell<'_>> = image.cells().map(Result::unwrap).collect();
            all.push(format!("{cells:?}"));
            images = rest;
        }
        all
    }

    fn image_within(tuple: &[u8], key_only: bool, room: usize) -> Result<(String, Option<Widened>), Fault> {
        let bytes = [b"I\0\0\0\x01N".as_slice(), tuple].concat();
        let Ok(Message::Insert { new, .. }) = Message::decode(&bytes, Charset::Utf8) else { panic!("no insert") };
        let (mut out, mut scratch) = (Vec::new(), Vec::new());
        let fill = Fill { key_only, unchanged: None };
        let widened = relation().write_image(&mut out, &mut scratch, new, fill, room)?;
        Ok((cells(&out).concat(), widened))
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

    fn rules(columns: serde_json::Value) -> ValueRules {
        let masks = Masks::new(&serde_json::from_value::<Vec<_>>(columns).unwrap());
        ValueRules { masks, ..ValueRules::default() }
    }

    /// The table with a mask of its column `note`, as it is described.
    fn masked(replica_identity: u8, identity: [bool; 2], mask: serde_json::Value) -> Result<Described, Fault> {
        let mut entry = json!({"table": "public.t", "column": "note"});
        crate::catalog::stream::merge_patch(&mut entry, &mask);
        describe(&message(replica_identity, identity), &facts(25), None, &rules(json!([entry])), None)
    }

    fn masked_relation(mask: serde_json::Value) -> Relation {
        let Described { columns, writers, .. } = masked(b'd', [true, false], mask).unwrap();
        let schema = TableSchema { id: SchemaId(1), table: TableName::parse("public.t").unwrap(), columns };
        Relation::new(Arc::new(schema), writers, Charset::Utf8)
    }

    /// Both images of an update, as `O` or `K` and the old values, then the new ones.
    fn update(relation: &Relation, old: Option<(u8, &[u8])>, new: &[u8]) -> Result<Vec<String>, Unwritten> {
        let old = old.map_or(Vec::new(), |(kind, tuple)| [&[kind], tuple].concat());
        let bytes = [b"U\0\0\0\x01".as_slice(), &old, b"N", new].concat();
        let Ok(Message::Update { old, new, .. }) = Message::decode(&bytes, Charset::Utf8) else { panic!("no update") };
        let (mut out, mut scratch) = (Vec::new(), Vec::new());
        relation.write_row(&mut out, &mut scratch, old, Some(new))?;
        Ok(cells(&out))
    }

    const KEY: &str = "0123456789abcdef";

    #[test]
    fn the_schema_says_what_a_mask_makes_of_a_column() {
        let note = |mask| masked(b'd', [true, false], mask).unwrap().columns.into_iter().nth(1);
        let of = |column: Column| (column.kind, column.sql_type, column.nullable);
        assert!(note(json!({"mask": "drop"})).is_none());
        let text = note(json!({"mask": "text", "text": "x"})).map(of).unwrap();
        assert_eq!(text, (JsonKind::String, "text".to_owned(), false));
        let hash = note(json!({"mask": "hash", "key": KEY})).map(of).unwrap();
        assert_eq!(hash, (JsonKind::String, "text".to_owned(), false));
        assert!(note(json!({"mask": "null"})).unwrap().nullable);
    }

    #[test]
    fn a_key_column_can_only_be_hashed() {
        for mask in [json!({"mask": "drop"}), json!({"mask": "null"}), json!({"mask": "text", "text": "x"})] {
            let error = masked(b'i', [false, true], mask.clone()).unwrap_err().to_string();
            assert!(error.contains("column note belongs to the key of public.t"), "{error}");
            // Of a whole row the primary key is the key.
            assert!(masked(b'f', [true, true], mask).is_ok());
        }
        let hashed = masked(b'i', [false, true], json!({"mask": "hash", "key": KEY})).unwrap();
        assert_eq!(flags(&hashed), [false, true]);
    }

    #[test]
    fn a_mask_hides_a_value_in_every_branch() {
        let secret = b"\0\x02t\0\0\0\x017t\0\0\0\x06SECRET".as_slice();
        let (null, unchanged) = (b"\0\x02t\0\0\0\x017n".as_slice(), b"\0\x02t\0\0\0\x017u".as_slice());
        let hash = |value: &[u8]| {
            let mut json = Vec::new();
            let masks = rules(json!([{"table": "*.*", "column": "*", "mask": "hash", "key": KEY}])).masks;
            let Some(Mask::Hash(keyed)) = masks.of(&[("a".into(), "b".into())], "c") else { panic!("no hash") };
            keyed.push_json(&mut json, value);
            format!("{:?}", Cell::Json(std::str::from_utf8(&json).unwrap()))
        };
        let hashed = hash(b"SECRET");
        for (mask, of_value, of_null, of_unchanged, of_old) in [
            (json!({"mask": "drop"}), "", "", "", ""),
            (json!({"mask": "null"}), ", Null", ", Null", ", Null", ", Null"),
            (
                json!({"mask": "text", "text": "x"}),
                ", Json(\"\\\"x\\\"\")",
                ", Json(\"\\\"x\\\"\")",
                ", Json(\"\\\"x\\\"\")",
                ", Json(\"\\\"x\\\"\")",
            ),
            (
                json!({"mask": "hash", "key": KEY}),
                &format!(", {hashed}"),
                ", Null",
                ", Unchanged",
                &format!(", {hashed}"),
            ),
        ] {
            let mut relation = masked_relation(mask);
            if let Some(schema) = Arc::get_mut(&mut relation.schema) {
                schema.columns.iter_mut().for_each(|column| column.nullable = true);
            }
            let row = |rest: &str| format!("[Json(\"7\"){rest}]");
            assert_eq!(update(&relation, None, secret).unwrap(), [row(of_value)]);
            assert_eq!(update(&relation, None, null).unwrap(), [row(of_null)]);
            assert_eq!(update(&relation, None, unchanged).unwrap(), [row(of_unchanged)]);
            assert_eq!(update(&relation, Some((b'O', secret)), unchanged).unwrap(), [row(of_value), row(of_old)]);
            let of_key = if of_value.is_empty() { String::new() } else { ", Absent".to_owned() };
            assert_eq!(update(&relation, Some((b'K', null)), secret).unwrap(), [row(&of_key), row(of_value)]);
        }
    }

    #[test]
    fn what_the_row_is_known_by_holds_nothing_of_a_masked_value() {
        let shown = |relation: &Relation, value: &[u8]| {
            let length = (value.len() as u32).to_be_bytes();
            let bytes = [b"I\0\0\0\x01N\0\x02t\0\0\0\x017t".as_slice(), &length, value].concat();
            let Ok(Message::Insert { new, .. }) = Message::decode(&bytes, Charset::Utf8) else { panic!("no insert") };
            let mut out = Vec::new();
            relation.push_shown(&mut out, None, Some(new));
            out
        };
        let masked = masked_relation(json!({"mask": "hash", "key": KEY}));
        assert!(masked.is_masked() && !relation().is_masked());
        assert_eq!(shown(&masked, b"SECRET"), shown(&masked, b"another"));
        assert_ne!(shown(&relation(), b"SECRET"), shown(&relation(), b"another"));
    }

    #[test]
    fn a_value_that_did_not_change_is_taken_from_a_whole_row_before_it() {
        let old = b"\0\x02t\0\0\0\x017t\0\0\0\x03big".as_slice();
        let new = b"\0\x02t\0\0\0\x018u".as_slice();
        let filled = "[Json(\"8\"), Json(\"\\\"big\\\"\")]";
        let before = "[Json(\"7\"), Json(\"\\\"big\\\"\")]";
        assert_eq!(update(&relation(), Some((b'O', old)), new).unwrap(), [before, filled]);
        // A key says nothing of the other columns.
        let key = b"\0\x02t\0\0\0\x017n".as_slice();
        let of_key = update(&relation(), Some((b'K', key)), new).unwrap();
        assert_eq!(of_key, ["[Json(\"7\"), Absent]", "[Json(\"8\"), Unchanged]"]);
    }

    #[test]
    fn a_value_that_did_not_change_stays_so_where_both_images_would_be_too_large() {
        let length = PAYLOAD_BYTES_MAX / 2 + 100;
        let old = [b"\0\x02t\0\0\0\x017t".as_slice(), &(length as u32).to_be_bytes(), &vec![b'x'; length]].concat();
        let images = update(&relation(), Some((b'O', &old)), b"\0\x02t\0\0\0\x018u").unwrap();
        assert_eq!(images[1], "[Json(\"8\"), Unchanged]");
    }
}
