//! A captured table as the stream last described it, and its rows as row images.
//!
//! Owns the join of a `Relation` message with the catalogue's facts, and the writing of images. Leaves reading the
//! catalogue to `catalogue` and numbering shapes to the trail.

use std::sync::Arc;

use super::catalogue::TableFacts;
use super::pgoutput::{RelationMessage, Tuple, TupleValue};
use super::value::ValueKind;
use crate::capture::source::{CaptureError, Fault};
use crate::codec::image::ImageWriter;
use crate::record::{Column, TableName, TableSchema};

/// A captured table.
#[derive(Debug)]
pub(super) struct Relation {
    pub(super) schema: Arc<TableSchema>,
    /// How each column's values become JSON.
    kinds: Vec<ValueKind>,
    /// Which columns the replica identity has: the only ones that a key-only row holds.
    identity: Vec<bool>,
}

/// A row held NULL where the catalogue of now allows none: the shape must say nullable. The column's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Widened(pub(super) usize);

/// The table's name as the trail has it.
pub(super) fn table_name(message: &RelationMessage<'_>) -> Result<TableName, Fault> {
    TableName::from_parts(&[message.schema, message.table])
        .map_err(|error| CaptureError::Malformed(error.to_string()).into())
}

/// The columns of a shape: names and types as the stream says, nullability and key as the catalogue adds.
pub(super) fn columns(
    message: &RelationMessage<'_>,
    facts: &TableFacts,
    kinds: &[ValueKind],
    type_names: Vec<String>,
) -> Vec<Column> {
    let sent = |name: &String| message.columns.iter().any(|column| column.name == name);
    let primary_key_is_current = !facts.primary_key.is_empty() && facts.primary_key.iter().all(sent);
    let key = |name: &str, identity: bool| {
        if primary_key_is_current {
            facts.primary_key.iter().any(|column| column == name)
        } else {
            // Under REPLICA IDENTITY FULL every column is flagged, which says nothing of a key.
            identity && message.replica_identity != b'f'
        }
    };
    let column = |((column, kind), sql_type): ((&super::pgoutput::RelationColumn<'_>, &ValueKind), String)| Column {
        name: column.name.to_owned(),
        kind: kind.json_kind(),
        sql_type,
        nullable: match facts.columns.get(column.name) {
            Some((type_id, nullable)) if *type_id == column.type_id => *nullable,
            _ => true,
        },
        key: key(column.name, column.identity),
    };
    message.columns.iter().zip(kinds).zip(type_names).map(column).collect()
}

impl Relation {
    pub(super) fn new(message: &RelationMessage<'_>, schema: Arc<TableSchema>, kinds: Vec<ValueKind>) -> Self {
        let identity = message.columns.iter().map(|column| column.identity).collect();
        Self { schema, kinds, identity }
    }

    /// Appends the row to `out` as an image. `scratch` is the caller's to use again.
    ///
    /// With `key_only`, columns outside the replica identity become "absent": the stream has nulls there that mean nothing.
    pub(super) fn write_image(
        &self,
        out: &mut Vec<u8>,
        scratch: &mut Vec<u8>,
        tuple: Tuple<'_>,
        key_only: bool,
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
                _ if key_only && !self.identity[at] => image.absent(),
                TupleValue::Null => {
                    if !self.schema.columns[at].nullable {
                        widened = Some(Widened(at));
                    }
                    image.null();
                }
                TupleValue::Unchanged => image.unchanged(),
                TupleValue::Text(bytes) if self.kinds[at].is_json(bytes) => image.json(bytes),
                TupleValue::Text(bytes) => {
                    scratch.clear();
                    let text = std::str::from_utf8(bytes).map_err(|_| self.unreadable(at, "is not UTF-8"))?;
                    self.kinds[at]
                        .push_json(scratch, text)
                        .map_err(|_| self.unreadable(at, "is not in the form of its type"))?;
                    image.json(scratch);
                }
            }
        }
        Ok(widened)
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
    use crate::capture::postgres::pgoutput::{Message, RelationColumn};
    use crate::codec::image::{Cell, Image};
    use crate::record::{JsonKind, SchemaId};
    use std::collections::HashMap;

    fn message(replica_identity: u8) -> RelationMessage<'static> {
        let column = |name, identity, type_id| RelationColumn { identity, name, type_id, type_modifier: -1 };
        let full = replica_identity == b'f';
        let columns = vec![column("id", true, 23), column("note", full, 25)];
        RelationMessage { id: 1, schema: "public", table: "t", replica_identity, columns }
    }

    fn shape(replica_identity: u8, facts: &TableFacts) -> Vec<Column> {
        let kinds = [ValueKind::Integer, ValueKind::Text];
        columns(&message(replica_identity), facts, &kinds, vec!["integer".into(), "text".into()])
    }

    fn facts(note_type: u32) -> TableFacts {
        TableFacts {
            columns: HashMap::from([("id".into(), (23, false)), ("note".into(), (note_type, false))]),
            primary_key: vec!["id".into()],
        }
    }

    #[test]
    fn the_primary_key_is_the_key_whatever_the_replica_identity() {
        for replica_identity in [b'd', b'f', b'i', b'n'] {
            let flags: Vec<_> = shape(replica_identity, &facts(25)).iter().map(|column| column.key).collect();
            assert_eq!(flags, [true, false]);
        }
    }

    #[test]
    fn a_column_that_the_catalogue_knows_otherwise_counts_as_nullable() {
        let nullable = |facts: &TableFacts| shape(b'd', facts)[1].nullable;
        assert!(!nullable(&facts(25)));
        assert!(nullable(&facts(23)));
        assert!(nullable(&TableFacts::default()));
    }

    #[test]
    fn without_a_primary_key_the_replica_identity_is_the_key_unless_it_is_full() {
        let keys = |replica_identity| {
            shape(replica_identity, &TableFacts::default()).iter().map(|column| column.key).collect::<Vec<_>>()
        };
        assert_eq!(keys(b'i'), [true, false]);
        assert_eq!(keys(b'f'), [false, false]);
    }

    fn relation() -> Relation {
        let columns = vec![
            Column { name: "id".into(), kind: JsonKind::Number, sql_type: String::new(), nullable: false, key: true },
            Column {
                name: "note".into(),
                kind: JsonKind::String,
                sql_type: String::new(),
                nullable: false,
                key: false,
            },
        ];
        let schema = TableSchema { id: SchemaId(1), table: TableName::parse("public.t").unwrap(), columns };
        Relation::new(&message(b'd'), Arc::new(schema), vec![ValueKind::Integer, ValueKind::Text])
    }

    fn image(tuple: &[u8], key_only: bool) -> Result<(String, Option<Widened>), Fault> {
        let bytes = [b"I\0\0\0\x01N".as_slice(), tuple].concat();
        let Ok(Message::Insert { new, .. }) = Message::decode(&bytes) else { panic!("no insert") };
        let (mut out, mut scratch) = (Vec::new(), Vec::new());
        let widened = relation().write_image(&mut out, &mut scratch, new, key_only)?;
        let cells: Vec<Cell<'_>> = Image::split(&out).unwrap().0.cells().map(Result::unwrap).collect();
        Ok((format!("{cells:?}"), widened))
    }

    #[test]
    fn a_key_only_row_leaves_the_other_columns_absent() {
        let tuple = b"\0\x02t\0\0\0\x017n";
        assert_eq!(image(tuple, true).unwrap(), ("[Json(\"7\"), Absent]".into(), None));
        assert_eq!(image(tuple, false).unwrap(), ("[Json(\"7\"), Null]".into(), Some(Widened(1))));
    }

    #[test]
    fn an_unchanged_value_is_no_null() {
        assert_eq!(image(b"\0\x02t\0\0\0\x017u", false).unwrap(), ("[Json(\"7\"), Unchanged]".into(), None));
    }

    #[test]
    fn a_value_that_cannot_be_read_is_named_and_not_shown() {
        for tuple in [b"\0\x02t\0\0\0\x017t\0\0\0\x01\xff".as_slice(), b"\0\x02t\0\0\0\x01xn", b"\0\x01t\0\0\0\x017"] {
            let error = image(tuple, false).unwrap_err().to_string();
            assert!(error.contains("public.t"), "{error}");
        }
    }
}
