//! Transactions that a source sends in pieces before they end, kept until it is known how they end.
//!
//! Owns their changes, in memory and within one cap for all of them; leaves what becomes of them to `intake`. Nothing of them is
//! in the trail before they are committed: a source has to send them from their beginning again after each session's end.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::CaptureError;
use super::overlap::ContentHash;
use crate::record::{Operation, TableName, TableSchema};

/// One change of such a transaction.
#[derive(Debug)]
pub(super) enum HeldChange {
    Row(HeldRow),
    /// A statement that changes a table.
    Ddl {
        table: TableName,
        statement: String,
    },
}

/// A row of such a transaction.
#[derive(Debug)]
pub(super) struct HeldRow {
    /// The one that it was read by: by the time it is appended the trail may have another one in force.
    pub(super) schema: Arc<TableSchema>,
    pub(super) operation: Operation,
    /// It has a before image.
    pub(super) before: bool,
    /// It has an after image.
    pub(super) after: bool,
    /// Both, the before image first.
    pub(super) images: Vec<u8>,
}

/// One such transaction.
#[derive(Debug, Default)]
pub(super) struct HeldTransaction {
    pub(super) changes: Vec<HeldChange>,
    /// Of what the source sent of it, if anything came.
    pub(super) content: Option<ContentHash>,
    bytes: usize,
}

/// Every such transaction, by the source's id.
#[derive(Debug)]
pub(super) struct Held {
    transactions: HashMap<String, HeldTransaction>,
    bytes: usize,
    bytes_max: usize,
}

impl Held {
    /// None, with that cap.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { transactions: HashMap::new(), bytes: 0, bytes_max }
    }

    /// The one of that id, which may begin here.
    pub(super) fn of(&mut self, xid: &str) -> &mut HeldTransaction {
        self.transactions.entry(xid.to_owned()).or_default()
    }

    /// Keeps one more row of a transaction.
    pub(super) fn row(&mut self, xid: &str, row: HeldRow) -> Result<(), CaptureError> {
        let bytes = row.images.len();
        self.keep(xid, HeldChange::Row(row), bytes)
    }

    /// Keeps one more statement of a transaction.
    pub(super) fn ddl(&mut self, xid: &str, table: &TableName, statement: &str) -> Result<(), CaptureError> {
        let change = HeldChange::Ddl { table: table.clone(), statement: statement.to_owned() };
        self.keep(xid, change, statement.len())
    }

    fn keep(&mut self, xid: &str, change: HeldChange, bytes: usize) -> Result<(), CaptureError> {
        let bytes = bytes + size_of::<HeldChange>();
        self.bytes += bytes;
        if self.bytes > self.bytes_max {
            return Err(CaptureError::HeldTooMuch { bytes: self.bytes, max: self.bytes_max });
        }
        let transaction = self.of(xid);
        transaction.changes.push(change);
        transaction.bytes += bytes;
        Ok(())
    }

    /// Takes out the one of that id, which has ended; one that nothing came of is empty.
    pub(super) fn take(&mut self, xid: &str) -> HeldTransaction {
        let transaction = self.transactions.remove(xid).unwrap_or_default();
        self.bytes -= transaction.bytes;
        transaction
    }
}
