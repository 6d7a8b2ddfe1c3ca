//! How a record looks to a person: one line with time, operation, table and columns.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use serde_json::value::RawValue;

use crate::cli::output::harmless;
use crate::client::{Record, RecordKind};
use crate::codec::json::{DDL_TEXT, MetaField};
use crate::codec::put::RawObject;
use crate::limits;

const DIM: &str = "\u{1b}[2m";
const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[33m";
const CYAN: &str = "\u{1b}[36m";
const PLAIN: &str = "\u{1b}[0m";

/// Makes readable lines; remembers the keys of the tables it heard of.
#[derive(Debug)]
pub(in crate::cli) struct Readable {
    colour: bool,
    keys: HashMap<String, HashSet<String>>,
}

impl Readable {
    pub(in crate::cli) fn new(colour: bool) -> Self {
        Self { colour, keys: HashMap::new() }
    }

    /// Adds the record's line, if it has one: schema records are for machines.
    pub(super) fn push(&mut self, output: &mut String, record: &Record<'_>) {
        let text = |field| record.meta(field).unwrap_or_default();
        let (op, table) = (text(MetaField::OpType), text(MetaField::QualifiedTable));
        let (colour, rest) = match (record.kind(), op.as_str()) {
            (RecordKind::Schema, _) => return,
            (RecordKind::StreamMetadata, _) => (DIM, stream(record)),
            (RecordKind::ObjectMetadata, _) => (DIM, self.object(&table, record)),
            (RecordKind::Heartbeat | RecordKind::CaughtUp | RecordKind::Drain, _) => (DIM, String::new()),
            (RecordKind::Ddl, _) => (CYAN, statement(record)),
            (RecordKind::Row, "INSERT" | "UPSERT") => (GREEN, self.row(&table, record)),
            (RecordKind::Row, "UPDATE") => (YELLOW, self.row(&table, record)),
            (RecordKind::Row, "DELETE" | "TRUNCATE") => (RED, self.row(&table, record)),
            (RecordKind::Row, _) => (PLAIN, self.row(&table, record)),
        };
        let time = text(MetaField::OpTs);
        // To the millisecond: enough for people, and the rest is in --json.
        let time = time.get(..23).unwrap_or(&time);
        let head = format!("{:<23} ", harmless(time));
        let op = format!("{:<8}", harmless(&op));
        let rest = format!(" {} {}", harmless(&table), harmless(&rest));
        let rest = rest.trim_end();
        let _ = match (self.colour, colour) {
            (false, _) => writeln!(output, "{head}{op}{rest}"),
            (true, DIM) => writeln!(output, "{DIM}{head}{op}{rest}{PLAIN}"),
            (true, colour) => writeln!(output, "{DIM}{head}{PLAIN}{colour}{op}{PLAIN}{rest}"),
        };
    }

    /// What a table looks like; its key is remembered.
    fn object(&mut self, table: &str, record: &Record<'_>) -> String {
        let Some(columns) = object(record.member("columns")) else { return String::new() };
        let is_key = |column: &RawValue| {
            object(Some(column)).and_then(|column| column.get("key")).is_some_and(|key| key.get() == "true")
        };
        let keys: HashSet<String> =
            columns.0.iter().filter(|(_, column)| is_key(column)).map(|(n, _)| n.to_string()).collect();
        let names: Vec<String> = columns
            .0
            .iter()
            .map(|(name, _)| if keys.contains(name.as_ref()) { format!("{name} (key)") } else { name.to_string() })
            .collect();
        if self.keys.len() < limits::TAIL_TABLES_MAX || self.keys.contains_key(table) {
            self.keys.insert(table.to_owned(), keys);
        }
        format!("has {}", names.join(", "))
    }

    fn row(&self, table: &str, record: &Record<'_>) -> String {
        match record.images() {
            [Some(before), Some(after)] => self.changes(table, &before, &after),
            [None, Some(after)] => columns(members(&after)),
            [Some(before), None] => columns(members(&self.key_of(table, before))),
            // The row model, flattened images, or nothing but a TRUNCATE.
            [None, None] => columns(record.columns()),
        }
    }

    /// The key, then each column that changed.
    fn changes(&self, table: &str, before: &RawObject<'_>, after: &RawObject<'_>) -> String {
        let keys = self.keys.get(table);
        let mut parts = Vec::new();
        for (name, new) in &after.0 {
            let is_key = keys.is_some_and(|keys| keys.contains(name.as_ref()));
            match before.get(name) {
                Some(old) if old.get() != new.get() => {
                    parts.push((is_key, format!("{name}: {} → {}", value(old), value(new))));
                }
                Some(_) if is_key => parts.push((true, format!("{name}={}", value(new)))),
                Some(_) => {}
                None => parts.push((is_key, format!("{name}={}", value(new)))),
            }
        }
        parts.sort_by_key(|(is_key, _)| !is_key);
        parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join("  ")
    }

    /// Of a deleted row its key says enough, where it is known.
    fn key_of<'r>(&self, table: &str, mut row: RawObject<'r>) -> RawObject<'r> {
        if let Some(keys) = self.keys.get(table)
            && row.0.iter().any(|(name, _)| keys.contains(name.as_ref()))
        {
            row.0.retain(|(name, _)| keys.contains(name.as_ref()));
        }
        row
    }
}

fn object(raw: Option<&RawValue>) -> Option<RawObject<'_>> {
    serde_json::from_str(raw?.get()).ok()
}

fn members<'r>(row: &'r RawObject<'_>) -> impl Iterator<Item = (&'r str, &'r RawValue)> {
    row.0.iter().map(|(name, raw)| (name.as_ref(), *raw))
}

fn columns<'r>(columns: impl Iterator<Item = (&'r str, &'r RawValue)>) -> String {
    columns.map(|(name, raw)| format!("{name}={}", value(raw))).collect::<Vec<_>>().join("  ")
}

fn statement(record: &Record<'_>) -> String {
    record.member(DDL_TEXT).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// A value as its JSON text, cut when it is long.
fn value(raw: &RawValue) -> String {
    let text = raw.get();
    match text.char_indices().nth(limits::TAIL_VALUE_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

fn stream(record: &Record<'_>) -> String {
    // What is not known is not worth a word.
    let member = |object_name: &str, name: &str| -> String {
        let found = object(record.member(object_name)).and_then(|members| {
            let text: String = serde_json::from_str(members.get(name)?.get()).ok()?;
            Some(text)
        });
        found.filter(|text| text != "unknown").unwrap_or_default()
    };
    let producer = format!("{} {}", member("producer", "name"), member("producer", "version"));
    let database = format!("{} {}", member("database", "name"), member("database", "version"));
    format!("from {}, database {}, trail {}", producer.trim(), database.trim(), member("source", "file"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::RecordReader;

    const ORDERS: &str = r#"{"op_type":"OBJECT_METADATA","qual_table":"shop.orders","columns":{"id":{"type":"number","null":false,"key":true},"status":{"type":"string","null":true,"key":false}}}"#;

    /// The last line that these records make.
    fn last_line(colour: bool, texts: &[&str]) -> String {
        let mut readable = Readable::new(colour);
        let mut output = String::new();
        for text in texts {
            for record in RecordReader::new("s1").read(text).unwrap() {
                readable.push(&mut output, &record);
            }
        }
        assert!(output.is_empty() || output.ends_with('\n'));
        output.lines().last().unwrap_or_default().to_owned()
    }

    #[test]
    fn an_insert_shows_its_row_with_every_digit() {
        let insert = r#"{"op_type":"INSERT","qual_table":"shop.orders","op_ts":"2026-07-13 04:00:00.123456","pos":"AQ","after":{"id":12345678901234567890,"total":1.10,"note":null}}"#;
        assert_eq!(
            last_line(false, &[insert]),
            "2026-07-13 04:00:00.123 INSERT   shop.orders id=12345678901234567890  total=1.10  note=null"
        );
    }

    #[test]
    fn an_update_shows_the_key_and_what_changed() {
        let update = r#"{"op_type":"UPDATE","qual_table":"shop.orders","op_ts":"2026-07-13 04:00:00.000000","before":{"total":2,"status":"new","id":7},"after":{"total":2,"status":"paid","id":7}}"#;
        assert!(last_line(false, &[ORDERS, update]).ends_with("UPDATE   shop.orders id=7  status: \"new\" → \"paid\""));
        assert!(last_line(false, &[update]).ends_with("UPDATE   shop.orders status: \"new\" → \"paid\""));
        let no_before = r#"{"op_type":"UPDATE","qual_table":"t","op_ts":"","after":{"id":7,"status":"paid"}}"#;
        assert!(last_line(false, &[no_before]).ends_with("t id=7  status=\"paid\""));
    }

    #[test]
    fn a_delete_shows_the_key_where_it_is_known() {
        let delete = r#"{"op_type":"DELETE","qual_table":"shop.orders","op_ts":"","before":{"id":7,"status":"new"}}"#;
        assert!(last_line(false, &[ORDERS, delete]).ends_with("shop.orders id=7"));
        assert!(last_line(false, &[delete]).ends_with("shop.orders id=7  status=\"new\""));
    }

    #[test]
    fn the_row_model_shows_columns_and_no_metadata() {
        let row = r#"{"op_type":"INSERT","qual_table":"t","op_ts":"","pos":"AQ","id":7,"city":"Köln"}"#;
        assert!(last_line(false, &[row]).ends_with("INSERT   t id=7  city=\"Köln\""));
        let truncate = r#"{"op_type":"TRUNCATE","qual_table":"t","op_ts":"","pos":"AQ"}"#;
        assert!(last_line(false, &[truncate]).ends_with("TRUNCATE t"));
    }

    #[test]
    fn metadata_is_dim_ddl_is_text_and_schemas_are_not_shown() {
        assert!(last_line(false, &[ORDERS]).ends_with("OBJECT_METADATA shop.orders has id (key), status"));
        let coloured = last_line(true, &[ORDERS]);
        assert!(coloured.starts_with(DIM) && coloured.ends_with(PLAIN), "{coloured:?}");
        let ddl = r#"{"op_type":"DDL","qual_table":"t","op_ts":"","pos":"AQ","ddl":"ALTER TABLE t\nADD c text"}"#;
        assert!(last_line(false, &[ddl]).ends_with("DDL      t ALTER TABLE t ADD c text"));
        let schema =
            r#"{"id":"dml","title":"DML","$schema":"http://json-schema.org/draft-04/schema#","properties":{}}"#;
        assert_eq!(last_line(false, &[schema]), "");
    }

    #[test]
    fn a_record_cannot_steer_the_terminal() {
        let hostile =
            "{\"op_type\":\"INSERT\",\"qual_table\":\"t\\u001b[2J\",\"op_ts\":\"\",\"after\":{\"a\":\"\u{9b}2J\"}}";
        let line = last_line(false, &[hostile]);
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }

    #[test]
    fn a_long_value_is_cut() {
        let long = "ä".repeat(5_000);
        let insert = format!(r#"{{"op_type":"INSERT","qual_table":"t","op_ts":"","after":{{"a":"{long}","b":1}}}}"#);
        let line = last_line(false, &[&insert]);
        assert!(line.chars().count() < 150 && line.contains("…  b=1"), "{line}");
    }
}
