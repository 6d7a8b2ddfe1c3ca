//! The writing end: builds the frames of whole transactions and hands them to the trail's writer thread.
//!
//! Collects small transactions into chunks; a transaction larger than a chunk is handed over piece by piece, so memory
//! stays bounded, and stays invisible until its commit frame is flushed. How records get into the chunk is `records`'.

mod partitions;
mod records;

pub use partitions::RepartitionError;
pub use records::{Row, RowParts};

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::codec::frame::{self, FLAG_OWN_ID, FrameHeader, FrameKind};
use crate::limits;
use crate::record::{
    Column, Epoch, LoadProgress, Position, PreparedTransaction, SourcePosition, TableName, TableSchema, Timestamp,
    TransactionHead,
};
use crate::trail::gap::GAP_RECORD;
use crate::trail::loads::{Loads, LoadsSaid};
use crate::trail::local::spill::Spill;
use crate::trail::partitions::PartitionMap;
use crate::trail::recovery::recover_end;
use crate::trail::replay::remembered_xids;
use crate::trail::schema_frame;
use crate::trail::schemas::Schemas;
use crate::trail::shared::{End, Shared};
use crate::trail::tail::Tail;
use crate::trail::writer::{self, Command};
use crate::trail::xids::{Remembered, Xids, fingerprint};
use crate::trail::{AppendError, DurableMark, Gap, Missing, OpenError, SourceMark};

/// The one writer of a trail.
#[derive(Debug)]
pub struct Appender {
    shared: Arc<Shared>,
    /// As they are now: nobody else changes them.
    partitions: Arc<PartitionMap>,
    /// A change of them failed half-way: nothing is appended before it is known how it ended.
    in_doubt: bool,
    to_writer: mpsc::Sender<Command>,
    flushed: watch::Receiver<u64>,
    chunk: Vec<u8>,
    /// Length of the chunk before, which the next one may well have too.
    usual_bytes: usize,
    /// The chunk ends a transaction or says something of the source.
    due: bool,
    schemas: Schemas,
    identity: String,
    source: Option<SourcePosition>,
    source_mark: Option<SourceMark>,
    prepared: Vec<PreparedTransaction>,
    loads: Loads,
    /// The greatest commit time so far, which a gap's is not below.
    highest_ts: Timestamp,
    xids: Xids,
    next_commit: u64,
    open: Option<OpenTransaction>,
    /// The head of a transaction before, whose texts the next one uses again.
    spare: TransactionHead,
}

#[derive(Debug)]
struct OpenTransaction {
    head: TransactionHead,
    /// It came without an id.
    unnamed: bool,
    records: u32,
    /// Byte of the chunk where it begins; `None` when a part of it has been handed over.
    begins_at: Option<usize>,
    /// What it has said of initial loads.
    loads: LoadsSaid,
}

/// Takes the trail's end and starts its writer thread.
pub(super) fn start(shared: &Arc<Shared>) -> Result<Appender, OpenError> {
    shared.undamaged()?;
    if shared.store.is_deleted() {
        let gone = std::io::Error::new(std::io::ErrorKind::NotFound, "the trail has been deleted");
        return Err(shared.failed("taking its writing end")(gone));
    }
    shared.store.settle_description().map_err(shared.failed("writing its description again"))?;
    let tail = take_end(shared)?;
    let (to_writer, from_appender) = mpsc::channel(limits::APPEND_QUEUE_CHUNKS);
    let mut tail = tail;
    let xids = match tail.xids.take().map_or_else(|| remembered_xids(shared), Ok) {
        Ok(xids) => xids,
        Err(source) => {
            *shared.lock_end() = End::Free(Box::new(tail));
            let trail = shared.description.name.to_string();
            return Err(OpenError::Io { trail, action: "reading transaction ids", source });
        }
    };
    let state = tail.state.clone();
    let flushed = writer::spawn(shared.clone(), tail, from_appender).map_err(|source| {
        // The tail went with the thread that never was; the next attempt reads it from disk.
        *shared.lock_end() = End::Failed { reason: source.to_string(), disk_full: false, recovering: false };
        OpenError::Io { trail: shared.description.name.to_string(), action: "starting its writer", source }
    })?;
    Ok(Appender {
        shared: shared.clone(),
        partitions: shared.partitions(),
        in_doubt: false,
        to_writer,
        flushed,
        chunk: Vec::new(),
        usual_bytes: 0,
        due: false,
        schemas: state.schemas,
        identity: state.identity,
        source: state.source,
        source_mark: state.source_mark,
        prepared: state.prepared,
        loads: state.loads,
        highest_ts: state.commit_ts,
        xids,
        next_commit: state.commit + 1,
        open: None,
        spare: TransactionHead::default(),
    })
}

/// The end if it is free, or what recovery makes of it if the writer before had failed. Until that has succeeded the trail
/// shows as stopped.
fn take_end(shared: &Arc<Shared>) -> Result<Tail, OpenError> {
    {
        let mut end = shared.lock_end();
        match &mut *end {
            End::Failed { recovering, .. } if !*recovering => *recovering = true,
            End::Free(_) => {
                if let End::Free(tail) = std::mem::replace(&mut *end, End::Taken) {
                    return Ok(*tail);
                }
            }
            End::Taken | End::Failed { .. } => {
                return Err(OpenError::WriterTaken { trail: shared.description.name.to_string() });
            }
        }
    }
    let recovering = Recovering(shared);
    let tail = recover_end(shared)?;
    recovering.succeeded();
    Ok(tail)
}

/// Somebody recovers the end: however that ends, another may try again or has it.
struct Recovering<'a>(&'a Shared);

impl Recovering<'_> {
    fn succeeded(self) {
        *self.0.lock_end() = End::Taken;
    }
}

impl Drop for Recovering<'_> {
    fn drop(&mut self) {
        if let End::Failed { recovering, .. } = &mut *self.0.lock_end() {
            *recovering = false;
        }
    }
}

impl Appender {
    /// What [`Self::identify`] said last, in this life of the trail or an earlier one.
    pub fn source_identity(&self) -> Option<&str> {
        (!self.identity.is_empty()).then_some(self.identity.as_str())
    }

    /// How far the source has been taken: the coordinate of the last transaction or progress appended.
    pub fn source_position(&self) -> Option<&SourcePosition> {
        self.source.as_ref()
    }

    /// The last transaction appended with [`Self::commit_with_hash`] or named in [`Self::progress_after`], in this life of the
    /// trail or an earlier one.
    pub fn source_mark(&self) -> Option<&SourceMark> {
        self.source_mark.as_ref()
    }

    /// A place beside the trail, with a cap in bytes, for what may come into it later.
    pub fn spill(&self, bytes_max: u64) -> Spill {
        Spill::new(self.shared.store.beside(), bytes_max)
    }

    /// The trail's epoch.
    pub fn epoch(&self) -> Epoch {
        self.shared.description.epoch
    }

    /// The commit number of the transaction that is open or comes next.
    pub fn next_commit(&self) -> u64 {
        self.next_commit
    }

    /// Says who the source is. It is repeated in the head of every segment.
    pub fn identify(&mut self, identity: &str) -> Result<(), AppendError> {
        self.outside("a source is named between transactions")?;
        text_fits("source identity", identity, limits::IDENTIFIER_BYTES_MAX * 4)?;
        self.identity = identity.to_owned();
        self.shared.source.set(identity);
        self.push_source();
        Ok(())
    }

    /// Says how far the source has been taken although it had nothing for the trail.
    pub fn progress(&mut self, at: &SourcePosition) -> Result<(), AppendError> {
        self.outside("progress is said between transactions")?;
        text_fits("source position", &at.0, limits::IDENTIFIER_BYTES_MAX)?;
        self.source = Some(at.clone());
        self.push_source();
        Ok(())
    }

    /// The same after a transaction that had nothing for the trail, so that [`Self::source_mark`] can say which came last.
    pub fn progress_after(&mut self, last: &SourceMark, at: &SourcePosition) -> Result<(), AppendError> {
        self.outside("progress is said between transactions")?;
        text_fits("transaction id", &last.xid, limits::XID_BYTES_MAX)?;
        text_fits("source position", &last.source.0, limits::IDENTIFIER_BYTES_MAX)?;
        let (commit_ts, commit) = (last.commit_ts, self.next_commit - 1);
        // Before the position: a mark alone, of a place that the trail has not come to, misleads nobody.
        let header = FrameHeader { commit_ts, commit, ..FrameHeader::new(FrameKind::SourceMark) };
        frame::push(&mut self.chunk, &header, |out| out.extend_from_slice(&last.encode()));
        self.source_mark = Some(last.clone());
        self.progress(at)
    }

    /// The source's transactions that [`Self::note_prepared`] named last, in this life of the trail or an earlier one.
    pub fn prepared(&self) -> &[PreparedTransaction] {
        &self.prepared
    }

    /// Says which of the source's transactions are prepared, the one that begins first in its log before the others. It is
    /// durable before any progress that is said later.
    pub fn note_prepared(&mut self, prepared: &[PreparedTransaction]) -> Result<(), AppendError> {
        self.outside("prepared transactions are said between transactions")?;
        for transaction in prepared {
            text_fits("global transaction id", &transaction.xid, limits::XID_BYTES_MAX)?;
            for place in [&transaction.begins_at, &transaction.prepared_at] {
                text_fits("source position", &place.0, limits::IDENTIFIER_BYTES_MAX)?;
            }
        }
        let header = FrameHeader { commit: self.next_commit - 1, ..FrameHeader::new(FrameKind::Prepared) };
        self.push_fitting(&header, |out| frame::prepared::push(out, prepared))?;
        self.prepared = prepared.to_vec();
        self.due = true;
        Ok(())
    }

    /// How far the initial load of each table has come, in this life of the trail or an earlier one; of none when no load goes
    /// on.
    pub fn loads(&self) -> &[LoadProgress] {
        self.loads.all()
    }

    /// Says how far the initial load of a table has come, or that the load has ended: with the transaction that is open, behind
    /// its rows, or between transactions.
    pub fn note_load(&mut self, progress: Option<&LoadProgress>) -> Result<(), AppendError> {
        if let Some(progress) = progress {
            text_fits("source position", &progress.at.0, limits::IDENTIFIER_BYTES_MAX)?;
        }
        // Inside a transaction it has that one's number: without the transaction it counts for nothing.
        let commit = if self.open.is_some() { self.next_commit } else { self.next_commit - 1 };
        let header = FrameHeader { commit, ..FrameHeader::new(FrameKind::LoadProgress) };
        self.push_fitting(&header, |out| frame::load::push(out, progress))?;
        match &mut self.open {
            Some(open) => open.loads.note(progress.cloned()),
            None => {
                self.loads.note(progress.cloned());
                self.due = true;
            }
        }
        Ok(())
    }

    /// Appends a frame unless it is larger than one may be.
    fn push_fitting(&mut self, header: &FrameHeader, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), AppendError> {
        let start = self.chunk.len();
        let bytes = frame::push(&mut self.chunk, header, write) - frame::HEADER_BYTES;
        if bytes <= frame::PAYLOAD_BYTES_MAX {
            return Ok(());
        }
        self.chunk.truncate(start);
        Err(AppendError::TooLarge { bytes, max: frame::PAYLOAD_BYTES_MAX })
    }

    /// Says, between transactions, that the source may have had rows which it did not give: of `missing.tables`, in that range
    /// of its log. Takes a commit number, and more where one frame cannot name all tables; returns the position behind
    /// which a reader goes on. It is durable when [`Self::durable`] has reached its commit number.
    pub fn gap(&mut self, missing: &Missing) -> Result<Position, AppendError> {
        self.outside("a gap is said between transactions")?;
        text_fits("source position", &missing.from, limits::IDENTIFIER_BYTES_MAX)?;
        text_fits("source position", &missing.to, limits::IDENTIFIER_BYTES_MAX)?;
        let commit_ts = self.highest_ts.max(self.shared.clock.now());
        let mut rest = missing.tables.as_slice();
        loop {
            let (tables, others) = rest.split_at(rest.len().min(limits::GAP_TABLES_MAX));
            let missing = Missing { tables: tables.to_vec(), ..missing.clone() };
            let gap = Gap::in_capture(self.next_commit, missing);
            let header = FrameHeader { record: GAP_RECORD, ..self.header(FrameKind::Gap, commit_ts, 0) };
            frame::push(&mut self.chunk, &header, |out| gap.push(out));
            self.next_commit += 1;
            self.due = true;
            rest = others;
            if rest.is_empty() {
                return Ok(gap.position(self.epoch()));
            }
        }
    }

    fn push_source(&mut self) {
        let source = self.source.clone().unwrap_or_default();
        let header = FrameHeader { commit: self.next_commit - 1, ..FrameHeader::new(FrameKind::Source) };
        frame::push(&mut self.chunk, &header, |out| frame::push_text_pair(out, &self.identity, &source.0));
        self.due = true;
    }

    /// The schema in force for a table, if it is known.
    pub fn schema_of(&self, table: &TableName) -> Option<&Arc<TableSchema>> {
        self.schemas.of(table)
    }

    /// The numbered schema with these columns: the one in force if it has them, else a new one.
    pub fn schema(&mut self, table: &TableName, columns: &[Column]) -> Result<Arc<TableSchema>, AppendError> {
        if let Some(known) = self.schemas.of(table) {
            if known.columns == columns {
                return Ok(known.clone());
            }
        } else if self.schemas.len() >= limits::TRAIL_TABLES_MAX {
            return Err(AppendError::TooManyTables(limits::TRAIL_TABLES_MAX));
        }
        if columns.len() > limits::TABLE_COLUMNS_MAX {
            return Err(AppendError::TooManyColumns { table: table.to_string(), max: limits::TABLE_COLUMNS_MAX });
        }
        let before = self.schemas.of(table).cloned();
        self.has_room_for(table, columns, before.as_deref())?;
        let schema = self.schemas.declare(table, columns);
        schema_frame::push(&mut self.chunk, before.as_deref(), &schema);
        Ok(schema)
    }

    fn has_room_for(
        &self,
        table: &TableName,
        columns: &[Column],
        before: Option<&TableSchema>,
    ) -> Result<(), AppendError> {
        let of_columns = columns.iter().map(|column| Column::described_bytes(&column.name, &column.sql_type));
        let now = TableSchema::described_bytes_of(table) + of_columns.sum::<usize>();
        let before = before.map_or(0, TableSchema::described_bytes);
        let max = limits::TRAIL_SCHEMA_BYTES_MAX;
        if now > before && self.schemas.described_bytes() - before + now > max {
            return Err(AppendError::TooManySchemaBytes { table: table.to_string(), max });
        }
        Ok(())
    }

    /// What the schemas in force take where they are written down, in bytes, about: see [`limits::TRAIL_SCHEMA_BYTES_MAX`].
    pub fn schema_bytes(&self) -> usize {
        self.schemas.described_bytes()
    }

    /// Number of tables whose schemas are in force.
    pub fn tables(&self) -> usize {
        self.schemas.len()
    }

    /// Opens a transaction.
    pub fn begin(&mut self, head: &TransactionHead) -> Result<(), AppendError> {
        self.begin_flagged(head, 0)
    }

    /// Opens a transaction that came without an id, so that nobody can ask for it: it takes no place among those that
    /// [`Self::find_xid`] knows.
    pub fn begin_unnamed(&mut self, commit_ts: Timestamp) -> Result<(), AppendError> {
        // The epoch is in its id so that no id which came from another trail, or from a person's mind, is the same.
        let xid = format!("put-{:016x}-{}", self.epoch().0, self.next_commit);
        self.begin_flagged(&TransactionHead { xid, commit_ts, source: SourcePosition::default() }, FLAG_OWN_ID)
    }

    fn begin_flagged(&mut self, head: &TransactionHead, flags: u8) -> Result<(), AppendError> {
        self.outside("a transaction is open already")?;
        self.not_in_doubt()?;
        text_fits("transaction id", &head.xid, limits::XID_BYTES_MAX)?;
        text_fits("source position", &head.source.0, limits::IDENTIFIER_BYTES_MAX)?;
        self.schemas.begin();
        if self.chunk.is_empty() {
            self.chunk.reserve(self.usual_bytes);
        }
        let begins_at = self.chunk.len();
        let header = FrameHeader { flags, ..self.header(FrameKind::Begin, head.commit_ts, 0) };
        frame::push(&mut self.chunk, &header, |out| frame::push_text_pair(out, &head.xid, &head.source.0));
        let mut kept = std::mem::take(&mut self.spare);
        kept.xid.clone_from(&head.xid);
        kept.commit_ts = head.commit_ts;
        kept.source.0.clone_from(&head.source.0);
        let unnamed = flags & FLAG_OWN_ID != 0;
        let (begins_at, loads) = (Some(begins_at), LoadsSaid::default());
        self.open = Some(OpenTransaction { head: kept, unnamed, records: 0, begins_at, loads });
        Ok(())
    }

    fn header(&self, kind: FrameKind, commit_ts: Timestamp, record: u32) -> FrameHeader {
        FrameHeader { commit_ts, record, commit: self.next_commit, ..FrameHeader::new(kind) }
    }

    /// Closes the transaction and returns the position of its last record. It is durable when [`Self::durable`] has
    /// reached its commit number.
    pub fn commit(&mut self) -> Result<Position, AppendError> {
        self.commit_as(None)
    }

    /// The same for a transaction of a source, with a hash of its content: see [`Self::source_mark`].
    pub fn commit_with_hash(&mut self, hash: u32) -> Result<Position, AppendError> {
        self.commit_as(Some(hash))
    }

    fn commit_as(&mut self, hash: Option<u32>) -> Result<Position, AppendError> {
        let Some(mut open) = self.open.take() else {
            return Err(AppendError::OutOfTurn("no transaction is open"));
        };
        let header = self.header(FrameKind::Commit, open.head.commit_ts, open.records);
        frame::push(&mut self.chunk, &header, |out| out.extend(hash.iter().flat_map(|hash| hash.to_le_bytes())));
        self.highest_ts = self.highest_ts.max(open.head.commit_ts);
        if let Some(hash) = hash {
            let mark = self.source_mark.get_or_insert_default();
            mark.set(&open.head.xid, &open.head.source, open.head.commit_ts, hash);
        }
        self.due = true;
        open.loads.settle(&mut self.loads);
        self.schemas.commit();
        let (commit, record) = (self.next_commit, open.records.saturating_sub(1));
        self.next_commit += 1;
        let xid_hash = open.head.xid_hash();
        if self.shared.keeps_xids() && !open.unnamed {
            let fingerprint = fingerprint(&open.head.xid);
            self.xids.remember(Remembered { fingerprint, commit, last_record: record });
        }
        if !open.head.source.0.is_empty() {
            std::mem::swap(self.source.get_or_insert_default(), &mut open.head.source);
        }
        self.spare = open.head;
        Ok(Position { epoch: self.epoch(), commit, record, xid_hash })
    }

    /// Drops the open transaction, also when a part of it has been handed over.
    pub async fn abort(&mut self) -> Result<(), AppendError> {
        let Some(open) = &self.open else { return Ok(()) };
        match open.begins_at {
            Some(at) => self.chunk.truncate(at),
            None => {
                // The place is taken first: a caller that stops waiting still has its transaction, and can abort again.
                let Ok(place) = self.to_writer.reserve().await else { return Err(self.stopped()) };
                place.send(Command::Abort);
                self.chunk.clear();
            }
        }
        self.open = None;
        self.schemas.rollback();
        Ok(())
    }

    /// The position of a transaction appended before with that id, if it is remembered (trails of puts only).
    pub fn find_xid(&self, xid: &str) -> Option<Position> {
        let (commit, record) = self.xids.find(xid)?;
        Some(Position { epoch: self.epoch(), commit, record, xid_hash: crate::record::xid_hash(xid) })
    }

    /// Bytes collected and not yet handed over. At [`limits::APPEND_CHUNK_BYTES`], or when no more input is at hand, it
    /// is time for [`Self::hand_over`].
    pub fn pending_bytes(&self) -> usize {
        self.chunk.len()
    }

    /// Whether somebody waits for what is collected: it ends a transaction, or says how far the source has been taken.
    pub fn is_due(&self) -> bool {
        self.due
    }

    /// Waits until half of the writer's queue is free. Who collects until then spares a writer that is behind many small
    /// chunks, and itself the wait for the last place in the queue.
    pub async fn room(&self) {
        // A queue that is closed has room for whoever wants to hear so from `hand_over`.
        let _ = self.to_writer.reserve_many(limits::APPEND_QUEUE_CHUNKS / 2).await;
    }

    /// Whether no more than so many chunks wait for the writer.
    pub fn has_room(&self, chunks: usize) -> bool {
        self.to_writer.max_capacity() - self.to_writer.capacity() <= chunks
    }

    /// Waits until that is so.
    pub async fn room_but_for(&self, chunks: usize) {
        let wanted = limits::APPEND_QUEUE_CHUNKS.saturating_sub(chunks).max(1);
        let _ = self.to_writer.reserve_many(wanted).await;
    }

    /// Gives the collected bytes to the trail's writer. Waits while its queue is full: that is the backpressure on
    /// capture.
    pub async fn hand_over(&mut self) -> Result<(), AppendError> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        self.shared.undamaged().map_err(|damage| AppendError::Stopped(damage.to_string()))?;
        // The place is taken before the bytes are: a caller that stops waiting has lost nothing.
        let Ok(place) = self.to_writer.reserve().await else { return Err(self.stopped()) };
        let bytes = self.chunk.len();
        self.shared.counters.handed_over(bytes, self.shared.clock.now());
        place.send(Command::Append(std::mem::take(&mut self.chunk)));
        self.usual_bytes = bytes.min(limits::APPEND_CHUNK_BYTES);
        self.due = false;
        if let Some(open) = &mut self.open {
            open.begins_at = None;
        }
        Ok(())
    }

    /// The durable mark, and a way to wait for it to move.
    pub fn durable(&self) -> watch::Receiver<DurableMark> {
        self.shared.mark.subscribe()
    }

    /// Whether everything that was appended is durable, with commits or without.
    pub fn is_all_durable(&self) -> bool {
        self.chunk.is_empty() && self.shared.counters.snapshot().pending_bytes == 0
    }

    /// Waits until the transaction of that commit number is durable.
    pub async fn wait_durable(&self, commit: u64) -> Result<(), AppendError> {
        self.durability().wait(commit).await
    }

    /// Whether the writer has ended, after a failed write or flush: what was not durable by then never will be, and
    /// the trail's end has to be taken anew.
    pub fn has_stopped(&self) -> bool {
        self.in_doubt || self.to_writer.is_closed()
    }

    /// Like [`Self::wait_durable`], for a caller that does not keep the appender while it waits.
    pub fn durability(&self) -> Durability {
        Durability { flushed: self.flushed.clone(), shared: self.shared.clone() }
    }

    /// Hands over what is collected, drops an open transaction, and waits until everything is flushed and the trail's end
    /// is free for another appender.
    pub async fn close(mut self) -> Result<(), AppendError> {
        self.abort().await?;
        self.hand_over().await?;
        let commits = self.next_commit - 1;
        self.send(Command::Close).await?;
        self.to_writer.closed().await;
        if *self.flushed.borrow() >= commits { Ok(()) } else { Err(self.stopped()) }
    }

    async fn send(&self, command: Command) -> Result<(), AppendError> {
        self.to_writer.send(command).await.map_err(|_| self.stopped())
    }

    fn stopped(&self) -> AppendError {
        self.shared.stopped()
    }

    fn outside(&self, otherwise: &'static str) -> Result<(), AppendError> {
        if self.open.is_some() { Err(AppendError::OutOfTurn(otherwise)) } else { Ok(()) }
    }
}

/// Waits for durability without holding the appender.
#[derive(Debug)]
pub struct Durability {
    flushed: watch::Receiver<u64>,
    shared: Arc<Shared>,
}

impl Durability {
    /// Waits until the transaction of that commit number is durable.
    pub async fn wait(mut self, commit: u64) -> Result<(), AppendError> {
        // Not the trail's mark: after a failure another writer may take it to that number with other transactions.
        let flushed = self.flushed.wait_for(|flushed| *flushed >= commit).await;
        flushed.map(drop).map_err(|_| self.shared.stopped())
    }
}

fn text_fits(what: &'static str, text: &str, max: usize) -> Result<(), AppendError> {
    if text.len() > max { Err(AppendError::TooLong { what, max }) } else { Ok(()) }
}
