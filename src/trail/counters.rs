//! What a trail has done since it was opened: counted where it happens, read by whoever shows figures.
//!
//! Atomics only: nobody who looks makes the writer wait. Figures start at 0 when the trail is opened.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::record::Timestamp;

/// Upper bounds of the flush histogram's buckets, in seconds. A disk that answers from a cache with a battery stands in
/// the first, one that is overloaded in the last.
pub const FLUSH_SECONDS_BUCKETS: [f64; 13] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Which rule took a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionRule {
    /// It was closed too long ago.
    Age,
    /// The trail was larger than it may be.
    Size,
    /// All trails together took more than their share of the disk.
    Disk,
}

impl RetentionRule {
    /// Every rule.
    pub const ALL: [Self; 3] = [Self::Age, Self::Size, Self::Disk];

    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Size => "size",
            Self::Disk => "disk",
        }
    }
}

/// The counters; see [`TrailCounters`] for what they say.
#[derive(Debug, Default)]
pub(super) struct Counters {
    written_bytes: AtomicU64,
    transactions: AtomicU64,
    records: AtomicU64,
    flush_nanos: AtomicU64,
    flushes: [AtomicU64; FLUSH_SECONDS_BUCKETS.len() + 1],
    pending_bytes: AtomicU64,
    /// Microseconds since 1970; 0 when nothing is pending.
    pending_since: AtomicI64,
    /// Microseconds since 1970; 0 before the first write.
    last_write: AtomicI64,
    removed: [(AtomicU64, AtomicU64); RetentionRule::ALL.len()],
}

/// What a trail has done since it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailCounters {
    /// Bytes written, also of what was taken back.
    pub written_bytes: u64,
    /// Transactions appended.
    pub transactions: u64,
    /// Their records.
    pub records: u64,
    /// Flushes, by the bucket of [`FLUSH_SECONDS_BUCKETS`] that each fell in; the last count is of those beyond.
    pub flushes: [u64; FLUSH_SECONDS_BUCKETS.len() + 1],
    /// Time that the flushes took together, in nanoseconds.
    pub flush_nanos: u64,
    /// Bytes given to the trail and not flushed yet.
    pub pending_bytes: u64,
    /// Since when some have been waiting; none when nothing does.
    pub pending_since: Option<Timestamp>,
    /// When bytes were last written, if any were.
    pub last_write: Option<Timestamp>,
    /// Segments and bytes that each of [`RetentionRule::ALL`] has removed.
    pub removed: [(u64, u64); RetentionRule::ALL.len()],
}

impl TrailCounters {
    /// For how many seconds bytes have been waiting while nothing was written: a disk that does not answer.
    pub fn stalled_seconds(&self, now: Timestamp) -> u64 {
        let Some(since) = self.pending_since else { return 0 };
        let since = self.last_write.map_or(since, |written| written.max(since));
        u64::try_from(now.micros().saturating_sub(since.micros()) / 1_000_000).unwrap_or(0)
    }
}

impl Counters {
    /// Bytes wait to be flushed.
    pub(super) fn handed_over(&self, bytes: usize, now: Timestamp) {
        self.pending_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let _ = self.pending_since.compare_exchange(0, now.micros(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Bytes wait no more: flushed or taken back. `since` is when the oldest of what may still wait was given.
    pub(super) fn settled(&self, bytes: u64, since: Timestamp) {
        let before = self.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.pending_since.store(if before > bytes { since.micros() } else { 0 }, Ordering::Relaxed);
    }

    /// Nothing waits: the writer has ended.
    pub(super) fn nothing_pending(&self) {
        self.pending_bytes.store(0, Ordering::Relaxed);
        self.pending_since.store(0, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self, bytes: usize, now: Timestamp) {
        self.last_write.store(now.micros(), Ordering::Relaxed);
        self.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn committed(&self, records: u32) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.records.fetch_add(u64::from(records), Ordering::Relaxed);
    }

    pub(super) fn flushed(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = FLUSH_SECONDS_BUCKETS.iter().position(|bound| seconds <= *bound);
        self.flushes[bucket.unwrap_or(FLUSH_SECONDS_BUCKETS.len())].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.flush_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn removed(&self, rule: RetentionRule, bytes: u64) {
        let (segments, all_bytes) = &self.removed[rule as usize];
        segments.fetch_add(1, Ordering::Relaxed);
        all_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> TrailCounters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let time = |counter: &AtomicI64| {
            let micros = counter.load(Ordering::Relaxed);
            (micros != 0).then(|| Timestamp::from_micros(micros))
        };
        TrailCounters {
            written_bytes: load(&self.written_bytes),
            transactions: load(&self.transactions),
            records: load(&self.records),
            flushes: std::array::from_fn(|bucket| load(&self.flushes[bucket])),
            flush_nanos: load(&self.flush_nanos),
            pending_bytes: load(&self.pending_bytes),
            pending_since: time(&self.pending_since),
            last_write: time(&self.last_write),
            removed: std::array::from_fn(|rule| (load(&self.removed[rule].0), load(&self.removed[rule].1))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_counted_in_the_first_bucket_that_holds_it() {
        let work = Counters::default();
        for micros in [1, 500, 501, 5_000_000, 5_000_001] {
            work.flushed(Duration::from_micros(micros));
        }
        let seen = work.snapshot();
        assert_eq!(seen.flushes, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(seen.flush_nanos, 10_001_003_000);
    }

    #[test]
    fn what_waits_for_a_flush_has_an_age_until_nothing_waits() {
        let at = Timestamp::from_micros;
        let work = Counters::default();
        assert_eq!(work.snapshot().pending_since, None);
        work.handed_over(10, at(5));
        work.handed_over(7, at(6));
        assert_eq!((work.snapshot().pending_bytes, work.snapshot().pending_since), (17, Some(at(5))));
        work.settled(10, at(6));
        assert_eq!((work.snapshot().pending_bytes, work.snapshot().pending_since), (7, Some(at(6))));
        assert_eq!(work.snapshot().stalled_seconds(at(40_000_006)), 40);
        work.wrote(1, at(39_000_000));
        assert_eq!(work.snapshot().stalled_seconds(at(40_000_006)), 1);
        work.settled(7, at(9));
        assert_eq!((work.snapshot().pending_bytes, work.snapshot().pending_since), (0, None));
    }
}
