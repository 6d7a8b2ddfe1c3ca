//! Caps of initial loads. Owns the numbers only, as [`crate::limits`] does, whose part it is.

/// Rows of one chunk that is read of a table, at first: the first ones are to be seen at once.
pub const LOAD_CHUNK_ROWS_FIRST: u64 = 1_000;
/// Fewest rows of a later one.
pub const LOAD_CHUNK_ROWS_MIN: u64 = 100;
/// Most rows of one chunk: the source keeps what its snapshot may see until it is read.
pub const LOAD_CHUNK_ROWS_MAX: u64 = 100_000;
/// Time that a chunk is to take, in milliseconds; its rows follow that.
pub const LOAD_CHUNK_MILLIS: u64 = 200;
/// Bytes of rows that are appended as one transaction, between two of the stream's.
pub const LOAD_PIECE_BYTES: usize = 256 << 10;
/// Such pieces that wait to be appended; beyond it the source waits. As many as the source sends in the time that a chunk's first
/// one may wait for the stream.
pub const LOAD_PIECES_QUEUED_MAX: usize = 32;
/// Bytes of rows in them; a piece that is larger waits until the others are gone.
pub const LOAD_QUEUED_BYTES_MAX: usize = 8 << 20;
/// Longest row that a load takes from the source, in bytes, as the source sends it: what the trail takes of it is shorter.
pub const LOAD_ROW_BYTES_MAX: usize = 2 * super::FRAME_BYTES_MAX;
/// What a load leaves in the queue of the trail's writer, in chunks: what the stream brings stands behind it, and fewer make flushes
/// so small that the disk and not the source says how fast a load is.
pub const LOAD_QUEUE_CHUNKS_MAX: usize = 8;
/// What is remembered of the stream's transactions that chunks may not show yet, in bytes; beyond it the load of a table waits until
/// they have ended.
pub const LOAD_WINDOW_BYTES_MAX: usize = 16 << 20;
/// Keys of rows of one table that have to be read again, in bytes; beyond it the table is loaded from its beginning.
pub const LOAD_AGAIN_BYTES_MAX: usize = 1 << 20;
/// Rows that are read again at once.
pub const LOAD_AGAIN_ROWS: usize = 500;
/// Chunks a second, at least, in which a load comes that is held to a rate: fewer would be bursts that the source's writers feel.
pub const LOAD_CHUNKS_AT_RATE: u64 = 10;
/// Rows a second that a load may be held to.
pub const LOAD_RATE_MAX: u64 = 10_000_000;
/// Time that a table's lock is waited for by a chunk, in milliseconds: whoever alters the table goes first.
pub const LOAD_LOCK_MILLIS: u64 = 5_000;
/// Time that the condition of a load may take in one chunk, in seconds.
pub const LOAD_WHERE_SECONDS_MAX: u64 = 60;
/// Longest condition of a load, in bytes.
pub const LOAD_WHERE_BYTES_MAX: usize = 4_096;
/// Time after which a source that is idle is made to write to its log what a chunk waits for, in milliseconds.
pub const LOAD_NUDGE_MILLIS: u64 = 20;
/// Time between two such.
pub const LOAD_NUDGE_AGAIN_MILLIS: u64 = 1_000;
/// Time for which a chunk's transaction is kept open while the stream does not come up with it, in seconds; then the rest of it is
/// read later, by another one.
pub const LOAD_HELD_SECONDS_MAX: u64 = 30;
/// Time from which on it is said that rows which were read wait for the stream, in seconds.
pub const LOAD_BEHIND_SECONDS: u64 = 5;
/// Time between two looks at transactions that a load waits for, in milliseconds.
pub const LOAD_LOOK_MILLIS: u64 = 250;
/// Time before what a load could not read is tried again, in milliseconds; it doubles up to [`SOURCE_BACKOFF_MILLIS_MAX`](super::SOURCE_BACKOFF_MILLIS_MAX).
pub const LOAD_RETRY_MILLIS: u64 = 250;
/// Times in a row that a table is tried before the next one has its turn.
pub const LOAD_FAILURES_IN_TURN: u32 = 5;
/// Times in a row that a table which changes while it is read is planned anew, before it counts as failed.
pub const LOAD_PLANS_MAX: u32 = 100;
/// Time for which a table that is to be loaded may be missing, or not published, in seconds: one that is made again is published
/// at the next look.
pub const LOAD_MISSING_SECONDS_MAX: u64 = 30;
/// Times that the load of a table begins again before it counts as failed.
pub const LOAD_RESTARTS_MAX: u64 = 20;
/// Tables of one extract that loads may be asked for.
pub const LOAD_TABLES_MAX: usize = 10_000;
/// Time over which a load's rate is taken, in seconds.
pub const LOAD_RATE_SECONDS: u64 = 5;
