//! Transactions as people put them: the JSON of `POST …/transactions`, checked whole.
//!
//! Owns the format and its errors. Values stay the text they came as, so no digit is lost; what they make of a table's
//! schema is decided where they are appended. A body is read in one pass (`single_pass`); only where that finds something
//! unusual is it read again (`level_by_level`), which says what is wrong with it, and where. The same transactions
//! come as the data of CloudEvents too (`events`).

mod events;
mod form;
mod level_by_level;
mod message;
mod raw_object;
mod scan;
mod single_pass;
pub(in crate::codec) mod value;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

pub use form::{PutCell, PutForm, PutOperation};
pub use message::{PutMessage, PutPlace};
pub use raw_object::RawObject;

use self::value::{Unfit, has_half_pair};

use crate::codec::json_text;
use crate::limits;
use crate::record::Timestamp;

/// What the body of a put is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutFormat {
    /// Transactions one after another (NDJSON).
    Transactions,
    /// One CloudEvent in the JSON format: `application/cloudevents+json`.
    Event,
    /// An array of such events: `application/cloudevents-batch+json`.
    EventBatch,
}

/// Why a body is refused; nothing of it is appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}{}{member}: {what}", self.dot())]
pub struct BadPut {
    /// Where in the body.
    pub place: BodyPlace,
    /// The member at fault, such as `operations[3].after`; empty where the whole is.
    pub member: String,
    /// What is wrong, with the allowed range.
    pub what: String,
}

/// A place in a body, as its sender counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyPlace {
    /// The line where the transaction begins, from 1.
    Line(usize),
    /// The event of a batch with that number, from 0, or the one event that the body is.
    Event(Option<usize>),
}

impl fmt::Display for BodyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}: "),
            Self::Event(Some(number)) => write!(f, "events[{number}]"),
            Self::Event(None) => Ok(()),
        }
    }
}

/// Where a transaction stands in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// It begins at that byte.
    Byte(usize),
    /// It is the event of a batch with that number, from 0, or the one event that the body is.
    Event(Option<usize>),
}

impl Default for At {
    fn default() -> Self {
        Self::Byte(0)
    }
}

/// One transaction of a put, borrowed from its body.
#[derive(Debug, Default)]
pub struct PutTransaction<'a> {
    /// Where it stands in the body.
    pub at: At,
    /// The caller's transaction id, if given.
    pub xid: Option<String>,
    /// The commit time, if given.
    pub commit_ts: Option<Timestamp>,
    /// What its operations have in common.
    pub forms: Vec<PutForm<'a>>,
    /// Its operations: at least one.
    pub operations: Vec<PutOperation>,
    /// The values of all its operations.
    pub cells: Vec<PutCell<'a>>,
    /// Its messages.
    pub messages: Vec<PutMessage<'a>>,
}

impl<'a> PutTransaction<'a> {
    /// The values of an operation's images: before, after.
    pub fn images(&self, operation: &PutOperation) -> (&[PutCell<'a>], &[PutCell<'a>]) {
        let form = &self.forms[operation.form];
        let cells = &self.cells[operation.cells_at..];
        let (before, rest) = cells.split_at(form.before.as_ref().map_or(0, Vec::len));
        (before, &rest[..form.after.as_ref().map_or(0, Vec::len)])
    }
}

impl BadPut {
    /// A fault of a transaction of `body`.
    pub fn of(transaction: &PutTransaction<'_>, body: &[u8], member: &str, what: String) -> Self {
        match transaction.at {
            At::Byte(at) => {
                let line = 1 + body.iter().take(at).filter(|byte| **byte == b'\n').count();
                Self { place: BodyPlace::Line(line), member: member.to_owned(), what }
            }
            At::Event(number) => Self { place: BodyPlace::Event(number), member: format!("data.{member}"), what },
        }
    }

    /// Between an event of a batch and its member.
    fn dot(&self) -> &'static str {
        let is_path = matches!(self.place, BodyPlace::Event(Some(_))) && !self.member.is_empty();
        if is_path { "." } else { "" }
    }
}

/// Reads a body of that format. `now` bounds commit times.
pub fn parse_as(format: PutFormat, body: &[u8], now: Timestamp) -> Result<Vec<PutTransaction<'_>>, BadPut> {
    match format {
        PutFormat::Transactions => parse(body, now),
        PutFormat::Event => events::parse_one(body, now),
        PutFormat::EventBatch => events::parse_batch(body, now),
    }
}

/// Reads a body: one transaction, or one a line (NDJSON). `now` bounds commit times.
pub fn parse(body: &[u8], now: Timestamp) -> Result<Vec<PutTransaction<'_>>, BadPut> {
    match single_pass::read(body, now) {
        Some(transactions) => Ok(transactions),
        None => level_by_level::parse(body, now),
    }
}

/// Member at fault, and what is wrong.
type Fault = (String, String);

/// A name as faults show it: whoever sent a long one need not get all of it back.
fn shown(name: &str) -> String {
    const SHOWN_CHARS: usize = 64;
    match name.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

fn fault<T>(member: impl Into<String>, what: impl Into<String>) -> Result<T, Fault> {
    Err((member.into(), what.into()))
}

/// A JSON string, borrowed from the body where nothing in it is escaped.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn text<'a>(json: &'a str, member: &str) -> Result<Cow<'a, str>, Fault> {
    let text: Result<Text<'a>, _> = serde_json::from_str(json);
    text.map(|Text(text)| text).map_err(|_| (member.to_owned(), not_text(json)))
}

/// Why JSON is no text.
fn not_text(json: &str) -> String {
    // A string that is JSON can be wrong in this only.
    if json.starts_with('"') { Unfit::HalfPair.to_string() } else { "must be a string".to_owned() }
}

fn object<'a>(json: &'a str, member: &str) -> Result<RawObject<'a>, Fault> {
    RawObject::read(json).map_err(|what| (member.to_owned(), what))
}

fn xid(json: &str) -> Result<String, Fault> {
    let xid = text(json, "xid")?.into_owned();
    if !(1..=limits::XID_BYTES_MAX).contains(&xid.len()) || xid.contains('\0') {
        return fault("xid", format!("must have 1 to {} bytes", limits::XID_BYTES_MAX));
    }
    Ok(xid)
}

fn commit_ts(json: &str, now: Timestamp) -> Result<Timestamp, Fault> {
    let text = text(json, "commitTs")?;
    let time = Timestamp::parse(&text).map_err(|error| ("commitTs".to_owned(), error.to_string()))?;
    not_ahead(time, "commitTs", now)
}

fn not_ahead(time: Timestamp, member: &str, now: Timestamp) -> Result<Timestamp, Fault> {
    let latest = now.micros() + limits::COMMIT_TIME_AHEAD_SECONDS_MAX * 1_000_000;
    if time.micros() > latest {
        let allowed = limits::COMMIT_TIME_AHEAD_SECONDS_MAX;
        return fault(member, format!("may be at most {allowed} seconds ahead of the server's clock"));
    }
    Ok(time)
}

/// Tokens as a compact JSON object of strings.
fn tokens(json: &str) -> Result<String, Fault> {
    let tokens = object(json, "tokens")?;
    if let Some((name, _)) = tokens.0.iter().find(|(_, value)| !value.get().starts_with('"')) {
        return fault(format!("tokens.{}", shown(name)), "must be a string");
    }
    if let Some((name, _)) = tokens.0.iter().find(|(_, value)| has_half_pair(value.get())) {
        return fault(format!("tokens.{}", shown(name)), Unfit::HalfPair.to_string());
    }
    let mut compact = Vec::new();
    json_text::push_compacted(&mut compact, json);
    String::from_utf8(compact).map_err(|_| ("tokens".to_owned(), "must be UTF-8".to_owned()))
}
