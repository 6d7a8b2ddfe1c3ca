//! Finds where a reader starts: by position, by time, at the start, at the end. Independent of the trail's size.

use std::sync::Arc;

use crate::codec::frame::{self, Frame};
use crate::record::{Offset, Position, TableSchema, Timestamp};
use crate::trail::entry::Entry;
use crate::trail::gap::GAP_RECORD;
use crate::trail::handle::Trail;
use crate::trail::index::SegmentIndex;
use crate::trail::reader::{Fill, Skip};
use crate::trail::scan::ReadBytes;
use crate::trail::segment::{NoIndex, Segment, read_repeated};
use crate::trail::shared::Shared;
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
    /// After this record, whatever transaction has that commit number now.
    AfterOffset(Offset),
}

impl Trail {
    /// A reader that starts there.
    pub async fn read(&self, begin: Begin) -> Result<Reader, SeekError> {
        self.shared.undamaged().map_err(ReadError::Damaged)?;
        let shared = self.shared.clone();
        let found = tokio::task::spawn_blocking(move || find(&shared, begin)).await;
        found.map_err(|error| self.shared.read_failure(&std::io::Error::other(error)))?
    }

    /// A reader behind everything that is durable now, and the position of that place: whoever resumes there misses nothing
    /// of what comes after, though there may be no record yet to resume after.
    pub async fn read_now(&self) -> Result<(Reader, Position), SeekError> {
        let position = self.shared.mark.borrow().position(self.epoch());
        Ok((self.read(Begin::After(position)).await?, position))
    }

    /// The tables at the durable end, each in its newest schema, by name. Reads the disk: not for a thread that serves others.
    pub fn tables(&self) -> Result<Vec<Arc<TableSchema>>, SeekError> {
        self.shared.undamaged().map_err(ReadError::Damaged)?;
        Ok(find(&self.shared, Begin::Now)?.tables())
    }

    /// A reader that goes on from a byte where another one stood. Reads the disk.
    pub fn read_from(&self, at: Location) -> Result<Reader, ReadError> {
        let shared = &self.shared;
        let segment = shared.segment(at.segment).ok_or(ReadError::Overtaken)?;
        let block = look_up(shared, &segment, |index| index.block_before(at.offset))?;
        let (from, begin) = block.map_or((segment.first_own(), 0), |block| (block.offset, block.begin));
        reader_at(shared, segment, from, begin, Skip::UntilLocation(at))
    }
}

/// Looks again when retention takes the segment in which it looked: what is asked for may be in a later one, or gone.
fn find(shared: &Arc<Shared>, begin: Begin) -> Result<Reader, SeekError> {
    let first = || shared.with_segments(|segments| segments.first().map(|segment| segment.number()));
    loop {
        let before = first();
        match find_once(shared, begin) {
            Err(SeekError::Read(ReadError::Overtaken)) if first() != before => {}
            found => return found,
        }
    }
}

fn find_once(shared: &Arc<Shared>, begin: Begin) -> Result<Reader, SeekError> {
    let mark = shared.mark.borrow().clone();
    match begin {
        Begin::Earliest => reader_at_start(shared),
        Begin::Now => reader_at_mark(shared, &mark, Skip::Nothing),
        Begin::Time(time) => reader_at_time(shared, &mark, time),
        Begin::After(position) => reader_after(shared, &mark, position),
        Begin::AfterOffset(offset) => reader_after_offset(shared, &mark, offset, None),
    }
}

fn reader_at_start(shared: &Arc<Shared>) -> Result<Reader, SeekError> {
    let first = shared.with_segments(|segments| segments.first().cloned()).ok_or(ReadError::Overtaken)?;
    let skip = if first.head.inside { Skip::UntilBegin } else { Skip::Nothing };
    let from = first.first_own();
    Ok(reader_at(shared, first, from, 0, skip)?)
}

fn reader_at_mark(shared: &Arc<Shared>, mark: &DurableMark, skip: Skip) -> Result<Reader, SeekError> {
    let segment = shared.segment(mark.end.segment).ok_or(ReadError::Overtaken)?;
    Ok(reader_at(shared, segment, mark.end.offset, 0, skip)?)
}

fn reader_at_time(shared: &Arc<Shared>, mark: &DurableMark, time: Timestamp) -> Result<Reader, SeekError> {
    let skip = Skip::UntilTime(time);
    // A head says the greatest commit time of all segments before it: these numbers never fall, and the last segment
    // whose number is below `time` is the first that may hold it.
    let mut next = shared.with_segments(|segments| {
        let behind = segments.partition_point(|segment| segment.head.earlier_commit_ts < time);
        segments.get(behind.saturating_sub(1)).cloned()
    });
    while let Some(segment) = next {
        next = shared.segment(segment.number() + 1);
        if segment.seal().is_some_and(|seal| seal.commit_ts_max < time) {
            continue;
        }
        let Some(block) = look_up(shared, &segment, |index| index.block_at_time(time))? else { continue };
        if (Location { segment: segment.number(), offset: block.offset }) < mark.end {
            return Ok(reader_at(shared, segment, block.offset, 0, skip)?);
        }
    }
    reader_at_mark(shared, mark, skip)
}

fn reader_after(shared: &Arc<Shared>, mark: &DurableMark, position: Position) -> Result<Reader, SeekError> {
    if position.epoch != shared.description.epoch {
        return Err(SeekError::OtherEpoch);
    }
    if position.is_behind() && position.commit == mark.commit {
        return reader_at_mark(shared, mark, Skip::Nothing);
    }
    reader_after_offset(shared, mark, Offset { commit: position.commit, record: position.record }, Some(position))
}

/// The same of an offset; `position`: what it was made of, where that is known and to be checked.
fn reader_after_offset(
    shared: &Arc<Shared>,
    mark: &DurableMark,
    offset: Offset,
    position: Option<Position>,
) -> Result<Reader, SeekError> {
    let Offset { commit, record } = offset;
    if commit > mark.commit {
        return Err(SeekError::Beyond { ends_at: mark.commit });
    }
    let purged = || SeekError::Purged { starts_at: shared.first_commit() };
    let first = shared.first_commit();
    // It is gone, and nothing of what follows it. A gap is known by its own position alone.
    if offset.is_behind() && position.is_none_or(|position| position.is_behind()) && commit + 1 == first {
        return reader_at_start(shared);
    }
    if commit < first {
        return Err(purged());
    }
    // A segment's first own frame may be inside the transaction before the one it is named after, never later.
    let mut next = shared.with_segments(|segments| {
        let behind = segments.partition_point(|segment| segment.head.next_commit <= commit);
        behind.checked_sub(1).and_then(|at| segments.get(at).cloned())
    });
    while let Some(segment) = next {
        next = segment.number().checked_sub(1).and_then(|number| shared.segment(number));
        if let Some(block) = look_up(shared, &segment, |index| index.block_at(commit, record))? {
            let mut reader = reader_at(shared, segment, block.offset, block.begin, Skip::Nothing)?;
            if let Some(position) = position.filter(|position| !position.is_behind()) {
                check_transaction(&mut reader, position)?;
            }
            // The look-ahead stands behind the transaction's begin, or where the segment goes on inside it.
            reader.skip = Skip::Through(commit, record);
            return Ok(reader);
        }
    }
    Err(purged())
}

fn look_up<R>(shared: &Shared, segment: &Segment, look: impl FnOnce(&SegmentIndex) -> R) -> Result<R, ReadError> {
    let looked = segment.with_index(shared.keeps_xids(), look);
    looked.map_err(|error| match error {
        NoIndex::Io(error) => shared.segment_failure(segment.number(), &error),
        NoIndex::Damaged { offset, bad } => shared.damage(Location { segment: segment.number(), offset }, bad).into(),
    })
}

/// Sees to it that the transaction of that number is the one the position was made in. The reader then stands in it,
/// before its first record or where it was placed.
fn check_transaction(reader: &mut Reader, position: Position) -> Result<(), SeekError> {
    if position.record == GAP_RECORD {
        return check_gap(reader, position);
    }
    loop {
        if let Some(transaction) = &reader.transaction
            && transaction.commit >= position.commit
        {
            let same = transaction.commit == position.commit && transaction.xid_hash == position.xid_hash;
            return if same { Ok(()) } else { Err(SeekError::OtherTransaction) };
        }
        if reader.next()?.is_none() && reader.fill_here()? == Fill::AtMark {
            return Err(SeekError::OtherTransaction);
        }
    }
}

/// Sees to it that there is a gap where the position says. The reader then stands behind it.
fn check_gap(reader: &mut Reader, position: Position) -> Result<(), SeekError> {
    loop {
        while let Some(entry) = reader.next()? {
            match entry {
                Entry::Gap(gap) if gap.position(position.epoch) == position => return Ok(()),
                Entry::Begin(transaction) if transaction.commit > position.commit => {
                    return Err(SeekError::OtherTransaction);
                }
                Entry::Gap(gap) if gap.next - 1 > position.commit => return Err(SeekError::OtherTransaction),
                _ => {}
            }
        }
        if reader.fill_here()? == Fill::AtMark {
            return Err(SeekError::OtherTransaction);
        }
    }
}

/// A reader from byte `from` with what is in force there; `begin` is the begin frame of the transaction that is open
/// there, or 0.
fn reader_at(
    shared: &Arc<Shared>,
    segment: Arc<Segment>,
    from: u64,
    begin: u64,
    skip: Skip,
) -> Result<Reader, ReadError> {
    let mut reader = Reader::new(shared.clone(), segment.clone(), from, skip);
    let mut loaded = Ok(());
    let mut load = |frame: &Frame<'_>| {
        if loaded.is_ok() {
            loaded = reader.load(frame);
        }
    };
    let failed = |error: std::io::Error| shared.segment_failure(segment.number(), &error);
    let end = read_repeated(&segment, |_, frame| load(frame)).map_err(failed)?;
    if let Some(bad) = end.bad {
        return Err(shared.damage(Location { segment: segment.number(), offset: end.offset }, bad).into());
    }
    let schemas = look_up(shared, &segment, |index| index.schemas_before(from))?;
    for at in schemas.into_iter().chain((begin != 0).then_some(begin)) {
        let bytes = read_frame(shared, &segment, at)?;
        match frame::read(&bytes, segment.head.file_id) {
            Ok(frame) => load(&frame),
            Err(bad) => return Err(shared.damage(Location { segment: segment.number(), offset: at }, bad).into()),
        }
    }
    loaded?;
    Ok(reader)
}

fn read_frame(shared: &Shared, segment: &Segment, at: u64) -> Result<Vec<u8>, ReadError> {
    let failed = |error: std::io::Error| shared.segment_failure(segment.number(), &error);
    let mut bytes = vec![0; 4 << 10];
    let read = segment.bytes.read_full(&mut bytes, at).map_err(failed)?;
    bytes.truncate(read);
    if let Ok(length) = frame::claimed_length(&bytes)
        && length > bytes.len()
    {
        bytes.resize(length, 0);
        let read = segment.bytes.read_full(&mut bytes, at).map_err(failed)?;
        bytes.truncate(read);
    }
    Ok(bytes)
}
