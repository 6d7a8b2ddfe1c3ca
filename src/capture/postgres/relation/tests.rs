//! Tables as they are described, and rows as images, without a server.

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
    let column =
        |kind, sql_type: &str| Column { name: "v".into(), kind, sql_type: sql_type.into(), nullable: true, key: false };
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
        (json!({"mask": "hash", "key": KEY}), &format!(", {hashed}"), ", Null", ", Unchanged", &format!(", {hashed}")),
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
