//! How far an initial load has come.

use crate::record::{SourcePosition, TableName};

/// What a trail keeps of the initial load of a table, so that it goes on where it stopped, in the middle of the table too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadProgress {
    /// The table.
    pub table: TableName,
    /// What is left of it to be loaded.
    pub left: LoadLeft,
    /// Rows of it that the trail has.
    pub rows: u64,
    /// The source's coordinate that the rows loaded last are as new as: what is changed behind it is newer.
    pub at: SourcePosition,
}

/// What is left of a table to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadLeft {
    /// The rows behind a place that whoever loads describes in words of his own, such as a key; all rows when it is empty.
    Behind(String),
    /// Nothing: the table has been loaded. Capture says how it ended, and by whose order, in words of its own instead.
    Nothing,
}
