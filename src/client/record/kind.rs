//! The kinds of records that a client tells apart.

/// What kind of record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// It describes the records of a kind that come after it.
    Schema,
    /// It describes the stream.
    StreamMetadata,
    /// It describes a table.
    ObjectMetadata,
    /// It only tells a position.
    Heartbeat,
    /// It says that everything was sent.
    CaughtUp,
    /// It says that the server stops, and when to come back.
    Drain,
    /// A statement.
    Ddl,
    /// A change of a row, or the emptying of a table.
    Row,
}
