//! Transactions of a source that are prepared (two-phase commit): neither committed nor taken back.

use crate::record::{SourcePosition, Timestamp};

/// What a source's progress must remember of a prepared transaction: a trail has its rows only once it is committed, which
/// may be much later in the source's log. Reading that log goes on no later than where the oldest of them begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedTransaction {
    /// Its global id, as the source says it.
    pub xid: String,
    /// The source's coordinate where its rows begin.
    pub begins_at: SourcePosition,
    /// The source's coordinate after its being prepared.
    pub prepared_at: SourcePosition,
    /// When it was prepared.
    pub prepared_ts: Timestamp,
    /// A hash of its content, by which it is known again when the log is read once more.
    pub hash: u32,
}
