//! A record as a pull read gives it: what the trail has of it, as bytes of its own.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::image::Image;
use crate::record::Epoch;
use crate::record::{Offset, Operation, Position, TableName, TableSchema, Timestamp};
use crate::trail::{Body, MalformedRecord, Record, Transaction};

/// A record.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// Its transaction: commit number, commit time, what its source said of it.
    pub transaction: Arc<Transaction>,
    /// Its number within the transaction.
    pub record: u32,
    /// Its partition.
    pub partition: u16,
    /// When the trail took it.
    pub append_ts: Timestamp,
    /// What it holds.
    pub body: PulledBody,
}

/// What a record holds.
#[derive(Debug, Clone)]
pub enum PulledBody {
    /// A message, as it was put.
    Message {
        /// What put it into its partition, if its sender gave a key.
        key: Option<Bytes>,
        /// Its content.
        value: Bytes,
        /// Names and values beside its content, in the order given.
        headers: Vec<(String, Bytes)>,
    },
    /// A row. Its cells are ready-made JSON texts in the order of the schema's columns ([`PulledRow::before`]).
    Row(PulledRow),
    /// A statement.
    Ddl {
        /// The table that it is about.
        table: TableName,
        /// Its text.
        statement: String,
    },
}

/// A change of a row.
#[derive(Debug, Clone)]
pub struct PulledRow {
    /// What was done.
    pub operation: Operation,
    /// The table and its columns.
    pub schema: Arc<TableSchema>,
    /// User tokens: the JSON text of an object; empty where there are none.
    pub tokens: String,
    /// Whether it was there before the changes, and an initial load took it.
    pub is_loaded: bool,
    before: Option<Bytes>,
    after: Option<Bytes>,
}

impl PulledRow {
    /// The row before, if it applies.
    pub fn before(&self) -> Option<Image<'_>> {
        self.before.as_deref().map(Image::whole)
    }

    /// The row after, if it applies.
    pub fn after(&self) -> Option<Image<'_>> {
        self.after.as_deref().map(Image::whole)
    }
}

impl Pulled {
    pub(super) fn of(record: &Record<'_>) -> Result<Self, MalformedRecord> {
        let body = match record.body()? {
            Body::Message(message) => PulledBody::Message {
                key: message.key.map(Bytes::copy_from_slice),
                value: Bytes::copy_from_slice(message.value),
                headers: message
                    .headers
                    .iter()
                    .map(|header| (header.name.to_owned(), Bytes::copy_from_slice(header.value)))
                    .collect(),
            },
            Body::Ddl { table, statement } => PulledBody::Ddl { table, statement: statement.to_owned() },
            Body::Row(row) => {
                let image = |image: Image<'_>| Bytes::copy_from_slice(image.as_bytes());
                // A row without a schema is none that a trail gives.
                let Some(schema) = record.schema.cloned() else { return Err(record.malformed()) };
                PulledBody::Row(PulledRow {
                    operation: record.operation,
                    schema,
                    tokens: row.tokens.to_owned(),
                    is_loaded: record.is_loaded(),
                    before: row.before.map(image),
                    after: row.after.map(image),
                })
            }
        };
        Ok(Self {
            transaction: record.transaction.clone(),
            record: record.number,
            partition: record.partition,
            append_ts: record.append_ts,
            body,
        })
    }

    /// Where it lies: reading on behind it gives the next record.
    pub fn offset(&self) -> Offset {
        Offset { commit: self.transaction.commit, record: self.record }
    }

    /// The same as a position in a trail of that epoch.
    pub fn position(&self, epoch: Epoch) -> Position {
        let (commit, xid_hash) = (self.transaction.commit, self.transaction.xid_hash);
        Position { epoch, commit, record: self.record, xid_hash }
    }

    /// When its transaction was committed, by the source's clock.
    pub fn commit_ts(&self) -> Timestamp {
        self.transaction.head.commit_ts
    }
}
