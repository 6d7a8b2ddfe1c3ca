//! What rules are asked about: a record's header, and its body where the header does not decide.

use crate::codec::image::Image;
use crate::record::{Operation, TableName, TableSchema};

/// Where a record is in a trail with partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InPartition {
    /// In that one.
    One(u16),
    /// A statement and a TRUNCATE are about a table, whose rows may be in any. As with values that are not known, a rule that
    /// includes partitions includes them, and one that excludes some does not exclude them.
    Any,
}

/// What stands in a record's header.
#[derive(Debug, Clone, Copy)]
pub struct RecordHeader<'a> {
    /// The table; a statement need not name one.
    pub table: Option<&'a TableName>,
    /// The operation.
    pub operation: Operation,
    /// Its partition, where the trail has partitions.
    pub partition: Option<InPartition>,
}

/// What stands in a record's body.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordBody<'a> {
    /// The table's schema.
    pub schema: Option<&'a TableSchema>,
    /// The row before.
    pub before: Option<Image<'a>>,
    /// The row after.
    pub after: Option<Image<'a>>,
    /// User tokens: the JSON text of an object.
    pub tokens: Option<&'a str>,
}
