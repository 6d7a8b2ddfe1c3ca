//! What a source sends, turned into whole transactions in the trail, in commit order.
//!
//! A source may send its transactions whole, one after the other, or in pieces that are mixed with those of others:
//!
//! ```text
//! whole:    begin  (row | ddl | message)*  commit | abort
//! pieces:   resume  (part  (row | ddl | message)*)*  pause  …  abort_part  …  commit_held | abort_held
//! between:  all_sent_before  note_progress  write_gaps  spill
//! load:     begin_load  (loaded row)*  commit_load, between two transactions of the source
//! ```
//!
//! A transaction is known again by its rows alone. One that has none, but a statement or a message, says nothing of what the trail
//! took last: it is appended without a hash, and what the source sends again of it is left out by its place alone.
//!
//! Owns which transaction and which coordinate a change belongs to, refuses messages out of order, and leaves out what the trail has
//! already; `overlap` compares that with what it took. Touches no socket: when the trail gets what was collected is its reader's business.

use std::convert::Infallible;
use std::fmt::{Display, Write as _};
use std::sync::Arc;

use super::coordinate::Coordinate;
use super::error::{CaptureError, Fault};
use super::gap::Gaps;
use super::held::{Entry, Held};
use super::overlap::{ContentHash, Mark, Overlap};
use super::snapshot::loading::Loading;
use crate::limits;
use crate::record::{Column, LoadProgress, Message, Operation, TableName, TableSchema, Timestamp, TransactionHead};
use crate::tasks::{self, Task};
use crate::trail::{AppendError, Appender, RowParts};

/// What has been received and not been given to the trail's writer, and how far that is.
pub(super) struct Intake<'a, C> {
    pub(super) appender: &'a mut Appender,
    incoming: Incoming<C>,
    /// The initial loads that go on beside.
    pub(super) loading: Loading<C>,
    /// Of the transaction that comes in whole; its texts are used again.
    head: TransactionHead,
    held: Held,
    overlap: Overlap<C>,
    /// The last transaction of which something came, if nothing of it was captured.
    unnoted: Option<Mark<C>>,
    /// Every transaction whose coordinate is not beyond it is appended.
    appended: C,
    /// Every transaction that ends before it has been received: what idle progress may claim.
    complete: C,
    counts: Counts,
    /// See [`Self::round`].
    round: u64,
}

/// What the source is sending.
enum Incoming<C> {
    /// Nothing, or what stands between transactions.
    Nothing,
    /// A transaction that comes whole.
    Whole(Open<C>),
    /// A piece of the transaction with that number.
    Piece(u64),
    /// Rows of an initial load, which are no transaction of the source.
    Load,
}

/// The transaction that comes in whole.
struct Open<C> {
    at: C,
    /// Of what came of it, if anything did.
    content: Option<ContentHash>,
    /// The trail has it already.
    skipped: bool,
    /// The appender knows of it: something of it is captured.
    begun: bool,
}

/// What was appended since it was last asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) transactions: u64,
    pub(super) records: u64,
}

/// The source sent what cannot stand there.
pub(super) fn out_of_order(what: &str) -> Fault {
    CaptureError::Malformed(format!("{what} out of order")).into()
}

impl<C> Incoming<C> {
    fn whole(&self) -> Option<&Open<C>> {
        match self {
            Self::Whole(open) => Some(open),
            Self::Nothing | Self::Piece(_) | Self::Load => None,
        }
    }
}

impl<'a, C: Coordinate> Intake<'a, C> {
    /// Nothing received yet from a source that was told `confirmed` before. What it sends of transactions before their end may
    /// take `spill_bytes_max` on the disk.
    pub(super) fn new(appender: &'a mut Appender, overlap: Overlap<C>, confirmed: C, spill_bytes_max: u64) -> Self {
        let held = Held::new(limits::HELD_MEMORY_BYTES, appender.spill(spill_bytes_max));
        Self {
            loading: Loading::of(appender.loads()),
            appender,
            incoming: Incoming::Nothing,
            head: TransactionHead::default(),
            held,
            appended: overlap.taken().clone(),
            complete: confirmed,
            overlap,
            unnoted: None,
            counts: Counts::default(),
            round: 0,
        }
    }

    /// Whether a transaction is half in that comes whole.
    pub(super) fn is_open(&self) -> bool {
        self.incoming.whole().is_some()
    }

    /// Whether neither a transaction nor a piece of one is half in.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.incoming, Incoming::Nothing)
    }

    /// Commit time of the one that is half in.
    pub(super) fn open_commit_ts(&self) -> Option<Timestamp> {
        self.is_open().then_some(self.head.commit_ts)
    }

    /// Commit time of the one that is half in, unless the trail has it already.
    pub(super) fn new_commit_ts(&self) -> Option<Timestamp> {
        self.incoming.whole().is_some_and(|open| !open.skipped).then_some(self.head.commit_ts)
    }

    /// The coordinate of the one that is half in.
    pub(super) fn open_at(&self) -> Option<&C> {
        self.incoming.whole().map(|open| &open.at)
    }

    /// Every transaction that ends before it has been received, in this session or an earlier one.
    pub(super) fn complete(&self) -> &C {
        &self.complete
    }

    /// Counts what was appended, from 0 again.
    pub(super) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// A transaction comes, whole.
    pub(super) fn begin(&mut self, at: C, commit_ts: Timestamp, xid: impl Display) -> Result<(), Fault> {
        self.between("a transaction's begin")?;
        self.overlap.comes(&at)?;
        self.head.xid.clear();
        // Writing to a String does not fail.
        let _ = write!(self.head.xid, "{xid}");
        self.head.commit_ts = commit_ts;
        at.write_position(&mut self.head.source);
        let skipped = at <= self.appended;
        self.incoming = Incoming::Whole(Open { at, content: None, skipped, begun: false });
        Ok(())
    }

    /// The transaction at `at`, which came whole, is committed; every one that ends before `end` has been received.
    pub(super) fn commit(&mut self, at: &C, end: &C) -> Result<(), Fault> {
        let Incoming::Whole(open) = &mut self.incoming else { return Err(out_of_order("a transaction's commit")) };
        if open.at != *at {
            return Err(out_of_order("a transaction's commit"));
        }
        let hash = self.overlap.finish(open.content.unwrap_or_default());
        let mark = |at: &C, head: &TransactionHead| Mark {
            at: at.clone(),
            commit_ts: head.commit_ts,
            xid: head.xid.clone(),
            hash,
        };
        if open.skipped && open.content.is_some() {
            self.overlap.sent_again(mark(at, &self.head))?;
        } else if open.begun {
            tasks::may_panic(Task::Extract);
            if self.loading.is_active() {
                for progress in self.loading.commit(&self.head.xid, at) {
                    self.appender.note_load(Some(&progress))?;
                }
            }
            let last = match open.content {
                Some(_) => self.appender.commit_with_hash(hash)?,
                None => self.appender.commit()?,
            };
            self.unnoted = None;
            self.appended.clone_from(at);
            self.counts.transactions += 1;
            self.counts.records += u64::from(last.record) + 1;
        } else if open.content.is_some() {
            self.unnoted = Some(mark(at, &self.head));
        }
        if !open.skipped {
            self.loading.came(&self.head.xid);
        }
        self.incoming = Incoming::Nothing;
        self.received_before(end);
        Ok(())
    }

    /// Drops the transaction that comes whole and is half in, if there is one.
    pub(super) async fn abort(&mut self) -> Result<(), Fault> {
        self.loading.abort();
        match std::mem::replace(&mut self.incoming, Incoming::Nothing) {
            Incoming::Whole(open) if open.begun => Ok(self.appender.abort().await?),
            Incoming::Load => Ok(self.appender.abort().await?),
            _ => Ok(()),
        }
    }

    /// Takes in what the source sent of a row, before the row itself: by that the transaction is known again.
    pub(super) fn content(&mut self, message: &[u8]) {
        let content = match &mut self.incoming {
            Incoming::Nothing | Incoming::Load => return,
            Incoming::Whole(open) => &mut open.content,
            Incoming::Piece(_) => return self.held.content(message),
        };
        content.get_or_insert_default().add(message);
    }

    /// Whether what changes in this transaction goes into the trail, which may have it already.
    pub(super) fn wants_changes(&self) -> Result<bool, Fault> {
        match &self.incoming {
            Incoming::Nothing | Incoming::Load => Err(out_of_order("a row")),
            Incoming::Whole(open) => Ok(!open.skipped),
            Incoming::Piece(_) => Ok(true),
        }
    }

    /// The schema of a table so far: the trail's, or that of the transaction of which a piece comes.
    pub(super) fn known_schema(&self, table: &TableName) -> Option<&TableSchema> {
        let of_piece = match &self.incoming {
            Incoming::Piece(_) => self.held.known_schema(table),
            Incoming::Nothing | Incoming::Load | Incoming::Whole(_) => None,
        };
        of_piece.or_else(|| self.appender.schema_of(table).map(|schema| &**schema))
    }

    /// The schema of a table with these columns: the trail's or, while a piece comes, one that only its transaction has until
    /// it is committed.
    pub(super) fn schema(&mut self, table: &TableName, columns: &[Column]) -> Result<Arc<TableSchema>, Fault> {
        match &self.incoming {
            Incoming::Piece(_) => Ok(self.held.schema(table, columns)?),
            Incoming::Nothing | Incoming::Load | Incoming::Whole(_) => Ok(self.appender.schema(table, columns)?),
        }
    }

    /// Makes room for so many bytes of what is known of a table while a piece comes.
    pub(super) fn note_described(&mut self, bytes: usize) -> Result<(), Fault> {
        Ok(self.held.note_described(bytes)?)
    }

    /// A row changes. Its images, the before image first, are written by `write` where they stay; if it fails, nothing is
    /// appended.
    pub(super) fn write_row<E>(
        &mut self,
        schema: &Arc<TableSchema>,
        row: RowParts<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Result<(), E>, Fault> {
        match &mut self.incoming {
            Incoming::Nothing | Incoming::Load => Err(out_of_order("a row")),
            Incoming::Whole(open) => {
                open.begin(self.appender, &self.head)?;
                let appended = if self.loading.is_active() && self.loading.concerns(&schema.table) {
                    let loading = &mut self.loading;
                    self.appender.write_row(schema, row, |out| {
                        let start = out.len();
                        write(out)?;
                        loading.change(schema, &row, &out[start..]);
                        Ok(())
                    })
                } else {
                    self.appender.write_row(schema, row, write)
                };
                appended.map(|written| written.map(drop)).map_err(|error| self.refusal(error.into(), schema))
            }
            Incoming::Piece(_) => Ok(self.held.row(schema, row, write)),
        }
    }

    /// All rows of a table are gone.
    pub(super) fn truncate(&mut self, schema: &Arc<TableSchema>) -> Result<(), Fault> {
        self.write_images(schema, RowParts::of(Operation::Truncate, false, false), &[])
    }

    fn write_images(&mut self, schema: &Arc<TableSchema>, row: RowParts<'_>, images: &[u8]) -> Result<(), Fault> {
        let write = |out: &mut Vec<u8>| -> Result<(), Infallible> {
            out.extend_from_slice(images);
            Ok(())
        };
        self.write_row(schema, row, write).map(|Ok(())| ())
    }

    /// A row that is too large is named, with the place that the extract does not come past.
    pub(super) fn refusal(&self, fault: Fault, schema: &TableSchema) -> Fault {
        match fault {
            Fault::Stop(CaptureError::Trail(error)) => self.too_large(&schema.table, error).into(),
            other => other,
        }
    }

    fn too_large(&self, what: impl Display, error: AppendError) -> CaptureError {
        match (error, self.open_at()) {
            (error @ AppendError::TooLarge { .. }, Some(at)) => {
                let (table, position) = (what.to_string(), at.commit_place().to_string());
                CaptureError::RowRefused { table, position, error }
            }
            (error, _) => error.into(),
        }
    }

    /// The source has sent every transaction that ends before `end`.
    pub(super) fn all_sent_before(&mut self, end: &C) -> Result<(), Fault> {
        if self.is_between() {
            self.overlap.all_sent_before(end)?;
            self.received_before(end);
        }
        Ok(())
    }

    /// Notes in the trail how far the source is, unless the trail knows; says whether it did. `asked` is a place that
    /// somebody waits for; without one it is only noted when `due`.
    pub(super) fn note_progress(&mut self, due: bool, asked: Option<&C>) -> Result<bool, Fault> {
        let wanted = due || asked.is_some_and(|at| *at > self.appended);
        if !self.is_between() || self.complete <= self.appended || !wanted {
            return Ok(false);
        }
        let position = self.complete.to_position();
        match self.unnoted.take() {
            Some(mark) => self.appender.progress_after(&mark.to_trail(), &position)?,
            None => self.appender.progress(&position)?,
        }
        self.appended.clone_from(&self.complete);
        Ok(true)
    }

    /// Writes gaps and waits until they are durable; no transaction may be half in. The trail goes on behind what the source
    /// cannot show. `selection` is of what the stream asks the source for.
    pub(super) async fn write_gaps(&mut self, gaps: &Gaps<C>, selection: u8) -> Result<(), Fault> {
        self.between("a gap")?;
        gaps.write(self.appender, selection).await?;
        if let Some(place) = &gaps.resume_at {
            self.appended = self.appended.clone().max(place.clone());
            self.received_before(place);
            self.unnoted = None;
            self.overlap.pass_over();
        }
        Ok(())
    }

    /// Says how far a load is, between two transactions.
    pub(super) fn note_load(&mut self, said: &LoadProgress) -> Result<(), Fault> {
        self.between("the progress of a load")?;
        Ok(self.appender.note_load(Some(said))?)
    }

    /// Rows of a load come from here on, as a transaction of their own. They are as new as what was received: the trail says that first.
    pub(super) fn begin_load(&mut self, xid: String, commit_ts: Timestamp) -> Result<(), Fault> {
        self.between("a chunk of a load")?;
        self.note_progress(true, None)?;
        let source = self.appender.source_position().cloned().unwrap_or_default();
        self.appender.begin(&TransactionHead { xid, commit_ts, source })?;
        self.incoming = Incoming::Load;
        Ok(())
    }

    /// A row of a load, with tokens. Its image is written by `write` where it stays; if it fails, nothing is appended.
    pub(super) fn write_loaded<E>(
        &mut self,
        schema: &TableSchema,
        tokens: &str,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Result<(), E>, AppendError> {
        let row = RowParts { tokens: Some(tokens), loaded: true, ..RowParts::of(Operation::Insert, false, true) };
        Ok(self.appender.write_row(schema, row, write)?.map(drop))
    }

    /// Those were the rows, as many as `rows`; without any there is no transaction, and only the progress is said.
    pub(super) async fn commit_load(&mut self, said: &LoadProgress, rows: u64) -> Result<(), Fault> {
        if !matches!(self.incoming, Incoming::Load) {
            return Err(out_of_order("the end of a chunk of a load"));
        }
        if rows == 0 {
            self.appender.abort().await?;
            self.appender.note_load(Some(said))?;
        } else {
            self.appender.note_load(Some(said))?;
            self.appender.commit()?;
            self.counts.transactions += 1;
            self.counts.records += rows;
        }
        self.incoming = Incoming::Nothing;
        Ok(())
    }

    fn between(&self, what: &str) -> Result<(), Fault> {
        if self.is_between() { Ok(()) } else { Err(out_of_order(what)) }
    }

    fn received_before(&mut self, end: &C) {
        if *end > self.complete {
            self.complete.clone_from(end);
        }
    }
}

/// What only some sources send: statements, messages, and transactions in pieces.
impl<C: Coordinate> Intake<'_, C> {
    /// A statement changes a table.
    pub(super) fn ddl(&mut self, table: &TableName, statement: &str) -> Result<(), Fault> {
        if self.piece_of().is_some() {
            self.held.ddl(table, statement);
        } else if self.begin_without_row("a statement")? {
            let appended = self.appender.ddl(table, statement);
            appended.map_err(|error| self.too_large(format_args!("statements ({table})"), error))?;
        }
        Ok(())
    }

    /// A message, with what it is about.
    pub(super) fn message(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        if self.piece_of().is_some() {
            self.held.message(key, value);
        } else if self.begin_without_row("a message")? {
            let appended = self.appender.message(0, &Message { key: Some(key), headers: Vec::new(), value });
            let about = String::from_utf8_lossy(key);
            appended.map_err(|error| self.too_large(format_args!("messages ({about})"), error))?;
        }
        Ok(())
    }

    /// Opens the transaction in the trail for what is no row, unless the trail has it already; says whether it is open.
    fn begin_without_row(&mut self, what: &str) -> Result<bool, Fault> {
        let Incoming::Whole(open) = &mut self.incoming else { return Err(out_of_order(what)) };
        if open.skipped {
            return Ok(false);
        }
        if !open.begun
            && let Some(mark) = self.unnoted.take()
        {
            // Without a row this transaction does not take its place as the one that came last.
            self.appender.progress_after(&mark.to_trail(), &mark.at.to_position())?;
        }
        open.begin(self.appender, &self.head)?;
        Ok(true)
    }

    /// A piece comes of the transaction with that number, which has not ended yet.
    pub(super) fn resume(&mut self, number: u64) -> Result<(), Fault> {
        self.between("a piece of a transaction")?;
        self.incoming = Incoming::Piece(number);
        self.held.resume(number);
        self.part(number)
    }

    /// What comes from here on belongs to that part of the transaction, which may be rolled back by itself.
    pub(super) fn part(&mut self, part: u64) -> Result<(), Fault> {
        if self.piece_of().is_none() {
            return Err(out_of_order("a part of a transaction"));
        }
        self.held.part(part);
        Ok(())
    }

    /// That was the piece.
    pub(super) fn pause(&mut self) -> Result<(), Fault> {
        match std::mem::replace(&mut self.incoming, Incoming::Nothing) {
            Incoming::Piece(_) => {
                self.held.pause();
                Ok(())
            }
            _ => Err(out_of_order("the end of a transaction's piece")),
        }
    }

    /// Goes up when a transaction that came in pieces has been appended. It may have put other schemas in force than those that
    /// were asked for before: those are asked for again.
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// A load has put a schema in force: those of the stream are asked for again.
    pub(super) fn other_schemas_are_in_force(&mut self) {
        self.round += 1;
    }

    /// The number of the transaction of which a piece comes.
    pub(super) fn piece_of(&self) -> Option<u64> {
        match &self.incoming {
            Incoming::Piece(number) => Some(*number),
            Incoming::Nothing | Incoming::Load | Incoming::Whole(_) => None,
        }
    }

    /// Whether more is held in memory than may be: time for [`Self::spill`].
    pub(super) fn holds_too_much(&self) -> bool {
        self.held.is_over()
    }

    /// Puts what is held onto the disk.
    pub(super) async fn spill(&mut self) -> Result<(), Fault> {
        self.held.spill().await
    }

    /// Bytes that are held of transactions which have not ended, in memory and on the disk.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held.bytes()
    }

    /// The transaction with that number, which came in pieces, is committed at `at`. Hands over while it is appended, so that a
    /// large one does not fill the memory.
    pub(super) async fn commit_held(
        &mut self,
        number: u64,
        at: C,
        commit_ts: Timestamp,
        xid: impl Display,
        end: &C,
    ) -> Result<(), Fault> {
        self.begin(at.clone(), commit_ts, xid)?;
        let wanted = self.wants_changes()?;
        let mut held = self.held.take(number);
        let mut changes = held.changes();
        let mut content: Option<ContentHash> = None;
        let mut passes_over = false;
        let mut in_force: Option<(u32, Arc<TableSchema>)> = None;
        loop {
            while let Some(entry) = changes.next()? {
                match entry {
                    Entry::Part(part) => passes_over = held.is_aborted(part),
                    Entry::PartEnd { hash, length } if length > 0 && !passes_over => {
                        content.get_or_insert_default().join(hash, length);
                    }
                    Entry::PartEnd { .. } => {}
                    _ if passes_over || !wanted => {}
                    Entry::Row(row) => {
                        let schema = match in_force.take() {
                            Some((number, schema)) if number == row.schema => schema,
                            _ => {
                                let read_by = held.schema(&row)?;
                                self.schema(&read_by.table, &read_by.columns)?
                            }
                        };
                        let parts = RowParts::of(row.operation, row.before, row.after);
                        self.write_images(&schema, parts, row.images)?;
                        in_force = Some((row.schema, schema));
                    }
                    Entry::Ddl { table, statement } => {
                        let table =
                            TableName::parse(table).map_err(|error| CaptureError::Malformed(error.to_string()))?;
                        self.ddl(&table, statement)?;
                    }
                    Entry::Message { key, value } => self.message(key, value)?,
                }
                if self.appender.pending_bytes() >= limits::APPEND_CHUNK_BYTES {
                    self.appender.hand_over().await?;
                }
            }
            if !self.held.more(&mut changes).await? {
                break;
            }
        }
        if let Incoming::Whole(open) = &mut self.incoming {
            open.content = content;
        }
        self.round += 1;
        self.commit(&at, end)
    }

    /// A part of the transaction with that number is rolled back.
    pub(super) fn abort_part(&mut self, number: u64, part: u64) -> Result<(), Fault> {
        self.between("the end of a part of a transaction")?;
        Ok(self.held.abort_part(number, part)?)
    }

    /// The transaction with that number, which came in pieces, is rolled back.
    pub(super) async fn abort_held(&mut self, number: u64) -> Result<(), Fault> {
        self.between("the end of a transaction")?;
        self.held.drop(number).await
    }
}

impl<C> Open<C> {
    /// Opens the transaction in the trail at its first captured change: one without any is not appended.
    fn begin(&mut self, appender: &mut Appender, head: &TransactionHead) -> Result<(), AppendError> {
        if !self.begun {
            appender.begin(head)?;
            self.begun = true;
        }
        Ok(())
    }
}
