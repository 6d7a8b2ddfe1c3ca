//! What a source sends, turned into whole transactions in the trail, in commit order.
//!
//! A source may send its transactions whole, one after the other, or in pieces that are mixed with those of others:
//!
//! ```text
//! whole:    begin  (row | ddl)*  commit | abort
//! pieces:   resume  (row | ddl)*  pause  …  commit_held | abort_held
//! between:  all_sent_before  note_progress  write_gaps
//! load:     begin_load  (loaded row)*  commit_load, between two transactions of the source
//! ```
//!
//! Owns which transaction and which coordinate a change belongs to, refuses messages out of order, and leaves out what the
//! trail has already; `overlap` compares that with what the trail took. Touches no socket: when the trail gets what was
//! collected is the business of whoever reads the source.

use std::convert::Infallible;
use std::fmt::{Display, Write as _};
use std::sync::Arc;

use super::coordinate::Coordinate;
use super::error::{CaptureError, Fault};
use super::gap::Gaps;
use super::held::{Held, HeldChange, HeldRow};
use super::overlap::{ContentHash, Mark, Overlap};
use super::snapshot::loading::Loading;
use crate::limits;
use crate::record::{Column, LoadProgress, Operation, TableName, TableSchema, Timestamp, TransactionHead};
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
}

/// What the source is sending.
enum Incoming<C> {
    /// Nothing, or what stands between transactions.
    Nothing,
    /// A transaction that comes whole.
    Whole(Open<C>),
    /// A piece of the transaction with that id.
    Piece(String),
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
    /// Nothing received yet from a source that was told `confirmed` before.
    pub(super) fn new(appender: &'a mut Appender, overlap: Overlap<C>, confirmed: C) -> Self {
        Self {
            loading: Loading::of(appender.loads()),
            appender,
            incoming: Incoming::Nothing,
            head: TransactionHead::default(),
            held: Held::new(limits::SOURCE_HELD_BYTES_MAX),
            appended: overlap.taken().clone(),
            complete: confirmed,
            overlap,
            unnoted: None,
            counts: Counts::default(),
        }
    }

    /// Whether a transaction is half in that comes whole.
    pub(super) fn is_open(&self) -> bool {
        self.incoming.whole().is_some()
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
            let last = self.appender.commit_with_hash(hash)?;
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
            Incoming::Piece(xid) => &mut self.held.of(xid).content,
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

    /// The trail's schema of a table so far.
    pub(super) fn known_schema(&self, table: &TableName) -> Option<&TableSchema> {
        self.appender.schema_of(table).map(|schema| &**schema)
    }

    /// The trail's schema of a table with these columns.
    pub(super) fn schema(&mut self, table: &TableName, columns: &[Column]) -> Result<Arc<TableSchema>, Fault> {
        Ok(self.appender.schema(table, columns)?)
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
            Incoming::Piece(xid) => {
                let mut images = Vec::new();
                if let Err(refused) = write(&mut images) {
                    return Ok(Err(refused));
                }
                let (operation, before, after) = (row.operation, row.before, row.after);
                self.held.row(xid, HeldRow { schema: schema.clone(), operation, before, after, images })?;
                Ok(Ok(()))
            }
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
        match (fault, self.incoming.whole()) {
            (Fault::Stop(CaptureError::Trail(error @ AppendError::TooLarge { .. })), Some(open)) => {
                let (table, position) = (schema.table.to_string(), open.at.commit_place().to_string());
                CaptureError::RowRefused { table, position, error }.into()
            }
            (other, _) => other,
        }
    }

    /// The source has sent every transaction that ends before `end`.
    pub(super) fn all_sent_before(&mut self, end: &C) -> Result<(), Fault> {
        if !self.is_open() {
            self.overlap.all_sent_before(end)?;
            self.received_before(end);
        }
        Ok(())
    }

    /// Notes in the trail how far the source is, unless the trail knows; says whether it did. `asked` is a place that
    /// somebody waits for; without one it is only noted when `due`.
    pub(super) fn note_progress(&mut self, due: bool, asked: Option<&C>) -> Result<bool, Fault> {
        let wanted = due || asked.is_some_and(|at| *at > self.appended);
        if self.is_open() || self.complete <= self.appended || !wanted {
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

    /// Whether nothing is half in.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.incoming, Incoming::Nothing)
    }

    /// Says how far a load is, between two transactions.
    pub(super) fn note_load(&mut self, said: &LoadProgress) -> Result<(), Fault> {
        self.between("the progress of a load")?;
        Ok(self.appender.note_load(Some(said))?)
    }

    /// Rows of a load come from here on, as a transaction of their own. The trail stays where it is in the source's log.
    pub(super) fn begin_load(&mut self, xid: String, commit_ts: Timestamp) -> Result<(), Fault> {
        self.between("a chunk of a load")?;
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
        if matches!(self.incoming, Incoming::Nothing) { Ok(()) } else { Err(out_of_order(what)) }
    }

    fn received_before(&mut self, end: &C) {
        if *end > self.complete {
            self.complete.clone_from(end);
        }
    }
}

/// What only some sources send.
#[cfg_attr(not(test), expect(dead_code, reason = "no product sends it yet; the source of the tests does"))]
impl<C: Coordinate> Intake<'_, C> {
    /// A piece comes of the transaction with that id, which has not ended yet.
    pub(super) fn resume(&mut self, xid: &str) -> Result<(), Fault> {
        self.between("a piece of a transaction")?;
        self.incoming = Incoming::Piece(xid.to_owned());
        Ok(())
    }

    /// That was the piece.
    pub(super) fn pause(&mut self) -> Result<(), Fault> {
        match std::mem::replace(&mut self.incoming, Incoming::Nothing) {
            Incoming::Piece(_) => Ok(()),
            _ => Err(out_of_order("the end of a transaction's piece")),
        }
    }

    /// The transaction with that id, which came in pieces, is committed at `at`. Hands over while it is appended, so that a
    /// large one does not fill the memory a second time.
    pub(super) async fn commit_held(&mut self, xid: &str, at: C, commit_ts: Timestamp, end: &C) -> Result<(), Fault> {
        self.begin(at.clone(), commit_ts, xid)?;
        let held = self.held.take(xid);
        if let Incoming::Whole(open) = &mut self.incoming {
            open.content = held.content;
        }
        if self.wants_changes()? {
            for change in &held.changes {
                match change {
                    HeldChange::Row(HeldRow { schema, operation, before, after, images }) => {
                        let schema = self.schema(&schema.table, &schema.columns)?;
                        self.write_images(&schema, RowParts::of(*operation, *before, *after), images)?;
                    }
                    HeldChange::Ddl { table, statement } => self.ddl(table, statement)?,
                }
                if self.appender.pending_bytes() >= limits::APPEND_CHUNK_BYTES {
                    self.appender.hand_over().await?;
                }
            }
        }
        self.commit(&at, end)
    }

    /// The transaction with that id, which came in pieces, is rolled back.
    pub(super) fn abort_held(&mut self, xid: &str) -> Result<(), Fault> {
        self.between("the end of a transaction")?;
        self.held.take(xid);
        Ok(())
    }

    /// A statement changes a table.
    pub(super) fn ddl(&mut self, table: &TableName, statement: &str) -> Result<(), Fault> {
        match &mut self.incoming {
            Incoming::Nothing | Incoming::Load => Err(out_of_order("a statement")),
            Incoming::Whole(open) if open.skipped => Ok(()),
            Incoming::Whole(open) => {
                open.begin(self.appender, &self.head)?;
                self.appender.ddl(table, statement)?;
                Ok(())
            }
            Incoming::Piece(xid) => Ok(self.held.ddl(xid, table, statement)?),
        }
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
