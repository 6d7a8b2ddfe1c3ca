//! Reads a trail forward from any place up to the durable mark, and waits there for more.
//!
//! A reader takes a block of whole, checked frames at a time ([`Reader::fill`], on a blocking thread) and gives its
//! entries one by one ([`Reader::next`], without waiting). Nothing behind the durable mark is ever read, so every
//! transaction it begins, it ends.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::codec::frame::{self, FLAG_REPEATED, Frame, FrameHeader, FrameKind, HEADER_BYTES};
use crate::record::{
    BEHIND_RECORD, Operation, SchemaId, SourcePosition, TableName, TableSchema, Timestamp, TransactionHead,
};
use crate::trail::entry::{Commit, Entry, Followed, Record, Transaction};
use crate::trail::fetch::{Fetch, Fetched};
use crate::trail::gap::Gap;
use crate::trail::partition_places::PartitionPlaces;
use crate::trail::pieces::{Piece, piece_byte, piece_offset};
use crate::trail::schema_frame;
use crate::trail::segment::Segment;
use crate::trail::shared::Shared;
use crate::trail::store::SegmentBytes;
use crate::trail::{DurableMark, Location, Note, ReadError};

/// What filling a reader's block came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// There is more to give.
    Filled,
    /// Everything durable has been given.
    AtMark,
}

/// An entry, or what stands between two entries.
#[derive(Debug)]
pub enum Told<'a> {
    /// An entry.
    Entry(Entry<'a>),
    /// A note on the source.
    Note(Note),
}

/// Which entries are passed over at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skip {
    Nothing,
    /// Up to the first transaction that begins here.
    UntilBegin,
    /// Up to this record, and it too; numbers from [`BEHIND_RECORD`] on stand for a whole transaction or gap.
    Through(u64, u32),
    /// Up to the first transaction committed at or after this time.
    UntilTime(Timestamp),
    /// Up to this byte.
    UntilLocation(Location),
}

/// Reads a trail.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    mark: watch::Receiver<DurableMark>,
    segment: Arc<Segment>,
    /// The segment's bytes, open once something was read of them: retention may remove the segment meanwhile.
    bytes: Option<SegmentBytes>,
    /// Byte of the segment that follows the block.
    next: u64,
    block: Vec<u8>,
    /// Where the pieces of the block lie, if it is not one piece of the segment.
    pieces: Vec<Piece>,
    /// Byte of the block that follows the last entry given.
    given: usize,
    /// Of which partitions records are wanted, if not of all.
    partitions: Option<Arc<[u16]>>,
    schemas: HashMap<SchemaId, Arc<TableSchema>>,
    /// The schema of the last record.
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
            bytes: None,
            block: Vec::new(),
            pieces: Vec::new(),
            given: 0,
            partitions: None,
            schemas: HashMap::new(),
            recent: None,
            transaction: None,
            skip,
        }
    }

    /// From here on records of other partitions, and transactions that have none of these, may be left out where that saves
    /// reading them; whoever wants none of them still has to look at each. `partitions` are in ascending order.
    pub fn narrow_to(&mut self, partitions: Arc<[u16]>) {
        self.partitions = Some(partitions);
    }

    /// Takes over what a frame puts in force.
    pub(super) fn load(&mut self, frame: &Frame<'_>) -> Result<(), ReadError> {
        match frame.header.kind {
            FrameKind::Schema | FrameKind::SchemaChange => {
                let known = |_: &TableName, id| self.schemas.get(&id).cloned();
                let schema = schema_frame::read(frame, known).map_err(|error| self.damage(0, error))?;
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
        match self.find_entry(limit, |_| false)? {
            Some((at, header, bytes)) => {
                self.given = at + bytes;
                self.entry(at, &header, bytes).map(Some)
            }
            None => Ok(None),
        }
    }

    /// The next entry or note of the block at hand. What a segment's head repeats is not among them.
    pub fn next_told(&mut self) -> Result<Option<Told<'_>>, ReadError> {
        let Some((at, header, bytes)) = self.find_entry(Location::MAX, Note::is)? else { return Ok(None) };
        self.given = at + bytes;
        if !Note::is(header.kind) {
            return self.entry(at, &header, bytes).map(|entry| Some(Told::Entry(entry)));
        }
        let frame = Frame { header, payload: &self.block[at + HEADER_BYTES..at + bytes] };
        let note = Note::of(&frame).ok_or_else(|| self.damage(at, "malformed note on the source"))?;
        Ok(Some(Told::Note(note)))
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
        let (start, pieces) = (self.block_start(), &self.pieces);
        let (Some(transaction), Some(schema), Skip::Nothing) = (&self.transaction, &self.recent, self.skip) else {
            return Ok(());
        };
        let row = |frame: &Frame<'_>| {
            let header = &frame.header;
            let operation = match header.kind {
                FrameKind::Record(operation) if operation != Operation::Ddl => operation,
                FrameKind::Message => Operation::Insert,
                _ => return None,
            };
            let is_here = header.schema == schema.id && header.flags & FLAG_REPEATED == 0;
            is_here.then_some((operation, header.partition))
        };
        let mut next = frame::read_unchecked(&self.block[self.given..]);
        while self.given < stop
            && let Ok(frame) = next
            && let Some((operation, partition)) = row(&frame)
        {
            let offset = if pieces.is_empty() { start + self.given as u64 } else { piece_offset(pieces, self.given) };
            let location = Location { segment, offset };
            self.given += frame.bytes();
            next = frame::read_unchecked(&self.block[self.given..]);
            let followed = match &next {
                Ok(next) if row(next) == Some((operation, partition)) => Followed::ByAlike,
                Ok(next) if next.header.kind == FrameKind::Commit => Followed::ByCommit,
                _ => Followed::ByAny,
            };
            take(&Record {
                transaction,
                number: frame.header.record,
                partition,
                operation,
                schema: Some(schema),
                append_ts: frame.header.append_ts,
                location,
                followed,
                is_message: frame.header.kind == FrameKind::Message,
                payload: frame.payload,
                flags: frame.header.flags,
            })?;
        }
        Ok(())
    }

    /// Passes over what is not to be given, up to the first entry that is; says whether the reader now knows where it
    /// starts. If not, more must be filled, or become durable.
    pub fn settle(&mut self) -> Result<bool, ReadError> {
        Ok(self.skip == Skip::Nothing || self.find_entry(Location::MAX, |_| false)?.is_some())
    }

    /// Finds the next entry to give, or frame of a kind that is wanted too, and stands at it; says where in the block it lies,
    /// what it is and how long.
    fn find_entry(
        &mut self,
        limit: Location,
        wants: impl Fn(FrameKind) -> bool,
    ) -> Result<Option<(usize, FrameHeader, usize)>, ReadError> {
        let stop = self.byte_in_block(limit);
        while self.given < stop {
            let at = self.given;
            let frame = frame::read_unchecked(&self.block[at..]).map_err(|error| self.damage(at, error))?;
            let (header, bytes) = (frame.header, frame.bytes());
            let repeated = header.flags & FLAG_REPEATED != 0;
            if !repeated && matches!(header.kind, FrameKind::Schema | FrameKind::SchemaChange | FrameKind::Begin) {
                let block = std::mem::take(&mut self.block);
                let loaded = frame::read_unchecked(&block[at..]).map(|frame| self.load(&frame));
                self.block = block;
                loaded.map_err(|error| self.damage(at, error))??;
            }
            let kind = header.kind;
            let is_entry = kind.is_record() || matches!(kind, FrameKind::Begin | FrameKind::Commit | FrameKind::Gap);
            if !repeated && !self.passes_over(at, &header) && (is_entry || wants(kind)) {
                if kind.is_record() {
                    self.look_up(header.schema);
                }
                return Ok(Some((at, header, bytes)));
            }
            self.given += bytes;
        }
        Ok(None)
    }

    fn byte_in_block(&self, location: Location) -> usize {
        let here = self.segment.number();
        if location.segment > here {
            return self.block.len();
        }
        if location.segment == here && !self.pieces.is_empty() {
            return piece_byte(&self.pieces, location.offset).min(self.block.len());
        }
        let start = self.block_start();
        let byte = if location.segment < here { 0 } else { location.offset.saturating_sub(start) };
        usize::try_from(byte).map_or(self.block.len(), |byte| byte.min(self.block.len()))
    }

    fn passes_over(&mut self, at: usize, header: &frame::FrameHeader) -> bool {
        let starts_here = match self.skip {
            Skip::Nothing => return false,
            Skip::UntilBegin => header.kind == FrameKind::Begin,
            Skip::UntilTime(time) => {
                matches!(header.kind, FrameKind::Begin | FrameKind::Gap) && header.commit_ts >= time
            }
            Skip::UntilLocation(location) => self.location_of(at) >= location,
            Skip::Through(commit, record) => match header.kind {
                FrameKind::Begin => header.commit > commit,
                FrameKind::Record(_) | FrameKind::Message => (header.commit, header.record) > (commit, record),
                // A gap of unknown length has the number of the transaction before it.
                FrameKind::Commit | FrameKind::Gap if record >= BEHIND_RECORD => header.commit > commit,
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
            let of_messages = schema == SchemaId::MESSAGES;
            self.recent = if of_messages { Some(&self.shared.messages) } else { self.schemas.get(&schema) }.cloned();
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
        let record = |operation, is_message| {
            let schema = match operation {
                Operation::Ddl => None,
                _ => Some(self.recent.as_ref().ok_or_else(|| self.damage(at, "record of unknown schema"))?),
            };
            Ok::<_, ReadError>(Entry::Record(Record {
                transaction,
                number: header.record,
                partition: header.partition,
                operation,
                schema,
                append_ts: header.append_ts,
                location: self.location_of(at),
                followed: Followed::ByAny,
                is_message,
                payload: frame.payload,
                flags: header.flags,
            }))
        };
        Ok(match header.kind {
            FrameKind::Record(operation) => record(operation, false)?,
            FrameKind::Message => record(Operation::Insert, true)?,
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
            let fetch = self.next_block(until);
            let fetched = tokio::task::spawn_blocking(move || fetch.run()).await;
            let fetched = fetched.map_err(|error| self.shared.read_failure(&std::io::Error::other(error)))??;
            self.take(fetched);
        }
        Ok(Fill::Filled)
    }

    /// The same on a thread that may block.
    pub fn fill_here(&mut self) -> Result<Fill, ReadError> {
        while self.given >= self.block.len() {
            let Some(until) = self.readable_until()? else { return Ok(Fill::AtMark) };
            let fetched = self.next_block(until).run()?;
            self.take(fetched);
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
            let until = if here == end.segment { end.offset } else { self.segment.length() };
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
            self.pieces = Vec::new();
            self.given = 0;
        }
    }

    fn enter_next_segment(&mut self) -> Result<(), ReadError> {
        let next = self.segment.number() + 1;
        self.segment = self.shared.segment(next).ok_or(ReadError::Overtaken)?;
        self.bytes = None;
        self.next = self.segment.first_own();
        self.block.clear();
        self.pieces.clear();
        self.given = 0;
        Ok(())
    }

    fn next_block(&mut self, until: u64) -> Fetch {
        self.given = 0;
        Fetch {
            shared: self.shared.clone(),
            segment: self.segment.clone(),
            bytes: self.bytes.clone(),
            from: self.next,
            until,
            partitions: self.partitions.clone(),
            buffer: std::mem::take(&mut self.block),
        }
    }

    fn take(&mut self, fetched: Fetched) {
        let Fetched { bytes, block, pieces, next } = fetched;
        self.bytes = Some(bytes);
        self.next = next;
        self.block = block;
        self.pieces = pieces;
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
            self.pieces.clear();
            self.given = 0;
        }
        if let Some(taken) = self.take_own_from_memory(next, end) {
            return taken;
        }
        let durable = self.mark.borrow().end;
        let durable = if durable.segment == next.segment { durable.offset } else { self.segment.length() };
        let found = self.shared.recent.copy(next, end.offset, durable, &mut self.block);
        self.next = found.unwrap_or(self.next);
        found.is_some()
    }

    /// The same of the wanted partitions alone, where it is known where their frames lie.
    fn take_own_from_memory(&mut self, next: Location, end: Location) -> Option<bool> {
        let partitions = self.partitions.as_ref()?;
        let mut runs = Vec::new();
        let durable = self.mark.borrow().end;
        if durable.segment != next.segment {
            return None;
        }
        let known =
            |places: &PartitionPlaces| places.runs(partitions, next.offset, end.offset, durable.offset, &mut runs);
        let behind = self.segment.with_open_places(known).flatten()?;
        if self.pieces.is_empty() && !self.block.is_empty() {
            self.pieces.push(Piece { at: 0, offset: self.block_start() });
        }
        let start = self.block.len();
        if !self.shared.recent.copy_runs(next, &runs, &mut self.block, &mut self.pieces) {
            self.pieces.retain(|piece| piece.at < start);
            return Some(false);
        }
        self.next = behind;
        Some(true)
    }

    /// Gives again what was given since the reader stood there, in the block at hand.
    pub fn back_to(&mut self, at: Location) {
        self.given = self.given.min(self.byte_in_block(at));
    }

    /// Whether what it gives next depends on where it stands alone, and not on a time that it still waits for.
    pub fn goes_by_place(&self) -> bool {
        !matches!(self.skip, Skip::UntilTime(_))
    }

    /// Lets go of the block at hand and of the segment's file: what keeps a reader for later is to keep nothing else with it.
    pub fn rest(&mut self) {
        self.next = self.location().offset;
        self.block = Vec::new();
        self.pieces.clear();
        self.given = 0;
        self.bytes = None;
    }

    /// The byte that comes next.
    pub fn location(&self) -> Location {
        if self.given >= self.block.len() {
            return Location { segment: self.segment.number(), offset: self.next };
        }
        self.location_of(self.given)
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

    /// The tables whose schemas are known where the reader stands, each in its newest schema, by name. Where messages are
    /// to be expected, the table that they are shown as is one of them.
    pub fn tables(&self) -> Vec<Arc<TableSchema>> {
        let mut newest = std::collections::BTreeMap::new();
        let of_messages = self.shared.expects_messages().then_some(&self.shared.messages);
        for schema in self.schemas.values().chain(of_messages) {
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
        self.shared.damage(self.location_of(at), what)
    }

    fn location_of(&self, at: usize) -> Location {
        let offset =
            if self.pieces.is_empty() { self.block_start() + at as u64 } else { piece_offset(&self.pieces, at) };
        Location { segment: self.segment.number(), offset }
    }

    /// Where the block lies, if it is one piece of the segment.
    fn block_start(&self) -> u64 {
        self.next.saturating_sub(self.block.len() as u64)
    }
}
