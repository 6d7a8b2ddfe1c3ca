//! From a trail's entries to finished messages of a contract, once for all sessions that share it.
//!
//! A message holds at most one shape a table and knows which, so that each session can say first what its client has
//! not heard. Knows no socket, no clock and no session.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::cloudevents::{self, Event, EventKind};
use crate::codec::image::Image;
use crate::codec::json::{
    DdlRecord, DmlRecord, EncodeError, MetaField, PreparedTable, RecordContext, TransInd, push_ddl, push_heartbeat,
};
use crate::codec::token;
use crate::delivery::batch::Batch;
use crate::delivery::contract::Contract;
use crate::delivery::rules::{HeaderVerdict, RecordBody, RecordHeader, Rules};
use crate::limits::RULE_TABLES_REMEMBERED;
use crate::record::{Operation, Position, SchemaId, TableName, TableSchema, Timestamp};
use crate::trail::{Entry, MalformedRecord, Record, Transaction};

/// A finished message and what a client must have heard before it.
#[derive(Debug)]
pub struct Message {
    /// The framed bytes.
    pub bytes: Bytes,
    /// Shapes of its row records, in order of first use; one a table.
    pub shapes: Vec<Arc<TableSchema>>,
    /// Whether it holds a DDL record.
    pub has_ddl: bool,
    /// Whether it holds a heartbeat.
    pub has_heartbeat: bool,
    /// Records in it.
    pub records: u32,
    /// Position of its last record.
    pub last: Position,
}

/// Why a contract's records cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeStop {
    /// A record is larger than the stream allows.
    #[error("{member}: a record of {bytes} bytes, {limit} allowed; go on after {after}")]
    TooLarge {
        /// The member that sets the limit.
        member: &'static str,
        /// The record's size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
        /// The record's position: resuming there skips it.
        after: String,
    },
    /// The trail holds something unreadable.
    #[error("{0}")]
    Malformed(String),
}

impl From<MalformedRecord> for EncodeStop {
    fn from(error: MalformedRecord) -> Self {
        Self::Malformed(error.to_string())
    }
}

#[derive(Debug)]
struct Table {
    schema: Arc<TableSchema>,
    prepared: PreparedTable,
}

/// What is sent of one record, borrowed from wherever it lies.
#[derive(Clone, Copy)]
struct Outgoing<'a> {
    transaction: &'a Arc<Transaction>,
    number: u32,
    operation: Operation,
    schema: Option<&'a Arc<TableSchema>>,
    before: Option<Image<'a>>,
    after: Option<Image<'a>>,
    tokens: Option<&'a str>,
    ddl: Option<(&'a TableName, &'a str)>,
}

/// A record kept until it is known whether it is the last that is sent of its transaction.
#[derive(Debug)]
struct Held {
    transaction: Arc<Transaction>,
    number: u32,
    operation: Operation,
    schema: Option<Arc<TableSchema>>,
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
    tokens: Option<String>,
    ddl: Option<(TableName, String)>,
    first: bool,
}

/// Encodes the entries of one contract.
#[derive(Debug)]
pub struct Encoder {
    contract: Arc<Contract>,
    rules: Rules,
    tables: HashMap<SchemaId, Arc<Table>>,
    /// The table of the last record: rows of one table mostly come together.
    recent: Option<Arc<Table>>,
    batch: Batch,
    shapes: Vec<Arc<TableSchema>>,
    has_ddl: bool,
    has_heartbeat: bool,
    records: u32,
    last: Option<Position>,
    ready: VecDeque<Message>,
    looks_ahead: bool,
    held: Option<Held>,
    /// Commit number of the transaction that an earlier session had begun to send.
    begun_before: Option<u64>,
}

impl Encoder {
    /// An encoder with nothing in it.
    pub fn new(contract: Arc<Contract>) -> Self {
        Self {
            rules: contract.rules.clone(),
            batch: Batch::new(contract.message_bytes_max, contract.single),
            looks_ahead: contract.options.meta.is_sent(MetaField::TransInd),
            contract,
            tables: HashMap::new(),
            recent: None,
            shapes: Vec::new(),
            has_ddl: false,
            has_heartbeat: false,
            records: 0,
            last: None,
            ready: VecDeque::new(),
            held: None,
            begun_before: None,
        }
    }

    /// Goes on after `position`, which was given out under this contract's rules: its transaction has been begun, so
    /// what is left of it says of itself what it would have said in one session (`trans_ind`).
    pub fn resume_after(&mut self, position: &Position) {
        self.begun_before = Some(position.commit);
    }

    /// Takes the next entry of the trail. `now` is what `current_ts` says.
    pub fn take(&mut self, entry: &Entry<'_>, now: Timestamp) -> Result<(), EncodeStop> {
        match entry {
            Entry::Begin(_) => Ok(()),
            Entry::Record(record) => self.record(record, now),
            Entry::Commit(_) => match self.held.take() {
                Some(held) => self.release(&held, true, now),
                None => Ok(()),
            },
        }
    }

    fn record(&mut self, record: &Record<'_>, now: Timestamp) -> Result<(), EncodeStop> {
        let ddl = if record.operation == Operation::Ddl { Some(record.ddl()?) } else { None };
        let table = record.schema.map(|schema| &schema.table).or(ddl.as_ref().map(|(table, _)| table));
        let header = RecordHeader { table, operation: record.operation, partition: None };
        let verdict = self.rules.decide_header(&header);
        if verdict == HeaderVerdict::Drop {
            return Ok(());
        }
        let row = if ddl.is_some() { Default::default() } else { record.row()? };
        let tokens = (!row.tokens.is_empty()).then_some(row.tokens);
        if verdict == HeaderVerdict::NeedsBody {
            let schema = record.schema.map(|schema| &**schema);
            let body = RecordBody { schema, before: row.before, after: row.after, tokens };
            if !self.rules.decide(&header, &body) {
                return Ok(());
            }
        }
        let outgoing = Outgoing {
            transaction: record.transaction,
            number: record.number,
            operation: record.operation,
            schema: record.schema,
            before: row.before,
            after: row.after,
            tokens,
            ddl: ddl.as_ref().map(|(table, text)| (table, *text)),
        };
        if self.looks_ahead { self.hold(&outgoing, now) } else { self.push(&outgoing, TransInd::Whole, now) }
    }

    fn hold(&mut self, record: &Outgoing<'_>, now: Timestamp) -> Result<(), EncodeStop> {
        let before = self.held.take();
        let commit = record.transaction.commit;
        let starts = before.as_ref().is_none_or(|held| held.transaction.commit != commit);
        let first = starts && self.begun_before != Some(commit);
        self.held = Some(Held {
            transaction: record.transaction.clone(),
            number: record.number,
            operation: record.operation,
            schema: record.schema.cloned(),
            before: record.before.map(|image| image.as_bytes().to_vec()),
            after: record.after.map(|image| image.as_bytes().to_vec()),
            tokens: record.tokens.map(str::to_owned),
            ddl: record.ddl.map(|(table, text)| (table.clone(), text.to_owned())),
            first,
        });
        match before {
            Some(held) => self.release(&held, starts, now),
            None => Ok(()),
        }
    }

    fn release(&mut self, held: &Held, last: bool, now: Timestamp) -> Result<(), EncodeStop> {
        let trans_ind = match (held.first, last) {
            (true, true) => TransInd::Whole,
            (true, false) => TransInd::Begin,
            (false, false) => TransInd::Middle,
            (false, true) => TransInd::End,
        };
        let outgoing = Outgoing {
            transaction: &held.transaction,
            number: held.number,
            operation: held.operation,
            schema: held.schema.as_ref(),
            before: held.before.as_deref().and_then(image_of),
            after: held.after.as_deref().and_then(image_of),
            tokens: held.tokens.as_deref(),
            ddl: held.ddl.as_ref().map(|(table, text)| (table, text.as_str())),
        };
        self.push(&outgoing, trans_ind, now)
    }

    fn push(&mut self, record: &Outgoing<'_>, trans_ind: TransInd, now: Timestamp) -> Result<(), EncodeStop> {
        let transaction = record.transaction;
        let position = Position {
            epoch: self.contract.epoch,
            commit: transaction.commit,
            record: record.number,
            xid_hash: transaction.xid_hash,
        };
        let table = record.schema.map(|schema| self.table(schema));
        if let Some(table) = &table {
            self.make_room_for(&table.schema);
        }
        let contract = self.contract.clone();
        let context = RecordContext {
            head: &transaction.head,
            position,
            contract: contract.hash,
            trans_ind,
            tokens: record.tokens,
            now,
        };
        let write = |out: &mut Vec<u8>| -> Result<(), EncodeError> {
            open_event(&contract, record, &context, out);
            match (&table, record.ddl) {
                (Some(table), _) => {
                    let dml =
                        DmlRecord { context, operation: record.operation, before: record.before, after: record.after };
                    table.prepared.encode(&dml, out)?;
                }
                (None, Some((table, text))) => {
                    push_ddl(&DdlRecord { context, table: Some(table), text }, &contract.options, out)?;
                }
                (None, None) => {}
            }
            if contract.events.is_some() {
                cloudevents::close(out);
            }
            Ok(())
        };
        match self.batch.push(write) {
            Ok(None) => {}
            Ok(Some(bytes)) => self.complete(bytes),
            Err(EncodeError::Malformed(error)) => return Err(EncodeStop::Malformed(error.to_string())),
            Err(EncodeError::TooLarge { member, bytes, limit }) => {
                let after = token::encode(&position, contract.hash).as_str().to_owned();
                return Err(EncodeStop::TooLarge { member, bytes, limit, after });
            }
        }
        if let Some(table) = table
            && !self.shapes.iter().any(|shape| shape.id == table.schema.id)
        {
            self.shapes.push(table.schema.clone());
        }
        self.has_ddl |= record.operation == Operation::Ddl;
        self.records += 1;
        self.last = Some(position);
        if self.contract.single {
            self.finish();
        }
        Ok(())
    }

    /// A record that only tells the position.
    pub fn heartbeat(&mut self, position: Position, now: Timestamp) {
        let contract = self.contract.clone();
        let pos = token::encode(&position, contract.hash);
        let write = |out: &mut Vec<u8>| -> Result<(), EncodeError> {
            if let Some(events) = &contract.events {
                let (kind, id) = (EventKind::Heartbeat, pos.as_str());
                let event =
                    Event { kind, id, time: Some(now), subject: None, partition_key: None, position: Some(position) };
                events.open(out, &event);
            }
            push_heartbeat(&pos, now, &contract.options, out);
            if contract.events.is_some() {
                cloudevents::close(out);
            }
            Ok(())
        };
        if let Ok(Some(bytes)) = self.batch.push(write) {
            self.complete(bytes);
        }
        self.has_heartbeat = true;
        self.records += 1;
        self.last = Some(position);
        self.finish();
    }

    fn table(&mut self, schema: &Arc<TableSchema>) -> Arc<Table> {
        if let Some(recent) = self.recent.as_ref().filter(|recent| recent.schema.id == schema.id) {
            return recent.clone();
        }
        if let Some(known) = self.tables.get(&schema.id) {
            self.recent = Some(known.clone());
            return known.clone();
        }
        if self.tables.len() >= RULE_TABLES_REMEMBERED {
            self.tables.clear();
        }
        let prepared = PreparedTable::new(schema, &self.contract.options);
        let table = Arc::new(Table { schema: schema.clone(), prepared });
        self.tables.insert(schema.id, table.clone());
        table
    }

    /// Ends the message if it holds rows of that table in another shape.
    fn make_room_for(&mut self, schema: &Arc<TableSchema>) {
        if self.shapes.iter().any(|shape| shape.id != schema.id && shape.table == schema.table) {
            self.finish();
        }
    }

    /// Ends the message being gathered.
    pub fn finish(&mut self) {
        if let Some(bytes) = self.batch.finish() {
            self.complete(bytes);
        }
    }

    fn complete(&mut self, bytes: Bytes) {
        let Some(last) = self.last else { return };
        self.ready.push_back(Message {
            bytes,
            shapes: std::mem::take(&mut self.shapes),
            has_ddl: std::mem::take(&mut self.has_ddl),
            has_heartbeat: std::mem::take(&mut self.has_heartbeat),
            records: std::mem::take(&mut self.records),
            last,
        });
    }

    /// The next finished message.
    pub fn pop(&mut self) -> Option<Message> {
        self.ready.pop_front()
    }

    /// Whether a finished message waits.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}

fn image_of(bytes: &[u8]) -> Option<Image<'_>> {
    Image::split(bytes).ok().map(|(image, _)| image)
}

fn open_event(contract: &Contract, record: &Outgoing<'_>, context: &RecordContext<'_>, out: &mut Vec<u8>) {
    let Some(events) = &contract.events else { return };
    let pos = token::encode(&context.position, context.contract);
    let table = record.schema.map(|schema| &schema.table).or(record.ddl.map(|(table, _)| table));
    let subject = table.map(ToString::to_string);
    let key = record.schema.map(|schema| cloudevents::partition_key(schema, record.after.or(record.before)));
    events.open(
        out,
        &Event {
            kind: EventKind::Record(record.operation),
            id: pos.as_str(),
            time: Some(context.head.commit_ts),
            subject: subject.as_deref(),
            partition_key: key.as_deref(),
            position: Some(context.position),
        },
    );
}
