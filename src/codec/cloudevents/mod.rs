//! Records as CloudEvents 1.0 in the JSON format (contract section 6), written straight to bytes: the attributes, then
//! `"data":`, then the record as it would have been without an envelope, then `}`.
//!
//! `specversion`, `id`, `source`, `type`, `time`, `subject`, `datacontenttype` and the extensions `partitionkey` and
//! `sequence`; an attribute without a value is left out.

mod rows;

pub use rows::{RowEvent, RowEvents};

use std::borrow::Cow;
use std::io::Write as _;

use sha2::{Digest as _, Sha256};

use crate::codec::image::{Cell, Image};
use crate::codec::json_text::{push_string, quoted};
use crate::record::{Column, Operation, Position, SchemaId, TableSchema, Timestamp};

/// The last part of an event's `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// `dml.insert` … `ddl`.
    Record(Operation),
    /// `heartbeat`.
    Heartbeat,
    /// `group.assignment`.
    GroupAssignment,
    /// `caughtup`.
    CaughtUp,
    /// `drain`.
    Drain,
    /// `metadata.stream`.
    StreamMetadata,
    /// `metadata.object`.
    ObjectMetadata,
    /// `schema`.
    Schema,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Record(Operation::Insert),
        Self::Record(Operation::Update),
        Self::Record(Operation::Delete),
        Self::Record(Operation::Truncate),
        Self::Record(Operation::Upsert),
        Self::Record(Operation::Ddl),
        Self::Heartbeat,
        Self::GroupAssignment,
        Self::CaughtUp,
        Self::Drain,
        Self::StreamMetadata,
        Self::ObjectMetadata,
        Self::Schema,
    ];

    /// What follows the prefix and a dot.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record(Operation::Insert) => "dml.insert",
            Self::Record(Operation::Update) => "dml.update",
            Self::Record(Operation::Delete) => "dml.delete",
            Self::Record(Operation::Truncate) => "dml.truncate",
            Self::Record(Operation::Upsert) => "dml.upsert",
            Self::Record(Operation::Ddl) => "ddl",
            Self::Heartbeat => "heartbeat",
            Self::GroupAssignment => "group.assignment",
            Self::CaughtUp => "caughtup",
            Self::Drain => "drain",
            Self::StreamMetadata => "metadata.stream",
            Self::ObjectMetadata => "metadata.object",
            Self::Schema => "schema",
        }
    }
}

/// What the events of one stream share, escaped once.
#[derive(Debug, Clone)]
pub struct EventContext {
    source: String,
    type_prefix: String,
}

/// The attributes of one event.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// What it holds.
    pub kind: EventKind,
    /// The position's token, or [`stable_id`] of a record without one.
    pub id: &'a str,
    /// The commit time, or when the record was made.
    pub time: Option<Timestamp>,
    /// The qualified table.
    pub subject: Option<&'a str>,
    /// See [`partition_key`]. Left out if empty.
    pub partition_key: Option<&'a str>,
    /// The position, for `sequence`.
    pub position: Option<Position>,
}

impl EventContext {
    /// For a stream of that name and a prefix such as `io.trailcast`.
    pub fn new(stream: &str, type_prefix: &str) -> Self {
        Self { source: quoted(&format!("/services/v2/stream/{stream}")), type_prefix: type_prefix.to_owned() }
    }

    /// The `type` of a kind of record.
    pub fn event_type(&self, kind: EventKind) -> String {
        format!("{}.{}", self.type_prefix, kind.as_str())
    }

    /// Appends an event up to and with `"data":`. The record comes next, then [`close`].
    pub fn open(&self, out: &mut Vec<u8>, event: &Event<'_>) {
        out.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":");
        push_string(out, event.id);
        self.push_shared(out, event.kind, event.time, event.subject.unwrap_or_default());
        push_attribute(out, "partitionkey", event.partition_key.unwrap_or_default());
        if let Some(position) = event.position {
            // Fixed widths, so that text order is record order.
            let _ = write!(out, ",\"sequence\":\"{:020}.{:010}\"", position.commit, position.record);
        }
        out.extend_from_slice(b",\"data\":");
    }

    /// Appends what stands between the id and the partition key.
    fn push_shared(&self, out: &mut Vec<u8>, kind: EventKind, time: Option<Timestamp>, subject: &str) {
        out.extend_from_slice(b",\"source\":");
        out.extend_from_slice(self.source.as_bytes());
        out.extend_from_slice(b",\"type\":\"");
        out.extend_from_slice(self.type_prefix.as_bytes());
        out.push(b'.');
        out.extend_from_slice(kind.as_str().as_bytes());
        out.push(b'"');
        if let Some(time) = time {
            push_attribute(out, "time", &time.to_rfc3339());
        }
        push_attribute(out, "subject", subject);
        push_attribute(out, "datacontenttype", "application/json");
    }
}

/// Appends what ends an event.
pub fn close(out: &mut Vec<u8>) {
    out.push(b'}');
}

/// An attribute is never empty: the specification allows no empty strings.
fn push_attribute(out: &mut Vec<u8>, name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    out.push(b',');
    push_string(out, name);
    out.push(b':');
    push_string(out, value);
}

/// The `id` of a record that has no position: the same for the same bytes.
pub fn stable_id(record: &[u8]) -> String {
    let digest = Sha256::digest(record);
    digest.iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The numbers of the columns that decide the partition: a table's key, a message's key.
fn partition_columns(schema: &TableSchema) -> impl Iterator<Item = usize> {
    let of_messages = schema.id == SchemaId::MESSAGES;
    let decides = move |(at, column): (usize, &Column)| (column.key || (of_messages && at == 0)).then_some(at);
    schema.columns.iter().enumerate().filter_map(decides)
}

/// The values of the columns that decide it: one as its text, several as a JSON array; the same for the same values, however they
/// are written. Without any, or where the image does not hold them all, the table's name, so that the table stays in order. Never
/// empty.
pub fn partition_key(schema: &TableSchema, image: Option<Image<'_>>) -> String {
    let table = || schema.table.to_string();
    let Some(image) = image else { return table() };
    let mut deciding = partition_columns(schema).peekable();
    let cells = image.cells().enumerate().filter(|(at, _)| deciding.next_if_eq(at).is_some());
    let values = cells.map(|(_, cell)| match cell {
        Ok(Cell::Json(json)) => Some(json),
        _ => None,
    });
    let values: Vec<_> = values.collect();
    let key = match values.as_slice() {
        [Some(json)] if json.starts_with('"') => serde_json::from_str(json).unwrap_or_default(),
        [Some(json)] => canonical(json).into_owned(),
        several => match several.iter().copied().collect::<Option<Vec<_>>>() {
            Some(values) if !values.is_empty() => {
                format!("[{}]", values.into_iter().map(canonical).collect::<Vec<_>>().join(","))
            }
            _ => String::new(),
        },
    };
    if key.is_empty() { table() } else { key }
}

/// The one way to write a JSON string or number of that value; objects and arrays, which no key should have, as they are.
fn canonical(json: &str) -> Cow<'_, str> {
    match json.as_bytes().first() {
        Some(b'"') if json.contains('\\') => {
            let text = serde_json::from_str::<String>(json).and_then(|text| serde_json::to_string(&text));
            text.map_or(Cow::Borrowed(json), Cow::Owned)
        }
        Some(b'-' | b'0'..=b'9') if json == "-0" || json.contains(['.', 'e', 'E']) => {
            Cow::Owned(canonical_number(json))
        }
        _ => Cow::Borrowed(json),
    }
}

/// Its digits without zeros at either end and its power of ten; without the power, and with the point, as far as a column of a
/// database has digits.
fn canonical_number(json: &str) -> String {
    let (sign, number) = json.strip_prefix('-').map_or(("", json), |number| ("-", number));
    let (digits, power) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    // A power that is no number of 64 bits is of no value that anybody has: it stays as it is written.
    let Ok(power) = power.parse::<i64>() else { return json.to_owned() };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let shorter = all.trim_end_matches('0');
    let digits = shorter.trim_start_matches('0');
    if digits.is_empty() {
        return "0".to_owned();
    }
    let power = power.saturating_sub(fraction.len() as i64).saturating_add((all.len() - shorter.len()) as i64);
    match (usize::try_from(power), usize::try_from(power.unsigned_abs())) {
        (Ok(zeros @ 0..=PLAIN_DIGITS), _) => format!("{sign}{digits}{}", "0".repeat(zeros)),
        (Err(_), Ok(places @ 0..=PLAIN_DIGITS)) => {
            let padded = format!("{digits:0>width$}", width = places + 1);
            let (whole, fraction) = padded.split_at(padded.len() - places);
            format!("{sign}{whole}.{fraction}")
        }
        _ => format!("{sign}{digits}e{power}"),
    }
}

/// Up to how many zeros numbers in keys are written out: as many as PostgreSQL's `numeric` has behind the point would be too
/// much for a key.
const PLAIN_DIGITS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::image::ImageWriter;
    use crate::codec::message_row::push_row;
    use crate::record::{Epoch, JsonKind, Message, TableName, TrailName, messages_schema};
    use serde_json::{Value, json};

    fn event() -> Event<'static> {
        Event {
            kind: EventKind::Record(Operation::Insert),
            id: "pos",
            time: Some(Timestamp::from_micros(0)),
            subject: Some("public.\"o\u{2028}"),
            partition_key: Some("7"),
            position: Some(Position { epoch: Epoch(1), commit: 12, record: 3, xid_hash: 0 }),
        }
    }

    #[test]
    fn an_event_holds_the_record_unchanged() {
        let mut out = Vec::new();
        EventContext::new("s1", "io.trailcast").open(&mut out, &event());
        out.extend_from_slice(br#"{"n":1.10}"#);
        close(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with(r#""data":{"n":1.10}}"#) && !text.contains('\u{2028}'));
        let mut parsed: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["data"].take().to_string(), r#"{"n":1.10}"#);
        assert_eq!(
            parsed,
            json!({
                "specversion": "1.0", "id": "pos", "source": "/services/v2/stream/s1",
                "type": "io.trailcast.dml.insert", "time": "1970-01-01T00:00:00.000000Z",
                "subject": "public.\"o\u{2028}", "datacontenttype": "application/json", "partitionkey": "7",
                "sequence": "00000000000000000012.0000000003", "data": null,
            })
        );
    }

    #[test]
    fn an_attribute_without_a_value_is_left_out() {
        let mut out = Vec::new();
        let bare = Event {
            kind: EventKind::Schema,
            time: None,
            subject: None,
            partition_key: None,
            position: None,
            ..event()
        };
        EventContext::new("s1", "x").open(&mut out, &bare);
        out.extend_from_slice(b"{}");
        close(&mut out);
        let parsed: Value = serde_json::from_slice(&out).unwrap();
        let names: Vec<_> = parsed.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["specversion", "id", "source", "type", "datacontenttype", "data"]);
    }

    proptest::proptest! {
        #[test]
        fn sequences_sort_as_records_do(one in proptest::arbitrary::any::<(u64, u32)>(), other in proptest::arbitrary::any::<(u64, u32)>()) {
            let sequence = |(commit, record)| {
                let mut out = Vec::new();
                let position = Some(Position { epoch: Epoch(1), commit, record, xid_hash: 0 });
                EventContext::new("s", "t").open(&mut out, &Event { position, ..event() });
                out.extend_from_slice(b"0}");
                serde_json::from_slice::<Value>(&out).unwrap()["sequence"].as_str().unwrap().to_owned()
            };
            proptest::prop_assert_eq!(sequence(one).cmp(&sequence(other)), one.cmp(&other));
        }
    }

    #[test]
    fn a_partition_key_is_the_primary_key_and_never_empty() {
        let column = |name: &str, key| Column {
            name: name.into(),
            kind: JsonKind::Any,
            sql_type: String::new(),
            nullable: true,
            key,
        };
        let key_of = |keys: [bool; 2], cells: [&str; 2]| {
            let schema = TableSchema {
                id: SchemaId(1),
                table: TableName::parse("a.b").unwrap(),
                columns: vec![column("x", keys[0]), column("y", keys[1])],
            };
            let mut bytes = Vec::new();
            let mut writer = ImageWriter::new(&mut bytes);
            for cell in cells {
                if cell == "-" { writer.absent() } else { writer.json(cell.as_bytes()) }
            }
            partition_key(&schema, Some(Image::split(&bytes).unwrap().0))
        };
        assert_eq!(key_of([true, false], ["7", "1"]), "7");
        assert_eq!(key_of([true, false], ["\"a\\\"b\"", "1"]), "a\"b");
        assert_eq!(key_of([true, true], ["7", "\"x\""]), "[7,\"x\"]");
        assert_eq!(key_of([true, true], ["7.0", r#""caf\u00e9\/\"""#]), r#"[7,"café/\""]"#);
        assert_eq!(key_of([true, false], ["7e0", "1"]), "7");
        assert_eq!(key_of([false, false], ["7", "1"]), "a.b");
        assert_eq!(key_of([true, true], ["7", "-"]), "a.b");
        assert_eq!(key_of([true, false], ["\"\"", "1"]), "a.b");
    }

    #[test]
    fn a_number_in_a_key_is_the_same_however_it_is_written() {
        let same: [(&str, &[&str]); 9] = [
            ("0", &["0.0", "-0", "-0.00", "0e5"]),
            ("1", &["1.0", "1e0", "10E-1", "0.1e+1"]),
            ("-1200", &["-1200.0", "-1.2e3", "-12E2"]),
            ("1.1", &["1.10", "11e-1", "0.011e2"]),
            ("0.05", &["5e-2", "0.050"]),
            ("123456789012345678901234567890", &["123456789012345678901234567890.0"]),
            ("1e100", &["1.0e100", "10E+99"]),
            ("-15e-101", &["-1.5e-100", "-0.15E-99"]),
            ("1e99999999999999999999", &[]),
        ];
        for (expected, written) in same {
            for json in written.iter().chain([&expected]) {
                assert_eq!(canonical(json), expected, "{json}");
            }
        }
    }

    #[test]
    fn a_message_goes_by_its_key_and_without_one_by_its_trail() {
        let schema = messages_schema(&TrailName::new("a1").unwrap());
        for (key, expected) in [(Some(&b"k\"1"[..]), "k\"1"), (Some(b"\xFF"), "/w=="), (None, "messages.a1")] {
            let mut image = Vec::new();
            push_row(&mut image, &Message { key, ..Message::default() }, 0);
            assert_eq!(partition_key(&schema, Some(Image::whole(&image))), expected);
        }
    }

    #[test]
    fn a_stable_id_depends_on_the_bytes_alone() {
        assert_eq!(stable_id(b"a"), stable_id(b"a"));
        assert_ne!(stable_id(b"a"), stable_id(b"b"));
        assert_eq!(stable_id(b"a").len(), 32);
    }
}
