//! A reader of a trail under way: from where a pull read begins to where the next one goes on.

use std::sync::Arc;

use super::pulled::Pulled;
use super::refused::RecordsError;
use super::{Behind, Bounds, PullBegin, Which};
use crate::limits::{INLINE_BLOCK_BYTES, RECORDS_LOOKED_THROUGH_BYTES_MAX, RECORDS_TURN_BYTES};
use crate::record::{Epoch, Offset, Timestamp};
use crate::service::trails::TrailEntry;
use crate::trail::{Begin, Entry, Fill, Location, ReadError, Reader, SeekError, Trail, bytes_between};

/// What a record takes in memory beside its bytes, about: so that a million empty messages are not free.
const AROUND_BYTES: usize = size_of::<Pulled>() + 32;

/// A reader, and the offset that it stands behind.
#[derive(Debug)]
pub(super) struct Cursor {
    trail: Trail,
    which: Which,
    reader: Reader,
    offset: Offset,
    /// Whether the reader was kept and may have been overtaken meanwhile.
    was_kept: bool,
}

/// What was read in one go.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) records: Vec<Pulled>,
    /// Memory that they take.
    pub(super) bytes: usize,
    /// Whether everything durable has been looked at.
    pub(super) at_tail: bool,
    /// When the trail took the last record that was looked at.
    pub(super) append_ts: Option<Timestamp>,
}

/// Why no further record is taken.
enum Stop {
    /// The bounds are reached.
    Full,
    Failed(RecordsError),
}

impl<E: Into<RecordsError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Cursor {
    pub(super) async fn open(entry: &TrailEntry, which: Which, begin: PullBegin) -> Result<Self, RecordsError> {
        let trail = entry.served()?.clone();
        if let Which::Partition(partition) = which
            && trail.partitions().get(partition).is_none()
        {
            return Err(RecordsError::NoPartition {
                partition,
                last: trail.partitions().all().len().saturating_sub(1),
            });
        }
        let (begin, offset) = match begin {
            PullBegin::Earliest => (Begin::Earliest, Offset::behind(trail.status().first_commit.saturating_sub(1))),
            // Not at the mark itself: what becomes durable meanwhile is not to be passed over.
            PullBegin::Now => {
                let offset = Offset::past(trail.durable().borrow().commit);
                (Begin::AfterOffset(offset), offset)
            }
            // Whatever lies before that time is passed over, and nothing of it told.
            PullBegin::Time(time) => (Begin::Time(time), Offset::behind(0)),
            PullBegin::After { epoch, .. } if epoch != trail.epoch() => return Err(RecordsError::OtherEpoch),
            PullBegin::After { offset, .. } => (Begin::AfterOffset(offset), offset),
        };
        if let Begin::AfterOffset(offset) = begin
            && let Some(reader) = entry.readers.take(which.only(), offset)
        {
            return Ok(Self { trail, which, reader, offset, was_kept: true });
        }
        let reader = seek(&trail, which, begin, offset).await?;
        Ok(Self { trail, which, reader, offset, was_kept: false })
    }

    /// The reader stays, for whoever goes on here.
    pub(super) fn keep(self, entry: &TrailEntry) {
        entry.readers.keep(self.which.only(), self.offset, self.reader);
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.trail.epoch()
    }

    /// Where the next read goes on.
    pub(super) fn offset(&self) -> Offset {
        self.offset
    }

    /// Whether its partition takes no more records: then all that it will ever have is durable, or about to be.
    pub(super) fn is_closed(&self) -> bool {
        let Which::Partition(partition) = self.which else { return false };
        let partitions = self.trail.partitions();
        let closed_behind = partitions.get(partition).and_then(|partition| partition.closed);
        closed_behind.is_some_and(|commit| commit <= self.trail.durable().borrow().commit)
    }

    /// Whether there is nothing to read.
    pub(super) fn is_at_tail(&self) -> bool {
        self.reader.location() >= self.trail.durable_end()
    }

    /// How far it stands behind the tail.
    pub(super) fn behind(&self, at_tail: bool) -> Behind {
        if at_tail {
            return Behind::default();
        }
        let last = self.trail.durable().borrow().commit;
        let read = if self.offset.is_behind() { self.offset.commit } else { self.offset.commit.saturating_sub(1) };
        let bytes = self.trail.bytes_behind(self.reader.location());
        Behind { millis: 0, bytes, transactions: last.saturating_sub(read) }
    }

    /// Waits until there is more to read.
    pub(super) async fn grown(&mut self) {
        self.reader.wait().await;
    }

    /// Reads what is durable, as far as the bounds go.
    pub(super) async fn take(&mut self, bounds: Bounds) -> Result<Taken, RecordsError> {
        match self.read(bounds).await {
            // What it wants was removed while it stood there. Looking for it says how much is lost, or finds that it is none.
            Err(RecordsError::Read(ReadError::Overtaken)) if std::mem::take(&mut self.was_kept) => {
                self.reader = seek(&self.trail, self.which, Begin::AfterOffset(self.offset), self.offset).await?;
                self.read(bounds).await
            }
            read => read,
        }
    }

    async fn read(&mut self, bounds: Bounds) -> Result<Taken, RecordsError> {
        let (mut taken, mut looked_through, mut turn) = (Taken::default(), 0, 0);
        loop {
            // What was durable before the reader finds nothing more has been looked at then.
            let durable = self.trail.durable().borrow().commit;
            let before = self.reader.location();
            match self.take_block(bounds, &mut taken) {
                Ok(()) => {}
                Err(Stop::Full) => return Ok(taken),
                Err(Stop::Failed(error)) => return Err(error),
            }
            let passed = bytes_between(before, self.reader.location()).unwrap_or(0);
            (looked_through, turn) = (looked_through + passed, turn + passed);
            // No offset stands for a time that has not come yet.
            if looked_through >= RECORDS_LOOKED_THROUGH_BYTES_MAX && self.reader.goes_by_place() {
                return Ok(taken);
            }
            if turn >= RECORDS_TURN_BYTES {
                turn = 0;
                tokio::task::yield_now().await;
            }
            if !self.fill_from_memory() && self.reader.fill().await? == Fill::AtMark {
                self.offset = self.offset.max(Offset::behind(durable));
                taken.at_tail = true;
                return Ok(taken);
            }
        }
    }

    /// Takes what is near the tail from memory; says whether there is something to give now.
    fn fill_from_memory(&mut self) -> bool {
        let (here, end) = (self.reader.location(), self.trail.durable_end());
        let is_near = here < end && bytes_between(here, end).is_some_and(|bytes| bytes <= INLINE_BLOCK_BYTES);
        is_near && self.reader.take_from_memory(end)
    }

    /// Takes what lies in the block at hand.
    fn take_block(&mut self, bounds: Bounds, taken: &mut Taken) -> Result<(), Stop> {
        loop {
            let at = self.reader.location();
            let Some(entry) = self.reader.next()? else { return Ok(()) };
            match entry {
                // Whatever came before has been passed.
                Entry::Begin(begun) => self.offset = self.offset.max(Offset::behind(begun.commit.saturating_sub(1))),
                Entry::Commit(commit) => self.offset = Offset::behind(commit.commit),
                Entry::Gap(_) if !taken.records.is_empty() => return self.give_back(at),
                Entry::Gap(gap) => {
                    let position = gap.position(self.trail.epoch());
                    let after = Offset { commit: position.commit, record: position.record };
                    return Err(RecordsError::Gap { gap: gap.to_string(), after }.into());
                }
                Entry::Record(record) => {
                    let offset = Offset { commit: record.transaction.commit, record: record.number };
                    if self.which.includes(record.partition) {
                        let bytes = AROUND_BYTES + record.bytes();
                        let is_full =
                            taken.records.len() >= bounds.records_max || taken.bytes + bytes > bounds.bytes_max;
                        if is_full && !taken.records.is_empty() {
                            return self.give_back(at);
                        }
                        let pulled = Pulled::of(&record)?;
                        taken.records.push(pulled);
                        taken.bytes += bytes;
                    }
                    taken.append_ts = Some(record.append_ts);
                    self.offset = offset;
                }
            }
        }
    }

    /// What was given last belongs to the next read.
    fn give_back(&mut self, at: Location) -> Result<(), Stop> {
        self.reader.back_to(at);
        Err(Stop::Full)
    }
}

async fn seek(trail: &Trail, which: Which, begin: Begin, offset: Offset) -> Result<Reader, RecordsError> {
    let mut reader = trail.read(begin).await.map_err(|error| match error {
        SeekError::Purged { starts_at } => RecordsError::Purged { after: offset, starts_at },
        SeekError::Beyond { ends_at } => RecordsError::BeyondEnd { ends_at },
        SeekError::OtherEpoch | SeekError::OtherTransaction => RecordsError::OtherEpoch,
        SeekError::Read(error) => error.into(),
    })?;
    if let Which::Partition(partition) = which {
        reader.narrow_to(Arc::new([partition]));
    }
    Ok(reader)
}
