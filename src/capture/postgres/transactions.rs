//! Whole transactions on their way into the trail, in commit order.
//!
//! Owns which table, which transaction and which position a decoded message belongs to, and refuses messages out of order.
//! Touches no socket and waits for nothing: when the trail gets what was collected is `stream`'s business.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::lsn::Lsn;
use super::pgoutput::{OldTuple, RelationIds, RelationMessage, Tuple};
use super::relation::{self, Relation};
use super::value::ValueKind;
use crate::capture::source::{CaptureError, Fault};
use crate::record::{Column, Operation, TableSchema, Timestamp, TransactionHead};
use crate::trail::{AppendError, Appender, Row};

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
    /// Every transaction whose commit record starts before it is appended.
    appended: Lsn,
    /// Every transaction that ends before it has been received: what idle progress may claim.
    complete: Lsn,
    counts: Counts,
    buffers: Buffers,
}

/// The transaction that is coming in.
struct Open {
    commit_lsn: Lsn,
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

/// Used again for each row.
#[derive(Default)]
struct Buffers {
    before: Vec<u8>,
    after: Vec<u8>,
    scratch: Vec<u8>,
}

fn out_of_order(what: &str) -> Fault {
    CaptureError::Malformed(format!("{what} out of order")).into()
}

impl<'a> Transactions<'a> {
    /// Nothing received yet; the trail has everything before `start`.
    pub(super) fn new(appender: &'a mut Appender, start: Lsn) -> Self {
        Self {
            appender,
            relations: HashMap::new(),
            left_out: HashMap::new(),
            open: None,
            head: TransactionHead::default(),
            appended: start,
            complete: start,
            counts: Counts::default(),
            buffers: Buffers::default(),
        }
    }

    /// Whether one is half in.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
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
        self.open.as_ref().map(|open| Self::position(open.commit_lsn))
    }

    /// Counts what was appended, from 0 again.
    pub(super) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// The position that a transaction with that commit record has: see the parent module.
    pub(super) fn position(commit_lsn: Lsn) -> Lsn {
        Lsn(commit_lsn.0.saturating_add(1))
    }

    pub(super) fn begin(&mut self, commit_lsn: Lsn, commit_ts: Timestamp, xid: u32) -> Result<(), Fault> {
        if self.open.is_some() {
            return Err(out_of_order("a transaction's begin"));
        }
        self.head.xid.clear();
        // Writing to a String does not fail.
        let _ = write!(self.head.xid, "{xid}");
        self.head.commit_ts = commit_ts;
        Self::position(commit_lsn).write_position(&mut self.head.source);
        // The server's own rule for what a stream from there leaves out, applied again: see the parent module.
        let skipped = commit_lsn < self.appended;
        self.open = Some(Open { commit_lsn, skipped, begun: false });
        Ok(())
    }

    pub(super) fn commit(&mut self, commit_lsn: Lsn, end_lsn: Lsn) -> Result<(), Fault> {
        let Some(open) = self.open.as_ref().filter(|open| open.commit_lsn == commit_lsn) else {
            return Err(out_of_order("a transaction's commit"));
        };
        if open.begun {
            let last = self.appender.commit()?;
            self.appended = Self::position(commit_lsn);
            self.counts.transactions += 1;
            self.counts.records += u64::from(last.record) + 1;
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

    /// Every transaction that ends before it has been received.
    pub(super) fn complete(&self) -> Lsn {
        self.complete
    }

    /// The trail goes on from a place that the source cannot show the way to.
    pub(super) fn resumed_at(&mut self, place: Lsn) {
        self.appended = self.appended.max(place);
        self.complete = self.complete.max(place);
    }

    /// A table of that number has these columns from here on.
    pub(super) fn describe(
        &mut self,
        message: &RelationMessage<'_>,
        columns: &[Column],
        kinds: Vec<ValueKind>,
    ) -> Result<std::sync::Arc<TableSchema>, Fault> {
        let schema = self.appender.shape(&relation::table_name(message)?, columns)?;
        self.relations.insert(message.id, Some(Relation::new(message, schema.clone(), kinds)));
        Ok(schema)
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
        while let Some(widened) = self.buffers.write(relation, old, new)? {
            relation.schema = self.appender.shape(&relation.schema.table, &relation.widened_columns(widened))?;
        }
        open.begin(self.appender, &self.head)?;
        let before = old.is_some().then_some(self.buffers.before.as_slice());
        let after = new.is_some().then_some(self.buffers.after.as_slice());
        let row = Row { operation, before, after, tokens: None };
        let appended = self.appender.row(&relation.schema, row).map(drop);
        appended.map_err(|error| match error {
            AppendError::TooLarge { .. } => CaptureError::RowRefused {
                table: relation.schema.table.to_string(),
                position: open.commit_lsn.to_string(),
                error,
            }
            .into(),
            error => error.into(),
        })
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

    /// The server has sent everything before `end`.
    pub(super) fn all_sent_before(&mut self, end: Lsn) {
        if self.open.is_none() {
            self.complete = self.complete.max(end);
        }
    }

    /// Notes in the trail how far the source is, unless the trail knows; says whether it did. `asked` is a position that
    /// somebody waits for; without one it is only noted when `due`.
    pub(super) fn note_progress(&mut self, due: bool, asked: Option<Lsn>) -> Result<bool, Fault> {
        let wanted = due || asked.is_some_and(|at| at > self.appended);
        if self.open.is_some() || self.complete <= self.appended || !wanted {
            return Ok(false);
        }
        self.appender.progress(&self.complete.to_position())?;
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

impl Buffers {
    /// Writes both images; says if the shape has to be widened first.
    fn write(
        &mut self,
        relation: &Relation,
        old: Option<OldTuple<'_>>,
        new: Option<Tuple<'_>>,
    ) -> Result<Option<relation::Widened>, Fault> {
        self.before.clear();
        self.after.clear();
        let mut widened = None;
        if let Some(OldTuple { key_only, tuple }) = old {
            widened = relation.write_image(&mut self.before, &mut self.scratch, tuple, key_only)?;
        }
        if let Some(tuple) = new {
            widened = relation.write_image(&mut self.after, &mut self.scratch, tuple, false)?.or(widened);
        }
        Ok(widened)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::capture::postgres::pgoutput::{Message, RelationColumn};
    use crate::clock::SystemClock;
    use crate::record::{JsonKind, ResourceName, TrailName};
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
        let mut transactions = Transactions::new(&mut appender, Lsn(100));
        let message = RelationMessage {
            id: 1,
            schema: "public",
            table: "t",
            replica_identity: b'd',
            columns: vec![RelationColumn { identity: true, name: "id", type_id: 23, type_modifier: -1 }],
        };
        let column = Column {
            name: "id".into(),
            kind: JsonKind::Number,
            sql_type: "integer".into(),
            nullable: false,
            key: true,
        };
        transactions.describe(&message, &[column], vec![ValueKind::Integer]).unwrap();
        transactions.leave_out(2);
        take(&mut transactions);
    }

    fn insert(transactions: &mut Transactions<'_>, table: u8) -> Result<(), Fault> {
        let bytes = [b"I\0\0\0".as_slice(), &[table], b"N\0\x01t\0\0\0\x017"].concat();
        let Ok(Message::Insert { relation, new }) = Message::decode(&bytes) else { panic!("no insert") };
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
    fn no_progress_is_noted_inside_a_transaction() {
        with_trail(|transactions| {
            transactions.all_sent_before(Lsn(120));
            transactions.begin(Lsn(150), TIME, 5).unwrap();
            transactions.all_sent_before(Lsn(300));
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
            assert!(insert(transactions, 3).is_err());
            assert!(transactions.commit(Lsn(101), Lsn(102)).is_err());
            transactions.commit(Lsn(100), Lsn(101)).unwrap();
        });
    }
}
