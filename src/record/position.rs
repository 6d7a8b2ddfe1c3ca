//! Where a record stands in its trail.

/// The life of a trail: random at its creation, new after a repair or a restore. Positions of another epoch are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// A record's number within its transaction, from 0.
pub type RecordNumber = u32;

/// One record of one trail. Ordered as the trail is, within one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The trail's epoch.
    pub epoch: Epoch,
    /// The transaction's commit number: the trail's own, from 1, without gaps. It is the CSN that clients see.
    pub commit: u64,
    /// The record within the transaction.
    pub record: RecordNumber,
    /// Hash of the source's transaction id, so that a position into another history is noticed.
    pub xid_hash: u32,
}

/// What a position behind a whole transaction has for a record number: more than any record's.
pub const BEHIND_RECORD: RecordNumber = u32::MAX - 1;

impl Position {
    /// Behind everything that has this commit number or a lower one, whatever it is; 0 is before the first transaction. It
    /// knows of no record, so its hash says nothing.
    pub fn behind(epoch: Epoch, commit: u64) -> Self {
        Self { epoch, commit, record: BEHIND_RECORD, xid_hash: 0 }
    }

    /// Whether it is one of [`Self::behind`].
    pub fn is_behind(&self) -> bool {
        self.record == BEHIND_RECORD
    }

    /// The part that orders positions of one epoch.
    pub fn order(&self) -> (u64, RecordNumber) {
        (self.commit, self.record)
    }
}
