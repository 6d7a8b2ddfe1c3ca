//! How eagerly a stream reads and asks for flushes: at once while it keeps up, in larger portions while it is far behind.
//!
//! A source may send each row, each begin and each commit by itself, and waking for each costs more than the row does; so do
//! flushes. Who waits for a row that is old already does not notice a millisecond more. Owns the decisions, and no clock.

use tokio::time::{Duration, Instant};

use crate::limits;

const BEHIND: i64 = (limits::SOURCE_BEHIND_MILLIS_MIN * 1_000).cast_signed();
const FLUSH_EVERY: Duration = Duration::from_millis(limits::SOURCE_BEHIND_FLUSH_MILLIS);
const REST: Duration = Duration::from_millis(limits::SOURCE_REST_MILLIS);

/// Whether a stream is far behind, and since when the trail has been waiting.
#[derive(Debug)]
pub(super) struct CatchUp {
    /// The last row sent was committed a good while before it was sent.
    behind: bool,
    handed_over: Instant,
}

impl CatchUp {
    /// A stream that keeps up and has just given everything to the trail.
    pub(super) fn new(now: Instant) -> Self {
        Self { behind: false, handed_over: now }
    }

    /// The source sent something that it had committed so many microseconds before, by its own clock.
    pub(super) fn sent_after(&mut self, micros: i64) {
        self.behind = micros >= BEHIND;
    }

    /// The source sent something of a transaction that has not ended: nobody waits for it.
    pub(super) fn sent_early(&mut self) {
        self.behind = true;
    }

    /// The source had nothing more to send.
    pub(super) fn kept_up(&mut self) {
        self.behind = false;
    }

    /// The trail was given all there was.
    pub(super) fn handed_over(&mut self, now: Instant) {
        self.handed_over = now;
    }

    /// For how long bytes should gather before the next read, when the last one brought `read` of them.
    pub(super) fn rest(&self, read: usize) -> Option<Duration> {
        // A large read says that the socket's buffer fills faster than we empty it.
        (self.behind && read < limits::SOURCE_READ_BYTES / 2).then_some(REST)
    }

    /// Until when the trail need not be given what is collected, if that is not now.
    pub(super) fn flush_not_before(&self, now: Instant) -> Option<Instant> {
        let at = self.handed_over + FLUSH_EVERY;
        (self.behind && now < at).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR_BEHIND: i64 = BEHIND;

    #[test]
    fn a_stream_that_is_far_behind_gathers_bytes_between_reads_unless_they_come_faster_than_it_reads() {
        let mut catch_up = CatchUp::new(Instant::now());
        catch_up.sent_after(FAR_BEHIND);
        assert_eq!(catch_up.rest(1), Some(REST));
        assert_eq!(catch_up.rest(limits::SOURCE_READ_BYTES), None);
    }

    #[test]
    fn a_stream_that_is_far_behind_asks_for_a_flush_at_most_every_5_ms() {
        let start = Instant::now();
        let mut catch_up = CatchUp::new(start);
        catch_up.sent_after(FAR_BEHIND);
        let (almost, then) = (start + Duration::from_micros(4_999), start + Duration::from_millis(5));
        assert_eq!(catch_up.flush_not_before(start), Some(then));
        assert_eq!(catch_up.flush_not_before(almost), Some(then));
        assert_eq!(catch_up.flush_not_before(then), None);
        catch_up.handed_over(then);
        assert_eq!(catch_up.flush_not_before(then), Some(then + Duration::from_millis(5)));
    }

    #[test]
    fn a_stream_that_keeps_up_never_waits() {
        let start = Instant::now();
        let mut catch_up = CatchUp::new(start);
        let never_waits = |catch_up: &CatchUp| catch_up.rest(1).is_none() && catch_up.flush_not_before(start).is_none();
        assert!(never_waits(&catch_up));
        // A source's clock may even run backwards.
        for micros in [i64::MIN, -1, 0, FAR_BEHIND - 1] {
            catch_up.sent_after(FAR_BEHIND);
            assert!(!never_waits(&catch_up));
            catch_up.sent_after(micros);
            assert!(never_waits(&catch_up));
        }
        catch_up.sent_after(FAR_BEHIND);
        catch_up.kept_up();
        assert!(never_waits(&catch_up));
        catch_up.sent_early();
        assert!(!never_waits(&catch_up));
    }
}
