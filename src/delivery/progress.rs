//! What a session has done so far: written by the session, read by whoever looks at it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::limits;
use crate::record::{Position, Timestamp};
use crate::trail::Location;

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// It reads what the trail holds already.
    CatchingUp,
    /// It has everything durable and waits for more.
    AtTail,
    /// Its client does not take what was sent.
    Blocked,
}

impl SessionState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::CatchingUp, Self::AtTail, Self::Blocked];

    /// Its name in answers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::CatchingUp => "catching-up",
            Self::AtTail => "at-tail",
            Self::Blocked => "blocked",
        }
    }
}

/// The figures of one session.
#[derive(Debug, Default)]
pub struct Progress {
    records: AtomicU64,
    bytes: AtomicU64,
    passed: AtomicU64,
    at_tail: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Of the last record sent.
    last: Option<Position>,
    /// Of the last one that is of the trail.
    last_of_trail: Option<Position>,
    /// The first message that one record alone made larger than messages are: the record's position, and its bytes.
    large: Option<(Position, usize)>,
    /// Where it reads on.
    read_to: Option<Location>,
    /// Since when the client has something to take.
    given: Option<Instant>,
    /// Commit time of the last transaction that it has begun to read.
    commit_ts: Option<Timestamp>,
    tail: Tail,
}

/// Where a session stands to what the trail holds.
#[derive(Debug, Clone, Copy, Default)]
enum Tail {
    /// It has never had everything.
    #[default]
    NeverReached,
    /// It has everything, as far as it knows.
    Reached,
    /// It had, until then.
    LeftAt(Instant),
}

impl Progress {
    /// Position of the last record sent.
    pub fn last(&self) -> Option<Position> {
        self.seen().last
    }

    /// Position of the last record of the trail that was sent: what the session says of itself has one too, and counts above
    /// only.
    pub fn last_of_trail(&self) -> Option<Position> {
        self.seen().last_of_trail
    }

    /// The first message sent that is larger than [`limits::MESSAGE_BYTES_MAX`], since its one record is: the position of
    /// the record, and the message's size in bytes, its framing included.
    pub fn first_large(&self) -> Option<(Position, usize)> {
        self.seen().large
    }

    /// Where the session reads on; none before it has read anything.
    pub fn read_to(&self) -> Option<Location> {
        self.seen().read_to
    }

    /// Commit number of the last transaction that it has read, whether any of it was sent or not.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Records sent, metadata not counted.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Bytes sent, framing included.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What it is doing now.
    pub fn state(&self) -> SessionState {
        let limit = tokio::time::Duration::from_secs(limits::BLOCKED_SECONDS);
        if self.seen().given.is_some_and(|since| since.elapsed() >= limit) {
            SessionState::Blocked
        } else if self.at_tail.load(Ordering::Relaxed) {
            SessionState::AtTail
        } else {
            SessionState::CatchingUp
        }
    }

    /// Age of the oldest transaction that the client has not taken, in seconds; `read_all`: there is nothing to read any more.
    /// None as long as nothing is known of it.
    pub fn lag_seconds(&self, now: Timestamp, read_all: bool) -> Option<f64> {
        let seen = self.seen();
        let age = |time: Timestamp| now.micros().saturating_sub(time.micros()).max(0) as f64 / 1e6;
        let unread = match seen.tail {
            _ if read_all => Some(0.0),
            Tail::NeverReached => seen.commit_ts.map(age),
            // What it lacks has come since; a moment ago, if it has not noticed yet.
            Tail::Reached => Some(0.0),
            Tail::LeftAt(since) => {
                let since = since.elapsed().as_secs_f64();
                Some(seen.commit_ts.map_or(since, |time| age(time).min(since)))
            }
        };
        match seen.given {
            Some(given) => Some(unread.unwrap_or(0.0).max(given.elapsed().as_secs_f64())),
            None => unread,
        }
    }

    /// Messages with these records are on their way.
    pub fn sent_records(&self, last: Position, records: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.seen().last = Some(last);
    }

    /// The last of these records is of the trail.
    pub fn sent_of_trail(&self, last: Position) {
        self.seen().last_of_trail = Some(last);
    }

    /// A message that is larger than messages are, with this one record, is on its way.
    pub fn sent_large(&self, record: Position, bytes: usize) {
        self.seen().large.get_or_insert((record, bytes));
    }

    /// Messages of that many bytes are on their way.
    pub fn sent_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// It reads on from there; `at_mark`: everything durable has been read.
    pub fn reached(&self, read_to: Location, at_mark: bool) {
        self.at_tail.store(at_mark, Ordering::Relaxed);
        let mut seen = self.seen();
        seen.read_to = Some(read_to);
        seen.tail = match seen.tail {
            _ if at_mark => Tail::Reached,
            Tail::Reached => Tail::LeftAt(Instant::now()),
            other => other,
        };
    }

    /// The trail has grown beyond what it has read.
    pub fn leaves_tail(&self) {
        let mut seen = self.seen();
        if matches!(seen.tail, Tail::Reached) {
            seen.tail = Tail::LeftAt(Instant::now());
        }
    }

    /// It has begun to read a transaction of that commit time.
    pub fn begins(&self, commit_ts: Timestamp) {
        self.seen().commit_ts = Some(commit_ts);
    }

    /// It has read this transaction.
    pub fn passes(&self, commit: u64) {
        self.passed.store(commit, Ordering::Relaxed);
    }

    /// The client has been given something to take.
    pub fn given(&self) {
        self.seen().given = Some(Instant::now());
    }

    /// The client has taken everything.
    pub fn taken(&self) {
        self.seen().given = None;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_is_blocked_when_its_client_takes_nothing_for_a_while() {
        let progress = Progress::default();
        assert_eq!(progress.state(), SessionState::CatchingUp);
        progress.reached(Location::default(), true);
        assert_eq!(progress.state(), SessionState::AtTail);
        progress.reached(Location::default(), false);
        progress.given();
        assert_eq!(progress.state(), SessionState::CatchingUp);
        advance(Duration::from_secs(limits::BLOCKED_SECONDS)).await;
        assert_eq!(progress.state(), SessionState::Blocked);
        progress.taken();
        assert_eq!(progress.state(), SessionState::CatchingUp);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_behind_by_the_age_of_what_it_reads_or_by_the_time_since_it_had_everything() {
        let progress = Progress::default();
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let lag = |now: i64| progress.lag_seconds(at(now), false);
        assert_eq!(lag(1_000), None, "nothing is read yet");
        progress.begins(at(400));
        progress.reached(Location::default(), false);
        assert_eq!(lag(1_000), Some(600.0), "it reads what is old");
        progress.begins(at(900));
        progress.reached(Location::default(), true);
        assert_eq!(lag(5_000), Some(0.0), "nothing was committed since");
        progress.leaves_tail();
        advance(Duration::from_secs(3)).await;
        assert_eq!(lag(5_003), Some(3.0), "what it lacks came three seconds ago");
        progress.begins(at(5_002));
        progress.reached(Location::default(), false);
        assert_eq!(lag(5_003), Some(1.0));
        progress.reached(Location::default(), true);
        progress.given();
        advance(Duration::from_secs(7)).await;
        assert_eq!(progress.lag_seconds(at(5_010), true), Some(7.0), "the client does not take the last of it");
        progress.taken();
        assert_eq!(progress.lag_seconds(at(5_010), true), Some(0.0));
    }
}
