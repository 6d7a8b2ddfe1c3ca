//! What one connection has heard, and what it must hear before a message: schemas and metadata.
//!
//! A state machine without sockets and clocks. It adds small messages of its own in front of shared ones and never
//! changes those.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::codec::cloudevents::{self, Event, EventKind};
use crate::codec::json::{object_metadata, push_value, stream_metadata};
use crate::codec::schema_record::{
    ddl_schema, dml_schema, heartbeat_schema, object_metadata_schema, stream_metadata_schema,
};
use crate::delivery::batch::Batch;
use crate::delivery::contract::Contract;
use crate::delivery::encoder::Message;
use crate::record::{SchemaId, TableName, TableSchema, Timestamp};

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
    pub fn open(&mut self, now: Timestamp) -> Vec<Bytes> {
        let contract = self.contract.clone();
        let mut out = Announcement::new(&contract, now);
        if contract.options.stream_metadata {
            out.schema(stream_metadata_schema(&contract.options));
            let record = stream_metadata(&contract.metadata, &contract.options, contract.expose_host);
            out.push(EventKind::StreamMetadata, None, &record);
        }
        out.finish()
    }

    /// What must be sent before `message`, if anything.
    pub fn announce(&mut self, message: &Message, now: Timestamp) -> Vec<Bytes> {
        let unheard = |shape: &&Arc<TableSchema>| self.tables.get(&shape.table) != Some(&shape.id);
        let shapes: Vec<_> = message.shapes.iter().filter(unheard).cloned().collect();
        let ddl = message.has_ddl && !self.heard_ddl_schema;
        let heartbeat = message.has_heartbeat && !self.heard_heartbeat_schema;
        if shapes.is_empty() && !ddl && !heartbeat {
            return Vec::new();
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
        if heartbeat {
            self.heard_heartbeat_schema = true;
            out.schema(heartbeat_schema(options));
        }
        out.finish()
    }
}

/// Messages of metadata and schemas being gathered.
struct Announcement<'c> {
    contract: &'c Contract,
    batch: Batch,
    messages: Vec<Bytes>,
    now: Timestamp,
}

impl<'c> Announcement<'c> {
    fn new(contract: &'c Contract, now: Timestamp) -> Self {
        let batch = Batch::new(contract.message_bytes_max, contract.single);
        Self { contract, batch, messages: Vec::new(), now }
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
        let pushed = self.batch.push(|out| -> Result<(), Infallible> {
            if let Some(events) = &self.contract.events {
                let time = Some(self.now);
                events.open(out, &Event { kind, id: &id, time, subject, partition_key: None, position: None });
                out.extend_from_slice(&json);
                cloudevents::close(out);
            } else {
                out.extend_from_slice(&json);
            }
            Ok(())
        });
        if let Ok(Some(message)) = pushed {
            self.messages.push(message);
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.messages.extend(self.batch.finish());
        self.messages
    }
}
