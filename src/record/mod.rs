//! Plain values that every floor above speaks of: names, times, positions, operations, shapes of tables.
//!
//! Owns meaning and validity, with no IO and no async. How a value looks in bytes or JSON is `codec`'s business.

mod name;
mod position;
mod schema;
mod source_identity;
mod time;
mod transaction;

pub use name::{InvalidName, NamePart, ResourceName, TableName, TrailName};
pub use position::{BEHIND_RECORD, Epoch, Position, RecordNumber};
pub use schema::{Column, JsonKind, SchemaId, TableSchema};
pub use source_identity::{SourceIdentity, SourceParts};
pub use time::{InvalidTimestamp, Timestamp};
pub use transaction::{Operation, SourcePosition, TransactionHead, xid_hash};
