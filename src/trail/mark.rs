//! How far a trail is durable: the one number that acknowledgements and readers wait for.

use crate::record::{Epoch, Position, SchemaId, SourcePosition, Timestamp};

/// A byte in a trail: ordered as the trail is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Location {
    /// Segment number, from 1.
    pub segment: u64,
    /// Byte in the segment's file.
    pub offset: u64,
}

impl Location {
    /// Behind every byte of every trail.
    pub const MAX: Self = Self { segment: u64::MAX, offset: u64::MAX };
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
