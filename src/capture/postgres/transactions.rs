//! Whole transactions on their way into the trail, in commit order.
//!
//! Owns which table, which transaction and which position a decoded message belongs to, and refuses messages out of order.
//! Leaves what the trail should have already to `overlap`.
//! Touches no socket and waits for nothing: when the trail gets what was collected is `stream`'s business.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::describing::Facts;
use super::lsn::Lsn;
use super::overlap::{Mark, Overlap, RowsHash};
use super::oversize::Beginning;
use super::pgoutput::{OldTuple, RelationIds, RelationMessage, Tuple};
use super::relation::{self, Relation, Unwritten};
use crate::capture::source::{CaptureError, Fault};
use crate::codec::byte_text::Charset;
use crate::codec::frame::PAYLOAD_BYTES_MAX;
use crate::limits;
use crate::record::{Operation, TableSchema, Timestamp, TransactionHead};
use crate::tasks::{self, Task};
use crate::trail::{AppendError, Appender, Row, RowParts};

/// What has been received and not been given to the trail's writer, and how far that is.
pub(super) struct Transactions<'a> {
    pub(super) appender: &'a mut Appender,
    /// By the server's number; none for a table that is not captured.
    relations: HashMap<u32, Option<Relation>>,
    /// Tables that are not captured, and since where in the log rows of them were left out.
    left_out: HashMap<u32, Lsn>,
    open: Option<Open>,
    /// Of the open transaction; its texts are used again.
    head: TransactionHead,
    overlap: Overlap,
    /// The last transaction of which rows came, if all of them were of tables that are not captured.
    unnoted: Option<Mark>,
    /// Every transaction whose commit record starts before it is appended.
    appended: Lsn,
    /// Every transaction that ends before it has been received: what idle progress may claim.
    complete: Lsn,
    counts: Counts,
    /// Used again for each value.
    scratch: Vec<u8>,
    /// Of the texts in rows.
    charset: Charset,
}

/// What becomes of a row that still comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It is taken when it is there, or nothing is known of it yet.
    Awaited,
    /// Nobody wants it.
    PassedOver,
}

/// The transaction that is coming in.
struct Open {
    commit_lsn: Lsn,
    xid: u32,
    /// Of the rows that came, if any did.
    rows: Option<RowsHash>,
    /// The trail has it already.
    skipped: bool,
    /// The appender knows of it: it has a row that is captured.
    begun: bool,
}

/// What was appended since it was last asked for.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) transactions: u64,
    pub(super) records: u64,
}

fn out_of_order(what: &str) -> Fault {
    CaptureError::Malformed(format!("{what} out of order")).into()
}

impl<'a> Transactions<'a> {
    /// Nothing received yet from a slot that was confirmed up to `confirmed`.
    pub(super) fn new(appender: &'a mut Appender, overlap: Overlap, confirmed: Lsn, charset: Charset) -> Self {
        Self {
            appender,
            relations: HashMap::new(),
            left_out: HashMap::new(),
            open: None,
            head: TransactionHead::default(),
            appended: overlap.taken(),
            complete: confirmed,
            overlap,
            unnoted: None,
            counts: Counts::default(),
            scratch: Vec::new(),
            charset,
        }
    }

    /// Whether one is half in.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The source's number of the one that is half in.
    pub(super) fn open_xid(&self) -> Option<u32> {
        self.open.as_ref().map(|open| open.xid)
    }

    /// Commit time of the one that is half in.
    pub(super) fn open_commit_ts(&self) -> Option<Timestamp> {
        self.open.is_some().then_some(self.head.commit_ts)
    }

    /// Commit time of the one that is half in, unless the trail has it already.
    pub(super) fn new_commit_ts(&self) -> Option<Timestamp> {
        self.open.as_ref().is_some_and(|open| !open.skipped).then_some(self.head.commit_ts)
    }

    /// The position that the one that is half in will have.
    pub(super) fn open_position(&self) -> Option<Lsn> {
        self.open.as_ref().map(|open| open.commit_lsn.after_commit())
    }

    /// Every transaction that ends before it has been received, in this session or an earlier one.
    pub(super) fn complete(&self) -> Lsn {
        self.complete
    }

    /// Counts what was appended, from 0 again.
    pub(super) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    pub(super) fn begin(&mut self, commit_lsn: Lsn, commit_ts: Timestamp, xid: u32) -> Result<(), Fault> {
        if self.open.is_some() {
            return Err(out_of_order("a transaction's begin"));
        }
        self.overlap.passed(commit_lsn)?;
        self.head.xid.clear();
        // Writing to a String does not fail.
        let _ = write!(self.head.xid, "{xid}");
        self.head.commit_ts = commit_ts;
        commit_lsn.after_commit().write_position(&mut self.head.source);
        // The server's own rule for what a stream from there leaves out, applied again: see the parent module.
        let skipped = commit_lsn < self.appended;
        self.open = Some(Open { commit_lsn, xid, rows: None, skipped, begun: false });
        Ok(())
    }

    pub(super) fn commit(&mut self, commit_lsn: Lsn, end_lsn: Lsn) -> Result<(), Fault> {
        let Some(open) = self.open.as_ref().filter(|open| open.commit_lsn == commit_lsn) else {
            return Err(out_of_order("a transaction's commit"));
        };
        let mark = self.overlap.mark(commit_lsn, self.head.commit_ts, open.xid, open.rows.unwrap_or_default());
        if open.skipped && open.rows.is_some() {
            self.overlap.sent_again(mark)?;
        } else if open.begun {
            tasks::may_panic(Task::Extract);
            let last = self.appender.commit_with_hash(mark.hash)?;
            self.unnoted = None;
            self.appended = commit_lsn.after_commit();
            self.counts.transactions += 1;
            self.counts.records += u64::from(last.record) + 1;
        } else if open.rows.is_some() {
            self.unnoted = Some(mark);
        }
        self.open = None;
        self.complete = self.complete.max(end_lsn);
        Ok(())
    }

    /// A table of that number is not captured.
    pub(super) fn leave_out(&mut self, id: u32) {
        self.relations.insert(id, None);
        self.left_out.entry(id).or_insert(self.complete);
    }

    /// A table of that number is captured from here on: since where its rows were left out before, if they were.
    pub(super) fn take_in(&mut self, id: u32) -> Option<Lsn> {
        self.left_out.remove(&id)
    }

    /// Whether a table of that number was described before.
    pub(super) fn knows(&self, id: u32) -> bool {
        self.relations.contains_key(&id)
    }

    /// The trail goes on from a place that the source cannot show the way to.
    pub(super) fn resumed_at(&mut self, place: Lsn) {
        self.appended = self.appended.max(place);
        self.complete = self.complete.max(place);
        self.unnoted = None;
        self.overlap.pass_over();
    }

    /// A table of that number looks like that from here on. Says its shape, and the columns whose types nobody knows.
    pub(super) fn describe(
        &mut self,
        message: &RelationMessage<'_>,
        facts: &Facts,
    ) -> Result<(Arc<TableSchema>, Vec<String>), Fault> {
        let table = relation::table_name(message)?;
        let described = relation::describe(message, facts, self.appender.shape_of(&table).map(|schema| &**schema));
        let unknown = described.unknown().map(str::to_owned).collect();
        let schema = self.appender.shape(&table, &described.columns)?;
        let relation = Relation::new(schema.clone(), described.kinds, self.charset);
        self.relations.insert(message.id, Some(relation));
        Ok((schema, unknown))
    }

    /// Judges a message of `whole` bytes of which `there` has come. A row that the trail will not take is refused at once.
    pub(super) fn foresee(&self, there: &[u8], whole: usize) -> Result<Outlook, Fault> {
        let (Some(open), Some(beginning)) = (&self.open, Beginning::of(there, whole)) else {
            return Ok(Outlook::Awaited);
        };
        match self.relations.get(&beginning.relation) {
            None => Ok(Outlook::Awaited),
            Some(Some(relation)) if !open.skipped => {
                let (bytes, max) = (beginning.bytes_min(relation.kinds()), PAYLOAD_BYTES_MAX);
                if bytes > max {
                    return Err(refusal(AppendError::TooLarge { bytes, max }.into(), &relation.schema, open));
                }
                Ok(Outlook::Awaited)
            }
            Some(_) => Ok(Outlook::PassedOver),
        }
    }

    pub(super) fn row(
        &mut self,
        operation: Operation,
        relation: u32,
        old: Option<OldTuple<'_>>,
        new: Option<Tuple<'_>>,
    ) -> Result<(), Fault> {
        let Some(open) = self.open.as_mut() else { return Err(out_of_order("a row")) };
        let Some(relation) = self.relations.get_mut(&relation) else { return Err(out_of_order("a row of a table")) };
        let (Some(relation), false) = (relation, open.skipped) else { return Ok(()) };
        open.begin(self.appender, &self.head)?;
        let row = RowParts::of(operation, old.is_some(), new.is_some());
        loop {
            let write = |out: &mut Vec<u8>| relation.write_row(out, &mut self.scratch, old, new);
            let refused = match self.appender.write_row(&relation.schema, row, write) {
                Ok(Ok(_)) => break,
                Ok(Err(Unwritten::Widened(widened))) => {
                    relation.schema =
                        self.appender.shape(&relation.schema.table, &relation.widened_columns(widened))?;
                    continue;
                }
                Ok(Err(Unwritten::Refused(fault))) => fault,
                Err(error) => error.into(),
            };
            return Err(refusal(refused, &relation.schema, open));
        }
        // Lets go of what a huge value took.
        if self.scratch.capacity() > 4 * limits::SOURCE_LARGE_MESSAGE_BYTES {
            self.scratch = Vec::new();
        }
        Ok(())
    }

    pub(super) fn truncate(&mut self, relations: RelationIds<'_>) -> Result<(), Fault> {
        let Some(open) = self.open.as_mut() else { return Err(out_of_order("a truncate")) };
        for id in relations.iter() {
            let Some(relation) = self.relations.get(&id) else { return Err(out_of_order("a truncate of a table")) };
            if let (Some(relation), false) = (relation, open.skipped) {
                open.begin(self.appender, &self.head)?;
                let row = Row { operation: Operation::Truncate, before: None, after: None, tokens: None };
                self.appender.row(&relation.schema, row)?;
            }
        }
        Ok(())
    }

    /// The message of a row or a truncate, before it is taken.
    pub(super) fn row_sent(&mut self, message: &[u8]) {
        if let Some(open) = &mut self.open {
            open.rows.get_or_insert_default().add(message);
        }
    }

    /// The server has sent everything before `end`.
    pub(super) fn all_sent_before(&mut self, end: Lsn) -> Result<(), Fault> {
        if self.open.is_none() {
            self.overlap.passed(end)?;
            self.complete = self.complete.max(end);
        }
        Ok(())
    }

    /// Notes in the trail how far the source is, unless the trail knows; says whether it did. `asked` is a position that
    /// somebody waits for; without one it is only noted when `due`.
    pub(super) fn note_progress(&mut self, due: bool, asked: Option<Lsn>) -> Result<bool, Fault> {
        let wanted = due || asked.is_some_and(|at| at > self.appended);
        if self.open.is_some() || self.complete <= self.appended || !wanted {
            return Ok(false);
        }
        let position = self.complete.to_position();
        match self.unnoted.take() {
            Some(mark) => self.appender.progress_after(&mark.to_trail(), &position)?,
            None => self.appender.progress(&position)?,
        }
        self.appended = self.complete;
        Ok(true)
    }

    /// Drops what is half in.
    pub(super) async fn abort(&mut self) -> Result<(), Fault> {
        if self.open.take().is_some_and(|open| open.begun) {
            self.appender.abort().await?;
        }
        Ok(())
    }
}

impl Open {
    /// Opens the transaction in the trail at its first captured row: one without any is not appended.
    fn begin(&mut self, appender: &mut Appender, head: &TransactionHead) -> Result<(), Fault> {
        if !self.begun {
            appender.begin(head)?;
            self.begun = true;
        }
        Ok(())
    }
}

/// A row that is too large is named, with the place that the extract does not come past.
fn refusal(fault: Fault, schema: &TableSchema, open: &Open) -> Fault {
    match fault {
        Fault::Stop(CaptureError::Trail(error @ AppendError::TooLarge { .. })) => {
            CaptureError::RowRefused { table: schema.table.to_string(), position: open.commit_lsn.to_string(), error }
                .into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::postgres::catalogue::TableFacts;
    use crate::capture::postgres::column_types::ColumnType;
    use crate::capture::postgres::pgoutput::{Message, RelationColumn};
    use crate::capture::postgres::value::ValueKind;
    use crate::clock::SystemClock;
    use crate::record::{ResourceName, TrailName};
    use crate::trail::local::disk::SystemDisk;
    use crate::trail::{Trail, TrailOptions, Writer};

    const TIME: Timestamp = Timestamp::from_micros(7);

    /// Gives `take` an intake that has everything before byte 100.
    fn with_trail(take: impl FnOnce(&mut Transactions<'_>)) {
        let home = tempfile::tempdir().unwrap();
        let (name, extract) = (TrailName::new("t1").unwrap(), ResourceName::new("e1").unwrap());
        let (options, disk, clock) = (TrailOptions::default(), Arc::new(SystemDisk), Arc::new(SystemClock));
        let trail =
            Trail::create(&home.path().join("t1"), name, Writer::Extract(extract), &options, disk, clock).unwrap();
        let mut appender = trail.appender().unwrap();
        let overlap = Overlap::new(Lsn(100), Lsn(100), None, 0);
        let mut transactions = Transactions::new(&mut appender, overlap, Lsn(100), Charset::Utf8);
        let column = |name: &'static str, type_id| RelationColumn {
            identity: name == "id",
            name: name.into(),
            type_id,
            type_modifier: -1,
        };
        let message = |columns| RelationMessage {
            id: 1,
            schema: "public".into(),
            table: "t".into(),
            replica_identity: b'd',
            columns,
        };
        let type_of = |kind, name: &str| ColumnType { kind: Some(kind), name: name.into(), said: String::new() };
        let facts = |types| Facts { table: TableFacts::default(), types };
        let types = vec![type_of(ValueKind::Integer, "integer")];
        transactions.describe(&message(vec![column("id", 23)]), &facts(types)).unwrap();
        let texts = RelationMessage { id: 3, table: "texts".into(), ..message(vec![column("v", 25)]) };
        transactions.describe(&texts, &facts(vec![type_of(ValueKind::Text, "text")])).unwrap();
        transactions.leave_out(2);
        take(&mut transactions);
    }

    fn insert(transactions: &mut Transactions<'_>, table: u8) -> Result<(), Fault> {
        let bytes = [b"I\0\0\0".as_slice(), &[table], b"N\0\x01t\0\0\0\x017"].concat();
        let Ok(Message::Insert { relation, new }) = Message::decode(&bytes, Charset::Utf8) else { panic!("no insert") };
        transactions.row(Operation::Insert, relation, None, Some(new))
    }

    #[test]
    fn a_transaction_is_in_the_trail_from_its_first_captured_row_and_what_the_trail_has_is_left_out() {
        with_trail(|transactions| {
            let counted = |transactions: &mut Transactions<'_>| {
                let Counts { transactions, records } = transactions.take_counts();
                (transactions, records)
            };
            for (commit_lsn, tables, expected) in
                [(99, &[1, 1][..], (0, 0)), (100, &[2, 1, 1], (1, 2)), (200, &[2], (0, 0))]
            {
                transactions.begin(Lsn(commit_lsn), TIME, 5).unwrap();
                for table in tables {
                    insert(transactions, *table).unwrap();
                }
                assert_eq!(transactions.open_commit_ts(), Some(TIME));
                assert_eq!(transactions.new_commit_ts().is_some(), commit_lsn >= 100);
                transactions.commit(Lsn(commit_lsn), Lsn(commit_lsn + 50)).unwrap();
                assert_eq!(counted(transactions), expected, "{commit_lsn}");
            }
            let position = transactions.appender.source_position().and_then(Lsn::of_position);
            assert_eq!((position, transactions.appender.next_commit()), (Some(Lsn(101)), 2));
            // The transaction without a captured row is no reason to write; a server that asks is.
            assert!(!transactions.note_progress(false, None).unwrap());
            assert!(transactions.note_progress(false, Some(Lsn(250))).unwrap());
            assert!(!transactions.note_progress(true, Some(Lsn(250))).unwrap());
            assert_eq!(transactions.appender.source_position().and_then(Lsn::of_position), Some(Lsn(250)));
        });
    }

    #[test]
    fn a_row_that_the_trail_does_not_take_is_refused_by_its_first_bytes_and_one_that_nobody_wants_is_passed_over() {
        with_trail(|transactions| {
            let huge = PAYLOAD_BYTES_MAX as u32 + 1;
            let start = |table: u8| [b"I\0\0\0".as_slice(), &[table], b"N\0\x01t", &huge.to_be_bytes(), b"x"].concat();
            let whole = start(3).len() + huge as usize - 1;
            assert_eq!(transactions.foresee(&start(3), whole).unwrap(), Outlook::Awaited, "outside a transaction");
            transactions.begin(Lsn(100), TIME, 5).unwrap();
            let error = transactions.foresee(&start(3), whole).unwrap_err();
            assert!(matches!(&error, Fault::Stop(CaptureError::RowRefused { .. })), "{error}");
            assert!(error.to_string().contains("public.texts") && error.to_string().contains("0/00000064"), "{error}");
            for (table, outlook) in [(2, Outlook::PassedOver), (4, Outlook::Awaited)] {
                assert_eq!(transactions.foresee(&start(table), whole).unwrap(), outlook);
            }
            assert_eq!(transactions.foresee(&start(3)[..4], whole).unwrap(), Outlook::Awaited);
            transactions.commit(Lsn(100), Lsn(101)).unwrap();
            // What the trail has already need not be read again.
            transactions.begin(Lsn(50), TIME, 5).unwrap();
            assert_eq!(transactions.foresee(&start(3), whole).unwrap(), Outlook::PassedOver);
        });
    }

    #[test]
    fn what_comes_before_the_place_that_a_gap_ends_at_is_no_sign_of_a_source_that_went_back() {
        with_trail(|transactions| {
            let nothing_yet = Mark::none_since(Lsn(100), 0);
            transactions.overlap = Overlap::new(Lsn(100), Lsn(100), Some(nothing_yet), 0);
            transactions.resumed_at(Lsn(300));
            transactions.begin(Lsn(200), TIME, 5).unwrap();
            transactions.row_sent(b"I");
            transactions.commit(Lsn(200), Lsn(250)).unwrap();
        });
    }

    #[test]
    fn no_progress_is_noted_inside_a_transaction() {
        with_trail(|transactions| {
            transactions.all_sent_before(Lsn(120)).unwrap();
            transactions.begin(Lsn(150), TIME, 5).unwrap();
            transactions.all_sent_before(Lsn(300)).unwrap();
            assert!(!transactions.note_progress(true, Some(Lsn(300))).unwrap());
            transactions.commit(Lsn(150), Lsn(160)).unwrap();
            assert!(transactions.note_progress(true, None).unwrap());
            assert_eq!(transactions.appender.source_position().and_then(Lsn::of_position), Some(Lsn(160)));
        });
    }

    #[test]
    fn messages_out_of_order_are_refused() {
        with_trail(|transactions| {
            assert!(insert(transactions, 1).is_err());
            assert!(transactions.commit(Lsn(100), Lsn(101)).is_err());
            transactions.begin(Lsn(100), TIME, 5).unwrap();
            assert!(transactions.begin(Lsn(200), TIME, 6).is_err());
            assert!(insert(transactions, 4).is_err());
            assert!(transactions.commit(Lsn(101), Lsn(102)).is_err());
            transactions.commit(Lsn(100), Lsn(101)).unwrap();
        });
    }
}
