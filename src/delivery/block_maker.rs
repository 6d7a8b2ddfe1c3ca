//! Makes blocks: reads a stretch of a trail and encodes it. The only file where reader and encoder meet.

use std::sync::Arc;

use crate::delivery::block::{Block, BlockStart, ChargedBytes, Passed};
use crate::delivery::budget::Charge;
use crate::delivery::contract::Contract;
use crate::delivery::counts::{Counted, Counts};
use crate::delivery::encoder::Encoder;
use crate::delivery::end::End;
use crate::delivery::estimate::Estimate;
use crate::delivery::gap::{AtGap, at_gap};
use crate::limits::EXPECTED_RECORD_BYTES_MAX;
use crate::record::Timestamp;
use crate::trail::{Entry, Fill, Location, Reader, bytes_between};

/// A reader and an encoder, both at the start of the same block.
#[derive(Debug)]
pub(super) struct BlockMaker {
    reader: Reader,
    encoder: Encoder,
    contract: Arc<Contract>,
    estimate: Arc<Estimate>,
    counts: Arc<Counts>,
}

/// How reading a stretch ended.
#[derive(Debug, Default)]
struct Stretch {
    passed: Passed,
    commit_ts: Option<Timestamp>,
    skipped: Vec<String>,
    stop: Option<End>,
}

/// Why no further record is taken.
enum Break {
    /// The block is as large as memory allows; another one goes on behind it.
    Full,
    Stop(End),
}

impl From<End> for Break {
    fn from(end: End) -> Self {
        Self::Stop(end)
    }
}

/// How much a block may still take.
struct Room {
    charge: Charge,
    /// Largest record to be ready for, in bytes.
    record: usize,
    /// Memory of messages up to which one more record has room.
    enough_until: usize,
}

impl BlockMaker {
    /// Makes blocks from where `reader` stands on; `begun` as in [`BlockStart`].
    pub(super) fn new(
        mut reader: Reader,
        contract: Arc<Contract>,
        begun: Option<u64>,
        estimate: Arc<Estimate>,
        counts: Arc<Counts>,
    ) -> Self {
        if let Some(partitions) = contract.negotiated.partitions.numbers() {
            reader.narrow_to(partitions);
        }
        Self { encoder: Encoder::new(contract.clone(), begun), reader, contract, estimate, counts }
    }

    /// Where the next block starts.
    pub(super) fn start(&self) -> BlockStart {
        let at = self.encoder.kept_back().unwrap_or_else(|| self.reader.location());
        BlockStart { at, begun: self.encoder.begun() }
    }

    /// Whether everything up to `end` lies in memory, so that [`Self::make`] does not wait for a disk.
    pub(super) fn has_in_memory(&mut self, end: Location) -> bool {
        self.reader.take_from_memory(end)
    }

    /// Encodes up to `end`, which is durable: to exactly there, unless a transaction's last record must be found first, or
    /// more memory would be needed than was charged and there is none. Reads the disk where need be.
    pub(super) fn make(&mut self, end: Location, charge: Charge, now: Timestamp) -> Block {
        let from = self.start().at;
        let trail_bytes = |to: Location| usize::try_from(bytes_between(from, to).unwrap_or(0)).unwrap_or(usize::MAX);
        let mut room = Room::new(charge, self.estimate.record());
        self.encoder.reserve(self.estimate.messages(trail_bytes(end)).min(room.messages()));
        let Stretch { passed, commit_ts, skipped, stop } = self.encode_until(end, &mut room, now);
        self.encoder.finish();
        if stop.is_none() {
            self.reader.give_used_block_back();
        }
        let largest_record = self.encoder.take_largest_record();
        let (mut bytes, pieces) = self.encoder.take_messages();
        self.estimate.learn(trail_bytes(self.start().at), bytes.len(), largest_record);
        if bytes.capacity() - bytes.len() > bytes.len() / 8 || room.is_exceeded_by(bytes.capacity(), pieces.len()) {
            // The room was an estimate; blocks at the tail, or of what rules leave, are mostly far smaller.
            bytes.shrink_to_fit();
        }
        let counted = self.counts.count_in(self.encoder.take_counts());
        let memory = bytes.capacity() + Estimate::around(pieces.len());
        // Of further tables there are few, at some bytes each: they count as far as there is room, and exceed nothing.
        let of_further_tables = counted.capacity().saturating_sub(1) * size_of::<Counted>();
        let memory = memory + of_further_tables.min(room.left_beside(memory));
        let charge = room.settle(memory);
        let bytes = bytes::Bytes::from_owner(ChargedBytes { bytes, _charge: charge });
        Block { bytes, pieces, counted, to: self.start(), passed, commit_ts, skipped, stop, memory }
    }

    fn encode_until(&mut self, end: Location, room: &mut Room, now: Timestamp) -> Stretch {
        let mut stretch = Stretch::default();
        stretch.stop = loop {
            // A record kept back is released by the next one of its transaction, wherever that lies.
            let rows = self.reader.rows_before(end, |row| {
                self.encoder.take_row(row, now)?;
                room.look(&mut self.encoder)
            });
            match rows {
                Ok(()) => {}
                Err(Break::Full) => break None,
                Err(Break::Stop(stop)) => break Some(stop),
            }
            let limit = match self.encoder.kept_back() {
                Some(kept) if kept >= end => break None,
                Some(_) => Location::MAX,
                None => end,
            };
            match self.encode_next(limit, &mut stretch, room, now) {
                Ok(true) => {}
                Ok(false) if self.reader.location() >= limit => break None,
                Ok(false) => match self.reader.fill_here() {
                    Ok(Fill::Filled) => {}
                    Ok(Fill::AtMark) => break None,
                    Err(error) => break Some(error.into()),
                },
                Err(Break::Full) => break None,
                Err(Break::Stop(stop)) => break Some(stop),
            }
        };
        stretch
    }

    /// Encodes the next entry before `limit`; says whether there was one in the reader's block.
    fn encode_next(
        &mut self,
        limit: Location,
        stretch: &mut Stretch,
        room: &mut Room,
        now: Timestamp,
    ) -> Result<bool, Break> {
        let entry = self.reader.next_before(limit).map_err(|error| Break::Stop(error.into()))?;
        let Some(entry) = entry else { return Ok(false) };
        match &entry {
            Entry::Begin(transaction) => {
                stretch.passed = Passed::Inside(transaction.commit);
                stretch.commit_ts = Some(transaction.head.commit_ts);
            }
            Entry::Commit(commit) => stretch.passed = Passed::Transaction(commit.last_position(self.contract.epoch)),
            Entry::Gap(gap) => match at_gap(&self.contract, gap) {
                AtGap::Nothing => {}
                AtGap::Skips(told) => stretch.skipped.push(told),
                AtGap::Ends { gap, after } => return Err(Break::Stop(End::Gap { gap, after })),
            },
            Entry::Record(_) => {}
        }
        self.encoder.take(&entry, now)?;
        room.look(&mut self.encoder)?;
        Ok(true)
    }
}

impl Room {
    fn new(charge: Charge, record: usize) -> Self {
        let mut room = Self { charge, record, enough_until: 0 };
        room.measure();
        room
    }

    /// Looks whether one more record has room; takes more memory for it if there is some.
    #[inline]
    fn look(&mut self, encoder: &mut Encoder) -> Result<(), Break> {
        if encoder.memory() <= self.enough_until { Ok(()) } else { self.make_more(encoder) }
    }

    #[cold]
    fn make_more(&mut self, encoder: &mut Encoder) -> Result<(), Break> {
        self.make(encoder.memory(), encoder.largest_record())?;
        // So that the buffer does not take twice what it needs.
        encoder.reserve(self.messages().saturating_sub(encoder.memory()));
        Ok(())
    }

    /// Sees to it that one more record has room beside messages of that memory.
    fn make(&mut self, memory: usize, largest_record: usize) -> Result<(), Break> {
        self.record = self.record.max(largest_record.min(EXPECTED_RECORD_BYTES_MAX));
        let charged = self.charge.bytes();
        let missing = (memory + self.beside()).saturating_sub(charged);
        let has_room = missing == 0 || self.charge.grow(missing.max(charged / 4));
        self.measure();
        if has_room { Ok(()) } else { Err(Break::Full) }
    }

    /// What must be there beside the memory of the messages: for one more record, and for what a block takes itself.
    fn beside(&self) -> usize {
        Estimate::around(1) + self.record
    }

    fn measure(&mut self) {
        self.enough_until = self.charge.bytes().saturating_sub(self.beside());
    }

    /// Memory for messages in all, the last record included.
    fn messages(&self) -> usize {
        self.charge.bytes().saturating_sub(Estimate::around(1))
    }

    fn is_exceeded_by(&self, bytes: usize, pieces: usize) -> bool {
        bytes + Estimate::around(pieces) > self.charge.bytes()
    }

    /// What was charged and is not needed for that memory.
    fn left_beside(&self, memory: usize) -> usize {
        self.charge.bytes().saturating_sub(memory)
    }

    /// The charge for what the block really takes: more than was charged only where its last record was larger than any
    /// before.
    fn settle(mut self, memory: usize) -> Charge {
        self.charge.settle(memory);
        self.charge
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::budget::Budget;

    #[test]
    fn room_is_made_also_where_what_is_known_of_messages_takes_more_than_they_do() {
        for (charged, memory, record) in [(100, 33_000, 40), (33_000, 130_000, 20), (5_000, 5_000, 70_000), (1, 0, 0)] {
            let budget = Budget::new(1 << 20);
            let mut room = Room::new(budget.charge(charged, charged).unwrap(), record);
            let other = budget.charge(1, 1).unwrap();
            assert!(room.make(memory, record).is_ok());
            let (charged, room_for) = (room.charge.bytes(), room.messages().saturating_sub(memory));
            assert!(charged >= memory + Estimate::around(1) && room_for >= record.min(EXPECTED_RECORD_BYTES_MAX));
            drop(other);
        }
    }
}
