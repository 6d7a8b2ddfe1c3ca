//! Caps of the load generator, `trailcast bench`. Owns the numbers only, as [`crate::limits`] does, whose part it is.

use super::SESSIONS_MAX;

/// Subscribers of one `bench subscribe`: as many sessions as a server takes.
pub const BENCH_SUBSCRIBERS_MAX: usize = SESSIONS_MAX;
/// Connections that `bench publish` and `bench latency` put on at once.
pub const BENCH_CALLERS_MAX: usize = 1_000;
/// Threads that read in `bench subscribe`.
pub const BENCH_THREADS_MAX: usize = 64;
/// Length of one run, in seconds: a day.
pub const BENCH_SECONDS_MAX: u64 = 86_400;
/// Operations in one transaction that `bench` makes.
pub const BENCH_OPERATIONS_MAX: u32 = 10_000;
/// Smallest record that `bench` makes, in bytes: what the default encoding adds to the column that fills it up.
pub const BENCH_RECORD_BYTES_MIN: usize = 200;
/// Largest record that `bench` makes, in bytes.
pub const BENCH_RECORD_BYTES_MAX: usize = 1 << 20;
/// Transactions that one `bench latency` can tell apart; each takes eight bytes.
pub const BENCH_LATENCY_TRANSACTIONS_MAX: u64 = 10_000_000;
/// Records that one subscriber of `bench latency` keeps because they arrived before their commit had returned.
pub const BENCH_EARLY_ARRIVALS_MAX: usize = 1 << 20;
/// Rows that `bench capture` inserts.
pub const BENCH_ROWS_MAX: u64 = 1_000_000_000;
/// Bytes taken from a socket at once in `bench subscribe`: what a core's cache still holds when they are looked at.
pub const BENCH_READ_BYTES: usize = 256 << 10;
/// Largest answer to the handshake of `bench subscribe`, in bytes.
pub const BENCH_HANDSHAKE_BYTES_MAX: usize = 64 << 10;
/// Subscribers that one thread of `bench subscribe` connects at once.
pub const BENCH_CONNECTS_AT_ONCE: usize = 32;
/// Time for the rest of a run's records to arrive when nothing more is sent, in seconds.
pub const BENCH_DRAIN_SECONDS_MAX: u64 = 60;
/// Bytes written and flushed at once beside `bench latency`: one page of the disk.
pub const BENCH_FSYNC_BYTES: usize = 4_096;
