//! What a transaction says of itself, and the operations in it.

use std::fmt;

use crate::record::Timestamp;

/// What a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Operation {
    /// A new row.
    Insert = 1,
    /// A changed row.
    Update = 2,
    /// A removed row.
    Delete = 3,
    /// All rows of a table removed.
    Truncate = 4,
    /// A row inserted, or changed where its key was there.
    Upsert = 5,
    /// A statement that changes a schema.
    Ddl = 6,
}

impl Operation {
    /// Every operation, in the order of the numbers above.
    pub const ALL: [Self; 6] = [Self::Insert, Self::Update, Self::Delete, Self::Truncate, Self::Upsert, Self::Ddl];

    /// `INSERT`, `UPDATE` …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Truncate => "TRUNCATE",
            Self::Upsert => "UPSERT",
            Self::Ddl => "DDL",
        }
    }

    /// The operation of that name, in upper case as the contract has it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.as_str() == name)
    }

    /// The operation of that number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| *operation as u8 == code)
    }
}

/// A coordinate of the source in the source's own words (`0/16B3748`), opaque to the trail.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SourcePosition(pub String);

impl fmt::Display for SourcePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known of a transaction before its first record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransactionHead {
    /// The source's transaction id; never empty in a trail.
    pub xid: String,
    /// The source's commit time.
    pub commit_ts: Timestamp,
    /// Where to resume the source after this transaction; empty for puts.
    pub source: SourcePosition,
}

impl TransactionHead {
    /// The hash that positions carry.
    pub fn xid_hash(&self) -> u32 {
        xid_hash(&self.xid)
    }
}

/// The hash of a transaction id that positions carry: CRC-32C of its bytes.
pub fn xid_hash(xid: &str) -> u32 {
    crc32c::crc32c(xid.as_bytes())
}
