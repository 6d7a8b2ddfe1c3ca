//! Where a reader stands in one epoch of a trail, for whoever counts by commit and record alone.
//!
//! Owns the order of offsets and what stands for a whole transaction. A [`Position`](crate::record::Position) says beside this
//! which trail it is of and which transaction it means.

use crate::record::RecordNumber;

/// What an offset behind all records of a transaction has for a record number. A gap may have the number of the transaction
/// before it, and lies behind this.
pub const ALL_RECORDS: RecordNumber = RecordNumber::MAX - 2;

/// A place behind one record of a trail. Offsets grow as the trail does and are not dense; they say nothing of the trail's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset {
    /// The transaction's commit number.
    pub commit: u64,
    /// The record within the transaction.
    pub record: RecordNumber,
}

impl Offset {
    /// Behind all records of that transaction; 0 is before the first.
    pub fn behind(commit: u64) -> Self {
        Self { commit, record: ALL_RECORDS }
    }

    /// Behind whatever has that commit number, a gap too.
    pub fn past(commit: u64) -> Self {
        Self { commit, record: RecordNumber::MAX }
    }

    /// Whether nothing of its transaction comes after it.
    pub fn is_behind(self) -> bool {
        self.record >= ALL_RECORDS
    }
}
