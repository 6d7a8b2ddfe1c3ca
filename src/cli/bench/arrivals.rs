//! When which record arrived, against when its commit had returned.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use memchr::memmem::Finder;

use super::histogram::Histogram;
use super::load::FIRST_ID;
use crate::limits;

const MARKER: &[u8] = b"\"id\":";

/// When each transaction's commit returned; rows have one each, ids without gaps from `FIRST_ID`.
#[derive(Debug)]
pub(super) struct Commits {
    start: Instant,
    /// Nanoseconds after the start; 0 for one that has not returned.
    returned: Vec<AtomicU64>,
}

impl Commits {
    /// Room for so many transactions.
    pub(super) fn new(transactions: u64) -> Arc<Self> {
        let returned = (0..transactions).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { start: Instant::now(), returned })
    }

    fn nanos(&self, moment: Instant) -> u64 {
        u64::try_from(moment.duration_since(self.start).as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// Of the row with that id.
    fn slot(&self, id: u64) -> Option<&AtomicU64> {
        self.returned.get(usize::try_from(id.checked_sub(FIRST_ID)?).ok()?)
    }

    /// The commit of that transaction, from 1, has just returned.
    pub(super) fn returned(&self, number: u64) {
        if let Some(slot) = self.slot(FIRST_ID + number - 1) {
            slot.store(self.nanos(Instant::now()), Ordering::Release);
        }
    }
}

/// What one subscriber saw.
#[derive(Debug)]
pub(super) struct Arrivals {
    commits: Arc<Commits>,
    message: Vec<u8>,
    finder: Finder<'static>,
    /// Arrived before the commit had returned: transaction and moment.
    early: Vec<(u64, u64)>,
    latency: Histogram,
    before: u64,
}

impl Arrivals {
    pub(super) fn new(commits: Arc<Commits>) -> Self {
        let (finder, latency) = (Finder::new(MARKER), Histogram::default());
        Self { commits, message: Vec::new(), finder, early: Vec::new(), latency, before: 0 }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        if self.message.len() + bytes.len() <= limits::CLIENT_STREAM_MESSAGE_BYTES_MAX {
            self.message.extend_from_slice(bytes);
        }
    }

    /// Notes the records of a whole message and says how many there were.
    pub(super) fn message(&mut self, read_at: Instant) -> u64 {
        let at = self.commits.nanos(read_at);
        let mut count = 0;
        for marker in self.finder.find_iter(&self.message) {
            // In schemas and metadata no number follows.
            let digits = self.message[marker + MARKER.len()..].iter().take_while(|byte| byte.is_ascii_digit());
            let id = digits.fold(0_u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
            let Some(slot) = self.commits.slot(id) else { continue };
            count += 1;
            match slot.load(Ordering::Acquire) {
                0 if self.early.len() < limits::BENCH_EARLY_ARRIVALS_MAX => self.early.push((id, at)),
                0 => {}
                returned => self.latency.add(at.saturating_sub(returned)),
            }
        }
        self.message.clear();
        count
    }

    /// The latencies, and how many records were there before their commit had returned (counted as 0).
    pub(super) fn finish(mut self) -> (Histogram, u64) {
        for (id, at) in self.early {
            match self.commits.slot(id).map_or(0, |slot| slot.load(Ordering::Acquire)) {
                0 => {}
                returned => {
                    self.before += u64::from(at < returned);
                    self.latency.add(at.saturating_sub(returned));
                }
            }
        }
        (self.latency, self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_record_counts_from_its_commit_and_an_early_one_as_nothing() {
        let commits = Commits::new(10);
        let mut arrivals = Arrivals::new(commits.clone());
        let start = Instant::now();
        arrivals.take(br#"[{"after":{"id":1000000001,"#);
        arrivals.take(br#""x":1}},{"columns":{"id":{}}},{"after":{"id":1000000010}},{"after":{"id":3}},{"id":"x"}]"#);
        assert_eq!(arrivals.message(start), 1);
        commits.returned(2);
        commits.returned(3);
        arrivals.take(br#"[{"after":{"id":1000000002}}]"#);
        assert_eq!(arrivals.message(Instant::now() + Duration::from_millis(5)), 1);
        let (latency, before) = arrivals.finish();
        assert_eq!((latency.seen(), before), (2, 1));
        assert!((5_000.0..6_000.0).contains(&latency.quantile_micros(1.0)), "{latency:?}");
        assert!(latency.quantile_micros(0.5) < 1_000.0);
    }
}
