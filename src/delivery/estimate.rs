//! What a contract's next block will take, judged by its last ones: so that memory is charged before it is used.
//!
//! It is a guess, and a block that needs more asks for more while it is made (see `block_maker`).

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::delivery::block::{Block, Piece};
use crate::delivery::counts::Counted;
use crate::limits::EXPECTED_RECORD_BYTES_MAX;

/// Bytes of messages to expect of a hundred bytes of a trail, until it is known better.
const GROWTH_PERCENT_FIRST: usize = 200;

/// What one contract's blocks were like lately; shared by all that make some.
#[derive(Debug)]
pub(super) struct Estimate {
    /// Bytes of messages that a byte of the trail became, in percent, and a little more.
    growth_percent: AtomicUsize,
    /// Bytes of the largest record.
    record_bytes: AtomicUsize,
}

impl Default for Estimate {
    fn default() -> Self {
        Self { growth_percent: GROWTH_PERCENT_FIRST.into(), record_bytes: 0.into() }
    }
}

impl Estimate {
    /// Bytes of messages to expect of so many bytes of the trail.
    pub(super) fn messages(&self, trail_bytes: usize) -> usize {
        trail_bytes.saturating_mul(self.growth_percent.load(Ordering::Relaxed)) / 100
    }

    /// Memory to charge for a block of so many bytes of the trail: no less than the trail's bytes, since what rules leave
    /// out of one stretch they may let through in the next, and one record more, since the last one may lie across the end.
    pub(super) fn memory(&self, trail_bytes: usize) -> usize {
        let messages = self.messages(trail_bytes).max(trail_bytes);
        messages.saturating_add(self.record()) + Self::around(1)
    }

    /// Bytes of the largest record to expect. One that is larger than most comes as a surprise, and may pass what was
    /// charged: to wait for room for another of its kind before every block would cost more.
    pub(super) fn record(&self) -> usize {
        self.record_bytes.load(Ordering::Relaxed).min(EXPECTED_RECORD_BYTES_MAX)
    }

    /// What a block takes beside its bytes, with that many pieces and the records of one table.
    pub(super) fn around(pieces: usize) -> usize {
        size_of::<Block>() + size_of::<Counted>() + pieces * size_of::<Piece>()
    }

    /// So many bytes of the trail became so many of messages. More is believed at once, less only little by little: a
    /// stretch of a few frames that nobody is sent says nothing about the next.
    pub(super) fn learn(&self, trail_bytes: usize, message_bytes: usize, largest_record: usize) {
        let follow = |known: &AtomicUsize, seen: usize| {
            let before = known.load(Ordering::Relaxed);
            // Two blocks that end at once may both say so; either is right enough.
            known.store(seen.max(before - before / 8), Ordering::Relaxed);
        };
        if let Some(percent) = message_bytes.saturating_mul(100).checked_div(trail_bytes) {
            follow(&self.growth_percent, percent.saturating_add(percent / 16 + 1));
        }
        follow(&self.record_bytes, largest_record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_believed_at_once_and_less_little_by_little() {
        let estimate = Estimate::default();
        assert_eq!(estimate.messages(1_000), 2_000);
        estimate.learn(1_000, 5_000, 700);
        assert!((5_000..6_000).contains(&estimate.messages(1_000)));
        assert_eq!(estimate.record(), 700);
        estimate.learn(60, 0, 0);
        assert!(estimate.messages(1_000) > 4_000, "a stretch without a record says nothing of the next");
        assert!(estimate.record() > 600);
        (0..100).for_each(|_| estimate.learn(1_000, 0, 0));
        assert!(estimate.messages(1_000) < 100);
        assert!(estimate.memory(1_000) >= 1_000, "what was left out may be let through again");
    }

    #[test]
    fn a_stretch_that_ends_within_a_record_is_charged_for_all_of_it() {
        let estimate = Estimate::default();
        estimate.learn(10_000, 10_000, 8_000);
        assert!(estimate.memory(50) >= 8_000);
    }

    #[test]
    fn one_huge_record_does_not_make_every_later_block_wait_for_room_for_another() {
        let estimate = Estimate::default();
        estimate.learn(200 << 20, 200 << 20, 200 << 20);
        assert!(estimate.memory(300) < 2 * EXPECTED_RECORD_BYTES_MAX);
    }
}
