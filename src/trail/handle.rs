//! The handle that everything else holds.
//!
//! Owns what may be asked of a trail as a whole. What its parts share is `shared`'s, how frames get to the end `appender`'s and
//! `writer`'s, where reading starts and how it goes on `seek`'s and `reader`'s.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::SharedClock;
use crate::record::{Epoch, SourceIdentity, Timestamp, TrailName};
use crate::trail::counters::TrailCounters;
use crate::trail::local::disk::Disk;
#[cfg(feature = "fault-injection")]
use crate::trail::messages::MessageLog;
use crate::trail::partitions::{CurrentPartitions, PartitionMap};
use crate::trail::recovery;
use crate::trail::shared::{End, Shared};
use crate::trail::{Appender, DurableMark, Location, OpenError, TrailDescription, TrailOptions, Writer, appender};

/// A trail's figures, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailStatus {
    /// Segments on disk.
    pub segments: usize,
    /// Bytes of its segments' data, without indexes and the zeros that are written ahead.
    pub bytes: u64,
    /// Commit number of the first transaction kept; one more than the last when there is none.
    pub first_commit: u64,
    /// Commit number of the last durable transaction.
    pub last_commit: u64,
    /// Commit time of the last durable transaction.
    pub last_commit_ts: Timestamp,
    /// What it has done since it was opened.
    pub counters: TrailCounters,
    /// Whether the writer has stopped because the disk was full, which passes by itself.
    pub disk_full: bool,
    /// Why the trail has stopped, if it has: damage, or a failed write or flush.
    pub stopped: Option<String>,
}

/// A trail. Cheap to clone; all clones are one trail.
#[derive(Debug, Clone)]
pub struct Trail {
    pub(super) shared: Arc<Shared>,
}

impl Trail {
    /// Makes a new trail in `folder`, which must not hold one.
    pub fn create(
        folder: &Path,
        name: TrailName,
        writer: Writer,
        options: &TrailOptions,
        disk: Arc<dyn Disk>,
        clock: SharedClock,
    ) -> Result<Self, OpenError> {
        let description = TrailDescription::new(name, writer, options, clock.now())?;
        recovery::folder::create(description, folder, disk.clone(), clock.clone())?;
        Self::open(folder, disk, clock)
    }

    /// Opens the trail in `folder`: recovers its end, flushes what it keeps.
    pub fn open(folder: &Path, disk: Arc<dyn Disk>, clock: SharedClock) -> Result<Self, OpenError> {
        recovery::folder::open(folder, disk, clock).map(|shared| Self { shared: Arc::new(shared) })
    }

    /// Makes a new trail in a log of messages, which must be empty.
    #[cfg(feature = "fault-injection")]
    pub fn create_in_messages(
        log: Arc<dyn MessageLog>,
        name: TrailName,
        writer: Writer,
        options: &TrailOptions,
        clock: SharedClock,
    ) -> Result<Self, OpenError> {
        let description = TrailDescription::new(name, writer, options, clock.now())?;
        recovery::messages::create(description, log.clone(), clock.clone())?;
        Self::open_in_messages(log, clock)
    }

    /// Opens the trail in a log of messages: finds its end and keeps everyone else from it.
    #[cfg(feature = "fault-injection")]
    pub fn open_in_messages(log: Arc<dyn MessageLog>, clock: SharedClock) -> Result<Self, OpenError> {
        recovery::messages::open(log, clock).map(|shared| Self { shared: Arc::new(shared) })
    }

    /// What it says of itself.
    pub fn description(&self) -> &TrailDescription {
        &self.shared.description
    }

    /// The trail's name.
    pub fn name(&self) -> &TrailName {
        &self.shared.description.name
    }

    /// Its partitions as they are now.
    pub fn partitions(&self) -> Arc<PartitionMap> {
        self.shared.partitions()
    }

    /// The same for whoever is to see how they change.
    pub fn current_partitions(&self) -> &CurrentPartitions {
        &self.shared.partitions
    }

    /// The trail's epoch.
    pub fn epoch(&self) -> Epoch {
        self.shared.description.epoch
    }

    /// Who the source is, as soon as that is known.
    pub fn source_identity(&self) -> &SourceIdentity {
        &self.shared.source
    }

    /// The durable mark, and a way to wait for it to move.
    pub fn durable(&self) -> watch::Receiver<DurableMark> {
        self.shared.mark.subscribe()
    }

    /// The byte after the last durable transaction.
    pub fn durable_end(&self) -> Location {
        self.shared.mark.borrow().end
    }

    /// Takes the writing end. There is one; it is free again when the appender is dropped and its writer has finished.
    /// Blocks while a trail whose writer had failed is recovered: not for a thread that serves others, see
    /// [`Self::appender_async`].
    pub fn appender(&self) -> Result<Appender, OpenError> {
        appender::start(&self.shared)
    }

    /// The same on a thread that may block. An end that its last holder is about to give back is waited for, a little.
    pub async fn appender_async(&self) -> Result<Appender, OpenError> {
        let patience = Duration::from_millis(crate::limits::TRAIL_END_MILLIS_MAX);
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let given_back = self.shared.given_back.notified();
            tokio::pin!(given_back);
            given_back.as_mut().enable();
            let shared = self.shared.clone();
            let taken = tokio::task::spawn_blocking(move || appender::start(&shared)).await;
            let taken = taken.unwrap_or_else(|error| {
                let trail = self.name().to_string();
                Err(OpenError::Io { trail, action: "taking its end", source: std::io::Error::other(error) })
            });
            match taken {
                Err(OpenError::WriterTaken { .. }) if tokio::time::Instant::now() < deadline => {
                    let _ = tokio::time::timeout_at(deadline, given_back).await;
                }
                taken => return taken,
            }
        }
    }

    /// Its figures.
    pub fn status(&self) -> TrailStatus {
        let mark = self.shared.mark.borrow().clone();
        let (failed, disk_full) = match &*self.shared.lock_end() {
            End::Failed { reason, disk_full, .. } => (Some(reason.clone()), *disk_full),
            End::Free(_) | End::Taken => (None, false),
        };
        let stopped = self.shared.damaged.get().map(ToString::to_string).or(failed);
        TrailStatus {
            segments: self.shared.segments().len(),
            bytes: self.shared.segments().iter().map(|segment| segment.length()).sum(),
            first_commit: self.shared.first_commit(),
            last_commit: mark.commit,
            last_commit_ts: mark.commit_ts,
            counters: self.shared.counters.snapshot(),
            disk_full,
            stopped,
        }
    }

    /// Bytes from a location to the durable mark: what a reader there has still to read. Segments count whole, with what
    /// frames them.
    pub fn bytes_behind(&self, location: Location) -> u64 {
        let end = self.shared.mark.borrow().end;
        if location >= end {
            return 0;
        }
        let segments = self.shared.segments();
        let between = segments.iter().filter(|segment| (location.segment..end.segment).contains(&segment.number()));
        let whole: u64 = between.map(|segment| segment.length()).sum();
        let first = segments.first().map_or(0, |segment| segment.number());
        // Of a segment that is gone nothing is left to read.
        let passed = if location.segment >= first { location.offset } else { 0 };
        (whole + end.offset).saturating_sub(passed)
    }

    /// Lets `delete` take the trail's folder away while nobody is at it. If that works, no clone of this handle reaches
    /// the folder's path any more, whatever is made there; readers keep the files that they have open.
    pub fn delete<R>(&self, delete: impl FnOnce() -> std::io::Result<R>) -> std::io::Result<R> {
        self.shared.store.delete(delete)
    }

    /// Whether its folder has been deleted.
    pub fn is_deleted(&self) -> bool {
        self.shared.store.is_deleted()
    }
}
