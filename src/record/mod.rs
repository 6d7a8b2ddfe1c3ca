//! Plain values that every floor above speaks of: names, times, positions, operations, schemas of tables, messages.
//!
//! Owns meaning and validity, with no IO and no async. How a value looks in bytes or JSON is `codec`'s business.

mod group_name;
mod load;
mod message;
mod name;
mod offset;
mod position;
mod prepared;
mod schema;
mod source_identity;
mod time;
mod transaction;

pub use group_name::{GroupName, MemberName};
pub use load::{LoadLeft, LoadProgress};
pub use message::{Message, MessageHeader, messages_schema};
pub use name::{InvalidName, NamePart, ResourceName, TableName, TrailName};
pub use offset::{ALL_RECORDS, Offset};
pub use position::{BEHIND_RECORD, Epoch, Position, RecordNumber};
pub use prepared::PreparedTransaction;
pub use schema::{Column, JsonKind, SchemaId, TableSchema};
pub use source_identity::{SourceIdentity, SourceParts};
pub use time::{InvalidTimestamp, Timestamp};
pub use transaction::{Operation, SourcePosition, TransactionHead, xid_hash};
