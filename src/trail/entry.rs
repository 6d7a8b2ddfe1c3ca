//! What a reader gives: transactions begin, records, transactions end, gaps.
//!
//! Owns how a record's body is taken apart; what a gap says is `gap`'s, where entries lie and how they are found `reader`'s.

use std::sync::Arc;

use crate::codec::frame::{self, FLAG_AFTER, FLAG_BEFORE, FLAG_LOADED, FLAG_TOKENS};
use crate::codec::image::Image;
use crate::record::{Message, Operation, Position, TableName, TableSchema, Timestamp, TransactionHead};
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
    /// Its partition.
    pub partition: u16,
    /// What it does. A message is shown as a new row, and so it has [`Operation::Insert`].
    pub operation: Operation,
    /// The table's schema; of a message that of the table which messages are shown as; none for DDL.
    pub schema: Option<&'a Arc<TableSchema>>,
    /// When the trail took it.
    pub append_ts: Timestamp,
    /// Where its frame lies.
    pub location: Location,
    /// What follows it in the trail, as far as that is known.
    pub followed: Followed,
    /// The frame holds a message, not a row.
    pub(super) is_message: bool,
    pub(super) payload: &'a [u8],
    pub(super) flags: u8,
}

/// What a record holds.
#[derive(Debug, Clone)]
pub enum Body<'a> {
    /// A row: its operation and schema are the record's.
    Row(RowBody<'a>),
    /// A statement.
    Ddl {
        /// The table that it is about.
        table: TableName,
        /// Its text.
        statement: &'a str,
    },
    /// A message.
    Message(Message<'a>),
}

/// What follows a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// Anything: the next frame was not looked at, or is none of the others.
    ByAny,
    /// Another record of its transaction, of the same partition, the same table's schema and the same operation.
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

    /// What it holds.
    #[inline]
    pub fn body(&self) -> Result<Body<'a>, MalformedRecord> {
        if self.is_message {
            return frame::message::read(self.flags, self.payload).map(Body::Message).map_err(|_| self.malformed());
        }
        if self.operation == Operation::Ddl {
            return self.ddl();
        }
        self.row().map(Body::Row)
    }

    /// Images and tokens of a record that is a row.
    #[inline]
    pub fn row(&self) -> Result<RowBody<'a>, MalformedRecord> {
        if self.is_message {
            return Err(self.malformed());
        }
        match self.flags & (FLAG_BEFORE | FLAG_AFTER | FLAG_TOKENS) {
            FLAG_BEFORE => Ok(RowBody { before: Some(Image::whole(self.payload)), ..RowBody::default() }),
            FLAG_AFTER => Ok(RowBody { after: Some(Image::whole(self.payload)), ..RowBody::default() }),
            _ => self.split_row(),
        }
    }

    /// Whether it is a row that an initial load took, and no change.
    pub fn is_loaded(&self) -> bool {
        !self.is_message && self.flags & FLAG_LOADED != 0
    }

    fn split_row(&self) -> Result<RowBody<'a>, MalformedRecord> {
        let mut row = RowBody::default();
        let mut rest = self.payload;
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

    #[cold]
    fn ddl(&self) -> Result<Body<'a>, MalformedRecord> {
        let (table, statement) = frame::read_text_pair(self.payload).map_err(|_| self.malformed())?;
        Ok(Body::Ddl { table: TableName::parse(table).map_err(|_| self.malformed())?, statement })
    }

    /// Bytes of its body in the trail.
    pub fn bytes(&self) -> usize {
        self.payload.len()
    }

    /// What is wrong with a record that cannot be read.
    pub fn malformed(&self) -> MalformedRecord {
        MalformedRecord { commit: self.transaction.commit, record: self.number, segment: self.location.segment }
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
