//! Transactions as people put them: the JSON of `POST …/transactions`, checked whole.
//!
//! Owns the format and its errors. Values stay the text they came as, so no digit is lost; what they make of a table's
//! shape is decided where they are appended.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits;
use crate::record::{Operation, TableName, Timestamp};

/// Why a body is refused; nothing of it is appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {member}: {what}")]
pub struct BadPut {
    /// Line of the body where the transaction begins, from 1.
    pub line: usize,
    /// The member at fault, such as `operations[3].after`.
    pub member: String,
    /// What is wrong, with the allowed range.
    pub what: String,
}

/// One transaction of a put, borrowed from its body.
#[derive(Debug)]
pub struct PutTransaction<'a> {
    /// The caller's transaction id, if given.
    pub xid: Option<String>,
    /// The commit time, if given.
    pub commit_ts: Option<Timestamp>,
    /// Its operations: at least one.
    pub operations: Vec<PutOperation<'a>>,
}

/// One operation of a put.
#[derive(Debug)]
pub struct PutOperation<'a> {
    /// What it does.
    pub operation: Operation,
    /// The table.
    pub table: TableName,
    /// Names of the key's columns.
    pub key: Arc<[String]>,
    /// Before image.
    pub before: Option<RawObject<'a>>,
    /// After image.
    pub after: Option<RawObject<'a>>,
    /// Tokens: a JSON object of strings, compact.
    pub tokens: Option<String>,
    /// The statement of a DDL operation.
    pub ddl: Option<String>,
}

/// A JSON object whose values are still text, in the order given, no name twice.
#[derive(Debug, Default)]
pub struct RawObject<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> RawObject<'a> {
    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// Members up to which looking through them is faster than a set.
const FEW_MEMBERS: usize = 16;

/// A JSON string, borrowed from the body where nothing in it is escaped.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for RawObject<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = RawObject<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut names = std::collections::HashSet::new();
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some(Text(name)) = map.next_key()? {
                    let known = if members.len() < FEW_MEMBERS {
                        members.iter().any(|(known, _)| *known == name)
                    } else {
                        if names.is_empty() {
                            names.extend(members.iter().map(|(known, _)| known.clone()));
                        }
                        !names.insert(name.clone())
                    };
                    if known {
                        return Err(serde::de::Error::custom(format!("member {name:?} stands twice")));
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(RawObject(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Reads a body: one transaction, or one a line (NDJSON). `now` bounds commit times.
pub fn parse(body: &[u8], now: Timestamp) -> Result<Vec<PutTransaction<'_>>, BadPut> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>();
    let mut transactions = Vec::new();
    let mut start = 0;
    let mut line = 1;
    while let Some(value) = values.next() {
        // Counted on from the last one: from the body's start it would take time that grows with the body's square.
        let begin = start + leading_whitespace(&body[start..]);
        line += line_breaks(&body[start..begin]);
        let value = value.map_err(|error| BadPut {
            line: error.line().max(1),
            member: "body".into(),
            what: format!("malformed JSON: {error}"),
        })?;
        transactions.push(transaction(value, now).map_err(|(member, what)| BadPut { line, member, what })?);
        start = values.byte_offset();
        line += line_breaks(&body[begin..start]);
    }
    if transactions.is_empty() {
        return Err(BadPut { line: 1, member: "body".into(), what: "holds no transaction".into() });
    }
    Ok(transactions)
}

fn leading_whitespace(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(bytes.len())
}

fn line_breaks(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

type Fault = (String, String);

fn fault<T>(member: impl Into<String>, what: impl Into<String>) -> Result<T, Fault> {
    Err((member.into(), what.into()))
}

fn object<'a>(value: &'a RawValue, member: &str) -> Result<RawObject<'a>, Fault> {
    serde_json::from_str(value.get()).map_err(|error| (member.to_owned(), format!("must be an object: {error}")))
}

fn text<'a>(value: &'a RawValue, member: &str) -> Result<Cow<'a, str>, Fault> {
    let text: Result<Text<'a>, _> = serde_json::from_str(value.get());
    text.map(|Text(text)| text).map_err(|_| (member.to_owned(), "must be a string".to_owned()))
}

fn known_members(object: &RawObject<'_>, known: &[&str], prefix: &str) -> Result<(), Fault> {
    match object.0.iter().find(|(name, _)| !known.contains(&name.as_ref())) {
        Some((name, _)) => fault(format!("{prefix}{name}"), format!("unknown member; known are {}", known.join(", "))),
        None => Ok(()),
    }
}

fn transaction(value: &RawValue, now: Timestamp) -> Result<PutTransaction<'_>, Fault> {
    let members = object(value, "transaction")?;
    known_members(&members, &["xid", "commitTs", "operations"], "")?;
    let xid = members.get("xid").map(|value| text(value, "xid").map(Cow::into_owned)).transpose()?;
    if xid.as_ref().is_some_and(|xid| !(1..=limits::XID_BYTES_MAX).contains(&xid.len()) || xid.contains('\0')) {
        return fault("xid", format!("must have 1 to {} bytes", limits::XID_BYTES_MAX));
    }
    let commit_ts = members.get("commitTs").map(|value| commit_ts(value, now)).transpose()?;
    let Some(operations) = members.get("operations") else {
        return fault("operations", "is required");
    };
    let operations: Vec<&RawValue> = serde_json::from_str(operations.get())
        .map_err(|error| ("operations".to_owned(), format!("must be an array: {error}")))?;
    if !(1..=limits::PUT_OPERATIONS_MAX).contains(&operations.len()) {
        return fault("operations", format!("must have 1 to {} elements", limits::PUT_OPERATIONS_MAX));
    }
    let mut last = Last::default();
    let operations = operations.into_iter().enumerate().map(|(at, value)| {
        operation(value, &mut last).map_err(|(member, what)| {
            let dot = if member.is_empty() { "" } else { "." };
            (format!("operations[{at}]{dot}{member}"), what)
        })
    });
    let operations = operations.collect::<Result<_, _>>()?;
    Ok(PutTransaction { xid, commit_ts, operations })
}

fn commit_ts(value: &RawValue, now: Timestamp) -> Result<Timestamp, Fault> {
    let text = text(value, "commitTs")?;
    let time = Timestamp::parse(&text).map_err(|error| ("commitTs".to_owned(), error.to_string()))?;
    let latest = now.micros() + limits::COMMIT_TIME_AHEAD_SECONDS_MAX * 1_000_000;
    if time.micros() > latest {
        let allowed = limits::COMMIT_TIME_AHEAD_SECONDS_MAX;
        return fault("commitTs", format!("may be at most {allowed} seconds ahead of the server's clock"));
    }
    Ok(time)
}

/// What operations of one transaction mostly have in common, with the text that it was read from.
#[derive(Default)]
struct Last<'a> {
    table: Option<(&'a str, TableName)>,
    key: Option<(&'a str, Arc<[String]>)>,
}

impl<'a> Last<'a> {
    fn table(&mut self, value: &'a RawValue) -> Result<TableName, Fault> {
        if let Some((_, table)) = self.table.as_ref().filter(|(text, _)| *text == value.get()) {
            return Ok(table.clone());
        }
        let table = TableName::parse(&text(value, "table")?);
        let table = table.map_err(|error| ("table".to_owned(), error.to_string()))?;
        self.table = Some((value.get(), table.clone()));
        Ok(table)
    }

    fn key(&mut self, value: Option<&'a RawValue>) -> Result<Arc<[String]>, Fault> {
        let Some(value) = value else { return Ok(Arc::default()) };
        if let Some((_, key)) = self.key.as_ref().filter(|(text, _)| *text == value.get()) {
            return Ok(key.clone());
        }
        let key: Result<Arc<[String]>, _> = serde_json::from_str(value.get());
        let key = key.map_err(|_| ("key".to_owned(), "must be an array of column names".to_owned()))?;
        self.key = Some((value.get(), key.clone()));
        Ok(key)
    }
}

/// Faults name the member within the operation.
fn operation<'a>(value: &'a RawValue, last: &mut Last<'a>) -> Result<PutOperation<'a>, Fault> {
    let members = object(value, "")?;
    known_members(&members, &["op", "table", "key", "before", "after", "tokens", "ddl"], "")?;
    let required = |name: &str| members.get(name).ok_or_else(|| (name.to_owned(), "is required".to_owned()));
    let name = text(required("op")?, "op")?;
    let Some(operation) = Operation::parse(&name) else {
        return fault("op", "must be one of INSERT, UPDATE, DELETE, UPSERT, TRUNCATE, DDL");
    };
    let image = |name: &str| match members.get(name).filter(|value| value.get() != "null") {
        Some(value) => object(value, name).and_then(|image| checked_image(image, name)).map(Some),
        None => Ok(None),
    };
    let put = PutOperation {
        operation,
        table: last.table(required("table")?)?,
        key: last.key(members.get("key"))?,
        before: image("before")?,
        after: image("after")?,
        tokens: members.get("tokens").map(|value| tokens(value, "tokens")).transpose()?,
        ddl: members.get("ddl").map(|value| text(value, "ddl").map(Cow::into_owned)).transpose()?,
    };
    fits_operation(&put)?;
    Ok(put)
}

fn checked_image<'a>(image: RawObject<'a>, member: &str) -> Result<RawObject<'a>, Fault> {
    // A value stays the text it came as, so what no client could decode must be found here.
    let undecodable = |value: &RawValue| {
        value.get().contains("\\u") && serde_json::from_str::<serde_json::Value>(value.get()).is_err()
    };
    if let Some((name, _)) = image.0.iter().find(|(_, value)| undecodable(value)) {
        return fault(format!("{member}.{name}"), "holds half of a surrogate pair, which is no character");
    }
    if !(1..=limits::TABLE_COLUMNS_MAX).contains(&image.0.len()) {
        return fault(member, format!("must have 1 to {} columns", limits::TABLE_COLUMNS_MAX));
    }
    let fits = |name: &str| (1..=limits::IDENTIFIER_BYTES_MAX).contains(&name.len()) && !name.contains('\0');
    if let Some((name, _)) = image.0.iter().find(|(name, _)| !fits(name)) {
        let shown: String = name.chars().take(32).collect();
        return fault(member, format!("column {shown:?}: a name has 1 to {} bytes", limits::IDENTIFIER_BYTES_MAX));
    }
    Ok(image)
}

fn tokens(value: &RawValue, member: &str) -> Result<String, Fault> {
    let tokens = object(value, member)?;
    if let Some((name, _)) = tokens.0.iter().find(|(_, value)| !value.get().starts_with('"')) {
        return fault(format!("{member}.{name}"), "must be a string");
    }
    let mut compact = Vec::new();
    crate::codec::json_text::push_compacted(&mut compact, value.get());
    String::from_utf8(compact).map_err(|_| (member.to_owned(), "must be UTF-8".to_owned()))
}

/// Each operation has the members it needs and none that would mean nothing.
fn fits_operation(put: &PutOperation<'_>) -> Result<(), Fault> {
    use Operation::{Ddl, Delete, Insert, Truncate, Update, Upsert};
    let operation = put.operation;
    let needs_after = matches!(operation, Insert | Update | Upsert);
    let takes_before = matches!(operation, Update | Delete | Upsert);
    let rules = [
        (needs_after && put.after.is_none(), "after", "is required"),
        (!needs_after && put.after.is_some(), "after", "is not taken"),
        (operation == Delete && put.before.is_none(), "before", "is required"),
        (!takes_before && put.before.is_some(), "before", "is not taken"),
        (operation == Ddl && put.ddl.as_ref().is_none_or(String::is_empty), "ddl", "is required"),
        (operation != Ddl && put.ddl.is_some(), "ddl", "is not taken"),
        (matches!(operation, Ddl | Truncate) && !put.key.is_empty(), "key", "is not taken"),
    ];
    if let Some((_, member, what)) = rules.iter().find(|(broken, _, _)| *broken) {
        return fault(*member, format!("{what} by {}", operation.as_str()));
    }
    for name in put.key.iter() {
        let images = [&put.before, &put.after];
        if images.iter().copied().flatten().any(|image| image.get(name).is_none()) {
            return fault("key", format!("column {name:?} is missing from an image"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> (usize, String) {
        let bad = parse(body.as_bytes(), Timestamp::parse("2026-07-13T04:00:00Z").unwrap()).unwrap_err();
        (bad.line, bad.member)
    }

    #[test]
    fn one_object_or_many_lines_with_every_digit() {
        let body = "{\"xid\":\"a\",\"commitTs\":\"2026-07-13T04:00:00Z\",\n \"operations\":[{\"op\":\"INSERT\",\"table\":\"s.t\",\"key\":[\"id\"],\"after\":{\"id\":1.10,\"x\":1e400}}]}\n\n{\"operations\":[{\"op\":\"DDL\",\"table\":\"s.t\",\"ddl\":\"alter\"}]}";
        let transactions = parse(body.as_bytes(), Timestamp::parse("2026-07-13T04:00:00Z").unwrap()).unwrap();
        assert_eq!(transactions.len(), 2);
        let after = transactions[0].operations[0].after.as_ref().unwrap();
        assert_eq!((after.0[0].1.get(), after.0[1].1.get()), ("1.10", "1e400"));
    }

    #[test]
    fn every_fault_names_its_line_and_member() {
        let insert = |rest: &str| format!("{{\"operations\":[{{\"op\":\"INSERT\",\"table\":\"t\"{rest}}}]}}");
        let good = insert(",\"after\":{\"id\":1}");
        let cases: Vec<(String, usize, &str)> = vec![
            (String::new(), 1, "body"),
            ("[]".into(), 1, "transaction"),
            (format!("{good}\n{{\"operations\":"), 2, "body"),
            (format!("{good}\n\n{{\"xid\":\"\",\"operations\":[]}}"), 3, "xid"),
            ("{\"operations\":[]}".into(), 1, "operations"),
            ("{\"operation\":[]}".into(), 1, "operation"),
            ("{\"commitTs\":\"2026-07-13T04:05:01Z\",\"operations\":[]}".into(), 1, "commitTs"),
            ("{\"commitTs\":\"soon\",\"operations\":[]}".into(), 1, "commitTs"),
            (insert(""), 1, "operations[0].after"),
            (insert(",\"after\":{\"a\":{\"b\":\"\\ud800\"}}"), 1, "operations[0].after.a"),
            (insert(",\"after\":{}"), 1, "operations[0].after"),
            (insert(",\"after\":{\"a\":1,\"a\":2}"), 1, "operations[0].after"),
            (insert(",\"after\":{\"a\":1},\"before\":{\"a\":1}"), 1, "operations[0].before"),
            (insert(",\"after\":{\"a\":1},\"key\":[\"b\"]"), 1, "operations[0].key"),
            (insert(",\"after\":{\"a\":1},\"tokens\":{\"x\":1}"), 1, "operations[0].tokens.x"),
            (insert(",\"after\":{\"a\":1},\"more\":1"), 1, "operations[0].more"),
            ("{\"operations\":[{\"op\":\"MERGE\",\"table\":\"t\"}]}".into(), 1, "operations[0].op"),
            (
                "{\"operations\":[{\"op\":\"DELETE\",\"table\":\"a.b.c.d\",\"before\":{\"a\":1}}]}".into(),
                1,
                "operations[0].table",
            ),
        ];
        for (body, line, member) in cases {
            assert_eq!(refused(&body), (line, member.to_owned()), "{body}");
        }
    }
}
