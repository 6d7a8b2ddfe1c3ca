//! From a trail's entries to the messages of a contract, once for all sessions that share it.
//!
//! A message holds at most one schema a table, and which ones is known, so that each session can say first what its
//! client has not been told. Knows no socket, no clock and no session.

use std::collections::HashMap;
use std::sync::Arc;

use crate::codec::cloudevents::{self, Event, EventKind, RowEvent, RowEvents};
use crate::codec::image::{Image, MalformedImage};
use crate::codec::json::{
    DdlRecord, DmlRecord, EncodeError, HeadCache, MetaField, PreparedTable, RecordContext, TransInd, push_ddl,
};
use crate::codec::message_row::push_row;
use crate::codec::token;
use crate::delivery::batch::{Batch, Finished};
use crate::delivery::block::Piece;
use crate::delivery::contract::Contract;
use crate::delivery::counts::{ByOperation, Tally};
use crate::delivery::end::End;
use crate::delivery::negotiated::Partitions;
use crate::delivery::rules::{HeaderVerdict, RecordBody, RecordHeader, Rules};
use crate::limits::{PIECE_BYTES_MAX, RULE_TABLES_REMEMBERED};
use crate::record::{Operation, Position, SchemaId, TableName, TableSchema, Timestamp};
use crate::trail::{Body, Entry, Followed, Location, Record, RowBody, Transaction};

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
    location: Location,
}

impl<'a> Outgoing<'a> {
    /// A record with nothing in it yet.
    fn of(record: &Record<'a>) -> Self {
        Self::row(record, &RowBody::default())
    }

    fn row(record: &Record<'a>, row: &RowBody<'a>) -> Self {
        Self {
            transaction: record.transaction,
            number: record.number,
            operation: record.operation,
            schema: record.schema,
            before: row.before,
            after: row.after,
            tokens: (!row.tokens.is_empty()).then_some(row.tokens),
            ddl: None,
            location: record.location,
        }
    }
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
    location: Location,
}

/// Encodes the entries of one contract.
#[derive(Debug)]
pub struct Encoder {
    contract: Arc<Contract>,
    rules: Rules,
    partitions: Partitions,
    tables: HashMap<SchemaId, Arc<Table>>,
    /// The table of the last record: rows of one table mostly come together.
    recent: Option<Arc<Table>>,
    heads: HeadCache,
    events: RowEvents,
    /// Rows of that schema and operation are sent whatever they hold, and the message being gathered has the schema.
    alike: Option<(SchemaId, Operation)>,
    /// Rows of that schema and operation are left out whatever they hold.
    unwanted: Option<(SchemaId, Operation)>,
    /// The row that the message at hand is shown as.
    message_row: Vec<u8>,
    batch: Batch,
    /// Of the message being gathered.
    schemas: Vec<Arc<TableSchema>>,
    has_ddl: bool,
    records: u32,
    /// Of all messages since they were taken last.
    tally: Tally,
    /// The finished messages.
    pieces: Vec<Piece>,
    looks_ahead: bool,
    held: Option<Held>,
    /// Commit number of the transaction of which a record was sent last, where that is asked for.
    begun: Option<u64>,
}

impl Encoder {
    /// An encoder with nothing in it. `begun`: commit number of the transaction that it starts in, when records of it
    /// were sent before, so that what is left of it says what it would have said in one go (`trans_ind`).
    pub fn new(contract: Arc<Contract>, begun: Option<u64>) -> Self {
        let looks_ahead = contract.options.meta.is_sent(MetaField::TransInd);
        Self {
            rules: contract.rules.clone(),
            partitions: contract.negotiated.partitions.clone(),
            batch: Batch::new(contract.message_form()),
            looks_ahead,
            contract,
            tables: HashMap::new(),
            recent: None,
            heads: HeadCache::default(),
            events: RowEvents::default(),
            alike: None,
            unwanted: None,
            message_row: Vec::new(),
            schemas: Vec::new(),
            has_ddl: false,
            records: 0,
            tally: Tally::default(),
            pieces: Vec::new(),
            held: None,
            begun: begun.filter(|_| looks_ahead),
        }
    }

    /// Makes room for about that many bytes of messages.
    pub fn reserve(&mut self, bytes: usize) {
        self.batch.reserve(bytes);
    }

    /// Bytes of messages so far, finished or not.
    pub fn bytes(&self) -> usize {
        self.batch.bytes()
    }

    /// Memory that these and what is known of them take, in bytes.
    #[inline]
    pub fn memory(&self) -> usize {
        self.batch.bytes() + self.pieces.len() * size_of::<Piece>()
    }

    /// Bytes of the largest record since [`Self::take_largest_record`] was last called.
    pub fn largest_record(&self) -> usize {
        self.batch.largest_record()
    }

    /// The same, and begins anew.
    pub fn take_largest_record(&mut self) -> usize {
        self.batch.take_largest_record()
    }

    /// Where the record lies that is kept until it is known whether another of its transaction follows. What lies
    /// before it has been encoded.
    pub fn kept_back(&self) -> Option<Location> {
        self.held.as_ref().map(|held| held.location)
    }

    /// Commit number of the transaction around the next record, when an earlier record of it was sent: what an encoder
    /// that goes on from here must be told.
    pub fn begun(&self) -> Option<u64> {
        match &self.held {
            Some(held) => self.begun.filter(|begun| *begun == held.transaction.commit),
            None => self.begun,
        }
    }

    /// Takes the next entry of the trail. `now` is what `current_ts` says.
    pub fn take(&mut self, entry: &Entry<'_>, now: Timestamp) -> Result<(), End> {
        match entry {
            Entry::Gap(_) => Ok(()),
            Entry::Record(record) => self.take_row(record, now),
            // What was sent of a transaction means nothing to the next one. A commit alone does not always say so: who
            // resumes behind a transaction's last record may have its commit passed over.
            Entry::Begin(_) => {
                self.begun = None;
                Ok(())
            }
            Entry::Commit(_) => {
                let released = self.held.take().map_or(Ok(()), |held| self.release(&held, true, now));
                self.begun = None;
                released
            }
        }
    }

    /// Takes a record. One like the last needs no second look at rules and schemas.
    #[inline]
    pub fn take_row(&mut self, record: &Record<'_>, now: Timestamp) -> Result<(), End> {
        let kind = record.schema.map(|schema| (schema.id, record.operation));
        if kind.is_some() && kind == self.unwanted {
            return Ok(());
        }
        // A statement is about a table, whose rows may be in any partition, and so is a TRUNCATE.
        let place = (record.transaction.commit, record.number);
        let is_of_others = || !self.partitions.include_at(record.partition, place);
        if kind.is_some() && is_of_others() && record.operation != Operation::Truncate {
            return Ok(());
        }
        if kind.is_none() || kind != self.alike {
            return self.record(record, now);
        }
        let outgoing = Outgoing::row(record, &record.row()?);
        if self.looks_ahead {
            return self.write_in_order(&outgoing, record.followed, true, now);
        }
        self.write(&outgoing, TransInd::Whole, now)
    }

    fn record(&mut self, record: &Record<'_>, now: Timestamp) -> Result<(), End> {
        let mut message_row = std::mem::take(&mut self.message_row);
        message_row.clear();
        let taken = self.record_with(&mut message_row, record, now);
        self.message_row = message_row;
        taken
    }

    fn record_with(&mut self, message_row: &mut Vec<u8>, record: &Record<'_>, now: Timestamp) -> Result<(), End> {
        self.alike = None;
        // A statement names its table in its body; of any other record the header is enough to pass over it.
        let statement = if record.schema.is_none() { Some(record.body()?) } else { None };
        let table = match &statement {
            Some(Body::Ddl { table, .. }) => Some(table),
            _ => record.schema.map(|schema| &schema.table),
        };
        // Where partitions decide, two records of a kind are not alike.
        let of_all = !self.rules.ask_for_partitions();
        let partition = if of_all { None } else { self.rules.partition_of(record.partition, record.operation) };
        let header = RecordHeader { table, operation: record.operation, partition };
        let verdict = self.rules.decide_header(&header);
        if verdict == HeaderVerdict::Drop {
            self.unwanted = record.schema.filter(|_| of_all).map(|schema| (schema.id, record.operation));
            return Ok(());
        }
        let read;
        let body = match &statement {
            Some(statement) => statement,
            None => {
                read = record.body()?;
                &read
            }
        };
        let outgoing = match body {
            Body::Row(row) => Outgoing::row(record, row),
            Body::Ddl { table, statement } => Outgoing { ddl: Some((table, statement)), ..Outgoing::of(record) },
            Body::Message(message) => {
                push_row(message_row, message, record.partition);
                Outgoing { after: Some(Image::whole(message_row)), ..Outgoing::of(record) }
            }
        };
        if verdict == HeaderVerdict::NeedsBody {
            let schema = record.schema.map(|schema| &**schema);
            let Outgoing { before, after, tokens, .. } = outgoing;
            let body = RecordBody { schema, before, after, tokens };
            if !self.rules.decide(&header, &body) {
                return Ok(());
            }
        }
        let all_pass = verdict == HeaderVerdict::Pass && of_all;
        if self.looks_ahead {
            return self.write_in_order(&outgoing, record.followed, all_pass, now);
        }
        self.push(&outgoing, TransInd::Whole, now)?;
        self.note_alike(&outgoing, all_pass);
        Ok(())
    }

    /// Rows like the one just written need no second look, if all of its kind pass. A message is no row until one is made of
    /// it.
    fn note_alike(&mut self, written: &Outgoing<'_>, all_pass: bool) {
        let is_alike = |schema: &&Arc<TableSchema>| all_pass && schema.id != SchemaId::MESSAGES;
        let alike = written.schema.filter(is_alike).filter(|_| !self.is_single());
        self.alike = alike.map(|schema| (schema.id, written.operation));
    }

    /// Writes a record with its place in its transaction (`trans_ind`); where that is not known, keeps it until it is.
    fn write_in_order(
        &mut self,
        record: &Outgoing<'_>,
        followed: Followed,
        all_pass: bool,
        now: Timestamp,
    ) -> Result<(), End> {
        let last = match followed {
            Followed::ByCommit => true,
            Followed::ByAlike if all_pass => false,
            Followed::ByAlike | Followed::ByAny => return self.hold(record, now),
        };
        self.release_before(record, now)?;
        self.push(record, self.trans_ind(record, last), now)?;
        self.begun = Some(record.transaction.commit);
        self.note_alike(record, all_pass);
        Ok(())
    }

    fn trans_ind(&self, record: &Outgoing<'_>, last: bool) -> TransInd {
        match (self.begun == Some(record.transaction.commit), last) {
            (false, true) => TransInd::Whole,
            (false, false) => TransInd::Begin,
            (true, false) => TransInd::Middle,
            (true, true) => TransInd::End,
        }
    }

    /// Keeps a record until it is known whether it is the last that is sent of its transaction.
    fn hold(&mut self, record: &Outgoing<'_>, now: Timestamp) -> Result<(), End> {
        self.release_before(record, now)?;
        self.held = Some(Held {
            transaction: record.transaction.clone(),
            number: record.number,
            operation: record.operation,
            schema: record.schema.cloned(),
            before: record.before.map(|image| image.as_bytes().to_vec()),
            after: record.after.map(|image| image.as_bytes().to_vec()),
            tokens: record.tokens.map(str::to_owned),
            ddl: record.ddl.map(|(table, text)| (table.clone(), text.to_owned())),
            location: record.location,
        });
        Ok(())
    }

    /// Writes the record that is kept, if there is one, since `next` is sent behind it.
    #[inline]
    fn release_before(&mut self, next: &Outgoing<'_>, now: Timestamp) -> Result<(), End> {
        match self.held.take() {
            Some(held) => self.release(&held, held.transaction.commit != next.transaction.commit, now),
            None => Ok(()),
        }
    }

    #[inline(never)]
    fn release(&mut self, held: &Held, last: bool, now: Timestamp) -> Result<(), End> {
        let outgoing = Outgoing {
            transaction: &held.transaction,
            number: held.number,
            operation: held.operation,
            schema: held.schema.as_ref(),
            before: held.before.as_deref().map(Image::whole),
            after: held.after.as_deref().map(Image::whole),
            tokens: held.tokens.as_deref(),
            ddl: held.ddl.as_ref().map(|(table, text)| (table, text.as_str())),
            location: held.location,
        };
        self.push(&outgoing, self.trans_ind(&outgoing, last), now)?;
        self.begun = Some(held.transaction.commit);
        Ok(())
    }

    fn push(&mut self, record: &Outgoing<'_>, trans_ind: TransInd, now: Timestamp) -> Result<(), End> {
        if let Some(schema) = record.schema {
            self.look_up(schema);
            self.make_room_for(schema);
        }
        self.tally.turn_to(record.schema, record.ddl.map(|(table, _)| table), record.operation);
        self.write(record, trans_ind, now)?;
        self.has_ddl |= record.operation == Operation::Ddl;
        if self.is_single() {
            self.finish();
        }
        Ok(())
    }

    fn is_single(&self) -> bool {
        self.contract.negotiated.envelope.is_single()
    }

    /// Writes a record of the table at hand.
    #[inline]
    fn write(&mut self, record: &Outgoing<'_>, trans_ind: TransInd, now: Timestamp) -> Result<(), End> {
        let transaction = record.transaction;
        let position = Position {
            epoch: self.contract.epoch,
            commit: transaction.commit,
            record: record.number,
            xid_hash: transaction.xid_hash,
        };
        let Self { contract, recent, batch, heads, events, .. } = self;
        let table = record.schema.and(recent.as_deref());
        let context = RecordContext {
            head: &transaction.head,
            position,
            contract: contract.hash,
            trans_ind,
            tokens: record.tokens,
            now,
        };
        let write = |out: &mut Vec<u8>| -> Result<(), EncodeError> {
            if contract.events.is_some() {
                open_event(contract, record, &context, out, events);
            }
            match (table, record.ddl) {
                (Some(table), _) => {
                    let dml =
                        DmlRecord { context, operation: record.operation, before: record.before, after: record.after };
                    table.prepared.encode_next(&dml, out, heads)?;
                }
                (None, Some((table, text))) => {
                    push_ddl(&DdlRecord { context, table: Some(table), text }, &contract.options, out)?;
                }
                // Neither a row nor a statement: nothing can stand between the commas.
                (None, None) => return Err(MalformedImage.into()),
            }
            if contract.events.is_some() {
                cloudevents::close(out);
            }
            Ok(())
        };
        match batch.push(Some(&position), write) {
            Ok(None) => {}
            Ok(Some(message)) => self.complete(message),
            Err(error) => return Err(self.stop(error, &position)),
        }
        if self.alike.is_none()
            && let Some(schema) = record.schema
            && !self.schemas.iter().any(|known| known.id == schema.id)
        {
            self.schemas.push(schema.clone());
        }
        self.records += 1;
        self.tally.count();
        Ok(())
    }

    #[cold]
    fn stop(&self, error: EncodeError, position: &Position) -> End {
        match error {
            EncodeError::Malformed(error) => End::Unreadable(error.to_string()),
            EncodeError::TooLarge { member, bytes, limit } => {
                let after = token::encode(position, self.contract.hash).as_str().to_owned();
                End::RecordTooLarge { member, bytes, limit, after }
            }
        }
    }

    /// Makes `recent` the table of that schema.
    #[inline]
    fn look_up(&mut self, schema: &Arc<TableSchema>) {
        if self.recent.as_ref().is_none_or(|recent| recent.schema.id != schema.id) {
            self.change_table(schema);
        }
    }

    fn change_table(&mut self, schema: &Arc<TableSchema>) {
        if !self.tables.contains_key(&schema.id) {
            if self.tables.len() >= RULE_TABLES_REMEMBERED {
                self.tables.clear();
            }
            let prepared = PreparedTable::new(schema, &self.contract.options);
            self.tables.insert(schema.id, Arc::new(Table { schema: schema.clone(), prepared }));
        }
        self.recent = self.tables.get(&schema.id).cloned();
    }

    /// Ends the message if it holds rows of that table with another schema, or a statement that may have made this one: what
    /// is said of a message's schemas stands before the message, and nobody is to hear of a schema before its statement.
    fn make_room_for(&mut self, schema: &Arc<TableSchema>) {
        if self.schemas.iter().any(|known| known.id == schema.id) {
            return;
        }
        if self.has_ddl || self.schemas.iter().any(|known| known.table == schema.table) {
            self.finish();
        }
    }

    /// Ends the message being gathered.
    pub fn finish(&mut self) {
        if let Some(message) = self.batch.finish() {
            self.complete(message);
        }
    }

    /// A message has been finished. Messages that need no more than the piece before join it.
    fn complete(&mut self, message: Finished) {
        let Finished { end, last: Some(last) } = message else { return };
        self.alike = None;
        let (schemas, has_ddl) = (std::mem::take(&mut self.schemas), std::mem::take(&mut self.has_ddl));
        let records = std::mem::take(&mut self.records);
        let start = self.pieces.len().checked_sub(2).map_or(0, |before| self.pieces[before].end);
        if let Some(piece) = self.pieces.last_mut()
            && end - start <= PIECE_BYTES_MAX
            && piece.has_ddl >= has_ddl
            && schemas.iter().all(|schema| piece.schemas.iter().any(|known| known.id == schema.id))
        {
            (piece.end, piece.last) = (end, last);
            piece.records += records;
        } else {
            self.pieces.push(Piece { end, schemas, has_ddl, records, last });
        }
    }

    /// How many records of which table and operation were written since the last call; a table may be there several times.
    pub(super) fn take_counts(&mut self) -> Vec<(TableName, ByOperation<u32>)> {
        // Whatever comes next says anew what it is.
        self.alike = None;
        self.tally.take()
    }

    /// The finished messages since the last call, and what they are.
    pub fn take_messages(&mut self) -> (Vec<u8>, Vec<Piece>) {
        (self.batch.take(), std::mem::take(&mut self.pieces))
    }
}

#[inline(never)] // most streams send no events
fn open_event(
    contract: &Contract,
    record: &Outgoing<'_>,
    context: &RecordContext<'_>,
    out: &mut Vec<u8>,
    rows: &mut RowEvents,
) {
    let Some(events) = &contract.events else { return };
    let (position, time) = (context.position, context.head.commit_ts);
    if let Some(schema) = record.schema {
        let image = record.after.or(record.before);
        let row = RowEvent { schema, operation: record.operation, image, position, contract: context.contract, time };
        return events.open_row(out, &row, rows);
    }
    let pos = token::encode(&position, context.contract);
    let subject = record.ddl.map(|(table, _)| table.to_string());
    let event = Event {
        kind: EventKind::Record(record.operation),
        id: pos.as_str(),
        time: Some(time),
        subject: subject.as_deref(),
        partition_key: None,
        position: Some(position),
    };
    events.open(out, &event);
}
