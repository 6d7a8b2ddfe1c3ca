//! Caps of the command line and of what it asks servers with. Owns the numbers only, as [`crate::limits`] does, whose part it is.

use super::{FRAME_BYTES_MAX, PUT_BODY_BYTES_MAX};

/// Time for a server to accept a connection and to shake hands, in seconds.
pub const CLIENT_CONNECT_SECONDS_MAX: u64 = 15;
/// Time for a server to answer a request of the client, in seconds; a put of many transactions is flushed before.
pub const CLIENT_ANSWER_SECONDS_MAX: u64 = 120;
/// Largest file of `--ca`, in bytes: twenty times what an operating system trusts.
pub const CLIENT_CA_BYTES_MAX: u64 = 4 << 20;
/// Largest answer that the client reads, in bytes.
pub const CLIENT_ANSWER_BYTES_MAX: usize = 16 << 20;
/// Largest message of a stream that the client reads, in bytes: what can become of a record of the longest frame. As strings its
/// values take at most twice as much, and names of columns stand in the message and not in the frame.
pub const CLIENT_STREAM_MESSAGE_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX + (64 << 20);
/// Pings of the server, as far apart as it says, that the client misses before it takes the connection of a stream for dead.
pub const CLIENT_SILENCE_PINGS: u64 = 3;
/// What the client adds to that silence, in seconds, for a slow line.
pub const CLIENT_SILENCE_GRACE_SECONDS: u64 = 5;
/// Longest position that the client takes for one, in characters: the longest that a server may give out.
pub const CLIENT_POSITION_CHARS_MAX: usize = 64;
/// First wait before the client connects again, in milliseconds; it doubles up to [`CLIENT_BACKOFF_MILLIS_MAX`].
pub const CLIENT_BACKOFF_MILLIS_MIN: u64 = 250;
/// See [`CLIENT_BACKOFF_MILLIS_MIN`].
pub const CLIENT_BACKOFF_MILLIS_MAX: u64 = 10_000;
/// Bytes of whole lines that `put` sends in one request, unless one line alone is longer.
pub const PUT_CHUNK_BYTES: usize = 8 << 20;
/// Longest line that `put` sends, in bytes: with the lines before it in one request still a body that servers take.
pub const PUT_LINE_BYTES_MAX: usize = PUT_BODY_BYTES_MAX - PUT_CHUNK_BYTES;
/// Characters of one value in a readable line of `tail`.
pub const TAIL_VALUE_CHARS_MAX: usize = 60;
/// Tables whose key `tail` remembers.
pub const TAIL_TABLES_MAX: usize = 20_000;
/// Milliseconds between two looks at a load that is watched.
pub const LOAD_WATCH_MILLIS: u64 = 1_000;
/// Time for an extract to begin a load that was just asked for, in seconds, before whoever watches it is told that nothing changes.
pub const LOAD_BEGIN_SECONDS_MAX: u64 = 15;
/// Tables of a load that have a bar of their own; the others are counted.
pub const LOAD_BARS_MAX: usize = 20;
/// Largest configuration file, in bytes.
pub const CONFIG_FILE_BYTES_MAX: u64 = 4 << 20;
/// Largest number that the configuration may give for connections and sessions.
pub const CONFIGURED_COUNT_MAX: u64 = 1_000_000;
/// Longest deadline that the configuration may give, in seconds: a day.
pub const CONFIGURED_SECONDS_MAX: u64 = 86_400;
/// Transactions a second that the demo writes at most.
pub const DEMO_RATE_MAX: u32 = 10_000;
/// Lines on standard input that wait for the demo; whoever writes more waits.
pub const DEMO_LINES_WAITING_MAX: usize = 1;
