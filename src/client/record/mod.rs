//! A stream's messages as a client reads them: cut into records whose text stays as it came, and which of a record's members
//! are metadata.
//!
//! Takes each framing (an array, or one record) and CloudEvents, whose `data` is the record. A column may have any name, that
//! of a metadata field too; which member is which stands in the schema records (`described`), so one reader reads one
//! connection from its first message on.

mod described;
mod kind;

use serde_json::value::RawValue;

use crate::codec::json::{
    CAUGHT_UP, DRAIN, HEARTBEAT, MetaField, OBJECT_METADATA, OperationStrings, STREAM_METADATA, TRUNCATED, UNCHANGED,
};
use crate::codec::put::RawObject;
use crate::limits;
use crate::record::Operation;
use described::{Described, Found, is_schema, string};
pub use kind::RecordKind;

/// One record of a message.
#[derive(Debug)]
pub struct Record<'m> {
    text: &'m str,
    members: RawObject<'m>,
    /// The envelope's id, where that is a position.
    event_pos: Option<String>,
    is_event: bool,
    found: Found,
}

/// Reads the messages of one connection.
#[derive(Debug)]
pub struct RecordReader {
    /// What stands as `source` in the stream's CloudEvents.
    event_source: String,
    /// Whether records come as CloudEvents: all of them, or none. Known from the first record on.
    events: Option<bool>,
    described: Vec<Described>,
}

impl RecordReader {
    /// A reader of a connection to that stream.
    pub fn new(stream: &str) -> Self {
        Self { event_source: format!("/services/v2/stream/{stream}"), events: None, described: Vec::new() }
    }

    /// The records of the next message.
    pub fn read<'m>(&mut self, message: &'m str) -> Result<Vec<Record<'m>>, String> {
        let not_records = |error: serde_json::Error| format!("a message of the stream is not understood: {error}");
        let texts: Vec<&RawValue> = if message.trim_start().starts_with('[') {
            serde_json::from_str(message).map_err(not_records)?
        } else {
            vec![serde_json::from_str(message).map_err(not_records)?]
        };
        texts.into_iter().map(|raw| self.record(raw.get()).map_err(not_records)).collect()
    }

    fn record<'m>(&mut self, text: &'m str) -> Result<Record<'m>, serde_json::Error> {
        let mut members: RawObject<'m> = serde_json::from_str(text)?;
        let mut event_pos = None;
        let is_event = *self.events.get_or_insert_with(|| is_event(&members, &self.event_source));
        if is_event && let Some(data) = members.get("data") {
            // What has a sequence has a position, and then that is its id.
            event_pos = members.get("sequence").and_then(|_| string(members.get("id")));
            members = serde_json::from_str(data.get())?;
        }
        let found = if is_schema(&members) {
            if let Some(described) = Described::by(&members) {
                Described::add(&mut self.described, described);
            }
            Found { kind: RecordKind::Schema, ..Found::default() }
        } else if self.described.is_empty() {
            usual(&members)
        } else {
            Described::find(&self.described, &members)
        };
        Ok(Record { text, members, event_pos, is_event, found })
    }
}

impl<'m> Record<'m> {
    /// As it came.
    pub fn text(&self) -> &'m str {
        self.text
    }

    /// Its kind.
    pub fn kind(&self) -> RecordKind {
        self.found.kind
    }

    /// Its position: one to resume after. Metadata and schema records have none, nor have records of a stream that is
    /// configured to send none.
    pub fn pos(&self) -> Option<String> {
        let pos = if self.is_event { self.event_pos.clone() } else { self.meta(MetaField::Pos) };
        pos.filter(|pos| may_be_position(pos))
    }

    /// A metadata field that is a text.
    pub fn meta(&self, field: MetaField) -> Option<String> {
        let (_, at) = self.found.fields.iter().find(|(found, _)| *found == field)?;
        string(self.members.0.get(*at).map(|(_, value)| *value))
    }

    /// A member whose name is fixed for this kind of record, such as the `columns` of a table's metadata.
    pub fn member(&self, name: &str) -> Option<&'m RawValue> {
        self.members.get(name)
    }

    /// The before and the after image, where the record holds its columns in such.
    pub fn images(&self) -> [Option<RawObject<'m>>; 2] {
        let object = |name: &String| serde_json::from_str(self.members.get(name)?.get()).ok();
        self.found.images.as_ref().map_or([None, None], |images| images.each_ref().map(object))
    }

    /// The members that are no metadata, in the order in which they came.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &'m RawValue)> {
        let members = self.members.0.iter().enumerate();
        let columns = members.filter(|(at, (name, _))| self.is_column(*at, name));
        columns.map(|(_, (name, value))| (name.as_ref(), *value))
    }

    fn is_column(&self, at: usize, name: &str) -> bool {
        let is_meta = self.found.fields.iter().any(|(_, found)| *found == at);
        !is_meta && !self.found.lists.iter().any(|list| list == name)
    }

    /// Whether it is a change: of a row, or by a statement.
    pub fn is_data(&self) -> bool {
        matches!(self.kind(), RecordKind::Row | RecordKind::Ddl)
    }
}

/// Whether the first record of a connection is an event of the stream. A row with such members is told by its `source`, and
/// seldom comes first.
fn is_event(members: &RawObject<'_>, source: &str) -> bool {
    let is = |name: &str, text: &str| string(members.get(name)).is_some_and(|found| found == text);
    is("specversion", "1.0") && is("source", source) && members.get("data").is_some()
}

/// Positions are opaque; this much of them is promised.
fn may_be_position(text: &str) -> bool {
    (1..=limits::CLIENT_POSITION_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// What can be known of a record without any schema record: metadata stands before the columns, under its usual names.
fn usual(members: &RawObject<'_>) -> Found {
    let mut found = Found::default();
    let mut fields = MetaField::all();
    let mut columns_from = 0;
    for (at, (name, _)) in members.0.iter().enumerate() {
        let Some(field) = fields.find(|field| name.trim_start_matches('_') == field.usual_name()) else { break };
        columns_from = at + 1;
        // Those that are off by default may as well be columns; whoever looks is shown them.
        let may_be_column = [MetaField::Catalog, MetaField::Schema, MetaField::Table, MetaField::Csn, MetaField::Xid];
        if !may_be_column.contains(&field) {
            found.fields.push((field, at));
        }
    }
    let labels = OperationStrings::default();
    let op = found.fields.first().filter(|(field, _)| *field == MetaField::OpType);
    let op = op.and_then(|(_, at)| string(members.0.get(*at).map(|(_, value)| *value)));
    found.kind = match op.as_deref() {
        Some(STREAM_METADATA) => RecordKind::StreamMetadata,
        Some(OBJECT_METADATA) => RecordKind::ObjectMetadata,
        Some(HEARTBEAT) => RecordKind::Heartbeat,
        Some(CAUGHT_UP) => RecordKind::CaughtUp,
        Some(DRAIN) => RecordKind::Drain,
        Some(op) if op == labels.label(Operation::Ddl) => RecordKind::Ddl,
        _ => RecordKind::Row,
    };
    if found.kind == RecordKind::Heartbeat {
        // It has no columns, and its time stands last.
        let time = members.0.iter().position(|(name, _)| name == MetaField::OpTs.usual_name());
        found.fields.extend(time.map(|at| (MetaField::OpTs, at)));
    }
    found.lists = [UNCHANGED, TRUNCATED].map(str::to_owned).into();
    // With anything else beside them they are as likely columns.
    let images = ["before", "after"];
    let mut rest = members.0.iter().skip(columns_from).map(|(name, _)| name.as_ref());
    let are_images = rest.all(|name| images.contains(&name) || [UNCHANGED, TRUNCATED].contains(&name));
    found.images = are_images.then(|| images.map(str::to_owned));
    found
}

#[cfg(test)]
mod tests;
