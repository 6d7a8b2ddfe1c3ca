//! When a peer that takes our output takes too little of it.

use tokio::time::{Duration, Instant};

/// Measures how long output was pending while too little was taken. Idle time does not count, so that many small
/// messages taken at once never add up, and one taken each minute does.
#[derive(Debug, Default)]
pub(super) struct Slowness {
    pending_before: Duration,
    pending_since: Option<Instant>,
    taken: u64,
}

impl Slowness {
    /// Output waits.
    pub(super) fn pending(&mut self) {
        self.pending_since.get_or_insert_with(Instant::now);
    }

    /// The peer took output; `bytes_min` taken start the measure anew.
    pub(super) fn took(&mut self, bytes: u64, still_pending: bool, bytes_min: u64) {
        let now = Instant::now();
        self.taken += bytes;
        if let Some(since) = self.pending_since.take() {
            self.pending_before += now - since;
        }
        if self.taken >= bytes_min {
            *self = Self::default();
        }
        self.pending_since = still_pending.then_some(now);
    }

    /// When the peer has been too slow, while output waits.
    pub(super) fn deadline(&self, limit: Duration) -> Option<Instant> {
        self.pending_since.map(|since| since + limit.saturating_sub(self.pending_before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn small_messages_taken_slowly_add_up_to_slow_but_idle_time_does_not() {
        let mut slowness = Slowness::default();
        let limit = Duration::from_secs(300);
        for _ in 0..100 {
            slowness.pending();
            slowness.took(10, false, 65_536);
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        assert_eq!(slowness.deadline(limit), None);
        slowness.pending();
        assert_eq!(slowness.deadline(limit), Some(Instant::now() + limit));
        tokio::time::advance(Duration::from_secs(200)).await;
        slowness.took(10, false, 65_536);
        slowness.pending();
        assert_eq!(slowness.deadline(limit), Some(Instant::now() + Duration::from_secs(100)));
        slowness.took(70_000, true, 65_536);
        assert_eq!(slowness.deadline(limit), Some(Instant::now() + limit));
    }
}
