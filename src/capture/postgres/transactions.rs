//! What the stream says of transactions, tables and rows, on its way into the intake.
//!
//! Owns which table and which schema a row belongs to, and its images; leaves whole transactions and what the trail has already
//! to `capture::intake`.
//! Touches no socket and waits for nothing: when the trail gets what was collected is `stream`'s business.

mod loaded;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::loaded::Loaded;
pub(super) use self::loaded::Unloaded;
use super::error::MASK;
use super::lsn::Lsn;
use super::masked_table::{MaskedTable, MaskedTables};
use super::partial_row::PartialRow;
use super::pgoutput::{InBlock, Message, OldTuple, RelationIds, RelationMessage, Tuple};
use super::relation::{self, Relation, Unwritten};
use super::relations::{Described, Relations, Settled};
use super::table_facts::Facts;
use super::xid::XidCount;
use crate::capture::error::{CaptureError, Fault};
use crate::capture::intake::{Intake, out_of_order};
use crate::capture::overlap::Overlap;
use crate::capture::value_rules::ValueRules;
use crate::codec::byte_text::Charset;
use crate::codec::frame::PAYLOAD_BYTES_MAX;
use crate::limits;
use crate::record::{Operation, TableSchema, Timestamp};
use crate::trail::{AppendError, Appender, RowParts};

/// Tables as the stream has described them, and the intake that their rows go to.
pub(super) struct Transactions<'a> {
    pub(super) intake: Intake<'a, Lsn>,
    /// The server's number of the transaction that is half in, if one is.
    xid: Option<u32>,
    xids: XidCount,
    /// The (sub)transaction that what comes in a block is of.
    part: u32,
    relations: Relations,
    /// How the stream described each table last outside of blocks, by the same number.
    shapes: HashMap<u32, Shape>,
    /// Counts these descriptions.
    pub(super) descriptions: Arc<AtomicU64>,
    /// Tables as those describe them who load them.
    loaded: HashMap<u32, Loaded>,
    /// Tables that are not captured, and since where in the log rows of them were left out.
    left_out: HashMap<u32, Lsn>,
    /// Used again for each value.
    scratch: Vec<u8>,
    /// Of the texts in rows.
    charset: Charset,
    rules: &'a ValueRules,
    masked: MaskedTables,
}

/// How the stream described a table.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    text: String,
    /// Which of its descriptions that was.
    number: u64,
}

/// What becomes of a row that still comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It is taken when it is there, or nothing is known of it yet.
    Awaited,
    /// Nobody wants it.
    PassedOver,
}

impl<'a> Transactions<'a> {
    /// Nothing received yet from a slot that was confirmed up to `confirmed`.
    pub(super) fn new(
        appender: &'a mut Appender,
        (overlap, confirmed): (Overlap<Lsn>, Lsn),
        xids: XidCount,
        charset: Charset,
        rules: &'a ValueRules,
        masked: MaskedTables,
        spill_bytes_max: u64,
    ) -> Self {
        Self {
            intake: Intake::new(appender, overlap, confirmed, spill_bytes_max),
            xid: None,
            xids,
            part: 0,
            relations: Relations::default(),
            shapes: HashMap::new(),
            descriptions: Arc::default(),
            loaded: HashMap::new(),
            left_out: HashMap::new(),
            scratch: Vec::new(),
            charset,
            rules,
            masked,
        }
    }

    /// The server's number of the transaction that is half in.
    pub(super) fn open_xid(&self) -> Option<u32> {
        self.xid.filter(|_| self.intake.is_open())
    }

    pub(super) fn begin(&mut self, commit_lsn: Lsn, commit_ts: Timestamp, xid: u32) -> Result<(), Fault> {
        self.xid = Some(xid);
        self.intake.begin(commit_lsn.after_commit(), commit_ts, self.xids.whole(xid))
    }

    pub(super) fn commit(&mut self, commit_lsn: Lsn, end_lsn: Lsn) -> Result<(), Fault> {
        self.intake.commit(&commit_lsn.after_commit(), &end_lsn)
    }

    /// A table of that number is not captured.
    pub(super) fn leave_out(&mut self, id: u32) -> Result<(), Fault> {
        // Of a block it is not known yet whether its transaction is committed.
        if self.intake.piece_of().is_none() {
            self.left_out.entry(id).or_insert(*self.intake.complete());
        } else if self.relations.get(id).is_none() {
            self.intake.note_described(size_of::<Described>())?;
        }
        self.relations.put(id, None, self.intake.round(), self.part);
        Ok(())
    }

    /// A table of that number is captured from here on: since where its rows were left out before, if they were.
    pub(super) fn take_in(&mut self, id: u32) -> Option<Lsn> {
        self.left_out.remove(&id)
    }

    /// Whether a table of that number was described before.
    pub(super) fn knows(&self, id: u32) -> bool {
        self.relations.knows(id)
    }

    /// A table of that number looks like that from here on. Says its schema, and the columns whose types nobody knows.
    pub(super) fn describe(
        &mut self,
        message: &RelationMessage<'_>,
        facts: &Facts,
    ) -> Result<(Arc<TableSchema>, Vec<String>), Fault> {
        let table = relation::table_name(message)?;
        let in_block = self.intake.piece_of().is_some();
        let before = self.remembered(message.id);
        let known = self.intake.known_schema(&table);
        let described = match relation::describe(message, facts, known, self.rules, before.as_ref()) {
            // Of a transaction that has not ended the catalogue shows nothing; when it comes whole it is judged again.
            Err(Fault::Stop(CaptureError::OfProduct { reason: MASK, message })) if in_block => {
                return Err(CaptureError::HeldTooMuch(message).into());
            }
            described => described?,
        };
        if !in_block && (before.is_some() || described.masked.is_some()) {
            self.masked.remember(message.id, described.masked.as_ref())?;
        }
        let unknown = described.unknown().map(str::to_owned).collect();
        let schema = self.intake.schema(&table, &described.columns)?;
        let mut relation = Relation::new(schema.clone(), described.writers, self.charset);
        relation.masked = described.masked;
        self.relations.put(message.id, Some(relation), self.intake.round(), self.part);
        if !in_block {
            self.note_shape(message.id, loaded::shape_of(message, facts));
        }
        Ok((schema, unknown))
    }

    fn note_shape(&mut self, id: u32, text: String) {
        let number = self.descriptions.fetch_add(1, Ordering::Relaxed) + 1;
        self.shapes.insert(id, Shape { text, number });
    }

    /// What is known of a table's masked columns: by the transaction itself that comes in a block, or as it is kept.
    fn remembered(&self, id: u32) -> Option<MaskedTable> {
        if self.rules.masks.is_empty() {
            return None;
        }
        let in_block = self.relations.get(id).filter(|_| self.intake.piece_of().is_some());
        let of_block = in_block.and_then(|described| described.relation.as_ref()?.masked.clone());
        of_block.or_else(|| self.masked.get(id))
    }

    /// Takes in what the source sent of a row, before the row itself, as the source said it: by that a transaction is known
    /// again.
    pub(super) fn content(&mut self, message: &Message<'_>, payload: &[u8]) {
        if message.is_of_rows() && !self.content_of_masked(message) {
            self.intake.content(payload);
        }
    }

    /// The same of a row with masked columns, without these: the trail keeps a hash of the content. Says whether it is such a
    /// row.
    fn content_of_masked(&mut self, message: &Message<'_>) -> bool {
        if self.rules.masks.is_empty() {
            return false;
        }
        let (kind, relation, old, new) = match message {
            Message::Insert { relation, new } => (b'I', relation, None, Some(*new)),
            Message::Update { relation, old, new } => (b'U', relation, *old, Some(*new)),
            Message::Delete { relation, old } => (b'D', relation, Some(*old), None),
            _ => return false,
        };
        let described = self.relations.get(*relation).and_then(|described| described.relation.as_ref());
        let Some(described) = described.filter(|described| described.is_masked()) else { return false };
        self.scratch.clear();
        self.scratch.push(kind);
        self.scratch.extend_from_slice(&relation.to_be_bytes());
        described.push_shown(&mut self.scratch, old, new);
        self.intake.content(&self.scratch);
        true
    }

    /// Judges a message of `whole` bytes of which `there` has come. A row that the trail will not take is refused at once.
    pub(super) fn foresee(&self, there: &[u8], whole: usize) -> Result<Outlook, Fault> {
        let in_block = self.intake.piece_of().is_some();
        let Some(partial) = PartialRow::of(there, whole, in_block).filter(|_| !self.intake.is_between()) else {
            return Ok(Outlook::Awaited);
        };
        match self.relations.get(partial.relation) {
            None => Ok(Outlook::Awaited),
            Some(Described { relation: Some(relation), .. }) if self.intake.wants_changes()? => {
                let (bytes, max) = (partial.bytes_min(relation.writers()), PAYLOAD_BYTES_MAX);
                if bytes > max {
                    return Err(self.refusal(AppendError::TooLarge { bytes, max }.into(), &relation.schema));
                }
                Ok(Outlook::Awaited)
            }
            // Its content is only known without what masks hide.
            Some(Described { relation: Some(relation), .. }) if relation.is_masked() => Ok(Outlook::Awaited),
            Some(_) => Ok(Outlook::PassedOver),
        }
    }

    /// A row that is too large for the trail: in a block it is not known yet whether the trail will ever hear of it.
    fn refusal(&self, fault: Fault, schema: &TableSchema) -> Fault {
        match fault {
            Fault::Stop(CaptureError::Trail(error @ AppendError::TooLarge { .. }))
                if self.intake.piece_of().is_some() =>
            {
                CaptureError::HeldTooMuch(format!("a row of {}: {error}", schema.table)).into()
            }
            fault => self.intake.refusal(fault, schema),
        }
    }

    /// A block comes of a transaction that has not ended.
    pub(super) fn begin_block(&mut self, xid: u32) -> Result<(), Fault> {
        self.intake.resume(xid.into())?;
        self.part = xid;
        self.relations.begin_block(xid);
        Ok(())
    }

    /// That was the block.
    pub(super) fn end_block(&mut self) -> Result<(), Fault> {
        self.part = 0;
        self.relations.end_block();
        self.intake.pause()
    }

    /// Reads a message inside a block, and notes which (sub)transaction it is of.
    pub(super) fn read_in_block<'m>(&mut self, payload: &'m [u8]) -> Result<Message<'m>, Fault> {
        let in_block = InBlock::of(payload)?;
        let message = Message::decode_in_block(in_block, self.charset)?;
        self.note_part(&in_block)?;
        if message.is_of_rows() && !self.content_of_masked(&message) {
            self.content_in_block(&in_block);
        }
        Ok(message)
    }

    fn note_part(&mut self, in_block: &InBlock<'_>) -> Result<(), Fault> {
        if let Some(xid) = in_block.xid {
            self.part = xid;
            self.intake.part(xid.into())?;
        }
        Ok(())
    }

    /// As the message is outside of a block.
    fn content_in_block(&mut self, in_block: &InBlock<'_>) {
        self.intake.content(&[in_block.kind]);
        self.intake.content(in_block.rest);
    }

    /// Takes in the start of a row that nobody wants, before the rest of it: by its content too the transaction is known again.
    pub(super) fn pass_over(&mut self, there: &[u8]) -> Result<(), Fault> {
        if self.intake.piece_of().is_none() {
            self.intake.content(there);
            return Ok(());
        }
        let in_block = InBlock::of(there)?;
        self.note_part(&in_block)?;
        self.content_in_block(&in_block);
        Ok(())
    }

    /// A transaction that came in blocks is rolled back, or a subtransaction of it.
    pub(super) async fn abort_blocks(&mut self, xid: u32, subxid: u32) -> Result<(), Fault> {
        self.relations.abort(xid, subxid);
        if xid == subxid {
            self.intake.abort_held(xid.into()).await
        } else {
            self.intake.abort_part(xid.into(), subxid.into())
        }
    }

    /// A transaction that came in blocks is committed. Says which tables look otherwise from here on.
    pub(super) async fn commit_blocks(
        &mut self,
        xid: u32,
        commit_lsn: Lsn,
        end_lsn: Lsn,
        commit_ts: Timestamp,
    ) -> Result<Vec<Settled>, Fault> {
        let settled = self.relations.commit(xid);
        for table in &settled {
            let described = self.relations.get(table.id).and_then(|described| described.relation.as_ref());
            if let Some(masked) = described.and_then(|described| described.masked.as_ref()) {
                self.masked.remember(table.id, Some(masked))?;
            }
        }
        for table in &settled {
            // Another than any that a load has read until now.
            self.note_shape(table.id, String::new());
        }
        for table in settled.iter().filter(|settled| settled.table.is_none()) {
            self.left_out.entry(table.id).or_insert(*self.intake.complete());
        }
        let whole = self.xids.whole(xid);
        self.intake.commit_held(xid.into(), commit_lsn.after_commit(), commit_ts, whole, &end_lsn).await?;
        Ok(settled)
    }

    pub(super) fn row(
        &mut self,
        operation: Operation,
        relation: u32,
        old: Option<OldTuple<'_>>,
        new: Option<Tuple<'_>>,
    ) -> Result<(), Fault> {
        let wanted = self.intake.wants_changes()?;
        let Some(described) = self.relations.get_mut(relation) else { return Err(out_of_order("a row of a table")) };
        if !wanted {
            return Ok(());
        }
        let Some(relation) = in_force(described, &mut self.intake)? else { return Ok(()) };
        let row = RowParts::of(operation, old.is_some(), new.is_some());
        loop {
            let write = |out: &mut Vec<u8>| relation.write_row(out, &mut self.scratch, old, new);
            match self.intake.write_row(&relation.schema, row, write)? {
                Ok(()) => break,
                Err(Unwritten::Widened(widened)) => {
                    let columns = relation.widened_columns(widened);
                    relation.schema = self.intake.schema(&relation.schema.table, &columns)?;
                }
                Err(Unwritten::Refused(fault)) => {
                    let schema = relation.schema.clone();
                    return Err(self.refusal(fault, &schema));
                }
            }
        }
        // Lets go of what a huge value took.
        if self.scratch.capacity() > 4 * limits::SOURCE_LARGE_MESSAGE_BYTES {
            self.scratch = Vec::new();
        }
        Ok(())
    }

    pub(super) fn truncate(&mut self, relations: RelationIds<'_>) -> Result<(), Fault> {
        let wanted = self.intake.wants_changes()?;
        for id in relations.iter() {
            let Some(described) = self.relations.get_mut(id) else {
                return Err(out_of_order("a truncate of a table"));
            };
            if wanted && let Some(relation) = in_force(described, &mut self.intake)? {
                self.intake.truncate(&relation.schema)?;
            }
        }
        Ok(())
    }
}

/// A captured table, with a schema that is in force for what comes now.
fn in_force<'d>(described: &'d mut Described, intake: &mut Intake<'_, Lsn>) -> Result<Option<&'d mut Relation>, Fault> {
    let round = intake.round();
    // Of a block the schema is the transaction's own, which stays.
    if described.round != round && intake.piece_of().is_none() {
        if let Some(relation) = &mut described.relation {
            relation.schema = intake.schema(&relation.schema.table, &relation.schema.columns)?;
        }
        described.round = round;
    }
    Ok(described.relation.as_mut())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::coordinate::Coordinate;
    use crate::capture::gap::Gaps;
    use crate::capture::intake::Counts;
    use crate::capture::overlap::Mark;
    use crate::capture::postgres::catalogue::TableFacts;
    use crate::capture::postgres::column_types::ColumnType;
    use crate::capture::postgres::pgoutput::RelationColumn;
    use crate::capture::postgres::value::ValueKind;
    use crate::clock::SystemClock;
    use crate::record::{ResourceName, TableName, TrailName};
    use crate::trail::local::disk::SystemDisk;
    use crate::trail::{Trail, TrailOptions, Writer};

    const TIME: Timestamp = Timestamp::from_micros(7);

    /// Gives `take` an intake that has everything before byte 100.
    fn with_trail(take: impl FnOnce(&mut Transactions<'_>)) {
        with_mark(None, take);
    }

    /// The same, of a trail that took `mark` last.
    fn with_mark(mark: Option<Mark<Lsn>>, take: impl FnOnce(&mut Transactions<'_>)) {
        let home = tempfile::tempdir().unwrap();
        let (name, extract) = (TrailName::new("t1").unwrap(), ResourceName::new("e1").unwrap());
        let (options, disk, clock) = (TrailOptions::default(), Arc::new(SystemDisk), Arc::new(SystemClock));
        let trail =
            Trail::create(&home.path().join("t1"), name, Writer::Extract(extract), &options, disk, clock).unwrap();
        let mut appender = trail.appender().unwrap();
        let overlap = Overlap::new(Lsn(100), Lsn(100), mark, 0);
        let (rules, masked, xids) = (ValueRules::default(), MaskedTables::default(), XidCount::new(9));
        let mut transactions =
            Transactions::new(&mut appender, (overlap, Lsn(100)), xids, Charset::Utf8, &rules, masked, 1 << 30);
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
        transactions.leave_out(2).unwrap();
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
                let Counts { transactions, records } = transactions.intake.take_counts();
                (transactions, records)
            };
            for (commit_lsn, tables, expected) in
                [(99, &[1, 1][..], (0, 0)), (100, &[2, 1, 1], (1, 2)), (200, &[2], (0, 0))]
            {
                transactions.begin(Lsn(commit_lsn), TIME, 5).unwrap();
                for table in tables {
                    insert(transactions, *table).unwrap();
                }
                assert_eq!(transactions.intake.open_commit_ts(), Some(TIME));
                assert_eq!(transactions.intake.new_commit_ts().is_some(), commit_lsn >= 100);
                transactions.commit(Lsn(commit_lsn), Lsn(commit_lsn + 50)).unwrap();
                assert_eq!(counted(transactions), expected, "{commit_lsn}");
            }
            let position = transactions.intake.appender.source_position().and_then(Lsn::of_position);
            assert_eq!((position, transactions.intake.appender.next_commit()), (Some(Lsn(101)), 2));
            // The transaction without a captured row is no reason to write; a server that asks is.
            assert!(!transactions.intake.note_progress(false, None).unwrap());
            assert!(transactions.intake.note_progress(false, Some(&Lsn(250))).unwrap());
            assert!(!transactions.intake.note_progress(true, Some(&Lsn(250))).unwrap());
            assert_eq!(transactions.intake.appender.source_position().and_then(Lsn::of_position), Some(Lsn(250)));
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
            transactions.begin(Lsn(150), TIME, 5).unwrap();
            let (table, statement) = (TableName::parse("public.t").unwrap(), "x".repeat(PAYLOAD_BYTES_MAX));
            let error = transactions.intake.ddl(&table, &statement).unwrap_err();
            assert!(matches!(&error, Fault::Stop(CaptureError::RowRefused { .. })), "{error}");
            assert!(
                error.to_string().contains("statements (public.t)") && error.to_string().contains("0/00000096"),
                "{error}"
            );
            transactions.commit(Lsn(150), Lsn(151)).unwrap();
            // What the trail has already need not be read again.
            transactions.begin(Lsn(50), TIME, 5).unwrap();
            assert_eq!(transactions.foresee(&start(3), whole).unwrap(), Outlook::PassedOver);
        });
    }

    #[test]
    fn what_comes_before_the_place_that_a_gap_ends_at_is_no_sign_of_a_source_that_went_back() {
        with_mark(Some(Mark::none_since(Lsn(100), 0)), |transactions| {
            let gaps = Gaps { gaps: Vec::new(), resume_at: Some(Lsn(300)) };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(transactions.intake.write_gaps(&gaps, 0)).unwrap();
            transactions.begin(Lsn(200), TIME, 5).unwrap();
            transactions.intake.content(b"I");
            transactions.commit(Lsn(200), Lsn(250)).unwrap();
        });
    }

    #[test]
    fn no_progress_is_noted_inside_a_transaction() {
        with_trail(|transactions| {
            transactions.intake.all_sent_before(&Lsn(120)).unwrap();
            transactions.begin(Lsn(150), TIME, 5).unwrap();
            transactions.intake.all_sent_before(&Lsn(300)).unwrap();
            assert!(!transactions.intake.note_progress(true, Some(&Lsn(300))).unwrap());
            transactions.commit(Lsn(150), Lsn(160)).unwrap();
            assert!(transactions.intake.note_progress(true, None).unwrap());
            assert_eq!(transactions.intake.appender.source_position().and_then(Lsn::of_position), Some(Lsn(160)));
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
