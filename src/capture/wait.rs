//! What a source waits for, in words that people are shown.

use serde::Serialize;

/// What the source waits for before changes can flow.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Wait {
    /// In words.
    pub what: String,
    /// For how many seconds it has waited.
    pub seconds: u64,
    /// The server's process that holds it up, if it is one.
    pub pid: Option<u32>,
    /// For how many seconds that one's transaction has been open, if the source lets us know.
    pub transaction_seconds: Option<u64>,
}
