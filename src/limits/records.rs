//! Caps of pull reads and of polls of a stream. Owns the numbers only, as [`crate::limits`] does, whose part it is.

/// Records of one pull read: what the largest of the protocols that ask for them takes (Kinesis: 10,000).
pub const RECORDS_MAX: usize = 10_000;
/// Bytes of keys, values and rows of one pull read; a record that is larger comes alone. Kinesis gives no more either.
pub const RECORDS_BYTES_MAX: usize = 10 << 20;
/// Bytes of the trail that one pull read looks through before it answers with what it has: a reader of one of many partitions
/// must not keep a client waiting for minutes, nor hold a task for as long.
pub const RECORDS_LOOKED_THROUGH_BYTES_MAX: u64 = 64 << 20;
/// Bytes of the trail, in memory, that a pull read looks through before it lets others run.
pub const RECORDS_TURN_BYTES: u64 = 1 << 20;
/// Longest wait of one pull read or poll for the next record, in seconds: proxies commonly give up after a minute.
pub const RECORDS_WAIT_SECONDS_MAX: u64 = 50;
/// Pull reads that wait at once, over all trails; each holds a reader, and a connection of its client.
pub const RECORDS_WAITING_MAX: usize = 10_000;
/// Readers of one trail kept where pull reads ended, so that the next one need not look for its place: one for each of the
/// partitions of a usual trail, twice.
pub const RECORDS_READERS_KEPT: usize = 32;

/// Records of one poll of a stream.
pub const POLL_RECORDS_MAX: usize = RECORDS_MAX;
/// Records of one poll unless it asks for another number.
pub const POLL_RECORDS_DEFAULT: usize = 1_000;
/// Bytes of one poll's answer, as a message of a stream; a record that is larger comes alone.
pub const POLL_BYTES_MAX: usize = super::MESSAGE_BYTES_MAX;
/// Time for which a poll looks for a record that its stream's rules let through before it answers without, in seconds. It goes
/// on beyond it only where it stands inside a transaction: no position could say where the next poll goes on.
pub const POLL_LOOK_SECONDS_MAX: u64 = 10;

/// Shortest time between two records that say that a session has caught up, in milliseconds: on a busy trail it catches up with
/// every transaction.
pub const CAUGHT_UP_MILLIS_MIN: u64 = 1_000;
/// Least time after which clients are told to come back when the server stops, in milliseconds: it needs one to start again.
pub const DRAIN_MILLIS_MIN: u64 = 1_000;
/// Most, in milliseconds: no client is to be away for longer than a minute.
pub const DRAIN_MILLIS_MAX: u64 = 60_000;
/// Time over which clients come back for each session that ends, in milliseconds: 500 of them in a second, each with a log-in.
pub const DRAIN_MILLIS_PER_SESSION: u64 = 2;
/// Least time over which they come back, in milliseconds.
pub const DRAIN_SPREAD_MILLIS_MIN: u64 = 1_000;
