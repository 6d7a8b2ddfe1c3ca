//! What the stream says of transactions, tables and rows, on its way into the intake.
//!
//! Owns which table and which schema a row belongs to, and its images; leaves whole transactions and what the trail has already
//! to `capture::intake`.
//! Touches no socket and waits for nothing: when the trail gets what was collected is `stream`'s business.

use std::collections::HashMap;
use std::sync::Arc;

use super::lsn::Lsn;
use super::partial_row::PartialRow;
use super::pgoutput::{OldTuple, RelationIds, RelationMessage, Tuple};
use super::relation::{self, Relation, Unwritten, Widened};
use super::snapshot::reader::Piece;
use super::table_facts::Facts;
use crate::capture::coordinate::Coordinate;
use crate::capture::error::{CaptureError, Fault};
use crate::capture::intake::{Intake, out_of_order};
use crate::capture::overlap::Overlap;
use crate::capture::snapshot::key::Key;
use crate::capture::snapshot::loading::Appended;
use crate::capture::snapshot::window::HiddenRows;
use crate::codec::byte_text::Charset;
use crate::codec::frame::PAYLOAD_BYTES_MAX;
use crate::codec::image::Image;
use crate::limits;
use crate::record::{Operation, TableSchema, Timestamp};
use crate::trail::{AppendError, Appender, RowParts};

/// Tables as the stream has described them, and the intake that their rows go to.
pub(super) struct Transactions<'a> {
    pub(super) intake: Intake<'a, Lsn>,
    /// The server's number of the transaction that is half in, if one is.
    xid: Option<u32>,
    /// By the server's number; none for a table that is not captured.
    relations: HashMap<u32, Option<Relation>>,
    /// How each was described last, by the same number.
    shapes: HashMap<u32, Shape>,
    /// Tables that are not captured, and since where in the log rows of them were left out.
    left_out: HashMap<u32, Lsn>,
    /// Used again for each value.
    scratch: Vec<u8>,
    /// Of the texts in rows.
    charset: Charset,
}

/// How a table was described.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    text: String,
    /// Number of the stream's last description.
    streamed: u64,
}

/// A piece of a load cannot be appended, nor can it be when it is read again: why, and what to do.
#[derive(Debug)]
pub(super) struct Unloaded(pub(super) String);

/// What became of a piece.
enum Tried {
    Appended(bool),
    /// The schema has to be widened first.
    Widened(Widened),
    Unloaded(String),
}

/// Why a row of a load is not appended.
enum NotLoaded {
    LeftOut,
    Unwritten(Unwritten),
}

impl From<Unwritten> for NotLoaded {
    fn from(unwritten: Unwritten) -> Self {
        Self::Unwritten(unwritten)
    }
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
    pub(super) fn new(appender: &'a mut Appender, overlap: Overlap<Lsn>, confirmed: Lsn, charset: Charset) -> Self {
        Self {
            intake: Intake::new(appender, overlap, confirmed),
            xid: None,
            relations: HashMap::new(),
            shapes: HashMap::new(),
            left_out: HashMap::new(),
            scratch: Vec::new(),
            charset,
        }
    }

    /// The server's number of the transaction that is half in.
    pub(super) fn open_xid(&self) -> Option<u32> {
        self.xid.filter(|_| self.intake.is_open())
    }

    pub(super) fn begin(&mut self, commit_lsn: Lsn, commit_ts: Timestamp, xid: u32) -> Result<(), Fault> {
        self.xid = Some(xid);
        self.intake.begin(commit_lsn.after_commit(), commit_ts, xid)
    }

    pub(super) fn commit(&mut self, commit_lsn: Lsn, end_lsn: Lsn) -> Result<(), Fault> {
        self.intake.commit(&commit_lsn.after_commit(), &end_lsn)
    }

    /// A table of that number is not captured.
    pub(super) fn leave_out(&mut self, id: u32) {
        self.relations.insert(id, None);
        self.left_out.entry(id).or_insert(*self.intake.complete());
    }

    /// A table of that number is captured from here on: since where its rows were left out before, if they were.
    pub(super) fn take_in(&mut self, id: u32) -> Option<Lsn> {
        self.left_out.remove(&id)
    }

    /// Whether a table of that number was described before.
    pub(super) fn knows(&self, id: u32) -> bool {
        self.relations.contains_key(&id)
    }

    /// A table of that number looks like that from here on. Says its schema, and the columns whose types nobody knows.
    pub(super) fn describe(
        &mut self,
        message: &RelationMessage<'_>,
        facts: &Facts,
    ) -> Result<(Arc<TableSchema>, Vec<String>), Fault> {
        let table = relation::table_name(message)?;
        let described = relation::describe(message, facts, self.intake.known_schema(&table));
        let unknown = described.unknown().map(str::to_owned).collect();
        let schema = self.intake.schema(&table, &described.columns)?;
        let relation = Relation::new(schema.clone(), described.kinds, self.charset);
        self.relations.insert(message.id, Some(relation));
        self.shapes.entry(message.id).or_default().text = shape_of(message);
        Ok((schema, unknown))
    }

    /// The stream itself has described a table, as its description of that number.
    pub(super) fn described(&mut self, id: u32, number: u64) {
        self.shapes.entry(id).or_default().streamed = number;
    }

    /// Whether the stream has described the table otherwise since that piece of a load was read.
    pub(super) fn differs(&self, piece: &Piece) -> bool {
        let message = &piece.plan.message;
        let later = |shape: &&Shape| shape.streamed > piece.described;
        self.shapes.get(&message.id).filter(later).is_some_and(|shape| shape.text != shape_of(message))
    }

    /// Appends a piece of a load, but for the rows that are hidden; says whether that are any. No transaction may be half in.
    pub(super) async fn load(&mut self, piece: &Piece, hidden: &HiddenRows) -> Result<Result<bool, Unloaded>, Fault> {
        let message = &piece.plan.message;
        if self.shapes.get(&message.id).is_none_or(|shape| shape.text != shape_of(message)) {
            self.describe(message, &piece.plan.facts)?;
        }
        // Each time one more column may be null.
        for _ in 0..=message.columns.len() {
            match self.try_load(piece, hidden).await? {
                Tried::Appended(appended) => return Ok(Ok(appended)),
                Tried::Unloaded(why) => {
                    self.intake.abort().await?;
                    let table = &piece.plan.table;
                    return Ok(Err(Unloaded(format!("table {table} cannot be loaded: {why}"))));
                }
                Tried::Widened(widened) => {
                    self.intake.abort().await?;
                    if let Some(Some(relation)) = self.relations.get_mut(&message.id) {
                        let columns = relation.widened_columns(widened);
                        relation.schema = self.intake.schema(&relation.schema.table, &columns)?;
                    }
                }
            }
        }
        Err(out_of_order("a row of a load"))
    }

    async fn try_load(&mut self, piece: &Piece, hidden: &HiddenRows) -> Result<Tried, Fault> {
        let table = &piece.plan.table;
        let Some(Some(relation)) = self.relations.get(&piece.plan.message.id) else {
            return Err(out_of_order("a row of a load"));
        };
        let Some(progress) = self.intake.loading.table(table) else { return Ok(Tried::Appended(false)) };
        let chunk = progress.left.chunk + 1;
        let is_last = piece.is_last() && progress.left.again.is_empty();
        let tokens = |snapshot: &str| format!("{{\"snapshot\":\"{snapshot}\",\"chunk\":\"{chunk}\"}}");
        let (tokens, tokens_of_last) = (tokens("true"), tokens(if is_last { "last" } else { "true" }));
        self.intake.begin_load(format!("load:{table}:{chunk}"), piece.read_at())?;
        let (scratch, schema) = (&mut self.scratch, &relation.schema);
        let mut appended = Appended::default();
        for (row, number) in piece.rows().zip(1..) {
            let is_end = number == piece.count;
            let tuple = Tuple::decode(row)?;
            let mut key = None;
            let again = &mut appended.again;
            let write = |out: &mut Vec<u8>| -> Result<(), NotLoaded> {
                let start = out.len();
                relation.write_row(out, scratch, None, Some(tuple))?;
                if hidden.is_empty() && !is_end {
                    return Ok(());
                }
                let Some(known) = Key::of(schema, Image::whole(&out[start..]), None) else {
                    let why = format!("a row of {table} has no key");
                    return Err(Unwritten::Refused(CaptureError::Malformed(why).into()).into());
                };
                let left_out = hidden.leaves_out(&known, again);
                key = Some(known);
                if left_out { Err(NotLoaded::LeftOut) } else { Ok(()) }
            };
            let tokens = if is_end { &tokens_of_last } else { &tokens };
            match self.intake.write_loaded(schema, tokens, write) {
                Ok(Ok(())) => appended.rows += 1,
                Ok(Err(NotLoaded::LeftOut)) => {}
                Ok(Err(NotLoaded::Unwritten(Unwritten::Widened(widened)))) => return Ok(Tried::Widened(widened)),
                Ok(Err(NotLoaded::Unwritten(Unwritten::Refused(fault)))) => {
                    return Ok(Tried::Unloaded(fault.to_string()));
                }
                Err(error @ AppendError::TooLarge { .. }) => return Ok(Tried::Unloaded(error.to_string())),
                Err(error) => return Err(error.into()),
            }
            if is_end {
                appended.behind = key;
            }
        }
        let rows = appended.rows;
        let told = piece.told(appended);
        let said = self.intake.loading.appended(table, &piece.plan.of, &piece.place().to_position(), told, hidden);
        let Some(said) = said else { return Err(out_of_order("a chunk of a load")) };
        self.intake.commit_load(&said, rows).await?;
        Ok(Tried::Appended(rows > 0))
    }

    /// Judges a message of `whole` bytes of which `there` has come. A row that the trail will not take is refused at once.
    pub(super) fn foresee(&self, there: &[u8], whole: usize) -> Result<Outlook, Fault> {
        let Some(partial) = PartialRow::of(there, whole).filter(|_| self.intake.is_open()) else {
            return Ok(Outlook::Awaited);
        };
        match self.relations.get(&partial.relation) {
            None => Ok(Outlook::Awaited),
            Some(Some(relation)) if self.intake.wants_changes()? => {
                let (bytes, max) = (partial.bytes_min(relation.kinds()), PAYLOAD_BYTES_MAX);
                if bytes > max {
                    return Err(self.intake.refusal(AppendError::TooLarge { bytes, max }.into(), &relation.schema));
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
        let wanted = self.intake.wants_changes()?;
        let Some(relation) = self.relations.get_mut(&relation) else { return Err(out_of_order("a row of a table")) };
        let (Some(relation), true) = (relation, wanted) else { return Ok(()) };
        let row = RowParts::of(operation, old.is_some(), new.is_some());
        loop {
            let write = |out: &mut Vec<u8>| relation.write_row(out, &mut self.scratch, old, new);
            match self.intake.write_row(&relation.schema, row, write)? {
                Ok(()) => break,
                Err(Unwritten::Widened(widened)) => {
                    let columns = relation.widened_columns(widened);
                    relation.schema = self.intake.schema(&relation.schema.table, &columns)?;
                }
                Err(Unwritten::Refused(fault)) => return Err(self.intake.refusal(fault, &relation.schema)),
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
            let Some(relation) = self.relations.get(&id) else { return Err(out_of_order("a truncate of a table")) };
            if let (Some(relation), true) = (relation, wanted) {
                self.intake.truncate(&relation.schema)?;
            }
        }
        Ok(())
    }
}

/// What tells two descriptions of a table apart.
fn shape_of(message: &RelationMessage<'_>) -> String {
    let RelationMessage { id: _, schema, table, replica_identity, columns } = message;
    format!("{schema:?} {table:?} {replica_identity} {columns:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::gap::Gaps;
    use crate::capture::intake::Counts;
    use crate::capture::overlap::Mark;
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
