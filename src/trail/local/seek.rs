//! Finds where a reader starts: by position, by time, at the start, at the end. Independent of the trail's size.

use std::sync::Arc;

use crate::codec::frame::{self, Frame};
use crate::record::{Position, Timestamp};
use crate::trail::local::disk::read_full;
use crate::trail::local::reader::{Entry, Fill, GAP_RECORD, Skip};
use crate::trail::local::segment::{Segment, read_repeated};
use crate::trail::local::{Shared, Trail};
use crate::trail::{DurableMark, Location, ReadError, Reader, SeekError};

/// Where a reader starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// At the first transaction kept.
    Earliest,
    /// Behind everything that is durable now.
    Now,
    /// At the first transaction committed at or after this time; behind the end when there is none yet.
    Time(Timestamp),
    /// After this record, inside its transaction if need be.
    After(Position),
}

impl Trail {
    /// A reader that starts there.
    pub async fn read(&self, begin: Begin) -> Result<Reader, SeekError> {
        self.shared.undamaged().map_err(ReadError::Damaged)?;
        let mark = self.shared.mark.borrow().clone();
        match begin {
            Begin::Earliest => {
                let first = self.shared.segments().first().cloned().ok_or(ReadError::Overtaken)?;
                let skip = if first.head.inside { Skip::UntilBegin } else { Skip::Nothing };
                let from = first.first_own();
                self.reader_at(first, from, 0, skip).await
            }
            Begin::Now => self.reader_at_mark(&mark, Skip::Nothing).await,
            Begin::Time(time) => self.reader_at_time(&mark, time).await,
            Begin::After(position) => self.reader_after(&mark, position).await,
        }
    }

    /// A reader that goes on from a byte where another one stood. Reads the disk.
    pub fn read_from(&self, at: Location) -> Result<Reader, ReadError> {
        let segment = self.shared.segment(at.segment).ok_or(ReadError::Overtaken)?;
        let block =
            segment.with_index(&*self.shared.disk, self.shared.keeps_xids(), |index| index.block_before(at.offset));
        let block = block.map_err(|error| self.shared.read_failure(&error))?;
        let (from, begin) = block.map_or((segment.first_own(), 0), |block| (block.offset, block.begin));
        prepare(self.shared.clone(), segment, from, begin, Skip::UntilPlace(at))
    }

    async fn reader_at_mark(&self, mark: &DurableMark, skip: Skip) -> Result<Reader, SeekError> {
        let segment = self.shared.segment(mark.end.segment).ok_or(ReadError::Overtaken)?;
        self.reader_at(segment, mark.end.offset, 0, skip).await
    }

    async fn reader_at_time(&self, mark: &DurableMark, time: Timestamp) -> Result<Reader, SeekError> {
        let skip = Skip::UntilTime(time);
        for segment in self.shared.segments() {
            if segment.seal().is_some_and(|seal| seal.commit_ts_max < time) {
                continue;
            }
            let Some(block) = self.look_up(&segment, move |index| index.block_at_time(time)).await? else { continue };
            if (Location { segment: segment.number(), offset: block.offset }) < mark.end {
                return self.reader_at(segment, block.offset, 0, skip).await;
            }
        }
        self.reader_at_mark(mark, skip).await
    }

    async fn reader_after(&self, mark: &DurableMark, position: Position) -> Result<Reader, SeekError> {
        if position.epoch != self.epoch() {
            return Err(SeekError::OtherEpoch);
        }
        if position.commit > mark.commit {
            return Err(SeekError::Beyond { ends_at: mark.commit });
        }
        let purged = || SeekError::Purged { starts_at: self.shared.first_commit() };
        if position.commit < self.shared.first_commit() {
            return Err(purged());
        }
        let segments = self.shared.segments();
        let (commit, record) = (position.commit, position.record);
        // A segment's first own frame may be inside the transaction before the one it is named after, never later.
        let behind = segments.partition_point(|segment| segment.head.next_commit <= commit);
        for segment in segments[..behind].iter().rev() {
            let found = self.look_up(segment, move |index| index.block_at(commit, record)).await?;
            if let Some(block) = found {
                let skip = Skip::Through(commit, record);
                let mut reader = self.reader_at(segment.clone(), block.offset, block.begin, Skip::Nothing).await?;
                self.check_transaction(&mut reader, position).await?;
                // Read again from the block's start: the look-ahead above has used entries up.
                reader = self.reader_at(segment.clone(), block.offset, block.begin, skip).await?;
                return Ok(reader);
            }
        }
        Err(purged())
    }

    async fn look_up<R: Send + 'static>(
        &self,
        segment: &Arc<Segment>,
        look: impl FnOnce(&crate::trail::local::index::SegmentIndex) -> R + Send + 'static,
    ) -> Result<R, ReadError> {
        let (shared, segment) = (self.shared.clone(), segment.clone());
        let looked = move || segment.with_index(&*shared.disk, shared.keeps_xids(), look);
        let looked = tokio::task::spawn_blocking(looked).await.map_err(std::io::Error::other);
        looked.and_then(|found| found).map_err(|error| self.shared.read_failure(&error))
    }

    /// Sees to it that the transaction of that number is the one the position was made in.
    async fn check_transaction(&self, reader: &mut Reader, position: Position) -> Result<(), SeekError> {
        if position.record == GAP_RECORD {
            return self.check_gap(reader, position).await;
        }
        loop {
            if let Some(transaction) = &reader.transaction
                && transaction.commit >= position.commit
            {
                let same = transaction.commit == position.commit && transaction.xid_hash == position.xid_hash;
                return if same { Ok(()) } else { Err(SeekError::OtherTransaction) };
            }
            if reader.next()?.is_none() && reader.fill().await? == Fill::AtMark {
                return Err(SeekError::OtherTransaction);
            }
        }
    }

    /// Sees to it that there is a gap where the position says.
    async fn check_gap(&self, reader: &mut Reader, position: Position) -> Result<(), SeekError> {
        loop {
            while let Some(entry) = reader.next()? {
                match entry {
                    Entry::Gap(gap) if gap.position(position.epoch) == position => return Ok(()),
                    Entry::Begin(transaction) if transaction.commit > position.commit => {
                        return Err(SeekError::OtherTransaction);
                    }
                    _ => {}
                }
            }
            if reader.fill().await? == Fill::AtMark {
                return Err(SeekError::OtherTransaction);
            }
        }
    }

    /// A reader from byte `from` with what is in force there; `begin` is the begin frame of the transaction that is
    /// open there, or 0.
    async fn reader_at(&self, segment: Arc<Segment>, from: u64, begin: u64, skip: Skip) -> Result<Reader, SeekError> {
        let shared = self.shared.clone();
        let prepared = tokio::task::spawn_blocking(move || prepare(shared, segment, from, begin, skip)).await;
        Ok(prepared.map_err(|error| self.shared.read_failure(&std::io::Error::other(error)))??)
    }
}

fn prepare(shared: Arc<Shared>, segment: Arc<Segment>, from: u64, begin: u64, skip: Skip) -> Result<Reader, ReadError> {
    let mut reader = Reader::new(shared.clone(), segment.clone(), from, skip);
    let mut loaded = Ok(());
    let mut load = |frame: &Frame<'_>| {
        if loaded.is_ok() {
            loaded = reader.load(frame);
        }
    };
    let end = read_repeated(&segment, |_, frame| load(frame)).map_err(|error| shared.read_failure(&error))?;
    if let Some(bad) = end.bad {
        return Err(shared.damage(Location { segment: segment.number(), offset: end.offset }, bad).into());
    }
    let shapes = segment.with_index(&*shared.disk, shared.keeps_xids(), |index| index.shapes_before(from));
    let shapes = shapes.map_err(|error| shared.read_failure(&error))?;
    for at in shapes.into_iter().chain((begin != 0).then_some(begin)) {
        let bytes = read_frame(&shared, &segment, at)?;
        match frame::read(&bytes, segment.head.file_id) {
            Ok(frame) => load(&frame),
            Err(bad) => return Err(shared.damage(Location { segment: segment.number(), offset: at }, bad).into()),
        }
    }
    loaded?;
    Ok(reader)
}

fn read_frame(shared: &Shared, segment: &Segment, at: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = vec![0; 4 << 10];
    let read = read_full(&*segment.file, &mut bytes, at).map_err(|error| shared.read_failure(&error))?;
    bytes.truncate(read);
    if let Ok(length) = frame::claimed_length(&bytes)
        && length > bytes.len()
    {
        bytes.resize(length, 0);
        let read = read_full(&*segment.file, &mut bytes, at).map_err(|error| shared.read_failure(&error))?;
        bytes.truncate(read);
    }
    Ok(bytes)
}
