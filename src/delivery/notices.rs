//! What a session says of itself beside records, where its client wants to hear it: that it has everything, and that the server
//! goes away.
//!
//! Owns when a session says that it has caught up; how that looks is `announcements`'s.

use std::time::Duration;

use tokio::time::Instant;

use crate::catalog::stream::StreamConfig;
use crate::limits::{
    CAUGHT_UP_MILLIS_MIN, DRAIN_MILLIS_MAX, DRAIN_MILLIS_MIN, DRAIN_MILLIS_PER_SESSION, DRAIN_SPREAD_MILLIS_MIN,
};

/// What a session is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notices {
    /// That it has caught up with the trail.
    pub caught_up: bool,
    /// When to come back, where the server stops.
    pub drain: bool,
    /// Which of the sessions on one connection says it, from 1; 0 where there is only one. Its positions of no record carry the
    /// number, so that a client that acknowledges one says of which session.
    pub session: u32,
}

impl Notices {
    /// All of them, of a session that follows others on its connection.
    pub fn all(session: u32) -> Self {
        Self { caught_up: true, drain: true, session }
    }

    /// What the stream's configuration says.
    pub fn configured(config: &StreamConfig) -> Self {
        Self { caught_up: config.caught_up, drain: config.drain, session: 0 }
    }
}

/// When a session says that it has caught up: when it first has everything, and then each time that it has everything again
/// after something was sent, but not more often than once in [`CAUGHT_UP_MILLIS_MIN`]. A client that keeps up with a busy trail
/// hears it about once a second; one to which nothing is sent hears it once.
#[derive(Debug, Default)]
pub(super) struct CaughtUp {
    said: Option<Instant>,
    /// Whether anything was sent since it was said.
    sent_since: bool,
}

impl CaughtUp {
    /// Something was sent.
    pub(super) fn sent(&mut self) {
        self.sent_since = true;
    }

    /// From when on it is to be said, should the session have everything until then; none where it has been said.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.said {
            None => Some(Instant::now()),
            Some(said) => self.sent_since.then(|| said + Duration::from_millis(CAUGHT_UP_MILLIS_MIN)),
        }
    }

    /// It is being said.
    pub(super) fn say(&mut self) {
        (self.said, self.sent_since) = (Some(Instant::now()), false);
    }
}

/// After how many milliseconds the client of session `number` is to connect again, when that many sessions end together: they come back
/// evenly spread over a time that grows with how many they are.
pub fn come_back_millis(number: u64, sessions: usize) -> u64 {
    let together = u64::try_from(sessions).unwrap_or(u64::MAX).saturating_mul(DRAIN_MILLIS_PER_SESSION);
    let spread = together.clamp(DRAIN_SPREAD_MILLIS_MIN, DRAIN_MILLIS_MAX - DRAIN_MILLIS_MIN);
    // The fraction of a number's multiple of the golden ratio: numbers next to each other lie far apart, and all of them evenly.
    let place = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    DRAIN_MILLIS_MIN + ((place * spread) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_back_evenly_spread_over_a_time_that_grows_with_their_number() {
        for (sessions, seconds) in [(1_u64, 2), (100, 2), (5_000, 11), (20_000, 41), (1_000_000, 60)] {
            let spread = seconds - 1;
            let mut in_second = vec![0_u64; usize::try_from(spread).unwrap()];
            for number in 7..7 + sessions {
                let millis = come_back_millis(number, usize::try_from(sessions).unwrap());
                assert!((DRAIN_MILLIS_MIN..=seconds * 1_000).contains(&millis), "{sessions}: {millis}");
                in_second[usize::try_from(millis / 1_000 - 1).unwrap()] += 1;
            }
            let most = in_second.iter().max().unwrap();
            assert!(*most <= sessions / spread * 11 / 10 + 3, "{sessions}: {in_second:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn that_all_is_there_is_said_at_first_and_after_something_was_sent_and_not_in_a_flood() {
        let mut caught_up = CaughtUp::default();
        assert!(caught_up.due().is_some());
        caught_up.say();
        assert_eq!(caught_up.due(), None, "nothing was sent since");
        tokio::time::advance(Duration::from_millis(CAUGHT_UP_MILLIS_MIN / 2)).await;
        caught_up.sent();
        let due = caught_up.due().unwrap();
        assert_eq!(due - Instant::now(), Duration::from_millis(CAUGHT_UP_MILLIS_MIN / 2));
        caught_up.say();
        assert_eq!(caught_up.due(), None);
    }
}
