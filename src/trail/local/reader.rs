//! Reads a trail forward from any place up to the durable mark, and waits there for more.
//!
//! A reader takes a block of whole, checked frames at a time ([`Reader::fill`], on a blocking thread) and gives its
//! entries one by one ([`Reader::next`], without waiting). Nothing behind the durable mark is ever read, so every
//! transaction it begins, it ends.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::codec::frame::{
    self, ChecksumSeed, FLAG_AFTER, FLAG_BEFORE, FLAG_REPEATED, Frame, FrameHeader, FrameKind, HEADER_BYTES,
};
use crate::codec::image::Image;
use crate::limits::READ_BLOCK_BYTES;
use crate::record::{
    Operation, Position, SchemaId, SourcePosition, TableName, TableSchema, Timestamp, TransactionHead,
};
use crate::trail::local::Shared;
use crate::trail::local::disk::{DiskFile, read_full};
use crate::trail::local::segment::Segment;
use crate::trail::{DurableMark, Location, ReadError};

/// A transaction being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its commit number.
    pub commit: u64,
    /// What it said of itself.
    pub head: TransactionHead,
    /// The hash that positions carry.
    pub xid_hash: u32,
}

/// A record, borrowed from the block it was read in.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its transaction.
    pub transaction: &'a Arc<Transaction>,
    /// Its number within the transaction.
    pub number: u32,
    /// What it does.
    pub operation: Operation,
    /// The table's shape; none for DDL.
    pub schema: Option<&'a Arc<TableSchema>>,
    /// When the trail took it.
    pub append_ts: Timestamp,
    /// Where its frame lies.
    pub place: Location,
    body: &'a [u8],
    flags: u8,
}

/// The images and tokens of a row operation.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowBody<'a> {
    /// Before image.
    pub before: Option<Image<'a>>,
    /// After image.
    pub after: Option<Image<'a>>,
    /// Tokens: a JSON object as text; empty when there are none.
    pub tokens: &'a str,
}

impl<'a> Record<'a> {
    /// The record's position in a trail of that epoch.
    pub fn position(&self, epoch: crate::record::Epoch) -> Position {
        let transaction = self.transaction;
        Position { epoch, commit: transaction.commit, record: self.number, xid_hash: transaction.xid_hash }
    }

    /// Its images and tokens.
    #[inline]
    pub fn row(&self) -> Result<RowBody<'a>, MalformedRecord> {
        match self.flags {
            FLAG_BEFORE => Ok(RowBody { before: Some(Image::whole(self.body)), ..RowBody::default() }),
            FLAG_AFTER => Ok(RowBody { after: Some(Image::whole(self.body)), ..RowBody::default() }),
            _ => self.split_row(),
        }
    }

    fn split_row(&self) -> Result<RowBody<'a>, MalformedRecord> {
        let mut row = RowBody::default();
        let mut rest = self.body;
        if self.flags & FLAG_BEFORE != 0 {
            let (image, after) = Image::split(rest).map_err(|_| self.malformed())?;
            (row.before, rest) = (Some(image), after);
        }
        if self.flags & FLAG_AFTER != 0 {
            let (image, after) = Image::split(rest).map_err(|_| self.malformed())?;
            (row.after, rest) = (Some(image), after);
        }
        row.tokens = std::str::from_utf8(rest).map_err(|_| self.malformed())?;
        Ok(row)
    }

    /// The table and the statement of a DDL record.
    pub fn ddl(&self) -> Result<(TableName, &'a str), MalformedRecord> {
        let (table, statement) = frame::read_text_pair(self.body).map_err(|_| self.malformed())?;
        Ok((TableName::parse(table).map_err(|_| self.malformed())?, statement))
    }

    /// Bytes of its body in the trail.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    fn malformed(&self) -> MalformedRecord {
        MalformedRecord { commit: self.transaction.commit, record: self.number, segment: self.place.segment }
    }
}

/// A record whose checksum is right and whose content is not: a fault of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed record {record} of transaction {commit} in segment {segment}")]
pub struct MalformedRecord {
    commit: u64,
    record: u32,
    segment: u64,
}

/// What a reader gives.
#[derive(Debug)]
pub enum Entry<'a> {
    /// A transaction begins.
    Begin(&'a Arc<Transaction>),
    /// A record.
    Record(Record<'a>),
    /// The transaction ends.
    Commit(Commit),
    /// Transactions are missing here.
    Gap(Gap),
}

/// Transactions that damage took and a repair marked as missing. They lie between the entry before it and the one after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Commit number of the first that is missing.
    pub first: u64,
    /// Commit number of the next one there; the same as `first` when it is not known how many are missing.
    pub next: u64,
}

/// What the positions of gaps have for a record number; no transaction has as many records.
pub(super) const GAP_RECORD: u32 = u32::MAX;

impl Gap {
    /// What a gap frame says; none when it is no gap frame, or a malformed one.
    pub(super) fn of(frame: &Frame<'_>) -> Option<Self> {
        let [first, next] = frame::read_numbers(frame.payload).ok()?;
        (frame.header.kind == FrameKind::Gap && first >= 1 && next >= first).then_some(Self { first, next })
    }

    /// The position of the gap itself: reading goes on behind it.
    pub fn position(&self, epoch: crate::record::Epoch) -> Position {
        Position { epoch, commit: self.next - 1, record: GAP_RECORD, xid_hash: 0 }
    }
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.next - self.first {
            0 => write!(f, "transactions before commit number {} were lost", self.next),
            1 => write!(f, "transaction {} was lost", self.first),
            _ => write!(f, "transactions {} to {} were lost", self.first, self.next - 1),
        }
    }
}

/// End of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Its commit number.
    pub commit: u64,
    /// How many records it has.
    pub records: u32,
    /// The hash that its positions carry.
    pub xid_hash: u32,
}

impl Commit {
    /// The position of its last record in a trail of that epoch.
    pub fn last_position(&self, epoch: crate::record::Epoch) -> Position {
        Position { epoch, commit: self.commit, record: self.records.saturating_sub(1), xid_hash: self.xid_hash }
    }
}

/// What filling a reader's block came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// There is more to give.
    Filled,
    /// Everything durable has been given.
    AtMark,
}

/// Which entries are passed over at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skip {
    Nothing,
    /// Up to the first transaction that begins here.
    UntilBegin,
    /// Up to this record, and it too.
    Through(u64, u32),
    /// Up to the first transaction committed at or after this time.
    UntilTime(Timestamp),
    /// Up to this byte.
    UntilPlace(Location),
}

/// Reads a trail.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    mark: watch::Receiver<DurableMark>,
    segment: Arc<Segment>,
    /// The segment's file, once something was read of it: retention may remove the segment meanwhile.
    file: Option<Arc<dyn DiskFile>>,
    /// Byte of the segment that follows the block.
    next: u64,
    block: Vec<u8>,
    /// Byte of the block that follows the last entry given.
    given: usize,
    schemas: HashMap<SchemaId, Arc<TableSchema>>,
    /// The shape of the last record.
    recent: Option<Arc<TableSchema>>,
    pub(super) transaction: Option<Arc<Transaction>>,
    pub(super) skip: Skip,
}

impl Reader {
    /// A reader of `segment` from byte `from`; what is in force there is loaded with [`Self::load`].
    pub(super) fn new(shared: Arc<Shared>, segment: Arc<Segment>, from: u64, skip: Skip) -> Self {
        Self {
            mark: shared.mark.subscribe(),
            shared,
            next: from,
            segment,
            file: None,
            block: Vec::new(),
            given: 0,
            schemas: HashMap::new(),
            recent: None,
            transaction: None,
            skip,
        }
    }

    /// Takes over what a frame puts in force.
    pub(super) fn load(&mut self, frame: &Frame<'_>) -> Result<(), ReadError> {
        match frame.header.kind {
            FrameKind::Shape => {
                let schema: TableSchema =
                    serde_json::from_slice(frame.payload).map_err(|error| self.damage(0, error))?;
                self.recent = None;
                self.schemas.insert(schema.id, Arc::new(schema));
            }
            FrameKind::Begin => {
                let (xid, source) = frame::read_text_pair(frame.payload).map_err(|error| self.damage(0, error))?;
                let head = TransactionHead {
                    xid: xid.to_owned(),
                    commit_ts: frame.header.commit_ts,
                    source: SourcePosition(source.to_owned()),
                };
                let xid_hash = head.xid_hash();
                self.transaction = Some(Arc::new(Transaction { commit: frame.header.commit, head, xid_hash }));
            }
            _ => {}
        }
        Ok(())
    }

    /// The next entry of the block at hand; `None` when it is used up and [`Self::fill`] is next.
    #[allow(clippy::should_implement_trait)] // an entry borrows from the reader
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        self.next_before(Location::MAX)
    }

    /// The next entry of the block at hand that starts before `limit`; `None` when there is none in the block, or the
    /// reader stands at the limit.
    pub fn next_before(&mut self, limit: Location) -> Result<Option<Entry<'_>>, ReadError> {
        match self.find_entry(limit)? {
            Some((at, header, bytes)) => {
                self.given = at + bytes;
                self.entry(at, &header, bytes).map(Some)
            }
            None => Ok(None),
        }
    }

    /// Gives `take` the rows that lie here one behind the other, of one transaction and one table, up to `limit` at the
    /// latest. Whatever else comes next, damage included, is left to [`Self::next_before`].
    #[inline]
    pub fn rows_before<E>(
        &mut self,
        limit: Location,
        mut take: impl FnMut(&Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let stop = self.byte_in_block(limit);
        let segment = self.segment.number();
        let start = self.next.saturating_sub(self.block.len() as u64);
        let (Some(transaction), Some(schema), Skip::Nothing) = (&self.transaction, &self.recent, self.skip) else {
            return Ok(());
        };
        while self.given < stop {
            let Ok(frame) = frame::read_unchecked(&self.block[self.given..]) else { break };
            let header = &frame.header;
            let FrameKind::Record(operation) = header.kind else { break };
            if header.schema != schema.id || header.flags & FLAG_REPEATED != 0 || operation == Operation::Ddl {
                break;
            }
            let place = Location { segment, offset: start + self.given as u64 };
            self.given += frame.bytes();
            take(&Record {
                transaction,
                number: header.record,
                operation,
                schema: Some(schema),
                append_ts: header.append_ts,
                place,
                body: frame.payload,
                flags: header.flags,
            })?;
        }
        Ok(())
    }

    /// Passes over what is not to be given, up to the first entry that is; says whether the reader now knows where it
    /// starts. If not, more must be filled, or become durable.
    pub fn settle(&mut self) -> Result<bool, ReadError> {
        Ok(self.skip == Skip::Nothing || self.find_entry(Location::MAX)?.is_some())
    }

    /// Finds the next entry to give, and stands at it; says where in the block it lies, what it is and how long.
    fn find_entry(&mut self, limit: Location) -> Result<Option<(usize, FrameHeader, usize)>, ReadError> {
        let stop = self.byte_in_block(limit);
        while self.given < stop {
            let at = self.given;
            let frame = frame::read_unchecked(&self.block[at..]).map_err(|error| self.damage(at, error))?;
            let (header, bytes) = (frame.header, frame.bytes());
            let repeated = header.flags & FLAG_REPEATED != 0;
            if !repeated && matches!(header.kind, FrameKind::Shape | FrameKind::Begin) {
                let block = std::mem::take(&mut self.block);
                let loaded = frame::read_unchecked(&block[at..]).map(|frame| self.load(&frame));
                self.block = block;
                loaded.map_err(|error| self.damage(at, error))??;
            }
            let kind = header.kind;
            let entry = matches!(kind, FrameKind::Begin | FrameKind::Record(_) | FrameKind::Commit | FrameKind::Gap);
            if !repeated && !self.passes_over(at, &header) && entry {
                if matches!(kind, FrameKind::Record(_)) {
                    self.look_up(header.schema);
                }
                return Ok(Some((at, header, bytes)));
            }
            self.given += bytes;
        }
        Ok(None)
    }

    fn byte_in_block(&self, place: Location) -> usize {
        let here = self.segment.number();
        if place.segment > here {
            return self.block.len();
        }
        let start = self.next.saturating_sub(self.block.len() as u64);
        let byte = if place.segment < here { 0 } else { place.offset.saturating_sub(start) };
        usize::try_from(byte).map_or(self.block.len(), |byte| byte.min(self.block.len()))
    }

    fn passes_over(&mut self, at: usize, header: &frame::FrameHeader) -> bool {
        let starts_here = match self.skip {
            Skip::Nothing => return false,
            Skip::UntilBegin => header.kind == FrameKind::Begin,
            Skip::UntilTime(time) => {
                matches!(header.kind, FrameKind::Begin | FrameKind::Gap) && header.commit_ts >= time
            }
            Skip::UntilPlace(place) => self.place(at) >= place,
            Skip::Through(commit, record) => match header.kind {
                FrameKind::Begin => header.commit > commit,
                FrameKind::Record(_) => (header.commit, header.record) > (commit, record),
                // A gap of unknown length has the number of the transaction before it.
                FrameKind::Commit | FrameKind::Gap if record == GAP_RECORD => header.commit > commit,
                FrameKind::Commit | FrameKind::Gap => header.commit >= commit,
                _ => false,
            },
        };
        if starts_here {
            self.skip = Skip::Nothing;
        }
        !starts_here
    }

    /// Rows of one table mostly come together.
    #[inline]
    fn look_up(&mut self, schema: SchemaId) {
        if self.recent.as_ref().is_none_or(|recent| recent.id != schema) {
            self.recent = self.schemas.get(&schema).cloned();
        }
    }

    fn entry(&self, at: usize, header: &FrameHeader, bytes: usize) -> Result<Entry<'_>, ReadError> {
        let frame = Frame { header: *header, payload: &self.block[at + HEADER_BYTES..at + bytes] };
        if header.kind == FrameKind::Gap {
            return Gap::of(&frame).map(Entry::Gap).ok_or_else(|| self.damage(at, "malformed gap").into());
        }
        let Some(transaction) = &self.transaction else {
            return Err(self.damage(at, "record outside a transaction").into());
        };
        Ok(match header.kind {
            FrameKind::Record(operation) => {
                let schema = match operation {
                    Operation::Ddl => None,
                    _ => Some(self.recent.as_ref().ok_or_else(|| self.damage(at, "record of unknown shape"))?),
                };
                Entry::Record(Record {
                    transaction,
                    number: header.record,
                    operation,
                    schema,
                    append_ts: header.append_ts,
                    place: self.place(at),
                    body: frame.payload,
                    flags: header.flags,
                })
            }
            FrameKind::Commit => {
                let (commit, records) = (header.commit, header.record);
                Entry::Commit(Commit { commit, records, xid_hash: transaction.xid_hash })
            }
            _ => Entry::Begin(transaction),
        })
    }

    /// Reads the next block, when [`Self::next`] has given all of the last. May be dropped and called again.
    pub async fn fill(&mut self) -> Result<Fill, ReadError> {
        while self.given >= self.block.len() {
            let Some(until) = self.readable_until()? else { return Ok(Fill::AtMark) };
            let stretch = self.stretch(until);
            let read = tokio::task::spawn_blocking(move || stretch.read()).await;
            let read = read.map_err(|error| self.shared.read_failure(&std::io::Error::other(error)))??;
            self.take(read);
        }
        Ok(Fill::Filled)
    }

    /// The same on a thread that may block.
    pub fn fill_here(&mut self) -> Result<Fill, ReadError> {
        while self.given >= self.block.len() {
            let Some(until) = self.readable_until()? else { return Ok(Fill::AtMark) };
            let read = self.stretch(until).read()?;
            self.take(read);
        }
        Ok(Fill::Filled)
    }

    /// The byte up to which the segment can be read, after a step into the next one where this one is at its end; none at
    /// the durable mark.
    fn readable_until(&mut self) -> Result<Option<u64>, ReadError> {
        let end = self.mark.borrow_and_update().end;
        loop {
            let here = self.segment.number();
            if here > end.segment || (here == end.segment && self.next >= end.offset) {
                self.give_used_block_back();
                return Ok(None);
            }
            let until = if here == end.segment { end.offset } else { self.segment.bytes() };
            if self.next < until {
                return Ok(Some(until));
            }
            self.enter_next_segment()?;
        }
    }

    /// Gives the block back if it is used up: thousands of readers may wait at the end, and none needs one meanwhile.
    pub fn give_used_block_back(&mut self) {
        if self.given >= self.block.len() {
            self.block = Vec::new();
            self.given = 0;
        }
    }

    fn enter_next_segment(&mut self) -> Result<(), ReadError> {
        let next = self.segment.number() + 1;
        self.segment = self.shared.segment(next).ok_or(ReadError::Overtaken)?;
        self.file = None;
        self.next = self.segment.first_own();
        self.block.clear();
        self.given = 0;
        Ok(())
    }

    fn stretch(&mut self, until: u64) -> Stretch {
        self.given = 0;
        Stretch {
            shared: self.shared.clone(),
            segment: self.segment.clone(),
            file: self.file.clone(),
            from: self.next,
            until,
            buffer: std::mem::take(&mut self.block),
        }
    }

    fn take(&mut self, (file, block): (Arc<dyn DiskFile>, Vec<u8>)) {
        self.file = Some(file);
        self.next += block.len() as u64;
        self.block = block;
        self.given = 0;
    }

    /// Takes everything from here to `end`, which is durable, into the block, if it is all in memory and in one segment;
    /// says whether the block now has it.
    pub fn take_from_memory(&mut self, end: Location) -> bool {
        if self.location() >= end || self.byte_in_block(end) < self.block.len() {
            return true;
        }
        let next = Location { segment: self.segment.number(), offset: self.next };
        if end.segment != next.segment || end <= next {
            return end <= next;
        }
        if self.given == self.block.len() {
            self.block.clear();
            self.given = 0;
        }
        let durable = self.mark.borrow().end;
        let durable = if durable.segment == next.segment { durable.offset } else { self.segment.bytes() };
        let found = self.shared.recent.copy(next, end.offset, durable, &mut self.block);
        self.next = found.unwrap_or(self.next);
        found.is_some()
    }

    /// The byte that comes next.
    pub fn location(&self) -> Location {
        self.place(self.given)
    }

    /// Whether everything that is durable now has been given, or is in the block at hand.
    pub fn at_mark(&self) -> bool {
        self.mark.borrow().end <= Location { segment: self.segment.number(), offset: self.next }
    }

    /// Waits until the durable mark has moved beyond what has been given. May be dropped and called again.
    pub async fn wait(&mut self) {
        let here = Location { segment: self.segment.number(), offset: self.next };
        // The sender lives as long as the trail; were it gone, there would be nothing to wait for.
        if self.mark.wait_for(|mark| mark.end > here).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The tables whose shapes are known where the reader stands, each in its newest shape, by name.
    pub fn tables(&self) -> Vec<Arc<TableSchema>> {
        let mut newest = std::collections::BTreeMap::new();
        for schema in self.schemas.values() {
            let known = newest.entry(schema.table.clone()).or_insert_with(|| schema.clone());
            if known.id < schema.id {
                *known = schema.clone();
            }
        }
        newest.into_values().collect()
    }

    /// How far the trail is durable now.
    pub fn durable(&self) -> DurableMark {
        self.mark.borrow().clone()
    }

    fn damage(&self, at: usize, what: impl ToString) -> crate::trail::Damage {
        self.shared.damage(self.place(at), what)
    }

    fn place(&self, at: usize) -> Location {
        let start = self.next.saturating_sub(self.block.len() as u64);
        Location { segment: self.segment.number(), offset: start + at as u64 }
    }
}

/// A part of a segment to be read from, on a thread that may block.
struct Stretch {
    shared: Arc<Shared>,
    segment: Arc<Segment>,
    file: Option<Arc<dyn DiskFile>>,
    from: u64,
    until: u64,
    buffer: Vec<u8>,
}

impl Stretch {
    fn read(mut self) -> Result<(Arc<dyn DiskFile>, Vec<u8>), ReadError> {
        let buffer = std::mem::take(&mut self.buffer);
        let file = match &self.file {
            Some(file) => file.clone(),
            None => self.segment.open_file().map_err(|error| self.failure(&error))?,
        };
        Ok((file.clone(), self.whole_frames(&*file, buffer)?))
    }

    fn failure(&self, error: &std::io::Error) -> ReadError {
        let removed = error.kind() == std::io::ErrorKind::NotFound;
        if removed && self.shared.segment(self.segment.number()).is_none() {
            return ReadError::Overtaken;
        }
        self.shared.read_failure(error)
    }

    /// Reads a block of whole frames, at least one, and checks each.
    fn whole_frames(&self, file: &dyn DiskFile, mut buffer: Vec<u8>) -> Result<Vec<u8>, ReadError> {
        let available = usize::try_from(self.until - self.from).unwrap_or(usize::MAX);
        let mut want = READ_BLOCK_BYTES.min(available);
        loop {
            buffer.resize(want, 0);
            let filled = read_full(file, &mut buffer, self.from).map_err(|error| self.failure(&error))?;
            buffer.truncate(filled);
            let (whole, bad) = check(&buffer, self.segment.head.file_id);
            match bad {
                None => return Ok(buffer),
                Some(frame::BadFrame::Short { .. }) if whole > 0 && filled == want && want < available => {
                    buffer.truncate(whole);
                    return Ok(buffer);
                }
                Some(frame::BadFrame::Short { needed }) if filled == want && needed > want && needed <= available => {
                    want = needed.max(HEADER_BYTES);
                }
                Some(bad) => {
                    let at = Location { segment: self.segment.number(), offset: self.from + whole as u64 };
                    return Err(self.shared.damage(at, bad).into());
                }
            }
        }
    }
}

fn check(bytes: &[u8], file_id: u64) -> (usize, Option<frame::BadFrame>) {
    let seed = ChecksumSeed::new(file_id);
    let mut at = 0;
    while at < bytes.len() {
        match seed.check(&bytes[at..]) {
            Ok(length) => at += length,
            Err(bad) => return (at, Some(bad)),
        }
    }
    (at, None)
}
