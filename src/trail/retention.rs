//! Retention: whole closed segments go, oldest first, and never one that recovery or a running transaction may need.

use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};

use crate::record::{Position, Timestamp};
use crate::trail::counters::RetentionRule;
use crate::trail::handle::Trail;
use crate::trail::segment::Segment;
use crate::trail::shared::{Leaving, Shared};

/// How long a trail keeps what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Segments closed longer ago than this go, in seconds.
    pub age_seconds: Option<u64>,
    /// Segments go while what was written to the trail is larger than this, in bytes; what their heads repeat does not count.
    pub bytes: Option<u64>,
    /// What goes by neither of them, because somebody has still to read it.
    pub floor: Option<Floor>,
}

/// How far down a trail is still needed, and how much of it that may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// The lowest position that somebody goes on from: a reader can begin there as long as the floor holds.
    pub position: Position,
    /// The floor holds as long as what was written to the trail is no larger than this, in bytes: whoever falls further behind
    /// does not fill the disk.
    pub bytes_max: u64,
}

/// What retention took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// Segments removed.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Trail {
    /// Removes what `retention` does not keep; nothing of a trail that has been deleted. Readers that have opened a removed
    /// segment read it to its end.
    pub fn retain(&self, retention: &Retention) -> io::Result<Trimmed> {
        let mut trimmed = Trimmed::default();
        self.unless_deleted(self.trim(retention, &mut trimmed))?;
        Ok(trimmed)
    }

    fn trim(&self, retention: &Retention, trimmed: &mut Trimmed) -> io::Result<()> {
        trimmed.note(self.finish_leaving(&mut self.shared.lock_leaving())?);
        let now = self.shared.clock.now();
        let oldest_kept = retention.age_seconds.map(|seconds| {
            Timestamp::from_micros(
                now.micros().saturating_sub(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000)),
            )
        });
        while let Some(segment) = self.removable() {
            let too_old = oldest_kept.zip(segment.seal()).is_some_and(|(oldest, seal)| seal.closed_ts < oldest);
            let too_large = retention.bytes.is_some_and(|bytes| self.own_bytes() > bytes);
            let rule = match (too_old, too_large) {
                (true, _) => RetentionRule::Age,
                (false, true) => RetentionRule::Size,
                (false, false) => break,
            };
            if retention.floor.is_some_and(|floor| self.is_needed(&floor)) {
                break;
            }
            trimmed.note(self.remove_first(segment, rule)?);
        }
        Ok(())
    }

    /// Whether whoever goes on from there needs the first segment, and may have it kept.
    fn is_needed(&self, floor: &Floor) -> bool {
        let Floor { position, bytes_max } = *floor;
        if position.epoch != self.epoch() || self.own_bytes() > bytes_max {
            return false;
        }
        // A place behind a transaction is found without it; one in it is compared with it.
        let first_needed = position.commit.saturating_add(u64::from(position.is_behind()));
        self.shared.with_segments(|segments| segments.get(1).is_none_or(|next| next.first_commit() > first_needed))
    }

    /// When the oldest segment that may go was closed; none when none may.
    pub fn oldest_removable(&self) -> Option<Timestamp> {
        self.removable().and_then(|segment| segment.seal()).map(|seal| seal.closed_ts)
    }

    /// Removes the oldest segment, if one may go, because the disk's share is used up, whoever still needs it.
    pub fn remove_oldest(&self) -> io::Result<()> {
        let removed = self.removable().map(|segment| self.remove_first(segment, RetentionRule::Disk)).transpose();
        self.unless_deleted(removed.map(drop))
    }

    /// Bytes of the trail's segments, without the zeros that are written ahead; none when it has been deleted.
    pub fn bytes(&self) -> u64 {
        if self.is_deleted() {
            return 0;
        }
        self.shared.segments().iter().map(|segment| segment.length()).sum()
    }

    /// Bytes that were written to the trail, without what each segment repeats in its head.
    fn own_bytes(&self) -> u64 {
        self.shared.segments().iter().map(|segment| segment.own_bytes()).sum()
    }

    /// The first segment, if it is closed and lies wholly below the durable mark: a transaction that is still open may
    /// have begun in any segment from there on.
    fn removable(&self) -> Option<Arc<Segment>> {
        let durable = self.shared.mark.borrow().end.segment;
        let first = self.shared.segments().first().cloned()?;
        (first.number() < durable && first.seal().is_some() && !self.is_deleted()).then_some(first)
    }

    /// Takes the first segment out of the trail, then out of the store. In this order: who looks for it finds that it
    /// is gone, never that its bytes cannot be read.
    fn remove_first(&self, segment: Arc<Segment>, rule: RetentionRule) -> io::Result<Option<u64>> {
        let mut leaving = self.shared.lock_leaving();
        // One after the other, and each for good: neither a crash nor a failure may leave a hole between segments.
        self.finish_leaving(&mut leaving)?;
        segment.leave();
        self.shared.change_segments(|segments| segments.retain(|other| other.number() != segment.number()));
        *leaving = Some(Leaving { segment, rule });
        self.finish_leaving(&mut leaving)
    }

    /// Removes the segment that leaves for good, if one does, also after an attempt that failed; its bytes.
    fn finish_leaving(&self, leaving: &mut Option<Leaving>) -> io::Result<Option<u64>> {
        let Some(Leaving { segment, rule }) = leaving else { return Ok(None) };
        segment.stored.remove()?;
        let (bytes, rule, number) = (segment.length(), *rule, segment.number());
        *leaving = None;
        self.shared.counters.removed(rule, bytes);
        let rule = rule.name();
        tracing::info!(trail = %self.name(), segment = number, bytes, rule, "segment removed by retention");
        Ok(Some(bytes))
    }

    /// What fails because the trail has been deleted meanwhile has nothing left to do.
    fn unless_deleted(&self, done: io::Result<()>) -> io::Result<()> {
        match done {
            Err(_) if self.is_deleted() => Ok(()),
            done => done,
        }
    }
}

impl Trimmed {
    fn note(&mut self, removed: Option<u64>) {
        self.segments += u64::from(removed.is_some());
        self.bytes += removed.unwrap_or_default();
    }
}

impl Shared {
    fn lock_leaving(&self) -> MutexGuard<'_, Option<Leaving>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
