//! Reads a stretch of a trail and encodes it: the one place where reader and encoder meet.

use std::sync::Arc;

use crate::catalog::stream::QualityOfService;
use crate::codec::token;
use crate::delivery::block::{Block, ChargedBytes, Passed, Piece, Place};
use crate::delivery::budget::Charge;
use crate::delivery::contract::Contract;
use crate::delivery::encoder::Encoder;
use crate::delivery::feed::DeliveryEnd;
use crate::record::Timestamp;
use crate::trail::{Entry, Fill, Location, Reader};

/// Bytes of messages to expect of a hundred bytes of a trail, until it is known better.
pub(super) const GROWTH_PERCENT_FIRST: usize = 200;

/// A reader and an encoder that stand at the same place.
#[derive(Debug)]
pub(super) struct Cursor {
    reader: Reader,
    encoder: Encoder,
    contract: Arc<Contract>,
    /// Bytes of messages that a byte of the trail has become lately, in percent.
    growth_percent: usize,
}

/// How reading a stretch ended.
#[derive(Debug)]
struct Stretch {
    passed: Passed,
    stop: Option<DeliveryEnd>,
}

impl Cursor {
    /// A cursor where `reader` stands; `begun` as in [`Place`].
    pub(super) fn new(reader: Reader, contract: Arc<Contract>, begun: Option<u64>) -> Self {
        Self { encoder: Encoder::new(contract.clone(), begun), reader, contract, growth_percent: GROWTH_PERCENT_FIRST }
    }

    /// Where the next block starts.
    pub(super) fn place(&self) -> Place {
        let at = self.encoder.kept_back().unwrap_or_else(|| self.reader.location());
        Place { at, begun: self.encoder.begun() }
    }

    /// Bytes of messages to expect of a hundred bytes of the trail, by what the last block was.
    pub(super) fn growth_percent(&self) -> usize {
        self.growth_percent
    }

    /// Whether everything up to `end` lies in memory, so that [`Self::make`] does not wait for a disk.
    pub(super) fn has_in_memory(&mut self, end: Location) -> bool {
        self.reader.take_from_memory(end)
    }

    /// Encodes up to `end`, which is durable: to exactly there, unless a transaction's last record must be found first.
    /// Reads the disk where need be.
    pub(super) fn make(&mut self, end: Location, mut charge: Charge, now: Timestamp) -> Block {
        let from = self.place().at;
        let trail_bytes = if from.segment == end.segment { end.offset.saturating_sub(from.offset) } else { 0 };
        let trail_bytes = usize::try_from(trail_bytes).unwrap_or(usize::MAX);
        self.encoder.reserve(trail_bytes.saturating_mul(self.growth_percent) / 100);
        let Stretch { passed, stop } = self.encode_until(end, now);
        self.encoder.finish();
        if stop.is_none() {
            self.reader.give_used_block_back();
        }
        let (mut bytes, pieces) = self.encoder.take_messages();
        if let Some(percent) = bytes.len().saturating_mul(100).checked_div(trail_bytes) {
            self.growth_percent = percent + percent / 16 + 1;
        }
        if bytes.capacity() - bytes.len() > bytes.len() / 8 {
            // The room was an estimate; blocks at the tail, or of what rules leave, are mostly far smaller.
            bytes.shrink_to_fit();
        }
        let memory = bytes.capacity() + size_of::<Block>() + pieces.len() * size_of::<Piece>();
        charge.settle(memory);
        let bytes = bytes::Bytes::from_owner(ChargedBytes { bytes, _charge: charge });
        Block { bytes, pieces, to: self.place(), passed, stop, memory }
    }

    fn encode_until(&mut self, end: Location, now: Timestamp) -> Stretch {
        let mut passed = Passed::Nothing;
        let stop = loop {
            // A record kept back is released by the next one of its transaction, wherever that lies.
            let rows = self.reader.rows_before(end, |row| self.encoder.take_row(row, now));
            if let Err(stop) = rows {
                break Some(DeliveryEnd::Encode(stop));
            }
            let limit = match self.encoder.kept_back() {
                Some(place) if place >= end => break None,
                Some(_) => Location::MAX,
                None => end,
            };
            match self.encode_next(limit, &mut passed, now) {
                Ok(true) => {}
                Ok(false) if self.reader.location() >= limit => break None,
                Ok(false) => match self.reader.fill_here() {
                    Ok(Fill::Filled) => {}
                    Ok(Fill::AtMark) => break None,
                    Err(error) => break Some(DeliveryEnd::Read(error)),
                },
                Err(stop) => break Some(stop),
            }
        };
        Stretch { passed, stop }
    }

    /// Encodes the next entry before `limit`; says whether there was one in the reader's block.
    fn encode_next(&mut self, limit: Location, passed: &mut Passed, now: Timestamp) -> Result<bool, DeliveryEnd> {
        let Some(entry) = self.reader.next_before(limit).map_err(DeliveryEnd::Read)? else { return Ok(false) };
        match &entry {
            Entry::Begin(transaction) => *passed = Passed::Inside(transaction.commit),
            Entry::Commit(commit) => *passed = Passed::Transaction(commit.last_position(self.contract.epoch)),
            Entry::Gap(gap) if self.contract.quality_of_service != QualityOfService::AtMostOnce => {
                let after = token::encode(&gap.position(self.contract.epoch), self.contract.hash);
                return Err(DeliveryEnd::Gap { gap: *gap, after: after.as_str().to_owned() });
            }
            Entry::Record(_) | Entry::Gap(_) => {}
        }
        self.encoder.take(&entry, now).map_err(DeliveryEnd::Encode)?;
        Ok(true)
    }
}
