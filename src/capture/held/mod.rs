//! Transactions that a source sends in pieces before they end, kept until it is known how they end.
//!
//! Owns their changes, in memory and, beyond a cap for all of them, in a file beside the trail ([`Spill`]); leaves what becomes of
//! them to `intake`. A transaction's changes are one sequence of bytes ([`entry`]), of which the newest are in memory. Nothing of
//! them is in the trail before they are committed: a source has to send them from their beginning again after each session's end.
//!
//! A row belongs to a part of its transaction, which may be rolled back by itself. Its rows are then passed over when the
//! transaction is read, and so is what the source sent of them: by its content the transaction is known again when it comes
//! whole, without them. Of a statement or a message nobody says which part it belongs to: a transaction that holds one and
//! has a part rolled back behind it has to come whole.

mod entry;

pub(super) use entry::{Entry, HeldRow};

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::error::{CaptureError, Fault};
use super::overlap::ContentHash;
use crate::limits;
use crate::record::{Column, SchemaId, TableName, TableSchema};
use crate::trail::RowParts;
use crate::trail::local::spill::{Spill, SpillBlock, SpillError};

/// One such transaction.
#[derive(Debug, Default)]
pub(super) struct HeldTransaction {
    /// Its oldest changes.
    spilled: Vec<SpillBlock>,
    /// The changes behind these.
    recent: Vec<u8>,
    /// Tables as its rows were read; a row names one by its number.
    schemas: Schemas,
    /// The part that comes in, and what the source sent of it since it began to.
    part: Option<Part>,
    /// Parts that were rolled back.
    aborted: HashSet<u64>,
    /// It holds a statement or a message, which may belong to any part.
    has_partless: bool,
}

/// Descriptions of tables that the trail may never hear of.
#[derive(Debug, Default)]
struct Schemas {
    all: Vec<Arc<TableSchema>>,
    latest: HashMap<TableName, Arc<TableSchema>>,
    /// Bytes of all of them, and of whatever else is known of tables for this transaction alone.
    bytes: usize,
}

#[derive(Debug)]
struct Part {
    number: u64,
    content: ContentHash,
    length: u64,
}

/// All of them, by the source's number.
#[derive(Debug)]
pub(super) struct Held {
    /// The one of which a piece comes.
    coming: Option<(u64, HeldTransaction)>,
    /// The others.
    paused: HashMap<u64, HeldTransaction>,
    spill: Spill,
    /// Bytes in memory, of all of them, and how many that may be.
    memory: usize,
    memory_max: usize,
    /// Parts that were rolled back, of all of them.
    aborted: usize,
    /// Bytes of descriptions of tables, of all of them.
    described: usize,
}

impl HeldTransaction {
    fn bytes(&self) -> usize {
        self.recent.len()
    }

    fn end_part(&mut self) {
        if let Some(Part { content, length, .. }) = self.part.take() {
            entry::push_part_end(&mut self.recent, content.so_far(), length);
        }
    }

    /// The table as the row was read.
    pub(super) fn schema(&self, row: &HeldRow<'_>) -> Result<&Arc<TableSchema>, CaptureError> {
        self.schemas.all.get(row.schema as usize).ok_or_else(broken)
    }

    /// Whether a part was rolled back.
    pub(super) fn is_aborted(&self, part: u64) -> bool {
        self.aborted.contains(&part)
    }

    /// Its changes from the first on, as [`Held::more`] brings them.
    pub(super) fn changes(&mut self) -> Changes {
        self.end_part();
        let spilled = std::mem::take(&mut self.spilled);
        Changes { spilled: spilled.into_iter(), recent: std::mem::take(&mut self.recent), there: Vec::new(), at: 0 }
    }
}

impl Held {
    /// None, with that cap in memory, and what is beyond it in `spill`.
    pub(super) fn new(memory_max: usize, spill: Spill) -> Self {
        Self { coming: None, paused: HashMap::new(), spill, memory: 0, memory_max, aborted: 0, described: 0 }
    }

    /// Bytes that are kept, in memory and on the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.memory as u64 + self.spill.used()
    }

    /// A piece comes of that transaction: what follows is of it.
    pub(super) fn resume(&mut self, transaction: u64) {
        self.pause();
        self.coming = Some((transaction, self.paused.remove(&transaction).unwrap_or_default()));
    }

    /// That was the piece.
    pub(super) fn pause(&mut self) {
        self.paused.extend(self.coming.take());
    }

    /// What comes from here on belongs to that part of the transaction.
    pub(super) fn part(&mut self, number: u64) {
        let coming = self.coming.as_ref().and_then(|(_, of)| of.part.as_ref());
        if coming.is_some_and(|part| part.number == number) {
            return;
        }
        self.change((), |of| {
            of.end_part();
            entry::push_part(&mut of.recent, number);
            of.part = Some(Part { number, content: ContentHash::default(), length: 0 });
        });
    }

    /// Takes in what the source sent of a row, beside the row itself.
    pub(super) fn content(&mut self, message: &[u8]) {
        if let Some(part) = self.coming.as_mut().and_then(|(_, of)| of.part.as_mut()) {
            part.content.add(message);
            part.length += message.len() as u64;
        }
    }

    /// A description of a table with these columns: the one that the transaction has already, or a new one.
    pub(super) fn schema(&mut self, table: &TableName, columns: &[Column]) -> Result<Arc<TableSchema>, CaptureError> {
        let Some((_, HeldTransaction { schemas, .. })) = &self.coming else { return Err(broken()) };
        if let Some(latest) = schemas.latest.get(table).filter(|latest| latest.columns == columns) {
            return Ok(latest.clone());
        }
        let id = SchemaId(u32::try_from(schemas.all.len()).map_err(|_| broken())?);
        let schema = Arc::new(TableSchema { id, table: table.clone(), columns: columns.to_vec() });
        self.note_described(schema.described_bytes())?;
        let Some((_, HeldTransaction { schemas, .. })) = &mut self.coming else { return Err(broken()) };
        schemas.all.push(schema.clone());
        schemas.latest.insert(table.clone(), schema.clone());
        Ok(schema)
    }

    /// Makes room for so many bytes of what is known of a table while a piece comes, for its transaction alone.
    pub(super) fn note_described(&mut self, bytes: usize) -> Result<(), CaptureError> {
        let Some((_, HeldTransaction { schemas, .. })) = &mut self.coming else { return Err(broken()) };
        let max = limits::HELD_DESCRIBED_BYTES_MAX;
        if self.described + bytes > max {
            return Err(too_much(format!("descriptions of the tables that they change take more than {max} bytes")));
        }
        self.described += bytes;
        schemas.bytes += bytes;
        Ok(())
    }

    /// The description that [`Self::schema`] gave last for a table.
    pub(super) fn known_schema(&self, table: &TableName) -> Option<&TableSchema> {
        let (_, of) = self.coming.as_ref()?;
        of.schemas.latest.get(table).map(|schema| &**schema)
    }

    /// Keeps a row that was read by a description of [`Self::schema`]. Its images, the before image first, are written by
    /// `write`; if it fails, nothing is kept.
    pub(super) fn row<E>(
        &mut self,
        schema: &TableSchema,
        row: RowParts<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (number, has) = (schema.id.0, (row.before, row.after));
        self.change(Ok(()), |of| entry::push_row(&mut of.recent, number, row.operation, has, write))
    }

    /// Keeps one more statement of the transaction.
    pub(super) fn ddl(&mut self, table: &TableName, statement: &str) {
        self.change((), |of| {
            of.has_partless = true;
            entry::push_ddl(&mut of.recent, &table.to_string(), statement);
        });
    }

    /// Keeps one more message of the transaction.
    pub(super) fn message(&mut self, key: &[u8], value: &[u8]) {
        self.change((), |of| {
            of.has_partless = true;
            entry::push_message(&mut of.recent, key, value);
        });
    }

    /// Changes the transaction of which a piece comes; `otherwise` there is none.
    fn change<R>(&mut self, otherwise: R, change: impl FnOnce(&mut HeldTransaction) -> R) -> R {
        let Some((_, of)) = &mut self.coming else { return otherwise };
        let before = of.bytes();
        let result = change(of);
        self.memory = self.memory + of.bytes() - before;
        result
    }

    /// A part of a transaction is rolled back. What is held of the transaction may be of no use then.
    pub(super) fn abort_part(&mut self, transaction: u64, part: u64) -> Result<(), CaptureError> {
        if self.aborted >= limits::HELD_PARTS_MAX {
            return Err(too_much(format!("more than {} parts of them were rolled back", limits::HELD_PARTS_MAX)));
        }
        let of = self.paused.entry(transaction).or_default();
        if of.has_partless {
            let what = "a part of one was rolled back that may have had a message or a statement in it";
            return Err(too_much(what.to_owned()));
        }
        if of.aborted.insert(part) {
            self.aborted += 1;
        }
        Ok(())
    }

    /// Whether more is in memory than may be.
    pub(super) fn is_over(&self) -> bool {
        self.memory > self.memory_max
    }

    /// Puts what is in memory onto the disk, the largest transactions first, until half of what may be there is left.
    pub(super) async fn spill(&mut self) -> Result<(), Fault> {
        while self.memory > self.memory_max / 2 {
            let coming = self.coming.as_mut().map(|(_, of)| of);
            let Some(largest) = self.paused.values_mut().chain(coming).max_by_key(|of| of.bytes()) else { break };
            let bytes = std::mem::take(&mut largest.recent);
            self.memory -= bytes.len();
            let blocks = self.spill.write(bytes).await.map_err(no_place)?;
            largest.spilled.extend(blocks);
        }
        Ok(())
    }

    /// Takes out a transaction, which has ended; one of which nothing came is empty.
    pub(super) fn take(&mut self, transaction: u64) -> HeldTransaction {
        let taken = self.paused.remove(&transaction).unwrap_or_default();
        self.memory -= taken.bytes();
        self.aborted -= taken.aborted.len();
        self.described -= taken.schemas.bytes;
        taken
    }

    /// Drops a transaction.
    pub(super) async fn drop(&mut self, transaction: u64) -> Result<(), Fault> {
        let dropped = self.take(transaction);
        Ok(self.spill.release(dropped.spilled).await.map_err(no_place)?)
    }

    /// Brings more of the changes of a transaction that was taken out; says whether there was more.
    pub(super) async fn more(&mut self, changes: &mut Changes) -> Result<bool, Fault> {
        changes.there.drain(..std::mem::take(&mut changes.at));
        let mut bytes = 0;
        let fits = |block: &SpillBlock| {
            let is_first = bytes == 0;
            bytes += block.bytes();
            is_first || bytes <= limits::SPILL_READ_BYTES
        };
        let blocks: Vec<SpillBlock> = changes.spilled.as_slice().iter().copied().take_while(fits).collect();
        if !blocks.is_empty() {
            changes.spilled.nth(blocks.len() - 1);
            let there = std::mem::take(&mut changes.there);
            changes.there = self.spill.read(blocks.clone(), there).await.map_err(unreadable)?;
            self.spill.release(blocks).await.map_err(no_place)?;
            return Ok(true);
        }
        let recent = std::mem::take(&mut changes.recent);
        if changes.there.is_empty() {
            changes.there = recent;
            return Ok(!changes.there.is_empty());
        }
        changes.there.extend_from_slice(&recent);
        // A change of which the end is missing.
        if recent.is_empty() { Err(broken().into()) } else { Ok(true) }
    }
}

/// The changes of a transaction that was taken out, read from the first on.
#[derive(Debug)]
pub(super) struct Changes {
    spilled: std::vec::IntoIter<SpillBlock>,
    recent: Vec<u8>,
    /// Bytes that are there, and how far they have been read.
    there: Vec<u8>,
    at: usize,
}

impl Changes {
    /// The next entry; none when [`Held::more`] has to bring some.
    pub(super) fn next(&mut self) -> Result<Option<Entry<'_>>, CaptureError> {
        match entry::read(&self.there[self.at..]) {
            Ok(Some((entry, bytes))) => {
                self.at += bytes;
                Ok(Some(entry))
            }
            Ok(None) => Ok(None),
            Err(entry::NoEntry) => Err(broken()),
        }
    }
}

fn too_much(what: String) -> CaptureError {
    CaptureError::HeldTooMuch(what)
}

fn no_place(error: SpillError) -> CaptureError {
    CaptureError::HeldTooMuch(error.to_string())
}

/// What was kept is gone; the source has it still.
fn unreadable(error: SpillError) -> Fault {
    Fault::Passing(format!("what the source has sent of a transaction before its end cannot be read again: {error}"))
}

fn broken() -> CaptureError {
    CaptureError::Malformed("changes of a transaction that came in pieces, as they were kept".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{JsonKind, Operation};

    /// What is left of a transaction, its content and changes.
    async fn left(held: &mut Held, transaction: u64) -> (ContentHash, Vec<u8>) {
        let mut taken = held.take(transaction);
        let mut changes = taken.changes();
        let (mut content, mut rows, mut skips) = (ContentHash::default(), Vec::new(), false);
        loop {
            while let Some(entry) = changes.next().unwrap() {
                match entry {
                    Entry::Part(part) => skips = taken.is_aborted(part),
                    Entry::PartEnd { hash, length } if !skips => content.join(hash, length),
                    Entry::Row(row) if !skips => rows.extend_from_slice(row.images),
                    _ => {}
                }
            }
            if !held.more(&mut changes).await.unwrap() {
                return (content, rows);
            }
        }
    }

    fn row(held: &mut Held, transaction: u64, part: u64, bytes: &[u8]) {
        held.resume(transaction);
        held.part(part);
        held.content(bytes);
        let table = TableName::parse("toy.t").unwrap();
        let schema = held.schema(&table, &[]).unwrap();
        let parts = RowParts::of(Operation::Insert, false, true);
        let write = |out: &mut Vec<u8>| -> Result<(), ()> {
            out.extend_from_slice(bytes);
            Ok(())
        };
        held.row(&schema, parts, write).unwrap();
        held.pause();
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]

        #[test]
        fn a_transaction_without_its_parts_that_were_rolled_back_is_what_it_is_when_it_comes_whole(
            rows in proptest::collection::vec((0..3_u64, 0..5_u64, 0..40_000_usize), 0..40),
            aborted in proptest::collection::hash_set((0..3_u64, 0..5_u64), 0..6),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let folder = tempfile::tempdir().unwrap();
            runtime.block_on(async {
                let mut held = Held::new(100_000, Spill::in_folder(folder.path(), 1 << 30));
                for (seed, (transaction, part, length)) in rows.iter().enumerate() {
                    row(&mut held, *transaction, *part, &vec![seed as u8; *length]);
                    if held.is_over() {
                        held.spill().await.unwrap();
                    }
                }
                for (transaction, part) in &aborted {
                    held.abort_part(*transaction, *part).unwrap();
                }
                for transaction in 0..3 {
                    let (mut content, mut whole) = (ContentHash::default(), Vec::new());
                    for (seed, (of, part, length)) in rows.iter().enumerate() {
                        if *of == transaction && !aborted.contains(&(*of, *part)) {
                            content.add(&vec![seed as u8; *length]);
                            whole.extend_from_slice(&vec![seed as u8; *length]);
                        }
                    }
                    let (found, left) = left(&mut held, transaction).await;
                    assert_eq!(found.finish(0), content.finish(0));
                    assert!(left == whole);
                }
                assert_eq!((held.bytes(), held.aborted), (0, 0));
            });
        }
    }

    #[test]
    fn a_message_or_a_statement_may_belong_to_any_part_that_is_rolled_back_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut held = Held::new(1_000, Spill::in_folder(folder.path(), 10));
        let table = TableName::parse("toy.t").unwrap();
        let keeps: [&dyn Fn(&mut Held); 2] = [&|held| held.message(b"k", b"v"), &|held| held.ddl(&table, "alter …")];
        for (transaction, keep) in (1..).zip(keeps) {
            row(&mut held, transaction, 7, b"row");
            // What was rolled back before it had no part in it.
            held.abort_part(transaction, 7).unwrap();
            held.resume(transaction);
            keep(&mut held);
            held.pause();
            let error = held.abort_part(transaction, 8).unwrap_err();
            assert!(
                error.reason() == "held_too_much" && error.to_string().contains("a message or a statement"),
                "{error}"
            );
            held.abort_part(9, 8).unwrap();
        }
    }

    #[test]
    fn descriptions_of_tables_have_a_cap_for_all_transactions_together_and_are_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut held = Held::new(1_000, Spill::in_folder(folder.path(), 10));
        let columns = [Column {
            name: "c".repeat(1 << 20),
            kind: JsonKind::String,
            sql_type: "text".into(),
            nullable: true,
            key: false,
        }];
        let describe = |held: &mut Held, transaction: u64, table: u64| {
            held.resume(transaction);
            let described = held.schema(&TableName::parse(&format!("toy.t{table}")).unwrap(), &columns);
            held.pause();
            described.map(drop)
        };
        for number in 0..15 {
            // Again it is the same one.
            describe(&mut held, number % 2, number).unwrap();
            describe(&mut held, number % 2, number).unwrap();
        }
        let error = describe(&mut held, 2, 0).unwrap_err();
        assert!(error.reason() == "held_too_much" && error.to_string().contains("16777216 bytes"), "{error}");
        held.take(0);
        describe(&mut held, 2, 0).unwrap();
        held.take(1);
        held.take(2);
        assert_eq!(held.described, 0);
    }

    #[tokio::test]
    async fn what_has_no_place_on_the_disk_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut held = Held::new(1_000, Spill::in_folder(folder.path(), 10));
        row(&mut held, 1, 1, &[0; 2_000]);
        assert!(held.is_over());
        let error = held.spill().await.unwrap_err();
        let Fault::Stop(error) = error else { panic!("{error}") };
        assert!(error.reason() == "held_too_much" && error.to_string().contains("10 bytes"), "{error}");
    }

    #[tokio::test]
    async fn a_transaction_that_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut held = Held::new(0, Spill::in_folder(folder.path(), 1 << 30));
        row(&mut held, 1, 1, &[0; 200_000]);
        held.spill().await.unwrap();
        row(&mut held, 1, 2, &[0; 10]);
        held.abort_part(1, 2).unwrap();
        assert!(held.bytes() > 200_000);
        held.drop(1).await.unwrap();
        held.drop(2).await.unwrap();
        assert_eq!((held.bytes(), held.aborted), (0, 0));
    }
}
