//! A pulled record as the JSON of this program's records, for protocols that carry texts: what a stream without options would
//! send, with commit and record number (`csn`, `op_seqno`) in the place of a stream's position.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::json;

use super::pulled::{Pulled, PulledBody};
use crate::codec::image::Image;
use crate::codec::json::{
    DdlRecord, DmlRecord, EncodeError, JsonOptions, PreparedTable, RecordContext, TransInd, push_ddl,
};
use crate::codec::message_row::push_row;
use crate::codec::token::ContractHash;
use crate::limits::RULE_TABLES_REMEMBERED;
use crate::record::{
    Epoch, Message, MessageHeader, Operation, SchemaId, TableSchema, Timestamp, TrailName, messages_schema,
};

/// Writes records of one trail; what it has learned of tables is of use to the next record.
#[derive(Debug)]
pub struct RecordWriter {
    options: JsonOptions,
    messages: Arc<TableSchema>,
    tables: HashMap<SchemaId, PreparedTable>,
    message_row: Vec<u8>,
}

impl RecordWriter {
    /// Writes records of that trail.
    pub fn new(trail: &TrailName) -> Self {
        let fields = json!({"metaFields": {"pos": false, "csn": true, "opSeqno": true}});
        let options = JsonOptions::parse("", &fields).unwrap_or_default();
        Self { options, messages: Arc::new(messages_schema(trail)), tables: HashMap::new(), message_row: Vec::new() }
    }

    /// Appends a record as one JSON object.
    pub fn push(&mut self, pulled: &Pulled, now: Timestamp, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let tokens = match &pulled.body {
            PulledBody::Row(row) if !row.tokens.is_empty() => Some(row.tokens.as_str()),
            _ => None,
        };
        let context = RecordContext {
            head: &pulled.transaction.head,
            // Neither epoch nor contract is told.
            position: pulled.position(Epoch(0)),
            contract: ContractHash(0),
            trans_ind: TransInd::Whole,
            tokens,
            now,
        };
        match &pulled.body {
            PulledBody::Ddl { table, statement } => {
                push_ddl(&DdlRecord { context, table: Some(table), text: statement }, &self.options, out)
            }
            PulledBody::Row(row) => {
                let (before, after) = (row.before(), row.after());
                let record = DmlRecord { context, operation: row.operation, before, after };
                self.table(&row.schema).encode(&record, out)
            }
            PulledBody::Message { key, value, headers } => {
                let headers = headers.iter().map(|(name, value)| MessageHeader { name, value }).collect();
                let message = Message { key: key.as_deref(), headers, value };
                let mut row = std::mem::take(&mut self.message_row);
                row.clear();
                push_row(&mut row, &message, pulled.partition);
                let after = Some(Image::whole(&row));
                let record = DmlRecord { context, operation: Operation::Insert, before: None, after };
                let messages = self.messages.clone();
                let pushed = self.table(&messages).encode(&record, out);
                self.message_row = row;
                pushed
            }
        }
    }

    fn table(&mut self, schema: &TableSchema) -> &PreparedTable {
        if self.tables.len() >= RULE_TABLES_REMEMBERED {
            self.tables.clear();
        }
        let options = &self.options;
        self.tables.entry(schema.id).or_insert_with(|| PreparedTable::new(schema, options))
    }
}
