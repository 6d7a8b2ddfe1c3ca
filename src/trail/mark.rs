//! How far a trail is durable: the one number that acknowledgements and readers wait for.

use std::fmt;

use crate::record::{Epoch, Position, SchemaId, SourcePosition, Timestamp};

/// A byte in a trail. Outside the trail locations are only ordered, as the trail is: see [`block_end`] and [`bytes_between`] for
/// who divides a trail up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Location {
    /// Segment number, from 1.
    pub(super) segment: u64,
    /// Byte in the segment.
    pub(super) offset: u64,
}

impl Location {
    /// Behind every byte of every trail.
    pub const MAX: Self = Self { segment: u64::MAX, offset: u64::MAX };

    /// Number of its segment, to be shown to people who look inside a trail.
    pub fn segment(self) -> u64 {
        self.segment
    }

    /// Byte in its segment, likewise.
    pub fn offset(self) -> u64 {
        self.offset
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of segment {}", self.offset, self.segment)
    }
}

/// Where a block of a trail ends that starts at `from`: at the next of the places that lie `step` bytes apart in every segment.
/// Whoever asks gets the same places, so blocks can be shared; the last one of a segment is shorter.
pub fn block_end(from: Location, step: u64) -> Location {
    Location { offset: (from.offset / step + 1) * step, ..from }
}

/// Bytes from one location to a later one; none where these are not in one segment.
pub fn bytes_between(from: Location, to: Location) -> Option<u64> {
    (from.segment == to.segment).then(|| to.offset.saturating_sub(from.offset))
}

/// What is flushed and therefore visible. It always lies between transactions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DurableMark {
    /// Commit number of the last durable transaction; 0 before the first.
    pub commit: u64,
    /// Its commit time.
    pub commit_ts: Timestamp,
    /// The byte after it.
    pub end: Location,
    /// How far the source has been taken, as the trail durably knows.
    pub source: Option<SourcePosition>,
    /// Number of the newest table schema before `end`, 0 before the first: as long as it stays, the tables at the end of the
    /// trail are as they were. Whoever looks from another process is not told.
    pub newest_schema: SchemaId,
}

impl DurableMark {
    /// The position of a reader that stands at this mark of a trail of that epoch.
    pub fn position(&self, epoch: Epoch) -> Position {
        Position::behind(epoch, self.commit)
    }
}
