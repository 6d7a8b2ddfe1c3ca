//! Reading level by level: slower than in one pass, but it says what is wrong with a body, and where.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::form::check_columns;
use super::message::{self, PutMessage};
use super::value::{Unfit, unfit};
use super::xid;
use super::{
    At, BadPut, BodyPlace, Fault, PutCell, PutForm, PutTransaction, RawObject, commit_ts, fault, object, shown, text,
    tokens,
};
use crate::limits;
use crate::record::{Operation, TableName, Timestamp};

/// Reads a body: one transaction, or one a line (NDJSON). `now` bounds commit times.
pub(super) fn parse(body: &[u8], now: Timestamp) -> Result<Vec<PutTransaction<'_>>, BadPut> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>();
    let mut transactions = Vec::new();
    let mut start = 0;
    let mut line = 1;
    while let Some(value) = values.next() {
        // Counted on from the last one: from the body's start it would take time that grows with the body's square.
        let begin = start + leading_whitespace(&body[start..]);
        line += line_breaks(&body[start..begin]);
        let value = value.map_err(|error| BadPut {
            place: BodyPlace::Line(error.line().max(1)),
            member: "body".into(),
            what: format!("malformed JSON: {error}"),
        })?;
        let place = BodyPlace::Line(line);
        transactions.push(transaction(value, begin, now).map_err(|(member, what)| BadPut { place, member, what })?);
        start = values.byte_offset();
        line += line_breaks(&body[begin..start]);
    }
    if transactions.is_empty() {
        return Err(BadPut { place: BodyPlace::Line(1), member: "body".into(), what: "holds no transaction".into() });
    }
    Ok(transactions)
}

fn leading_whitespace(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(bytes.len())
}

fn line_breaks(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

fn known_members(object: &RawObject<'_>, known: &[&str], prefix: &str) -> Result<(), Fault> {
    match object.0.iter().find(|(name, _)| !known.contains(&name.as_ref())) {
        Some((name, _)) => {
            fault(format!("{prefix}{}", shown(name)), format!("unknown member; known are {}", known.join(", ")))
        }
        None => Ok(()),
    }
}

pub(super) fn transaction(value: &RawValue, at: usize, now: Timestamp) -> Result<PutTransaction<'_>, Fault> {
    let members = object(value.get(), "transaction")?;
    known_members(&members, &["xid", "commitTs", "operations"], "")?;
    let mut transaction = PutTransaction {
        at: At::Byte(at),
        xid: members.get("xid").map(|value| xid(value.get())).transpose()?,
        commit_ts: members.get("commitTs").map(|value| commit_ts(value.get(), now)).transpose()?,
        ..PutTransaction::default()
    };
    let Some(operations) = members.get("operations") else {
        return fault("operations", "is required");
    };
    let operations: Vec<&RawValue> = serde_json::from_str(operations.get())
        .map_err(|error| ("operations".to_owned(), format!("must be an array: {error}")))?;
    if !(1..=limits::PUT_OPERATIONS_MAX).contains(&operations.len()) {
        return fault("operations", format!("must have 1 to {} elements", limits::PUT_OPERATIONS_MAX));
    }
    let mut last = Last::default();
    for (at, value) in operations.into_iter().enumerate() {
        operation(value, &mut last, &mut transaction).map_err(|(member, what)| {
            let dot = if member.is_empty() { "" } else { "." };
            (format!("operations[{at}]{dot}{member}"), what)
        })?;
    }
    Ok(transaction)
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
        let table = TableName::parse(&text(value.get(), "table")?);
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
        let key = key.map_err(|_| ("key".to_owned(), not_names(value.get())))?;
        self.key = Some((value.get(), key.clone()));
        Ok(key)
    }
}

/// Why JSON is no array of names.
fn not_names(json: &str) -> String {
    let texts: Result<Vec<&RawValue>, _> = serde_json::from_str(json);
    match texts {
        Ok(texts) if texts.iter().all(|text| text.get().starts_with('"')) => Unfit::HalfPair.to_string(),
        _ => "must be an array of column names".to_owned(),
    }
}

/// Faults name the member within the operation.
fn operation<'a>(value: &'a RawValue, last: &mut Last<'a>, transaction: &mut PutTransaction<'a>) -> Result<(), Fault> {
    let members = object(value.get(), "")?;
    if members.get("op").is_some_and(|op| op.get() == message::NAME) {
        known_members(&members, &message::MEMBERS, "")?;
        let mut given = message::Given::default();
        members.0.iter().for_each(|(name, value)| _ = given.take(name, value.get()));
        transaction.push_message(PutMessage::read(&given)?);
        return Ok(());
    }
    known_members(&members, &["op", "table", "key", "before", "after", "tokens", "ddl"], "")?;
    let required = |name: &str| members.get(name).ok_or_else(|| (name.to_owned(), "is required".to_owned()));
    let name = text(required("op")?.get(), "op")?;
    let Some(operation) = Operation::parse(&name) else {
        return fault("op", "must be one of INSERT, UPDATE, DELETE, UPSERT, TRUNCATE, DDL, MESSAGE");
    };
    let cells_at = transaction.cells.len();
    let mut image = |name: &str| match members.get(name).filter(|value| value.get() != "null") {
        Some(value) => columns(object(value.get(), name)?, name, &mut transaction.cells).map(Some),
        None => Ok(None),
    };
    let form = PutForm {
        operation,
        table: last.table(required("table")?)?,
        key: last.key(members.get("key"))?,
        before: image("before")?,
        after: image("after")?,
    };
    let tokens = members.get("tokens").map(|value| tokens(value.get())).transpose()?;
    let ddl = members.get("ddl").map(|value| text(value.get(), "ddl").map(Cow::into_owned)).transpose()?;
    form.check(tokens.as_deref(), ddl.as_deref())?;
    transaction.push(form, cells_at, tokens, ddl);
    Ok(())
}

/// The names of an image's columns; its values go to `cells`.
fn columns<'a>(image: RawObject<'a>, member: &str, cells: &mut Vec<PutCell<'a>>) -> Result<Vec<Cow<'a, str>>, Fault> {
    let mut unfit = image.0.iter().filter_map(|(name, value)| Some((name, unfit(value.get())?)));
    if let Some((name, what)) = unfit.next() {
        return fault(format!("{member}.{}", shown(name)), what.to_string());
    }
    check_columns(image.0.iter().map(|(name, _)| name), member)?;
    cells.extend(image.0.iter().map(|(_, value)| PutCell::new(value.get())));
    Ok(image.0.into_iter().map(|(name, _)| name).collect())
}
