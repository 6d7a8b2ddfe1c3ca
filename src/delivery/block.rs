//! A block: what one stretch of a trail is for a contract, encoded once and shared by all who read it.

use std::sync::Arc;

use bytes::Bytes;

use crate::delivery::budget::Charge;
use crate::delivery::counts::Counted;
use crate::delivery::end::End;
use crate::delivery::framing::Framing;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::record::{Position, TableSchema, Timestamp};
use crate::trail::Location;

/// Where a block starts: all that decides what is in it, beside the contract and where it ends. A session stands at the
/// start of its next block, and sessions at the same start are sent the same bytes. Ordered as the trail is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockStart {
    /// The byte of the trail that comes next.
    pub at: Location,
    /// Commit number of the transaction around that byte, when an earlier record of it was sent and the records that
    /// follow say so (`trans_ind`). None otherwise, so that whoever is sent the same stands at the same start.
    pub begun: Option<u64>,
}

impl BlockStart {
    /// Behind every start at the same byte.
    pub(super) fn last_at(at: Location) -> Self {
        Self { at, begun: Some(u64::MAX) }
    }
}

/// Whole messages, one behind the other, and what a client must have heard before them.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Byte of the block where they end; they start where the piece before ends.
    pub end: usize,
    /// Schemas of their row records, in order of first use; one a table.
    pub schemas: Vec<Arc<TableSchema>>,
    /// Whether there is a DDL record among them.
    pub has_ddl: bool,
    /// Records in them.
    pub records: u32,
    /// Position of the last record.
    pub last: Position,
}

/// What a stretch says of transactions that end in it, sent or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Passed {
    /// No transaction begins or ends in it.
    #[default]
    Nothing,
    /// It ends inside the transaction of that commit number.
    Inside(u64),
    /// It ends behind this last record of a transaction.
    Transaction(Position),
}

/// An encoded stretch of a trail.
#[derive(Debug)]
pub struct Block {
    /// The messages, framed.
    pub bytes: Bytes,
    /// What they are.
    pub pieces: Vec<Piece>,
    /// Their records by table and operation.
    pub counted: Vec<Counted>,
    /// Where the stretch ends.
    pub to: BlockStart,
    /// What it passed.
    pub passed: Passed,
    /// Commit time of the last transaction that begins in it, if one does.
    pub commit_ts: Option<Timestamp>,
    /// What is missing in it, where sessions go on all the same: in words.
    pub skipped: Vec<String>,
    /// Why nothing can follow, if so.
    pub stop: Option<End>,
    /// Memory that it takes, in bytes: what is charged for it.
    pub memory: usize,
}

/// Bytes of a block, which count against the budget for as long as anyone holds a part of them.
#[derive(Debug)]
pub(super) struct ChargedBytes {
    pub(super) bytes: Vec<u8>,
    pub(super) _charge: Charge,
}

impl AsRef<[u8]> for ChargedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Block {
    /// Records in it.
    pub fn records(&self) -> u64 {
        self.pieces.iter().map(|piece| u64::from(piece.records)).sum()
    }

    /// The first message in it that one record alone made larger than [`MESSAGE_BYTES_MAX`]: the record's position, and the
    /// message's size in bytes, its framing included. Such a message shares its piece with no other.
    pub fn first_large(&self, framing: Framing) -> Option<(Position, usize)> {
        if self.bytes.len() <= MESSAGE_BYTES_MAX {
            return None;
        }
        let starts = std::iter::once(0).chain(self.pieces.iter().map(|piece| piece.end));
        let mut sizes = starts.zip(&self.pieces).map(|(start, piece)| (piece, piece.end - start));
        let large =
            sizes.find(|(piece, bytes)| piece.records == 1 && *bytes > MESSAGE_BYTES_MAX + framing.around_bytes_max());
        large.map(|(piece, bytes)| (piece.last, bytes))
    }
}
