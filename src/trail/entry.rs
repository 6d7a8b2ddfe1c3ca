//! What a reader gives: transactions begin, records, transactions end, gaps.
//!
//! Owns how a record's body is taken apart; what a gap says is `gap`'s, where entries lie and how they are found `reader`'s.

use std::sync::Arc;

use crate::codec::frame::{self, FLAG_AFTER, FLAG_BEFORE};
use crate::codec::image::Image;
use crate::record::{Operation, Position, TableName, TableSchema, Timestamp, TransactionHead};
use crate::trail::{Gap, Location};

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
    /// Its partition of the trail.
    pub partition: u16,
    /// When the trail took it.
    pub append_ts: Timestamp,
    /// Where its frame lies.
    pub place: Location,
    /// What follows it in the trail, as far as that is known.
    pub followed: Followed,
    pub(super) body: &'a [u8],
    pub(super) flags: u8,
}

/// What follows a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// Anything: the next frame was not looked at, or is none of the others.
    ByAny,
    /// Another record of its transaction, of the same table's shape and the same operation.
    ByAlike,
    /// The end of its transaction.
    ByCommit,
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
    /// Transactions are missing here, or rows may be.
    Gap(Gap),
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
