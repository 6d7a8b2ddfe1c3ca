//! Retention: whole closed segments go, oldest first, and never one that recovery or a running transaction may need.

use std::io;
use std::sync::Arc;

use crate::record::Timestamp;
use crate::trail::local::Trail;
use crate::trail::local::segment::{Segment, drop_index_file};
use crate::trail::local::work::RetentionRule;

/// How long a trail keeps what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Segments closed longer ago than this go, in seconds.
    pub age_seconds: Option<u64>,
    /// Segments go while what was written to the trail is larger than this, in bytes; what their heads repeat does not count.
    pub bytes: Option<u64>,
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
    /// Removes what `retention` does not keep. Readers that are inside a removed segment read it to its end.
    pub fn retain(&self, retention: &Retention) -> io::Result<Trimmed> {
        let mut trimmed = Trimmed::default();
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
            trimmed.bytes += self.remove_first(&segment, rule)?;
            trimmed.segments += 1;
        }
        Ok(trimmed)
    }

    /// When the oldest segment that may go was closed; none when none may.
    pub fn oldest_removable(&self) -> Option<Timestamp> {
        self.removable().and_then(|segment| segment.seal()).map(|seal| seal.closed_ts)
    }

    /// Removes the oldest segment, if one may go, because the disk's share is used up; returns its bytes.
    pub fn remove_oldest(&self) -> io::Result<u64> {
        match self.removable() {
            Some(segment) => self.remove_first(&segment, RetentionRule::Disk),
            None => Ok(0),
        }
    }

    /// Bytes of the trail's segments, without the zeros that are written ahead.
    pub fn bytes(&self) -> u64 {
        self.shared.segments().iter().map(|segment| segment.bytes()).sum()
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
        (first.number() < durable && first.seal().is_some()).then_some(first)
    }

    fn remove_first(&self, segment: &Arc<Segment>, rule: RetentionRule) -> io::Result<u64> {
        let bytes = segment.bytes();
        drop_index_file(&*self.shared.disk, &segment.path)?;
        match self.shared.disk.remove(&segment.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // Not there: removed by an attempt whose flush failed.
            _ => {}
        }
        // One by one, and forgotten only when it is gone for good: neither a crash nor a failure may leave a hole
        // between segments.
        self.shared.disk.sync_folder(&self.shared.folder)?;
        self.shared.change_segments(|segments| segments.retain(|other| other.number() != segment.number()));
        self.shared.work.removed(rule, bytes);
        let rule = rule.name();
        tracing::info!(trail = %self.name(), segment = segment.number(), bytes, rule, "segment removed by retention");
        Ok(bytes)
    }
}
