//! What one connection has heard, and what it must hear before a message: schemas and metadata.
//!
//! A state machine without sockets and clocks. It adds small messages of its own in front of shared ones and never
//! changes those.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::codec::cloudevents::{self, Event, EventContext, EventKind};
use crate::codec::json::{object_metadata, push_heartbeat, push_value, stream_metadata};
use crate::codec::schema_record::{
    ddl_schema, dml_schema, heartbeat_schema, object_metadata_schema, stream_metadata_schema,
};
use crate::codec::token;
use crate::delivery::batch::Batch;
use crate::delivery::block::{Block, Piece};
use crate::delivery::contract::Contract;
use crate::record::{Position, SchemaId, TableName, TableSchema, Timestamp};

/// What one connection has heard.
#[derive(Debug)]
pub struct Session {
    contract: Arc<Contract>,
    tables: HashMap<TableName, SchemaId>,
    heard_object_metadata_schema: bool,
    heard_ddl_schema: bool,
    heard_heartbeat_schema: bool,
}

impl Session {
    /// A connection that has heard nothing.
    pub fn new(contract: Arc<Contract>) -> Self {
        Self {
            contract,
            tables: HashMap::new(),
            heard_object_metadata_schema: false,
            heard_ddl_schema: false,
            heard_heartbeat_schema: false,
        }
    }

    /// The messages that open a connection: the stream's metadata, its schema first.
    pub fn open(&mut self, now: Timestamp) -> Option<Bytes> {
        let contract = self.contract.clone();
        let mut out = Announcement::new(&contract, now);
        if contract.options.stream_metadata {
            out.schema(stream_metadata_schema(&contract.options));
            let record = stream_metadata(&contract.metadata, &contract.options, contract.expose_host);
            out.push(EventKind::StreamMetadata, None, &record);
        }
        out.finish()
    }

    /// Adds what the session sends for a block to `out`: the block's own bytes, and ahead of a piece what must be heard
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
        let mut out = Announcement::new(&contract, now);
        if !std::mem::replace(&mut self.heard_heartbeat_schema, true) {
            out.schema(heartbeat_schema(&contract.options));
        }
        out.heartbeat(position);
        out.finish()
    }

    /// What must be sent before `piece`, if anything.
    fn announce(&mut self, piece: &Piece, now: Timestamp) -> Option<Bytes> {
        let unheard = |shape: &&Arc<TableSchema>| self.tables.get(&shape.table) != Some(&shape.id);
        let shapes: Vec<_> = piece.shapes.iter().filter(unheard).cloned().collect();
        let ddl = piece.has_ddl && !self.heard_ddl_schema;
        if shapes.is_empty() && !ddl {
            return None;
        }
        let contract = self.contract.clone();
        let options = &contract.options;
        let mut out = Announcement::new(&contract, now);
        for shape in shapes {
            if options.object_metadata {
                if !std::mem::replace(&mut self.heard_object_metadata_schema, true) {
                    out.schema(object_metadata_schema(options));
                }
                let subject = shape.table.to_string();
                out.push(EventKind::ObjectMetadata, Some(&subject), &object_metadata(&shape, options));
            }
            out.schema(dml_schema(&shape, options));
            self.tables.insert(shape.table.clone(), shape.id);
        }
        if ddl {
            self.heard_ddl_schema = true;
            out.schema(ddl_schema(options));
        }
        out.finish()
    }
}

/// Messages of metadata and schemas being gathered.
struct Announcement<'c> {
    contract: &'c Contract,
    batch: Batch,
    now: Timestamp,
}

impl<'c> Announcement<'c> {
    fn new(contract: &'c Contract, now: Timestamp) -> Self {
        let batch = Batch::new(contract.message_bytes_max, contract.single);
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
        let id = cloudevents::stable_id(&json);
        let now = self.now;
        self.write(|events, out| {
            if let Some(events) = events {
                let time = Some(now);
                events.open(out, &Event { kind, id: &id, time, subject, partition_key: None, position: None });
            }
            out.extend_from_slice(&json);
        });
    }

    fn heartbeat(&mut self, position: Position) {
        let (contract, now) = (self.contract, self.now);
        let pos = token::encode(&position, contract.hash);
        self.write(|events, out| {
            if let Some(events) = events {
                let (kind, id) = (EventKind::Heartbeat, pos.as_str());
                let (time, position) = (Some(now), Some(position));
                events.open(out, &Event { kind, id, time, subject: None, partition_key: None, position });
            }
            push_heartbeat(&pos, now, &contract.options, out);
        });
    }

    fn write(&mut self, write: impl FnOnce(Option<&EventContext>, &mut Vec<u8>)) {
        let events = self.contract.events.as_ref();
        // Writing cannot fail.
        let _ = self.batch.push(|out| -> Result<(), Infallible> {
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
