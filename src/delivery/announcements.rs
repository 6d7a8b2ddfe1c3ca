//! What one connection has been told, and what it must be told before a message: schemas and metadata.
//!
//! A state machine without sockets and clocks. It adds small messages of its own in front of shared ones and never
//! changes those.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::codec::cloudevents::{self, Event, EventContext, EventKind};
use crate::codec::json::{
    GroupAssignment, object_metadata, push_caught_up, push_drain, push_group_assignment, push_heartbeat, push_value,
    stream_metadata,
};
use crate::codec::schema_record::{
    caught_up_schema, ddl_schema, dml_schema, drain_schema, group_assignment_schema, heartbeat_schema,
    object_metadata_schema, stream_metadata_schema,
};
use crate::codec::token::{self, TokenText};
use crate::delivery::batch::Batch;
use crate::delivery::block::{Block, Piece};
use crate::delivery::contract::Contract;
use crate::record::{Position, SchemaId, TableName, TableSchema, Timestamp};

/// What one connection has been told.
#[derive(Debug)]
pub struct Announcements {
    contract: Arc<Contract>,
    tables: HashMap<TableName, SchemaId>,
    told_object_metadata_schema: bool,
    told_ddl_schema: bool,
    told_heartbeat_schema: bool,
    told_caught_up_schema: bool,
}

impl Announcements {
    /// For a connection that has been told nothing.
    pub fn new(contract: Arc<Contract>) -> Self {
        Self {
            contract,
            tables: HashMap::new(),
            told_object_metadata_schema: false,
            told_ddl_schema: false,
            told_heartbeat_schema: false,
            told_caught_up_schema: false,
        }
    }

    /// The messages that open a connection: the stream's metadata, its schema first.
    pub fn open(&mut self, now: Timestamp) -> Option<Bytes> {
        let contract = self.contract.clone();
        let mut out = Message::new(&contract, now);
        if contract.options.stream_metadata {
            out.schema(stream_metadata_schema(&contract.options));
            let record = stream_metadata(&contract.metadata, &contract.options, contract.expose_host);
            out.push(EventKind::StreamMetadata, None, &record);
        }
        out.finish()
    }

    /// Adds what the session sends for a block to `out`: the block's own bytes, and ahead of a piece what must be told
    /// before it.
    pub fn hand_over(&mut self, block: &Block, now: Timestamp, out: &mut Vec<Bytes>) {
        let mut start = 0;
        for piece in &block.pieces {
            out.extend(self.announce(piece, now));
            out.push(block.bytes.slice(start..piece.end));
            start = piece.end;
        }
    }

    /// A message that only tells the position, and before the first one what it looks like.
    pub fn heartbeat(&mut self, position: Position, now: Timestamp) -> Option<Bytes> {
        let contract = self.contract.clone();
        let mut out = Message::new(&contract, now);
        if !std::mem::replace(&mut self.told_heartbeat_schema, true) {
            out.schema(heartbeat_schema(&contract.options));
        }
        out.heartbeat(position);
        out.finish()
    }

    /// A message that says that everything was sent, and before the first one what it looks like. `tail`: commit time of the
    /// trail's last transaction, if it has one.
    pub fn caught_up(&mut self, position: Position, tail: Option<Timestamp>, now: Timestamp) -> Option<Bytes> {
        let contract = self.contract.clone();
        let mut out = Message::new(&contract, now);
        if !std::mem::replace(&mut self.told_caught_up_schema, true) {
            out.schema(caught_up_schema(&contract.options));
        }
        out.caught_up(position, tail);
        out.finish()
    }

    /// The last message: when to come back. It tells no position, for it may come in the place of messages that were not sent.
    pub fn drain(&self, retry_after_millis: u64, now: Timestamp) -> Option<Bytes> {
        let mut out = Message::new(&self.contract, now);
        out.schema(drain_schema(&self.contract.options));
        out.drain(retry_after_millis);
        out.finish()
    }

    /// What must be sent before `piece`, if anything.
    fn announce(&mut self, piece: &Piece, now: Timestamp) -> Option<Bytes> {
        let is_new = |schema: &&Arc<TableSchema>| self.tables.get(&schema.table) != Some(&schema.id);
        let schemas: Vec<_> = piece.schemas.iter().filter(is_new).cloned().collect();
        let ddl = piece.has_ddl && !self.told_ddl_schema;
        if schemas.is_empty() && !ddl {
            return None;
        }
        let contract = self.contract.clone();
        let options = &contract.options;
        let mut out = Message::new(&contract, now);
        for schema in schemas {
            if options.object_metadata {
                if !std::mem::replace(&mut self.told_object_metadata_schema, true) {
                    out.schema(object_metadata_schema(options));
                }
                let subject = schema.table.to_string();
                out.push(EventKind::ObjectMetadata, Some(&subject), &object_metadata(&schema, options));
            }
            out.schema(dml_schema(&schema, options));
            self.tables.insert(schema.table.clone(), schema.id);
        }
        if ddl {
            self.told_ddl_schema = true;
            out.schema(ddl_schema(options));
        }
        out.finish()
    }
}

/// A message of metadata and schemas, being made; several where one would be too long.
struct Message<'c> {
    contract: &'c Contract,
    batch: Batch,
    now: Timestamp,
}

impl<'c> Message<'c> {
    fn new(contract: &'c Contract, now: Timestamp) -> Self {
        let batch = Batch::new(contract.message_form());
        Self { contract, batch, now }
    }

    fn schema(&mut self, schema: Value) {
        if self.contract.options.schema_records {
            self.push(EventKind::Schema, None, &schema);
        }
    }

    fn push(&mut self, kind: EventKind, subject: Option<&str>, record: &Value) {
        let mut json = Vec::new();
        push_value(&mut json, record);
        self.push_json(kind, subject, &json);
    }

    fn push_json(&mut self, kind: EventKind, subject: Option<&str>, json: &[u8]) {
        let id = cloudevents::stable_id(json);
        let now = self.now;
        self.write(None, |events, out| {
            if let Some(events) = events {
                let time = Some(now);
                events.open(out, &Event { kind, id: &id, time, subject, partition_key: None, position: None });
            }
            out.extend_from_slice(json);
        });
    }

    fn heartbeat(&mut self, position: Position) {
        let (options, now) = (&self.contract.options, self.now);
        self.at(EventKind::Heartbeat, position, |pos, out| push_heartbeat(pos, now, options, out));
    }

    fn caught_up(&mut self, position: Position, tail: Option<Timestamp>) {
        let (options, now) = (&self.contract.options, self.now);
        self.at(EventKind::CaughtUp, position, |pos, out| push_caught_up(pos, tail, now, options, out));
    }

    fn drain(&mut self, retry_after_millis: u64) {
        let mut json = Vec::new();
        push_drain(retry_after_millis, self.now, &self.contract.options, &mut json);
        self.push_json(EventKind::Drain, None, &json);
    }

    /// A record of which the position is what it is about.
    fn at(&mut self, kind: EventKind, position: Position, push: impl FnOnce(&TokenText, &mut Vec<u8>)) {
        let (contract, now) = (self.contract, self.now);
        let pos = token::encode(&position, contract.hash);
        self.write(Some(&position), |events, out| {
            if let Some(events) = events {
                let (id, time, position) = (pos.as_str(), Some(now), Some(position));
                events.open(out, &Event { kind, id, time, subject: None, partition_key: None, position });
            }
            push(&pos, out);
        });
    }

    fn write(&mut self, position: Option<&Position>, write: impl FnOnce(Option<&EventContext>, &mut Vec<u8>)) {
        let events = self.contract.events.as_ref();
        // Writing cannot fail.
        let _ = self.batch.push(position, |out| -> Result<(), Infallible> {
            write(events, out);
            if events.is_some() {
                cloudevents::close(out);
            }
            Ok(())
        });
    }

    fn finish(mut self) -> Option<Bytes> {
        self.batch.finish();
        let bytes = self.batch.take();
        (!bytes.is_empty()).then(|| bytes.into())
    }
}

/// A message that tells a member of a consumer group which partitions it has from now on, what it looks like first.
pub fn group_assignment(contract: &Contract, assignment: &GroupAssignment<'_>) -> Option<Bytes> {
    let mut out = Message::new(contract, assignment.time);
    out.schema(group_assignment_schema(&contract.options));
    let mut json = Vec::new();
    push_group_assignment(assignment, &contract.options, &mut json);
    out.push_json(EventKind::GroupAssignment, None, &json);
    out.finish()
}
