//! Pull reads: records of a trail from an offset on, for whoever asks again and again instead of holding a session.
//!
//! Owns how much one read takes, how long it waits, and what its reader hears of what is missing. A record keeps the bytes
//! that the trail has of it ([`pulled`]); how they look over a protocol is the faces' business, and [`json`] has the usual form. Which rows
//! a stream's rules let through is none of this: whoever wants that polls a session.
//!
//! A read costs no thread while it waits. Where one ended, its reader is kept with the trail for the next.

mod cursor;
pub mod json;
pub mod pulled;
mod refused;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

pub use pulled::{Pulled, PulledBody};
pub use refused::RecordsError;

use self::cursor::{Cursor, Taken};
use super::principal::{Principal, Verb};
use super::trails::{TrailEntry, TrailError, Trails};
use crate::access::rights::Loss;
use crate::access::{Authenticator, Limit, LimitHits, Needed, Place, Places, Rights, Role};
use crate::clock::SharedClock;
use crate::delivery::budget::{Budget, Charge};
use crate::limits::{
    RECORDS_BYTES_MAX, RECORDS_MAX, RECORDS_WAIT_SECONDS_MAX, RECORDS_WAITING_MAX, SHORT_BLOCK_TRAIL_BYTES,
};
use crate::record::{Epoch, Offset, Timestamp, TrailName};

/// Of which partitions records are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Which {
    /// Of all, those to come too.
    All,
    /// Of this one. A statement is in one partition as every record is, so that all partitions together give each record once.
    Partition(u16),
}

impl Which {
    /// The only one, if it is one.
    fn only(self) -> Option<u16> {
        match self {
            Self::All => None,
            Self::Partition(partition) => Some(partition),
        }
    }

    fn includes(self, partition: u16) -> bool {
        match self {
            Self::All => true,
            Self::Partition(wanted) => wanted == partition,
        }
    }
}

/// Where a read begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullBegin {
    /// At the first transaction kept.
    Earliest,
    /// Behind everything durable.
    Now,
    /// At the first transaction committed at or after this time.
    Time(Timestamp),
    /// After this record.
    After {
        /// The life of the trail that the offset is of: in another one it would mean another record.
        epoch: Epoch,
        /// Where.
        offset: Offset,
    },
}

/// How much one read takes. What is beyond the caps of a server is as if they had been asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Records, from 1 to [`RECORDS_MAX`].
    pub records_max: usize,
    /// Bytes of them, from 1 to [`RECORDS_BYTES_MAX`]; a record that is larger comes alone.
    pub bytes_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { records_max: RECORDS_MAX, bytes_max: RECORDS_BYTES_MAX }
    }
}

impl Bounds {
    fn within_caps(self) -> Self {
        Self {
            records_max: self.records_max.clamp(1, RECORDS_MAX),
            bytes_max: self.bytes_max.clamp(1, RECORDS_BYTES_MAX),
        }
    }
}

/// What is read, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pull {
    /// Of which partitions.
    pub which: Which,
    /// From where on.
    pub begin: PullBegin,
    /// How much.
    pub bounds: Bounds,
    /// How long to wait for the first record, up to [`RECORDS_WAIT_SECONDS_MAX`].
    pub wait: Duration,
}

/// What a read found.
#[derive(Debug)]
pub struct Fetched {
    /// The life of the trail that the offsets are of.
    pub epoch: Epoch,
    /// The records, in the order of the trail. There may be none although more follow: then [`Self::next`] has moved on.
    pub records: Vec<Pulled>,
    /// Where the next read goes on.
    pub next: Offset,
    /// Whether everything durable has been looked at.
    pub at_tail: bool,
    /// Whether nothing will ever follow: the partition is closed, and everything in it has been looked at. What comes for its
    /// hashes goes to its children.
    pub is_over: bool,
    /// How far the read ended behind the tail.
    pub behind: Behind,
    /// The memory that the records take; given back with them.
    _charge: Option<Charge>,
}

/// How far a read ended behind the tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Behind {
    /// Age of the last record that was looked at, in milliseconds since the trail took it; 0 at the tail.
    pub millis: u64,
    /// Bytes of the trail that are still to be looked at.
    pub bytes: u64,
    /// Transactions that are still to be looked at, the one that the read ended in included.
    pub transactions: u64,
}

/// Reads records of trails.
#[derive(Debug)]
pub struct Records {
    trails: Arc<Trails>,
    authenticator: Arc<Authenticator>,
    clock: SharedClock,
    budget: Arc<Budget>,
    waiting: Arc<Places<()>>,
    hits: Arc<LimitHits>,
    stopping: watch::Sender<bool>,
}

impl Records {
    pub(super) fn new(
        trails: Arc<Trails>,
        authenticator: Arc<Authenticator>,
        clock: SharedClock,
        budget: Arc<Budget>,
        hits: Arc<LimitHits>,
    ) -> Self {
        let (waiting, stopping) = (Arc::new(Places::new(RECORDS_WAITING_MAX)), watch::Sender::new(false));
        Self { trails, authenticator, clock, budget, waiting, hits, stopping }
    }

    /// Reads records, or waits for some: those who ask again get each record once, in order, by going on at
    /// [`Fetched::next`]. May be dropped at any time.
    ///
    /// The caller must be allowed to read the trail when he asks, and for as long as he waits. That he has the role Operator, which
    /// reading takes, is for the face to judge first; while he waits it is watched here.
    pub async fn fetch(
        &self,
        principal: Principal<'_>,
        trail: &TrailName,
        pull: &Pull,
    ) -> Result<Fetched, RecordsError> {
        principal.check_trail(Verb::Read, trail)?;
        let entry = self.trails.get(trail).ok_or_else(|| TrailError::Missing(trail.clone()))?;
        let mut cursor = Cursor::open(&entry, pull.which, pull.begin).await?;
        let bounds = pull.bounds.within_caps();
        let deadline = Instant::now() + pull.wait.min(Duration::from_secs(RECORDS_WAIT_SECONDS_MAX));
        let mut waits: Option<Waits> = None;
        loop {
            if *entry.gone.borrow() {
                return Err(TrailError::Leaving(trail.clone()).into());
            }
            let fetched = self.read(&mut cursor, bounds).await?;
            let has_waited = Instant::now() >= deadline || *self.stopping.borrow();
            if !fetched.records.is_empty() || !fetched.at_tail || fetched.is_over || has_waited {
                cursor.keep(&entry);
                return Ok(fetched);
            }
            let waits = match &mut waits {
                Some(waits) => waits,
                none => none.insert(self.begin_to_wait(principal, trail, &entry)?),
            };
            waits.until(&mut cursor, deadline).await?;
        }
    }

    /// No read waits any longer, nor will one: the server stops.
    pub fn stop_waiting(&self) {
        self.stopping.send_replace(true);
    }

    /// Turns true when the server stops.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// What is durable from the cursor on, as far as the bounds go.
    async fn read(&self, cursor: &mut Cursor, bounds: Bounds) -> Result<Fetched, RecordsError> {
        let mut charge = None;
        let mut bounds = bounds;
        if !cursor.is_at_tail() {
            let taken = self.charge(bounds.bytes_max)?;
            bounds.bytes_max = bounds.bytes_max.min(taken.bytes());
            charge = Some(taken);
        }
        let closed = cursor.is_closed();
        let Taken { records, bytes, at_tail, append_ts } = cursor.take(bounds).await?;
        if let Some(charge) = &mut charge {
            charge.settle(bytes);
        }
        let mut behind = cursor.behind(at_tail);
        if let Some(taken) = append_ts.filter(|_| !at_tail) {
            let age = self.clock.now().micros().saturating_sub(taken.micros()).max(0);
            behind.millis = u64::try_from(age).unwrap_or_default() / 1_000;
        }
        let (epoch, next, is_over) = (cursor.epoch(), cursor.offset(), closed && at_tail);
        Ok(Fetched { epoch, records, next, at_tail, is_over, behind, _charge: charge })
    }

    fn charge(&self, bytes_max: usize) -> Result<Charge, RecordsError> {
        let charge =
            self.budget.has_room().then(|| self.budget.charge(bytes_max.min(SHORT_BLOCK_TRAIL_BYTES), bytes_max));
        charge.flatten().ok_or_else(|| {
            self.hits.count(Limit::DeliveryMemory);
            RecordsError::NoMemory
        })
    }

    fn begin_to_wait(
        &self,
        principal: Principal<'_>,
        trail: &TrailName,
        entry: &TrailEntry,
    ) -> Result<Waits, RecordsError> {
        let place = self.waiting.take(()).ok_or_else(|| {
            self.hits.count(Limit::WaitingReads);
            RecordsError::TooManyWait(self.waiting.most())
        })?;
        let rights = match principal {
            Principal::House => None,
            Principal::Caller(identity) => {
                let needed = Needed { role: Role::Operator, stream: None, trail: trail.to_string() };
                Some(self.authenticator.rights(identity, needed))
            }
        };
        let (gone, stopping) = (entry.gone.subscribe(), self.stopping.subscribe());
        Ok(Waits { trail: trail.clone(), rights, gone, stopping, _place: place })
    }
}

/// A read that waits: what ends it, and its place among those that do.
#[derive(Debug)]
struct Waits {
    trail: TrailName,
    rights: Option<Rights>,
    gone: watch::Receiver<bool>,
    stopping: watch::Receiver<bool>,
    _place: Place<()>,
}

impl Waits {
    /// Waits until there is more to read, or no time left.
    async fn until(&mut self, cursor: &mut Cursor, deadline: Instant) -> Result<(), RecordsError> {
        let rights = &mut self.rights;
        let lost = async {
            match rights {
                Some(rights) => rights.lost().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            loss = lost => Err(match loss {
                Loss::Expired => RecordsError::Expired,
                Loss::Withdrawn => RecordsError::Withdrawn,
            }),
            _ = self.gone.wait_for(|gone| *gone) => Err(TrailError::Leaving(self.trail.clone()).into()),
            _ = self.stopping.wait_for(|stopping| *stopping) => Ok(()),
            () = cursor.grown() => Ok(()),
            () = tokio::time::sleep_until(deadline) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
