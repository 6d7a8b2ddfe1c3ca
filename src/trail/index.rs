//! The sparse index of one segment: a hint that makes seeks independent of the trail's size, rebuilt when in doubt.
//!
//! Built frame by frame, by the writer as it appends and by a scan when the index file is missing or does not check.
//! The file beside a closed segment (`….idx`): `"TRAILIX2"`, the segment's [`Stamp`], the numbers of blocks and schemas,
//! then these, then CRC-32C of all of it; little-endian. Transaction ids, which seeks do not need, have a file of their
//! own: see [`xids`](crate::trail::xids).

use crate::codec::frame::{FLAG_OWN_ID, FLAG_REPEATED, Frame, FrameKind, u32_at, u64_at};
use crate::limits::INDEX_BLOCK_BYTES;
use crate::record::Timestamp;
use crate::trail::hint::{STAMP_BYTES, Stamp, checked, push_checksum};
use crate::trail::partition_places::PartitionPlaces;
use crate::trail::xids::{Remembered, SegmentXids, fingerprint};

const MAGIC: &[u8; 8] = b"TRAILIX2";
const BLOCK_BYTES: usize = 36;
/// Bytes of magic, stamp and counts.
const HEAD_BYTES: usize = 8 + STAMP_BYTES + 16;
/// A stretch of a segment that a seek may start at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// Byte of its first frame.
    pub(super) offset: u64,
    /// Commit and record number of its first frame; they never fall from block to block.
    pub(super) first: (u64, u32),
    /// Byte of the begin frame of the transaction it opens in; 0 outside one.
    pub(super) begin: u64,
    /// Greatest commit time in it.
    pub(super) commit_ts_max: Timestamp,
}

/// Blocks, places of schemas, and transaction ids of a segment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct SegmentIndex {
    blocks: Vec<Block>,
    schemas: Vec<u64>,
    xids: SegmentXids,
    open: Option<Open>,
    places: Option<PartitionPlaces>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    begin: u64,
    fingerprint: Option<[u8; 16]>,
}

impl SegmentIndex {
    /// An index of nothing yet. `places`: it is to say where the frames of each partition lie.
    pub(super) fn new(places: bool) -> Self {
        Self { places: places.then(PartitionPlaces::default), ..Self::default() }
    }

    /// Takes note of the next frame. `keep_xids` is on for trails of puts.
    pub(super) fn note(&mut self, offset: u64, frame: &Frame<'_>, keep_xids: bool) {
        let header = &frame.header;
        let repeated = header.flags & FLAG_REPEATED != 0;
        if !repeated {
            self.extend_blocks(offset, frame);
        }
        if let Some(places) = &mut self.places {
            places.note(offset, frame);
        }
        match header.kind {
            FrameKind::Begin => {
                let keep = keep_xids && header.flags & FLAG_OWN_ID == 0;
                let xid = crate::codec::frame::read_text_pair(frame.payload).map_or("", |(xid, _)| xid);
                self.open = Some(Open { begin: offset, fingerprint: keep.then(|| fingerprint(xid)) });
            }
            FrameKind::Commit => {
                let open = self.open.take();
                if let Some(fingerprint) = open.and_then(|open| open.fingerprint) {
                    let last_record = header.record.saturating_sub(1);
                    self.xids.push(Remembered { fingerprint, commit: header.commit, last_record });
                }
            }
            FrameKind::Schema | FrameKind::SchemaChange if !repeated => self.schemas.push(offset),
            _ => {}
        }
    }

    fn extend_blocks(&mut self, offset: u64, frame: &Frame<'_>) {
        let header = &frame.header;
        let full = self.blocks.last().is_none_or(|block| offset - block.offset >= INDEX_BLOCK_BYTES);
        if full {
            let begin = self.open.map_or(0, |open| open.begin);
            let first = (header.commit, header.record);
            self.blocks.push(Block { offset, first, begin, commit_ts_max: Timestamp::from_micros(i64::MIN) });
        }
        if let Some(block) = self.blocks.last_mut().filter(|_| header.kind.has_commit_time()) {
            block.commit_ts_max = block.commit_ts_max.max(header.commit_ts);
        }
    }

    /// Forgets what lies at or behind `offset`, where no transaction is open.
    pub(super) fn cut(&mut self, offset: u64, commit: u64) {
        self.blocks.retain(|block| block.offset < offset);
        self.schemas.retain(|schema| *schema < offset);
        self.xids.cut(commit);
        self.open = None;
        // Who needs what was cut builds it anew.
        self.places = self.places.take().filter(|places| places.ends_by(offset));
    }

    /// The last block that starts at or before that record; none when the segment starts after it.
    pub(super) fn block_at(&self, commit: u64, record: u32) -> Option<Block> {
        let after = self.blocks.partition_point(|block| block.first <= (commit, record));
        after.checked_sub(1).map(|at| self.blocks[at])
    }

    /// The last block that starts at or before that byte.
    pub(super) fn block_before(&self, offset: u64) -> Option<Block> {
        let after = self.blocks.partition_point(|block| block.offset <= offset);
        after.checked_sub(1).map(|at| self.blocks[at])
    }

    /// The first block with a commit time at or after `time`.
    pub(super) fn block_at_time(&self, time: Timestamp) -> Option<Block> {
        self.blocks.iter().find(|block| block.commit_ts_max >= time).copied()
    }

    /// Places of schema frames before `offset`, without those in the segment's head.
    pub(super) fn schemas_before(&self, offset: u64) -> Vec<u64> {
        self.schemas.iter().copied().take_while(|schema| *schema < offset).collect()
    }

    /// Greatest commit time of the segment.
    pub(super) fn commit_ts_max(&self) -> Option<Timestamp> {
        self.blocks.iter().map(|block| block.commit_ts_max).max().filter(|time| time.micros() != i64::MIN)
    }

    /// Transaction ids that ended in the segment, unless the index came from its file.
    pub(super) fn xids(&self) -> &SegmentXids {
        &self.xids
    }

    /// Takes the transaction ids out.
    pub(super) fn take_xids(&mut self) -> SegmentXids {
        std::mem::take(&mut self.xids)
    }

    /// Puts in the transaction ids of the segment.
    pub(super) fn set_xids(&mut self, xids: SegmentXids) {
        self.xids = xids;
    }

    /// Where the frames of each partition lie, as far as they came while that was to be noted.
    pub(super) fn places(&self) -> Option<&PartitionPlaces> {
        self.places.as_ref()
    }

    /// Takes that out.
    pub(super) fn take_places(&mut self) -> Option<PartitionPlaces> {
        self.places.take()
    }

    /// The segment is closed: what goes on in the next one may be any partition's.
    pub(super) fn close(&mut self) {
        if let Some(places) = &mut self.places {
            places.close();
        }
    }

    /// Memory that it takes without the transaction ids, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.blocks.capacity() * size_of::<Block>() + self.schemas.capacity() * 8
    }

    /// The bytes of the index file.
    pub(super) fn encode(&self, stamp: &Stamp) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + self.blocks.len() * BLOCK_BYTES + self.schemas.len() * 8 + 4);
        out.extend_from_slice(MAGIC);
        stamp.push(&mut out);
        let counts = [self.blocks.len() as u64, self.schemas.len() as u64];
        counts.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        for block in &self.blocks {
            out.extend_from_slice(&block.offset.to_le_bytes());
            out.extend_from_slice(&block.first.0.to_le_bytes());
            out.extend_from_slice(&block.first.1.to_le_bytes());
            out.extend_from_slice(&block.begin.to_le_bytes());
            out.extend_from_slice(&block.commit_ts_max.micros().to_le_bytes());
        }
        self.schemas.iter().for_each(|schema| out.extend_from_slice(&schema.to_le_bytes()));
        push_checksum(&mut out);
        out
    }

    /// Reads an index file; `None` when it is not a whole index of that segment.
    pub(super) fn decode(bytes: &[u8], stamp: &Stamp) -> Option<Self> {
        let body = checked(bytes, MAGIC, stamp).filter(|body| body.len() >= HEAD_BYTES)?;
        let count = |at: usize| usize::try_from(u64_at(body, at)).ok().filter(|count| *count <= body.len());
        let (blocks, schemas) = (count(HEAD_BYTES - 16)?, count(HEAD_BYTES - 8)?);
        let schemas_at = HEAD_BYTES + blocks * BLOCK_BYTES;
        if body.len() != schemas_at + schemas * 8 {
            return None;
        }
        let block = |at: usize| Block {
            offset: u64_at(body, at),
            first: (u64_at(body, at + 8), u32_at(body, at + 16)),
            begin: u64_at(body, at + 20),
            commit_ts_max: Timestamp::from_micros(u64_at(body, at + 28).cast_signed()),
        };
        Some(Self {
            blocks: (0..blocks).map(|number| block(HEAD_BYTES + number * BLOCK_BYTES)).collect(),
            schemas: (0..schemas).map(|number| u64_at(body, schemas_at + number * 8)).collect(),
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_file_reads_back_and_any_damage_makes_it_no_index() {
        let index = SegmentIndex {
            blocks: vec![Block { offset: 64, first: (1, 0), begin: 0, commit_ts_max: Timestamp::from_micros(5) }],
            schemas: vec![70, 80],
            ..SegmentIndex::default()
        };
        let stamp = Stamp { file_id: 9, bytes: 4_000, closed_ts: Timestamp::from_micros(6) };
        let bytes = index.encode(&stamp);
        assert_eq!(SegmentIndex::decode(&bytes, &stamp), Some(index));
        for other in [
            Stamp { file_id: 8, ..stamp },
            Stamp { bytes: 4_001, ..stamp },
            Stamp { closed_ts: Timestamp::from_micros(7), ..stamp },
        ] {
            assert_eq!(SegmentIndex::decode(&bytes, &other), None);
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(SegmentIndex::decode(&damaged, &stamp), None);
            assert_eq!(SegmentIndex::decode(&bytes[..at], &stamp), None);
        }
    }
}
