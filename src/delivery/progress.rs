//! What a session has done so far: written by the session, read by whoever looks at it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::limits;
use crate::record::Position;
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
    /// The first message that one record alone made larger than messages are: the record's position, and its bytes.
    large: Option<(Position, usize)>,
    /// Where it reads on.
    read_to: Option<Location>,
    /// Since when the client has something to take.
    given: Option<Instant>,
}

impl Progress {
    /// Position of the last record sent.
    pub fn last(&self) -> Option<Position> {
        self.seen().last
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

    /// Messages with these records are on their way.
    pub fn sent_records(&self, last: Position, records: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.seen().last = Some(last);
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
        self.seen().read_to = Some(read_to);
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
}
